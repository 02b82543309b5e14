"""Cheaper layers give the same numbers; named shortcuts do what they say, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from toy_unet import FRAMES, SIZE, TOY, drawn, near, toy_conditioning, toy_unet  # noqa: E402

from sonic_ext.engines.sonic import sampling, schedule  # noqa: E402
from sonic_ext.engines.sonic.denoise import BRANCHES, Call, Conditioning, Denoiser, Shortcuts  # noqa: E402
from sonic_ext.engines.sonic.windows import Plan  # noqa: E402
from sonic_ext.nn import attention, blocks, feedforward, layers, residual  # noqa: E402
from sonic_ext.nn.deep import DeepFeatures  # noqa: E402
from sonic_ext.nn.unet import build_unet, predict  # noqa: E402

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
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that even toys are cut."""
    monkeypatch.setattr(feedforward, "CACHE", 1)
    monkeypatch.setattr(feedforward, "LEAST", 5)
    monkeypatch.setattr(blocks, "LEAST", 5)
    monkeypatch.setattr(blocks, "SMALLEST", 1)


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # toys; more threads only wait for each other
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def alike(got: Any, want: Any) -> bool:
    """Guidance multiplies rounding."""
    return float((got - want).abs().max()) <= 1e-3 * float(want.abs().max())


INPUTS = [drawn(FRAMES, 8, *SIZE, seed=6), drawn(FRAMES, 8, *SIZE, seed=7)]


def called(unet: Any, told: Conditioning) -> Call:
    return Call(unet, told.window(torch.tensor([4, 0, 1])), torch.tensor(0.7), torch.tensor([[12.5, 16, 17]]))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("way", ["together", "in_turn", "in_turn_shared"])
def test_the_lean_network_is_the_network(unet: Any, told: Conditioning, way: str, keep: bool) -> None:
    plain = called(toy_unet(lean=False), told).together(INPUTS)
    object.__setattr__(told, "speech", attention.Tokens(told.speech.values, keep))
    got = getattr(called(unet, told), way)(INPUTS)
    assert all(near(one, other) for one, other in zip(got, plain, strict=True))


def test_cheaper_layers_have_the_same_keys(unet: Any) -> None:
    plain = build_unet(TOY, lean=False).state_dict()
    assert {key: value.shape for key, value in unet.state_dict().items()} == {
        key: value.shape for key, value in plain.items()
    }


def test_every_layer_that_can_be_is_replaced(unet: Any) -> None:
    from diffusers.models.attention import BasicTransformerBlock, FeedForward, TemporalBasicTransformerBlock
    from diffusers.models.resnet import AlphaBlender, ResnetBlock2D, TemporalResnetBlock

    kinds = [type(module) for module in unet.modules()]
    old = {BasicTransformerBlock, FeedForward, TemporalBasicTransformerBlock, AlphaBlender, torch.nn.Conv3d}
    old |= {ResnetBlock2D, TemporalResnetBlock}
    assert not old & set(kinds)
    for new in (
        blocks.SpatialBlock,
        blocks.TemporalBlock,
        feedforward.PiecewiseFeedForward,
        layers.Blend,
        layers.FlatConvolution,
        residual.Residual,
    ):
        assert kinds.count(new) > 1


def gradient(network: Any, told: Conditioning) -> Any:
    """Of the first audio adapter, in float64."""
    network = network.double()
    weight = next(attention.processors(network)).to_v_ip[0].weight.requires_grad_(True)
    pair = [attention.Tokens(each.values.double().clone()) for each in (told.clip, told.speech)]
    levels = {size: attention.Level.of(torch.ones(size, 1)) for size in (64, 16, 4, 1)}
    window = attention.Window.of([(pair[0], pair[1])], torch.tensor([0, 1, 2]), levels)
    x, ids = INPUTS[0][None].double().clone(), torch.tensor([[12.5, 16, 17]]).double()
    predict(network, window, x, torch.tensor(0.7), ids).square().mean().backward()
    return weight.grad


@pytest.mark.usefixtures("small_pieces")
def test_the_lean_network_can_be_trained(told: Conditioning) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        got, want = (gradient(toy_unet(lean), told) for lean in (True, False))
    assert want.abs().max() > 0
    assert near(got, want)


@pytest.mark.parametrize(("rows", "least"), [(1, 5), (4, 5), (5, 5), (23, 5)])
def test_feed_forward_rows_may_be_few(rows: int, least: int, small_pieces: None) -> None:
    from diffusers.models.attention import FeedForward

    plain = FeedForward(16, dim_out=8, activation_fn="geglu").eval()
    x = drawn(2, rows, 16)
    assert near(feedforward.PiecewiseFeedForward(plain.net)(x), plain(x))


def test_only_plain_convolutions_over_time_are_flattened() -> None:
    kinds = [
        torch.nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)),
        torch.nn.Conv3d(4, 6, 3, padding=1),
        torch.nn.Conv3d(4, 6, (3, 1, 1), stride=(2, 1, 1)),
    ]
    network = torch.nn.Sequential(*kinds)
    layers.flatten_convolutions(network)
    assert [type(layer) is layers.FlatConvolution for layer in network] == [True, False, False]
    x = drawn(2, 4, 5, 3, 2)
    assert near(network[0](x), kinds[0](x))


# shortcuts


@pytest.mark.parametrize(
    ("steps", "group", "want"),
    [
        (0, 1, [[]]),
        (1, 2, [[0]]),
        (3, 1, [[0], [1], [2]]),
        (6, 2, [[0], [1, 2], [3, 4], [5]]),
        (5, 3, [[0], [1, 2, 3], [4]]),
    ],
)
def test_groups(steps: int, group: int, want: list[list[int]]) -> None:
    assert [list(part) for part in sampling.groups(steps, group)] == want


def test_shortcuts_by_name() -> None:
    assert [Shortcuts.named(name).group for name in ("exact", "null_branch", "deep_features", "both")] == [
        1,
        2,
        2,
        2,
    ]
    assert Shortcuts.named("both") == Shortcuts(True, True)
    assert Shortcuts.named("exact") == Shortcuts()
    with pytest.raises(ValueError, match="half"):
        Shortcuts.named("half")


def start_of(told: Conditioning, levels: Any) -> Any:
    return sampling.starting_latents(told.portrait, drawn(5, 4, *SIZE), levels)


def test_a_group_takes_its_steps_window_by_window(told: Conditioning) -> None:
    seen: list[tuple[int, list[int], bool]] = []

    def note(x: Any, moment: Any, frames: Any, first: bool) -> Any:
        seen.append((moment.step, frames.tolist(), first))
        return torch.zeros_like(x)

    levels = schedule.schedule(3)
    done = [n for n, _ in sampling.sample(note, start_of(told, levels), levels, Plan(5, 3, 2), group=2)]
    assert done == [1, 3]
    assert seen == [
        (0, [0, 1, 2], True),
        (0, [3, 4, 0], True),
        (1, [3, 4, 0], True),
        (2, [3, 4, 0], False),
        (1, [1, 2, 3], True),
        (2, [1, 2, 3], False),
    ]


def test_a_start_inside_a_group_is_refused(told: Conditioning) -> None:
    levels = schedule.schedule(4)
    with pytest.raises(ValueError, match="2 steps are done"):
        next(sampling.sample(lambda *_: None, start_of(told, levels), levels, Plan(5, 3, 2), 2, 2))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("name", ["exact", "null_branch", "deep_features", "both"])
def test_a_run_goes_on_where_it_stopped(unet: Any, told: Conditioning, name: str, together: bool) -> None:
    levels, plan, shortcuts = schedule.schedule(4), Plan(3, 3, 2), Shortcuts.named(name)

    def run(latents: Any, start: int = 0) -> list[tuple[int, Any]]:
        denoiser = Denoiser(unet, told, together=together, shortcuts=shortcuts)
        return list(sampling.sample(denoiser, latents, levels, plan, start, shortcuts.group))

    whole = run(start_of(told, levels)[:3])
    for place, (done, latents) in enumerate(whole[:-1]):
        rest = run(latents, done)
        assert [n for n, _ in rest] == [n for n, _ in whole[place + 1 :]]
        assert all(
            torch.equal(one, other) for (_, one), (_, other) in zip(whole[place + 1 :], rest, strict=True)
        )


def both_steps(denoiser: Denoiser) -> list[Any]:
    """Predictions for the same latents at the first and at a later step of a group."""
    moment, frames = schedule.schedule(3).moment(1), torch.tensor([4, 0, 1])
    return [denoiser(drawn(FRAMES, 4, *SIZE), moment, frames, first) for first in (True, False)]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("name", ["null_branch", "deep_features", "both"])
def test_shortcuts_are_exact_when_nothing_changed(
    unet: Any, told: Conditioning, name: str, together: bool
) -> None:
    first, later = both_steps(Denoiser(unet, told, together=together, shortcuts=Shortcuts.named(name)))
    assert alike(later, first)
    assert alike(first, both_steps(Denoiser(unet, told))[0])


def counting(unet: Any, layer: Any, run: Callable[[], object]) -> int:
    calls: list[int] = []
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    run()
    hook.remove()
    return len(calls)


def test_the_null_branch_is_left_out(unet: Any, told: Conditioning) -> None:
    denoiser = Denoiser(unet, told, shortcuts=Shortcuts(null_branch=True))
    assert counting(unet, unet.mid_block.resnets[0], lambda: both_steps(denoiser)) == 3 + 2


def test_inner_layers_are_left_out(unet: Any, told: Conditioning) -> None:
    denoiser = Denoiser(unet, told, shortcuts=Shortcuts(deep_features=True))
    for inner in (unet.mid_block, unet.down_blocks[1], unet.up_blocks[0], unet.up_blocks[-2]):
        assert counting(unet, inner.resnets[0], lambda: both_steps(denoiser)) == 3
    for outer in (unet.down_blocks[0], unet.up_blocks[-1]):
        assert counting(unet, outer.resnets[0].spatial_res_block, lambda: both_steps(denoiser)) in (4, 6)
    assert all("forward" not in vars(module) for module in unet.modules())


def test_a_later_step_needs_a_first(unet: Any, told: Conditioning) -> None:
    moment, frames, x = schedule.schedule(3).moment(1), torch.tensor([4, 0, 1]), drawn(FRAMES, 4, *SIZE)
    with pytest.raises(RuntimeError, match="no first step"):
        Denoiser(unet, told, shortcuts=Shortcuts(null_branch=True))(x, moment, frames, False)
    with pytest.raises(KeyError):
        Denoiser(unet, told, shortcuts=Shortcuts(deep_features=True))(x, moment, frames, False)


def test_a_new_window_forgets_the_last(unet: Any, told: Conditioning) -> None:
    denoiser = Denoiser(unet, told, shortcuts=Shortcuts.named("both"))
    both_steps(denoiser)
    denoiser.forget()
    assert denoiser.memory.towards_nothing is None
    with pytest.raises(KeyError), DeepFeatures().replayed(unet, BRANCHES):
        pass


# weights elsewhere, in 8 bits, compiled


def test_streamed_weights_visit_one_block_at_a_time(
    unet: Any, told: Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sonic_ext.nn import streamed

    want = called(unet, told).in_turn_shared(INPUTS)
    weights = list(unet.parameters())
    homes = [weight.data_ptr() for weight in weights]
    away: list[int] = []

    def copied(tensor: Any, device: Any) -> Any:
        away.append(sum(now.data_ptr() != home for now, home in zip(weights, homes, strict=True)))
        return tensor.clone()

    monkeypatch.setattr(streamed, "moved", copied)
    with streamed.streamed(unet, "cpu"):
        got = called(unet, told).in_turn_shared(INPUTS)
    assert all(torch.equal(one, other) for one, other in zip(got, want, strict=True))
    blocks_of = list(streamed.top_blocks(unet))
    largest = max(len(block.state_dict()) for block in blocks_of)
    assert 0 < max(away) < largest < len(homes) / 3
    # All weights three times, but those of the first convolution twice: the third branch shares its result.
    assert len(away) == 3 * len(homes) - len(unet.conv_in.state_dict())
    assert homes == [weight.data_ptr() for weight in weights]
    assert all("forward" not in vars(module) for module in unet.modules())


def test_streamed_weights_come_home_after_an_error(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonic_ext.nn import streamed

    before = unet.conv_in.weight.data_ptr()
    monkeypatch.setattr(streamed, "moved", lambda tensor, device: tensor.clone())
    with pytest.raises(RuntimeError), streamed.streamed(unet, "cpu"):
        unet.conv_in(drawn(1, 3, 4, 4))
    assert unet.conv_in.weight.data_ptr() == before


def test_every_weight_is_in_a_block_that_is_streamed(unet: Any) -> None:
    from sonic_ext.nn.streamed import top_blocks

    held = {id(tensor) for block in top_blocks(unet) for tensor in block.parameters()}
    assert held == {id(tensor) for tensor in unet.parameters()}


def test_weights_in_8_bits(told: Conditioning) -> None:
    from sonic_ext.nn.storage import store_fp8

    network = toy_unet()
    want = called(network, told).in_turn_shared(INPUTS)[2]
    store_fp8(network)
    got = called(network, told).in_turn_shared(INPUTS)[2]
    assert got.dtype == torch.float32
    assert got.isfinite().all()
    assert 0 < float((got - want).norm() / want.norm()) < 0.2
    narrow = {name for name, weight in network.named_parameters() if weight.dtype == torch.float8_e4m3fn}
    assert {"mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"} <= narrow
    assert not any("norm" in name or "processor" in name or "time_embedding" in name for name in narrow)
    bytes_of = sum(weight.nbytes for name, weight in network.named_parameters() if name in narrow)
    assert bytes_of > 0.5 * sum(weight.numel() for weight in network.parameters())
    assert not any("scale" in key for key in network.state_dict())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("loud", [10.0, 0.0093, 1e-3])
def test_a_scale_per_row_keeps_weights_of_any_size_in_8_bits(dtype: str, loud: float) -> None:
    from sonic_ext.nn.storage import narrowed, widened

    rows = loud * torch.tensor([1.0, 1 / 7, 0.02])  # layers have loud rows and quiet ones
    weight = (drawn(3, 400, 3, 3) * rows[:, None, None, None]).to(getattr(torch, dtype))
    narrow, scale = narrowed(weight)
    assert (narrow.dtype, narrow.shape, scale.shape) == (torch.float8_e4m3fn, weight.shape, (3, 1, 1, 1))
    error = (widened(narrow, scale).double() - weight.double()).flatten(1).norm(dim=1)
    assert (error / weight.double().flatten(1).norm(dim=1)).max() < 0.028
    zeros = torch.zeros(2, 4, dtype=weight.dtype)
    assert torch.equal(widened(*narrowed(zeros)), zeros)


def test_a_layer_in_8_bits_rests_so_after_an_error_too() -> None:
    from sonic_ext.nn.storage import store_fp8

    layer = torch.nn.Sequential(torch.nn.Linear(4, 2))
    store_fp8(layer)
    resting = layer[0].weight.data_ptr()
    with pytest.raises(RuntimeError):
        layer(drawn(1, 3))
    assert (layer[0].weight.dtype, layer[0].weight.data_ptr()) == (torch.float8_e4m3fn, resting)
    assert layer(drawn(1, 4)).shape == (1, 2)
    assert (layer[0].weight.dtype, layer[0].weight.data_ptr()) == (torch.float8_e4m3fn, resting)


def test_streamed_weights_in_8_bits(told: Conditioning, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonic_ext.nn import storage, streamed

    network = toy_unet()
    storage.store_fp8(network)
    want = called(network, told).in_turn_shared(INPUTS)
    homes = [weight.data_ptr() for weight in network.parameters()]
    monkeypatch.setattr(streamed, "moved", lambda tensor, device: tensor.clone())
    with streamed.streamed(network, "cpu"):
        got = called(network, told).in_turn_shared(INPUTS)
    assert all(torch.equal(one, other) for one, other in zip(got, want, strict=True))
    assert homes == [weight.data_ptr() for weight in network.parameters()]


def test_compiling_without_a_compiler_is_said(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonic_ext.nn import storage

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setattr(torch, "compile", lambda _, backend: fails)
    assert storage.compiled(unet) == ("Compiling does not work here (no compiler); networks run as they are.")
    assert all("forward" not in vars(module) and "piece" not in vars(module) for module in unet.modules())
    monkeypatch.delattr(torch, "compile")
    assert "cannot compile" in str(storage.compiled(unet))


def test_a_layer_that_fails_to_compile_runs_as_it_is(
    told: Conditioning,
) -> None:
    """For real: torch's own machinery with a backend that gives up."""
    dynamo = pytest.importorskip("torch._dynamo")
    from sonic_ext.nn import storage

    network, calls = toy_unet(), []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise NotImplementedError("gave up")
        return graph.forward

    want = called(network, told).in_turn(INPUTS)
    before = dynamo.config.get_config_copy() if hasattr(dynamo.config, "get_config_copy") else {}
    dynamo.reset()
    assert storage.compiled(network, backend) is None
    with pytest.warns(RuntimeWarning, match="runs as it is"):
        got = called(network, told).in_turn(INPUTS)
    assert all(near(one, other) for one, other in zip(got, want, strict=True))
    assert all("piece" not in vars(module) for module in network.modules())
    assert before == (dynamo.config.get_config_copy() if before else {})
    dynamo.reset()


class Halved(torch.nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) / 2


def test_however_many_layers_there_are_all_are_compiled() -> None:
    """torch compiles one code for eight modules and leaves the others as they are."""
    dynamo = pytest.importorskip("torch._dynamo")
    from sonic_ext.nn import storage

    compiled: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    dynamo.reset()
    every: list[storage.Guarded] = []
    many = [Halved(width, 2) for width in range(3, 15)]
    every.extend(storage.Guarded(layer, "forward", every, backend) for layer in many)
    with torch.inference_mode():
        for layer in many:
            assert near(layer(x := drawn(4, layer.in_features)), Halved.forward(layer, x))
    assert len(compiled) == len(many)
    dynamo.reset()


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
def test_doubling_in_a_convolution_is_doubling_and_then_the_convolution(size: tuple[int, int]) -> None:
    conv = torch.nn.Conv2d(5, 7, 3, padding=1)
    x = drawn(2, 5, *size)
    repeated = x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    assert near(layers.DoublingConvolution.of(conv)(x), conv(repeated))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_doubling_in_half_precision_rounds_its_weights_once(dtype: str) -> None:
    half = getattr(torch, dtype)
    plain = torch.nn.Conv2d(3, 5, 3, padding=1)
    plain.weight.data = plain.weight.data.to(half).float()  # as a file in half precision has them
    exact = layers._folded(plain.weight)
    assert torch.equal(layers._folded(plain.weight.to(half)), exact.to(half))


class FromTheHost(TorchDispatchMode):  # type: ignore[misc]
    """Counts tensors that operations make of Python's numbers, and numbers that are read back."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if any(word in name for word in ("lift_fresh", "_local_scalar_dense", "nonzero", "masked_select")):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("way", ["together", "in_turn", "in_turn_shared"])
def test_a_call_never_waits_for_the_device(unet: Any, told: Conditioning, way: str) -> None:
    with FromTheHost() as host:
        torch.tensor([1.0])
    assert host.seen
    call = called(unet, told)
    with FromTheHost() as host:
        getattr(call, way)(INPUTS)
    assert host.seen == []
