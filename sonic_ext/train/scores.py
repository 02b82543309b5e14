"""How well the motion of a mouth fits speech whose phoneme times are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engines.preview.speech import MouthTrack
from ..engines.preview.visemes import SHAPES, Viseme
from .phonemes import PAUSE, Phoneme, is_bilabial, is_vowel, visemes

LONG_CLOSURE = 0.06
"""Seconds from which a p, b or m has to be seen."""
SHUT_SHARE = 0.25
"""Lips are shut where they open less than this share of a typical vowel."""
LONG_PAUSE = 0.15
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
    vowel_opening: float
    """Median opening on those frames."""
    lag: float
    """Seconds by which the opening comes after the phonemes."""
    pause_opening: float
    """Widest jaw in the middle of pauses of at least `LONG_PAUSE`."""
    round_vowels: float
    """Mean rounding on o and u ..."""
    other_vowels: float
    """... and on other vowels."""
    open_vowels: float
    """Mean jaw on a, ɑ, æ ..."""
    close_vowels: float
    """... and on i, u."""


def opening(track: MouthTrack) -> np.ndarray:
    """How far the lips are apart, 0..1, [frames]."""
    return np.asarray(track.jaw * (1.0 - track.press))


def _inside(phoneme: Phoneme, times: np.ndarray, margin: float = 0.0) -> np.ndarray:
    return (times >= phoneme.start + margin) & (times <= phoneme.end - margin)


def _mean(values: Sequence[np.ndarray]) -> float:
    joined = np.concatenate([*values, np.zeros(0)])
    return float(joined.mean()) if len(joined) else float("nan")


def _lag(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
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


def expected_opening(phonemes: Sequence[Phoneme], rows: int) -> np.ndarray:
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


def score(tracks: Sequence[tuple[MouthTrack, Sequence[Phoneme]]], fps: float) -> Scores:
    """Measure tracks against their phonemes; frame `i` stands for the time `(i + 0.5) / fps`."""
    vowels: list[tuple[Phoneme, np.ndarray, MouthTrack]] = []
    bilabials: list[float] = []
    pauses: list[np.ndarray] = []
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for track, phonemes in tracks:
        times, apart = (np.arange(len(track)) + 0.5) / fps, opening(track)
        fine = np.arange(int(times[-1] / _STEP))
        rows.append((np.interp((fine + 0.5) * _STEP, times, apart), expected_opening(phonemes, len(fine))))
        for phoneme in phonemes:
            inside = _inside(phoneme, times)
            if is_vowel(phoneme.name):
                vowels.append((phoneme, _inside(phoneme, times, 0.02), track))
            elif is_bilabial(phoneme.name) and phoneme.end - phoneme.start >= LONG_CLOSURE and inside.any():
                bilabials.append(float(apart[inside].min()))
            elif phoneme.name == PAUSE and phoneme.end - phoneme.start >= LONG_PAUSE:
                pauses.append(track.jaw[_inside(phoneme, times, 0.06)])
    typical = float(np.median(np.concatenate([opening(t)[at] for _, at, t in vowels] + [np.zeros(0)])))

    def over(column: str, kinds: set[Viseme], wanted: bool = True) -> float:
        return _mean(
            [getattr(t, column)[at] for p, at, t in vowels if (visemes(p.name)[0][0] in kinds) is wanted]
        )

    rounded = {Viseme.ROUND_MID, Viseme.ROUND_CLOSE}
    return Scores(
        closures=len(bilabials),
        closed=_mean([np.array(bilabials) < SHUT_SHARE * typical]),
        pressed_vowels=_mean([track.press[at] > 0.5 for _, at, track in vowels]),
        vowel_opening=typical,
        lag=_lag(rows),
        pause_opening=max((float(jaw.max(initial=0.0)) for jaw in pauses), default=float("nan")),
        round_vowels=over("rounding", rounded),
        other_vowels=over("rounding", rounded, wanted=False),
        open_vowels=over("jaw", {Viseme.OPEN}),
        close_vowels=over("jaw", {Viseme.FRONT, Viseme.ROUND_CLOSE}),
    )
