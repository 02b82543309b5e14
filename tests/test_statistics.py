"""Intervals and tests of evaluation, against direct computation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.evaluation import statistics
from sonic_ext.evaluation.statistics import (
    RESAMPLES,
    SEED,
    crossed_interval,
    holm,
    mean_interval,
    paired_difference,
    sign_test,
    signed_ranks,
)

SMALL = st.lists(st.integers(-4, 4), max_size=9)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40), st.floats(-1000, 1000))
def test_an_interval_lies_around_the_mean_and_moves_with_the_values(values: list[float], by: float) -> None:
    found, moved = mean_interval(values), mean_interval([value + by for value in values])
    assert found.mean == pytest.approx(np.mean(values))
    assert min(values) - 1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= max(values) + 1e-9
    assert (moved.low, moved.high) == pytest.approx((found.low + by, found.high + by), abs=1e-6)


def test_an_interval_is_that_of_means_drawn_one_by_one() -> None:
    values = np.array([1.0, 2, 4, 8, 16])
    drawn = np.random.default_rng(SEED)
    means = [np.mean([values[int(drawn.integers(5))] for _ in range(5)]) for _ in range(RESAMPLES)]
    found = mean_interval(values)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.15)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0)
    held = [(found := mean_interval(drawn.normal(3, 2, 30))).low <= 3 <= found.high for _ in range(150)]
    assert 0.88 <= np.mean(held) <= 0.99


def test_what_was_not_measured_counts_for_nothing() -> None:
    assert mean_interval([1, math.nan, 3]) == mean_interval([1, 3])
    one, none = mean_interval([5, math.nan]), mean_interval([math.nan])
    assert (one.count, one.mean, none.count) == (1, 5, 0)
    assert np.isnan([one.low, one.high, none.mean, none.low, none.high]).all()


def test_many_values_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(50.0)
    whole = mean_interval(values)
    monkeypatch.setattr(statistics, "_TOGETHER", 999)
    parts = mean_interval(values)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.5)


@given(SMALL)
def test_the_sign_test_is_a_count_of_all_tosses(differences: list[int]) -> None:
    signs = [value > 0 for value in differences if value]
    uneven = abs(2 * sum(signs) - len(signs))
    tosses = list(itertools.product([0, 1], repeat=len(signs)))
    expected = np.mean([abs(2 * sum(toss) - len(signs)) >= uneven for toss in tosses])
    assert sign_test(differences) == pytest.approx(expected)


@given(SMALL)
def test_signed_ranks_are_a_count_of_all_signs(differences: list[int]) -> None:
    known = [value for value in differences if value]
    sizes = sorted(abs(value) for value in known)
    ranks = [np.mean([place + 1 for place, size in enumerate(sizes) if size == abs(v)]) for v in known]
    middle = sum(ranks) / 2
    away = abs(sum(rank for rank, value in zip(ranks, known, strict=True) if value > 0) - middle)
    signs = itertools.product([0, 1], repeat=len(ranks))
    sums = [sum(rank for rank, sign in zip(ranks, each, strict=True) if sign) for each in signs]
    expected = np.mean([abs(each - middle) >= away - 1e-9 for each in sums])
    assert signed_ranks(differences) == pytest.approx(expected)


def test_signed_ranks_as_wilcoxon_has_them() -> None:
    """Darwin's plants, crossed and self-fertilised: rank sum 24 of 15 pairs, two-sided 0.041."""
    heights = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert signed_ranks(heights) == pytest.approx(0.0413, abs=2e-4)


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
def test_many_differences_are_counted_and_approximated_alike(
    shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences = np.round(np.random.default_rng(5).normal(shift, 1, 60), 1)
    counted = signed_ranks(differences)
    monkeypatch.setattr(statistics, "EXACT", 0)
    assert signed_ranks(differences) == pytest.approx(counted, abs=0.01)
    assert sign_test(np.ones(3000)) < 1e-300


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_its_steps_reject(probabilities: list[float]) -> None:
    raised = holm(probabilities)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for step, place in enumerate(sorted(range(len(raised)), key=lambda i: probabilities[i])):
            if (len(raised) - step) * probabilities[place] > level:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(raised) if p <= level} == rejected


def test_holm_leaves_out_what_is_not_known() -> None:
    assert holm([0.01, math.nan, 0.04])[::2] == [0.02, 0.04]
    assert math.isnan(holm([math.nan])[0])


def test_pairs_are_compared_where_both_sides_are_known() -> None:
    found = paired_difference([1.0, 5, 2, math.nan], [0.0, 1, 3, 7])
    assert (found.difference.count, found.more, found.less) == (3, 2, 1)
    assert found.difference.mean == pytest.approx(4 / 3)
    assert (found.sign, found.ranks) == (sign_test([1, 4, -1]), signed_ranks([1, 4, -1]))
    spread = math.sqrt((np.var([1, 5, 2]) + np.var([0, 1, 3])) / 2)
    assert found.deviation == pytest.approx(spread)
    with pytest.raises(ValueError, match="2 values beside 1"):
        paired_difference([1, 2], [1])


def test_an_interval_over_runs_and_items_is_wider_than_one_over_cells() -> None:
    """Items that are the same in every run are not so many more items."""
    rng = np.random.default_rng(4)
    items = rng.normal(0, 1, 12)
    table = items + rng.normal(0, 0.05, (6, 12))
    crossed, cells = crossed_interval(table), mean_interval(table.ravel())
    assert crossed.mean == pytest.approx(table.mean()) and crossed.count == 72
    assert crossed.low < crossed.mean < crossed.high
    assert crossed.high - crossed.low > 1.8 * (cells.high - cells.low)


def test_an_interval_over_runs_and_items_leaves_out_what_was_not_measured() -> None:
    table = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, np.nan], [np.nan, np.nan, np.nan]])
    found = crossed_interval(table)
    assert (found.count, found.mean) == (4, 2.5)
    assert 1 <= found.low < found.high <= 4
    assert crossed_interval(table[:1]).mean == 1.5 and math.isnan(crossed_interval(table[:1]).low)
    assert math.isnan(crossed_interval(table[2:]).mean)
