"""Looks into a model file without loading its tensors: names, shapes and types, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from ..errors import BadWeights
from .formats import (
    AGAIN,
    ITEM_BYTES,
    MAX_HEADER,
    MAX_NUMBER,
    MAX_SIDES,
    PICKLES,
    Format,
    TensorEntry,
    format_of,
    not_weights,
    unreadable,
)
from .pickles import read_pickle


@dataclass(frozen=True)
class TensorListing:
    """What a file says that it holds."""

    path: Path
    format: Format
    entries: Mapping[str, TensorEntry]
    metadata: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    """Names of what a pickle holds beside the tensors."""


def read_contents(path: Path) -> TensorListing:
    """Names, shapes and types of all tensors, none of which is read; no torch is needed.

    Raises:
        BadWeights: unreadable, cut short, or not a model file.
    """
    found = format_of(path)
    if found is Format.SAFETENSORS:
        return _safetensors(path)
    if found in PICKLES:
        held = read_pickle(path)
        return TensorListing(path, found, held.entries, foreign=held.foreign)
    raise not_weights(path, found)


def _safetensors(path: Path) -> TensorListing:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = file.read(min(length, MAX_HEADER))
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if len(head) < length:
        raise _cut(path, size, 8 + length)
    table, metadata = _parsed(path, head)
    _check_layout(path, table, size - 8 - length)
    entries = {key: TensorEntry(tuple(row["shape"]), row["dtype"]) for key, row in table.items()}
    return TensorListing(path, Format.SAFETENSORS, entries, metadata)


def _parsed(path: Path, head: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Name → row of each tensor, and the metadata."""
    try:
        table = json.loads(head, object_pairs_hook=_without_twins)
        metadata = {key: str(value) for key, value in table.pop("__metadata__", {}).items()}
        sound = all(_is_row(row) for row in table.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise BadWeights(f"{path} has a damaged header ({error}).", AGAIN) from error
    if not sound:
        raise BadWeights(f"{path} has a damaged header.", AGAIN)
    return table, metadata


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; the format forbids to say one thing twice, and readers differ in which they believe."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("it names something twice")
    return table


def _is_row(row: Any) -> bool:
    numbers = [*row["shape"], *row["data_offsets"]]
    whole = all(type(number) is int and 0 <= number <= MAX_NUMBER for number in numbers)
    lengths = len(row["shape"]) <= MAX_SIDES and len(row["data_offsets"]) == 2
    return whole and lengths and isinstance(row["dtype"], str)


def _check_layout(path: Path, table: Mapping[str, Any], data: int) -> None:
    """Tensors must fill the rest of the file without gaps or overlaps, each as long as its shape says."""
    spans = sorted((*row["data_offsets"], key) for key, row in table.items())
    end = spans[-1][1] if spans else 0
    if data < end:
        raise _cut(path, path.stat().st_size, path.stat().st_size - data + end)
    if data > end or (spans and spans[0][0] != 0) or any(a[1] != b[0] for a, b in pairwise(spans)):
        raise BadWeights(f"{path} is damaged: its tensors do not fill it exactly.", AGAIN)
    for start, stop, key in spans:
        row = table[key]
        item = ITEM_BYTES.get(row["dtype"])
        if item is not None and item * prod(row["shape"]) != stop - start:
            raise BadWeights(f"{path} is damaged: {key} has not the bytes that its shape asks for.", AGAIN)


def _cut(path: Path, size: int, whole: int) -> BadWeights:
    return BadWeights(f"{path} is cut short: {size:,} of {whole:,} bytes are there.", AGAIN)
