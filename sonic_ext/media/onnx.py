"""ONNX files of others, run in onnxruntime where that is installed, else in OpenCV."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPart

Run = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]
"""A network: all outputs for one input."""
Unusable = Callable[[str, str], MissingPart]
"""The error to raise, of who cannot run the network (onnxruntime, OpenCV) and why."""


def onnx_network(data: bytes, unusable: Unusable, keeps_state: bool = False) -> Run:
    """A network from the bytes of its file: paths that are not ASCII are closed to both runners on Windows.

    Args:
        data: of the file.
        unusable: makes the error.
        keeps_state: `cv2.dnn` would carry one call over into the next: it reads the network anew each time.

    Raises:
        MissingPart: it cannot be run; also by what is returned.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return _by_opencv(data, unusable, keeps_state)
    try:
        session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which have no common root
        raise unusable("onnxruntime", _reason(error)) from error
    name = session.get_inputs()[0].name
    return lambda blob: session.run(None, {name: blob})


def _by_opencv(data: bytes, unusable: Unusable, keeps_state: bool) -> Run:
    def read() -> Any:
        return cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))

    def run(blob: NDArray[Any]) -> Sequence[NDArray[Any]]:
        try:
            network = read() if kept is None else kept
            network.setInput(blob)
            return [np.asarray(each) for each in network.forward(network.getUnconnectedOutLayersNames())]
        except cv2.error as error:
            raise unusable("OpenCV", _reason(error)) from error

    kept = None
    if not keeps_state:
        try:
            kept = read()
        except cv2.error as error:
            raise unusable("OpenCV", _reason(error)) from error
    return run


def _reason(error: Exception) -> str:
    """The last line that a runner says, at most 200 characters."""
    lines = [line.strip(" >") for line in str(error).splitlines() if line.strip(" >")]
    return (lines or [type(error).__name__])[-1][:200].rstrip(".")
