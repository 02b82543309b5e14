"""What the sonic engine saves must change nothing: networks at toy size, compared with the long way round."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
pytest.importorskip("transformers", reason="transformers is an optional part, and not installed")

from toy_unet import SIZE, drawn  # noqa: E402

from sonic_ext.engines.sonic import conditioning, guidance, sampling, schedule, solvers, speech  # noqa: E402
from sonic_ext.engines.sonic.windows import Plan  # noqa: E402
from sonic_ext.errors import MissingPart  # noqa: E402
from sonic_ext.nn import build, interpolate  # noqa: E402
from sonic_ext.nn.yoloface import YoloFace  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)


def test_filling_copies_nothing() -> None:
    network = build.on_meta(lambda: torch.nn.Linear(3, 2))
    weights = {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": torch.zeros(2, dtype=torch.float16)}
    build.fill(network, weights)
    assert network.weight.data_ptr() == weights["weight"].data_ptr()
    assert not network.weight.requires_grad


@pytest.mark.parametrize("weights", [{"weight": (2, 3)}, {"weight": (2, 3), "bias": (2,), "scale": (1,)}])
def test_filling_names_odd_keys(weights: dict[str, tuple[int, ...]]) -> None:
    network = build.on_meta(lambda: torch.nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"bias|scale"):
        build.fill(network, {key: torch.zeros(shape) for key, shape in weights.items()})


def test_the_schedule_is_karras_with_continuous_times() -> None:
    got = schedule.schedule(10)
    ramp = np.linspace(0, 1, 10)
    ends = 700.0 ** (1 / 7), 0.002 ** (1 / 7)
    sigmas = (ends[0] + ramp * (ends[1] - ends[0])) ** 7
    assert got.sigmas.numpy() == pytest.approx([*sigmas, 0.0], rel=1e-6)
    assert got.timesteps.numpy() == pytest.approx(0.25 * np.log(sigmas), rel=1e-5, abs=1e-6)
    with pytest.raises(ValueError, match="epsilon"):
        schedule.schedule(10, {**schedule.CONFIG, "prediction_type": "epsilon"})


@pytest.mark.parametrize("steps", [1, 2, 4, 25, 50])
def test_the_schedule_is_that_of_diffusers_to_the_bit(steps: int) -> None:
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(**schedule.CONFIG)
    scheduler.set_timesteps(steps)
    got = schedule.schedule(steps)
    assert torch.equal(got.sigmas, scheduler.sigmas.float())
    assert torch.equal(got.timesteps, scheduler.timesteps.float())


def test_a_perfect_prediction_ends_at_the_clean_latents() -> None:
    clean = drawn(4, 4, *SIZE)
    levels = schedule.schedule(6)

    def v(x: Any, moment: Any, frames: Any, first: bool) -> Any:
        noisy = x * (moment.sigma**2 + 1) ** 0.5
        noise = (noisy - clean[frames]) / moment.sigma
        return (noise - moment.sigma * clean[frames]) / (moment.sigma**2 + 1) ** 0.5

    start = clean + levels.sigmas[0] * drawn(4, 4, *SIZE, seed=9)
    *_, (_, last) = sampling.sample(v, solvers.SolverState(start), levels, Plan(4, 3, 1))
    assert torch.allclose(last.latents, clean, atol=1e-3)


def test_noise_skips_one_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.randn((1, 3, 64, 64), generator=generator)
    want = torch.randn((1, 2, 4, 8, 8), generator=generator)[0]
    assert torch.equal(sampling.draw_noise(torch.Generator().manual_seed(0), 2, SIZE), want)


def test_guidance_runs_over_the_steps() -> None:
    assert [guidance.strength((1.0, 3.0), step, 5) for step in range(5)] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert guidance.strength((1.0, 3.0), 0, 1) == 1.0
    parts = [torch.zeros(1), torch.ones(1), torch.full((1,), 3.0)]
    assert guidance.Guidance(2.0, 7.5).combined(dict(enumerate(parts))) == 2.0 + 7.5 * 2


def test_head_and_expression_have_their_own_bucket() -> None:
    per_frame = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    ids = conditioning.added_time_ids(per_frame, torch.tensor([0, 1, 1, 1]), head=2.0, expression=0.5)
    assert ids.tolist() == [[12.5, 50.0, 17.5]]


def test_windows_of_states_reach_over_both_ends() -> None:
    states = torch.arange(1.0, 9.0)[:, None]
    windows = conditioning.frame_windows(states, 2, 10, 4)[..., 0]
    assert windows.tolist() == [[0, 0, 0, 0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 8, 0, 0]]


@pytest.mark.parametrize("blocks", [[480_000], [1, 479_999, 480_000, 5], [1_000_000]])
def test_chunks_are_thirty_seconds(blocks: list[int]) -> None:
    chunks = list(speech.chunked(np.ones(length, np.float32) for length in blocks))
    assert sum(map(len, chunks)) == sum(blocks)
    assert [len(chunk) for chunk in chunks[:-1]] == [480_000] * (len(chunks) - 1)
    assert len(chunks) == math.ceil(sum(blocks) / 480_000)


def test_frames_that_do_not_fit_are_padded() -> None:
    frames = drawn(1, 3, 20, 33)
    grown = interpolate.padded(frames)
    assert grown.shape[-2:] == (32, 48)
    assert torch.equal(grown[..., :20, :33], frames)
    with pytest.raises(ValueError, match="multiples of 16"):
        interpolate.Interpolator()(frames, frames)


def test_a_frame_stays_where_nothing_flows() -> None:
    frame = drawn(1, 3, 16, 16)
    assert torch.allclose(interpolate.warp(frame, torch.zeros(1, 2, 16, 16)), frame, atol=1e-5)


class Detector(torch.nn.Module):  # type: ignore[misc]
    """Answers as the detector does: one face in the middle of whatever it is shown."""

    def forward(self, x: torch.Tensor, grids: list[torch.Tensor]) -> torch.Tensor:
        middle = torch.tensor([x.shape[3] / 2.0, x.shape[2] / 2.0, 100.0, 120.0, 0.9])
        return torch.cat([middle, torch.zeros(10), torch.full((1,), 0.9)])[None, None]


def test_the_detector_runs_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "größe.pt"
    with path.open("wb") as file:
        torch.jit.save(torch.jit.script(Detector()), file)
    (face,) = YoloFace(path).find(np.zeros((480, 640, 3), np.uint8))
    assert face.box.centre == pytest.approx((320, 240), abs=0.01)
    assert face.score == pytest.approx(0.81)


def test_a_broken_detector_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"no network")
    with pytest.raises(MissingPart, match=r"x\.pt"):
        YoloFace(tmp_path / "x.pt")
