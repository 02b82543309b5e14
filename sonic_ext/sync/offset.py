"""From vectors of voice and mouth to the offset between them, and how sure it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .sound import ROWS_PER_SECOND

MAX_LAG = 50
"""Rows: offsets beyond ±1 s are not searched."""
LAGS = np.arange(-MAX_LAG, MAX_LAG + 1) / ROWS_PER_SECOND
"""Seconds, the columns of all scores; positive: the mouth comes after the voice."""
PEAK_RADIUS = 5
"""Rows around the best offset that do not count as another: peaks are this wide."""
SHORTEST = 1.0
"""Seconds of a face that a measurement takes."""
SURE = 0.5
"""Confidence from which an offset counts."""
AGREED = 0.020
"""Seconds within which mouth and voice agree: half a frame, and less than anybody notices or a measurement
can tell."""
REASONS = 6
"""Numbers of `evidence`."""
TOLERANCE = 0.040
"""Seconds within which an offset counts as right: confidence is the probability of that."""


class Estimate(NamedTuple):
    """An offset with its confidence."""

    seconds: float
    """Positive: the mouth comes after the voice."""
    confidence: float
    """0..1, the probability that the offset is within `TOLERANCE` of the truth."""


class Evidence(NamedTuple):
    """What speaks for an offset."""

    seconds: float
    """Positive: the mouth comes after the voice."""
    reasons: NDArray[np.float64]
    """float64 [REASONS], see `evidence`."""

    def estimate(self, confidence: NDArray[np.floating[Any]]) -> Estimate:
        """With `SyncNetwork.confidence`."""
        logit = float(self.reasons @ confidence[:-1] + confidence[-1])
        return Estimate(self.seconds, 1.0 / (1.0 + float(np.exp(-np.clip(logit, -60.0, 60.0)))))


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
    for column, lag in enumerate(range(-MAX_LAG, MAX_LAG + 1)):
        start, end = max(0, -lag), min(rows, rows - lag)
        if start < end:
            scores[start:end, column] = np.einsum("td,td->t", heard[start:end], seen[start + lag : end + lag])
            known[start:end, column] = there[start + lag : end + lag]
    return scores, known


def windowed(
    scores: NDArray[np.float32], known: NDArray[np.bool_], size: int, step: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Means of `lag_scores` over windows of `size` rows, one every `step`.

    Returns:
        Middles of the windows in seconds [windows], mean scores float32 [windows, LAGS], nan where less than
        half of the window is known.
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
    return middles, means


def evidence(scores: NDArray[np.float32], known: NDArray[np.bool_]) -> Evidence | None:
    """The best lag of a stretch, and what speaks for it.

    Args:
        scores, known: `lag_scores` of the stretch, [rows, LAGS].

    Returns:
        Seconds to a fraction of a row (a parabola through the peak) and reasons; None where fewer than half
        of the lags are known, they are all the same, or the best one is the first or the last.
        What speaks for it: how far the peak of the mean stands out from all other lags in their standard
        deviations; by how much it beats the next peak elsewhere; its height; the logarithm of the seconds;
        the share of the rows that a lag knows, of those that the best known one does; and the height
        times that logarithm.
    """
    means, counts = _means(scores, known)
    able = counts > 0
    if able.sum() < len(LAGS) / 2:
        return None
    filled = np.where(able, means, means[able].min())
    best = int(filled.argmax())
    if best in (0, len(LAGS) - 1):  # the best one may lie beyond
        return None
    others = able.copy()
    others[max(0, best - PEAK_RADIUS) : best + PEAK_RADIUS + 1] = False
    spread = float(filled[others].std()) if others.sum() > PEAK_RADIUS else 0.0
    if spread < 1e-9:
        return None
    seconds = float(LAGS[best])
    if able[best - 1 : best + 2].all():
        before, peak, after = filled[best - 1 : best + 2]
        bend = before - 2 * peak + after
        seconds += (0.5 * (before - after) / bend if bend < 0 else 0.0) / ROWS_PER_SECOND
    height = filled[best]
    length = np.log(max(float(counts[MAX_LAG]), 1.0) / ROWS_PER_SECOND)
    reasons = (
        (height - filled[others].mean()) / spread,
        (height - filled[others].max()) / spread,
        height,
        length,
        float(counts.mean() / counts.max()),
        height * length,
    )
    return Evidence(seconds, np.array(reasons, dtype=np.float64))


def _means(scores: NDArray[np.float32], known: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean of each lag, 0 where nothing is known, and over how many rows, [LAGS] each."""
    counts = known.sum(axis=0)
    return scores.sum(axis=0, dtype=np.float64) / np.maximum(counts, 1), counts


def estimate(
    scores: NDArray[np.float32], known: NDArray[np.bool_], confidence: NDArray[np.floating[Any]]
) -> Estimate | None:
    """The offset of a stretch; None where nothing speaks for one.

    Args:
        scores, known: see `evidence`.
        confidence: `SyncNetwork.confidence`.
    """
    found = evidence(scores, known)
    return None if found is None else found.estimate(confidence)
