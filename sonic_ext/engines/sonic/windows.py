"""Which frames exist, and which of them each call of the network sees: whole numbers only.

Long videos are denoised in windows that move on from step to step, so that every frame meets others at
its side ("time-aware position shift fusion" in the paper, arXiv 2411.16331).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

RATE = 16_000
"""Samples of speech per second."""
SAMPLES_PER_STEP = 640
"""Samples per step of the audio clock: 25 a second."""
LONGEST = 10_000
"""Steps of the audio clock that are used at most: 400 seconds."""
BASE_FPS = 12.5
"""Frames per second that the network draws."""
LEAST = 11
"""Steps of the audio clock under which the published inference fails: 0.44 seconds."""
CHUNK = 480_000
"""Samples per call of the speech encoder: 30 seconds."""
MELS_PER_CHUNK = 3_000
"""Columns of the spectrogram per chunk."""


@dataclass(frozen=True)
class Counts:
    """What follows from the length of the speech."""

    audio: int
    """Steps of the audio clock, 25 a second."""
    base: int
    """Frames drawn by the network, 12.5 a second."""
    full: int
    """Frames after interpolation, 25 a second: one less than twice as many."""
    mels: int
    """Columns of the spectrogram, with the last chunk padded."""

    @classmethod
    def of(cls, samples: int) -> Counts:
        """For so many samples at 16 kHz."""
        audio = min(samples // SAMPLES_PER_STEP, LONGEST)
        base = audio // 2
        return cls(audio, base, max(0, 2 * base - 1), math.ceil(samples / CHUNK) * MELS_PER_CHUNK)


def resampled(samples: int, rate: int) -> int:
    """Samples at 16 kHz of sound with another rate, rounded up."""
    return -(-samples * RATE // rate)


@dataclass(frozen=True)
class Plan:
    """How the frames of a video are dealt out to windows.

    Raises:
        ValueError: no frames, windows that would not move on, or even windows that overlap.
    """

    frames: int
    """Frames of the video, at least 1."""
    window: int = 25
    """Frames that the network sees at once."""
    shift: int = 7
    """Frames by which the windows begin earlier at each next step."""
    overlap: int = 0
    """Frames that neighbouring windows share."""
    even: bool = False
    """Whether the windows of a step share the frames evenly and see none twice; as published each has
    `window` frames, and the last one reaches over the end."""

    def __post_init__(self) -> None:
        if self.frames < 1 or not 0 <= self.overlap < (1 if self.even else self.window):
            raise ValueError(f"{self.frames} frames in windows of {self.window}, overlap {self.overlap}")

    @property
    def count(self) -> int:
        """Windows per step."""
        return math.ceil(self.frames / (self.window - self.overlap))

    @property
    def seen(self) -> int:
        """Frames of all windows of a step together."""
        return self.frames if self.even else self.count * self.window

    def windows(self, step: int) -> list[list[int]]:
        """The frames of every window at a step (from 0).

        The video is a ring: a window that reaches over the end goes on with the first frames, and a video
        shorter than the window repeats itself inside it.
        """
        if self.even:
            bounds = [number * self.frames // self.count for number in range(self.count + 1)]
            runs = [range(*pair) for pair in pairwise(bounds)]
        else:
            stride = self.window - self.overlap
            runs = [range(number * stride, number * stride + self.window) for number in range(self.count)]
        return [[(place - step * self.shift) % self.frames for place in run] for run in runs]
