"""How far the mouths of a video lie from its voice: one pass over its frames, one over its sound."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..media import mel
from ..media.audio import Speech, read_speech
from ..media.video import probe
from ..progress import Tick
from . import encoders
from .encoders import SyncNetwork
from .mouth import MouthMotion
from .offset import LAGS, MAX_LAG, SHORTEST, estimate, lag_scores, windowed
from .report import SyncReport, TrackSync
from .sound import ROWS_PER_SECOND, sound_rows
from .tracks import ShotFace, Watch, face_tracks

WINDOW, STEP = 100, 25
"""Rows of a window of the score over time, and from one to the next: 2 s, half a second."""
SLOWEST = 10.0
"""Frames a second below which a mouth cannot be followed."""
LEAST_FOUND = 0.5
"""Share of a track's frames in which its face has to be found."""
FALL = 40.0
"""Decibels below the loudest moment that the envelope shows as silence."""


def measure_sync(
    path: str | os.PathLike[str],
    tick: Tick | None = None,
    network: SyncNetwork | None = None,
    watch: Watch | None = None,
) -> SyncReport:
    """How far the mouths of a video lie from its voice, face by face and shot by shot.

    Args:
        path: a video file of any frame rate.
        tick: called for every frame.
        network: by default the one that ships for calibration.
        watch: shown every frame: for whoever measures something else in the same pass.

    Raises:
        BadVideo: missing, not a video, damaged.
        BadAudio: it has no sound, nothing but silence, or none that can be read.
        MissingPart: the network is missing or damaged.
        Cancelled: from `tick` or `watch`.
    """
    network = network or encoders.load(encoders.weights_of("calibration"))
    probe(path)  # a file that is no video is said to be none before its sound is looked for
    speech = read_speech(path, tick)
    voice = _Voiced.of(speech, network)
    seen = face_tracks(path, tick, speech.mix.track, watch)
    fps = "" if seen.fps >= SLOWEST else f"It has {seen.fps:.0f} frames a second, too few to follow a mouth."
    tracks = tuple(_track(face, voice, network, fps) for face in seen.faces)
    warnings = () if tracks else ("No face was found in the video.",)
    return SyncReport(seen.seconds, seen.fps, seen.frames, LAGS, voice.loudness, tracks, warnings)


@dataclass(frozen=True)
class MouthSync:
    """What a network says of one mouth and the sound that it is drawn for."""

    score: float
    """Mean similarity of mouth and sound at the same moments, -1 to 1; nan where the mouth is not known."""
    seconds: float
    """Positive: the mouth comes after the voice; nan where nothing speaks for an offset."""
    confidence: float
    """0..1, 0 where there is no offset."""


def mouth_sync(
    motion: MouthMotion, blocks: Iterable[NDArray[np.float32]], seconds: float, network: SyncNetwork
) -> MouthSync:
    """The same of a mouth that is known already, without a file.

    Args:
        motion: of the mouth, from the beginning of the sound.
        blocks: the sound, float32 [samples] at `media.mel.RATE`.
        seconds: of both that are compared.
        network: which judges.
    """
    rows = int(seconds * ROWS_PER_SECOND)
    scores, known = lag_scores(network.hear(sound_rows(blocks, rows)), network.see(motion, 0.0, rows))
    found = estimate(scores, known, network.confidence)
    together = known[:, MAX_LAG]
    return MouthSync(
        float(scores[together, MAX_LAG].mean()) if together.any() else math.nan,
        found.seconds if found else math.nan,
        found.confidence if found else 0.0,
    )


@dataclass(frozen=True, eq=False)
class _Voiced:
    """The sound of a video as the network hears it."""

    heard: NDArray[np.float32]
    """[rows, d]."""
    loudness: NDArray[np.float32]
    """0..1, [rows]."""

    @classmethod
    def of(cls, speech: Speech, network: SyncNetwork) -> _Voiced:
        """Read the sound once, block by block."""
        rows = math.ceil(speech.seconds * ROWS_PER_SECOND)
        powers: list[float] = []
        heard = network.hear(sound_rows(_measured(speech.blocks(mel.RATE), powers), rows))
        level = 10 * np.log10(np.maximum(np.array(powers[:rows] or [0.0]), 1e-12))
        loudness = np.clip(1.0 + (level - level.max()) / FALL, 0.0, 1.0).astype(np.float32)
        return cls(heard, np.pad(loudness, (0, max(0, rows - len(loudness)))))

    def around(self, first: int, last: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Vectors of the rows `first` to `last`, and which of them there are: [rows, d] and [rows]."""
        rows = np.arange(first, last)
        there = (rows >= 0) & (rows < len(self.heard))
        vectors = np.zeros((len(rows), self.heard.shape[1]), np.float32)
        vectors[there] = self.heard[rows[there]]
        return vectors, there


def _measured(blocks: Iterable[NDArray[np.float32]], powers: list[float]) -> Iterator[NDArray[np.float32]]:
    """The same blocks; the mean square of every row's samples is added to `powers` meanwhile."""
    size = mel.RATE // ROWS_PER_SECOND
    rest = np.zeros(0, np.float32)
    for block in blocks:
        yield block
        rest = np.concatenate([rest, block])
        whole = len(rest) // size * size
        powers += np.square(rest[:whole], dtype=np.float64).reshape(-1, size).mean(axis=1).tolist()
        rest = rest[whole:]


def _track(face: ShotFace, voice: _Voiced, network: SyncNetwork, note: str) -> TrackSync:
    """The offset of one face; `note` says why there can be none in this video."""
    # Time stamps may claim days; beyond the sound there is nothing to compare.
    most = len(voice.heard) + MAX_LAG
    first, last = (
        min(max(round(second * ROWS_PER_SECOND), -MAX_LAG), most) for second in (face.start, face.end)
    )
    # A second of sound to either side: the mouth may belong to what is heard before or after its shot.
    low = first - MAX_LAG
    heard, there = voice.around(low, last + MAX_LAG)
    seen = network.see(face.motion, low / ROWS_PER_SECOND, len(heard))
    scores, known = lag_scores(heard, seen)
    known &= there[:, None]
    middles, means = windowed(scores[MAX_LAG:-MAX_LAG], known[MAX_LAG:-MAX_LAG], WINDOW, STEP)
    found = None
    note = note or _why_not(face, there)
    if not note:
        found = estimate(scores, known, network.confidence)
        note = "" if found else "The mouth does not move."
    return TrackSync(
        face.start,
        face.end,
        face.box,
        found.seconds if found else math.nan,
        found.confidence if found else 0.0,
        note,
        face.motion,
        middles + first / ROWS_PER_SECOND,
        means,
    )


def _why_not(face: ShotFace, there: NDArray[np.bool_]) -> str:
    """Why this face cannot be measured; "" where it can."""
    if face.seconds < SHORTEST:
        seconds = math.floor(10 * face.seconds) / 10  # 0.96 s are not 1.0
        return f"The face is seen for {seconds:.1f} s; {SHORTEST:.0f} s are needed."
    if face.found < LEAST_FOUND:
        return "The face is lost in more than half of its frames."
    if there[MAX_LAG:-MAX_LAG].sum() < SHORTEST * ROWS_PER_SECOND:
        return "There is no sound while the face is seen."
    return ""
