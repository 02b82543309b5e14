"""Convolutions over rows of time, in numpy: what the small networks that ship are made of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layer:
    """A convolution over rows: weights float32 [taps, in, out], bias [out], distance of its taps."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    dilation: int

    @property
    def radius(self) -> int:
        """Rows that it sees to either side."""
        return (len(self.weights) // 2) * self.dilation

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """[rows, in] → [rows - 2 * radius, out]."""
        rows = len(x) - 2 * self.radius
        total: NDArray[np.float32] = np.broadcast_to(self.bias, (rows, len(self.bias))).copy()
        for tap, weights in enumerate(self.weights):
            total += x[tap * self.dilation :][:rows] @ weights
        return total


def read_arrays(path: Path, made: str) -> dict[str, NDArray[Any]]:
    """The arrays of a small network's safetensors file.

    Args:
        made: the `format` that its metadata must state.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or of another format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            stated = (file.metadata() or {}).get("format")
            if stated != made:
                raise ValueError(f"its format is {stated!r}, not {made!r}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def stack_from(arrays: Mapping[str, NDArray[Any]], stack: str) -> tuple[Layer, ...]:
    """The layers `{stack}{n}`, n from 0: `.weights`, `.bias` and `.dilation` of each.

    Raises:
        KeyError: an array is missing.
        ValueError: there are fewer than two layers, or one does not fit the next.
    """
    count = sum(name.startswith(stack) and name.endswith(".bias") for name in arrays)
    layers = tuple(
        Layer(
            np.asarray(arrays[f"{stack}{n}.weights"], dtype=np.float32),
            np.asarray(arrays[f"{stack}{n}.bias"], dtype=np.float32),
            int(np.asarray(arrays[f"{stack}{n}.dilation"]).item()),
        )
        for n in range(count)
    )
    if len(layers) < 2:
        raise ValueError(f"layers of {stack} are missing")
    for layer in layers:
        if layer.weights.ndim != 3 or layer.bias.shape != layer.weights.shape[2:]:
            raise ValueError(f"a layer of {stack} does not fit its bias")
    for layer, following in itertools.pairwise(layers):
        if layer.weights.shape[2] != following.weights.shape[1]:
            raise ValueError(f"layers of {stack} do not fit each other")
    return layers
