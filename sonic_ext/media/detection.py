"""What face detectors have in common: a detection, its input, and which boxes are one face."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Box


@dataclass(frozen=True)
class FaceDetection:
    """One face."""

    box: Box
    """Forehead to chin, ear to ear, in pixels of the picture; may reach outside."""
    score: float
    """0 to 1."""
    points: NDArray[np.float32] | None = None
    """float32 [5, 2]: eye, eye, nose tip, mouth corner, mouth corner; left in the picture first. None from
    a detector that gives boxes only."""

    def scaled(self, sx: float, sy: float) -> FaceDetection:
        """In the coordinates of a picture resized by `sx`, `sy`."""
        points = None if self.points is None else self.points * np.array([sx, sy], np.float32)
        return FaceDetection(self.box.scaled(sx, sy), self.score, points)

    def turned(self, quarters: int, width: int, height: int) -> FaceDetection:
        """In the coordinates of a picture of this size that was turned anticlockwise by quarters."""
        points = None if self.points is None else turned_points(self.points, quarters, width, height)
        return FaceDetection(self.box.turned(quarters, width, height), self.score, points)


def turned_points(points: NDArray[np.float32], quarters: int, width: int, height: int) -> NDArray[np.float32]:
    """Pixels [n, 2] in a picture of this size that was turned anticlockwise by quarters."""
    for _ in range(quarters % 4):
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=-1)
        width, height = height, width
    return points


def intersection_over_union(one: Box, other: Box) -> float:
    """0 for boxes apart, 1 for the same box."""
    both = one.overlap(other)
    return both / (one.area + other.area - both) if both else 0.0


def intersection_over_smaller(one: Box, other: Box) -> float:
    """Share of the smaller box that the other covers: 1 where it lies within."""
    both = one.overlap(other)
    return both / min(one.area, other.area) if both else 0.0


def non_maximum_suppression(
    detections: Iterable[FaceDetection], overlap: Callable[[Box, Box], float], limit: float
) -> list[FaceDetection]:
    """The best of each group of boxes that overlap by more than `limit`, most certain first."""
    kept: list[FaceDetection] = []
    for face in sorted(detections, key=lambda face: face.score, reverse=True):
        if all(overlap(face.box, other.box) <= limit for other in kept):
            kept.append(face)
    return kept


def fitted(
    rgb: NDArray[np.uint8], long_side: float, side: int, background: int
) -> tuple[NDArray[np.uint8], float]:
    """A detector's square input.

    Args:
        rgb: uint8 [height, width, 3].
        long_side: pixels of the square that the picture's long side takes up.
        side: of the square, pixels.
        background: level of what the picture leaves free.

    Returns:
        The picture in the top left of the square, uint8 [side, side, 3], and pixels of the square per pixel
        of the picture.
    """
    height, width = rgb.shape[:2]
    scale = long_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.full((side, side, 3), background, np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=how)
    return canvas, scale
