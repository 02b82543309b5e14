"""The second watermark: a pattern that stands still, in chroma all over and in luma.

Chroma carries it green against magenta (U and V together), where portraits have least of their own; it is
read from one frame. For grey copies luma carries the same pattern, half as large, where the reader looks for
it. All of it is fitted to the first frame, until the picture becomes another one: what does not change costs
an encoder nothing after the first frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detail import Real, smaller
from .seam import Planes, checked, chroma_of, luma_of
from .version2_carriers import CHROMA, LUMA
from .version2_informed import fitted, plain
from .version2_pattern import ALGORITHM, written
from .version2_reader import ReaderV2
from .version2_strength import MOST_CHROMA, SHIPPED, Strength, strengths, where_read

__all__ = ["ALGORITHM", "SHIPPED", "MarkerV2", "ReaderV2", "Strength"]


OTHER_PICTURE = 16.0
"""Mean change of the picture, in grey levels, after which the strengths are fixed anew."""
MOVING, QUIET = 0.5, 0.2
"""The whole picture counts as moving while its mean change from frame to frame, in grey levels, is more than
this share of its mean detail and QUIET levels more."""
SLOWED = 0.5
"""Once it moves, it has stopped when it is slower than this share of that: a pan that slows down goes on."""
STARTED, STOPPED = 3, 25
"""Frames on end after which that is believed."""


@dataclass(frozen=True)
class _Fixed:
    """What is added to a frame: int16 of the planes' shapes."""

    small: Real
    """The picture it was made for, SHRINK times smaller."""
    detail: float
    """The mean of its detail, grey levels."""
    luma: NDArray[np.int16]
    chroma: NDArray[np.int16]
    """For U and V alike."""


class MarkerV2:
    """Marks the frames of one video, in order."""

    def __init__(
        self, payload: int, width: int, height: int, fps: float, key: bytes, strength: Strength = SHIPPED
    ) -> None:
        self._payload, self._key = payload, key
        self._size, self._strength = (width, height), strength
        self._fixed: _Fixed | None = None
        self._last: Real | None = None
        self._since, self._moving = 0, False

    def embed(self, planes: Planes, index: int) -> None:
        """Mark frame `index` in place."""
        whole = checked(planes, *self._size)
        luma = luma_of(whole)
        fixed = self._fixed_for(whole)
        cv2.add(luma, fixed.luma, dst=luma, dtype=cv2.CV_8U)
        for plane in chroma_of(whole):
            cv2.add(plane, fixed.chroma, dst=plane, dtype=cv2.CV_8U)
        if whole is not planes:
            planes[...] = whole

    def _fixed_for(self, planes: Planes) -> _Fixed:
        small = smaller(luma_of(planes))
        change = 0.0 if self._last is None else float(cv2.absdiff(small, self._last).mean())
        limit = MOVING * (self._fixed.detail + QUIET) if self._fixed else 0.0
        if self._moving:
            limit *= SLOWED
        self._last = small
        # For how many frames on end the picture has been moving (> 0) or not (< 0) as a whole.
        self._since = max(self._since, 0) + 1 if change > limit else min(self._since, 0) - 1
        moving = self._moving
        if self._since in (STARTED, -STOPPED):
            moving = self._since > 0
        other = self._fixed and float(cv2.absdiff(small, self._fixed.small).mean()) > OTHER_PICTURE
        if self._fixed is None or moving != self._moving or (other and not moving):
            self._moving = moving
            self._fixed = self._fix(planes, small)
        return self._fixed

    def _fix(self, planes: Planes, small: Real) -> _Fixed:
        own = strengths(small, self._strength)
        waves, wanted = written(self._payload, self._key)
        # From the frame before no encoder can take a pattern that stands still in front of a moving picture;
        # luma is dearest then, and would not be read from a grey copy all the same.
        luma_share, chroma_share = (0.0, self._strength.moving) if self._moving else (1.0, 1.0)
        luma = luma_of(planes).astype(np.float32)
        chroma = np.add(*chroma_of(planes), dtype=np.float32)
        worth, most = (_as_large_as(luma, part) for part in (own.luma, own.most))
        weights = worth * LUMA.weights(LUMA.flat(luma))
        marks = []
        for image, seen, strength, limit, carrier in (
            (luma, worth, where_read(luma_share * worth, weights, self._strength), most, LUMA),
            (chroma, 1.0, _as_large_as(chroma, chroma_share * own.chroma), MOST_CHROMA, CHROMA),
        ):
            if self._moving:  # what is there now is elsewhere in a moment
                mark = plain(wanted, waves, strength, limit, carrier)
            else:
                mark = fitted(image, seen, wanted, waves, strength, limit, carrier)
            marks.append(_limited(mark, self._strength.power).astype(np.int16))
        return _Fixed(small, own.detail, *marks)


def _limited(mark: Real, power: float) -> Real:
    """A mark of at most this mean square."""
    found = float(np.mean(mark * mark))
    return mark if found <= power else np.asarray(np.rint(mark * np.sqrt(power / found)), dtype=np.float32)


def _as_large_as(image: Real, small: Real) -> Real:
    return np.asarray(cv2.resize(small, image.shape[::-1]), dtype=np.float32)
