"""Tells what a file is by its first bytes, and finds the words for what it is not."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..errors import BadWeights

MAX_HEADER = 25_000_000
"""Bytes of a safetensors header. The library takes four times as many; real ones stay below five million, and
each byte takes ten of memory."""
MAX_NUMBER, MAX_SIDES = 2**63 - 1, 64
"""Largest number and longest shape in a header: more fits neither the format nor PyTorch."""
ITEM_BYTES = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1},
}
"""Bytes an element, by the names that safetensors has for types."""
FETCH = "sonic weights fetch"
AGAIN = f"Delete it and fetch it again: {FETCH}"
PUBLISHED = f"Fetch the published one: {FETCH}"
"""Hints that end in the bare command; `checks.with_part_hint` completes it where the part is known."""


class Format(Enum):
    """How a file is written, told by its first bytes and never by its name."""

    SAFETENSORS = "safetensors"
    ZIP_PICKLE = "pickle"
    OLD_PICKLE = "pickle of an old kind"
    TORCHSCRIPT = "TorchScript"
    LFS_POINTER = "Git LFS pointer"
    WEB_PAGE = "web page"
    EMPTY = "empty file"
    CUT_ZIP = "pickle that is cut short"
    UNKNOWN = "unknown"


BROKEN_ZIP = (
    *(
        zipfile.BadZipFile,
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        OverflowError,
        MemoryError,
        struct.error,
    ),
)
"""What zipfile raises over damaged archives."""
PICKLES = (Format.ZIP_PICKLE, Format.OLD_PICKLE)


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file."""

    shape: tuple[int, ...]
    dtype: str
    """A name of `ITEM_BYTES`."""


def format_of(path: Path) -> Format:
    """Tell the format by the file's beginning; a zip also by its directory, which lies at the end."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise unreadable(path, error) from error
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    return _format_of_head(head)


def _format_of_head(head: bytes) -> Format:
    text = head.lstrip().lower()
    if not head:
        return Format.EMPTY
    if head.startswith(b"version https://git-lfs"):
        return Format.LFS_POINTER
    if text.startswith((b"<!doctype", b"<html")):
        return Format.WEB_PAGE
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER:
        return Format.SAFETENSORS
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return Format.OLD_PICKLE
    return Format.UNKNOWN


def _zip_format(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except BROKEN_ZIP:
        return Format.CUT_ZIP
    if "constants.pkl" in names:
        return Format.TORCHSCRIPT
    return Format.ZIP_PICKLE if "data.pkl" in names else Format.UNKNOWN


def first_few(words: Sequence[str], shown: int = 3) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(words) - shown} more" if len(words) > shown else ""
    return f"{', '.join(words[:shown])}{more}"


def not_weights(path: Path, found: Format) -> BadWeights:
    """The error for a file that is no model file."""
    size = f"{path.stat().st_size:,} bytes"
    what = {
        Format.EMPTY: "is empty",
        Format.LFS_POINTER: "is only a Git LFS pointer, not the file that it stands for",
        Format.WEB_PAGE: "is a web page, not a model: the download was answered with a page",
        Format.CUT_ZIP: f"is cut short or damaged ({size}, the end of the archive is missing)",
        Format.TORCHSCRIPT: "is a TorchScript program, not a file of weights",
        Format.UNKNOWN: "is neither safetensors nor a PyTorch file",
    }[found]
    return BadWeights(f"{path} {what}.", AGAIN)


def unreadable(path: Path, error: OSError) -> BadWeights:
    """The error for a file that the system does not open."""
    return BadWeights(
        f"{path} cannot be read: {error.strerror or error}.", "Give yourself access, or fetch it again."
    )
