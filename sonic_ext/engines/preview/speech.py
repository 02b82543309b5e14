"""Speech → motion of the mouth, one value per video frame: the seam between sound and picture.

`MouthReader` is the seam. `VisemeNet` fills it with a small network that runs in numpy: log-mel →
viseme probabilities every 10 ms → mouth shapes → frames. Another reader may take its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...ports import Tick
from . import mel, motion
from .visemes import Viseme

RATE = mel.RATE
"""Samples per second that readers expect."""


@dataclass(frozen=True)
class MouthTrack:
    """Motion of a mouth, one value per video frame; all float32 [frames].

    Frame `i` is on screen from `i / fps` to `(i + 1) / fps` and shows the mouth at the middle of that
    time: sampled anywhere else, the picture would lead or lag the sound by half a frame.
    """

    jaw: np.ndarray
    """0 shut .. 1 widest vowel."""
    rounding: np.ndarray
    """0..1, lips drawn together and forward: o, u, w."""
    spread: np.ndarray
    """0..1, corners apart: i, e."""
    press: np.ndarray
    """0..1, lips pressed together whatever the jaw says: p, b, m. 0 at rest, where `jaw` is 0 already."""
    upper: np.ndarray
    """-1..1, upper lip lifted, besides what the jaw does."""
    lower: np.ndarray
    """-1..1, lower lip lowered, besides what the jaw does; negative tucks it under the teeth: f, v."""
    energy: np.ndarray
    """0..1, loudness relative to this speech."""
    speaking: np.ndarray
    """1 in speech, 0 in pauses, smooth between."""

    def __len__(self) -> int:
        return len(self.jaw)


class MouthReader(Protocol):
    """Reads the motion of a mouth off speech."""

    def read(self, blocks: Iterator[np.ndarray], count: int, fps: float, tick: Tick) -> MouthTrack:
        """Motion for `count` frames.

        Args:
            blocks: float32 mono at 16 kHz, -1..1, blocks of any sizes. Silence follows their end;
                what lies beyond the last frame is not used.
            count: video frames, at least 1.
            fps: frames per second.
            tick: called several times a second.

        Raises:
            Cancelled: by `tick`.
        """


class VisemeNet:
    """A `MouthReader` that recognises visemes."""

    def read(self, blocks: Iterator[np.ndarray], count: int, fps: float, tick: Tick) -> MouthTrack:
        """See `MouthReader.read`."""
        rows = int(np.ceil(count / fps * mel.ROWS_PER_SECOND)) + 1
        parts = []
        for part in mel.levelled(mel.mel_rows(blocks, rows)):
            parts.append(part)
            tick("reading the speech", min(count, int(len(parts) * fps)), count)
        x = np.concatenate(parts)
        moves = motion.motion(_rough(x), mel.loudness(x))
        at = (np.arange(count) + 0.5) / fps * mel.ROWS_PER_SECOND - 0.5
        columns = {n: np.interp(at, np.arange(rows), moves[:, k]) for k, n in enumerate(motion.MOTION)}
        return MouthTrack(**{name: np.asarray(value, dtype=np.float32) for name, value in columns.items()})


def _rough(x: np.ndarray) -> np.ndarray:
    """Energy and tilt only: stands in until the network is trained."""
    loud = mel.loudness(x)
    low, mid, high = x[:, 2:10].max(1), x[:, 12:24].max(1), x[:, 30:].max(1)
    score = np.full((len(x), len(Viseme)), -20.0)
    score[:, Viseme.SILENCE] = (-28.0 - loud) / 2
    score[:, Viseme.HISS] = (high - np.maximum(low, mid)) / 3
    score[:, Viseme.CLOSED] = (low - mid - 22) / 2 - np.clip(-20 - loud, 0, None)
    score[:, Viseme.MID] = 0.0
    score[:, Viseme.OPEN] = (mid - low + 6) / 3
    likely = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True))
