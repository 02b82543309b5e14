"""From latents to frames: counts, order, what lies between, and that nothing piles up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")

from sonic_ext.engines.sonic import stream  # noqa: E402
from sonic_ext.errors import BrokenNumbers  # noqa: E402
from sonic_ext.media.geometry import Box  # noqa: E402
from sonic_ext.media.steady import Steady  # noqa: E402
from sonic_ext.nn import build, interpolate, vae  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)
SIZE = 4, 6
"""Height, width of the toy latents."""


def drawn(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(network: Any, strength: float = 0.1) -> Any:
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    tensors = {key: strength * drawn(*shape, seed=n) for n, (key, shape) in enumerate(shapes.items())}
    return build.fill(network, tensors)


@pytest.fixture(scope="module")
def toy_vae() -> Any:
    narrow = {**vae.CONFIG, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    return filled(vae.build_vae(narrow))


@pytest.fixture(scope="module")
def rife() -> Any:
    return filled(interpolate.build_interpolator(), 0.03)


def grey(latents: Any) -> Any:
    """A decoder whose frames are plain: the first latent value of each as grey."""
    frames, _, height, width = latents.shape
    return latents[:, :1, :1, :1].expand(frames, 3, 8 * height, 8 * width)


def average(first: Any, second: Any) -> Any:
    return (first + second) / 2


def counting(count: int) -> Any:
    """Latents that `grey` shows as 0, 4/255, 8/255 …"""
    steps = torch.arange(count, dtype=torch.float32) * 4 / 255
    return steps[:, None, None, None].expand(count, 4, *SIZE).clone()


def levels(frames: Iterator[np.ndarray]) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in frames]


# Decoding


def test_the_temporal_vae_decodes_in_chunks_of_their_own(toy_vae: Any) -> None:
    latents = drawn(11, 4, *SIZE, seed=3)
    chunks = list(stream.decoded(stream.VaeDecoder(toy_vae), latents))
    assert [len(chunk) for chunk in chunks] == [8, 3]
    with torch.no_grad():
        whole = [vae.to_pixels(part) for part in vae.decode(toy_vae, latents)]
    for chunk, want in zip(chunks, whole, strict=True):
        assert chunk.shape[1:] == (3, 8 * SIZE[0], 8 * SIZE[1])
        assert chunk.dtype == torch.float32
        assert torch.allclose(chunk, want, atol=1e-6)
        assert 0 <= chunk.min() < chunk.max() <= 1


def test_an_image_vae_decodes_each_frame_alone() -> None:
    from diffusers import AutoencoderKL

    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    with torch.device("meta"):
        network = AutoencoderKL(block_out_channels=[32] * 4, latent_channels=4, **kinds)
    decode = stream.VaeDecoder(filled(network.eval()), temporal=False)
    latents = drawn(3, 4, *SIZE, seed=4)
    together = torch.cat(list(stream.decoded(decode, latents, 8)))
    alone = torch.cat(list(stream.decoded(decode, latents, 1)))
    assert torch.allclose(together, alone, atol=1e-5)


def test_what_lies_outside_is_clamped_and_the_decoders_tensor_left_alone() -> None:
    own = torch.tensor([-0.5, 0.25, 7.0]).reshape(1, 3, 1, 1)
    (chunk,) = stream.decoded(lambda latents: own, torch.zeros(1, 4, 1, 1))
    assert chunk.flatten().tolist() == [0, 0.25, 1]
    assert own.flatten().tolist() == [-0.5, 0.25, 7.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers_stop_the_stream_and_say_where(value: float) -> None:
    latents = counting(20)
    latents[9] = value
    chunks = stream.decoded(grey, latents)
    assert len(next(chunks)) == 8
    with pytest.raises(BrokenNumbers, match="frames 8 to 15") as caught:
        next(chunks)
    assert "precision=fp32" in caught.value.hint


class Overflowing(torch.nn.Module):
    """A VAE that half precision is too narrow for."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = torch.nn.Linear(1, 1, dtype=torch.float16)
        self.config = SimpleNamespace(scaling_factor=1)

    def decode(self, latents: Any, num_frames: int) -> Any:
        assert num_frames == len(latents)
        pictures = (latents * 1e5 / 1e5)[:, :3]
        return type("Decoded", (), {"sample": pictures})


def test_a_vae_that_overflows_in_half_precision_turns_to_single() -> None:
    decode = stream.VaeDecoder(Overflowing())
    chunks = list(stream.decoded(decode, drawn(5, 4, *SIZE), 2))
    assert decode.raised
    assert sum(map(len, chunks)) == 5
    assert not stream.VaeDecoder(Overflowing().float()).raised


# Between frames


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 17])
@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_middle_frames_come_between_all_neighbours(count: int, times: int, chunk: int) -> None:
    finish = stream.Finish(times, average, chunk=chunk)
    got = levels(finish.frames(grey, counting(count)))
    assert len(got) == finish.count(count) == times * count - times + 1
    assert got == list(range(0, 4 * count - 3, 4 // times))


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 9])
def test_frames_are_held_where_motion_is_not_smoothed(count: int, times: int) -> None:
    finish = stream.Finish(times)
    got = levels(finish.frames(grey, counting(count)))
    assert got == [4 * (index // times) for index in range(finish.count(count))]
    assert len(got) == times * count


def test_chunks_do_not_grow() -> None:
    parts = stream.interpolated(stream.decoded(grey, counting(40)), average, 4)
    assert max(map(len, parts)) <= 8


@pytest.mark.parametrize("times", [0, 3, 8])
def test_other_numbers_of_frames_are_refused(times: int) -> None:
    with pytest.raises(ValueError, match=f"{times} times"):
        stream.interpolated(iter(()), average, times)


@pytest.mark.parametrize(("fps", "times"), [(12.5, 1), (25, 2), (50, 4)])
def test_times_for_a_frame_rate(fps: float, times: int) -> None:
    assert stream.times_for(fps) == times


@pytest.mark.parametrize("fps", [24, 30, 100, 0])
def test_a_rate_that_cannot_be_reached_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match=f"{fps:g} frames"):
        stream.times_for(fps)


def test_rife_is_the_network_whatever_the_batch_and_size(rife: Any) -> None:
    frames = torch.rand(6, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    got = stream.Rife(rife, batch=2)(frames[:-1], frames[1:])
    assert got.shape == (5, 3, 40, 56)
    with torch.no_grad():
        want = rife(*(interpolate.padded(part) for part in (frames[:-1], frames[1:]))).frame
    assert torch.allclose(got, want[..., :40, :56].clamp(0, 1), atol=1e-5)
    assert not torch.equal(got, (frames[:-1] + frames[1:]) / 2)


def test_rife_never_sees_more_pairs_than_its_batch(rife: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(rife, "forward", lambda a, b: seen.append(len(a)) or interpolate.Middle(a, a, a))
    stream.Rife(rife, batch=3)(torch.zeros(8, 3, 16, 16), torch.zeros(8, 3, 16, 16))
    assert seen == [3, 3, 2]


def test_rife_in_half_precision_places_pixels_as_in_single(rife: Any) -> None:
    """A grid in half precision would be half a pixel off at this width."""
    ramp = torch.linspace(0, 1, 1024)[None, None, None].expand(1, 3, 64, 1024)
    flow = torch.zeros(1, 2, 64, 1024)
    exact = interpolate.warp(ramp, flow)
    half = interpolate.warp(ramp.to(torch.bfloat16), flow.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.to(torch.bfloat16))


def test_optical_flow_works_on_chunks() -> None:
    frame = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    large = torch.nn.functional.interpolate(frame, scale_factor=8, mode="bicubic").clamp(0, 1)
    slid = torch.cat([large.roll(shift, dims=3) for shift in (0, 4, 8)])
    got = stream.OpticalFlow()(slid[[0, 2]], slid[[2, 2]])
    assert got.shape == (2, 3, 96, 96)
    inner = slice(16, -16)
    plain = (slid[0] + slid[2]) / 2
    off, worse = ((made - slid[1])[..., inner].abs().mean() for made in (got[0], plain))
    assert off < 0.2 * worse
    assert (got[1] - slid[2]).abs().max() <= 0.5 / 255 + 1e-6


# Frames


def test_levels_are_rounded() -> None:
    chunk = torch.tensor([0.0, 0.4, 0.6, 1.4, 254.4, 254.6, 255.0]) / 255
    (frame,) = stream.pictures([chunk.reshape(1, 1, 1, 7).expand(1, 3, 1, 7)])
    assert frame.shape == (1, 7, 3)
    assert frame.dtype == np.uint8
    assert frame[0, :, 2].tolist() == [0, 0, 1, 1, 254, 255, 255]


def test_the_jitter_filter_runs_on_the_frames_before_interpolation() -> None:
    ground = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    large = torch.nn.functional.interpolate(ground, scale_factor=8, mode="bicubic").clamp(0, 1)

    def shaking(latents: Any) -> Any:
        return torch.cat([large.roll(int(value), dims=3) for value in latents[:, 0, 0, 0]])

    latents = torch.zeros(19, 4, 16, 16)
    latents[1::2] = 1
    box = Box(32, 24, 96, 112)
    finish = stream.Finish(2, average, Steady(box, stream.STEADY_REACH))
    plain = list(stream.Finish(2, average).frames(shaking, latents))
    steady = list(finish.frames(shaking, latents))
    assert len(steady) == len(plain) == finish.count(19) == 37

    def flicker(frames: list[np.ndarray]) -> float:
        inner = np.stack([frame[16:-16, 16:-16] for frame in frames[::2]]).astype(float)
        return float(np.abs(np.diff(inner, axis=0)).mean())

    assert flicker(steady) < 0.4 * flicker(plain)


def test_the_whole_way_from_latents_to_frames(toy_vae: Any, rife: Any) -> None:
    finish = stream.Finish(2, stream.Rife(rife), Steady(Box(8, 8, 40, 28), stream.STEADY_REACH))
    frames = list(finish.frames(stream.VaeDecoder(toy_vae), drawn(10, 4, *SIZE, seed=5)))
    assert len(frames) == 19
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((32, 48, 3), "uint8")}


MEASURE = """
import sys, torch
from pathlib import Path
from sonic_ext.engines.sonic import stream
from sonic_ext.media.geometry import Box
from sonic_ext.media.steady import Steady

decode = lambda part: torch.nn.functional.interpolate(part[:, :3], scale_factor=8).sigmoid()
between = lambda first, second: (first + second) / 2
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
for count in (4, 16, 96):
    finish = stream.Finish(2, between, Steady(Box(50, 50, 200, 200), stream.STEADY_REACH))
    for _ in finish.frames(decode, torch.zeros(count, 4, 32, 32)):
        pass
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_length() -> None:
    """In a process of its own; a frame of float32 is 768 KB, so 80 more would be 60 MB, and the 160 frames of
    8 bits that come of them 30 MB.

    Told to give large blocks back at once, glibc cannot hide what is held behind what it keeps for later.
    """
    words = [sys.executable, "-c", MEASURE]
    root = Path(stream.__file__).parents[3]
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "500000", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root, env=env)
    _, short, long = map(int, done.stdout.split())
    assert long - short < 20 * 1024
