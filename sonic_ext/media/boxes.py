"""The boxes that an MP4 is made of (ISO/IEC 14496-12 §4.2), walked without trust in what they say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import BadVideo

MAX_BOXES = 20_000
"""Boxes in all. The reader of signatures compares each with each: so many take it seconds, ten times as many
minutes. A video in fragments of two seconds has them after more than an hour."""
MAX_INDEX = 64 << 20
"""Bytes outside of pictures and sound, which readers take into memory. Ten hours need half of it."""
MAX_DEPTH = 12
"""Boxes in boxes; readers give up no later."""

_MEDIA = (b"mdat", b"free", b"skip", b"wide")
"""What is passed by piece by piece, or not looked into."""
_CONTAINERS = frozenset(
    b"moov trak edts mdia minf dinf stbl mvex moof traf mfra udta meta ilst sinf schi iprp ipco strk".split()
)
_FULL = b"meta"
"""A container with four bytes of its own before what it contains, but not in QuickTime's files."""

Mp4Box = tuple[bytes, int, int]
"""Type, and start and end of the contents in the file."""


def top_boxes(file: BinaryIO) -> Iterator[Mp4Box]:
    """An MP4's top-level boxes; ends where the structure does."""
    return boxes(file, 0, file.seek(0, os.SEEK_END))


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Mp4Box]:
    """The boxes between two places of a file, not what they contain; ends where the structure does."""
    while (found := _box_at(file, start, end)) and found[2] <= end:
        yield found
        start = found[2]


def check_bounds(path: Path) -> None:
    """Hold an MP4 to `MAX_BOXES` and `MAX_INDEX`; other files pass.

    Raises:
        BadVideo: it is beyond them.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if _box_at(file, 0, size, (b"ftyp",)) is None:
            return
        if _index_size(file, size) > MAX_INDEX:
            raise BadVideo(
                f"{path.name} holds more than {MAX_INDEX >> 20} MB besides pictures and sound.",
                "No ordinary video does. Ask whoever sent it for another copy.",
            )
        for number, _ in enumerate(_all_boxes(file, 0, size, 0), 1):
            if number > MAX_BOXES:
                raise BadVideo(
                    f"{path.name} is made of more than {MAX_BOXES:,} boxes: too many to check.",
                    "Ask whoever sent it for a copy that is not in fragments.",
                )


def _box_at(file: BinaryIO, place: int, end: int, kinds: tuple[bytes, ...] = ()) -> Mp4Box | None:
    """The box that begins at a place, which may say that it ends after `end`; None where there can be none.

    With `kinds`, None also for a box of another type.
    """
    if place + 8 > end:
        return None
    file.seek(place)
    head = file.read(16)  # less at the end, or when somebody cuts the file short meanwhile
    length, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
    if length == 1:
        length, header = int.from_bytes(head[8:], "big"), 16
    if len(head) < header:
        return None
    stop = place + length if length else end
    if stop < place + header or (kinds and kind not in kinds):
        return None
    return kind, place + header, stop


def _index_size(file: BinaryIO, size: int) -> int:
    """Bytes of what is no media data, with whatever follows the last box."""
    media, place = 0, 0
    while found := _box_at(file, place, size):
        kind, start, stop = found
        place = min(stop, size)
        media += place - start if kind in _MEDIA else 0
    return size - media


def _all_boxes(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[Mp4Box]:
    """Boxes and the boxes in them."""
    for kind, inside, stop in boxes(file, start, end):
        yield kind, inside, stop
        if kind in _CONTAINERS and depth < MAX_DEPTH:
            own = 4 if kind == _FULL and _box_at(file, inside, stop, (b"hdlr",)) is None else 0
            yield from _all_boxes(file, inside + own, stop, depth + 1)
