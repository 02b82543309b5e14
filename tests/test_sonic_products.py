"""Sums and products made in place are those that layers make one after the other."""

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

from sonic_ext.nn import feedforward, layers, residual  # noqa: E402

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


def fed(width: int, bias: bool) -> Any:
    from diffusers.models.attention import FeedForward

    layer = FeedForward(width, activation_fn="geglu")
    if not bias:
        layer.net[0].proj.bias = None
    return layer.eval()


@few
@given(
    width=st.integers(1, 24),
    rows=st.integers(1, 40),
    least=st.integers(1, 40),
    bias=st.booleans(),
    kind=kinds,
)
def test_a_feed_forward_is_added(width: int, rows: int, least: int, bias: bool, kind: Any) -> None:
    plain, norm, x = fed(width, bias).to(kind), torch.nn.LayerNorm(width).to(kind), drawn(2, rows, width)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(feedforward, "CACHE", 1)
        patch.setattr(feedforward, "LEAST", least)
        got = feedforward.PiecewiseFeedForward(plain.net).added(x.to(kind, copy=True), norm)
        apart = x.to(kind) + plain(norm(x.to(kind)))
        exact = x.double() + plain.double()(norm.double()(x.double()))
    assert got.dtype == kind
    assert as_close(got, apart, exact)


def test_adding_is_done_in_place_unless_gradients_are_asked_for() -> None:
    layer, norm = feedforward.PiecewiseFeedForward(fed(4, True).net), torch.nn.LayerNorm(4)
    x = drawn(3, 4)
    with torch.no_grad():
        assert layer.added(x, norm) is x
    before = x.clone()
    assert layer.added(x, norm).requires_grad
    assert torch.equal(x, before)


def test_what_is_not_contiguous_is_added_to_as_well() -> None:
    layer, norm = feedforward.PiecewiseFeedForward(fed(4, True).net), torch.nn.LayerNorm(4)
    x = drawn(5, 3, 4)
    with torch.no_grad():
        want = x + layer(norm(x))
        assert close(layer.added(x.transpose(0, 1).contiguous().transpose(0, 1), norm), want)


@few
@given(
    wide=st.integers(1, 3),
    out=st.integers(1, 3),
    size=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    kind=kinds,
)
def test_residual_blocks_in_place(wide: int, out: int, size: tuple[int, int, int], kind: Any) -> None:
    from diffusers.models.resnet import SpatioTemporalResBlock

    frames, height, width = size
    network = torch.nn.Sequential(SpatioTemporalResBlock(32 * wide, 32 * out, 8)).eval().to(kind)
    x, told = drawn(2 * frames, 32 * wide, height, width).to(kind), drawn(2 * frames, 8).to(kind)
    still = torch.zeros(2, frames)
    keys = list(network.state_dict())
    with torch.no_grad():
        before, plain = x.clone(), network[0](x, told, still)
        exact = copy.deepcopy(network[0]).double()(x.double(), told.double(), still.double())
        residual.residuals_in_place(network)
        got = network[0](x, told, still)
    assert as_close(got, plain, exact)
    assert torch.equal(x, before)
    assert list(network.state_dict()) == keys


@few
@given(
    channels=st.integers(1, 5),
    out=st.integers(1, 5),
    size=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    bias=st.booleans(),
)
def test_doubling_in_a_convolution(channels: int, out: int, size: tuple[int, int, int], bias: bool) -> None:
    count, height, width = size
    plain = torch.nn.Conv2d(channels, out, 3, padding=1, bias=bias)
    x = drawn(count, channels, height, width)
    with torch.no_grad():
        got = layers.DoublingConvolution.of(plain)(x)
        doubled = torch.nn.functional.interpolate(x.double(), scale_factor=2.0, mode="nearest")
        want = plain.double()(doubled)
    assert close(got, want)
