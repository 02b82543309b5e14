"""The viseme network in numpy.

Two stacks of dilated convolutions over log-mel rows (levelled, see `mel`). The fine one sees every row and
a sixth of a second around it: one layer that widens, residual ones between, a linear layer onto the classes.
The slow one sees averages and minima of `BLOCK` rows and more than a second around them: who speaks, and
what is heard in the gaps. Its last layer is added to the fine one's first.

Besides the classes there is a gate: how likely somebody in the foreground speaks. What is not spoken is
silence, whatever is heard. The shape is read from the weights. `train/visemes.py` trains the same network in
torch.
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
from ...media.mel import BANDS
from ...nn.temporal import Layer, read_arrays, stack_from
from .visemes import Viseme

WEIGHTS = Path(__file__).parents[2] / "assets" / "models" / "visemes.safetensors"
FORMAT = "visemes 2"
"""`format` in the file's metadata."""
BLOCK = 8
"""Rows that the slow layers take together."""
LOWEST_DB, HIGHEST_DB, SCALE_DB = -70.0, 15.0, 20.0
"""Levelled decibels are cut to this range and divided before the network sees them."""


def inputs(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levelled log-mel as the network takes it, float32 [rows, BANDS]."""
    return np.asarray((np.clip(rows, LOWEST_DB, HIGHEST_DB) / SCALE_DB + 1.0), dtype=np.float32)


def blocks(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Averages and minima over each `BLOCK` rows, [rows, BANDS] → [rows / BLOCK, 2 * BANDS], rounded up.

    The last block is filled with copies of the last row.
    """
    whole = np.concatenate([x, np.repeat(x[-1:], -len(x) % BLOCK, axis=0)])
    parts = whole.reshape(-1, BLOCK, x.shape[1])
    return np.concatenate([parts.mean(axis=1), parts.min(axis=1)], axis=1)


@dataclass(frozen=True)
class Network:
    """Log-mel rows in, probabilities of visemes out."""

    fine: tuple[Layer, ...]
    slow: tuple[Layer, ...]

    @property
    def radius(self) -> int:
        """Rows of context needed to either side, whole blocks."""
        near, far = (sum(layer.radius for layer in layers) for layers in (self.fine, self.slow))
        return BLOCK * (far + 1 + -(-near // BLOCK))

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(layer.weights.size + layer.bias.size for layer in (*self.fine, *self.slow))

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, float32 [rows - 2 * radius, classes], of levelled log-mel [rows, BANDS].

        The first row must be the first of a block, counted from the beginning of the sound, so that the same
        sound gives the same numbers wherever it is cut.
        """
        x = inputs(rows)
        far = blocks(x)
        start, *between, end = self.slow
        far = np.maximum(start(far), 0.0)
        for layer in between:
            far = far[layer.radius : len(far) - layer.radius] + np.maximum(layer(far), 0.0)
        around = np.repeat(end(far), BLOCK, axis=0)

        first, *middle, last = self.fine
        reach = sum(layer.radius for layer in middle)
        margin = self.radius - reach
        x = first(x[margin - first.radius : len(x) - margin + first.radius])
        behind = margin - BLOCK * sum(layer.radius for layer in self.slow)
        x = np.maximum(x + around[behind : behind + len(x)], 0.0)
        for layer in middle:
            x = x[layer.radius : len(x) - layer.radius] + np.maximum(layer(x), 0.0)
        return gated(last(x))


def gated(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of the classes, float32 [rows, classes].

    Args:
        scores: before the softmax, [rows, classes + 1]; the last is the gate's, before the sigmoid.
    """
    likely = np.exp(scores[:, :-1] - scores[:, :-1].max(axis=1, keepdims=True))
    spoken = 1.0 / (1.0 + np.exp(np.clip(-scores[:, -1:], -60.0, 60.0)))
    likely *= spoken / likely.sum(axis=1, keepdims=True)
    likely[:, Viseme.SILENCE] += 1.0 - spoken[:, 0]
    return np.asarray(likely, dtype=np.float32)


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Network:
    """Build the network from `fine{n}` and `slow{n}`, n from 0: `.weights`, `.bias` and `.dilation` of each.

    Raises:
        KeyError: an array is missing.
        ValueError: the arrays do not fit each other, the features or the classes.
    """
    fine, slow = stack_from(arrays, "fine"), stack_from(arrays, "slow")
    ends = (fine[0].weights.shape[1], slow[0].weights.shape[1], len(fine[-1].bias), len(slow[-1].bias))
    if ends != (BANDS, 2 * BANDS, len(Viseme) + 1, len(fine[0].bias)):
        raise ValueError(f"want {BANDS} bands in and {len(Viseme)} classes and a gate out")
    return Network(fine, slow)


@lru_cache(maxsize=2)
def load(path: Path = WEIGHTS) -> Network:
    """The network from a safetensors file.

    Raises:
        MissingPart: the file is missing or damaged.
    """
    try:
        return from_arrays(read_arrays(path, FORMAT))
    except (OSError, KeyError, ValueError) as error:
        raise MissingPart(
            f"The speech network {path.name} cannot be read ({error}).", "Install the extension afresh."
        ) from error
