"""The first watermark: a keyed pattern in luma, turning its sign every 0.8 s. Still read, no longer written.

`MarkerV1` adds a pattern of about one grey level (see `version1_pattern`), stronger where the picture is
busy. Limits: sides from 256 pixels; 2 s of video, less is seldom readable, under 0.8 s never; no turn, no
change of speed, no local warps.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .detail import detail_in, smaller
from .seam import Planes, checked, luma_of
from .version1_pattern import ALGORITHM, TILE, UNIT, sign_of, tick_of, tile
from .version1_reader import ReaderV1

__all__ = ["ALGORITHM", "MarkerV1", "ReaderV1"]

FLAT = 0.65
"""Pattern's standard deviation on smooth ground, in grey levels, at 512 x 512: under one step of the scale.
Small frames hold fewer tiles to average and get a little more, large ones less."""
FLAT_RANGE = (0.5, 0.8)
BUSY_GAIN = 0.5
"""Grey levels more per grey level of local detail."""
MOTION_GAIN = 0.15
"""Grey levels more per grey level of change between frames: motion hides the mark, and encoders spoil it."""
MOTION_CAP = 4.0
MOTION_KEPT = 0.92
PAN_LIFT = 0.6
"""Grey levels more all over when the whole picture moves, from a mean change of PAN on."""
PAN = 1.0
PEAK = 2.4
"""Largest standard deviation of the pattern anywhere."""
POWER_CAP = 2.6
"""Largest mean square over a frame, in squared grey levels: with rounding 43.8 dB."""
LEVELS = 32
"""Strengths are whole numbers of 1/32 grey level."""


class MarkerV1:
    """Marks the frames of one video, in order: motion since the frame before sets how strong the mark is."""

    def __init__(self, payload: int, width: int, height: int, fps: float, key: bytes) -> None:
        self._fps = fps
        self._size = (width, height)
        repeats = (-(-height // TILE), -(-width // TILE))
        pattern = np.tile(tile(payload, key), repeats)[:height, :width]
        self._flat = float(np.clip(FLAT * (512 * 512 / (width * height)) ** 0.125, *FLAT_RANGE))
        self._last: NDArray[np.float32] | None = None
        self._last_index = 0
        self._motion: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)
        self._pattern = np.ascontiguousarray(pattern, dtype=np.int16)

    def embed(self, planes: Planes, index: int) -> None:
        """Mark frame `index` in place. Out of order it counts as still."""
        checked(planes, *self._size)
        luma = luma_of(planes)
        scale = sign_of(tick_of(index, self._fps)) / (LEVELS * UNIT)
        change = cv2.multiply(self._pattern, self._strength(luma, index), scale=scale, dtype=cv2.CV_16S)
        luma[...] = cv2.add(luma, change, dtype=cv2.CV_8U)

    def _strength(self, luma: NDArray[np.uint8], index: int) -> NDArray[np.int16]:
        """How strong the pattern may be, int16 [h, w] in 1/LEVELS grey levels: detail and motion hide it."""
        width, height = self._size
        small = smaller(luma)
        motion = self._motion_in(small, index)
        lift = PAN_LIFT * min(1.0, float(motion.mean()) / PAN)
        sigma = np.minimum(self._flat + lift + BUSY_GAIN * detail_in(small) + MOTION_GAIN * motion, PEAK)
        sigma *= min(1.0, float(np.sqrt(POWER_CAP / np.mean(sigma * sigma))))
        levels = np.round(sigma * LEVELS).astype(np.int16)
        return np.asarray(cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.int16)

    def _motion_in(self, small: NDArray[np.float32], index: int) -> NDArray[np.float32]:
        """Change since the frame before, grey levels [h, w]; falls slowly, so that the mark does not pump."""
        if self._last is None or index != self._last_index + 1:
            self._motion = np.zeros_like(small)
        else:
            change = np.minimum(cv2.blur(cv2.absdiff(small, self._last), (5, 5)), MOTION_CAP)
            self._motion = np.maximum(change, MOTION_KEPT * self._motion)
        self._last, self._last_index = small, index
        return self._motion
