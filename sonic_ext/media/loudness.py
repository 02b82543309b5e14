"""Loudness of mono sound: ITU-R BS.1770-4 (EBU R 128), ten numbers a second."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .samples import Filters, frame_of

K_RATE = 48000
K_STEP = K_RATE // 10
"""Samples of 100 ms."""
K_WEIGHTING = (
    (
        "biquad",
        "b0=1.53512485958697:b1=-2.69169618940638:b2=1.19839281085285:"
        "a0=1:a1=-1.69065929318241:a2=0.73248077421585",
    ),
    ("biquad", "b0=1:b1=-2:b2=1:a0=1:a1=-1.99004745483398:a2=0.99007225036621"),
)
"""BS.1770's filters at 48 kHz, a shelf and a high pass."""
HIGH_PASS = (("highpass", "f=200"), ("highpass", "f=200"))
"""Leaves of a voice more than enough, and nothing of what a lossy codec makes of a constant."""
EDGE = 2
"""Steps at either end that hold nothing but the switching on and off of a constant."""


class LoudnessMeter:
    """Measures blocks as they pass by.

    Args:
        constant: whether peaks are those of sound that lies on a constant.
    """

    def __init__(self, constant: bool = False) -> None:
        head = (
            ("aresample", str(K_RATE)),
            ("aformat", f"sample_fmts=fltp:sample_rates={K_RATE}:channel_layouts=mono"),
            *K_WEIGHTING,
        )
        steps = ("asetnsamples", f"n={K_STEP}:p=0")
        self._constant = constant
        self._weighting, self._high_pass = Filters(*head, steps), Filters(*head, *HIGH_PASS, steps)
        self._first: np.float32 | None = None
        self._powers: list[float] = []
        self._peaks: list[float] = []

    def add(self, block: NDArray[np.float32], rate: int) -> None:
        """Take in float32 [1, samples]."""
        if self._first is None:
            # As if it had gone on like this for ever: that sound begins away from zero is no click.
            self._first = block[0, 0]
        block = block - self._first
        self._measure(self._weighting(frame_of(block, rate)))
        if self._constant:
            self._note_peaks(self._high_pass(frame_of(block, rate)))

    def finish(self) -> None:
        """Take in what the filters still hold."""
        self._measure(self._weighting.flush())
        self._note_peaks(self._high_pass.flush())

    def peak(self, inside: bool = False) -> float:
        """Highest sample of the weighted sound as a share of full scale; `inside`: without its edges."""
        steps = self._peaks[EDGE:-EDGE] if inside and len(self._peaks) > 2 * EDGE else self._peaks
        return max(steps, default=0.0)

    def loudness(self, sides: int = 1) -> float:
        """LUFS, integrated, of the sound played on 1 or 2 sides; -inf when no block is above -70 LUFS.

        400 ms blocks every 100 ms, gated at -70 LUFS and at 10 LU below their mean. Under 0.4 s counts as one
        block.
        """
        steps = sides * np.array(self._powers)
        if not len(steps):
            return -math.inf
        enough = len(steps) >= 4
        blocks = np.convolve(steps, np.full(4, 0.25), "valid") if enough else steps.mean(keepdims=True)
        loud = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
        if not len(loud):
            return -math.inf
        kept = loud[loud > loud.mean() / 10]
        return float(-0.691 + 10 * math.log10(kept.mean()))

    def _measure(self, steps: Iterable[NDArray[np.float32]]) -> None:
        for step in steps:
            if not self._constant:
                self._note_peaks((step,))
            if step.shape[1] == K_STEP or not self._powers:
                self._powers.append(float(np.vdot(step, step)) / step.shape[1])

    def _note_peaks(self, steps: Iterable[NDArray[np.float32]]) -> None:
        self._peaks.extend(float(np.abs(step).max(initial=0.0)) for step in steps)
