"""What was measured of a video's lip sync: each face track by itself, and the one to go by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..media.geometry import Box
from .mouth import MouthMotion


@dataclass(frozen=True, eq=False)
class TrackSync:
    """One face through one shot."""

    start: float
    """Seconds, first frame."""
    end: float
    """Seconds, end of the last frame."""
    box: Box
    """Median box of the face, pixels of the frame."""
    offset: float
    """Seconds, positive: the mouth comes after the voice; nan where it could not be measured."""
    confidence: float
    """0..1, probability that the offset is within 40 ms of the truth; 0 with nan."""
    note: str
    """Empty, or one sentence: why it could not be measured."""
    motion: MouthMotion
    """times [frames], geometry [frames, F]; its column "gap" is the opening."""
    times: NDArray[np.float64]
    """float64 [windows], seconds: middles of the windows that were scored."""
    scores: NDArray[np.float32]
    """float32 [windows, lags], similarity of mouth and voice by offset."""

    @property
    def measured(self) -> bool:
        """Whether there is an offset."""
        return math.isfinite(self.offset)


@dataclass(frozen=True, eq=False)
class SyncReport:
    """Lip sync of a whole video."""

    seconds: float
    """Length of the picture."""
    fps: float
    """Average frame rate."""
    frames: int
    """Pictures."""
    lags: NDArray[np.float64]
    """float64 [lags], seconds: the offsets of the columns of `TrackSync.scores`."""
    loudness: NDArray[np.float32]
    """float32 [rows], 0..1, 50 a second: envelope of the sound."""
    tracks: tuple[TrackSync, ...]
    """Longest first."""
    warnings: tuple[str, ...]
    """Sentences for the user."""

    @property
    def best(self) -> TrackSync | None:
        """The track with the highest confidence; None where none could be measured."""
        measured = (track for track in self.tracks if track.measured)
        return max(measured, key=lambda track: track.confidence, default=None)

    @property
    def offset(self) -> float:
        """Seconds of the best track, positive: the mouth comes after the voice; nan without one."""
        return self.best.offset if self.best else math.nan

    @property
    def confidence(self) -> float:
        """Of the best track, 0 without one."""
        return self.best.confidence if self.best else 0.0

    def values(self, tracks: int | None = None, windows: int | None = None) -> dict[str, Any]:
        """Plain JSON: seconds as numbers, null where there is no number.

        Args:
            tracks: that are told at most, the longest.
            windows: that these tell at most, or one each; of more every so many.
        """
        told = self.tracks[:tracks]
        most = None if windows is None else max(1, windows // max(1, len(told)))
        return {
            "offset": _number(self.offset),
            "confidence": _number(self.confidence) or 0.0,
            "seconds": _number(self.seconds) or 0.0,
            "fps": _number(self.fps) or 0.0,
            "frames": self.frames,
            "lags": _numbers(self.lags),
            "tracks": [_track_values(track, most) for track in told],
            "warnings": list(self.warnings),
        }


def _track_values(track: TrackSync, most: int | None) -> dict[str, Any]:
    every = -(-len(track.times) // most) if most and len(track.times) else 1
    return {
        "start": _number(track.start),
        "end": _number(track.end),
        "box": [_number(side, 1) for side in track.box],
        "offset": _number(track.offset),
        "confidence": _number(track.confidence),
        "note": track.note,
        "times": _numbers(track.times[::every]),
        "scores": [_numbers(row) for row in track.scores[::every]],
    }


def _number(value: float, digits: int = 4) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [_number(value) for value in values.tolist()]
