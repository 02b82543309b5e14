"""Viseme probabilities every 10 ms → smooth mouth motion every 10 ms.

Everything here looks at most `RADIUS` rows to either side, so long speech can be worked through in
overlapping parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...media.blocks import runs
from .visemes import Viseme, targets

RADIUS = 104
"""Rows of context that the motion of one row depends on, at most."""
SIGMA = (2.6, 3.5, 3.5, 3.0, 3.0, 2.2)
"""Smoothing in rows (10 ms) of jaw, rounding, spread, upper, lower, tongue: lips are slower than the jaw."""
VOICED_BAR, GAP_BAR = 0.35, 0.15
"""Lips count as pressed where p/b/m is likelier than this, in sound and in a gap of the sound. In the gap
of a plosive p looks much like t or k, and lips that touch for a k are seen less than lips that miss a p."""
VOICED_DB, GAP_DB = -14.0, -26.0
"""Loudness at which the first and the second hold; between them the bar slides."""
MURKY_BAR = 0.16
"""The bar where others talk or play, and gaps are filled: there the network is sure of less."""
AROUND = 70
"""Rows to either side in which the quietest moment tells how filled the gaps are."""
CLEAR_DB, MURKY_DB = -40.0, -26.0
"""Loudness of that moment up to which speech is alone, and from which it is not; between, the bar slides."""
PEAK = 1.2
"""Somewhere in a closure its likelihood must be this many times the bar."""
TOP = 0.73
"""Of a closure, only rows count that reach this share of its highest."""
SHORTEST_CLOSURE = 3
"""Rows; anything shorter is a flicker of the network."""
SHUTTING, PARTING = 4, 4
"""Rows that lips take to come together before a closure, and to part after it."""
HELD = 0.15
"""Part of a frame's time, to either side of its middle, in which a closure still shows on it."""
QUIET_BAR, MURKY_QUIET_BAR = 0.5, 0.35
"""Silence is what is likelier silence than this, of speech alone and among others."""
PAUSE = 10
"""Rows of silence from which the mouth shuts for certain."""
QUIET_DB, LOUD_DB = -26.0, -3.0
"""Loudness below the speech's level at which energy is 0, and at which it is 1."""

MOTION = ("jaw", "rounding", "spread", "press", "upper", "lower", "energy", "speaking", "tongue")
"""Columns of what `motion` returns."""


def _gaussian(sigma: float) -> NDArray[np.float64]:
    reach = int(np.ceil(3.2 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(taps / taps.sum())


def _smooth(values: NDArray[np.floating[Any]], sigma: float) -> NDArray[np.float64]:
    """Gaussian smoothing of [rows]; the ends are held."""
    taps = _gaussian(sigma)
    reach = len(taps) // 2
    return np.asarray(np.convolve(np.pad(values, reach, mode="edge"), taps, mode="valid"), np.float64)


def _hull(rows: int, stretches: list[tuple[int, int]], before: int, after: int) -> NDArray[np.float64]:
    """1 inside each run; outside, cosine flanks of `before` and `after` rows, [rows]."""
    centres = np.arange(rows)
    hull = np.zeros(rows)
    for start, end in stretches:
        away = np.maximum((start - centres) / (before + 1), (centres - end + 1) / (after + 1))
        np.maximum(hull, 0.5 + 0.5 * np.cos(np.pi * np.clip(away, 0.0, 1.0)), out=hull)
    return hull


def murkiness(loud: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """0 where speech is alone, 1 where others talk or play in its gaps, from decibels, [rows]."""
    even = np.convolve(np.pad(loud, AROUND + 2, mode="edge"), np.ones(5) / 5.0, mode="valid")
    quietest = np.lib.stride_tricks.sliding_window_view(even, 2 * AROUND + 1).min(axis=1)
    return np.asarray(np.interp(quietest, (CLEAR_DB, MURKY_DB), (0.0, 1.0)))


def closures(
    closed: NDArray[np.floating[Any]], loud: NDArray[np.floating[Any]], murky: NDArray[np.floating[Any]]
) -> list[tuple[int, int]]:
    """Stretches of rows in which the lips are pressed.

    Args:
        closed: probability of p/b/m, [rows].
        loud: decibels relative to the level of the speech, [rows].
        murky: see `murkiness`, [rows].
    """
    bar = np.interp(loud, (GAP_DB, VOICED_DB), (GAP_BAR, VOICED_BAR))
    bar += murky * (MURKY_BAR - bar)
    likely = np.convolve(np.pad(closed, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    found = []
    for start, end in runs(likely > bar):
        high = start + np.flatnonzero(likely[start:end] >= TOP * likely[start:end].max())
        first, last = int(high[0]), int(high[-1]) + 1
        if last - first >= SHORTEST_CLOSURE and (likely[start:end] > PEAK * bar[start:end]).any():
            found.append((first, last))
    return found


def pauses(silence: NDArray[np.floating[Any]], murky: NDArray[np.floating[Any]]) -> list[tuple[int, int]]:
    """Stretches of silence long enough to shut the mouth.

    Args:
        silence: its probability, [rows].
        murky: see `murkiness`, [rows].
    """
    quiet = _smooth(silence, 1.0) > QUIET_BAR + murky * (MURKY_QUIET_BAR - QUIET_BAR)
    return [(start, end) for start, end in runs(quiet) if end - start >= PAUSE]


def energy(loud: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """0..1 from decibels relative to the speech's level, [rows]."""
    return np.asarray(np.clip((loud - QUIET_DB) / (LOUD_DB - QUIET_DB), 0.0, 1.0))


def motion(probabilities: NDArray[np.floating[Any]], loud: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Mouth motion, float32 [rows, 9], columns as in `MOTION`.

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
    murky = murkiness(loud)
    rest = pauses(probabilities[:, Viseme.SILENCE], murky)
    awake = 1.0 - _hull(len(loud), [(start + 4, end - 4) for start, end in rest], 8, 8)
    vigour = _smooth(energy(loud), 4.0)
    shapes[:, 0] *= 0.75 + 0.3 * vigour
    shapes *= awake[:, None]
    closed = closures(probabilities[:, Viseme.CLOSED], loud, murky)
    lips = _hull(len(loud), closed, SHUTTING, PARTING)
    press = lips**2  # lips meet late and part early: the flanks start gently
    speaking = _smooth(awake, 3.0)
    columns = [shapes[:, 0], shapes[:, 1], shapes[:, 2], press, shapes[:, 3], shapes[:, 4]]
    return np.stack([*columns, vigour * awake, speaking, shapes[:, 5]], axis=1).astype(np.float32)


def sampled(
    moves: NDArray[np.float32], rows: NDArray[np.floating[Any]], frame_rows: float
) -> NDArray[np.float32]:
    """Motion at moments given in (broken) rows, float32 [moments, 9].

    Each moment takes the value there, but of `press` the highest within the frame's time on screen:
    a closure that falls between the middles of two frames is still seen.

    Args:
        moves: what `motion` returned.
        rows: moments, ascending, within the rows of `moves`.
        frame_rows: rows that a frame is on screen.
    """
    line = np.arange(len(moves))
    taken = np.stack([np.interp(rows, line, moves[:, column]) for column in range(moves.shape[1])], axis=1)
    press = MOTION.index("press")
    for away in np.linspace(-HELD, HELD, 5) * frame_rows:
        np.maximum(taken[:, press], np.interp(rows + away, line, moves[:, press]), out=taken[:, press])
    return taken.astype(np.float32)
