"""Viseme probabilities every 10 ms → smooth mouth motion every 10 ms.

Everything here looks at most `RADIUS` rows to either side, so long speech can be worked through in
overlapping parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .visemes import Viseme, targets

RADIUS = 40
"""Rows of context that the motion of one row depends on, at most."""
SIGMA = (2.4, 3.5, 3.5, 3.0, 3.0)
"""Smoothing in rows (10 ms) of jaw, rounding, spread, upper, lower: lips are slower than the jaw."""
CLOSURE, CLOSURE_PEAK = 0.35, 0.5
"""Lips count as pressed where p/b/m is likelier than the first, if somewhere likelier than the second."""
SHORTEST_CLOSURE = 3
"""Rows; anything shorter is a flicker of the network."""
LONGEST_CLOSURE = 25
SHUTTING, PARTING = 5, 4
"""Rows that lips take to come together before a closure, and to part after it."""
PAUSE = 10
"""Rows of silence from which the mouth shuts for certain."""
QUIET_DB, LOUD_DB = -26.0, -3.0
"""Loudness below the speech's level at which energy is 0, and at which it is 1."""

MOTION = ("jaw", "rounding", "spread", "press", "upper", "lower", "energy", "speaking")
"""Columns of what `motion` returns."""


def _gaussian(sigma: float) -> np.ndarray:
    reach = int(np.ceil(3.2 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(taps / taps.sum())


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing of [rows]; the ends are held."""
    taps = _gaussian(sigma)
    reach = len(taps) // 2
    return np.convolve(np.pad(values, reach, mode="edge"), taps, mode="valid")


def _runs(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _hull(rows: int, runs: list[tuple[int, int]], before: int, after: int) -> np.ndarray:
    """1 inside each run, cosine flanks of `before` and `after` rows outside, [rows]."""
    centres = np.arange(rows)
    hull = np.zeros(rows)
    for start, end in runs:
        away = np.maximum((start - centres) / (before + 1), (centres - end + 1) / (after + 1))
        np.maximum(hull, 0.5 + 0.5 * np.cos(np.pi * np.clip(away, 0.0, 1.0)), out=hull)
    return hull


def closures(closed: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of rows in which the lips are pressed, from the probability of p/b/m, [rows]."""
    steady = np.convolve(np.pad(closed, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    return [
        (start, end)
        for start, end in _runs(steady > CLOSURE)
        if end - start >= SHORTEST_CLOSURE and steady[start:end].max() > CLOSURE_PEAK
    ]


def pauses(silence: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of silence long enough to shut the mouth, from its probability, [rows]."""
    return [(start, end) for start, end in _runs(_smooth(silence, 1.0) > 0.5) if end - start >= PAUSE]


def energy(loud: np.ndarray) -> np.ndarray:
    """0..1 from decibels relative to the speech's level, [rows]."""
    return np.asarray(np.clip((loud - QUIET_DB) / (LOUD_DB - QUIET_DB), 0.0, 1.0))


def motion(probabilities: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """Mouth motion, float32 [rows, 8], columns as in `MOTION`.

    Args:
        probabilities: of each `Viseme`, [rows, classes].
        loud: decibels relative to the level of the speech, [rows].
    """
    values, rules = targets()
    shares = probabilities[:, :, None] * rules[None]
    shapes = np.empty((len(loud), values.shape[1]))
    for column, sigma in enumerate(SIGMA):
        weight = _smooth(shares[:, :, column].sum(axis=1), sigma)
        aimed = (shares[:, :, column] * values[None, :, column]).sum(axis=1)
        shapes[:, column] = _smooth(aimed, sigma) / weight
    rest = pauses(probabilities[:, Viseme.SILENCE])
    awake = 1.0 - _hull(len(loud), [(start + 3, end - 3) for start, end in rest], 6, 4)
    vigour = _smooth(energy(loud), 4.0)
    shapes[:, 0] *= 0.7 + 0.35 * vigour
    shapes *= awake[:, None]
    press = _hull(len(loud), closures(probabilities[:, Viseme.CLOSED]), SHUTTING, PARTING)
    speaking = _smooth(awake, 3.0)
    columns = [shapes[:, 0], shapes[:, 1], shapes[:, 2], press, shapes[:, 3], shapes[:, 4]]
    return np.stack([*columns, vigour * awake, speaking], axis=1).astype(np.float32)
