"""Puts the animated square back into the picture that it was cut from.

The square fades out towards its own border, so that the picture goes on without a seam, and its colours are
drawn to the picture's where both can be seen: networks shift colours a little.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Box, smooth

FEATHER = 0.12
"""Width of the fading rim, as a share of the square's side."""
CELLS = 12
"""Cells along each side in which the difference of colours is averaged."""
SPREAD = 2.5
"""Cells over which it is smoothed."""
STRAY = 10.0
"""Levels from the usual difference beyond which something has moved, and says nothing of the colours."""
LIMIT = 6.0
"""Largest change of colours, in levels."""
EASE = 0.15
"""Share of a frame's own difference in the one that is used; the rest is that of the frames before."""


class Paste:
    """A picture with a place in it that is drawn anew for every frame.

    Args:
        picture: uint8 RGB [height, width, 3].
        box: the place; whole pixels, inside the picture.
        feather: width of the fading rim as a share of the box's side. There is none along sides at which the
            box touches the picture's edge.

    Raises:
        ValueError: the box is empty or reaches outside.
    """

    def __init__(self, picture: NDArray[np.uint8], box: Box, feather: float = FEATHER) -> None:
        height, width = picture.shape[:2]
        left, top, right, bottom = box.rounded()
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"{box} in a picture of {width} × {height}")
        self._frame = np.array(picture)
        self._place = self._frame[top:bottom, left:right]
        self._size = right - left, bottom - top
        across = _ramp(right - left, feather, left > 0, right < width)
        down = _ramp(bottom - top, feather, top > 0, bottom < height)
        share = down[:, None] * across
        self._share = cv2.merge([share] * 3)
        self._behind = self._place.astype(np.float32)
        self._colours = _Colours(self._behind, share)
        self._drawn = np.empty_like(self._behind)

    def into(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture with the frame in its place.

        Args:
            frame: uint8 RGB [side, side, 3], of any size; frames of a video in order, for their colours are
                matched smoothly.

        Returns:
            uint8 RGB [height, width, 3]; the same array every time.
        """
        drawn = self._drawn
        drawn[:] = self._fitted(frame)
        cv2.add(drawn, self._colours.missing(drawn), dst=drawn)
        cv2.subtract(drawn, self._behind, dst=drawn)
        cv2.multiply(drawn, self._share, dst=drawn)
        cv2.add(drawn, self._behind, dst=drawn)
        np.rint(drawn, out=drawn)
        self._place[:] = np.clip(drawn, 0, 255, out=drawn)
        return self._frame

    def _fitted(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if frame.shape[1::-1] == self._size:
            return frame
        shrinks = frame.shape[1] >= self._size[0] and frame.shape[0] >= self._size[1]
        return cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


class _Colours:
    """What frames lack to the picture's colours, found where both show; smooth over space and time."""

    def __init__(self, behind: NDArray[np.float32], share: NDArray[np.float32]) -> None:
        self._behind = behind
        self._size = share.shape[::-1]
        self._cells = min(CELLS, self._size[0]), min(CELLS, self._size[1])
        rim = 4 * share * (1 - share)
        self._rim = cv2.merge([rim] * 3)
        self._sample = rim > 0.5
        self._held: NDArray[Any] | None = None

    def missing(self, drawn: NDArray[np.float32]) -> NDArray[np.float32]:
        """Levels to add to a frame, float32 [height, width, 3]."""
        if not self._sample.any():
            return np.zeros_like(drawn)
        apart = cv2.subtract(self._behind, drawn)
        usual = np.median(apart[self._sample][::7], axis=0)
        found = np.clip(self._smoothed(apart, usual), -LIMIT, LIMIT)
        self._held = found if self._held is None else self._held + EASE * (found - self._held)
        return cv2.resize(self._held, self._size, interpolation=cv2.INTER_LINEAR)

    def _smoothed(self, apart: NDArray[np.float32], usual: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean differences, float32 [cells, cells, 3]; what is far from the usual is left out."""
        off = cv2.absdiff(apart, (*map(float, usual), 0.0))
        weights = np.where(off < STRAY, self._rim, np.float32(0))
        sums, counts = (
            cv2.GaussianBlur(
                cv2.resize(values, self._cells, interpolation=cv2.INTER_AREA),
                (0, 0),
                SPREAD,
                borderType=cv2.BORDER_ISOLATED | cv2.BORDER_REFLECT,
            )
            for values in (apart * weights, weights)
        )
        # A pinch of the usual stands in where nothing is to be seen.
        pinch = np.float32(1e-4)
        return (sums + pinch * usual.astype(np.float32)) / (counts + pinch)


def _ramp(length: int, feather: float, low: bool, high: bool) -> NDArray[np.float32]:
    """How much of the frame shows along a side, float32 [length]: 0 at fading ends, 1 inside, smooth."""
    wide = max(1.0, feather * length)
    place = np.arange(length, dtype=np.float32)
    rise = place / wide if low else np.ones_like(place)
    fall = place[::-1] / wide if high else np.ones_like(place)
    return smooth(np.minimum(rise, fall), 0.0, 1.0).astype(np.float32)
