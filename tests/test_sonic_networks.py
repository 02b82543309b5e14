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

from toy_unet import FRAMES, SIZE, drawn, near, toy_conditioning, toy_unet  # noqa: E402

from sonic_ext.engines.sonic import conditioning, guidance, sampling, schedule, speech  # noqa: E402
from sonic_ext.engines.sonic.denoise import Call, Conditioning  # noqa: E402
from sonic_ext.engines.sonic.windows import Plan  # noqa: E402
from sonic_ext.errors import MissingPart  # noqa: E402
from sonic_ext.nn import attention, build, interpolate  # noqa: E402
from sonic_ext.nn.prefix import Prefix  # noqa: E402
from sonic_ext.nn.unet import predict  # noqa: E402
from sonic_ext.nn.yoloface import YoloFace  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)


@pytest.fixture(scope="module")
def unet() -> Any:
    return toy_unet()


@pytest.fixture
def told() -> Conditioning:
    return toy_conditioning()


@pytest.fixture
def call(unet: Any, told: Conditioning) -> Call:
    return Call(unet, told.window(torch.tensor([4, 0, 1])), torch.tensor(0.7), torch.tensor([[12.5, 16, 17]]))


def test_branches_in_turn_are_branches_together(call: Call) -> None:
    inputs = [drawn(FRAMES, 8, *SIZE, seed=6), drawn(FRAMES, 8, *SIZE, seed=7)]
    with torch.inference_mode():
        together, apart, sharing = (
            call.together(inputs),
            call.in_turn(inputs),
            call.in_turn_shared(inputs),
        )
    assert all(near(one, other) for one, other in zip(together, apart, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(apart, sharing, strict=True))


def test_sharing_leaves_the_network_as_it_was(unet: Any, call: Call) -> None:
    with torch.inference_mode():
        call.in_turn_shared([drawn(FRAMES, 8, *SIZE), drawn(FRAMES, 8, *SIZE)])
    assert all("forward" not in vars(module) for module in unet.modules())


def test_shared_layers_run_once(unet: Any, call: Call) -> None:
    seen = []
    inside = unet.down_blocks[0].resnets[0].spatial_res_block
    hook = inside.register_forward_hook(lambda *_: seen.append(1))
    prefix, x = Prefix(unet), drawn(1, FRAMES, 8, *SIZE)
    with torch.inference_mode(), prefix.recorded():
        predict(unet, call.window.only(1), x, call.timestep, call.ids)
    with torch.inference_mode(), prefix.replayed():
        predict(unet, call.window.only(2), x, call.timestep, call.ids)
    hook.remove()
    assert len(seen) == 1


@pytest.mark.parametrize("keep", [False, True])
def test_kept_projections_are_projections(keep: bool) -> None:
    linear = torch.nn.Linear(24, 16, bias=False)
    values, frames = drawn(6, 7, 24), torch.tensor([5, 0, 0, 1])
    view = attention.View(attention.Tokens(values, keep), frames)
    with torch.no_grad():
        assert near(view.per_frame(linear), linear(values[frames]))
        assert near(view.mean(linear), linear(values[frames].mean(0, keepdim=True)))


def test_constant_tokens_are_projected_once() -> None:
    calls = []
    linear = torch.nn.Linear(24, 16, bias=False)
    linear.register_forward_hook(lambda *_: calls.append(1))
    tokens = attention.Tokens(drawn(1, 7, 24))
    for frames in (torch.tensor([0, 1]), torch.tensor([7, 3])):
        view = attention.View(tokens, frames)
        assert torch.equal(view.per_frame(linear), view.mean(linear))
    assert len(calls) == 1


@pytest.mark.parametrize("ones", [0, 3, 64])
def test_face_pixels_are_enough(unet: Any, ones: int) -> None:
    mask = torch.zeros(8, 8)
    mask.view(-1)[:ones] = torch.linspace(-0.1, 1.1, ones)
    attn = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    x = drawn(FRAMES, 64, 32)
    results = []
    for sparse in (True, False):
        pair = attention.Tokens(drawn(1, 1, 24)), attention.Tokens(drawn(FRAMES, 7, 24))
        window = attention.Window.of([pair], levels={64: attention.Level.of(mask, sparse)})
        with torch.inference_mode(), attention.conditioned(attn, window):
            results.append(attn(x))
    assert near(*results)


def test_conditions_end_with_their_block(unet: Any, told: Conditioning) -> None:
    window = told.window(torch.tensor([0]))
    with pytest.raises(KeyError), attention.conditioned(unet, window):
        raise KeyError
    with pytest.raises(RuntimeError, match="outside"):
        unet(drawn(1, 1, 8, *SIZE), 0.5, drawn(1, 1, 1), drawn(1, 3))


def test_conditions_need_processors() -> None:
    window = attention.Window(())
    with (
        pytest.raises(ValueError, match="no audio processors"),
        attention.conditioned(torch.nn.Linear(1, 1), window),
    ):
        pass


def test_a_batch_must_hold_whole_branches(unet: Any, told: Conditioning) -> None:
    attn = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    window = told.window(torch.tensor([0]))
    wrong = pytest.raises(ValueError, match="a batch of 4 for 3 branches")
    with wrong, attention.conditioned(unet, window):
        attn(drawn(4, 64, 32))


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


def test_a_perfect_prediction_ends_at_the_clean_latents() -> None:
    clean = drawn(4, 4, *SIZE)
    levels = schedule.schedule(6)

    def v(x: Any, moment: Any, frames: Any, first: bool) -> Any:
        noisy = x * (moment.sigma**2 + 1) ** 0.5
        noise = (noisy - clean[frames]) / moment.sigma
        return (noise - moment.sigma * clean[frames]) / (moment.sigma**2 + 1) ** 0.5

    start = clean + levels.sigmas[0] * drawn(4, 4, *SIZE, seed=9)
    *_, (_, last) = sampling.sample(v, start, levels, Plan(4, 3, 1))
    assert torch.allclose(last, clean, atol=1e-3)


def test_noise_skips_one_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.randn((1, 3, 64, 64), generator=generator)
    want = torch.randn((1, 2, 4, 8, 8), generator=generator)[0]
    assert torch.equal(sampling.draw_noise(torch.Generator().manual_seed(0), 2, SIZE), want)


def test_guidance_runs_over_the_steps() -> None:
    assert [guidance.strength((1.0, 3.0), step, 5) for step in range(5)] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert guidance.strength((1.0, 3.0), 0, 1) == 1.0
    parts = [torch.zeros(1), torch.ones(1), torch.full((1,), 3.0)]
    assert guidance.Guidance(2.0, 7.5).combined(parts) == 2.0 + 7.5 * 2


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
    ((box, score),) = YoloFace(path).find(np.zeros((480, 640, 3), np.uint8))
    assert box.centre == pytest.approx((320, 240), abs=0.01)
    assert score == pytest.approx(0.81)


def test_a_broken_detector_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"no network")
    with pytest.raises(MissingPart, match=r"x\.pt"):
        YoloFace(tmp_path / "x.pt")
