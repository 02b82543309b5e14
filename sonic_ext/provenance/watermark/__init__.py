"""The invisible watermark: a 64-bit id in every frame.

`marker` gives what puts it in while a video is made, `detect` reads it back from the frames alone. Which
watermark an id was written with is told by its algorithm's name; files of older versions stay readable.
Whoever has the key can read an id and could add another: it proves nothing by itself, it leads to a record.
What it survives, and the odds of a false alarm: `docs/watermark.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import BadSetting, BadVideo
from ...progress import Stage, Tick
from . import version1, version2
from .codec import MAC_BITS
from .seam import Marker, Planes, Reader, Reading

__all__ = ["ALGORITHM", "ALGORITHMS", "PROJECT_KEY", "Detection", "Marker", "Reader", "detect", "marker"]

PROJECT_KEY = b"sonic public watermark key 1"
"""Public on purpose: anyone with the tool can read the id."""


class Watermark(NamedTuple):
    """One way to put an id into frames and to read it back."""

    marker: Callable[[int, int, int, float, bytes], Marker]
    """Of payload, width, height, frames per second and key."""
    reader: Callable[[float, bytes], Reader]
    """Of frames per second and key."""


ALGORITHMS = {
    version2.ALGORITHM: Watermark(version2.MarkerV2, version2.ReaderV2),
    version1.ALGORITHM: Watermark(version1.MarkerV1, version1.ReaderV1),
}
"""Every watermark that can be read, in the order in which they are looked for; new videos get the first."""
ALGORITHM = next(iter(ALGORITHMS))
"""The one that new videos get."""
LOOK = 60
"""A look costs about as much as gathering so many frames."""


@dataclass(frozen=True)
class Detection(Reading):
    """An id that was read, by which watermark, and how surely."""

    algorithm: str
    """Name of the watermark, "local.sonic.watermark.2"."""
    odds: float
    """Upper bound on the probability that frames without a mark had given any id: 2**-48 for each message
    decoded on the way."""
    frames: int
    """Frames looked at."""


def marker(
    payload: int,
    width: int,
    height: int,
    fps: float = 25,
    key: bytes = PROJECT_KEY,
    algorithm: str = ALGORITHM,
) -> Marker:
    """What marks the frames of one video.

    Args:
        payload: 0 .. 2**64 - 1.
        width, height: of the picture, pixels, even.
        fps: frames per second.

    Raises:
        BadSetting: a value is out of range.
    """
    if not 0 <= payload < 1 << 64:
        raise BadSetting(f"A watermark id has 64 bits, {payload:#x} does not fit.", "Use a smaller id.")
    if width < 2 or height < 2 or width % 2 or height % 2 or not fps > 0:
        raise BadSetting(
            f"Cannot mark {width}x{height} at {fps} frames/s.", "Give positive numbers, sides even."
        )
    return _watermark(algorithm).marker(payload, width, height, fps, key)


def detect(
    frames: Iterable[Planes],
    fps: float = 25,
    key: bytes = PROJECT_KEY,
    *,
    algorithms: Iterable[str] = tuple(ALGORITHMS),
    count: int = 0,
    tick: Tick | None = None,
) -> Detection | None:
    """The id in a video or a picture; None when there is none to be read.

    Frames are taken one at a time; memory does not grow with their number (about 0.1 GB at 512 x 512, at most
    0.4 GB). Reading stops as soon as an id is sure, often after the first second.

    Args:
        frames: I420, uint8 [h * 3 // 2, w] each, in order; one is enough to look for the newest watermark.
        fps: frames per second.
        key: of the marker.
        algorithms: names of the watermarks to look for.
        count: how many frames will come, for `tick`.
        tick: told how much of the work is done, in frames; a look counts as `LOOK` of them. It may stop it.

    Raises:
        BadVideo: frames are not I420 or change their size.
    """
    if not fps > 0:
        raise BadSetting(f"The frame rate is {fps}.", "Give the video's frames per second.")
    readers: dict[str, Reader] = {name: _watermark(name).reader(fps, key) for name in algorithms}
    work = _Work(readers, count, count / fps, tick)
    shape: tuple[int, ...] = ()
    for planes in frames:
        shape = _checked(planes, shape)
        work.take(planes)
        found = work.look(name for name, reader in readers.items() if reader.due())
        if found is not None:
            return found
    found = work.look(readers)
    work.finish()
    return found


def _watermark(algorithm: str) -> Watermark:
    try:
        return ALGORITHMS[algorithm]
    except KeyError:
        raise BadSetting(
            f"There is no watermark {algorithm!r}.", f"Choose of {', '.join(ALGORITHMS)}."
        ) from None


def _checked(planes: Planes, shape: tuple[int, ...]) -> tuple[int, ...]:
    if planes.ndim != 2 or planes.dtype != np.uint8 or planes.shape[0] % 3 or planes.shape[1] % 2:
        raise BadVideo(
            f"A frame is {planes.dtype} {planes.shape}.", "Give I420, uint8 [h * 3 // 2, w], even sides."
        )
    if shape and planes.shape != shape:
        raise BadVideo("The frames change their size.", "Read one video stream at a time.")
    return planes.shape


class _Work:
    """The readers at work; counts what is done, so that a bar moves all the way."""

    def __init__(self, readers: Mapping[str, Reader], count: int, seconds: float, tick: Tick | None) -> None:
        self._readers, self._tick = readers, tick if count else None
        self._total = count + LOOK * sum(reader.looks(seconds) for reader in readers.values())
        self._frames, self._done = 0, 0.0

    def take(self, planes: Planes) -> None:
        for reader in self._readers.values():
            reader.take(planes)
        self._frames += 1
        self._did(1)

    def look(self, names: Iterable[str]) -> Detection | None:
        """What the first of these readers finds that finds anything."""
        for name in names:
            reader, end = self._readers[name], self._done + LOOK
            for reading in reader.look():
                self._did(LOOK / (reader.STEPS + 1))
                if reading is not None:
                    odds = sum(each.tries for each in self._readers.values()) / 2.0**MAC_BITS
                    return Detection(**vars(reading), algorithm=name, odds=odds, frames=self._frames)
            self._did(end - self._done)
        return None

    def finish(self) -> None:
        """All is done, even if fewer frames or looks came than were promised."""
        self._did(self._total)

    def _did(self, units: float) -> None:
        self._done = min(self._done + units, self._total)
        if self._tick:
            self._tick(Stage.FINDING_WATERMARK, int(self._done), self._total)
