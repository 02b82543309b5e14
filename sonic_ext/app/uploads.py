"""What callers send: base64 in JSON, written to private files that go away with the job."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadInput
from ..files.home import home_errors, private_home, working_folder
from ..files.locks import held

FOLDER = "uploads"
"""Below the private home."""

_KINDS = (
    (0, b"RIFF", ".wav"),
    (0, b"ID3", ".mp3"),
    (0, b"\xff\xfb", ".mp3"),
    (0, b"OggS", ".ogg"),
    (0, b"fLaC", ".flac"),
    (4, b"ftyp", ".m4a"),
)
"""Where which bytes tell the kind of a sound; records name it by its suffix."""


def decoded(text: str, what: str) -> bytes:
    """The bytes of base64 text, with or without `data:…;base64,` before it.

    Raises:
        BadInput: it is not base64, or holds nothing.
    """
    body = text.partition(",")[2] if text[:5].lower() == "data:" else text
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(
            f"{what} is not base64.",
            "Send the bytes of the file in base64; a data URL is fine, a path is not.",
        ) from None
    if not data:
        raise BadInput(f"{what} is empty (0 bytes).", "Send the bytes of the file in base64.")
    return data


def sound_name(data: bytes) -> str:
    """`speech` with the suffix of its kind, where its first bytes tell it."""
    kinds = (suffix for at, mark, suffix in _KINDS if data[at : at + len(mark)] == mark)
    return "speech" + next(kinds, "")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A new private folder that is gone afterwards.

    Raises:
        BadOutput: the file system keeps it from being made.
    """
    home = private_home()
    with home_errors(home):
        _remove_left(home / FOLDER)
    with working_folder(home, FOLDER) as made:
        yield made


def kept(place: Path, name: str, data: bytes) -> Path:
    """The bytes as a file in a private folder, 0600.

    Raises:
        BadOutput: no room.
    """
    path = place / name
    with home_errors(place):
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    return path


def _remove_left(parent: Path) -> None:
    """What processes left here that were killed."""
    for folder in {path.with_suffix("") for path in parent.glob("*")}:
        with held(folder) as gone:
            if gone:
                shutil.rmtree(folder, ignore_errors=True)
