"""Cheaper layers are those of diffusers and torch but for rounding, in place and in pieces or not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, register_random
from hypothesis import settings as examples
from hypothesis import strategies as st

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")

from toy_unet import drawn  # noqa: E402

from sonic_ext.nn import layers  # noqa: E402
from sonic_ext.nn.unet import SpatioTemporalResidual  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)
BOUND = 2e-6
"""Of the largest value: what single precision may be away from double."""
few = examples(max_examples=25)
kinds = st.sampled_from([torch.float32, torch.float64])


class Draws:
    """torch's random numbers as hypothesis starts them anew for each example, like Python's own."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


DRAWS = Draws()  # hypothesis holds it weakly
register_random(DRAWS)


@pytest.fixture(autouse=True, scope="module")
def _quietly() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # toys; more threads only wait for each other
    yield
    torch.set_num_threads(threads)


def away(got: Any, want: Any) -> float:
    """The largest difference, as a part of the largest value where that is more than one."""
    return float((got - want).abs().max()) / max(1.0, float(want.abs().max()))


def close(got: Any, want: Any) -> bool:
    return away(got, want) <= BOUND


def as_close(got: Any, plain: Any, exact: Any) -> bool:
    """As close as the plain layer: a norm over few and nearly equal values makes any rounding large."""
    return away(got, exact) <= max(BOUND, 2 * away(plain, exact))


def fed(width: int) -> tuple[Any, Any]:
    """diffusers' feed-forward and ours, with the same weights."""
    from diffusers.models.attention import FeedForward

    plain, own = FeedForward(width, activation_fn="geglu").eval(), layers.FeedForward(width).eval()
    own.load_state_dict(plain.state_dict())
    return plain, own


@few
@given(width=st.integers(1, 24), rows=st.integers(1, 40), least=st.integers(1, 40), kind=kinds)
def test_a_feed_forward_is_added(width: int, rows: int, least: int, kind: Any) -> None:
    plain, own = (each.to(kind) for each in fed(width))
    norm, x = torch.nn.LayerNorm(width).to(kind), drawn(2, rows, width)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(layers, "CACHE", 1)
        patch.setattr(layers, "LEAST", least)
        got = own.added(x.to(kind, copy=True), norm)
        apart = x.to(kind) + plain(norm(x.to(kind)))
        exact = x.double() + plain.double()(norm.double()(x.double()))
    assert got.dtype == kind
    assert as_close(got, apart, exact)


def test_adding_is_done_in_place_unless_gradients_are_asked_for() -> None:
    layer, norm, x = fed(4)[1], torch.nn.LayerNorm(4), drawn(3, 4)
    with torch.no_grad():
        assert layer.added(x, norm) is x
    before = x.clone()
    assert layer.added(x, norm).requires_grad
    assert torch.equal(x, before)


@few
@given(
    wide=st.integers(1, 3),
    out=st.integers(1, 3),
    size=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    kind=kinds,
    moving=st.booleans(),
)
def test_residual_blocks(wide: int, out: int, size: tuple[int, int, int], kind: Any, moving: bool) -> None:
    from diffusers.models.resnet import SpatioTemporalResBlock

    frames, height, width = size
    plain = SpatioTemporalResBlock(32 * wide, 32 * out, 8).eval().to(kind)
    own = SpatioTemporalResidual(32 * wide, 32 * out, 8, 1e-6).eval().to(kind)
    own.load_state_dict(plain.state_dict())
    x = drawn(2 * frames, 32 * wide, height, width).to(kind)
    embedding = drawn(2, frames if moving else 1, 8).to(kind)
    every, still = embedding.expand(-1, frames, -1).flatten(0, 1), torch.zeros(2, frames)
    with torch.no_grad():
        before, want = x.clone(), plain(x, every, still)
        got = own(x, embedding)
        exact = copy.deepcopy(plain).double()(x.double(), every.double(), still.double())
    assert as_close(got, want, exact)
    assert torch.equal(x, before)


@few
@given(
    channels=st.integers(1, 5),
    size=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    bias=st.booleans(),
)
def test_doubling_in_a_convolution(channels: int, size: tuple[int, int, int], bias: bool) -> None:
    count, height, width = size
    own, x = layers.DoublingConvolution(channels), drawn(count, channels, height, width)
    if not bias:
        own.bias = None
    with torch.no_grad():
        doubled = torch.nn.functional.interpolate(x.double(), scale_factor=2.0, mode="nearest")
        bent = own.bias.double() if bias else None
        want = torch.nn.functional.conv2d(doubled, own.weight.double(), bent, padding=1)
        assert close(own(x), want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_doubling_in_half_precision_rounds_its_weights_once(dtype: str) -> None:
    half = getattr(torch, dtype)
    weight = drawn(5, 3, 3, 3).to(half)  # as a file in half precision has them
    assert torch.equal(layers.folded(weight), layers.folded(weight.float()).to(half))


def test_a_convolution_over_time_is_one() -> None:
    flat, x = layers.TemporalConvolution(4, 6), drawn(2, 4, 5, 3, 2)
    with torch.no_grad():
        assert close(flat(x), torch.nn.functional.conv3d(x, flat.weight, flat.bias, padding=(1, 0, 0)))


@few
@given(count=st.integers(1, 7), step=st.integers(1, 9))
def test_pieces_are_the_whole(count: int, step: int) -> None:
    x, seen = drawn(count, 3), []
    assert torch.equal(layers.in_pieces(lambda part: seen.append(len(part)) or 2 * part, x, step), 2 * x)
    assert sum(seen) == count and max(seen) <= step
    assert [len(range(count)[piece]) for piece in layers.pieces(count, step)] == seen


def test_the_vae_has_no_convolution_that_some_devices_do_not_know() -> None:
    from sonic_ext.nn import vae

    flat = [module for module in vae.build_vae().modules() if isinstance(module, torch.nn.Conv3d)]
    assert flat and all(isinstance(module, layers.TemporalConvolution) for module in flat)
