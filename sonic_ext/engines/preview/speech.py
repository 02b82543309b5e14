"""Speech → motion of the mouth, one value per video frame: the seam between sound and picture.

`MouthReader` is the seam. `VisemeNet` fills it with a small network that runs in numpy: log-mel →
viseme probabilities every 10 ms → mouth shapes → frames. Another reader may take its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...media import mel
from ...progress import Stage, Tick
from . import motion
from .background import muted
from .network import LOWEST_DB, Network, load

RATE = mel.RATE
"""Samples per second that readers expect."""


@dataclass(frozen=True)
class MouthTrack:
    """Motion of a mouth, one value per video frame; all float32 [frames].

    Frame `i` is on screen from `i / fps` to `(i + 1) / fps` and shows the mouth at the middle of that
    time: sampled anywhere else, the picture would lead or lag the sound by half a frame.
    """

    jaw: NDArray[np.float32]
    """0 shut .. 1 widest vowel."""
    rounding: NDArray[np.float32]
    """0..1, lips drawn together and forward: o, u, w."""
    spread: NDArray[np.float32]
    """0..1, corners apart: i, e."""
    press: NDArray[np.float32]
    """0..1, lips pressed together whatever the jaw says: p, b, m. 0 at rest, where `jaw` is 0 already."""
    upper: NDArray[np.float32]
    """-1..1, upper lip lifted, besides what the jaw does."""
    lower: NDArray[np.float32]
    """-1..1, lower lip lowered, besides what the jaw does; negative tucks it under the teeth: f, v."""
    energy: NDArray[np.float32]
    """0..1, loudness relative to this speech."""
    speaking: NDArray[np.float32]
    """1 in speech, 0 in pauses, smooth between."""
    tongue: NDArray[np.float32]
    """0..1, its tip raised: l, n, d, t, th."""

    def __len__(self) -> int:
        return len(self.jaw)

    @classmethod
    def of_opening(cls, opening: NDArray[np.float32]) -> MouthTrack:
        """A mouth of which no more is known than how far it is open."""
        return cls(opening, *[np.zeros_like(opening)] * (len(motion.MOTION) - 1))


class MouthReader(Protocol):
    """Reads the motion of a mouth off speech."""

    def read(self, blocks: Iterator[NDArray[np.float32]], count: int, fps: float, tick: Tick) -> MouthTrack:
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


PART = 1024
"""Rows worked on at once, besides their context; whole blocks of the network."""


class VisemeNet:
    """A `MouthReader` that recognises visemes.

    Memory does not grow with the length of the speech, but for the track itself.

    Raises:
        MissingPart: the network's file is missing or damaged.
    """

    def __init__(self, net: Network | None = None) -> None:
        self._net = net or load()
        self._margin = self._net.radius + motion.RADIUS  # whole blocks of the network, as PART is

    def read(self, blocks: Iterator[NDArray[np.float32]], count: int, fps: float, tick: Tick) -> MouthTrack:
        """See `MouthReader.read`."""
        rows = int(np.ceil(count / fps * mel.ROWS_PER_SECOND)) + 1
        track = np.zeros((count, len(motion.MOTION)), dtype=np.float32)
        filled = 0
        heard = mel.levelled(muted(mel.mel_rows(blocks, rows), rows))
        for start, window in mel.overlapping(heard, rows, PART, self._margin, LOWEST_DB):
            filled = self._fill(track, filled, fps, start, window)
            tick(Stage.READING_SPEECH, filled, count)
        return MouthTrack(**{name: track[:, index].copy() for index, name in enumerate(motion.MOTION)})

    def _fill(
        self, track: NDArray[np.float32], filled: int, fps: float, start: int, window: NDArray[np.float32]
    ) -> int:
        """Write the frames whose middle lies in the rows from `start`; returns how many are written."""
        until = min(len(track), int(np.ceil((start + PART) / mel.ROWS_PER_SECOND * fps - 0.5)))
        if until <= filled:
            return filled
        inner = slice(self._net.radius, len(window) - self._net.radius)
        moves = motion.motion(self._net(window), mel.loudness(window[inner]))
        middles = (np.arange(filled, until) + 0.5) / fps * mel.ROWS_PER_SECOND - 0.5
        track[filled:until] = motion.sampled(
            moves, middles - (start - motion.RADIUS), mel.ROWS_PER_SECOND / fps
        )
        return until
