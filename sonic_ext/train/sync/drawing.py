"""Mouths drawn from phoneme times: how many people would have moved theirs, and how a tracker saw it.

Never from the network that drives the preview: what is learned here measures its videos. Each mouth has a
style of its own: how far it opens, how early and how smoothly it moves, what its sounds look like, how it
rests and smiles. Coarticulation follows Cohen & Massaro, "Modeling coarticulation in synthetic visual
speech", 1993: every sound pulls at jaw and lips with a weight that rises before it and falls after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.preview.visemes import COLUMNS, Viseme, targets
from ...sync.mouth import FEATURES, MouthMotion
from ..phonemes import PAUSE, Phoneme, visemes

ROWS_PER_SECOND = 100
"""At which the motion is drawn before frames are taken from it."""
JAW, ROUNDING, SPREAD, UPPER, LOWER = (COLUMNS.index(name) for name in COLUMNS[:5])
FARTHEST = 0.6
"""Seconds beyond which a sound pulls at nothing."""
JITTER = np.array([0.0050, 0.0044, 0.0056, 0.0059, 0.0066, 0.0036, 0.0066, 0.0040], np.float32)
"""Standard deviation of each of `FEATURES` from frame to frame on a still face, in eye distances: what the
landmark network makes of a face 160 pixels high that sways a little, in noisy, compressed video; half of that
at 400 pixels."""


@dataclass(frozen=True, eq=False)
class MouthStyle:
    """How somebody speaks. Lengths are in eye distances, times in seconds."""

    shapes: NDArray[np.float32]
    """float32 [visemes, COLUMNS]: what this speaker's sounds look like."""
    rules: NDArray[np.float32]
    """float32 [visemes, COLUMNS]: how strongly each insists."""
    rise: NDArray[np.float32]
    """float32 [2]: time constant before a sound, of the jaw and of the lips ..."""
    fall: NDArray[np.float32]
    """... and after it."""
    early: float
    """By which the mouth is before the sound."""
    smooth: float
    """Standard deviation of the smoothing over time."""
    strength: float
    """How far the mouth goes, 1 as drawn."""
    press: float
    """Seconds around a p, b or m on which the lips are closed too."""
    gap: float
    """Between the lips at the widest vowel."""
    rest: NDArray[np.float32]
    """float32 [FEATURES]: the mouth at rest."""
    mixing: NDArray[np.float32]
    """float32 [4, FEATURES]: what gap, rounding, spread and jaw add to each feature."""
    alive: float
    """How much the mouth moves without speaking."""


def draw_style(rng: np.random.Generator) -> MouthStyle:
    """A speaker who was not there before."""
    shapes, rules = targets()
    own = shapes * rng.lognormal(0.0, 0.2, shapes.shape) + rng.normal(0.0, 0.05, shapes.shape)
    rest = np.array([0.02, 0.02, 0.80, 0.25, 1.70, 0.95, 1.21, -0.2])
    rest += rng.normal(0.0, [0.012, 0.012, 0.08, 0.05, 0.1, 0.05, 0.07, 0.06])
    mixing = np.array(
        [  # gap, sides, width, height, chin, upper, lower, depth
            [1.0, 0.70, -0.10, 0.85, 0.35, -0.15, 0.70, 0.02],
            [0.0, -0.05, -0.16, 0.03, 0.02, -0.01, 0.02, -0.07],
            [0.0, 0.02, 0.11, -0.01, 0.00, -0.01, 0.00, 0.02],
            [0.0, 0.00, -0.01, 0.02, 0.13, 0.00, 0.08, 0.02],
        ]
    )
    mixing = mixing * rng.lognormal(0.0, 0.3, mixing.shape) + rng.normal(0.0, 0.01, mixing.shape)
    mixing[0, 0] = 1.0
    return MouthStyle(
        shapes=own.astype(np.float32),
        rules=(rules * rng.lognormal(0.0, 0.3, rules.shape)).astype(np.float32),
        rise=rng.uniform([0.025, 0.030], [0.130, 0.200]).astype(np.float32),
        fall=rng.uniform([0.020, 0.025], [0.060, 0.070]).astype(np.float32),
        early=float(rng.normal(0.0, 0.006)),
        smooth=float(rng.uniform(0.010, 0.035)),
        strength=float(rng.uniform(0.5, 1.3)),
        press=float(rng.uniform(-0.01, 0.03)),
        gap=float(rng.uniform(0.12, 0.38)),
        rest=rest.astype(np.float32),
        mixing=mixing.astype(np.float32),
        alive=float(rng.uniform(0.0, 1.0) ** 2),
    )


def drawn(
    phonemes: Sequence[Phoneme], seconds: float, style: MouthStyle, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The features of a mouth that speaks in this style, float32 [rows, FEATURES], 100 rows a second."""
    rows = max(1, round(seconds * ROWS_PER_SECOND))
    spoken = _segments(phonemes, seconds)
    shape = _coarticulated(spoken, rows, style)
    closed, tucked = _pressed(spoken, rows, style)
    jaw = np.clip(shape[:, JAW], 0.0, 1.2) * style.strength
    gap = style.gap * jaw * (1.0 - 0.45 * np.clip(shape[:, ROUNDING], 0.0, 1.0))
    gap += 0.03 * (np.clip(shape[:, LOWER], -0.5, 1.0) + np.clip(shape[:, UPPER], -0.5, 1.0)) * style.strength
    gap = _smoothed(gap + _idle(spoken, rows, style, rng), style.smooth * ROWS_PER_SECOND)
    gap = np.clip(gap, 0.0, None) * (1.0 - closed) * (1.0 - 0.6 * tucked)
    lips = _smoothed(shape[:, [ROUNDING, SPREAD]], style.smooth * ROWS_PER_SECOND) * style.strength
    smile = style.alive * _wandering(rows, 2.5, rng)[:, None] * np.array([-0.3, 0.8])
    moved = np.column_stack([gap, lips + smile, _smoothed(jaw, 0.03 * ROWS_PER_SECOND)])
    features = style.rest + moved @ style.mixing
    # Pressed lips are thinner, tucked ones hide.
    features[:, FEATURES.index("height")] -= (0.05 * closed + 0.04 * tucked) * style.strength
    features[:, FEATURES.index("lower")] -= 0.03 * tucked * style.strength
    return np.asarray(features, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Segments:
    """Visemes in order."""

    names: NDArray[np.int64]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]


def _segments(phonemes: Sequence[Phoneme], seconds: float) -> _Segments:
    """Every viseme of the phonemes, and silence where there are none."""
    found: list[tuple[int, float, float]] = []
    end = 0.0
    for phoneme in phonemes:
        if phoneme.start > end + 0.02:
            found.append((int(Viseme.SILENCE), end, phoneme.start))
        at = phoneme.start
        for viseme, share in visemes(phoneme.name):
            until = at + share * (phoneme.end - phoneme.start)
            found.append((int(viseme), at, until))
            at = until
        end = max(end, phoneme.end)
    if end < seconds or not found:
        found.append((int(Viseme.SILENCE), end, max(seconds, end + 0.02)))
    names, starts, ends = zip(*found, strict=True)
    return _Segments(np.array(names), np.array(starts), np.array(ends))


def _coarticulated(spoken: _Segments, rows: int, style: MouthStyle) -> NDArray[np.float64]:
    """Shapes that sounds pull at together, float64 [rows, COLUMNS]."""
    total = np.zeros((rows, len(COLUMNS)))
    weight = np.full((rows, len(COLUMNS)), 1e-6)
    times = (np.arange(rows) + 0.5) / ROWS_PER_SECOND + style.early
    kinds = np.array([0, 1, 1, 1, 1, 1])  # the jaw has its own time constants
    for name, start, end in zip(spoken.names, spoken.starts, spoken.ends, strict=True):
        first = max(0, int((start - style.early - FARTHEST) * ROWS_PER_SECOND))
        last = min(rows, int((end - style.early + FARTHEST) * ROWS_PER_SECOND) + 1)
        if first >= last:
            continue
        at = times[first:last, None]
        # Weight 1 in the middle; the pull reaches into the neighbours from the sound's inner half.
        inner = 0.25 * (end - start)
        before, after = np.clip(start + inner - at, 0.0, None), np.clip(at - end + inner, 0.0, None)
        pull = np.exp(-before / style.rise - after / style.fall)[:, kinds] * style.rules[name]
        total[first:last] += pull * style.shapes[name]
        weight[first:last] += pull
    return total / weight


def _pressed(
    spoken: _Segments, rows: int, style: MouthStyle
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the lips are pressed together, and the lower one tucked in, 0..1, [rows] each."""
    found = []
    for viseme in (Viseme.CLOSED, Viseme.TUCKED):
        line = np.zeros(rows)
        for start, end in zip(
            spoken.starts[spoken.names == viseme], spoken.ends[spoken.names == viseme], strict=True
        ):
            low, high = (value - style.early for value in (start - style.press, end + style.press))
            line[max(0, round(low * ROWS_PER_SECOND)) : max(0, round(high * ROWS_PER_SECOND))] = 1.0
        found.append(np.clip(_smoothed(line, 0.016 * ROWS_PER_SECOND), 0.0, 1.0))
    return found[0], found[1]


def _idle(spoken: _Segments, rows: int, style: MouthStyle, rng: np.random.Generator) -> NDArray[np.float64]:
    """What opens the mouth without a sound: it parts, breathes in, is licked; eye distances, [rows]."""
    line = style.alive * 0.02 * np.clip(_wandering(rows, 1.5, rng), 0.0, None)
    for name, start, end in zip(spoken.names, spoken.starts, spoken.ends, strict=True):
        if name == Viseme.SILENCE and end - start > 0.25 and rng.random() < 0.2 + 0.6 * style.alive:
            length = rng.uniform(0.12, min(0.6, end - start))
            at = end - length if rng.random() < 0.6 else rng.uniform(start, end - length)
            first, last = (max(0, round(value * ROWS_PER_SECOND)) for value in (at, at + length))
            count = len(line[first:last])
            line[first:last] += rng.uniform(0.01, 0.10) * np.hanning(count + 2)[1:-1]
    return line


def _wandering(rows: int, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Slow noise of unit variance, [rows]."""
    points = max(4, int(rows / ROWS_PER_SECOND / seconds * 2) + 4)
    return np.interp(np.linspace(0.0, points - 1.0, rows), np.arange(points), rng.normal(size=points))


def _smoothed(values: NDArray[Any], deviation: float) -> NDArray[np.float64]:
    """Along rows by a Gaussian with this standard deviation in rows; ends are repeated."""
    reach = max(1, int(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-3)) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    columns = padded.reshape(len(padded), -1).T
    smooth = np.stack([np.convolve(column, kernel, mode="valid") for column in columns], axis=1)
    return np.asarray(smooth.reshape(values.shape), np.float64)


def filmed(features: NDArray[np.float32], seconds: float, rng: np.random.Generator) -> MouthMotion:
    """What a tracker finds of a mouth in a video of it.

    Frame rates from 12 to 60, repeated and dropped frames, the landmarks' jitter and their lag behind it,
    what is left of the head's motion, stretches where the face is lost.

    Args:
        features: [rows, FEATURES] of `drawn`.
        seconds: length of the video.
        rng: what everything is drawn from.
    """
    fps = float(rng.choice([12.5, 15.0, 24.0, 25.0, 25.0, 25.0, 29.97, 30.0, 50.0, 60.0]))
    count = max(2, int(seconds * fps))
    times = (np.arange(count) + 0.5) / fps
    at = times.copy()
    if rng.random() < 0.1:  # a slower video in a faster one: frames stand twice
        at = np.repeat(at[::2] + 0.5 / fps, 2)[:count]
    rows = at * ROWS_PER_SECOND - 0.5
    seen = np.stack([np.interp(rows, np.arange(len(features)), column) for column in features.T], axis=1)
    if rng.random() < 0.3:  # points are found near where they were: up to 10 ms late at 25 frames a second
        keep = rng.uniform(0.0, 0.2) ** (25.0 / fps)
        for index in range(1, count):
            seen[index] += keep * (seen[index - 1] - seen[index])
    jitter = JITTER * rng.lognormal(-0.1, 0.5)
    noise = rng.normal(size=seen.shape) * jitter
    together = rng.normal(size=(count, 1)) * rng.normal(size=len(FEATURES)) * jitter
    head = np.stack([_wandered(times, rng) for _ in range(2)], axis=1)
    leak = head @ (rng.normal(size=(2, len(FEATURES))) * JITTER * rng.uniform(0.0, 4.0))
    seen = seen + noise + together + leak
    found = np.ones(count, bool)
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 4)):
            start = int(rng.integers(count))
            found[start : start + int(rng.integers(1, max(2, int(0.8 * fps))))] = False
    if found.sum() < 2:
        found[:] = True
    outliers = rng.random(count) < 0.004
    seen[outliers] += rng.normal(size=(int(outliers.sum()), len(FEATURES))) * 0.08
    seen[~found] = np.nan
    return MouthMotion(times.astype(np.float64), seen.astype(np.float32))


def _wandered(times: NDArray[np.floating[Any]], rng: np.random.Generator) -> NDArray[np.float64]:
    points = np.arange(times[-1] + 3.0, step=0.7)
    return np.interp(times, points, rng.normal(size=len(points)))


def moving_mouth(phonemes: Sequence[Phoneme], seconds: float, rng: np.random.Generator) -> MouthMotion:
    """A mouth of somebody new that says these phonemes, as it is found in a video."""
    said = [phoneme for phoneme in phonemes if phoneme.name != PAUSE]
    return filmed(drawn(said, seconds, draw_style(rng), rng), seconds, rng)
