"""CenterFace: where the faces are.

Xu, Yan, Sun, Yang, Luo: "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019.
The network answers on a grid of 4-pixel cells: a heat (face centre here?), the logarithm of height and
width in cells, the centre's offset inside its cell, and five points relative to the box.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..progress import Stage, Tick
from .detection import FaceDetection, fitted, intersection_over_smaller, non_maximum_suppression
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
GREY = 127
"""Level around the picture in that square."""
SHARED = 0.4
"""Two boxes are one face when they share more than this part of the smaller one."""


def detect(rgb: NDArray[np.uint8], tick: Tick | None = None) -> list[FaceDetection]:
    """Faces in a uint8 [height, width, 3] picture, largest first. `tick` is called before each attempt."""
    for number, side in enumerate(SIDES):
        if side > SIDES[0] and max(rgb.shape[:2]) <= SIDES[0]:
            break
        if tick is not None:
            tick(Stage.FINDING_FACE, number, len(SIDES) + 1)
        distinct = detect_at(rgb, side, THRESHOLD)
        if distinct:
            return sorted(distinct, key=lambda face: face.box.area, reverse=True)
    return []


def detect_at(rgb: NDArray[np.uint8], side: int, threshold: float) -> list[FaceDetection]:
    """Faces in a picture fitted into a square, from a heat on; most certain first."""
    # A fresh network each time: one that has seen another size answers wrongly under OpenCV 4.
    canvas, scale = fitted(rgb, side, side, GREY)
    net = open_onnx("centerface.onnx")
    net.setInput(cv2.dnn.blobFromImage(canvas))
    found = _decoded([np.asarray(output)[0] for output in net.forward(OUTPUTS)], scale, threshold)
    return non_maximum_suppression(found, intersection_over_smaller, SHARED)


def _decoded(outputs: list[NDArray[np.float32]], scale: float, threshold: float) -> list[FaceDetection]:
    heat, size, offset, points = outputs
    rows, columns = np.nonzero(heat[0] > threshold)
    found = []
    for row, column in zip(rows, columns, strict=True):
        height, width = np.exp(size[:, row, column]) * CELL
        top = (row + offset[0, row, column] + 0.5) * CELL - height / 2
        left = (column + offset[1, row, column] + 0.5) * CELL - width / 2
        places = points[:, row, column].reshape(5, 2)[:, ::-1] * (width, height) + (left, top)
        box = Box(*(float(value / scale) for value in (left, top, left + width, top + height)))
        found.append(FaceDetection(box, float(heat[0, row, column]), (places / scale).astype(np.float32)))
    return found
