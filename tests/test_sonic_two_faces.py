"""Two faces with a voice each in the sonic engine: each head is drawn by itself, on its side of the picture.

With the tiny random networks of `tiny_sonic`, which say nothing of looks: what is compared is what is drawn
with what a video of one head alone draws.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from spoken import MEDIA

torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
pytest.importorskip("transformers", reason="transformers is an optional part, and not installed")

import tiny_sonic  # noqa: E402
from small_videos import Pool  # noqa: E402

from sonic_ext import pipeline, weights  # noqa: E402
from sonic_ext.engines.runtime import checkpoints  # noqa: E402
from sonic_ext.engines.sonic import engine, profile  # noqa: E402
from sonic_ext.engines.sonic.engine import DiffusionEngine, SceneHead, heads_of  # noqa: E402
from sonic_ext.errors import BadPortrait, Cancelled  # noqa: E402
from sonic_ext.files.atomic import replace_file  # noqa: E402
from sonic_ext.media.audio import Speech, read_speech  # noqa: E402
from sonic_ext.media.image import read_portrait  # noqa: E402
from sonic_ext.media.scene import Scene, compose  # noqa: E402
from sonic_ext.media.voices import read_voices  # noqa: E402
from sonic_ext.progress import Stage  # noqa: E402
from sonic_ext.provenance.store import Store  # noqa: E402
from sonic_ext.settings import Settings  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(
        "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
    ),
    pytest.mark.usefixtures("one_thread", "short_windows"),
]
TWO_PEOPLE = MEDIA / "two_people.jpg"
SPOKEN = (MEDIA / "short_en_flite_rms_2s3.wav", MEDIA / "speech_en_flite_slt.wav")
SMALL = Settings(engine="sonic", min_resolution=256, inference_steps=1, seed=7, framing="whole")
FPS, COUNT, SEED = 25, 4, 7


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees three frames at once instead of 25: what is tested does not depend on it."""
    monkeypatch.setattr(profile, "PUBLISHED", replace(profile.PUBLISHED, window=3, shift=1))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sonic.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return compose(read_portrait(TWO_PEOPLE), SMALL, engine.MULTIPLE, wanted=2)


def dialogue(first: Path = SPOKEN[0], second: Path = SPOKEN[1]) -> Speech:
    """Two voices, as long as the video."""
    return replace(read_voices(first, second, SMALL), limit=COUNT / FPS)


def stereo(*paths: Path) -> Speech:
    """Two voices in the channels of one file."""
    sounds = [np.concatenate([*read_speech(path).blocks(16000)])[: 16000 * COUNT // FPS] for path in paths]
    return Speech.from_samples(np.stack(sounds, axis=1), 16000)


def drawn(
    models: Path, home: Path, scene: Scene, speech: Speech, settings: Settings = SMALL, seed: int = SEED
) -> NDArray[np.uint8]:
    """All frames of a video, [frames, height, width, 3]."""
    maker = DiffusionEngine(weights.Search(own=models), home=home)
    animation = maker.prepare(scene, speech, settings, COUNT, seed, lambda *_: None)
    frames = np.stack([frame.copy() for frame in animation.frames()])
    animation.forget()
    animation.close()
    return frames


def window(head: SceneHead, scene: Scene) -> NDArray[np.float64]:
    """How much of a head shows at each pixel, [height, width]."""
    assert head.side is not None
    return head.side.share(scene.width, scene.height)


def on_faces(frames: NDArray[np.uint8], scene: Scene, speech: Speech) -> list[NDArray[np.uint8]]:
    """The pixels of each face, where nothing fades."""
    heads = heads_of(scene, speech, SMALL)
    return [frames[:, window(head, scene) == 1] for head in heads]


@pytest.mark.parametrize("framing", ["whole", "crop"])
def test_each_face_is_drawn_as_if_it_were_alone(models: Path, tmp_path: Path, framing: str) -> None:
    settings, speech = replace(SMALL, framing=framing), dialogue()
    scene = compose(read_portrait(TWO_PEOPLE), settings, engine.MULTIPLE, wanted=2)
    both = drawn(models, tmp_path, scene, speech, settings)
    assert both.shape == (COUNT, *scene.picture.shape)
    shown = np.zeros(scene.picture.shape[:2])
    for number, head in enumerate(heads_of(scene, speech, settings)):
        alone = drawn(models, tmp_path, head.scene, head.speech, head.settings, SEED + number)
        own = window(head, scene)
        assert (own == 1).sum() > 0.9 * min(head.scene.face.box.area, (own > 0.5).sum())
        assert np.array_equal(both[:, own == 1], alone[:, own == 1])
        assert np.abs(both[:, own == 1].astype(int) - scene.picture[own == 1]).mean() > 3  # it moves
        shown += own
    line = shown == 0
    assert line.any() and (both[:, line] == scene.picture[line]).all()


def test_no_voice_reaches_the_other_face(models: Path, scene: Scene, tmp_path: Path) -> None:
    one, other = dialogue(), dialogue(SPOKEN[0], SPOKEN[0])
    first, second = (on_faces(drawn(models, tmp_path, scene, speech), scene, one) for speech in (one, other))
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[1], second[1])


def test_channels_are_told_apart(models: Path, scene: Scene, tmp_path: Path) -> None:
    """A file's digest is that of both voices: an unfinished run goes on with its own channel only."""
    settings = replace(SMALL, voices="channels")
    speech = read_voices(stereo(*SPOKEN), None, settings)
    assert len({voice.sha256 for voice in speech.voices}) == 1
    maker = DiffusionEngine(weights.Search(own=models), home=tmp_path)
    assert scene.second is not None
    keys = []
    for each in (scene, replace(scene, face=scene.second, second=scene.face)):
        animation = maker.prepare(each, speech, settings, COUNT, SEED, lambda *_: None)
        keys += [generation.key for generation in animation._generations]
        animation.close()
    assert len(set(keys)) == 4


def test_windows_of_others_are_the_same_to_the_bit(models: Path, tmp_path: Path) -> None:
    """Also where the heads are close together and move less than the settings say."""
    settings = replace(SMALL, motion_scale=1.2)
    scene = compose(read_portrait(TWO_PEOPLE), settings, engine.MULTIPLE, wanted=2)
    assert scene.second is not None
    near = scene.second.scaled(1, 1, 0.4 * (scene.face.box.centre[0] - scene.second.box.centre[0]))
    scene = replace(scene, second=near)
    assert {head.settings.motion_scale < 1.2 for head in heads_of(scene, dialogue(), settings)} == {True}
    found = []
    for pool in (None, Pool(models, settings)):
        maker = DiffusionEngine(weights.Search(own=models), home=tmp_path, window_pool=pool)
        animation = maker.prepare(scene, dialogue(), settings, COUNT, SEED, lambda *_: None)
        found.append([latents[:].clone() for latents in animation._latents])
        animation.forget()
        animation.close()
    assert all(torch.equal(here, there) for here, there in zip(*found, strict=True))


def test_it_goes_on_where_it_stopped(models: Path, scene: Scene, tmp_path: Path) -> None:
    """Between the heads, and in the middle of the second one's steps; steps are counted for both."""
    speech = dialogue()
    whole = drawn(models, tmp_path / "whole", scene, speech, replace(SMALL, inference_steps=2))
    maker = DiffusionEngine(weights.Search(own=models), home=tmp_path / "stopped")
    told: list[tuple[Stage, int, int]] = []

    settings = replace(SMALL, inference_steps=2)

    def prepared(stop_after: float) -> Any:
        def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
            told.append((stage, done, total))
            if stage is Stage.DENOISING and done > stop_after * total:
                raise Cancelled

        return maker.prepare(scene, speech, settings, COUNT, SEED, tick)

    for stop_after in (0.5, 0.75):
        with pytest.raises(Cancelled):
            prepared(stop_after)
    animation = prepared(1.0)
    assert any("Went on with an unfinished run after step 2 of 2" in text for text in animation.warnings)
    assert np.array_equal(np.stack([frame.copy() for frame in animation.frames()]), whole)
    animation.forget()
    animation.close()
    for stage in (Stage.LOOKING_AT_PORTRAIT, Stage.READING_SPEECH, Stage.DENOISING):
        assert {total % 2 for each, _, total in told if each is stage} == {0}
    steps = [done / total for stage, done, total in told if stage is Stage.DENOISING]
    assert max(steps) == 1.0 and min(steps) == 0.0
    assert not [*(tmp_path / "stopped" / "drafts").rglob("*.safetensors")]


def test_a_disk_that_fills_between_the_heads(
    models: Path, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The video is made all the same, and its user told that it could not have been gone on with."""
    settings = replace(SMALL, inference_steps=2)
    whole = drawn(models, tmp_path / "whole", scene, dialogue(), settings)
    maker = DiffusionEngine(weights.Search(own=models), home=tmp_path / "full")
    full = False

    def kept(path: Path, data: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_file(path, data)

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        nonlocal full
        full = full or (stage is Stage.DENOISING and 2 * done > total)

    monkeypatch.setattr(checkpoints, "replace_file", kept)
    animation = maker.prepare(scene, dialogue(), settings, COUNT, SEED, tick)
    assert full and sum("could not be continued" in text for text in animation.warnings) == 1
    assert np.array_equal(np.stack([frame.copy() for frame in animation.frames()]), whole)
    animation.forget()
    animation.close()
    assert not [*(tmp_path / "full" / "drafts").rglob("*.safetensors*")]


def test_a_resumed_pair_is_that_of_one_seed(models: Path, scene: Scene, tmp_path: Path) -> None:
    """Without a seed of one's own each submission draws another: the heads keep to the first one's."""
    settings = replace(SMALL, seed=-1, inference_steps=2)
    maker = DiffusionEngine(weights.Search(own=models), home=tmp_path)

    def begun(speech: Speech, seed: int, stop_after: float = 1.0) -> Any:
        def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
            if stage is Stage.DENOISING and done > stop_after * total:
                raise Cancelled

        return maker.prepare(scene, speech, settings, COUNT, seed, tick)

    def heads(animation: Any) -> list[Any]:
        return [latents[:].clone() for latents in animation._latents]

    for stop_after in (0.3, 0.8):  # in the first head, in the second one
        with pytest.raises(Cancelled):
            begun(dialogue(), 11, stop_after)
        animation = begun(dialogue(), 99)
        assert animation.seed == 11
        resumed = heads(animation)
        animation.forget()
        animation.close()
        animation = begun(dialogue(), 11)
        assert all(map(torch.equal, resumed, heads(animation)))
        animation.forget()
        animation.close()
    with pytest.raises(Cancelled):
        begun(dialogue(), 11, 0.8)
    animation = begun(dialogue(SPOKEN[1], SPOKEN[1]), 99)  # another first voice, another seed
    changed = heads(animation)
    assert animation.seed == 99
    animation.forget()
    animation.close()
    animation = begun(dialogue(SPOKEN[1], SPOKEN[1]), 99)
    assert all(map(torch.equal, changed, heads(animation)))
    animation.close()


def test_a_second_head_costs_as_much_as_the_first(models: Path, scene: Scene, tmp_path: Path) -> None:
    maker = DiffusionEngine(weights.Search(own=models), home=tmp_path)
    one, two = (maker.forecast(each, SMALL, COUNT) for each in (replace(scene, second=None), scene))
    assert two.denoising == pytest.approx(2 * one.denoising)
    assert two.memory > one.memory and two.device_memory == one.device_memory


def test_heads_that_touch_are_refused_before_any_work(models: Path, scene: Scene, tmp_path: Path) -> None:
    near = replace(scene.face, landmarks=scene.face.landmarks + np.float32((scene.face.box.width, 0, 0)))
    touching = replace(scene, second=near)
    maker = DiffusionEngine(weights.Search(own=models), home=tmp_path)
    with pytest.raises(BadPortrait, match="too close together"):
        maker.forecast(touching, SMALL, COUNT)
    with pytest.raises(BadPortrait, match="too close together"):
        maker.prepare(touching, dialogue(), SMALL, COUNT, SEED, lambda *_: None)


def test_the_whole_way(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIC_MODELS", str(models))
    settings = replace(SMALL, duration=0.16, duration_policy="trim", lip_sync_calibration=False)
    store = Store(tmp_path / "home")
    take = pipeline.animate(TWO_PEOPLE, SPOKEN[0], settings, store=store, voice_2=SPOKEN[1])
    assert (take.engine, take.persons, take.frames) == ("sonic", 2, 4)
    assert take.second is not None and take.second.audio_sha256 == read_speech(SPOKEN[1]).sha256
