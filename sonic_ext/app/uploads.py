"""What callers send: base64 in JSON."""

from __future__ import annotations

import base64
import binascii

from ..errors import BadInput

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
