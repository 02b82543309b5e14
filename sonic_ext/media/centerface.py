"""CenterFace: where the faces are.

Xu, Yan, Sun, Yang, Luo: "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019.
The network answers on a grid of 4-pixel cells: a heat (face centre here?), the logarithm of height and
width in cells, the centre's offset inside its cell, and five points relative to the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..progress import Stage, Tick
from .geometry import Box
from .models import open_onnx

CELL = 4
"""Pixels per cell of the output grid."""
OUTPUTS = ("537", "538", "539", "540")
"""Layers: heat [1, 1, h, w], size [1, 2, h, w], offset [1, 2, h, w], points [1, 10, h, w]."""
THRESHOLD = 0.5
"""Heat from which a cell counts as a face."""
SIDES = (640, 320, 1280)
"""Sides of the square the picture is fitted into, tried in turn until something is found:
320 brings out faces that fill the picture, 1280 small ones."""
SHARED = 0.4
"""Two boxes are one face when they share more than this part of the smaller one."""


@dataclass(frozen=True)
class Detection:
    """One face."""

    box: Box
    """Forehead to chin, ear to ear, in pixels of the picture."""
    score: float
    """0 to 1."""
    points: np.ndarray | None
    """float32 [5, 2]: eye, eye, nose tip, mouth corner, mouth corner; left in the picture first. None from
    a detector that gives boxes only."""


def detect(rgb: np.ndarray, tick: Tick | None = None) -> list[Detection]:
    """Faces in a uint8 [height, width, 3] picture, largest first. `tick` is called before each attempt."""
    for number, side in enumerate(SIDES):
        if side > SIDES[0] and max(rgb.shape[:2]) <= SIDES[0]:
            break
        if tick is not None:
            tick(Stage.FINDING_FACE, number, len(SIDES) + 1)
        found = _distinct(_detect_at(rgb, side))
        if found:
            return sorted(found, key=lambda face: face.box.area, reverse=True)
    return []


def _detect_at(rgb: np.ndarray, side: int) -> list[Detection]:
    # A fresh network each time: one that has seen another size answers wrongly under OpenCV 4.
    canvas, scale = _fitted(rgb, side)
    net = open_onnx("centerface.onnx")
    net.setInput(cv2.dnn.blobFromImage(canvas))
    return _decoded([np.asarray(output)[0] for output in net.forward(OUTPUTS)], scale)


def _fitted(rgb: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """The picture in the top left of a grey square, and pixels of the square per pixel of the picture."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.full((side, side, 3), 127, np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=how)
    return canvas, scale


def _decoded(outputs: list[np.ndarray], scale: float) -> list[Detection]:
    heat, size, offset, points = outputs
    rows, columns = np.nonzero(heat[0] > THRESHOLD)
    found = []
    for row, column in zip(rows, columns, strict=True):
        height, width = np.exp(size[:, row, column]) * CELL
        top = (row + offset[0, row, column] + 0.5) * CELL - height / 2
        left = (column + offset[1, row, column] + 0.5) * CELL - width / 2
        places = points[:, row, column].reshape(5, 2)[:, ::-1] * (width, height) + (left, top)
        box = Box(*(float(value / scale) for value in (left, top, left + width, top + height)))
        found.append(Detection(box, float(heat[0, row, column]), (places / scale).astype(np.float32)))
    return found


def _distinct(found: list[Detection]) -> list[Detection]:
    """The best of each group of boxes that cover each other."""
    kept: list[Detection] = []
    for face in sorted(found, key=lambda face: face.score, reverse=True):
        if all(face.box.overlap(other.box) <= SHARED * min(face.box.area, other.box.area) for other in kept):
            kept.append(face)
    return kept
