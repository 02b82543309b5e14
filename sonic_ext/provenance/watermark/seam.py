"""What a watermark is made of: a marker, a reader, and what a reader says.

A watermark is an algorithm's name, a `Marker` and a `Reader`; the package's list has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import BadSetting

Planes: TypeAlias = NDArray[np.uint8]
"""A frame as I420: planes Y, U, V below each other, uint8 [height * 3 // 2, width], both sides even."""


@dataclass(frozen=True)
class Reading:
    """An id whose MAC agreed, and where."""

    payload: int
    """The 64-bit id."""
    scale: tuple[float, float]
    """Size now over size when marked, across and down."""
    mirrored: bool
    """True when the picture is flipped left to right or upside down."""
    signal: float
    """Amplitude over noise of a coded bit; below about 0.7 nothing can be read."""


class Marker(Protocol):
    """Marks the frames of one video, in order."""

    def embed(self, planes: Planes, index: int) -> None:
        """Mark frame `index` in place."""


class Reader(Protocol):
    """Takes the frames of one video, in order, and looks for the mark now and then."""

    STEPS: int
    """How often `look` yields at most."""
    tries: int
    """How many messages were decoded so far, each with a MAC of 48 bits to pass."""

    def take(self, planes: Planes) -> None:
        """Gather one more frame."""

    def due(self) -> bool:
        """Whether enough is new for another look."""

    def looks(self, seconds: float) -> int:
        """How often a video of this length is looked at, the last time at its end."""

    def look(self) -> Iterator[Reading | None]:
        """Search what was gathered: None after each step, what was read last."""


def checked(planes: Planes, width: int, height: int) -> Planes:
    """The frame, its rows lying together, for a marker of pictures of this size.

    Raises BadSetting when its shape or type is another one.
    """
    if planes.shape != (height * 3 // 2, width) or planes.dtype != np.uint8:
        raise BadSetting(
            f"The frame is {planes.dtype} {planes.shape}, the watermark is for I420 of {width}x{height}.",
            "Make one marker for each size of video.",
        )
    return np.ascontiguousarray(planes)


def luma_of(planes: Planes) -> Planes:
    """The luma plane, [height, width]."""
    return planes[: planes.shape[0] * 2 // 3]


def chroma_of(planes: Planes) -> Planes:
    """U and V, [2, height // 2, width // 2]; the rows of `planes` lie together."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    return planes[height:].reshape(2, height // 2, width // 2)
