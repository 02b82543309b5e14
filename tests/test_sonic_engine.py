"""The sonic engine from end to end, with a tiny random set of weights in the published files' form."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE
from PIL import Image
from spoken import MEDIA, one_second

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
pytest.importorskip("transformers", reason="transformers is an optional part, and not installed")

import tiny_sonic  # noqa: E402

from sonic_ext import weights  # noqa: E402
from sonic_ext.cli import main as cli  # noqa: E402
from sonic_ext.engines.runtime import devices, lock  # noqa: E402
from sonic_ext.engines.runtime.checkpoints import Checkpoint, Checkpoints  # noqa: E402
from sonic_ext.engines.sonic import budget as budgets  # noqa: E402
from sonic_ext.engines.sonic import (  # noqa: E402
    engine,
    networks,
    output,
    prepare,
    profile,
    run,
    speech,
    windows,
)
from sonic_ext.engines.sonic.engine import DiffusionAnimation, DiffusionEngine, base_frames  # noqa: E402
from sonic_ext.errors import (  # noqa: E402
    BadSetting,
    BadWeights,
    BrokenNumbers,
    Cancelled,
    MissingPart,
    OutOfMemory,
)
from sonic_ext.fields import Affects, Spec  # noqa: E402
from sonic_ext.files.atomic import temporary_name  # noqa: E402
from sonic_ext.media.audio import read_speech  # noqa: E402
from sonic_ext.media.image import read_portrait  # noqa: E402
from sonic_ext.media.scene import Scene, compose  # noqa: E402
from sonic_ext.progress import Stage  # noqa: E402
from sonic_ext.settings import Settings, describe  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(
        "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
    ),
    pytest.mark.usefixtures("one_thread"),
]
PORTRAIT = MEDIA / "portrait_01.jpg"
CONSENT = ("--consent-face", "synthetic", "--consent-voice", "synthetic")
SMALL = Settings(engine="sonic", min_resolution=256, inference_steps=2, seed=7, framing="crop")
SECONDS = 0.24


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder, in a path that is not ASCII."""
    return tiny_sonic.write(tmp_path_factory.mktemp("models") / "Gewichte 模型")


@pytest.fixture
def found(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line finds the tiny set."""
    monkeypatch.setenv("SONIC_MODELS", str(models))
    return models


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees three frames at once instead of 25: what is tested does not depend on it."""
    monkeypatch.setattr(profile, "PUBLISHED", replace(profile.PUBLISHED, window=3, shift=1))


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of the shipped speech."""
    return one_second(tmp_path_factory.mktemp("speech") / "one second.wav")


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A square around the face of a shipped portrait."""
    return compose(read_portrait(PORTRAIT), SMALL, engine.MULTIPLE)


def quiet(*_: object) -> None:
    """A `Tick` that shows nothing."""


class Stopper:
    """A `Tick` that stops once a number of denoising calls are done."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING and done >= self.after:
            raise Cancelled


def made(
    models: Path,
    scene: Scene,
    spoken: Path,
    settings: Settings = SMALL,
    tick: Any = quiet,
    home: Path | None = None,
    count: int = 6,
) -> DiffusionAnimation:
    search = weights.Search(own=models)
    sound = replace(read_speech(spoken), limit=SECONDS)
    return DiffusionEngine(search, home=home).prepare(scene, sound, settings, count, 7, tick)


def digest(animation: DiffusionAnimation) -> str:
    """Of every frame."""
    found = hashlib.sha256()
    for frame in animation.frames():
        found.update(frame.tobytes())
    animation.forget()
    animation.close()
    return found.hexdigest()


# The whole way


def test_from_the_command_line_through_the_gate(
    found: Path, spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "out put.mp4"
    words = ["animate", str(PORTRAIT), str(spoken), "-o", str(video), "--engine", "sonic", *CONSENT, "--json"]
    words += ["--set", "min_resolution=256", "--set", "inference_steps=1", "--set", "seed=0"]
    assert cli.main(words) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    assert (told["engine"], told["seed"], told["fps"], told["frames"]) == ("sonic", 0, 25, 25)
    assert (told["width"], told["height"]) == (256, 256)
    assert cli.main(["verify", str(video), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "intact"


def test_preflight_tells_the_cost_and_the_way(
    found: Path, spoken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["preflight", str(PORTRAIT), str(spoken), "--engine", "sonic", "--set", "min_resolution=300"]
    assert cli.main([*words, "--set", "framing=crop", "--json"]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    assert (told["engine"], told["width"], told["height"]) == ("sonic", 320, 320)
    assert told["seconds_needed"] > 0
    assert told["memory_needed"] > 1e8
    said = " ".join(told["warnings"])
    assert "320 × 320, not 300 × 300" in said
    assert "one branch at a time" in said


def test_auto_takes_what_is_there(
    models: Path, monkeypatch: pytest.MonkeyPatch, spoken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = []
    for folder in ("", str(models)):
        monkeypatch.setenv("SONIC_MODELS", folder)
        assert cli.main(["preflight", str(PORTRAIT), str(spoken), "--json"]) == 0
        engines.append(json.loads(capsys.readouterr().out)["engine"])
    assert engines == ["preview", "sonic"]


def test_missing_weights_name_the_command(
    tmp_path: Path, spoken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SONIC_MODELS", str(tmp_path))
    output = str(tmp_path / "out.mp4")
    words = ["animate", str(PORTRAIT), str(spoken), "-o", output, "--engine", "sonic", *CONSENT]
    assert cli.main(words) == 4
    said = capsys.readouterr().err
    assert (
        "sonic weights fetch unet audio2token audio2bucket whisper vae image_encoder --accept-licences"
        in said
    )


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("framing", ["crop", "whole"])
@pytest.mark.parametrize("smooth", [True, False])
def test_as_many_frames_as_asked_for(models: Path, spoken: Path, framing: str, smooth: bool) -> None:
    settings = Settings.from_mapping(
        {**SMALL.to_dict(), "framing": framing, "motion_smoothing": smooth, "inference_steps": 1}
    )
    portrait = read_portrait(MEDIA / "wide_threequarter.jpg")
    scene = compose(portrait, settings, engine.MULTIPLE)
    animation = made(models, scene, spoken, settings, count=9)
    frames = [frame.copy() for frame in animation.frames()]
    animation.close()
    assert len(frames) == 9
    assert {frame.shape for frame in frames} == {(scene.height, scene.width, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    repeated = [np.array_equal(one, other) for one, other in zip(frames[::2], frames[1::2], strict=False)]
    if framing == "crop":  # pasting eases colours from frame to frame
        assert all(repeated) is not smooth


@given(
    st.integers(1, 5000),
    st.sampled_from([25, 50]),
    st.booleans(),
)
def test_the_last_sound_is_kept(count: int, fps: int, smooth: bool) -> None:
    base = base_frames(count, Settings(fps=fps, motion_smoothing=smooth))
    times = round(fps / 12.5)
    assert (base - 1) * times < count <= base * times
    # As many as published where the sound is whole frames long: no window more.
    if fps == 25 and count % 2 == 0:
        assert base == windows.Counts.of(min(count, 10_000) * 640).base or count > 10_000


@pytest.mark.usefixtures("short_windows")
def test_one_frame_of_speech_is_enough(models: Path, scene: Scene, spoken: Path) -> None:
    animation = made(models, scene, spoken, replace(SMALL, inference_steps=1), count=1)
    assert len(list(animation.frames())) == 1
    animation.close()


@pytest.mark.usefixtures("short_windows")
def test_encoders_run_once_and_the_network_goes_before_the_decoder_comes(
    models: Path, scene: Scene, spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    for module, name in ((networks.Networks, "embed"), (prepare, "encode_mean"), (speech, "hidden_states")):
        monkeypatch.setattr(module, name, _counted(getattr(module, name), name, calls))
    unets: list[weakref.ref[Any]] = []
    build = networks.Networks.unet

    def watched(self: Any, *arguments: Any) -> Any:
        unet = build(self, *arguments)
        unets.append(weakref.ref(unet))
        return unet

    monkeypatch.setattr(networks.Networks, "unet", watched)
    animation = made(models, scene, spoken)
    assert calls == {"embed": 1, "encode_mean": 1, "hidden_states": 1}
    assert len(unets) == 1
    assert unets[0]() is None
    animation.close()


def _counted(real: Any, name: str, calls: Counter[str]) -> Any:
    def counted(*arguments: Any, **named: Any) -> Any:
        calls[name] += 1
        return real(*arguments, **named)

    return counted


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize(("precision", "apart"), [("bf16", 0.1), ("fp8", 0.4), ("int8", 0.4)])
def test_other_precisions_make_nearly_the_same_frames(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, precision: str, apart: float
) -> None:
    # Random weights and guidance make much of little differences.
    exact, other = (
        _latents(made(models, scene, spoken, replace(SMALL, precision=each), home=tmp_path))
        for each in ("fp32", precision)
    )
    assert other.isfinite().all()
    assert not torch.equal(exact, other)
    assert float((exact - other).norm() / exact.norm()) < apart


def _latents(animation: DiffusionAnimation) -> Any:
    latents = animation._latents[0]
    animation.close()
    return latents


@pytest.mark.usefixtures("short_windows")
def test_moving_the_network_in_layer_by_layer_changes_nothing(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    latents = []
    for memory in ("branches", "offload"):
        settings = replace(SMALL, memory=memory)
        latents.append(_latents(made(models, scene, spoken, settings, home=tmp_path / memory)))
    # To rounding, of which guidance and random weights make much.
    assert float((latents[0] - latents[1]).norm() / latents[0].norm()) < 1e-4


# Framing as published


@pytest.mark.usefixtures("short_windows")
def test_published_framing_animates_all_of_the_picture(models: Path, spoken: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, framing="published", inference_steps=1)
    with Image.open(PORTRAIT) as picture:
        width, height = picture.size
        picture.crop((width // 8, 0, width - width // 8, height)).save(tmp_path / "upright.png")
    scene = compose(read_portrait(tmp_path / "upright.png"), settings, engine.MULTIPLE)
    assert scene.height > scene.width == 256
    animation = made(models, scene, spoken, settings, home=tmp_path, count=3)
    generation = animation._generations[0]
    assert (generation.view.picture is scene.picture, generation.view.box) == (True, None)
    assert generation.budget._size(generation.budget.side) == (scene.height, scene.width)
    assert animation._latents[0].shape[-2:] == (scene.height // 8, scene.width // 8)
    for frame in animation.frames():
        assert frame.shape == scene.picture.shape
        away = np.abs(frame.astype(int) - scene.picture)
        assert all(part.mean() > 3 for part in (away[:16, :16], away[-16:, -16:]))  # nothing is pasted
    animation.close()


def test_published_framing_needs_weights_of_any_size(
    models: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(profile.PUBLISHED, side=128, margin=0.2)
    monkeypatch.setattr(engine, "profile_of", lambda _: small)
    published = replace(SMALL, framing="published")
    with pytest.raises(BadSetting, match="these draw 128 × 128 pixels"):
        DiffusionEngine(weights.Search(own=models)).forecast(scene, published, 6)


# Checkpoints


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("changes", [{}, {"shortcuts": "both"}, {"solver": "unipc"}], ids=str)
def test_a_stopped_run_goes_on_to_the_same_frames(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = replace(SMALL, inference_steps=3, **changes)
    whole = made(models, scene, spoken, settings, home=tmp_path / "one")
    calls = whole._generations[0].budget.plan.count
    want = digest(whole)
    with pytest.raises(Cancelled):
        made(models, scene, spoken, settings, Stopper(2 * calls), tmp_path / "two")
    (kept,) = (tmp_path / "two" / "drafts").glob("*.safetensors")
    again = made(models, scene, spoken, settings, home=tmp_path / "two")
    assert any("Went on with an unfinished run after step 1 of 3" in text for text in again.warnings)
    assert kept.exists()
    assert digest(again) == want
    assert not kept.exists()


@pytest.mark.usefixtures("short_windows")
def test_a_step_that_was_stopped_between_layers_is_taken_again(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "POLL_SECONDS", 0.0)
    seen: list[int] = []

    def stopping(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING:
            seen.append(done)
            if done == total - 1 and seen.count(done) == 20:
                raise Cancelled

    want = digest(made(models, scene, spoken, home=tmp_path / "one"))
    with pytest.raises(Cancelled):
        made(models, scene, spoken, tick=stopping, home=tmp_path / "two")
    again = made(models, scene, spoken, home=tmp_path / "two")
    assert any("unfinished run after step 1 of 2" in text for text in again.warnings)
    assert digest(again) == want


@pytest.mark.usefixtures("short_windows")
def test_the_next_step_does_not_wait_for_the_disk(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But the decoder does for the last one: what is stopped there goes on there."""
    begun, kept = threading.Event(), []
    save = Checkpoints.save

    def slow(self: Checkpoints, key: str, checkpoint: Checkpoint) -> None:
        last = checkpoint.done == SMALL.inference_steps
        assert last or begun.wait(PATIENCE), "the next step did not begin"
        save(self, key, checkpoint)
        kept.append(checkpoint.done)

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if stage is Stage.DENOISING and done > total // SMALL.inference_steps:
            begun.set()

    monkeypatch.setattr(Checkpoints, "save", slow)
    animation = made(models, scene, spoken, tick=tick, home=tmp_path)
    assert kept == [1, 2]
    animation.close()


@pytest.mark.usefixtures("short_windows")
def test_a_run_stopped_while_decoding_goes_on_there(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    first = made(models, scene, spoken, home=tmp_path)
    next(first.frames())
    first.close()
    told: list[str] = []
    again = made(models, scene, spoken, tick=lambda stage, *_: told.append(stage), home=tmp_path)
    assert "denoising" not in told
    assert len(list(again.frames())) == 6
    again.close()


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"dynamic_scale": 1.1}, {"audio_guidance": 5.0}, {"inference_steps": 3}]
)
def test_another_video_begins_anew(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(Cancelled):
        made(models, scene, spoken, SMALL, Stopper(2), tmp_path)
    other = made(models, scene, spoken, replace(SMALL, **change), home=tmp_path)
    assert not any("unfinished" in text for text in other.warnings)
    other.close()


SHORT = replace(SMALL, inference_steps=3)
"""As many as every solver takes."""


def _other(name: str, spec: Spec) -> Any:
    """A legal value that is not the setting's own."""
    written = {"label_text": "AI合成", "label_off_reason": "a film", "duration": 1.0, "adapters": "others"}
    if name in written or spec.length:
        return written.get(name, (10.0, 20.0, 30.0, 40.0)[: spec.length])
    if spec.kind is bool:
        return not getattr(SMALL, name)
    values = (*spec.choices, spec.low, spec.high)
    return next(each for each in values if each not in (None, "off", getattr(SMALL, name)))


@pytest.fixture(scope="module")
def small_generation(
    models: Path, scene: Scene, spoken: Path, tmp_path_factory: pytest.TempPathFactory
) -> engine.Generation:
    home = tmp_path_factory.mktemp("key")
    animation = made(models, scene, spoken, replace(SMALL, inference_steps=1), home=home)
    animation.close()
    return replace(animation._generations[0], settings=SHORT)


@pytest.mark.parametrize("name", describe())
def test_a_checkpoint_is_keyed_by_every_setting_that_affects_latents(
    small_generation: engine.Generation, name: str
) -> None:
    """Of one scene and one speech; what affects these is in the key by what it made of them."""
    spec = describe()[name]
    settings = replace(SHORT, **{name: _other(name, spec)})
    changed = replace(
        small_generation, settings=settings, count=small_generation.count * settings.fps // SMALL.fps
    )
    resized = name == "min_resolution"  # the head is drawn at another size
    assert (changed.key != small_generation.key) is (bool(spec.affects & Affects.LATENTS) or resized)


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize(
    "change", [{"framing": "whole"}, {"face_box": (200, 150, 560, 540)}, {"expand_ratio": 0.3}]
)
def test_a_checkpoint_is_keyed_by_picture_and_face(
    small_generation: engine.Generation, change: dict[str, Any]
) -> None:
    settings = replace(SMALL, **change)
    scene = compose(read_portrait(PORTRAIT), settings, engine.MULTIPLE)
    assert replace(small_generation, settings=settings, scene=scene).key != small_generation.key


@pytest.mark.usefixtures("short_windows")
def test_an_unfinished_run_keeps_its_drawn_seed(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    settings = replace(SMALL, seed=-1)
    search, sound = weights.Search(own=models), replace(read_speech(spoken), limit=SECONDS)
    maker = DiffusionEngine(search, home=tmp_path)
    with pytest.raises(Cancelled):
        maker.prepare(scene, sound, settings, 6, 111, Stopper(2))
    again = maker.prepare(scene, sound, settings, 6, 222, quiet)
    assert again.seed == 111
    again.close()


def test_a_killed_process_goes_on(models: Path, spoken: Path, tmp_path: Path) -> None:
    """One that ends itself as soon as it has kept a step, as a kill would."""
    killed = (
        "import os, sys; from sonic_ext.engines.runtime.checkpoints import Checkpoints\n"
        "save = Checkpoints.save\n"
        "Checkpoints.save = lambda *given: (save(*given), os._exit(9))\n"
        "from sonic_ext.cli.main import main; sys.exit(main())"
    )
    settings = ["min_resolution=256", "inference_steps=2", "seed=5", "duration=0.2", "duration_policy=trim"]
    words = ["animate", str(PORTRAIT), str(spoken), "--engine", "sonic", *CONSENT, "--json"]
    words += [word for each in settings for word in ("--set", each)]
    home = tmp_path / "home"
    places = {"SONIC_MODELS": str(models), "SONIC_HOME": str(home), "OMP_NUM_THREADS": "1"}

    def run(*program: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, *program, *words, "-o", str(tmp_path / "out.mp4")]
        return subprocess.run(line, env=os.environ | places, capture_output=True, text=True, check=False)

    first = run("-c", killed)
    assert first.returncode == 9, first.stderr
    assert _done(home) == 1
    second = run("-m", "sonic_ext")
    told = json.loads(second.stdout)
    assert any("Went on with an unfinished run" in text for text in told["warnings"]), second.stderr
    assert not (home / "sonic-cpu.lock").exists() or _free(home)


def _done(home: Path) -> int:
    """Steps of the only checkpoint, 0 before there is one."""
    for path in (home / "drafts").glob("*.safetensors"):
        checkpoint = Checkpoints(home).load(path.stem)
        return checkpoint.done if checkpoint else 0
    return 0


def _free(home: Path) -> bool:
    with lock.device_lock(home, "cpu", Stopper(10**9)):
        return True


def test_a_damaged_checkpoint_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    history = tuple(torch.full((1, 4, 2, 2), float(number)) for number in range(12))
    checkpoints.save("key", Checkpoint(torch.ones(1, 4, 2, 2), 3, 9, "branches", history))
    loaded = checkpoints.load("key")
    assert loaded is not None
    assert (loaded.done, loaded.seed, loaded.mode) == (3, 9, "branches")
    assert torch.equal(loaded.latents, torch.ones(1, 4, 2, 2))
    assert len(loaded.history) == 12
    assert all(torch.equal(one, other) for one, other in zip(loaded.history, history, strict=True))
    path = tmp_path / "drafts" / "key.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    assert checkpoints.load("key") is None
    unfinished = temporary_name(path)
    unfinished.write_bytes(b"of a process that was killed")
    checkpoints.discard("key")
    checkpoints.discard("key")
    assert not unfinished.exists()
    assert not path.exists()


def test_old_checkpoints_are_deleted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for name in ("old", "new"):
        checkpoints.save(name, Checkpoint(torch.ones(1), 1, 1, "branches"))
    os.utime(tmp_path / "drafts" / "old.safetensors", (0, 0))
    checkpoints.expire()
    assert checkpoints.load("old") is None
    assert checkpoints.load("new") is not None


# Memory


def _out_of_memory() -> Exception:
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.usefixtures("short_windows")
def test_less_memory_is_tried_and_said(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = digest(made(models, scene, spoken, replace(SMALL, memory="branches"), home=tmp_path / "one"))
    real, denied = run.Denoiser.__call__, []

    def tight(self: Any, *arguments: Any) -> Any:
        if self.batched:
            denied.append(1)
            raise _out_of_memory()
        return real(self, *arguments)

    monkeypatch.setattr(run.Denoiser, "__call__", tight)
    animation = made(models, scene, spoken, replace(SMALL, memory="together"), home=tmp_path / "two")
    assert denied == [1]
    assert any("Memory ran out; went on with one branch at a time" in text for text in animation.warnings)
    assert digest(animation) == want


@pytest.mark.usefixtures("short_windows")
def test_where_nothing_smaller_is_left_the_largest_size_is_named(
    models: Path, scene: Scene, spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise _out_of_memory()

    monkeypatch.setattr(run.Denoiser, "__call__", full)
    with pytest.raises(OutOfMemory, match=r"Memory ran out at 256 × 256 on the processor"):
        made(models, scene, spoken)


@pytest.mark.usefixtures("short_windows")
def test_decoding_goes_on_with_fewer_frames(
    models: Path, scene: Scene, spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = output.VaeDecoder.__call__

    def tight(self: Any, latents: Any) -> Any:
        if len(latents) > 2:
            raise _out_of_memory()
        return real(self, latents)

    monkeypatch.setattr(output.VaeDecoder, "__call__", tight)
    animation = made(models, scene, spoken, replace(SMALL, inference_steps=1))
    assert len(list(animation.frames())) == 6
    assert [text for text in animation.warnings if "decoding" in text] == [
        "Memory ran out while decoding; went on with 4 frames at once.",
        "Memory ran out while decoding; went on with 2 frames at once.",
    ]
    animation.close()


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), True),
        (RuntimeError("HIP out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_memory(error: Exception, is_memory: bool) -> None:
    assert devices.is_out_of_memory(error) is is_memory


CARD = devices.Hardware("cuda:0", torch.float16, title="a card")


def published(side: int = 512, hardware: devices.Hardware = CARD) -> budgets.Budget:
    return budgets.Budget(hardware, weights.UNET.shapes, side, windows.Plan(125), 25)


def test_memory_falls_from_mode_to_mode_and_grows_with_size() -> None:
    needs = [published().device_bytes(mode, chunk=1) for mode in budgets.MEMORY_MODES]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs)
    for mode in budgets.MEMORY_MODES:
        sizes = [published(side).device_bytes(mode) for side in range(256, 1025, 64)]
        assert sizes == sorted(sizes)


def test_auto_takes_the_first_mode_that_fits_and_says_why() -> None:
    plan = published()
    for mode in budgets.MEMORY_MODES:
        free = int(plan.device_bytes(mode, chunk=1) / budgets.MARGIN) + 10**6
        memory_plan = plan.memory_plan("auto", free)
        assert memory_plan.mode == mode
        assert f"{free / 1e9:.1f} GB are free" in memory_plan.note
        assert plan.warning(memory_plan, free) == ""
    assert plan.memory_plan("branches", 0) == budgets.MemoryPlan("branches")


def test_auto_decodes_fewer_frames_at_once_where_memory_is_short() -> None:
    plan = published()
    for chunk in budgets.CHUNKS:
        free = int(plan.device_bytes("offload", chunk) / budgets.MARGIN) + 10**6
        memory_plan = plan.memory_plan("auto", free)
        assert memory_plan.chunk >= chunk
        assert ("decoded at once" in memory_plan.note) is (memory_plan.chunk < 8)
        assert plan.warning(memory_plan, free) == ""


def test_what_does_not_fit_names_the_largest_size_that_does() -> None:
    plan = published(1024)
    free = int(published(768).device_bytes("offload", 1) / budgets.MARGIN) + 10**6
    assert "min_resolution=768" in plan.warning(budgets.MemoryPlan("offload", 1), free)
    assert "min_resolution=768" in plan.refusal(free).hint
    assert "engine=preview" in plan.refusal(10**6).hint


def test_the_forecast_follows_steps_and_length() -> None:
    plan = published()
    twice = replace(plan, steps=50)
    assert plan.seconds(1e14) * 1.8 < twice.seconds(1e14) < plan.seconds(1e14) * 2
    # 10 s of video are 12.5 PFLOP in the UNet
    assert 0.8 < plan.seconds(1.0) * budgets.EFFICIENCY["other"] / 12.9e15 < 1.2
    assert plan.denoising_operations > 10 * plan.decoding_operations > 0
    short, even = (replace(plan, plan=windows.Plan(38, even=even)) for even in (False, True))
    assert even.denoising_operations == pytest.approx(short.denoising_operations * 38 / 50)


def test_a_forecast_for_a_card_says_that_it_was_not_measured() -> None:
    assert "not measured on one" in published().caveat
    assert published(hardware=devices.Hardware("cpu", torch.float32)).caveat == ""


# Numbers and files that go wrong


@pytest.mark.usefixtures("short_windows")
def test_broken_numbers_name_step_and_setting(
    models: Path, scene: Scene, spoken: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = run.Denoiser.__call__

    def broken(self: Any, x: Any, moment: Any, *more: Any) -> Any:
        v = real(self, x, moment, *more)
        return v * math.nan if moment.step == 1 else v

    monkeypatch.setattr(run.Denoiser, "__call__", broken)
    with pytest.raises(BrokenNumbers, match=r"after step 2 of 2 \(precision=auto: float32\)"):
        made(models, scene, spoken, home=tmp_path)
    assert _done(tmp_path) == 1


def test_a_portrait_that_overflows_is_encoded_in_float32(
    models: Path, scene: Scene, spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, kinds = prepare.encode_mean, []

    def overflowing(vae: Any, pixels: Any) -> Any:
        kinds.append(pixels.dtype)
        mean = real(vae, pixels)
        return mean if pixels.dtype is torch.float32 else mean * math.inf

    monkeypatch.setattr(prepare, "encode_mean", overflowing)
    monkeypatch.setattr(profile, "PUBLISHED", replace(profile.PUBLISHED, window=2, shift=1))
    animation = made(models, scene, spoken, replace(SMALL, precision="bf16", inference_steps=1))
    assert kinds == [torch.bfloat16, torch.float32]
    assert any("encoded the portrait in float32" in text for text in animation.warnings)
    animation.close()


def test_half_precision_needs_a_card() -> None:
    with pytest.raises(BadSetting, match="precision=fp16"):
        devices.hardware("fp16", "cpu")
    assert devices.hardware("auto", "cpu").dtype is torch.float32
    assert devices.hardware("bf16", "cpu").dtype is torch.bfloat16
    assert devices.hardware("fp8", "cpu").stored == 1
    with pytest.raises(BadSetting, match="8 bits"):
        devices.hardware("fp8", "mps")
    assert devices.hardware("int8", "cpu").narrow == "int8"


def test_bf16_needs_a_card_that_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)  # emulated
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an old card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(BadSetting, match="an old card cannot compute in bf16"):
        devices.hardware("bf16", "cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert devices.hardware("bf16", "cuda:0").dtype is torch.bfloat16


def test_speed_is_that_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices.PROBE, "cpu", 256)
    asked = []
    products = devices._products
    monkeypatch.setattr(devices, "_products", lambda one, n: asked.append(n) or products(one, n))
    found = devices.speed.__wrapped__("cpu", torch.float32)
    assert 1e7 < found < 1e13
    assert asked[:2] == [1, 1]
    assert 2 <= asked[2] <= 50


def test_a_file_of_another_form_is_named(models: Path, scene: Scene, spoken: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    path = folder / weights.UNET.local_names[0]
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith("attn2.processor.to_k_ip.0.weight"))
    tensors[key] = tensors[key][:, :5].contiguous()
    save_file(tensors, path)
    with pytest.raises(BadWeights, match=r"to_k_ip"):
        made(folder, scene, spoken)


# Turns


def test_one_video_at_a_time_on_a_device(tmp_path: Path) -> None:
    waited: list[str] = []

    def impatient(stage: Stage, done: int, total: int, detail: str = "") -> None:
        waited.append(stage)
        raise Cancelled

    with lock.device_lock(tmp_path, "cuda:0", quiet):
        with pytest.raises(Cancelled), lock.device_lock(tmp_path, "cuda:0", impatient):
            raise AssertionError("two at once")
        with lock.device_lock(tmp_path, "cpu", quiet):
            pass
    assert waited == ["waiting for another video on this device"]
    with lock.device_lock(tmp_path, "cuda:0", quiet):
        pass


@pytest.mark.usefixtures("short_windows")
def test_the_turn_lasts_until_the_animation_is_closed(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    animation = made(models, scene, spoken, replace(SMALL, inference_steps=1), home=tmp_path)
    with pytest.raises(Cancelled):
        made(models, scene, spoken, tick=_impatient, home=tmp_path)
    animation.close()
    animation.close()
    made(models, scene, spoken, tick=_impatient, home=tmp_path).close()


def _impatient(stage: Stage, done: int, total: int, detail: str = "") -> None:
    if stage.startswith("waiting"):
        raise Cancelled


@pytest.mark.usefixtures("short_windows")
def test_unloading_while_frames_are_drawn_stops_politely(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    animation = made(models, scene, spoken, replace(SMALL, inference_steps=1), home=tmp_path)
    frames = animation.frames()
    next(frames)
    caught: list[BaseException] = []
    began, closed = threading.Event(), threading.Event()

    def draw() -> None:
        began.set()
        closed.wait(PATIENCE)
        try:
            list(frames)
        except Cancelled as error:
            caught.append(error)

    drawing = threading.Thread(target=draw)
    drawing.start()
    began.wait(PATIENCE)
    animation.close()
    closed.set()
    drawing.join(PATIENCE)
    assert list(frames) == []
    with lock.device_lock(tmp_path, "cpu", _impatient):
        pass


@pytest.mark.usefixtures("short_windows")
def test_a_failed_run_gives_its_turn_back(models: Path, scene: Scene, spoken: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        made(models, scene, spoken, tick=Stopper(0), home=tmp_path)
    with lock.device_lock(tmp_path, "cpu", _impatient):
        pass


@pytest.mark.usefixtures("short_windows")
def test_the_image_decoder_draws_every_frame_by_itself(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    tiny_sonic.write_image_vae(folder)
    seen: list[bool] = []
    real = output.VaeDecoder.__init__

    def watched(self: Any, vae: Any, temporal: bool = True) -> None:
        seen.append(temporal)
        real(self, vae, temporal)

    monkeypatch.setattr(output.VaeDecoder, "__init__", watched)
    settings = replace(SMALL, decoder="image", inference_steps=1)
    animation = made(folder, scene, spoken, settings, home=tmp_path)
    assert len(list(animation.frames())) == 6
    assert seen == [False]
    animation.close()


def test_missing_image_decoder_is_said_before_any_work(
    models: Path, scene: Scene, spoken: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingPart, match="image_vae") as caught:
        made(models, scene, spoken, replace(SMALL, decoder="image"), home=tmp_path)
    assert "sonic weights fetch image_vae" in caught.value.hint
