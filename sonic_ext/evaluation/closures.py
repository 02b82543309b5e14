"""Whether lips are seen shut on p, b and m, on a finished video whose phoneme times are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..engines.preview.speech import MouthTrack
from ..train.phonemes import Phoneme
from ..train.scores import score
from .naturalness import FaceTrack

SUFFIX = ".phonemes.json"
"""After a video's name without its own suffix: the file beside it with its phonemes."""


def phonemes_beside(video: Path) -> Path:
    """Where the phonemes of a video lie, if they are known."""
    return video.with_name(video.stem + SUFFIX)


def closure_figures(track: FaceTrack, phonemes: Sequence[Phoneme]) -> dict[str, float]:
    """`closures`, `closed`, `vowel_opening` and `pause_opening` of a mouth, as `train.scores` defines them.

    The opening is the gap between the inner lips, `mesh.mouth_opening`; where the face was not found for a
    few frames it is drawn straight from one side to the other, and where it was not found in half of them,
    or no phoneme lies in the video, there are no figures.
    """
    known, times = np.isfinite(track["gap"]), track["time"]
    inside = [each for each in phonemes if len(times) and each.end <= times[-1]]
    if not inside or known.sum() < len(track) / 2:
        return {}
    gap = np.interp(times, times[known], track["gap"][known]).astype(np.float32)
    found = score([(MouthTrack.of_opening(gap), inside)], track.fps)
    return {
        "closures": float(found.closures),
        "closed": found.closed,
        "vowel_opening": found.vowel_opening,
        "pause_opening": found.pause_opening,
    }
