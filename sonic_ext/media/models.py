"""Opens the networks that ship with the package, through `cv2.dnn`, checked against their known hashes."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from ..errors import MissingPart

SHA256 = {
    "centerface.onnx": "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    "face_landmark.tflite": "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
    "mean_face.npy": "8d31389a27d7b1a603fa0e6cff1ab52f2bdd2622ce483c697f99d5028cd2ae4b",
}
"""File → SHA-256 of what ships."""
OPENCV = 'pip install "opencv-python-headless>=4.8"'
REINSTALL = "Install the extension again."


def model_path(name: str) -> Path:
    """Where a shipped model file lies."""
    return Path(str(resources.files("sonic_ext"))) / "assets" / "models" / name


@cache
def model_bytes(name: str) -> bytes:
    """The content of a shipped model file, checked.

    Raises:
        MissingPart: missing or altered.
    """
    try:
        data = model_path(name).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingPart(f"The model file {name} is missing ({reason}).", REINSTALL) from error
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise MissingPart(f"The model file {name} is damaged.", REINSTALL)
    return data


def open_onnx(name: str) -> cv2.dnn.Net:
    """A network of its own for each caller: `cv2.dnn.Net` keeps state and is not thread-safe."""
    return cv2.dnn.readNetFromONNX(np.frombuffer(model_bytes(name), np.uint8))


def open_tflite(name: str) -> tuple[cv2.dnn.Net, bool]:
    """A network, and whether one pass can return several of its layers.

    OpenCV 5 starts a new engine that forgets this model's second output, and its older engine can be
    asked for by path only; a path that is not ASCII cannot be opened on Windows. Then each output
    takes a pass of its own, with the same numbers.
    """
    if not hasattr(cv2.dnn, "readNetFromTFLite"):
        raise MissingPart("This OpenCV cannot run the face model.", OPENCV)
    data, path = model_bytes(name), str(model_path(name))
    if not hasattr(cv2.dnn, "ENGINE_CLASSIC"):
        return cv2.dnn.readNetFromTFLite(np.frombuffer(data, np.uint8)), True
    if path.isascii() and model_path(name).is_file():
        return cv2.dnn.readNetFromTFLite(path, engine=cv2.dnn.ENGINE_CLASSIC), True
    return cv2.dnn.readNetFromTFLite(np.frombuffer(data, np.uint8)), False
