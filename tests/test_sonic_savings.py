"""Named shortcuts do what they say, and nothing else; so do weights elsewhere, in 8 bits, compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")

from toy_unet import FRAMES, SIZE, drawn, near, toy_conditioning, toy_unet  # noqa: E402

from sonic_ext.engines.runtime.devices import Hardware  # noqa: E402
from sonic_ext.engines.sonic import sampling, schedule  # noqa: E402
from sonic_ext.engines.sonic.denoise import Call, Conditioning, Denoiser, Shortcuts  # noqa: E402
from sonic_ext.engines.sonic.engine import _budget  # noqa: E402
from sonic_ext.engines.sonic.guidance import (  # noqa: E402
    BOTH,
    BRANCHES,
    EVERYWHERE,
    IMAGE,
    NOTHING,
    Guidance,
)
from sonic_ext.engines.sonic.profile import PUBLISHED  # noqa: E402
from sonic_ext.engines.sonic.sampler import OUTER, Sampler  # noqa: E402
from sonic_ext.engines.sonic.settings import DiffusionSettings  # noqa: E402
from sonic_ext.engines.sonic.solvers import SolverState, euler  # noqa: E402
from sonic_ext.engines.sonic.windows import Plan  # noqa: E402
from sonic_ext.errors import BadSetting, Cancelled  # noqa: E402
from sonic_ext.nn import offload, storage  # noqa: E402
from sonic_ext.settings import PRESETS, Settings  # noqa: E402
from sonic_ext.weights import UNET  # noqa: E402

NOWHERE = (0.0, 0.0)

pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)


@pytest.fixture(scope="module")
def unet() -> Any:
    return toy_unet()


@pytest.fixture
def told() -> Conditioning:
    return toy_conditioning()


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


INPUTS = torch.stack([drawn(FRAMES, 8, *SIZE, seed=6), drawn(FRAMES, 8, *SIZE, seed=7)])


def called(unet: Any, told: Conditioning, load_layer: Any = None) -> list[Any]:
    """Predictions of all branches."""
    frames, ids = torch.tensor([4, 0, 1]), torch.tensor([[12.5, 16, 17]])
    return Call(unet, told.branches(frames), torch.tensor(0.7), ids, load_layer=load_layer)(INPUTS)


# shortcuts


@pytest.mark.parametrize(
    ("steps", "group", "widening", "cuts", "want"),
    [
        (0, 1, False, [], [[]]),
        (1, 2, True, [], [[0]]),
        (3, 1, False, [], [[0], [1], [2]]),
        (6, 2, False, [], [[0], [1, 2], [3, 4], [5]]),
        (5, 3, False, [], [[0], [1, 2, 3], [4]]),
        (7, 3, False, [1, 3, 6], [[0], [1, 2], [3, 4, 5], [6]]),
        (10, 3, True, [], [[0], [1, 2], [3, 4, 5], [6, 7, 8, 9]]),
        (10, 3, True, [4], [[0], [1, 2], [3], [4, 5], [6, 7, 8, 9]]),
    ],
)
def test_groups(steps: int, group: int, widening: bool, cuts: list[int], want: list[list[int]]) -> None:
    assert [list(part) for part in sampling.groups(steps, group, widening, cuts)] == want


@pytest.mark.parametrize("group", [2, 3, 5, 10])
def test_groups_that_widen_hold_the_same_steps(group: int) -> None:
    parts = sampling.groups(25, group, widening=True)
    assert [step for part in parts for step in part] == list(range(25))
    assert len(parts) <= len(sampling.groups(25, group))
    assert len(parts[1]) <= group <= len(parts[-1])


def test_shortcuts_by_name() -> None:
    assert Shortcuts.named("both") == Shortcuts(True, True)
    assert Shortcuts.named("exact") == Shortcuts()
    assert Shortcuts.named("deep_features", 0.2) == Shortcuts(deep_features=True, tolerance=0.2)
    assert Sampler.of(DiffusionSettings(cache_tolerance=0.2), PUBLISHED).group == 1
    told = DiffusionSettings(shortcuts="both", cache_tolerance=0.2)
    assert Sampler.of(told, PUBLISHED).shortcuts.tolerance == 0.2
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
    start = SolverState(start_of(told, levels))
    parts = sampling.groups(3, 2)
    done = [n for n, _ in sampling.sample(note, start, levels, Plan(5, 3, 2), parts=parts)]
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
    steps = sampling.sample(
        lambda *_: None,
        SolverState(start_of(told, levels)),
        levels,
        Plan(5, 3, 2),
        2,
        parts=sampling.groups(4, 2),
    )
    with pytest.raises(ValueError, match="2 steps are done"):
        next(steps)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("name", ["exact", "null_branch", "deep_features", "both"])
def test_a_run_goes_on_where_it_stopped(unet: Any, told: Conditioning, name: str, batched: bool) -> None:
    levels, plan, shortcuts = schedule.schedule(4), Plan(3, 3, 2), Shortcuts.named(name)
    parts = sampling.groups(4, 1 if name == "exact" else 2)

    def run(latents: Any, start: int = 0) -> list[tuple[int, Any]]:
        denoiser = Denoiser(unet, told, batched=batched, shortcuts=shortcuts)
        steps = sampling.sample(denoiser, SolverState(latents), levels, plan, start, parts=parts)
        return [(done, state.latents) for done, state in steps]

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


@pytest.mark.parametrize("way", ["in turn", "together", "visiting"])
@pytest.mark.parametrize("name", ["null_branch", "deep_features", "both"])
def test_shortcuts_are_exact_when_nothing_changed(unet: Any, told: Conditioning, name: str, way: str) -> None:
    load_layer = offload.Offload(unet, "cpu") if way == "visiting" else None
    denoiser = Denoiser(
        unet, told, batched=way == "together", load_layer=load_layer, shortcuts=Shortcuts.named(name)
    )
    first, later = both_steps(denoiser)
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
    # On the way down the two branches with the portrait share it.
    for outer, calls in ((unet.down_blocks[0], 4), (unet.up_blocks[-1], 6)):
        assert counting(unet, outer.resnets[0].spatial_res_block, lambda: both_steps(denoiser)) == calls


@pytest.mark.parametrize("way", ["in turn", "together", "visiting"])
def test_inner_layers_are_computed_after_all_where_too_much_has_changed(
    unet: Any, told: Conditioning, way: str
) -> None:
    """With no tolerance all of them, with much none; in between those of the steps that need it."""
    levels = schedule.schedule(6)
    frames, x = torch.tensor([4, 0, 1]), drawn(FRAMES, 4, *SIZE)

    def drawn_with(**how: Any) -> tuple[list[Any], int]:
        load_layer = offload.Offload(unet, "cpu") if way == "visiting" else None
        denoiser = Denoiser(unet, told, batched=way == "together", load_layer=load_layer, **how)
        found: list[Any] = []

        def run() -> None:
            found.extend(
                denoiser(x / (1 + step), levels.moment(step), frames, step == 0) for step in range(6)
            )

        return found, counting(unet, unet.mid_block.resnets[0], run)

    exact, every = drawn_with()
    strict, computed = drawn_with(shortcuts=Shortcuts(deep_features=True, tolerance=1e-9))
    assert computed == every
    assert all(alike(got, want) for got, want in zip(strict, exact, strict=True))
    kept, once = drawn_with(shortcuts=Shortcuts(deep_features=True))
    loose, least = drawn_with(shortcuts=Shortcuts(deep_features=True, tolerance=1e9))
    assert once == least == every / 6
    assert all(torch.equal(got, want) for got, want in zip(loose, kept, strict=True))
    _, some = drawn_with(shortcuts=Shortcuts(deep_features=True, tolerance=0.3))
    assert least < some < every


@pytest.mark.parametrize("way", ["in turn", "together", "visiting"])
def test_a_call_is_stopped_between_layers(unet: Any, told: Conditioning, way: str) -> None:
    ran: list[int] = []
    left = 5

    def poll() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cancelled

    load_layer = offload.Offload(unet, "cpu") if way == "visiting" else None
    denoiser = Denoiser(unet, told, batched=way == "together", load_layer=load_layer, poll=poll)
    hooks = [layer.register_forward_hook(lambda *_: ran.append(left)) for layer in offload.in_order(unet)]
    with pytest.raises(Cancelled):
        both_steps(denoiser)
    for hook in hooks:
        hook.remove()
    assert 0 < len(ran) <= 3 * 5
    assert min(ran) == 0


def test_a_later_step_needs_a_first(unet: Any, told: Conditioning) -> None:
    moment, frames, x = schedule.schedule(3).moment(1), torch.tensor([4, 0, 1]), drawn(FRAMES, 4, *SIZE)
    with pytest.raises(RuntimeError, match="no first step"):
        Denoiser(unet, told, shortcuts=Shortcuts(null_branch=True))(x, moment, frames, False)
    with pytest.raises(RuntimeError, match="no first step"):
        Denoiser(unet, told, shortcuts=Shortcuts(deep_features=True))(x, moment, frames, False)


def test_a_new_window_forgets_the_last(unet: Any, told: Conditioning) -> None:
    denoiser = Denoiser(unet, told, shortcuts=Shortcuts.named("both"))
    both_steps(denoiser)
    denoiser.forget()
    assert denoiser.cached.towards_nothing is None and not denoiser.cached.deep


# guidance in an interval of noise levels


def test_branches_count_within_their_intervals() -> None:
    guidance = Guidance(image_interval=(1.0, 9.0), audio_interval=(0.5, 4.0))
    got = {sigma: guidance.branches(sigma) for sigma in (9.1, 9.0, 4.1, 4.0, 1.1, 1.0, 0.6, 0.5)}
    assert got == {
        9.1: (BOTH,),
        9.0: (NOTHING, BOTH),
        4.1: (NOTHING, BOTH),
        4.0: BRANCHES,
        1.1: BRANCHES,
        1.0: (IMAGE, BOTH),
        0.6: (IMAGE, BOTH),
        0.5: (BOTH,),
    }
    assert all(Guidance().branches(sigma) == BRANCHES for sigma in (700.0, 1.0, 0.002))
    assert Guidance(image_interval=(0.0, 0.0)).branches(700.0) == (IMAGE, BOTH)


@pytest.mark.parametrize(
    ("guidance", "branches"),
    [
        (Guidance(1.0, 7.5), (IMAGE, BOTH)),
        (Guidance(1.0, 1.0), (BOTH,)),
        (Guidance(2.0, 1.0), BRANCHES),
        (Guidance((1.0, 2.0), 1.0), BRANCHES),
    ],
    ids=str,
)
def test_a_branch_that_takes_away_what_it_adds_does_not_count(
    unet: Any, told: Conditioning, guidance: Guidance, branches: tuple[int, ...]
) -> None:
    assert guidance.branches(2.0) == branches
    moment, frames, x = schedule.schedule(3).moment(0), torch.tensor([4, 0, 1]), drawn(FRAMES, 4, *SIZE)
    predictions = {each: drawn(FRAMES, 4, *SIZE) for each in BRANCHES}
    counted = {each: predictions[each] for each in branches}
    assert alike(guidance.combined(counted), guidance.combined(predictions))
    run = counting(unet, unet.mid_block.resnets[0], lambda: Denoiser(unet, told, guidance)(x, moment, frames))
    assert run == len(branches)


NEARLY_1 = 1.0 + 1e-9
"""A scale with which every branch counts."""


@pytest.mark.parametrize("way", ["in turn", "together", "visiting"])
@pytest.mark.parametrize(
    ("image", "audio", "like", "calls"),
    [
        (NOWHERE, EVERYWHERE, Guidance(NEARLY_1, 7.5), 2),
        (EVERYWHERE, NOWHERE, Guidance(2.0, 2.0), 2),
        (NOWHERE, NOWHERE, Guidance(NEARLY_1, NEARLY_1), 1),
    ],
)
def test_outside_of_it_a_scale_is_1(
    unet: Any, told: Conditioning, image: Any, audio: Any, like: Guidance, calls: int, way: str
) -> None:
    """Towards speech and portrait at once, where the branch with the portrait alone does not count."""
    moment, frames, x = schedule.schedule(3).moment(1), torch.tensor([4, 0, 1]), drawn(FRAMES, 4, *SIZE)
    load_layer = offload.Offload(unet, "cpu") if way == "visiting" else None
    confined = Denoiser(unet, told, Guidance(2.0, 7.5, image, audio), 1, 1, way == "together", load_layer)
    found: list[Any] = []
    run = counting(unet, unet.mid_block.resnets[0], lambda: found.append(confined(x, moment, frames)))
    assert run == (1 if way == "together" else calls)
    assert alike(found[0], Denoiser(unet, told, like)(x, moment, frames))


WORKS: list[dict[str, Any]] = [
    {},
    {"shortcuts": "null_branch"},
    {"shortcuts": "deep_features"},
    {"shortcuts": "both", "cache_interval": 4},
    {"shortcuts": "deep_features", "cache_interval": 3, "cache_spacing": "widening"},
    {"image_guidance_interval": (0.1, 20.0)},
    {"audio_guidance_interval": (0.1, 20.0), "solver": "unipc"},
    {"image_guidance_interval": (0.01, 5.0), "audio_guidance_interval": (0.1, 100.0), "shortcuts": "both"},
]


@pytest.mark.parametrize("values", WORKS, ids=str)
def test_counted_work_is_what_the_network_does(unet: Any, told: Conditioning, values: dict[str, Any]) -> None:
    made = Sampler.of(DiffusionSettings(inference_steps=8, **values), PUBLISHED)
    denoiser = Denoiser(unet, told, made.guidance, shortcuts=made.shortcuts)
    plan, start = Plan(5, 3, 2), SolverState(start_of(told, made.levels))

    def run() -> None:
        list(sampling.sample(denoiser, start, made.levels, plan, 0, made.solver, made.parts))

    whole = counting(unet, unet.mid_block.resnets[0], run)
    outer = counting(unet, unet.up_blocks[-1].resnets[0], run)
    assert whole + OUTER * (outer - whole) == pytest.approx(plan.count * made.branch_calls)


def test_in_a_group_the_same_branches_count() -> None:
    made = Sampler.of(DiffusionSettings(inference_steps=12, **WORKS[-1]), PUBLISHED)
    wanted = [made.guidance.branches(float(sigma)) for sigma in made.levels.sigmas[:-1]]
    assert len(set(wanted)) == 4
    assert [step for part in made.parts for step in part] == list(range(12))
    assert all(len({wanted[step] for step in part}) == 1 for part in made.parts)
    assert max(map(len, made.parts)) == 2


def test_published_work_is_three_branches_a_step() -> None:
    made = Sampler.of(DiffusionSettings(), PUBLISHED)
    assert made.branch_calls == 75
    assert (made.solver, made.guidance, made.shortcuts) == (euler, Guidance(), Shortcuts())


@pytest.mark.parametrize(
    ("preset", "share"), [("published", 1.0), ("balanced", 0.35), ("fast", 0.15), ("draft", 0.08)]
)
def test_presets_take_their_share_of_the_published_work(preset: str, share: float) -> None:
    """Of the UNet, for ten seconds at 512: the windows are the same."""
    scene: Any = SimpleNamespace(faces=("one",))
    settings = Settings.from_mapping({**PRESETS[preset], "min_resolution": 512})
    published, faster = (
        _budget(Hardware("cpu", torch.float32), UNET.shapes, each, PUBLISHED, 125, scene)
        for each in (Settings(), settings)
    )
    assert published.plan == faster.plan
    assert 0.9 * share < faster.calls * faster.steps / (published.calls * published.steps) <= share


@pytest.mark.parametrize("name", ["image_guidance_interval", "audio_guidance_interval"])
@pytest.mark.parametrize("interval", [(2.0, 1.0), (-1.0, 1.0)])
def test_intervals_that_are_none(name: str, interval: tuple[float, float]) -> None:
    with pytest.raises(BadSetting, match="cannot be confined"):
        DiffusionSettings(**{name: interval})


# weights elsewhere, in 8 bits, compiled


def test_each_weight_visits_once_a_call(
    unet: Any, told: Conditioning, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = called(unet, told)
    weights = list(unet.parameters())
    homes = [weight.data_ptr() for weight in weights]
    away: list[int] = []

    def copied(tensor: Any, device: Any) -> Any:
        away.append(sum(now.data_ptr() != home for now, home in zip(weights, homes, strict=True)))
        return tensor.clone()

    monkeypatch.setattr(offload, "moved", copied)
    got = called(unet, told, offload.Offload(unet, "cpu"))
    assert all(near(one, other) for one, other in zip(got, want, strict=True))
    assert len(away) == len(homes)
    largest = max(len(list(block.parameters())) for block in offload.in_order(unet))
    assert 0 < max(away) <= largest < len(homes) / 3
    assert homes == [weight.data_ptr() for weight in weights]


def test_weights_come_home_after_an_error(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = unet.conv_in.weight.data_ptr()
    monkeypatch.setattr(offload, "moved", lambda tensor, device: tensor.clone())
    with pytest.raises(RuntimeError), offload.Offload(unet, "cpu")(unet.conv_in):
        unet.conv_in(drawn(1, 3, 4, 4))
    assert unet.conv_in.weight.data_ptr() == before


def test_the_next_block_is_on_its_way(unet: Any, told: Conditioning, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card, where the copies have a stream of their own; shortcuts leave blocks out."""
    made = offload.Offload(unet, "cpu")
    made._stream = "a stream"
    monkeypatch.setattr(offload.Offload, "_arrived", lambda self, tensors: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: memoryview(b""))
    sent: list[int] = []
    monkeypatch.setattr(offload, "moved", lambda tensor, device: sent.append(id(tensor)) or tensor.clone())
    want, own = called(unet, told), called(unet, told, made)
    assert all(near(one, other) for one, other in zip(own, want, strict=True))
    assert len(sent) == len(list(unet.parameters()))
    frames, moment = torch.tensor([4, 0, 1]), schedule.schedule(3).moment(1)
    shortcut = Denoiser(unet, told, load_layer=made, shortcuts=Shortcuts(deep_features=True))
    first, later = (shortcut(drawn(FRAMES, 4, *SIZE), moment, frames, each) for each in (True, False))
    assert alike(later, first)


def test_weights_that_cannot_be_pinned_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> Any:
        raise RuntimeError("CUDA error: out of memory")

    weight = torch.ones(3)
    monkeypatch.setattr(torch.Tensor, "pin_memory", full)
    assert offload.pinned(weight) is weight


def test_every_weight_visits(unet: Any) -> None:
    held = [id(tensor) for block in offload.in_order(unet) for tensor in block.parameters()]
    assert len(held) == len(set(held)) and set(held) == {id(tensor) for tensor in unet.parameters()}


def test_weights_in_8_bits(told: Conditioning) -> None:
    network = toy_unet()
    want = called(network, told)[2]
    storage.store_fp8(network)
    got = called(network, told)[2]
    assert got.dtype == torch.float32
    assert got.isfinite().all()
    assert 0 < float((got - want).norm() / want.norm()) < 0.2
    narrow = {name for name, weight in network.named_parameters() if weight.dtype == torch.float8_e4m3fn}
    assert {"mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight"} <= narrow
    assert not any("norm" in name or "processor" in name or "time_embedding" in name for name in narrow)
    bytes_of = sum(weight.nbytes for name, weight in network.named_parameters() if name in narrow)
    assert bytes_of > 0.5 * sum(weight.numel() for weight in network.parameters())
    assert not any("scale" in key for key in network.state_dict())


def test_products_of_8_bit_integers(told: Conditioning) -> None:
    network = toy_unet()
    want = called(network, told)[2]
    storage.multiply_int8(network)
    got = called(network, told)[2]
    assert got.dtype == torch.float32
    assert 0 < float((got - want).norm() / want.norm()) < 0.05
    whole = {name for name, weight in network.named_parameters() if weight.dtype == torch.int8}
    assert "mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight" in whole
    assert not any("norm" in name or "processor" in name or "conv" in name for name in whole)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rows", [2, 31, 32, 500])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_of_integers_is_near_the_layers_own(dtype: str, rows: int, bias: bool) -> None:
    """Few rows are multiplied as they are; loud and quiet rows, and zeros, each have a scale."""
    kind = getattr(torch, dtype)
    layer = torch.nn.Linear(64, 48, bias=bias)
    loud = torch.logspace(-3, 1, rows)[:, None]
    x = (drawn(rows, 64) * loud).to(kind)
    x[0] = 0
    want = torch.nn.functional.linear(
        x.double(), layer.weight.double(), layer.bias.double() if bias else None
    )
    layer.to(kind)
    storage.multiply_int8(torch.nn.Sequential(layer))
    got = layer(x.view(1, rows, 64))
    assert (got.dtype, got.shape) == (kind, (1, rows, 48))
    assert float((got[0].double() - want).norm() / want.norm()) < 0.02
    assert "row_scale" not in layer.state_dict()


def test_layers_that_integers_do_not_fit_stay_as_they_are() -> None:
    layer = torch.nn.Linear(20, 48)
    storage.multiply_int8(torch.nn.Sequential(layer))
    assert layer.weight.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("loud", [10.0, 0.0093, 1e-3])
def test_a_scale_per_row_keeps_weights_of_any_size_in_8_bits(dtype: str, loud: float) -> None:
    rows = loud * torch.tensor([1.0, 1 / 7, 0.02])  # layers have loud rows and quiet ones
    weight = (drawn(3, 400, 3, 3) * rows[:, None, None, None]).to(getattr(torch, dtype))
    narrow, scale = storage.narrowed(weight)
    assert (narrow.dtype, narrow.shape, scale.shape) == (torch.float8_e4m3fn, weight.shape, (3, 1, 1, 1))
    error = (storage.widened(narrow, scale).double() - weight.double()).flatten(1).norm(dim=1)
    assert (error / weight.double().flatten(1).norm(dim=1)).max() < 0.028
    zeros = torch.zeros(2, 4, dtype=weight.dtype)
    assert torch.equal(storage.widened(*storage.narrowed(zeros)), zeros)


def test_a_layer_in_8_bits_rests_so_after_an_error_too() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(4, 2))
    storage.store_fp8(layer)
    resting = layer[0].weight.data_ptr()
    with pytest.raises(RuntimeError):
        layer(drawn(1, 3))
    assert (layer[0].weight.dtype, layer[0].weight.data_ptr()) == (torch.float8_e4m3fn, resting)
    assert layer(drawn(1, 4)).shape == (1, 2)
    assert (layer[0].weight.dtype, layer[0].weight.data_ptr()) == (torch.float8_e4m3fn, resting)


@pytest.mark.parametrize("narrow", [storage.store_fp8, storage.multiply_int8])
def test_visiting_weights_in_8_bits(narrow: Any, told: Conditioning, monkeypatch: pytest.MonkeyPatch) -> None:
    network = toy_unet()
    narrow(network)
    want = called(network, told)
    homes = [weight.data_ptr() for weight in network.parameters()]
    monkeypatch.setattr(offload, "moved", lambda tensor, device: tensor.clone())
    got = called(network, told, offload.Offload(network, "cpu"))
    # A rounding that differs in its last bit may be another integer.
    apart = max(float((one - other).norm() / other.norm()) for one, other in zip(got, want, strict=True))
    assert apart < 0.01
    assert homes == [weight.data_ptr() for weight in network.parameters()]


def test_compiling_without_a_compiler_is_said(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
    network, calls = toy_unet(), []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise NotImplementedError("gave up")
        return graph.forward

    want = called(network, told)
    before = dynamo.config.get_config_copy() if hasattr(dynamo.config, "get_config_copy") else {}
    dynamo.reset()
    assert storage.compiled(network, backend) is None
    with pytest.warns(RuntimeWarning, match="runs as it is"):
        got = called(network, told)
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
