"""The miniature: faces, footage, its networks' training, and the weights that the engine runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: install the extra `train`")
for library in ("diffusers", "transformers"):
    pytest.importorskip(library, reason=f"the miniature needs {library}: install the extra `train`")

from spoken import MEDIA  # noqa: E402

from sonic_ext.engines.sonic.sampling import SCALING  # noqa: E402
from sonic_ext.engines.sonic.schedule import denoised, velocity  # noqa: E402
from sonic_ext.errors import BadInput, BadOutput, Cancelled  # noqa: E402
from sonic_ext.media.mesh import mouth_opening  # noqa: E402
from sonic_ext.nn.unet import Branch  # noqa: E402
from sonic_ext.progress import Silent, Step  # noqa: E402
from sonic_ext.train.corpus.mixtures import Backgrounds  # noqa: E402
from sonic_ext.train.corpus.sounds import by_voice, recordings  # noqa: E402
from sonic_ext.train.miniature import (  # noqa: E402
    codec,
    footage,
    hearing,
    identities,
    judging,
    looking,
    network,
    run,
    sizes,
)
from sonic_ext.train.miniature.recipe import MiniatureRecipe  # noqa: E402

SPEECH = MEDIA.parent / "speech"
TINY = MiniatureRecipe(
    identities=4,
    codec_steps=2,
    hearing_steps=2,
    looking_steps=2,
    network_steps=2,
    buckets_steps=2,
)


@pytest.fixture(scope="module")
def faces() -> list[identities.FaceIdentity]:
    """Those of the portraits for tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "HELD_OUT", 2)
        return identities.read_identities(MEDIA, lambda *_: None)


@pytest.fixture(scope="module")
def clips(faces: list[identities.FaceIdentity]) -> list[footage.FootageClip]:
    """Three seconds of two of them."""
    lines = by_voice(recordings(SPEECH))["flite-slt"] * 3
    said = footage.said(lines, np.random.default_rng(1), seconds=3.2)
    return [footage.draw_clip(face, "flite-slt", said, seed) for seed, face in enumerate(faces[:2])]


def test_pictures_without_one_face_are_passed_over(faces: list[identities.FaceIdentity]) -> None:
    names = [face.name for face in faces]
    assert {f"portrait_0{number}.jpg" for number in range(1, 6)} <= {*names}
    assert "no_person.jpg" not in names
    for face in faces:
        assert face.picture.shape == (identities.CANVAS, identities.CANVAS, 3)
        assert face.box.height == pytest.approx(identities.FACE * identities.CANVAS, abs=1)
        assert np.allclose(face.box.centre, identities.CANVAS / 2, atol=1)


def test_too_few_faces(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has 0 pictures with a face"):
        identities.read_identities(tmp_path, lambda *_: None)


def test_a_morph_lies_between_two_faces(faces: list[identities.FaceIdentity]) -> None:
    first, second = faces[0], faces[1]
    middle = identities.morphed(first, second, 0.5)
    assert np.allclose(middle.landmarks, (first.landmarks + second.landmarks) / 2, atol=1e-3)
    same = identities.morphed(first, first, 0.3)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(same.picture[inner].astype(int) - first.picture[inner]).mean() < 1.5
    away = [np.abs(middle.picture.astype(int) - face.picture).mean() for face in (first, second)]
    apart = np.abs(first.picture.astype(int) - second.picture).mean()
    assert max(away) < apart


def test_everybody_is_learned_from_or_held_out(faces: list[identities.FaceIdentity]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "HELD_OUT", 2)
        learned, aside = identities.split(faces)
        more = [*identities.multiplied(learned, 9, 1)]
    assert len(aside) == 2
    assert not {face.name for face in aside} & {name for face in more for name in face.name.split("+")}
    assert len({face.name for face in more}) == len(more) == 9


def test_footage_opens_its_mouth_as_it_was_told(clips: list[footage.FootageClip]) -> None:
    for clip in clips:
        assert clip.frames.shape == (40, sizes.SIDE, sizes.SIDE, 3)
        assert len(clip.opening) == len(clip.shapes) == 40
        seen = judging.openings(clip.frames, clip.face)
        assert np.corrcoef(seen, clip.opening)[0, 1] > 0.85
        assert 0 <= clip.mouth.top < clip.mouth.bottom <= sizes.SIDE


def test_the_same_seed_draws_the_same_clip(faces: list[identities.FaceIdentity]) -> None:
    said = footage.said(by_voice(recordings(SPEECH))["flite-slt"], np.random.default_rng(1), 1.0)
    one, other = (footage.draw_clip(faces[0], "slt", said, 5) for _ in range(2))
    assert np.array_equal(one.frames, other.frames)
    assert one.strength.tolist() == other.strength.tolist()


def test_footage_survives_being_written(clips: list[footage.FootageClip], tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    footage.write_footage(path, clips)
    for read, clip in zip(footage.read_footage(path), clips, strict=True):
        assert (read.identity, read.voice) == (clip.identity, clip.voice)
        assert read.phonemes == clip.phonemes and len(read.phonemes) > 20
        assert np.array_equal(read.frames, clip.frames)
        assert read.mouth == pytest.approx(clip.mouth)
        assert np.abs(read.sound - clip.sound).max() < 1e-3
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BadInput, match="cut off"):
        [*footage.read_footage(path)]


def test_scaled_latents_vary_by_one_and_decode_alike(clips: list[footage.FootageClip]) -> None:
    torch.manual_seed(1)
    vae = codec.start_codec().eval()
    before = codec.codec_psnr(vae, clips)
    codec.scale_latents(vae, clips)
    latents = torch.cat([codec.encoded(vae, clip.frames[::5]) for clip in clips])
    assert float(SCALING * latents.std()) == pytest.approx(1, rel=1e-3)
    assert codec.codec_psnr(vae, clips) == pytest.approx(before, abs=1e-3)


def test_frames_know_nothing_of_each_other_before_they_are_learned_from_together(
    clips: list[footage.FootageClip],
) -> None:
    """But for the norms over all frames, which equal frames do not notice."""
    torch.manual_seed(1)
    vae = codec.start_codec().eval()
    latents = codec.encoded(vae, clips[0].frames[:1]).repeat(3, 1, 1, 1)
    together = vae.decode(latents, num_frames=3).sample
    assert torch.allclose(
        together, vae.decode(latents[:1], num_frames=1).sample.expand(3, -1, -1, -1), atol=1e-4
    )


def test_the_velocity_that_is_learned_denoises(clips: list[footage.FootageClip]) -> None:
    """With `network_losses`' own formula: a network that gives it has the clean latents back."""
    z, noise, sigma = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor(3.0)
    x = z + sigma * noise
    assert torch.allclose(denoised(x, velocity(x, z, sigma), sigma), z, atol=1e-5)


def test_the_network_starts_with_the_portrait(clips: list[footage.FootageClip]) -> None:
    """Whatever it is shown and hears: what is left to learn is what differs."""
    torch.manual_seed(5)
    latent = torch.randn(1, 4, network.GRID, network.GRID)
    unet = network.MiniatureNetwork().unet
    shown = torch.cat(
        [torch.randn(12, 4, network.GRID, network.GRID), latent.expand(12, -1, -1, -1) / SCALING], 1
    )
    branch = Branch(torch.randn(1, 1, sizes.WIDTH), torch.randn(12, 8, sizes.WIDTH))
    with torch.no_grad():
        found = unet(shown[None], torch.zeros(1), torch.tensor([[12.5, 2.0, 16.0]]), [branch])[0]
    assert torch.allclose(-found, latent.expand_as(found), atol=0.03)


def test_a_few_steps_of_each_network_lower_its_loss(clips: list[footage.FootageClip]) -> None:
    """On one batch again and again, which anything that learns gets right."""
    torch.manual_seed(2)
    talkers = by_voice(recordings(SPEECH))
    backgrounds = Backgrounds(talkers, 1, pieces=1)
    many = [clips[number % 2] for number in range(6)]
    vae, looks, ears = codec.start_codec(), looking.Looking(), hearing.Hearing()
    latent = [
        network.latent_clip(clip, vae.eval(), looks.clip.eval(), ears.whisper, backgrounds, 1)
        for clip in clips
    ] * 2
    drawing, buckets = network.MiniatureNetwork(), network.Buckets()
    cases: list[tuple[Any, Any]] = [
        (vae, lambda: codec.codec_losses(vae, many, 0, 1, moving=False)),
        (vae, lambda: codec.codec_losses(vae, many, 0, 1, moving=True)),
        (looks, lambda: looking.looking_losses(looks, clips, 0, 1)),
        (ears, lambda: hearing.hearing_losses(ears, talkers, backgrounds, 0, 1)),
        (drawing, lambda: network.network_losses(drawing, latent, 0, 1)),
        (buckets, lambda: network.bucket_losses(buckets, latent, 0, 1)),
    ]
    for module, losses in cases:
        optimiser = torch.optim.Adam(module.parameters(), 2e-4)
        seen = []
        for _ in range(4):
            torch.manual_seed(3)
            loss = sum(losses().values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            seen.append(float(loss.detach()))
        assert min(seen[1:]) < 0.98 * seen[0], type(module).__name__


class Stopping(Silent):
    """Stops in a stage, after some steps."""

    def __init__(self, detail: str = "") -> None:
        self.detail, self.asked = detail, False

    def report(self, step: Step) -> None:
        """See `Progress.report`."""
        self.asked = self.asked or (bool(self.detail) and step.detail == self.detail)

    def cancelled(self) -> bool:
        """See `Progress.cancelled`."""
        return self.asked


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of weights, after two steps of each network; stopped twice on the way."""
    output = tmp_path_factory.mktemp("mini") / "set ä"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "HELD_OUT", 2)
        how = {"corpus": SPEECH, "held_out": SPEECH, "threads": 1}
        for detail in ("hearing", "network"):
            with pytest.raises(Cancelled):
                run.train_miniature(output, TINY, MEDIA, **how, progress=Stopping(detail))
        made = run.train_miniature(output, TINY, MEDIA, **how, progress=Silent())
    assert made.folder == output
    return output


def test_a_set_says_what_it_is(trained: Path) -> None:
    about = json.loads((trained / "engine.json").read_text(encoding="utf-8"))
    assert (about["side"], about["window"], about["recipe"]["seed"]) == (sizes.SIDE, 12, 3)
    assert {*about["weights"]} == {path.name for path in trained.iterdir() if path.is_dir()}
    parameters = sum(path.stat().st_size for path in trained.rglob("*.safetensors"))
    assert parameters < 12_000_000


def test_another_recipe_and_another_folder_are_refused(trained: Path, tmp_path: Path) -> None:
    how = {"corpus": SPEECH, "held_out": SPEECH, "threads": 1, "progress": Silent()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "HELD_OUT", 2)
        with pytest.raises(BadInput, match="another"):
            run.train_miniature(trained, replace(TINY, codec_steps=3), MEDIA, **how)
    (tmp_path / "other").mkdir()
    with pytest.raises(BadOutput, match="holds no miniature"):
        run.train_miniature(tmp_path / "other", TINY, MEDIA, **how)


def test_the_engine_draws_with_it(trained: Path, clips: list[footage.FootageClip]) -> None:
    from sonic_ext.settings import Settings

    short = replace(clips[0], frames=clips[0].frames[:14], opening=clips[0].opening[:14])
    short = replace(short, sound=short.sound[: 14 * 1280])
    (judged,) = judging.judge(trained, [short], lambda *_: None, steps=2, settings=Settings())
    assert judged.frames.shape == (14, sizes.SIDE, sizes.SIDE, 3)
    figures = judging.reached([judged])
    assert figures["frames"] == 14
    assert figures["opening of the footage, r"] > 0.8
    assert judging.sheet([judged]).shape[1] == sizes.SIDE * 6


def test_adapters_are_trained_on_a_miniature_and_drawn_with(
    trained: Path, clips: list[footage.FootageClip], tmp_path: Path
) -> None:
    pytest.importorskip("accelerate", reason="adapters need accelerate: install the extra `train`")
    from sonic_ext.settings import Settings
    from sonic_ext.train.adapters.recipe import LEVELS, AdapterRecipe, Objective
    from sonic_ext.train.adapters.run import AdapterPlan, train_adapters

    recipe = AdapterRecipe(steps=2, batch=2, rate=0.5, mean=0.1, objective=Objective(0.1, 0.1, LEVELS))
    data = trained.with_name(trained.name + ".training")
    made = train_adapters(
        data, tmp_path / "own.safetensors", recipe, plan=AdapterPlan(cpu=True), progress=Silent()
    )
    assert made.overlay.about.basis["kind"] == "miniature"
    assert made.overlay.about.data["clips"] == TINY.identities
    assert made.overlay.about.recipe["window"] == sizes.WINDOW
    assert made.trained.losses["semantic"] > 0
    short = replace(clips[0], frames=clips[0].frames[:14], opening=clips[0].opening[:14])
    short = replace(short, sound=short.sound[: 14 * 1280])
    plain, own = (
        judging.drawn_clip(trained, short, 1, 7, Settings(), lambda *_: None, overlay)
        for overlay in (None, made.overlay)
    )
    assert (plain != own).any()
    figures = judging.clip_figures(trained, short, short.frames)
    assert figures["mouth, r"] > 0.8 and figures["jitter"] < 100 and figures["identity"] > 0
    assert np.isfinite(figures["sync"])


def test_an_opening_is_read_from_the_picture(clips: list[footage.FootageClip]) -> None:
    """Of what is drawn for this sound and for another, and of a picture in which nothing moves."""
    clip = clips[0]
    told = judging.picture_opening(clip.frames, clip)
    assert np.corrcoef(told, clip.opening)[0, 1] > 0.9
    assert np.abs(told.mean() - clip.opening.mean()) < 1e-3
    backwards = judging.picture_opening(clip.frames[::-1], clip)
    assert np.allclose(backwards, told[::-1])
    still = judging.picture_opening(np.repeat(clip.portrait[None], 5, axis=0), clip)
    assert np.ptp(still) < 1e-9 and still[0] < np.quantile(told, 0.75)
    brighter = judging.picture_opening(np.minimum(clip.frames, 250) + np.uint8(5), clip)
    assert np.corrcoef(brighter, told)[0, 1] > 0.99


def test_openings_are_those_of_the_landmarks(clips: list[footage.FootageClip]) -> None:
    assert judging.openings(clips[0].frames[:3], clips[0].face).shape == (3,)
    assert mouth_opening(np.zeros((468, 3), np.float32)) == 0
