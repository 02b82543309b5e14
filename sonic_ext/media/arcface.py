"""ArcFace, the face recogniser of insightface's model packs, run from the pack's ONNX file alone.

Deng, Guo, Xue, Zafeiriou: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019. A face is
laid into a square of 112 pixels by five points, eyes, nose and corners of the mouth; the network answers with
a direction, and two pictures of one person have directions that are near each other.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPart
from .mesh import MOUTH, eye_centres, fit_similarity
from .onnx import Run, onnx_network

SIDE = 112
"""Pixels of the square."""
MIDDLE = 127.5
"""The input is (RGB - MIDDLE) / MIDDLE."""
PLACES = (
    *((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366)),
    *((41.5493, 92.3655), (70.7299, 92.2041)),
)
"""Where the points lie in the square: eye to the left, eye to the right, nose, corners of the mouth."""
NOSE_TIP = 1
_HINT = "Take the pack anew from insightface, or leave identity out."


class ArcFace:
    """The recogniser; for one thread.

    Raises:
        MissingPart: the file cannot be read, or neither onnxruntime nor OpenCV runs it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run = _opened(path)

    def direction(self, rgb: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Of a face, float32 [n] of length 1; the dot product of two is their likeness, -1 to 1.

        Args:
            rgb: uint8 [height, width, 3].
            points: the face in its pixels, [468, 2 or more].

        Raises:
            MissingPart: the network's answer is not one direction.
        """
        blob = ((laid_square(rgb, points).astype(np.float32) - MIDDLE) / MIDDLE).transpose(2, 0, 1)[None]
        answer = np.asarray(self._run(np.ascontiguousarray(blob))[0], np.float32)
        length = float(np.linalg.norm(answer))
        if answer.ndim != 2 or len(answer) != 1 or not np.isfinite(length) or not length:
            raise MissingPart(f"{self._path} does not answer as a face recogniser does.", _HINT)
        return np.asarray(answer[0] / length, np.float32)


def laid_square(rgb: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The face as the network sees it, uint8 RGB [SIDE, SIDE, 3]."""
    flat = points[:, :2].astype(np.float64)
    five = np.stack([*eye_centres(flat), flat[NOSE_TIP], *flat[list(MOUTH)]])
    scale, turn, shift = fit_similarity(five, np.array(PLACES))
    into = np.column_stack([scale * turn, shift])
    return np.asarray(cv2.warpAffine(rgb, into, (SIDE, SIDE), flags=cv2.INTER_LINEAR), np.uint8)


def _opened(path: Path) -> Run:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingPart(
            f"The face recogniser {path} cannot be read: {error.strerror or error}.", _HINT
        ) from error
    return onnx_network(data, partial(_unusable, path))


def _unusable(path: Path, runner: str, reason: str) -> MissingPart:
    return MissingPart(f"{runner} cannot run the face recogniser {path} ({reason}).", _HINT)
