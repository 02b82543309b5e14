"""What to make of YOLOv5-face's answer: boxes in pixels. The network itself runs in `nn.yoloface`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detection import FaceDetection, intersection_over_union, non_maximum_suppression
from .geometry import Box

SHORT_SIDE = 416
"""Pixels that the short side is resized to."""
MULTIPLE = 32
"""Sides of the network's input are rounded up to it."""
STRIDES = (8, 16, 32)
"""Pixels per cell of the network's three grids."""
CONFIDENCE = 0.5
"""A face from here on."""
OVERLAP = 0.45
"""Intersection over union from which two boxes are one face."""


def input_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the network's input for a picture."""
    scale = SHORT_SIDE / min(height, width)
    # Rounded first: 416.00000001 is 416.
    return _up(round(height * scale, 6)), _up(round(width * scale, 6))


def _up(side: float) -> int:
    return math.ceil(side / MULTIPLE) * MULTIPLE


def grids(height: int, width: int) -> list[NDArray[Any]]:
    """The x, y of every cell for an input of that size: float32 [1, 1, rows, columns, 2] per stride."""
    found = []
    for stride in STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        found.append(np.stack([x, y], axis=-1)[None, None].astype(np.float32))
    return found


def faces(answer: NDArray[Any], height: int, width: int) -> list[FaceDetection]:
    """Faces in a picture of `height` × `width`, most certain first.

    Args:
        answer: [n, 16] of one picture: centre x, y, width, height in pixels of the input, objectness,
            ten numbers of landmarks, class score.
        height: of the picture.
        width: of the picture.

    Returns:
        Boxes in pixels of the picture, without points.
    """
    rows = answer.astype(np.float32)
    confidence = rows[:, 4] * rows[:, 15]
    chosen = np.flatnonzero(confidence > CONFIDENCE)
    down, across = (side / got for side, got in zip((height, width), input_size(height, width), strict=True))
    found = [FaceDetection(_box(rows[row]), float(confidence[row])) for row in chosen]
    distinct = non_maximum_suppression(found, intersection_over_union, OVERLAP)
    return [face.scaled(across, down) for face in distinct]


def _box(row: NDArray[Any]) -> Box:
    x, y, width, height = (float(value) for value in row[:4])
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def largest(found: list[FaceDetection]) -> Box:
    """The face that is animated.

    Raises:
        ValueError: none were found.
    """
    return max((face.box for face in found), key=lambda box: box.area)
