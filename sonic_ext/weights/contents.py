"""Looks into a model file without loading its tensors: names, shapes and types, and whether it is whole."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from ..errors import BadWeights

MAX_HEADER = 100_000_000
"""Bytes; the safetensors library's own limit."""
ITEM_BYTES = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1},
}
"""Bytes an element, by the names that safetensors has for types."""
AGAIN = "Delete it and fetch it again: sonic weights fetch"


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


PICKLES = (Format.ZIP_PICKLE, Format.OLD_PICKLE)


@dataclass(frozen=True)
class Entry:
    """One tensor of a file."""

    shape: tuple[int, ...]
    dtype: str
    """A name of `ITEM_BYTES`."""


@dataclass(frozen=True)
class Contents:
    """What a file says that it holds."""

    path: Path
    format: Format
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)


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
    except (zipfile.BadZipFile, OSError):
        return Format.CUT_ZIP
    if "constants.pkl" in names:
        return Format.TORCHSCRIPT
    return Format.ZIP_PICKLE if "data.pkl" in names else Format.UNKNOWN


def read_contents(path: Path) -> Contents:
    """Names, shapes and types of all tensors; pickles take torch, safetensors only the file's head.

    Raises:
        BadWeights: unreadable, cut short, not a model file, or a pickle that is not safe to open.
        MissingPart: a pickle, and torch is not installed.
    """
    found = format_of(path)
    if found is Format.SAFETENSORS:
        return _safetensors(path)
    if found in PICKLES:
        from .pickles import entries

        return Contents(path, found, entries(path))
    raise not_weights(path, found)


def not_weights(path: Path, found: Format) -> BadWeights:
    """The error for a file that is no model file."""
    what = {
        Format.EMPTY: "is empty",
        Format.LFS_POINTER: "is only a Git LFS pointer, not the file that it stands for",
        Format.WEB_PAGE: "is a web page, not a model: the download was answered with a page",
        Format.CUT_ZIP: f"is cut short or damaged ({_size(path)} bytes, the end of the archive is missing)",
        Format.TORCHSCRIPT: "is a TorchScript program, not a file of weights",
        Format.UNKNOWN: "is neither safetensors nor a PyTorch file",
    }[found]
    return BadWeights(f"{path} {what}.", AGAIN)


def unreadable(path: Path, error: OSError) -> BadWeights:
    """The error for a file that the system does not open."""
    return BadWeights(
        f"{path} cannot be read: {error.strerror or error}.", "Give yourself access, or fetch it again."
    )


def _size(path: Path) -> int:
    return path.stat().st_size


def _safetensors(path: Path) -> Contents:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = file.read(length)
        size = _size(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(head) < length:
        raise _cut(path, size, 8 + length)
    table = _parsed(path, head)
    metadata = {str(key): str(value) for key, value in table.pop("__metadata__", {}).items()}
    _check_layout(path, table, size - 8 - length)
    entries = {key: Entry(tuple(row["shape"]), row["dtype"]) for key, row in table.items()}
    return Contents(path, Format.SAFETENSORS, entries, metadata)


def _parsed(path: Path, head: bytes) -> dict[str, Any]:
    try:
        table = json.loads(head)
        rows = [row for key, row in table.items() if key != "__metadata__"]
        sound = all(_is_row(row) for row in rows) and isinstance(table.get("__metadata__", {}), dict)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadWeights(f"{path} has a damaged header ({error}).", AGAIN) from error
    if not sound:
        raise BadWeights(f"{path} has a damaged header.", AGAIN)
    return dict(table)


def _is_row(row: Any) -> bool:
    numbers = [*row["shape"], *row["data_offsets"]]
    whole = all(type(number) is int and number >= 0 for number in numbers)
    return whole and len(row["data_offsets"]) == 2 and isinstance(row["dtype"], str)


def _check_layout(path: Path, table: Mapping[str, Any], data: int) -> None:
    """Tensors must fill the rest of the file without gaps or overlaps, each as long as its shape says."""
    spans = sorted((*row["data_offsets"], key) for key, row in table.items())
    end = spans[-1][1] if spans else 0
    if data < end:
        raise _cut(path, _size(path), _size(path) - data + end)
    if data > end or (spans and spans[0][0] != 0) or any(a[1] != b[0] for a, b in pairwise(spans)):
        raise BadWeights(f"{path} is damaged: its tensors do not fill it exactly.", AGAIN)
    for start, stop, key in spans:
        row = table[key]
        item = ITEM_BYTES.get(row["dtype"])
        if item is not None and item * prod(row["shape"]) != stop - start:
            raise BadWeights(f"{path} is damaged: {key} has not the bytes that its shape asks for.", AGAIN)


def _cut(path: Path, size: int, whole: int) -> BadWeights:
    return BadWeights(f"{path} is cut short: {size:,} of {whole:,} bytes are there.", AGAIN)
