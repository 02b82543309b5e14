"""What the WebUIs lend, with torch: VAEs of every kind of checkpoint, and memory. Devices are toys."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import webui_standin
from webui_standin import WebUI

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")

from sonic_ext.extension import registration  # noqa: E402
from sonic_ext.progress import Silent  # noqa: E402

ELSEWHERE = torch.device("meta")
"""Stands for a graphics card: memory that is not the processor's."""
INFO = SimpleNamespace(title="toy.safetensors", name_for_extra="toy")


@pytest.fixture
def a1111(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    with webui_standin.webui(tmp_path, monkeypatch) as made:
        made.modules["modules.devices"].device = torch.device("cpu")
        yield made


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    with webui_standin.webui(tmp_path, monkeypatch, forge=True) as made:
        manager(made).get_torch_device = lambda: torch.device("cpu")
        manager(made).vae = None
        yield made


def manager(ui: WebUI) -> Any:
    return ui.modules["backend.memory_management"]


class Posterior:
    """Of a latent distribution."""

    def __init__(self, mean: Any) -> None:
        self.mean = mean

    def mode(self) -> Any:
        return self.mean

    def sample(self) -> Any:
        raise AssertionError("drawn at random")


class Network(torch.nn.Module):  # type: ignore[misc]
    """An autoencoder with A1111's methods and Forge's parts; grey in, grey out."""

    def __init__(self, scale: float = 0.18215, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift
        self.one = torch.nn.Parameter(torch.ones(1))
        self.quant_conv = None
        self.seen: list[Any] = []

    def encoder(self, pictures: Any) -> Any:
        mean = torch.nn.functional.avg_pool2d(pictures.mean(1, keepdim=True), 8).expand(-1, 4, -1, -1)
        return torch.cat([mean, torch.full_like(mean, 9.0)], dim=1)

    def encode(self, pictures: Any) -> Posterior:
        self.seen.append((pictures.dtype, torch.is_inference_mode_enabled()))
        found = self.encoder(pictures)[:, :4]
        return Posterior(found * torch.inf if self.one.dtype == torch.float16 else found)

    def decode(self, latents: Any) -> Any:
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=8)

    def process_in(self, latents: Any) -> Any:
        return (latents - self.shift) * self.scale


def a_model(**more: Any) -> SimpleNamespace:
    """What A1111 has loaded."""
    values = {"first_stage_model": Network(), "scale_factor": 0.18215, "lowvram": False}
    return SimpleNamespace(**values | more, sd_checkpoint_info=INFO)


# A1111's VAE


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (None, "No checkpoint is loaded"),
        (a_model(scale_factor=0.13025), "another latent space (4 channels, scaled by 0.13025"),
        (a_model(scale_factor=1.5305, latent_channels=16), "16 channels"),
        (a_model(first_stage_model=None), "No checkpoint is loaded"),
    ],
)
def test_a1111_lends_no_vae_of_other_latents(a1111: WebUI, model: Any, words: str) -> None:
    a1111.model_data.sd_model = model
    lent = _place().vae()
    assert lent.vae is None
    assert words in lent.reason


def _place() -> Any:
    place = registration.host().devices
    assert place is not None
    return place


def test_a1111_lends_the_mean_unscaled(a1111: WebUI) -> None:
    a1111.model_data.sd_model = a_model()
    vae = _place().vae().vae
    pictures = torch.full((2, 3, 16, 24), 0.5)
    means = vae.encode(pictures)
    assert vae.title == "the VAE of toy"
    assert means.shape == (2, 4, 2, 3)
    assert torch.allclose(means, torch.full_like(means, 0.5))
    assert torch.allclose(vae.decode(means), pictures)


def test_a1111_overflowing_in_half_precision_is_encoded_in_float32_and_left_as_it_was(a1111: WebUI) -> None:
    model = a_model(first_stage_model=Network().half())
    a1111.model_data.sd_model = model
    means = _place().vae().vae.encode(torch.zeros(1, 3, 16, 16))
    assert means.isfinite().all()
    assert means.dtype == torch.float32
    assert [dtype for dtype, _ in model.first_stage_model.seen] == [torch.float16, torch.float32]
    assert model.first_stage_model.one.dtype == torch.float16


def test_a1111_weights_that_were_lent_can_still_be_written_to(a1111: WebUI) -> None:
    model = a_model()
    a1111.model_data.sd_model = model
    with torch.inference_mode():
        _place().vae().vae.encode(torch.zeros(1, 3, 16, 16))
    assert not model.first_stage_model.one.is_inference()
    with torch.no_grad():
        model.first_stage_model.one.copy_(torch.zeros(1))  # as when another checkpoint is loaded


# A1111's memory


def test_a1111_moves_its_model_out_for_a_network_and_back_whatever_happens(a1111: WebUI) -> None:
    a1111.modules["modules.devices"].device = ELSEWHERE
    a1111.model_data.sd_model = a_model()
    network = torch.nn.Linear(2, 2)

    def task(_: Any) -> None:
        _place().load(network, 1000)
        assert network.weight.device == ELSEWHERE
        a1111.moves.append("work")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        registration.host().work(Silent(), task)
    assert [move for move in a1111.moves if move != "gc"] == ["model to cpu", "work", "model to device"]


def test_a1111_keeps_its_model_where_no_network_comes(a1111: WebUI) -> None:
    a1111.modules["modules.devices"].device = ELSEWHERE
    a1111.model_data.sd_model = a_model()
    registration.host().work(Silent(), lambda _: None)
    assert {*a1111.moves} <= {"gc"}


def test_a1111_moves_its_model_once_and_only_what_is_in_use_comes_back(a1111: WebUI) -> None:
    a1111.modules["modules.devices"].device = ELSEWHERE
    a1111.model_data.sd_model = a_model()
    a1111.model_data.loaded_sd_models = [a1111.model_data.sd_model, a_model()]
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    def task(_: Any) -> None:
        _place().load(one, 0)
        _place().unload(one)
        _place().load(other, 0)

    registration.host().work(Silent(), task)
    assert a1111.moves.count("model to cpu") == 2
    assert a1111.moves.count("model to device") == 1
    assert other.weight.device.type == "meta"


# Forge's VAE


def forge_model(network: Network, channels: int = 4) -> SimpleNamespace:
    vae = SimpleNamespace(
        first_stage_model=network,
        latent_channels=channels,
        vae_dtype=torch.float32,
        device=torch.device("cpu"),
        patcher="the VAE",
        memory_used_encode=lambda shape, dtype: 10,
        memory_used_decode=lambda shape, dtype: 20,
    )
    return SimpleNamespace(forge_objects=SimpleNamespace(vae=vae), sd_checkpoint_info=INFO)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SimpleNamespace(cond_stage_model=None), "No checkpoint is loaded"),
        (None, "No checkpoint is loaded"),
        (forge_model(Network(0.13025)), "scaled by 0.13025"),
        (forge_model(Network(0.3611, 0.1159), 16), "16 channels"),
        (forge_model(Network(0.18215, 0.0609)), "another latent space"),
    ],
)
def test_forge_lends_no_vae_of_other_latents(forge: WebUI, model: Any, words: str) -> None:
    forge.model_data.sd_model = model
    lent = _place().vae()
    assert lent.vae is None
    assert words in lent.reason


def test_forge_lends_the_mean_and_loads_before_each_call(forge: WebUI) -> None:
    forge.model_data.sd_model = forge_model(Network())
    vae = _place().vae().vae
    means = vae.encode(torch.full((2, 3, 16, 24), 0.5))
    assert torch.allclose(means, torch.full((2, 4, 2, 3), 0.5))
    assert vae.decode(means).shape == (2, 3, 16, 24)
    assert forge.moves == ["load 1 for 20", "load 1 for 40"]


def test_reforge_says_its_latents_in_the_model(monkeypatch: pytest.MonkeyPatch, a1111: WebUI) -> None:
    for name in ("ldm_patched", "ldm_patched.modules", "ldm_patched.modules.model_management"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    network = torch.nn.Identity()
    latents = SimpleNamespace(scale_factor=0.13025)
    unet = SimpleNamespace(model=SimpleNamespace(model_config=SimpleNamespace(latent_format=latents)))
    objects = SimpleNamespace(vae=SimpleNamespace(first_stage_model=network), unet=unet)
    a1111.model_data.sd_model = SimpleNamespace(forge_objects=objects)
    assert "0.13025" in _place().vae().reason
    latents.scale_factor = 0.18215
    assert _place().vae().vae is not None


# Forge's memory


class Patcher:
    """Forge's, as far as we use it."""

    def __init__(self, model: Any, load_device: Any, offload_device: Any) -> None:
        self.model, self.load_device = model, load_device
        model.device = load_device  # as Comfy's do


class Stray(torch.nn.Module):  # type: ignore[misc]
    """A parameter whose owner has no `weight`: the manager leaves it behind."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = torch.nn.Parameter(torch.ones(1))
        self.layer = torch.nn.Linear(2, 2)

    device = property(lambda self: next(self.parameters()).device)


def test_forge_registers_a_network_moves_all_of_it_and_lets_it_go(forge: WebUI) -> None:
    forge.modules["backend.patcher.base"].ModelPatcher = Patcher
    manager(forge).get_torch_device = lambda: ELSEWHERE
    network = Stray()

    def task(_: Any) -> None:
        _place().load(network, 5000)
        assert {weight.device for weight in network.parameters()} == {ELSEWHERE}
        assert len(manager(forge).current_loaded_models) == 1
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        registration.host().work(Silent(), task)
    assert forge.moves == ["load 1 for 5000", "unload", "empty"]
    assert manager(forge).current_loaded_models == []


def test_forge_unloads_by_name_and_counts_its_own_models_as_free(forge: WebUI) -> None:
    forge.modules["backend.patcher.base"].ModelPatcher = Patcher
    manager(forge).get_torch_device = lambda: ELSEWHERE
    place, network = _place(), Stray()
    assert place.free_memory() == 10**9
    place.load(network, 0)
    assert place.free_memory() == 10**9 + 4 * (1 + 4 + 2)
    place.unload(network)
    place.unload(network)
    assert forge.moves.count("unload") == 1
    assert place.free_memory() == 10**9
    place.clear(77)
    assert forge.moves[-1] == "free 77"


class Loaded:
    """reForge's entry in its list: the patcher is held weakly, and each is unloaded by itself."""

    def __init__(self, patcher: Any, moves: list[str]) -> None:
        self._patcher = weakref.ref(patcher)
        self._moves = moves

    model = property(lambda self: self._patcher())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loaded) and self.model is other.model

    def model_unload(self) -> None:
        self._moves.append("unload")


def test_reforge_has_no_function_that_unloads_one_network(forge: WebUI) -> None:
    memory, moves = manager(forge), forge.moves
    forge.modules["backend.patcher.base"].ModelPatcher = Patcher
    memory.get_torch_device = lambda: ELSEWHERE
    loaded = memory.current_loaded_models
    memory.load_models_gpu = lambda patchers, memory_required=0: loaded.extend(
        Loaded(patcher, moves) for patcher in patchers
    )
    del memory.unload_model_clones
    place, network, other = _place(), Stray(), Patcher(torch.nn.Module(), ELSEWHERE, ELSEWHERE)
    gone = Patcher(torch.nn.Module(), ELSEWHERE, ELSEWHERE)
    memory.load_models_gpu([other, gone])
    del gone
    place.load(network, 0)
    assert place.free_memory() == 10**9 + 4 * (1 + 4 + 2)
    place.unload(network)
    assert [each.model for each in loaded] == [other, None]
    assert moves == ["unload", "empty"]


def test_devices_have_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from sonic_ext.hosts.devices import device_name

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert device_name("cuda") == "cuda:1"
    assert device_name(torch.device("cuda", 0)) == "cuda:0"
    assert device_name("cpu") == "cpu"
