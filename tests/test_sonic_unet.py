"""The UNet computes what diffusers' does, however it is called; it can be trained, pickled and compiled."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")

from tiny_sonic import random  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from toy_unet import (  # noqa: E402
    FRAMES,
    SIZE,
    TOY,
    drawn,
    near,
    toy_conditioning,
    toy_unet,
)

from sonic_ext.engines.sonic.denoise import Call, Conditioning, Denoiser, Shortcuts  # noqa: E402
from sonic_ext.engines.sonic.guidance import BRANCHES  # noqa: E402
from sonic_ext.engines.sonic.schedule import Moment  # noqa: E402
from sonic_ext.nn import build, layers  # noqa: E402
from sonic_ext.nn import unet as network  # noqa: E402
from sonic_ext.nn.offload import Offload  # noqa: E402
from sonic_ext.nn.unet import Branch, Cache, Level, UNet, UNetConfig, build_unet  # noqa: E402

MANIFEST = Path(__file__).parent / "data" / "parity" / "manifest_unet.json"
IDS = [12.5, 16.0, 17.0]


@pytest.fixture(scope="module")
def unet() -> UNet:
    return toy_unet()


@pytest.fixture
def told() -> Conditioning:
    return toy_conditioning()


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that even toys are cut."""
    monkeypatch.setattr(layers, "CACHE", 1)
    monkeypatch.setattr(layers, "LEAST", 61)
    monkeypatch.setattr(network, "LEAST", 61)
    monkeypatch.setattr(network, "SMALLEST", 1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # toys; more threads only wait for each other
    yield
    torch.set_num_threads(threads)


def test_keys_and_shapes_are_the_published_ones() -> None:
    want = {key: shape for key, (shape, _) in json.loads(MANIFEST.read_text(encoding="utf-8")).items()}
    assert {key: list(value.shape) for key, value in build_unet().state_dict().items()} == want


# Against diffusers


def oracle(config: UNetConfig, dtype: Any) -> Any:
    pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
    from oracle_unet import Oracle

    made = Oracle(config)
    made.unet.load_state_dict(quiet_weights(config))
    return made.requires_grad_(False).to(dtype)


def quiet_weights(config: UNetConfig) -> dict[str, Any]:
    """Weights that keep what passes through them about as loud as it was: rounding grows with loudness."""
    return {key: random(key, tuple(each.shape)) for key, each in build_unet(config).state_dict().items()}


CONFIGS = [
    UNetConfig(channels=(32, 32, 64, 64), heads=(1, 1, 2, 2), context=24, layers=1),
    UNetConfig(channels=(32, 64, 64, 32), heads=(1, 2, 4, 1), context=40, layers=2, depth=2, ids=32),
    UNetConfig(channels=(64, 32), heads=(2, 1), attended=(True, False), context=24, layers=1),
    UNetConfig(channels=(32, 32, 64), heads=(1, 1, 2), attended=(False, True, True), context=24, layers=1),
]
"""On grids of several pixels: norms over few values make any rounding large."""


def conditioned(config: UNetConfig, size: tuple[int, int], frames: int, dtype: Any) -> list[Branch]:
    """Two branches with an input each and one that shares; two masks, one none."""
    faces = []
    for share in (0.5, 1.0):
        face, (height, width) = {}, size
        for _ in config.channels:
            mask = torch.linspace(-0.1, 1.1, height * width).reshape(height, width)
            mask[int(height * share) :] = 0
            face[height * width] = Level.of(mask)
            height, width = -(-height // 2), -(-width // 2)
        faces.append(face)
    portraits = drawn(3, 1, 1, config.context, seed=8).to(dtype)
    speech = drawn(2, frames, 7, config.context, seed=9).to(dtype)
    return [
        Branch(portraits[0], speech[0, :1], faces[0]),
        Branch(portraits[1], speech[0], faces[1], input=1),
        Branch(portraits[2], speech[1], input=1),
    ]


@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning", "default::UserWarning")
@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(("dtype", "within"), [("float32", 2e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [(16, 16), (24, 16)])
def test_it_computes_what_diffusers_does(
    config: UNetConfig, size: tuple[int, int], dtype: str, within: float
) -> None:
    kind = getattr(torch, dtype)
    own, plain = build.fill(build_unet(config), quiet_weights(config)).to(kind), oracle(config, kind)
    x = drawn(2, 3, config.in_channels, *size, seed=7).to(kind)
    ids = torch.tensor([IDS, [12.5, 3.0, 40.0]])
    given = x, torch.tensor(0.7), ids, conditioned(config, size, 3, kind)
    with torch.no_grad():
        want = plain(*given)
        got = [own(*given), own(*given, load_layer=Offload(own, "cpu"))]
    got.append(own.requires_grad_()(*given, checkpointed=True).detach())
    for each in got:
        assert float((each - want).abs().max() / want.abs().max()) <= within


# However it is called

INPUTS = torch.stack([drawn(FRAMES, 8, *SIZE, seed=6), drawn(FRAMES, 8, *SIZE, seed=7)])
FEW = torch.tensor([4, 0, 1])


def called(unet: UNet, told: Conditioning, **how: Any) -> Call:
    return Call(unet, told.branches(FEW), torch.tensor(0.7), torch.tensor([IDS]), **how)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("mode", ["inference_mode", "no_grad"])
@pytest.mark.parametrize("way", ["in turn", "visiting"])
def test_branches_apart_are_branches_together(unet: UNet, told: Conditioning, way: str, mode: str) -> None:
    load_layer = Offload(unet, "cpu") if way == "visiting" else None
    with getattr(torch, mode)():
        batched = called(unet, told, batched=True)(INPUTS)
        apart = called(unet, told, load_layer=load_layer)(INPUTS)
    assert all(near(one, other) for one, other in zip(apart, batched, strict=True))


def counting(layer: Any, run: Callable[[], object]) -> int:
    calls: list[int] = []
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        run()
    hook.remove()
    return len(calls)


@pytest.mark.parametrize("way", ["together", "in turn", "visiting"])
def test_branches_with_the_same_input_share_their_first_layers(
    unet: UNet, told: Conditioning, way: str
) -> None:
    load_layer = Offload(unet, "cpu") if way == "visiting" else None
    call = called(unet, told, batched=way == "together", load_layer=load_layer)
    first = unet.down_blocks[0].resnets[0]
    assert counting(first, lambda: call(INPUTS)) == (2 if way == "in turn" else 1)


def test_sharing_is_exact_to_the_bit(unet: UNet, told: Conditioning) -> None:
    call = called(unet, told)
    with torch.no_grad():
        alone = [call(INPUTS, (branch,))[0] for branch in BRANCHES]
        assert all(map(torch.equal, call(INPUTS), alone))


def test_a_call_leaves_nothing_in_the_network(unet: UNet, told: Conditioning) -> None:
    before = {name: dict(vars(module)) for name, module in unet.named_modules()}
    with torch.no_grad():
        called(unet, told)(INPUTS, deep={})
        called(unet, told, load_layer=Offload(unet, "cpu"))(INPUTS)
    assert before == {name: dict(vars(module)) for name, module in unet.named_modules()}


@pytest.mark.usefixtures("small_pieces")
def test_what_is_given_stays_as_it_is(unet: UNet, told: Conditioning) -> None:
    branches, x, cache = told.branches(FEW), INPUTS[1:].clone(), Cache(leaves_first=True, leaves_deep=True)
    given = x, torch.tensor(0.7), torch.tensor([IDS]), [replace(branches[2], input=0)]
    with torch.no_grad():
        want = unet(*given, cache)
        assert torch.equal(x, INPUTS[1:])
        assert cache.first and cache.deep is not None
        for keep in (True, False):  # the second gives it up
            again = Cache(cache.first, leaves_first=keep)
            assert torch.equal(unet(*given, again), want)
            assert (again.first is not None) == keep
        assert torch.equal(unet(*given, Cache(deep=cache.deep)), want)


@pytest.mark.parametrize("ones", [0, 3, 64])
def test_face_pixels_are_enough(unet: UNet, ones: int) -> None:
    mask = torch.zeros(8, 8)
    mask.view(-1)[:ones] = torch.linspace(-0.1, 1.1, ones)
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    results = []
    for sparse in (True, False):
        branch = Branch(drawn(1, 1, 24), drawn(FRAMES, 7, 24), {64: Level.of(mask, sparse)})
        with torch.no_grad():
            results.append(block(drawn(FRAMES, 64, 32), [branch]))
    assert near(*results)


@pytest.mark.parametrize("shapes", [((1, 2, 24), (1, 7, 24)), ((1, 24), (1, 7, 24)), ((1, 1, 24), (7, 24))])
def test_tokens_of_another_form_are_refused(shapes: Sequence[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="portrait and speech"):
        Branch(*(torch.zeros(shape) for shape in shapes))


# Training

SMALL = UNetConfig(channels=(32, 32), heads=(1, 1), attended=(True, False), context=24, layers=1)
"""For what takes its time."""


def loss(unet: UNet, branches: Sequence[Branch], checkpointed: bool = False) -> Any:
    ids = torch.tensor([IDS, IDS])
    return unet(INPUTS, torch.tensor(0.7), ids, branches, checkpointed=checkpointed).float().square().mean()


def test_gradients_are_those_of_diffusers(told: Conditioning) -> None:
    own = build.fill(build_unet(TOY), quiet_weights(TOY)).double()
    plain = oracle(TOY, torch.float64)
    branches = conditioned(TOY, SIZE, FRAMES, torch.float64)
    given = INPUTS.double(), torch.tensor(0.7), torch.tensor([IDS, IDS]), branches
    for each in (own.requires_grad_(), plain.requires_grad_()):
        each(*given).square().mean().backward()
    wanted = dict(plain.unet.named_parameters())
    for name, weight in own.named_parameters():
        want = wanted[name].grad
        if ".attn2.to_k." in name:  # attention over one key: diffusers' own is rounding
            assert weight.grad is None and float(want.abs().max()) < 1e-12
        elif ".attn2." in name and weight.grad is None:
            assert float(want.abs().max()) == 0
        else:
            assert float((weight.grad - want).abs().max()) <= 1e-10 * max(1.0, float(want.abs().max())), name


def test_a_hundred_steps_of_training(told: Conditioning) -> None:
    """The conditioning is made once, as for a run, and serves every step."""
    unet = toy_unet(SMALL).requires_grad_()
    branches = told.branches(FEW)
    optimizer = torch.optim.SGD(unet.parameters(), lr=1e-4)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(unet, branches)
        value.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        losses.append(float(value.detach()))
    assert losses[-1] < losses[0]


def gradients(unet: UNet) -> dict[str, Any]:
    return {name: weight.grad for name, weight in unet.named_parameters() if weight.grad is not None}


def test_checkpointing_changes_no_gradient(told: Conditioning) -> None:
    found = []
    for checkpointed in (False, True):
        unet = toy_unet().requires_grad_()
        loss(unet, told.branches(FEW), checkpointed).backward()
        found.append(gradients(unet))
    assert found[0].keys() == found[1].keys()
    assert all(near(found[1][name], want) for name, want in found[0].items())


class Saved:
    """Bytes that the graph keeps for the backward pass."""

    def __init__(self) -> None:
        self.bytes = 0

    def pack(self, tensor: Any) -> Any:
        self.bytes += tensor.nbytes
        return tensor


def test_checkpointing_keeps_less(told: Conditioning) -> None:
    unet, kept = toy_unet().requires_grad_(), []
    for checkpointed in (False, True):
        saved = Saved()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
            loss(unet, told.branches(FEW), checkpointed)
        kept.append(saved.bytes)
    assert kept[1] < kept[0] / 4


def test_mixed_precision(told: Conditioning) -> None:
    unet = toy_unet().requires_grad_()
    exact = float(loss(unet, told.branches(FEW)).detach())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(unet, told.branches(FEW))
    mixed.backward()
    assert float(mixed.detach()) == pytest.approx(exact, rel=0.05)
    assert all(
        weight.dtype == torch.float32 and weight.isfinite().all() for weight in gradients(unet).values()
    )


def test_half_precision_stays_half(told: Conditioning) -> None:
    unet = toy_unet().to(torch.bfloat16)
    branches = [
        replace(each, portrait=each.portrait.bfloat16(), speech=each.speech.bfloat16())
        for each in told.branches(FEW)
    ]
    with torch.no_grad():
        out = unet(INPUTS.bfloat16(), torch.tensor(0.7), torch.tensor([IDS, IDS]), branches)
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


# Elsewhere


def test_it_can_be_pickled_and_copied(unet: UNet, told: Conditioning) -> None:
    with torch.no_grad():
        want = called(unet, told)(INPUTS)
        for other in (pickle.loads(pickle.dumps(unet)), copy.deepcopy(unet)):
            assert all(map(torch.equal, called(other, told)(INPUTS), want))
    buffer = io.BytesIO()
    torch.save(told.branches(FEW), buffer)
    assert buffer.tell()


class FromTheHost(TorchDispatchMode):  # type: ignore[misc]
    """Counts tensors that operations make of Python's numbers, numbers read, and copies between devices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func), kwargs or {}
        words = (
            "lift_fresh",
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "is_nonzero",
            "equal.default",
        )
        if any(word in name for word in words):
            self.seen.append(name)
        result = func(*args, **kwargs)
        tensors = [each for each in (*args, result) if isinstance(each, torch.Tensor)]
        if len({each.device.type for each in tensors if each.ndim}) > 1:
            self.seen.append(f"{name} between devices")
        return result


def test_what_counts_host_reads_sees_them() -> None:
    with FromTheHost() as host:
        bool(torch.tensor([1.0])[0] > 0)
        torch.ones(3, device="meta").copy_(torch.ones(3))
    assert {name.split(".")[1] for name in host.seen} == {"lift_fresh", "_local_scalar_dense", "copy_"}


@pytest.mark.parametrize("how", ["together", "in turn", "visiting", "deep_features"])
def test_a_step_never_waits_for_the_device(unet: UNet, told: Conditioning, how: str) -> None:
    denoiser = Denoiser(
        unet,
        told,
        batched=how == "together",
        load_layer=Offload(unet, "cpu") if how == "visiting" else None,
        shortcuts=Shortcuts.named(how if how == "deep_features" else "exact"),
    )
    moment = Moment(1, 3, *torch.tensor([0.7, 16.0, 9.0]))
    call = called(unet, told, batched=denoiser.batched, load_layer=denoiser.load_layer)
    with torch.inference_mode(), FromTheHost() as host:
        for first in (True, False):
            denoiser.guided(call, INPUTS[0, :, :4], moment, first)
    assert host.seen == []


def test_nothing_of_a_call_is_made_on_another_device(told: Conditioning) -> None:
    """Weights, latents and conditioning without contents, on a device that is not the processor."""
    unet = build_unet(TOY)
    branches = [
        Branch(
            each.portrait.to("meta"),
            each.speech.to("meta"),
            {size: level.to("meta") for size, level in each.face.items()},
            each.input,
        )
        for each in told.branches(FEW)
    ]
    call = Call(unet, tuple(branches), torch.tensor(0.7, device="meta"), torch.ones(1, 3, device="meta"))
    inputs = INPUTS.to("meta")
    with torch.inference_mode(), FromTheHost() as host:
        found = call(inputs)
    assert host.seen == [] and all(each.is_meta for each in found)


# Compiled

QUIET = pytest.mark.filterwarnings("ignore")
"""Compilers and what they import have much to say."""


def compiler() -> Any:
    """torch's, where there is one for it to use."""
    pytest.importorskip("torch._inductor.cpp_builder")
    from torch._inductor import exc

    try:
        torch.compile(lambda x: torch.sin(x) + 1, fullgraph=True)(torch.ones(4))
    except Exception as error:
        if not isinstance(error, (exc.InvalidCxxCompiler, exc.InductorError)) and "ompiler" not in str(error):
            raise
        pytest.skip("no C++ compiler here")
    torch._dynamo.reset()
    return torch.compile


@QUIET
def test_a_block_compiles_whole(told: Conditioning) -> None:
    compiled, block = compiler(), toy_unet(SMALL).down_blocks[0]
    x, embedding, branches = drawn(FRAMES, 32, *SIZE), drawn(1, 1, 128), [told.branches(FEW)[2]]
    for layer, own in ((block.resnets[0], embedding), (block.attentions[0], branches)):
        with torch.no_grad():
            assert near(compiled(layer, fullgraph=True)(x, own), layer(x, own))
    torch._dynamo.reset()


@QUIET
def test_the_whole_compiles(told: Conditioning) -> None:
    compiled, unet = compiler(), toy_unet(SMALL)
    given = INPUTS, torch.tensor(0.7), torch.tensor([IDS, IDS]), list(told.branches(FEW))
    with torch.no_grad():
        assert near(compiled(unet, fullgraph=True)(*given), unet(*given))
    torch._dynamo.reset()
