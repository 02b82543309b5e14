"""The offset between mouth and voice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.sync.calibration import CORRECTED, Offset, find_offset


def syllables(times: np.ndarray) -> np.ndarray:
    """A mouth that opens irregularly, four times a second."""
    return np.maximum(0, np.sin(2 * np.pi * 3.7 * times + 1.3 * np.sin(2.1 * times))) * (1 + np.sin(times))


@given(st.floats(-0.12, 0.12), st.sampled_from([25, 50]))
def test_a_known_shift_is_found_to_a_fraction_of_a_frame(shift: float, fps: int) -> None:
    times = np.arange(6 * fps) / fps
    noise = np.random.default_rng(0).normal(0, 0.1, len(times))
    found = find_offset(syllables(times - shift) + noise, syllables(times), fps)
    assert found is not None
    assert found.seconds == pytest.approx(shift, abs=0.012)


def test_nothing_is_claimed_without_evidence() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(150) / 25
    assert find_offset(np.zeros(150), syllables(times), 25) is None
    assert find_offset(syllables(times)[:15], syllables(times)[:15], 25) is None
    assert find_offset(rng.normal(size=150), syllables(times), 25) is None


@pytest.mark.parametrize(
    ("seconds", "correction"), [(0.01, 0.0), (0.03, 0.03), (0.2, CORRECTED), (-0.2, -CORRECTED)]
)
def test_only_what_can_be_measured_is_corrected_and_never_much(seconds: float, correction: float) -> None:
    assert Offset(seconds, 0.9).correction == pytest.approx(correction)
