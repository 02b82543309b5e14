"""Where a picture hides a pattern: its local detail."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Real: TypeAlias = NDArray[np.float32]

DETAIL_CAP = 6.0
"""Detail above this counts as this."""
SHRINK = 4
"""Detail is measured on a copy this many times smaller."""


def smaller(luma: NDArray[np.uint8] | Real) -> Real:
    """A picture SHRINK times smaller, float32."""
    height, width = luma.shape
    size = (-(-width // SHRINK), -(-height // SHRINK))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def detail_in(small: Real) -> Real:
    """Local detail present all around, grey levels [h, w]: a hard edge alone hides nothing beside it."""
    detail = np.minimum(cv2.absdiff(small, cv2.blur(small, (5, 5))), DETAIL_CAP)
    inner = cv2.erode(cv2.blur(detail, (3, 3)), np.ones((7, 7), dtype=np.uint8))
    return np.asarray(cv2.blur(inner, (3, 3)), dtype=np.float32)
