"""Counts and windows of the sonic engine, and the detector's boxes: whole numbers, no torch."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.engines.sonic.windows import LONGEST, SAMPLES_PER_STEP, Counts, Plan
from sonic_ext.media import yoloface

plans = st.builds(
    Plan,
    frames=st.integers(1, 300),
    window=st.integers(8, 25),
    shift=st.integers(0, 12),
    overlap=st.integers(0, 7),
)


@given(plans, st.integers(0, 49))
def test_every_frame_is_seen_at_every_step(plan: Plan, step: int) -> None:
    windows = plan.windows(step)
    assert len(windows) == plan.count
    assert all(len(window) == plan.window for window in windows)
    assert sum(map(len, windows)) == plan.seen
    assert {frame for window in windows for frame in window} == set(range(plan.frames))


@given(st.integers(1, 400), st.integers(1, 30), st.integers(0, 9), st.integers(0, 49))
def test_even_windows_see_every_frame_once(frames: int, window: int, shift: int, step: int) -> None:
    plan = Plan(frames, window, shift, even=True)
    windows = plan.windows(step)
    assert len(windows) == plan.count == Plan(frames, window, shift).count
    assert sorted(frame for each in windows for frame in each) == list(range(frames))
    assert sum(map(len, windows)) == plan.seen
    sizes = {len(each) for each in windows}
    assert max(sizes) <= window and max(sizes) - min(sizes) <= 1
    for each in windows:
        assert all((b - a) % frames == 1 % frames for a, b in itertools.pairwise(each))


@given(plans, st.integers(0, 49))
def test_windows_are_runs_on_a_ring(plan: Plan, step: int) -> None:
    for window in plan.windows(step):
        assert all((b - a) % plan.frames == 1 % plan.frames for a, b in itertools.pairwise(window))


@given(st.integers(1, 40), st.integers(0, 49))
def test_without_overlap_no_frame_is_seen_more_often_than_it_must(count: int, step: int) -> None:
    plan = Plan(25 * count)
    seen = Counter(frame for window in plan.windows(step) for frame in window)
    assert set(seen.values()) == {1}


def test_windows_move_back_by_the_shift() -> None:
    first, second = (Plan(100).windows(step)[1][0] for step in (0, 1))
    assert (first, second) == (25, 18)


@pytest.mark.parametrize(("frames", "overlap"), [(0, 0), (5, 25), (5, -1)])
def test_plans_that_cannot_be(frames: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"{frames} frames"):
        Plan(frames, overlap=overlap)
    with pytest.raises(ValueError, match="overlap 1"):
        Plan(9, overlap=1, even=True)


@given(st.integers(0, 2 * LONGEST * SAMPLES_PER_STEP))
def test_counts_agree_with_each_other(samples: int) -> None:
    counts = Counts.of(samples)
    assert counts.audio <= LONGEST
    assert counts.base == counts.audio // 2
    assert counts.full == max(0, 2 * counts.base - 1)
    assert counts.mels * 160 >= samples


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_the_detectors_input_keeps_the_short_side(height: int, width: int) -> None:
    rows, columns = yoloface.input_size(height, width)
    assert min(rows, columns) == 416
    assert rows % 32 == columns % 32 == 0
    assert abs(max(rows, columns) - 416 * max(height, width) / min(height, width)) <= 32


def test_no_faces_without_confidence() -> None:
    answer = np.full((3, 16), 0.7, np.float32)
    assert yoloface.faces(answer, 416, 416) == []
    with pytest.raises(ValueError, match="empty"):
        yoloface.largest([])
