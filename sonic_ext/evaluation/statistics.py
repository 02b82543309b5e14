"""Means with intervals, and whether two folders differ in pairs; in numpy, from the definitions.

    interval = mean_interval(values)              # bootstrap, 95 %
    paired = paired_difference(ours, theirs)      # mean difference, interval, sign test, signed ranks

Values that are nan were not measured and count nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Share of repetitions in which an interval is to hold the truth."""
RESAMPLES = 10_000
SEED = 18
"""The same values have the same interval on every call."""
EXACT = 200
"""Differences up to which the signed ranks' distribution is counted out; beyond, it is normal."""
_TOGETHER = 1 << 20
"""Draws held in memory."""


@dataclass(frozen=True)
class MeanInterval:
    """A mean and where it could lie."""

    count: int
    mean: float
    """nan of nothing."""
    low: float
    high: float
    """nan for fewer than two values."""


@dataclass(frozen=True)
class PairedDifference:
    """How two things differ that were measured on the same items: the first less the second."""

    difference: MeanInterval
    more: int
    less: int
    """Pairs in which the first is larger, and in which it is smaller; the rest are equal."""
    sign: float
    """Probability of the sign test, two-sided: 1 where no pair differs."""
    ranks: float
    """Of Wilcoxon's signed ranks, two-sided."""
    deviation: float
    """Standard deviation of the items, both sides' together: what makes differences of several figures
    comparable; nan for fewer than two pairs."""


def mean_interval(values: Sequence[float] | NDArray[np.floating[Any]]) -> MeanInterval:
    """Mean and bootstrap interval: the middle `LEVEL` of the means of `RESAMPLES` draws with replacement.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; percentiles. Of fewer than about ten
    values it is too narrow.
    """
    known = _known(values)
    if len(known) < 2:
        return MeanInterval(len(known), float(known.mean()) if len(known) else math.nan, math.nan, math.nan)
    means = _resampled_means(known)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return MeanInterval(len(known), float(known.mean()), float(low), float(high))


def paired_difference(
    first: Sequence[float] | NDArray[np.floating[Any]], second: Sequence[float] | NDArray[np.floating[Any]]
) -> PairedDifference:
    """Compare two lists of the same length, item by item; pairs of which one is nan are left out.

    Raises:
        ValueError: the lists are of different lengths.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape:
        raise ValueError(f"{len(one)} values beside {len(other)}")
    differences = _known(one - other)
    both = np.isfinite(one - other)
    spread = math.sqrt((one[both].var() + other[both].var()) / 2) if len(differences) > 1 else math.nan
    return PairedDifference(
        mean_interval(differences),
        int((differences > 0).sum()),
        int((differences < 0).sum()),
        sign_test(differences),
        signed_ranks(differences),
        spread,
    )


def crossed_interval(table: NDArray[np.floating[Any]]) -> MeanInterval:
    """Mean and bootstrap interval of figures of the same items in several runs: both are drawn anew.

    Owen, "The pigeonhole bootstrap", 2007: of a table of rows and columns, rows and columns are drawn with
    replacement, each by itself. Differences of seeds and of clips are both in the interval; drawing cells
    would take a clip that is easy in every run for so many clips.

    Args:
        table: [runs, items]; nan where nothing was measured.
    """
    known = table[~np.isnan(table).all(axis=1)]
    cells = int(np.isfinite(known).sum())
    if cells == 0:
        return MeanInterval(0, math.nan, math.nan, math.nan)
    mean = float(np.nanmean(known))
    if min(known.shape) < 2:
        return MeanInterval(cells, mean, math.nan, math.nan)
    rng, there = np.random.default_rng(SEED), np.isfinite(known)
    values = np.where(there, known, 0.0)
    rows, columns = known.shape
    often = rng.multinomial(rows, np.full(rows, 1 / rows), RESAMPLES)
    across = rng.multinomial(columns, np.full(columns, 1 / columns), RESAMPLES)
    totals = np.einsum("br,rc,bc->b", often, values, across, optimize=True)
    counts = np.einsum("br,rc,bc->b", often, there.astype(np.float64), across, optimize=True)
    means = totals[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return MeanInterval(cells, mean, float(low), float(high))


def sign_test(differences: Sequence[float] | NDArray[np.floating[Any]]) -> float:
    """Two-sided probability that signs fall at least so unevenly by chance, exact; zeros are left out."""
    known = _known(differences)
    more, less = int((known > 0).sum()), int((known < 0).sum())
    count = more + less
    tail = sum(math.comb(count, few) for few in range(min(more, less) + 1))
    return min(1.0, 2 * tail / 2**count)


def signed_ranks(differences: Sequence[float] | NDArray[np.floating[Any]]) -> float:
    """Two-sided probability of Wilcoxon's signed-rank test; zeros are left out, equals share their ranks.

    Wilcoxon, "Individual Comparisons by Ranking Methods", 1945. Up to `EXACT` differences over all ways to
    give these ranks signs, beyond by the normal distribution with its corrections for ties and continuity.
    """
    known = _known(differences)
    known = known[known != 0]
    if not len(known):
        return 1.0
    # Ranks of equal sizes are their mean: doubled, all are whole numbers.
    ranks = np.rint(2 * _ranks(np.abs(known))).astype(np.int64)
    positive, total = int(ranks[known > 0].sum()), int(ranks.sum())
    least = min(positive, total - positive)
    if len(ranks) <= EXACT:
        return min(1.0, 2 * float(_sums(ranks)[: least + 1].sum()))
    spread = math.sqrt(float(np.square(ranks.astype(np.float64)).sum())) / 2
    away = max(0.0, total / 2 - least - 1)  # half a rank, doubled
    return math.erfc(away / spread / math.sqrt(2))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities of several tests, each raised so that among all one false alarm in 20 stays one in 20.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979. nan stays and counts for none.
    """
    raised = [math.nan] * len(probabilities)
    order = sorted((p, place) for place, p in enumerate(probabilities) if not math.isnan(p))
    largest = 0.0
    for done, (probability, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - done) * probability))
        raised[place] = largest
    return raised


def _known(values: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    found = np.asarray(values, np.float64).reshape(-1)
    return found[np.isfinite(found)]


def _resampled_means(known: NDArray[np.float64]) -> NDArray[np.float64]:
    drawn, means = np.random.default_rng(SEED), np.empty(RESAMPLES)
    step = max(1, _TOGETHER // len(known))
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        means[start : start + rows] = known[drawn.integers(0, len(known), (rows, len(known)))].mean(axis=1)
    return means


def _ranks(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each from 1, those of equals their mean."""
    _, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.reshape(-1)], np.float64)


def _sums(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of each sum of the ranks with a positive sign, where every sign is a toss."""
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    return chances
