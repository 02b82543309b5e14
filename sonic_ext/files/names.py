"""Names of files that every file system takes."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from ..text import UNSEEN

_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*]')
"""What some file system does not take in a name."""
_AROUND = re.compile(r"^[\s.]+|[\s.]+\Z")
"""What file systems drop at the ends of a name, or hide it for."""
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))}
"""Names that are no files on Windows, whatever their suffix."""


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` or `~name` as that user's home; as it is where there is no such home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises there


def is_name(path: str) -> bool:
    """Whether files can be called so here: on Linux names are bytes, and what is no UTF-8 comes as halves of
    characters."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def portable(text: str) -> str:
    """The text as a name, of any length: what some file system does not take becomes `_`.

    Returns:
        In the normal form NFC; "" where nothing is left of it.
    """
    text = "".join("_" if unicodedata.category(letter) in UNSEEN else letter for letter in text)
    text = _trimmed(_NOT_IN_NAMES.sub("_", unicodedata.normalize("NFC", text)))
    return f"_{text}" if text.split(".")[0].rstrip().lower() in _DEVICES else text


def cut(name: str, size: int) -> str:
    """The name's first letters, as many as fit into so many bytes."""
    return _trimmed(name.encode()[:size].decode(errors="ignore"))


def _trimmed(name: str) -> str:
    return _AROUND.sub("", name)
