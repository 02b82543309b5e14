"""SCRFD, the face detector of insightface's model packs, run from the pack's ONNX file alone.

Guo, Deng, Lattas, Zafeiriou: "Sample and Computation Redistribution for Efficient Face FaceDetection", 2021
(arXiv 2105.04714). On grids of 8, 16, 32 … pixels the network gives for each of one or two anchors a score,
the distances from the cell to the four sides in cells, and, in most files, five points likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPart
from .detection import FaceDetection, fitted, intersection_over_union, non_maximum_suppression
from .geometry import Box
from .onnx import Run, onnx_network

SIDE = 640
"""Pixels; the input is a square of it."""
FILLED = (1.0, 0.5)
"""Parts of the square that the picture takes up, tried in turn: half brings out faces that fill it."""
MEAN, SPREAD = 127.5, 128.0
"""The input is (RGB - MEAN) / SPREAD."""
FIRST_STRIDE = 8
THRESHOLD = 0.5
"""Score from which it is a face."""
OVERLAP = 0.4
"""Intersection over union from which two boxes are one face."""
_ELSE = "Use face_detector=builtin, which needs no file."


class Scrfd:
    """The detector.

    Raises:
        MissingPart: the file cannot be read, or neither onnxruntime nor OpenCV runs it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run = _opened(path)

    def __call__(self, rgb: NDArray[np.uint8]) -> list[FaceDetection]:
        """Faces in a uint8 [height, width, 3] picture, most certain first, boxes in its pixels.

        Raises:
            MissingPart: the network's answer is not that of an SCRFD detector.
        """
        for filled in FILLED:
            canvas, scale = fitted(rgb, SIDE * filled, SIDE, background=0)
            found = self._decoded(canvas)
            if found:
                return [face.scaled(1 / scale, 1 / scale) for face in found]
        return []

    def _decoded(self, canvas: NDArray[Any]) -> list[FaceDetection]:
        blob = ((canvas.astype(np.float32) - MEAN) / SPREAD).transpose(2, 0, 1)[None]
        try:
            return decoded(self._run(blob), SIDE)
        except ValueError as problem:
            raise MissingPart(
                f"{self._path} is no SCRFD face detector: {problem}.",
                f"Name another pack, or take its det_*.onnx anew from insightface. {_ELSE}",
            ) from problem


def decoded(outputs: Sequence[NDArray[Any]], side: int) -> list[FaceDetection]:
    """Faces out of the network's answer, most certain first, boxes in pixels of its input.

    Args:
        outputs: in any order and with or without a batch of one: per grid [n, 1] scores, [n, 4] distances
            and, if there are any, [n, 10] points; n = rows · columns · anchors.
        side: of the square input, in pixels.

    Raises:
        ValueError: the outputs are no such grids.
    """
    scores, distances, points = (_of_width(outputs, width) for width in (1, 4, 10))
    sizes = [len(rows) for rows in scores]
    known = {1: scores, 4: distances, 10: points}
    if not scores or sizes != [len(rows) for rows in distances]:
        raise ValueError(f"its outputs are {', '.join(str(tuple(each.shape)) for each in outputs)}")
    if sum(map(len, known.values())) != len(outputs) or (points and sizes != [len(rows) for rows in points]):
        raise ValueError(f"its outputs are {', '.join(str(tuple(each.shape)) for each in outputs)}")
    found: list[FaceDetection] = []
    for level, score in enumerate(scores):
        own = points[level] if points else None
        found += _level(score[:, 0], distances[level], own, FIRST_STRIDE << level, side)
    return non_maximum_suppression(found, intersection_over_union, OVERLAP)


def _of_width(outputs: Sequence[NDArray[Any]], width: int) -> list[NDArray[Any]]:
    """Outputs with rows of that length as [n, width], the finest grid first."""
    rows = [each.reshape(-1, width) for each in outputs if each.ndim >= 2 and each.shape[-1] == width]
    return sorted(rows, key=len, reverse=True)


def _level(
    score: NDArray[Any], distances: NDArray[Any], points: NDArray[Any] | None, stride: int, side: int
) -> list[FaceDetection]:
    across = side // stride
    anchors = len(score) // across**2
    if anchors < 1 or anchors * across**2 != len(score):
        raise ValueError(f"{len(score)} answers for a grid of {across} × {across} cells")
    found = []
    for row in np.flatnonzero(score > THRESHOLD):
        y, x = divmod(int(row) // anchors, across)
        centre = np.array([x, y], np.float64) * stride
        near, far = distances[row, :2] * stride, distances[row, 2:] * stride
        box = Box(*(float(value) for value in (*(centre - near), *(centre + far))))
        own = None if points is None else (centre + points[row].reshape(5, 2) * stride).astype(np.float32)
        if box.area and all(map(math.isfinite, box)):
            found.append(FaceDetection(box, float(score[row]), own))
    return found


def _opened(path: Path) -> Run:
    """float32 [1, 3, SIDE, SIDE] → the network's outputs in any order."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingPart(
            f"The face detector {path} cannot be read: {error.strerror or error}.", _ELSE
        ) from error
    return onnx_network(data, partial(_unusable, path), keeps_state=True)


def _unusable(path: Path, runner: str, reason: str) -> MissingPart:
    other = "" if runner == "onnxruntime" else "Try: python -m pip install onnxruntime. "
    return MissingPart(f"{runner} cannot run the face detector {path} ({reason}).", f"{other}{_ELSE}")
