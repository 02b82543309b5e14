"""Adapters: latent clips, losses, steps that stop and go on, and the overlay that the engine takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: install the extra `train`")
for library in ("diffusers", "transformers", "accelerate"):
    pytest.importorskip(library, reason=f"adapters need {library}: install the extra `train`")

import miniature_corpus  # noqa: E402
import tiny_sonic  # noqa: E402
from spoken import MEDIA  # noqa: E402

from sonic_ext import weights  # noqa: E402
from sonic_ext.cli.main import main  # noqa: E402
from sonic_ext.engines.runtime.devices import Hardware  # noqa: E402
from sonic_ext.engines.sonic.networks import Networks  # noqa: E402
from sonic_ext.errors import (  # noqa: E402
    BadInput,
    BadSetting,
    BadWeights,
    Cancelled,
    ConsentExpired,
    ConsentMissing,
    Failed,
    MissingPart,
)
from sonic_ext.files.digest import sha256_of  # noqa: E402
from sonic_ext.progress import Silent, Stage, Step  # noqa: E402
from sonic_ext.provenance.ledger import Ledger  # noqa: E402
from sonic_ext.train.adapters import training  # noqa: E402
from sonic_ext.train.adapters.basis import LegalBasis, basis_of  # noqa: E402
from sonic_ext.train.adapters.clips import (  # noqa: E402
    AdapterCorpus,
    ClipFiles,
    TrainingClip,
    read_clip,
    write_clip,
)
from sonic_ext.train.adapters.footage import Framing, encode_videos  # noqa: E402
from sonic_ext.train.adapters.memory import TrainingMemory  # noqa: E402
from sonic_ext.train.adapters.network import load_network  # noqa: E402
from sonic_ext.train.adapters.recipe import LEVELS, AdapterRecipe, Objective  # noqa: E402
from sonic_ext.train.adapters.run import AdapterPlan, train_adapters  # noqa: E402
from sonic_ext.train.adapters.training import AdapterTrainer  # noqa: E402
from sonic_ext.train.phonemes import Phoneme  # noqa: E402
from sonic_ext.weights.overlays import Overlay, find_overlay, read_overlay  # noqa: E402

SIDE = 128
ALL = Objective(adversarial=0.1, contrast=0.1, levels=LEVELS)
RECIPE = AdapterRecipe(steps=3, batch=2, rate=1e-3, window=6, objective=ALL, mean=0.5)
STATED = "people who agreed, for tests"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny weights."""
    return tiny_sonic.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people who talk, and one clip that is cut off."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(2):
        frames, sound = miniature_corpus.talking(number)
        whole = miniature_corpus.write_video(folder / f"person{number}" / "talk.mp4", frames, sound)
    (folder / "person1" / "half.mp4").write_bytes(whole.read_bytes()[:5000])
    return folder


@pytest.fixture(scope="module")
def prepared(models: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of the videos."""
    folder = tmp_path_factory.mktemp("prepared") / "clips"
    remarks = encode_videos(videos, folder, networks_of(models), Framing(SIDE, 0.18), lambda *_: None)
    assert [(each.name, each.reason) for each in remarks] == [("person1/half.mp4", "damaged")]
    return folder


def networks_of(models: Path) -> Networks:
    paths = weights.prepare(weights.Search(own=models))
    return Networks(paths, Hardware("cpu", torch.float32), lambda *_: None)


@pytest.fixture(scope="module")
def corpus(prepared: Path) -> AdapterCorpus:
    """The clips in memory, with something said in them."""
    said = tuple(Phoneme(name, 0.1 * place, 0.1 * place + 0.1) for place, name in enumerate("hɛləʊ wɜːld"))
    clips = [replace(clip, phonemes=said) for clip in ClipFiles(prepared)]
    return AdapterCorpus.of(clips, LegalBasis("statement", STATED))


def trainer_of(models: Path, corpus: AdapterCorpus, recipe: AdapterRecipe = RECIPE) -> AdapterTrainer:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=recipe.accumulate)
    return AdapterTrainer(load_network(networks_of(models)), corpus, recipe, accelerator)


def silent(step: int, total: int, found: Mapping[str, float]) -> None:
    """Shows nothing."""


class StoppingAt(Silent):
    """Stops after a step of the training."""

    def __init__(self, step: int) -> None:
        self.step, self.asked = step, False

    def report(self, step: Step) -> None:
        """See `Progress.report`."""
        self.asked = self.asked or (step.stage is Stage.TRAINING and step.done == self.step)

    def cancelled(self) -> bool:
        """See `Progress.cancelled`."""
        return self.asked


# Clips


def test_videos_become_clips(prepared: Path) -> None:
    clips = ClipFiles(prepared)
    assert [each.speaker for each in clips.entries()] == [clip.speaker for clip in clips]
    assert {clip.speaker for clip in clips} == {"person0", "person1"}
    for clip in clips:
        assert clip.latents.shape == (len(clip), 4, SIDE // 8, SIDE // 8)
        assert len(clip) == int(miniature_corpus.SECONDS * 12.5)
        assert all(len(states) == 4 * len(clip) for states in clip.states)
        left, top, right, bottom = clip.mouth
        assert 0 <= left < right <= SIDE // 8 and SIDE // 16 <= top < bottom <= SIDE // 8


def test_a_video_that_is_done_is_not_read_again(models: Path, videos: Path, prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.iterdir()}
    remarks = encode_videos(videos, prepared, networks_of(models), Framing(SIDE, 0.18), lambda *_: None)
    assert [each.reason for each in remarks] == ["damaged"]
    assert {path: path.stat().st_mtime_ns for path in prepared.iterdir()} == before


def test_a_clip_that_is_cut_off_is_refused(corpus: AdapterCorpus, tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    write_clip(path, corpus.clips[0])
    assert read_clip(path).phonemes == corpus.clips[0].phonemes
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="cut off"):
        read_clip(path)
    with pytest.raises(BadInput, match="cut off"):
        ClipFiles(tmp_path).entries()


def test_clips_shorter_than_a_window(corpus: AdapterCorpus) -> None:
    with pytest.raises(BadInput, match="None of 2 clips has the 400 frames"):
        corpus.usable(400)


# The legal basis


def test_people_are_not_learned_from_without_a_basis(tmp_path: Path) -> None:
    with pytest.raises(ConsentMissing, match=r"has no consent\.json"):
        basis_of(tmp_path)
    assert basis_of(tmp_path, " a contract ").text == "a contract"
    path = tmp_path / "consent.json"
    path.write_text(json.dumps({"face": "authorised", "voice": "self"}))
    assert basis_of(tmp_path).text == "face authorised, voice self"
    path.write_text(json.dumps({"face": "authorised", "voice": "self", "expires": "2001-01-01"}))
    with pytest.raises(ConsentExpired):
        basis_of(tmp_path)
    path.write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        basis_of(tmp_path)


# Losses


@pytest.mark.parametrize(
    "wrong",
    [
        {"adversarial": 1.5},
        {"contrast": -0.1},
        {"contrast": float("nan")},
        {"levels": ("frame", "words")},
    ],
)
def test_weights_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Objective(**wrong)


def test_each_loss_reaches_the_adapters_and_nothing_else_of_the_network(
    models: Path, corpus: AdapterCorpus
) -> None:
    trainer = trainer_of(models, corpus)
    adapters = dict(trainer.network.adapters())
    held = [weight for weight in trainer.network.parameters() if not weight.requires_grad]
    assert len(held) + len(adapters) == len([*trainer.network.parameters()])
    for name in ("reconstruction", "adversarial", *LEVELS):
        losses = trainer.losses(trainer.draw(0, 0), adversarial=True)
        assert all(value.isfinite() for value in losses.values())
        trainer.optimizer.zero_grad()
        losses[name].backward()
        reached = [key for key, weight in adapters.items() if weight.grad is not None and weight.grad.any()]
        assert any(key.startswith("audio2token.") for key in reached), name
        # Style compares what is heard; the rest also sees what the UNet makes of it.
        assert any(key.startswith("unet.") for key in reached) == (name != "style"), name
        assert all(weight.grad is None for weight in held)
        assert all(weight.grad is None for weight in trainer.discriminator.parameters())


def test_the_total_is_the_weighted_sum(models: Path, corpus: AdapterCorpus) -> None:
    trainer = trainer_of(models, corpus)
    one = torch.tensor(1.0)
    losses = {"reconstruction": one, "adversarial": one, "discriminator": one, "frame": one, "style": one}
    assert float(trainer.total(losses)) == pytest.approx(1 + 0.1 + 2 * 0.1)
    assert float(trainer.total({"frame": one})) == 1


def test_mouths_of_denoised_latents_do_not_teach_their_encoder(models: Path, corpus: AdapterCorpus) -> None:
    trainer = trainer_of(models, corpus)
    windows = trainer.draw(0, 0)
    latents = windows.clean.clone().requires_grad_(True)
    trainer.heads.see(windows.mouths_of(latents, 8), learn=False).sum().backward()
    assert latents.grad is not None and latents.grad.any()
    assert all(weight.grad is None for weight in trainer.heads.seen.parameters())


# Steps


def held_hash(trainer: AdapterTrainer) -> dict[str, str]:
    """Of every weight of the network that is not trained."""
    from sonic_ext.weights.overlays import tensors_sha256

    names = {name for name, weight in trainer.network.named_parameters() if not weight.requires_grad}
    state = trainer.network.state_dict()
    return {name: tensors_sha256({name: state[name]}) for name in names}


def test_steps_change_the_adapters_alone(models: Path, corpus: AdapterCorpus, tmp_path: Path) -> None:
    trainer = trainer_of(models, corpus)
    before, held = trainer.network.adapter_values(), held_hash(trainer)
    before = {name: value.clone() for name, value in before.items()}
    made = trainer.train(tmp_path / "state.pt", silent)
    assert held_hash(trainer) == held
    changed = [
        name for name, value in trainer.network.adapter_values().items() if (value != before[name]).any()
    ]
    assert changed == [*before]
    assert {*made.losses} >= {"reconstruction", "adversarial", *LEVELS}


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    models: Path, corpus: AdapterCorpus, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, steps=4, pretrain=2, accumulate=2)
    whole = trainer_of(models, corpus, recipe).train(tmp_path / "whole.pt", silent)

    def stopping(step: int, total: int, found: Mapping[str, float]) -> None:
        if step in (1, 4):
            raise Cancelled

    for _ in range(2):
        with pytest.raises(Cancelled):
            trainer_of(models, corpus, recipe).train(tmp_path / "parts.pt", stopping)
    parts = trainer_of(models, corpus, recipe).train(tmp_path / "parts.pt", silent)
    assert parts.losses == whole.losses
    assert all(torch.equal(parts.adapters[name], value) for name, value in whole.adapters.items())


def test_a_state_of_another_training_and_a_damaged_one(
    models: Path, corpus: AdapterCorpus, tmp_path: Path
) -> None:
    state = tmp_path / "state.pt"
    trainer_of(models, corpus, replace(RECIPE, steps=1)).train(state, silent)
    with pytest.raises(BadInput, match="belongs to a training with other settings"):
        trainer_of(models, corpus, replace(RECIPE, steps=2)).train(state, silent)
    state.write_bytes(state.read_bytes()[:2000])
    with pytest.raises(BadInput, match="cannot be read"):
        trainer_of(models, corpus, replace(RECIPE, steps=1)).train(state, silent)


def test_a_loss_that_is_no_number(models: Path, corpus: AdapterCorpus, tmp_path: Path) -> None:
    clips = [replace(clip, latents=clip.latents * float("nan")) for clip in corpus.clips]
    trainer = trainer_of(models, AdapterCorpus(clips, corpus.entries, corpus.basis))
    before = {name: value.clone() for name, value in trainer.network.adapter_values().items()}
    with pytest.raises(Failed, match="Step 1 gave a loss that is no number"):
        trainer.train(tmp_path / "state.pt", silent)
    assert all(torch.equal(before[name], value) for name, value in trainer.network.adapter_values().items())


def test_training_goes_on_without_a_discriminator_that_won(
    models: Path, corpus: AdapterCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "STRETCH", 1)
    monkeypatch.setattr(training, "WON", 2.0)  # it has won as soon as it is no worse than twice chance
    seen: list[set[str]] = []
    trainer = trainer_of(models, corpus, replace(RECIPE, steps=3))
    made = trainer.train(tmp_path / "state.pt", lambda step, total, found: seen.append({*found}))
    assert made.given_up == 1
    assert ["adversarial" in each for each in seen] == [True, False, False]


def test_a_discriminator_that_tells_windows_apart_is_noticed(models: Path, corpus: AdapterCorpus) -> None:
    trainer = trainer_of(models, corpus)
    trainer.hinge = 2 * training.WON
    for _ in range(3 * training.STRETCH):
        trainer._watch(0.0)
    assert trainer.given_up
    trainer = trainer_of(models, corpus)
    for _ in range(3 * training.STRETCH):
        trainer._watch(0.5)
    assert not trainer.given_up


TOGETHER = """
import pickle, sys
import torch
from accelerate import Accelerator
from test_train_adapters import RECIPE, networks_of, silent
from sonic_ext.train.adapters.network import load_network
from sonic_ext.train.adapters.training import AdapterTrainer
from sonic_ext.train.adapters.clips import AdapterCorpus
from sonic_ext.train.adapters.basis import LegalBasis
from pathlib import Path

torch.set_num_threads(1)
models, prepared, state, out = map(Path, sys.argv[1:])
corpus = AdapterCorpus.in_folder(prepared, LegalBasis("statement", "tests"))
trainer = AdapterTrainer(load_network(networks_of(models)), corpus, RECIPE, Accelerator(cpu=True))
made = trainer.train(state, silent)
if trainer.accelerator.is_main_process:
    torch.save({"adapters": dict(made.adapters), "losses": made.losses}, out)
"""


def test_two_processes_learn_what_one_does(models: Path, prepared: Path, tmp_path: Path) -> None:
    program = tmp_path / "together.py"
    program.write_text(TOGETHER)
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    made = []
    for count in (1, 2):
        out = tmp_path / f"{count}.pt"
        launcher = (
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if count == 2 else []
        )
        command = [sys.executable, *launcher, str(program), str(models), str(prepared)]
        env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, str(tmp_path / f"{count}.state"), str(out)], check=True, env=env)
        made.append(torch.load(out, weights_only=True))
    one, two = made
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4, abs=1e-5)
    for name, value in one["adapters"].items():
        assert torch.allclose(two["adapters"][name], value, atol=2e-4), name


# From videos to the engine


@pytest.fixture(scope="module")
def run(models: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Overlay, list[Any]]:
    """Adapters of the videos, stopped once on the way, and what the ledger says of them."""
    output = tmp_path_factory.mktemp("out") / "own.safetensors"
    said: list[str] = []
    how: dict[str, Any] = {
        "stated": STATED,
        "plan": AdapterPlan(cpu=True, precision="fp32", side=SIDE),
        "search": weights.Search(own=models),
        "say": said.append,
    }
    recipe = replace(RECIPE, rate=0.05)
    with pytest.raises(ConsentMissing):
        train_adapters(videos, output, recipe, **{**how, "stated": ""}, progress=Silent())
    with pytest.raises(Cancelled):
        train_adapters(videos, output, recipe, **how, progress=StoppingAt(2))
    made = train_adapters(videos, output, recipe, **how, progress=Silent())
    assert any("not measured on a card" in line for line in said)
    assert [each.reason for each in made.remarks] == ["damaged"]
    (models / "adapters").mkdir(exist_ok=True)
    (models / "adapters" / "own.safetensors").write_bytes(output.read_bytes())
    train_adapters(videos, output, recipe, **how, progress=Silent())  # done already: no second row
    assert Ledger().problems() == ()
    with Ledger()._reading() as chain:
        return made.overlay, [row.values for row in chain.rows("training")]


@pytest.fixture(scope="module")
def trained(run: tuple[Overlay, list[Any]]) -> Overlay:
    """The adapters."""
    return run[0]


def test_an_overlay_says_what_it_is_and_so_does_the_ledger(run: tuple[Overlay, list[Any]]) -> None:
    about = run[0].about
    assert about.basis == {"kind": "statement", "text": STATED, "sha256": ""}
    assert about.data["clips"] == 2 and about.recipe["objective"]["contrast"] == 0.1
    assert {*about.base} == {"unet", "audio2token"}
    (row,) = run[1]
    assert (row["basis"]["text"], row["data_sha256"]) == (STATED, about.data["sha256"])
    assert row["overlay_sha256"] == sha256_of(run[0].path)


def test_the_engine_draws_otherwise_with_it(trained: Overlay, models: Path, tmp_path: Path) -> None:
    from sonic_ext.engines.sonic.engine import DiffusionEngine
    from sonic_ext.media.audio import Speech
    from sonic_ext.media.image import read_portrait
    from sonic_ext.media.scene import compose
    from sonic_ext.settings import Settings

    engine = DiffusionEngine(weights.Search(own=models), device="cpu", home=tmp_path)
    sound = miniature_corpus.talking(0)[1][: 16000 // 2]
    drawn = []
    for name in ("", "own"):
        settings = Settings.from_mapping(
            {"inference_steps": 1, "min_resolution": 256, "framing": "crop", "adapters": name}
        )
        scene = compose(read_portrait(MEDIA / "portrait_01.jpg"), settings, 64)
        made = engine.prepare(scene, Speech.from_samples(sound, 16000), settings, 12, 1, lambda *_: None)
        drawn.append(made._latents[0].clone())
        made.close()
    assert (drawn[0] != drawn[1]).any()
    assert "Sonic adapters: own" in settings.infotext()


def test_adapters_of_other_weights_are_refused(trained: Overlay, models: Path, tmp_path: Path) -> None:
    paths = weights.prepare(weights.Search(own=models))
    trained.require_base(paths)
    other = tmp_path / "unet.safetensors"
    other.write_bytes(paths["unet"].read_bytes() + b" ")
    with pytest.raises(BadWeights, match="trained on other weights: unet differs"):
        trained.require_base({**paths, "unet": other})


def test_adapters_that_are_not_there_and_damaged_ones(trained: Overlay, models: Path, tmp_path: Path) -> None:
    search = weights.Search(own=models)
    with pytest.raises(MissingPart, match=r"There are no adapters other .*own"):
        find_overlay(search, "other")
    with pytest.raises(BadSetting, match="is no name"):
        find_overlay(search, "../own")
    path = tmp_path / "x.safetensors"
    data = bytearray(trained.path.read_bytes())
    data[-3] ^= 255
    path.write_bytes(data)
    with pytest.raises(BadWeights, match="not those that were trained"):
        read_overlay(path).apply(load_network(networks_of(models)).unet, weights.UNET)
    path.write_bytes(data[:200])
    with pytest.raises(BadWeights, match="cannot be used as adapters"):
        read_overlay(path)


@pytest.mark.parametrize(
    ("more", "code", "what"),
    [
        (["--contrast", "1.2", "--basis", STATED], 2, "--contrast 1.2 is out of range"),
        (["--levels", "frame,word", "--basis", STATED], 2, "There is no level 'word'"),
        (["--rate", "2", "--basis", STATED], 2, "--rate 2 is out of range"),
        ([], 3, "has no consent.json"),
        (["--basis", STATED], 2, "holds no videos"),
    ],
)
def test_what_the_command_refuses(
    more: list[str],
    code: int,
    what: str,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SONIC_MODELS", str(models))
    (tmp_path / "data").mkdir()
    words = ["train", "adapters", str(tmp_path / "data"), str(tmp_path / "out.safetensors"), "--cpu", *more]
    assert main(words) == code
    assert what in capsys.readouterr().err


def test_half_precision_and_made_again_activations(models: Path, corpus: AdapterCorpus) -> None:
    trainer = trainer_of(models, corpus)
    windows = trainer.draw(0, 0)
    plain = trainer.network(windows)
    again = trainer.network(windows, checkpointed=True)
    assert torch.allclose(plain.velocity, again.velocity, atol=1e-5)
    half = trainer.network(windows, autocast=True)
    assert half.velocity.dtype == torch.float32
    assert (half.velocity - plain.velocity).abs().mean() < 0.1 * plain.velocity.abs().mean()


def test_the_forecast_counts_what_is_trained_and_what_is_held(models: Path) -> None:
    paths = networks_of(models).paths
    shapes = [weights.shapes(part, paths[part.name]) for part in (weights.UNET, weights.AUDIO2TOKEN)]
    one = TrainingMemory(*shapes, (16, 16), 25, 4, True)
    assert one.held > 4 * one.trained / 20 > 0
    assert replace(one, frames=50).activations == pytest.approx(2 * one.activations, abs=1)
    assert "not enough" in one.text(10) and "not enough" not in one.text(10**12)


def test_clips_are_what_the_trainer_needs(corpus: AdapterCorpus) -> None:
    assert all(isinstance(clip, TrainingClip) for clip in corpus.clips)
    assert corpus.about()["speakers"] == 2
