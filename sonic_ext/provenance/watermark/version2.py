"""The second watermark: a pattern that stands still, in chroma all over and in luma.

Chroma carries it green against magenta (U and V together), where portraits have least of their own; it is
read from one frame. For grey copies luma carries the same pattern: still where the picture is smooth, and
turning its sign every 2.5 s where it is busy, because what is busy drowns a pattern that never changes. All
strengths are fixed by the first frame, until the picture becomes another one: what does not change costs an
encoder nothing after the first frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detail import Real, smaller
from .seam import Planes, checked, chroma_of, luma_of
from .version2_pattern import ALGORITHM, HALF_PERIOD, TILE, tile
from .version2_reader import Reader
from .version2_strength import SHIPPED, Strength, strengths

__all__ = ["ALGORITHM", "SHIPPED", "Marker", "Reader", "Strength"]


OTHER_PICTURE = 16.0
"""Mean change of the picture, in grey levels, after which the strengths are fixed anew."""
MOVING, QUIET = 0.5, 0.2
"""The whole picture counts as moving while its mean change from frame to frame, in grey levels, is more than
this share of its mean detail and QUIET levels more."""
STARTED, STOPPED = 3, 25
"""Frames on end after which that is believed."""


@dataclass(frozen=True)
class _Fixed:
    """What is added to a frame: int16 of the planes' shapes."""

    small: Real
    """The picture it was made for, SHRINK times smaller."""
    detail: float
    """The mean of its detail, grey levels."""
    luma: tuple[NDArray[np.int16], NDArray[np.int16]]
    """While the sign is +1 and while it is -1."""
    chroma: NDArray[np.int16]
    """For U and V alike."""


class Marker:
    """Marks the frames of one video, in order."""

    def __init__(
        self, payload: int, width: int, height: int, fps: float, key: bytes, strength: Strength = SHIPPED
    ) -> None:
        self._payload, self._key = payload, key
        self._size, self._fps, self._strength = (width, height), fps, strength
        self._fixed: _Fixed | None = None
        self._last: Real | None = None
        self._since, self._moving = 0, False

    def embed(self, planes: Planes, index: int) -> None:
        """Mark frame `index` in place."""
        whole = checked(planes, *self._size)
        luma = luma_of(whole)
        fixed = self._fixed_for(luma)
        turned = int(index / self._fps / HALF_PERIOD + 1e-6) % 2
        cv2.add(luma, fixed.luma[turned], dst=luma, dtype=cv2.CV_8U)
        for plane in chroma_of(whole):
            cv2.add(plane, fixed.chroma, dst=plane, dtype=cv2.CV_8U)
        if whole is not planes:
            planes[...] = whole

    def _fixed_for(self, luma: NDArray[np.uint8]) -> _Fixed:
        small = smaller(luma)
        change = 0.0 if self._last is None else float(cv2.absdiff(small, self._last).mean())
        limit = MOVING * (self._fixed.detail + QUIET) if self._fixed else 0.0
        self._last = small
        # For how many frames on end the picture has been moving (> 0) or not (< 0) as a whole.
        self._since = max(self._since, 0) + 1 if change > limit else min(self._since, 0) - 1
        moving = self._moving
        if self._since in (STARTED, -STOPPED):
            moving = self._since > 0
        other = self._fixed and float(cv2.absdiff(small, self._fixed.small).mean()) > OTHER_PICTURE
        if self._fixed is None or moving != self._moving or (other and not moving):
            self._moving = moving
            self._fixed = self._fix(small)
        return self._fixed

    def _fix(self, small: Real) -> _Fixed:
        width, height = self._size
        half = (width // 2, height // 2)
        repeats = (-(-height // TILE), -(-width // TILE))
        pattern = np.tile(tile(self._payload, self._key), repeats)[:height, :width]
        own = strengths(small, self._strength)
        share = self._strength.moving if self._moving else 1.0
        still, turning = (cv2.resize(share * part, self._size) * pattern for part in (own.still, own.turning))
        still = np.clip(still, -1, 1)  # not more than a level where the picture is smooth
        chroma = cv2.resize(share * own.chroma, half) * cv2.resize(
            pattern, half, interpolation=cv2.INTER_AREA
        )
        return _Fixed(
            small,
            own.detail,
            (np.rint(still + turning).astype(np.int16), np.rint(still - turning).astype(np.int16)),
            np.rint(chroma).astype(np.int16),
        )
