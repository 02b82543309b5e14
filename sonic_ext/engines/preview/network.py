"""The viseme network in numpy.

A stack of dilated convolutions over log-mel rows (levelled, see `mel`): one that widens, residual ones
between, and a linear layer onto the classes. Its shape is read from the weights. `train/visemes.py`
trains the same network in torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MissingPart
from .mel import BANDS
from .visemes import Viseme

WEIGHTS = Path(__file__).parents[2] / "assets" / "models" / "visemes.safetensors"
LOWEST_DB, HIGHEST_DB, SCALE_DB = -70.0, 15.0, 20.0
"""Levelled decibels are cut to this range and divided before the network sees them."""


def inputs(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levelled log-mel as the network takes it, float32 [rows, BANDS]."""
    return np.asarray((np.clip(rows, LOWEST_DB, HIGHEST_DB) / SCALE_DB + 1.0), dtype=np.float32)


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


@dataclass(frozen=True)
class Network:
    """Log-mel rows in, probabilities of visemes out."""

    layers: tuple[Layer, ...]

    @property
    def radius(self) -> int:
        """Rows of context needed to either side."""
        return sum(layer.radius for layer in self.layers)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(layer.weights.size + layer.bias.size for layer in self.layers)

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, float32 [rows - 2 * radius, classes], of levelled log-mel [rows, BANDS]."""
        first, *middle, last = self.layers
        x = np.maximum(first(inputs(rows)), 0.0)
        for layer in middle:
            x = x[layer.radius : len(x) - layer.radius] + np.maximum(layer(x), 0.0)
        scores = last(x)
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(likely / likely.sum(axis=1, keepdims=True), dtype=np.float32)


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Network:
    """Build the network from `layer{n}.weights`, `.bias` and `.dilation`, n from 0.

    Raises:
        ValueError: the arrays do not fit the features or the classes.
    """
    count = sum(name.endswith(".bias") for name in arrays)
    layers = tuple(
        Layer(
            np.asarray(arrays[f"layer{n}.weights"], dtype=np.float32),
            np.asarray(arrays[f"layer{n}.bias"], dtype=np.float32),
            int(arrays[f"layer{n}.dilation"]),
        )
        for n in range(count)
    )
    if layers[0].weights.shape[1] != BANDS or len(layers[-1].bias) != len(Viseme):
        raise ValueError(f"want {BANDS} bands in and {len(Viseme)} classes out")
    return Network(layers)


@lru_cache(maxsize=2)
def load(path: Path = WEIGHTS) -> Network:
    """The network from a safetensors file.

    Raises:
        MissingPart: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return from_arrays(load_file(path))
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise MissingPart(
            f"The speech network {path.name} cannot be read ({error}).", "Install the extension afresh."
        ) from error
