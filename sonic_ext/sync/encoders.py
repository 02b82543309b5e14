"""Two small networks that put voice and mouth into one space, in numpy.

Each is a stack of dilated convolutions over rows, 50 a second: one layer that widens, residual ones, a linear
one onto the space; every row is brought to unit length. Rows of what is heard and of what the mouth does at
the same moment point the same way (`losses.frame_info_nce`); `train/sync` trains them in torch.

Two instances ship, trained from other seeds and of other widths: `calibration` measures videos for everybody,
`judge` evaluates what was made with its help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPart
from ..nn.temporal import Layer, read_arrays, stack_from
from .mouth import FEATURES, MouthMotion
from .offset import REASONS
from .sound import BANDS, ROWS_PER_SECOND

FORMAT = "sync 1"
"""`format` in a file's metadata."""
LOWEST_DB, HIGHEST_DB, SCALE_DB = -70.0, 15.0, 20.0
"""Levelled decibels are cut to this range and divided before the network hears them."""
TYPICAL = np.array([0.055, 0.045, 0.035, 0.065, 0.04, 0.015, 0.06, 0.015], np.float32)
"""Standard deviation of each of `FEATURES` in somebody who talks."""
STILL = 0.25
"""Shares of that below which a mouth's motion is not made larger."""
LONGEST_GAP = 0.25
"""Seconds between two frames with a face over which a mouth is guessed from both."""
MOUTH_INPUTS = len(FEATURES) + 1
"""The features, and whether they are known."""

Name = Literal["calibration", "judge"]


def sound_inputs(rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """`sound.sound_rows` as the network takes it, float32 [rows, BANDS]."""
    return np.asarray(np.clip(rows, LOWEST_DB, HIGHEST_DB) / SCALE_DB + 1.0, dtype=np.float32)


def mouth_inputs(motion: MouthMotion, start: float, rows: int) -> NDArray[np.float32]:
    """A mouth as the network takes it, float32 [rows, MOUTH_INPUTS].

    Frames at any distance are brought to 50 rows a second by straight lines; each feature is relative to its
    median in these rows, in its own standard deviations. Rows that lie farther than `LONGEST_GAP` between
    frames with a face, or outside of them, are 0, and so is their last column, which is 1 elsewhere.

    Args:
        motion: the mouth.
        start: seconds at which the first row begins.
        rows: how many.
    """
    inputs = np.zeros((rows, MOUTH_INPUTS), dtype=np.float32)
    times, geometry = motion.times[motion.found], motion.geometry[motion.found]
    if len(times) < 2:
        return inputs
    at = start + (np.arange(rows) + 0.5) / ROWS_PER_SECOND
    after = np.clip(np.searchsorted(times, at), 1, len(times) - 1)
    near = times[after] - times[after - 1] <= LONGEST_GAP
    half = 0.5 / ROWS_PER_SECOND
    known = near & (at >= times[0] - 2 * half) & (at <= times[-1] + 2 * half)
    if not known.any():
        return inputs
    moved = np.stack([np.interp(at, times, column) for column in geometry.T], axis=1)[known]
    moved -= np.median(moved, axis=0)
    inputs[known, :-1] = moved / np.maximum(moved.std(axis=0), STILL * TYPICAL)
    inputs[known, -1] = 1.0
    return inputs


def encode(layers: tuple[Layer, ...], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors, float32 [rows, DIMENSIONS], of inputs [rows, ...]; zeros stand before and after them."""
    first, *middle, last = layers
    x = np.maximum(_same(first, inputs), 0.0)
    for layer in middle:
        x = x + np.maximum(_same(layer, x), 0.0)
    x = last(x)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _same(layer: Layer, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return layer(np.pad(x, ((layer.radius, layer.radius), (0, 0))))


@dataclass(frozen=True)
class SyncNetwork:
    """Both encoders, and how sure a measurement with them is."""

    sound: tuple[Layer, ...]
    mouth: tuple[Layer, ...]
    confidence: NDArray[np.float32]
    """float32 [REASONS + 1]: weights of `offset.evidence` and a constant, before the logistic function."""

    @property
    def parameters(self) -> tuple[int, int]:
        """How many numbers were trained in the encoders of sound and mouth."""
        sound, mouth = (
            sum(layer.weights.size + layer.bias.size for layer in layers)
            for layers in (self.sound, self.mouth)
        )
        return sound, mouth

    def hear(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Vectors of `sound.sound_rows`, float32 [rows, DIMENSIONS]."""
        return encode(self.sound, sound_inputs(rows))

    def see(self, motion: MouthMotion, start: float, rows: int) -> NDArray[np.float32]:
        """Vectors of a mouth, float32 [rows, DIMENSIONS]; zeros where it is not known. See `mouth_inputs`."""
        inputs = mouth_inputs(motion, start, rows)
        return encode(self.mouth, inputs) * inputs[:, -1:]


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> SyncNetwork:
    """Build the networks from `sound{n}`, `mouth{n}` (see `nn.temporal.stack_from`) and `confidence`.

    Raises:
        KeyError: an array is missing.
        ValueError: the arrays do not fit each other or the features.
    """
    sound, mouth = stack_from(arrays, "sound"), stack_from(arrays, "mouth")
    if sound[0].weights.shape[1] != BANDS or mouth[0].weights.shape[1] != MOUTH_INPUTS:
        raise ValueError(f"want {BANDS} bands of sound and {MOUTH_INPUTS} features of a mouth")
    if len(sound[-1].bias) != len(mouth[-1].bias) or sound[-1].radius or mouth[-1].radius:
        raise ValueError("sound and mouth end in different spaces")
    confidence = np.asarray(arrays["confidence"], dtype=np.float32)
    if confidence.shape != (REASONS + 1,):
        raise ValueError(f"confidence of {confidence.shape}")
    return SyncNetwork(sound, mouth, confidence)


def weights_of(name: Name) -> Path:
    """The file of a network that ships."""
    return Path(__file__).parents[1] / "assets" / "models" / f"sync_{name}.safetensors"


@lru_cache(maxsize=4)
def load(path: Path) -> SyncNetwork:
    """The networks from a safetensors file; `load(weights_of("calibration"))` for those that ship.

    Raises:
        MissingPart: the file is missing or damaged, or of another configuration.
    """
    try:
        return from_arrays(read_arrays(path, FORMAT))
    except (OSError, KeyError, ValueError) as error:
        raise MissingPart(
            f"The sync network {path.name} cannot be read ({error}).", "Install the extension afresh."
        ) from error
