"""How well the motion of a mouth fits speech whose phoneme times are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.preview.speech import MouthTrack
from ..engines.preview.visemes import SHAPES, Viseme
from .phonemes import PAUSE, Phoneme, is_bilabial, is_vowel, visemes

LONG_CLOSURE = 0.06
"""Seconds from which a p, b or m has to be seen."""
SHUT_SHARE = 0.25
"""Lips are shut where they open less than this share of a typical vowel."""
LONG_PAUSE = 0.15
_CORE = 0.02
_STEP = 0.01
_FARTHEST_LAG = 20


@dataclass(frozen=True)
class Scores:
    """Figures of one or several recordings together; nan where there was nothing to measure."""

    closures: int
    """p, b, m of at least `LONG_CLOSURE`."""
    closed: float
    """Share of them at which a frame shows the lips shut."""
    pressed_vowels: float
    """Share of the frames in vowels (20 ms inside) on which the lips are pressed."""
    pressed_consonants: float
    """The same in the other consonants: mostly t and k, whose gaps are hard to tell from p."""
    vowel_opening: float
    """Median opening on the frames in vowels."""
    lag: float
    """Seconds by which the opening comes after the phonemes."""
    pause_opening: float
    """Widest jaw in the middle of pauses of at least `LONG_PAUSE`, whichever pause it is in ..."""
    usual_pause: float
    """... the mean over these pauses of the widest in each ..."""
    mean_pause: float
    """... and the mean over all of their frames."""
    round_vowels: float
    """Mean rounding on o and u ..."""
    other_vowels: float
    """... and on other vowels."""
    open_vowels: float
    """Mean jaw on a, ɑ, æ ..."""
    close_vowels: float
    """... and on i, u."""


def correlation(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """Pearson's, of two motions of one length; 0 where one of them does not move."""
    if min(np.std(one), np.std(other)) < 1e-9:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def opening(track: MouthTrack) -> NDArray[np.float32]:
    """How far the lips are apart, 0..1, [frames]."""
    return np.asarray(track.jaw * (1.0 - track.press))


@dataclass(frozen=True, eq=False)
class _SpokenPhoneme:
    """A phoneme with the frames of its track on which it shows."""

    phoneme: Phoneme
    track: MouthTrack
    times: NDArray[np.floating[Any]]

    def frames(self, margin: float = 0.0) -> NDArray[np.bool_]:
        """Frames whose middle lies in the phoneme, `margin` seconds from its ends, bool [frames]."""
        return (self.times >= self.phoneme.start + margin) & (self.times <= self.phoneme.end - margin)

    def pressed(self) -> NDArray[np.bool_]:
        """Where the lips are pressed, on the frames well inside."""
        return np.asarray(self.track.press[self.frames(_CORE)] > 0.5)

    def core(self, column: str) -> NDArray[np.float32]:
        """A column of the track on the frames well inside."""
        return np.asarray(getattr(self.track, column)[self.frames(_CORE)])

    @property
    def lasts(self) -> float:
        """Seconds."""
        return self.phoneme.end - self.phoneme.start

    @property
    def first(self) -> Viseme:
        """What the lips do at its start."""
        return visemes(self.phoneme.name)[0][0]


def _mean(values: Sequence[NDArray[Any]]) -> float:
    joined = np.concatenate([*values, np.zeros(0)])
    return float(joined.mean()) if len(joined) else float("nan")


def _lag(parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    """The shift at which openings fit expected openings best, from [rows] pairs every 10 ms."""
    shifts = np.arange(-_FARTHEST_LAG, _FARTHEST_LAG + 1)
    total = np.zeros(len(shifts))
    for seen, expected in parts:
        seen, expected = seen - seen.mean(), expected - expected.mean()
        padded = np.pad(seen, _FARTHEST_LAG)
        total += [float(padded[_FARTHEST_LAG + s :][: len(seen)] @ expected) for s in shifts]
    best = int(np.clip(np.argmax(total), 1, len(shifts) - 2))
    left, middle, right = total[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float((shifts[best] + (0.5 * (left - right) / bend if bend else 0.0)) * _STEP)


def expected_opening(phonemes: Sequence[Phoneme], rows: int) -> NDArray[np.float64]:
    """Opening that the phonemes ask for, without any smoothing, every 10 ms, [rows]."""
    wanted = np.zeros(rows)
    for phoneme in phonemes:
        at = phoneme.start
        for viseme, share in visemes(phoneme.name):
            until = at + share * (phoneme.end - phoneme.start)
            value = 0.0 if viseme is Viseme.CLOSED else SHAPES[viseme].jaw
            wanted[round(at / _STEP) : round(until / _STEP)] = value
            at = until
    return wanted


def _heard(track: MouthTrack, phonemes: Sequence[Phoneme], fps: float) -> list[_SpokenPhoneme]:
    times = (np.arange(len(track)) + 0.5) / fps
    return [_SpokenPhoneme(phoneme, track, times) for phoneme in phonemes if visemes(phoneme.name)]


def _openings(
    track: MouthTrack, phonemes: Sequence[Phoneme], fps: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Opening seen and expected, every 10 ms."""
    times = (np.arange(len(track)) + 0.5) / fps
    rows = int(times[-1] / _STEP)
    seen = np.interp((np.arange(rows) + 0.5) * _STEP, times, opening(track))
    return seen, expected_opening(phonemes, rows)


def _closed(heard: Sequence[_SpokenPhoneme], typical: float) -> list[bool]:
    """Whether each long p, b, m shows shut lips; one between two frames counts as not."""
    long = [h for h in heard if is_bilabial(h.phoneme.name) and h.lasts >= LONG_CLOSURE]
    return [bool((opening(h.track)[h.frames()] < SHUT_SHARE * typical).any()) for h in long]


def score(tracks: Sequence[tuple[MouthTrack, Sequence[Phoneme]]], fps: float) -> Scores:
    """Measure tracks against their phonemes; frame `i` stands for the time `(i + 0.5) / fps`."""
    heard = [some for track, phonemes in tracks for some in _heard(track, phonemes, fps)]
    vowels = [h for h in heard if is_vowel(h.phoneme.name)]
    pauses = [h for h in heard if h.phoneme.name == PAUSE]
    others = [
        h for h in heard if not (is_vowel(h.phoneme.name) or is_bilabial(h.phoneme.name)) and h not in pauses
    ]
    rounded = [h for h in vowels if h.first in (Viseme.ROUND_MID, Viseme.ROUND_CLOSE)]
    narrow = (Viseme.FRONT, Viseme.ROUND_CLOSE)
    openings = [h.core("jaw") * (1.0 - h.core("press")) for h in vowels]
    typical = float(np.median(np.concatenate(openings))) if openings else float("nan")
    closed = _closed(heard, typical)
    still = [h.track.jaw[h.frames(0.06)] for h in pauses if h.lasts >= LONG_PAUSE]
    widest = np.array([jaw.max(initial=0.0) for jaw in still])
    return Scores(
        closures=len(closed),
        closed=_mean([np.array(closed)]),
        pressed_vowels=_mean([h.pressed() for h in vowels]),
        pressed_consonants=_mean([h.pressed() for h in others]),
        vowel_opening=typical,
        lag=_lag([_openings(track, phonemes, fps) for track, phonemes in tracks]),
        pause_opening=float(max(widest, default=float("nan"))),
        usual_pause=_mean([widest]),
        mean_pause=_mean(still),
        round_vowels=_mean([h.core("rounding") for h in rounded]),
        other_vowels=_mean([h.core("rounding") for h in vowels if h not in rounded]),
        open_vowels=_mean([h.core("jaw") for h in vowels if h.first is Viseme.OPEN]),
        close_vowels=_mean([h.core("jaw") for h in vowels if h.first in narrow]),
    )
