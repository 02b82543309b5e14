"""When a voice speaks and how loudly, from the energy of its sound. Kept are a hundred numbers a second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..media.audio import Speech
from ..media.blocks import runs

RATE = 16000
STEP = 0.01
"""Seconds between two levels."""
WINDOW = 5
"""Steps over which loudness is measured: 50 ms."""
FALL = 30.0
"""Decibels below the loud parts of a voice (95th percentile) from which it counts as silent ..."""
NOISE = 6.0
"""... or above the quietest parts (5th percentile), where there is noise that drowns that."""
FAINTEST = -60.0
"""Decibels of full scale up to which nothing is speech."""


@dataclass(frozen=True, eq=False)
class Voice:
    """The energy of a speech."""

    power: NDArray[np.float64]
    """float64 [steps]: mean square of each 10 ms, full scale is 1."""

    @classmethod
    def of(cls, speech: Speech) -> Voice:
        """Decode a speech once, block by block.

        Raises:
            BadAudio: the file has gone or changed.
        """
        size = round(RATE * STEP)
        powers = [_powers(block, size) for block in speech.blocks(RATE, 100 * STEP * 5)]
        return cls(np.concatenate([*powers, np.zeros(0)]))

    def loudness(self, times: NDArray[np.floating]) -> NDArray[np.float64]:
        """RMS of 50 ms around each time in seconds, float64 [times]."""
        smooth = np.convolve(self.power, np.full(WINDOW, 1 / WINDOW), mode="same")
        centres = (np.arange(len(self.power)) + 0.5) * STEP
        return np.asarray(np.interp(times, centres, np.sqrt(smooth)), np.float64)

    def pausing(self, times: NDArray[np.floating], least: float) -> NDArray[np.bool_]:
        """Which of the times in seconds lie in a silence of `least` seconds or more, bool [times]."""
        level = self._level()
        silent = np.zeros(len(self.power) + 1, dtype=bool)  # after the end nothing is known
        for start, end in runs(level < _threshold(level)):
            silent[start:end] = (end - start) * STEP >= least - 1e-9
        return silent[np.clip((times / STEP).astype(int), 0, len(self.power))]

    def _level(self) -> NDArray[np.float64]:
        """Decibels of full scale over 30 ms, float64 [steps]."""
        smooth = np.convolve(self.power, np.full(3, 1 / 3), mode="same")
        return np.asarray(10 * np.log10(np.maximum(smooth, 1e-12)), np.float64)


def _threshold(level: NDArray[np.float64]) -> float:
    """Decibels below which speech of this level [steps] is silent."""
    if not len(level):
        return FAINTEST
    quietest, loud = np.percentile(level, (5, 95))
    # Speech without a pause has no quiet parts: its noise is never taken to be near its voice.
    return float(max(FAINTEST, loud - FALL, min(quietest + NOISE, loud - 12.0)))


def _powers(block: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """Mean square of each `size` samples; what is left over at the end is a step of its own."""
    whole = len(block) // size * size
    steps = np.square(block[:whole].astype(np.float64)).reshape(-1, size).mean(axis=1)
    rest = block[whole:].astype(np.float64)
    return np.append(steps, np.square(rest).mean()) if len(rest) else steps
