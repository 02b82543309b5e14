"""The sonic engine in a WebUI: whose VAE, whose memory. The WebUI is a toy, the networks tiny and random."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from spoken import MEDIA, one_second

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
pytest.importorskip("transformers", reason="transformers is an optional part, and not installed")

import tiny_sonic  # noqa: E402

from sonic_ext import engines, weights  # noqa: E402
from sonic_ext.engines.sonic import engine, libraries, output, profile, vaes  # noqa: E402
from sonic_ext.engines.sonic.engine import DiffusionAnimation, DiffusionEngine  # noqa: E402
from sonic_ext.errors import BrokenNumbers, MissingPart, OutOfMemory  # noqa: E402
from sonic_ext.media.audio import read_speech  # noqa: E402
from sonic_ext.media.image import read_portrait  # noqa: E402
from sonic_ext.media.scene import Scene, compose  # noqa: E402
from sonic_ext.ports import HostVae, ImageEncoder  # noqa: E402
from sonic_ext.settings import Settings  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(
        "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
    ),
    pytest.mark.usefixtures("one_thread"),
]
SMALL = Settings(engine="sonic", min_resolution=256, inference_steps=1, seed=7, framing="crop")
SDXL = "The loaded checkpoint's VAE speaks another latent space."


class ToyVae:
    """A `ports.Vae` with the latents' form and no learning: means of squares, and squares of means."""

    title = "the VAE of toy"

    def __init__(self) -> None:
        self.encoded = self.decoded = 0

    def encode(self, pictures: Any) -> Any:
        self.encoded += 1
        grey = torch.nn.functional.avg_pool2d(pictures.mean(1, keepdim=True), 8)
        return grey.expand(-1, 4, -1, -1) / vaes_scale()

    def decode(self, latents: Any) -> Any:
        self.decoded += len(latents)
        large = torch.nn.functional.interpolate(latents[:, :3], scale_factor=8)
        return torch.tanh(large * vaes_scale())


def vaes_scale() -> float:
    return 0.18215


class Toy:
    """A `DeviceManager` that writes down what it lends; its device is the processor."""

    def __init__(self, lent: HostVae, free: int | None = None) -> None:
        self.lent = lent
        self.free = free
        self.there: list[Any] = []
        self.loaded: list[str] = []
        self.cleared: list[int] = []

    def device(self) -> str | None:
        return "cpu"

    def free_memory(self) -> int | None:
        return self.free

    def vae(self) -> HostVae:
        return self.lent

    def image_encoder(self) -> ImageEncoder | None:
        return None

    def clear(self, needed: int) -> None:
        self.cleared.append(needed)

    def load(self, network: Any, working: int) -> None:
        assert working >= 0
        assert {weight.device.type for weight in network.parameters()} == {"cpu"}
        self.there.append(network)
        self.loaded.append(type(network).__name__)

    def unload(self, network: Any) -> None:
        assert any(network is each for each in self.there), "it is not there"
        self.there = [each for each in self.there if each is not network]
        network.to("meta")  # whoever goes on with it fails


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees three frames at once instead of 25."""
    monkeypatch.setattr(profile, "PUBLISHED", replace(profile.PUBLISHED, window=3, shift=1))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every part, Stable Video Diffusion's VAE too."""
    return tiny_sonic.write(tmp_path_factory.mktemp("models"))


@pytest.fixture
def without_vae(models: Path) -> Iterator[Path]:
    """The same without the VAE."""
    vae = models / weights.VAE.local_names[0]
    aside = models.with_name("aside")
    vae.rename(aside)
    yield models
    aside.rename(vae)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_second(tmp_path_factory.mktemp("speech") / "one second.wav")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return compose(read_portrait(MEDIA / "portrait_01.jpg"), SMALL, engine.MULTIPLE)


def made(
    models: Path, scene: Scene, spoken: Path, home: Path, devices: Toy, settings: Settings = SMALL
) -> DiffusionAnimation:
    sound = replace(read_speech(spoken), limit=0.24)
    maker = DiffusionEngine(weights.Search(own=models), home=home, devices=devices)
    return maker.prepare(scene, sound, settings, 4, 7, lambda *_: None)


def test_without_its_own_vae_the_webuis_encodes_and_decodes(
    without_vae: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    vae = ToyVae()
    devices = Toy(HostVae(vae))
    animation = made(without_vae, scene, spoken, tmp_path, devices)
    assert vae.encoded == 1
    assert not devices.there
    assert "UNet" in devices.loaded
    assert not any("Autoencoder" in name for name in devices.loaded)
    assert len(list(animation.frames())) == 4
    assert vae.decoded >= 2
    assert "the VAE of toy encodes and decodes" in " ".join(animation.warnings)
    assert "not installed" in " ".join(animation.warnings)
    animation.close()
    assert not devices.there


def test_its_own_vae_decodes_where_it_is_installed(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    vae = ToyVae()
    devices = Toy(HostVae(vae))
    animation = made(models, scene, spoken, tmp_path, devices)
    frames = animation.frames()
    next(frames)
    assert [type(each).__name__ for each in devices.there] == ["AutoencoderKLTemporalDecoder"]
    animation.close()
    assert not devices.there
    assert (vae.encoded, vae.decoded) == (0, 0)
    assert "flickers least" in " ".join(animation.warnings)


def test_the_webuis_vae_is_the_last_resort_of_a_full_device(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(output.VaeDecoder, "__call__", full)
    vae = ToyVae()
    devices = Toy(HostVae(vae))
    animation = made(models, scene, spoken, tmp_path, devices)
    assert len(list(animation.frames())) == 4
    assert vae.decoded >= 2
    assert "went on, frame by frame" in " ".join(animation.warnings)
    animation.close()
    assert not devices.there


def test_what_fails_leaves_nothing_with_the_webui(
    without_vae: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    class Full(Toy):
        def load(self, network: Any, working: int) -> None:
            super().load(network, working)
            if "UNet" in self.loaded[-1]:
                raise RuntimeError("CUDA out of memory")

    devices = Full(HostVae(ToyVae()))
    with pytest.raises(OutOfMemory):
        made(without_vae, scene, spoken, tmp_path, devices)
    assert not devices.there


def test_a_vae_that_overflows_is_said(without_vae: Path, scene: Scene, spoken: Path, tmp_path: Path) -> None:
    class Overflowing(ToyVae):
        def encode(self, pictures: Any) -> Any:
            return super().encode(pictures) * float("nan")

    with pytest.raises(BrokenNumbers, match="the VAE of toy"):
        made(without_vae, scene, spoken, tmp_path, Toy(HostVae(Overflowing())))


def test_the_forecast_goes_by_the_webuis_memory(models: Path, scene: Scene, tmp_path: Path) -> None:
    devices = Toy(HostVae(ToyVae()), free=3_000_000_000)
    maker = DiffusionEngine(weights.Search(own=models), home=tmp_path, devices=devices)
    cost = maker.forecast(scene, SMALL, 50)
    assert "Stable Video Diffusion's own" in " ".join(cost.warnings)
    devices.free = 700_000_000
    cost = maker.forecast(scene, SMALL, 50)
    assert "0.7 GB are free" in " ".join(cost.warnings)
    assert "since memory is short" in " ".join(cost.warnings)


def test_neither_vae_is_one_error_that_says_both(without_vae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIC_MODELS", str(without_vae))
    with pytest.raises(MissingPart, match="vae is partial") as caught:
        engines.choose("sonic", devices=Toy(HostVae(None, SDXL)))
    assert SDXL in caught.value.message
    assert "sonic weights fetch vae" in caught.value.hint
    assert engines.choose("auto", devices=Toy(HostVae(None, SDXL))).name == "preview"
    assert engines.choose("auto", devices=Toy(HostVae(ToyVae()))).name == "sonic"
    borrowing = Settings(decoder="host")
    assert engines.choose("auto", devices=Toy(HostVae(None, SDXL)), settings=borrowing).name == "preview"


def test_libraries_that_do_not_fit_each_other(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIC_MODELS", str(models))
    assert engines.choose("auto").name == "sonic"
    hollow = ModuleType("diffusers")
    hollow.__spec__ = sys.modules["diffusers"].__spec__
    monkeypatch.setitem(sys.modules, "diffusers", hollow)
    with pytest.raises(MissingPart, match=r"do not load together \(cannot import name") as caught:
        engines.choose("sonic")
    assert "uninstall diffusers" in caught.value.hint
    assert engines.choose("auto").name == "preview"


def test_with_the_webuis_vae_it_does_without_diffusers(
    without_vae: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIC_MODELS", str(without_vae))
    monkeypatch.setitem(sys.modules, "diffusers", None)  # not even to be imported
    devices = Toy(HostVae(ToyVae()))
    assert engines.choose("sonic", devices=devices, settings=Settings(decoder="host")).name == "sonic"
    assert len(list(made(without_vae, scene, spoken, tmp_path, devices).frames())) == 4


def test_a_lent_image_encoder_takes_the_place_of_ours(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lender(Toy):
        title, width = "a lent encoder", tiny_sonic.WIDTH

        def image_encoder(self) -> ImageEncoder | None:
            return self

        def embed(self, pixels: Any) -> Any:
            assert pixels.shape == (1, 3, 224, 224)
            self.loaded.append("embed")
            return torch.linspace(-1, 1, self.width)[None]

    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    (folder / weights.IMAGE_ENCODER.local_names[0]).unlink()
    monkeypatch.setenv("SONIC_MODELS", str(folder))
    with pytest.raises(MissingPart, match="image_encoder"):
        engines.choose("sonic", devices=Toy(HostVae(None)))
    devices = Lender(HostVae(None))
    assert engines.choose("sonic", devices=devices).name == "sonic"
    assert len(list(made(folder, scene, spoken, tmp_path, devices).frames())) == 4
    assert devices.loaded.count("embed") == 1


def test_a_lazy_import_that_fails_says_what_failed_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"Failed to import {name} because of:\nNo module named 'x'")

    monkeypatch.setitem(sys.modules, "transformers", Lazy("transformers"))
    assert libraries.broken() == "The sonic engine's libraries do not load together (No module named 'x')."


def test_a_vae_that_cannot_be_borrowed(models: Path) -> None:
    with pytest.raises(MissingPart, match="another latent space"):
        vaes.choose("host", Toy(HostVae(None, SDXL)))
    with pytest.raises(MissingPart, match="There is none here"):
        vaes.choose("host", None)
    search = weights.Search(own=models)
    assert SDXL in vaes.choose("auto", Toy(HostVae(None, SDXL)), search).note
    assert vaes.choose("auto", None, search).note == ""


@pytest.mark.parametrize(
    ("wanted", "roomy", "decoder"),
    [
        ("auto", True, "temporal"),
        ("auto", False, "host"),
        ("temporal", False, "temporal"),
        ("image", True, "image"),
        ("host", True, "host"),
    ],
)
def test_what_is_chosen(models: Path, wanted: str, roomy: bool, decoder: str) -> None:
    found = vaes.choose(wanted, Toy(HostVae(ToyVae())), weights.Search(own=models), roomy)
    assert found.decoder == decoder
    assert (weights.VAE in found.parts) == (decoder != "host")
