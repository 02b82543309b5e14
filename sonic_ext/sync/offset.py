"""From vectors of voice and mouth to the offset between them, and how sure it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .sound import ROWS_PER_SECOND

REACH = 50
"""Rows: offsets beyond ±1 s are not searched."""
LAGS = np.arange(-REACH, REACH + 1) / ROWS_PER_SECOND
"""Seconds, the columns of all scores; positive: the mouth comes after the voice."""
APART = 5
"""Rows around the best offset that do not count as another: peaks are this wide."""
SURE = 0.5
"""Confidence from which an offset counts."""
AGREED = 0.020
"""Seconds within which mouth and voice agree: half a frame, and less than anybody notices or a measurement
can tell."""
REASONS = 6
"""Of `evidence`."""
NEAR = 0.040
"""Seconds within which an offset counts as right: confidence is the probability of that."""


class Estimate(NamedTuple):
    """An offset with its confidence."""

    seconds: float
    """Positive: the mouth comes after the voice."""
    confidence: float
    """0..1, the probability that the offset is within `NEAR` of the truth."""


def lag_scores(
    heard: NDArray[np.float32], seen: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Similarity of each moment of the sound to the mouth at every lag.

    Args:
        heard: vectors [rows, d] from the beginning of the sound.
        seen: vectors [rows, d] of the same moments; zeros where the mouth is not known.

    Returns:
        float32 [rows, LAGS] cosines, 0 where not known, and bool [rows, LAGS] where they are known.
    """
    rows = len(heard)
    scores = np.zeros((rows, len(LAGS)), np.float32)
    known = np.zeros((rows, len(LAGS)), bool)
    there = np.any(seen != 0.0, axis=1)
    for column, lag in enumerate(range(-REACH, REACH + 1)):
        start, end = max(0, -lag), min(rows, rows - lag)
        if start < end:
            scores[start:end, column] = np.einsum("td,td->t", heard[start:end], seen[start + lag : end + lag])
            known[start:end, column] = there[start + lag : end + lag]
    return scores, known


def windowed(
    scores: NDArray[np.float32], known: NDArray[np.bool_], size: int, step: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Means of `lag_scores` over windows of `size` rows, one every `step`.

    Returns:
        Middles of the windows in seconds [windows], mean scores float32 [windows, LAGS], nan where less than
        half of the window is known, and over how many rows each was taken, float32 [windows, LAGS].
    """
    rows = len(scores)
    size = min(size, rows)
    starts = np.arange(0, max(1, rows - size + 1), step)
    totals = np.concatenate([np.zeros((1, len(LAGS))), np.cumsum(scores, axis=0, dtype=np.float64)])
    counts = np.concatenate([np.zeros((1, len(LAGS))), np.cumsum(known, axis=0, dtype=np.float64)])
    total = totals[starts + size] - totals[starts]
    count = counts[starts + size] - counts[starts]
    enough = count >= size / 2
    means = np.where(enough, total / np.maximum(count, 1.0), np.nan).astype(np.float32)
    middles = (starts + size / 2) / ROWS_PER_SECOND
    return middles, means, count.astype(np.float32)


def evidence(
    scores: NDArray[np.floating[Any]], counts: NDArray[np.floating[Any]]
) -> tuple[float, NDArray[np.float64]] | None:
    """The best lag of a row of mean scores, and what speaks for it.

    Args:
        scores: [LAGS], nan where not known.
        counts: rows that each mean was taken over, [LAGS].

    Returns:
        Seconds to a fraction of a row (a parabola through the peak), and float64 [REASONS]: how far the peak
        stands out from all other lags in their standard deviations, by how much it beats the next peak
        elsewhere, its height, the logarithm of the seconds, the share of rows that all lags know of those
        that the best known one has, and the height times that logarithm; None where fewer than half of the
        lags are known, they are all the same, or the best one is the first or the last.
    """
    able = np.isfinite(scores)
    if able.sum() < len(LAGS) / 2:
        return None
    filled = np.where(able, scores, np.nanmin(scores)).astype(np.float64)
    best = int(filled.argmax())
    if best in (0, len(LAGS) - 1):  # the best one may lie beyond
        return None
    others = able.copy()
    others[max(0, best - APART) : best + APART + 1] = False
    spread = float(filled[others].std()) if others.sum() > APART else 0.0
    if spread < 1e-9:
        return None
    seconds = float(LAGS[best])
    if able[best - 1 : best + 2].all():
        before, peak, after = filled[best - 1 : best + 2]
        bend = before - 2 * peak + after
        seconds += (0.5 * (before - after) / bend if bend < 0 else 0.0) / ROWS_PER_SECOND
    height = filled[best]
    stands_out = (height - filled[others].mean()) / spread
    beats = (height - filled[others].max()) / spread
    length = np.log(max(float(counts[REACH]), 1.0) / ROWS_PER_SECOND)
    shared = float(counts.mean()) / max(float(counts.max()), 1.0)
    return seconds, np.array([stands_out, beats, height, length, shared, height * length])


def estimate(
    scores: NDArray[np.floating[Any]],
    counts: NDArray[np.floating[Any]],
    confidence: NDArray[np.floating[Any]],
) -> Estimate | None:
    """The offset that mean scores [LAGS] speak for; None where they say nothing.

    Args:
        scores, counts: see `evidence`.
        confidence: `SyncNetwork.confidence`.
    """
    found = evidence(scores, counts)
    if found is None:
        return None
    seconds, reasons = found
    logit = float(reasons @ confidence[:-1] + confidence[-1])
    return Estimate(seconds, 1.0 / (1.0 + float(np.exp(-np.clip(logit, -60.0, 60.0)))))


def of_all(
    scores: NDArray[np.float32], known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of `lag_scores` over a whole stretch [LAGS], nan where nothing is known, and over how many rows
    each was taken [LAGS]."""
    counts = known.sum(axis=0)
    means = np.where(counts > 0, scores.sum(axis=0) / np.maximum(counts, 1), np.nan)
    return np.asarray(means, np.float64), counts.astype(np.float64)


def overall(
    scores: NDArray[np.float32], known: NDArray[np.bool_], confidence: NDArray[np.floating[Any]]
) -> Estimate | None:
    """The offset of a whole stretch from its `lag_scores`; None where they say nothing."""
    return estimate(*of_all(scores, known), confidence)
