"""Solvers of the sampler on a problem whose solution is known, in windows that move."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sonic_ext.errors import BadSetting
from sonic_ext.settings import Settings

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")

from toy_unet import SIZE, drawn  # noqa: E402

from sonic_ext.engines.sonic import schedule  # noqa: E402
from sonic_ext.engines.sonic.sampling import sample  # noqa: E402
from sonic_ext.engines.sonic.solvers import SOLVERS, SolverState, euler  # noqa: E402
from sonic_ext.engines.sonic.windows import Plan  # noqa: E402

FRAMES = 7
PLAN = Plan(FRAMES, window=3, shift=2)
"""Two frames are in two windows at every step, and never the same two in the next."""
CONFIG = {**schedule.CONFIG, "sigma_max": 20.0, "sigma_min": 0.1}
MEAN = drawn(FRAMES, 4, *SIZE, seed=1).double()
VARIANCE = (0.2 + drawn(FRAMES, 4, *SIZE, seed=2).abs().double()) ** 2


def gaussian(x: Any, moment: Any, frames: Any, first: bool) -> Any:
    """The ideal prediction for clean latents that are normally distributed, each frame's in its own way."""
    noisy, noise = x * (moment.sigma.double() ** 2 + 1) ** 0.5, moment.sigma.double() ** 2
    mean, variance = MEAN[frames], VARIANCE[frames]
    return schedule.velocity(noisy, (variance * noisy + noise * mean) / (variance + noise), noise**0.5)


def solution(x: Any, sigma: float, following: float) -> Any:
    """Where the differential equation leads, in closed form."""
    return MEAN + (x - MEAN) * ((VARIANCE + following**2) / (VARIANCE + sigma**2)) ** 0.5


def error(name: str, steps: int) -> float:
    """At the lowest noise level, after so many steps."""
    levels = schedule.schedule(steps + 1, CONFIG)
    start = 20.0 * drawn(FRAMES, 4, *SIZE, seed=3).double()
    run = sample(gaussian, SolverState(start), levels, PLAN, solver=SOLVERS[name])
    states = dict(itertools.islice(run, steps))
    want = solution(start, *(float(levels.sigmas[place]) for place in (0, steps)))
    return float((states[steps].latents - want).norm() / want.norm())


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("dpmpp_2m", 2), ("unipc", 3)])
def test_half_the_step_divides_the_error_by_the_order(name: str, order: int) -> None:
    coarse, fine = error(name, 100), error(name, 200)
    assert 0.8 * 2**order < coarse / fine < 1.25 * 2**order


def test_higher_orders_are_closer_in_few_steps() -> None:
    first, second, third = (error(name, 12) for name in SOLVERS)
    assert third < second < first / 3


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_ends_at_what_the_network_sees(name: str) -> None:
    """The last step goes to no noise at all."""
    clean = drawn(FRAMES, 4, *SIZE)

    def perfect(x: Any, moment: Any, frames: Any, first: bool) -> Any:
        return schedule.velocity(x * (moment.sigma**2 + 1) ** 0.5, clean[frames], moment.sigma)

    levels = schedule.schedule(6)
    start = SolverState(clean + levels.sigmas[0] * drawn(FRAMES, 4, *SIZE, seed=9))
    *_, (done, state) = sample(perfect, start, levels, PLAN, solver=SOLVERS[name])
    assert done == 6
    assert torch.allclose(state.latents, clean, atol=1e-3)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_first_step_is_of_first_order(name: str) -> None:
    """No past: the exact step for clean latents that do not change, which Euler's method takes too."""
    levels, x, z = schedule.schedule(10), drawn(FRAMES, 4, *SIZE), drawn(FRAMES, 4, *SIZE, seed=4)
    got = SOLVERS[name](SolverState(x), z, levels.sigmas, 3)
    assert torch.allclose(got.latents, euler(SolverState(x), z, levels.sigmas, 3).latents, atol=1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_goes_on_from_any_step(name: str) -> None:
    levels = schedule.schedule(5, CONFIG, "align_your_steps")
    start = SolverState(20.0 * drawn(FRAMES, 4, *SIZE, seed=3))
    whole = list(sample(gaussian, start, levels, PLAN, solver=SOLVERS[name]))
    for done, state in whole[:-1]:
        rest = list(sample(gaussian, state, levels, PLAN, done, solver=SOLVERS[name]))
        assert [step for step, _ in rest] == [step for step, _ in whole[done:]]
        for (_, one), (_, other) in zip(rest, whole[done:], strict=True):
            both = zip((one.latents, *one.history), (other.latents, *other.history), strict=True)
            assert all(torch.equal(a, b) for a, b in both)


def test_the_past_of_a_frame_is_its_own() -> None:
    """A frame's latents do not depend on what is in other frames, whichever windows they share."""
    levels, start = schedule.schedule(4, CONFIG), 20.0 * drawn(FRAMES, 4, *SIZE, seed=3)
    other = start.clone()
    other[2] += 1.0
    for solver in SOLVERS.values():
        ends = [
            list(sample(gaussian, SolverState(x), levels, PLAN, solver=solver))[-1] for x in (start, other)
        ]
        changed = (ends[0][1].latents != ends[1][1].latents).flatten(1).any(dim=1)
        assert changed.nonzero()[:, 0].tolist() == [2]


def test_ten_aligned_steps_are_the_published_ones() -> None:
    got = schedule.schedule(10, kind="align_your_steps")
    want = [700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0]
    assert got.sigmas.tolist() == pytest.approx(want, rel=1e-6)
    assert torch.allclose(got.timesteps, 0.25 * torch.tensor(want[:-1]).log(), atol=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 7, 20, 50])
def test_other_counts_lie_between_them(steps: int) -> None:
    """Along the logarithm: as with twice the steps, every second of which is one of the ten."""
    ten, got = (schedule.schedule(each, kind="align_your_steps").sigmas for each in (10, steps))
    assert len(got) == steps + 1
    assert (got[0], got[-1]) == (700, 0)
    assert (got.diff() < 0).all()
    if steps == 20:
        assert got[:-1:2].tolist() == pytest.approx(ten[:-1].tolist(), rel=1e-6)
        assert float(got[1]) == pytest.approx((700 * 54.5) ** 0.5, rel=1e-6)


def test_aligned_steps_take_the_range_of_the_weights() -> None:
    got = schedule.schedule(10, CONFIG, "align_your_steps").sigmas
    ten = schedule.schedule(10, kind="align_your_steps").sigmas
    assert float(got[0]) == 20.0
    ratio = (got[:-1] / 20).log() / (ten[:-1] / 700).log()
    assert ratio[1:].tolist() == pytest.approx([float(ratio[1])] * 9, rel=1e-5)
    assert float(ratio[1]) == pytest.approx(5.298317 / 12.765688, rel=1e-5)  # ln 200 / ln 350,000


def test_there_is_no_other_schedule() -> None:
    with pytest.raises(ValueError, match="linear"):
        schedule.schedule(10, kind="linear")


@pytest.mark.parametrize("solver", ["dpmpp_2m", "unipc"])
def test_two_steps_have_no_past_worth_remembering(solver: str) -> None:
    with pytest.raises(BadSetting, match="nothing to go by in 2 steps") as caught:
        Settings(solver=solver, inference_steps=2)
    assert "3 or more" in caught.value.hint
    assert Settings(solver=solver, inference_steps=3).solver == solver
