"""Mouths drawn from phoneme times, batches, and the training of the sync networks."""

from __future__ import annotations

import dataclasses
import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

torch = pytest.importorskip("torch", reason="training needs torch: install the extra `train`")
pytest.importorskip("librosa", reason="training needs librosa: install the extra `train`")

from sonic_ext.cli.main import main  # noqa: E402  (torch first)
from sonic_ext.engines.preview.visemes import Viseme  # noqa: E402
from sonic_ext.errors import BadInput, Failed  # noqa: E402
from sonic_ext.sync import encoders  # noqa: E402
from sonic_ext.sync.mouth import FEATURES  # noqa: E402
from sonic_ext.sync.offset import REASONS  # noqa: E402
from sonic_ext.train import phonemes as names  # noqa: E402
from sonic_ext.train.clips import Clip, ClipInShard, write_shard  # noqa: E402
from sonic_ext.train.corpus.sounds import RATE, save  # noqa: E402
from sonic_ext.train.phonemes import Phoneme  # noqa: E402
from sonic_ext.train.sync import batches, drawing, model, network, run, scoring, training  # noqa: E402
from sonic_ext.train.temporal import stack_state  # noqa: E402

TINY = network.Architecture(8, 8, 6, (1, 2))
LETTERS = "pa mi vu so ta"


def spoken(seed: int, seconds: float = 6.0) -> list[Phoneme]:
    rng = np.random.default_rng(seed)
    found, at = [], 0.3
    while at < seconds - 0.3:
        length = float(rng.uniform(0.06, 0.16))
        found.append(Phoneme(str(rng.choice(list(LETTERS.replace(" ", "")))), at, at + length))
        at += length + (0.4 if rng.random() < 0.05 else 0.0)
    return found


def passage(seed: int) -> batches.Passage:
    """Sound whose bands follow what is said."""
    phonemes = spoken(seed)
    rows = np.full((300, 40), -40.0, np.float32)
    for phoneme in phonemes:
        number = LETTERS.index(phoneme.name)
        rows[round(phoneme.start * 50) : round(phoneme.end * 50), number * 2 : number * 2 + 6] = 0.0
    rows += np.random.default_rng(seed).normal(0, 2, rows.shape)
    return batches.Passage(rows.astype(np.float16), phonemes)


PASSAGES = [passage(seed) for seed in range(8)]


def test_lips_shut_for_p_b_m_and_open_for_a() -> None:
    rng = np.random.default_rng(1)
    said = [Phoneme("a", 0.5, 0.8), Phoneme("p", 0.8, 0.92), Phoneme("a", 0.92, 1.3)]
    gap = np.mean([drawing.drawn(said, 2.0, drawing.draw_style(rng), rng)[:, 0] for _ in range(40)], axis=0)
    assert gap[60:75].mean() > 3 * gap[84:89].mean()
    assert gap[100:115].mean() > 3 * gap[84:89].mean()


def test_rounded_vowels_are_narrow() -> None:
    rng = np.random.default_rng(2)
    width = FEATURES.index("width")
    means = {}
    for name in "ui":
        said = [Phoneme(name, 0.5, 1.5)]
        drawn = [drawing.drawn(said, 2.0, drawing.draw_style(rng), rng) for _ in range(60)]
        means[name] = np.mean([one[60:140, width] for one in drawn])
    assert means["i"] - means["u"] > 0.15


def test_the_same_chance_draws_the_same_mouth() -> None:
    one, other = (drawing.moving_mouth(spoken(3), 4.0, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.geometry, other.geometry)
    np.testing.assert_array_equal(one.times, other.times)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_filmed_has_times_in_order(seed: int) -> None:
    motion = drawing.moving_mouth(spoken(seed), 4.0, np.random.default_rng(seed))
    assert (np.diff(motion.times) > 0).all()
    assert motion.times[-1] <= 4.0
    assert motion.found.sum() >= 2
    assert np.isfinite(motion.geometry[motion.found]).all()


@pytest.mark.parametrize("said", [None, ("_", 0.0, 2.0), ("ʲ", 0.5, 0.6), ("p", 3.0, 9.0)])
def test_mouths_without_anything_to_say(said: tuple[str, float, float] | None) -> None:
    motion = drawing.moving_mouth([Phoneme(*said)] if said else [], 2.0, np.random.default_rng(5))
    assert np.isfinite(motion.geometry[motion.found]).all()


def test_tokens() -> None:
    line = network.tokens([Phoneme("pa", 0.0, 0.2), Phoneme("☃", 0.2, 0.3), Phoneme("m", 0.8, 1.4)], 0.0, 1.0)
    assert [names.SYMBOLS[number - 2] for number in line[:2]] == ["p", "a"]
    assert line[2] == 1
    assert not line[3:].any()
    assert len(network.tokens([Phoneme("pa" * 60, 0.0, 1.0)], 0.0, 2.0)) == network.PhonemeEncoder.LONGEST


def test_batches_have_everybody_say_several_things() -> None:
    learned = batches.batch(PASSAGES, np.random.default_rng(1))
    assert learned.sound.shape == (8, batches.ROWS, 40)
    assert learned.mouths.shape == (2, 8, batches.ROWS, encoders.MOUTH_INPUTS)
    assert (learned.styles[0] != learned.styles[1]).all()
    assert (np.bincount(learned.styles.ravel()) >= 3).all()
    assert (learned.spans[:, 1] - learned.spans[:, 0] >= batches.WINDOW[0]).all()
    assert (learned.letters > 0).any(axis=1).all()


def clip(seed: int) -> Clip:
    made = passage(seed)
    motion = drawing.moving_mouth(made.phonemes, 6.0, np.random.default_rng(seed))
    return Clip(f"{seed}", f"speaker {seed % 2}", motion, made.sound)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[ClipInShard]:
    """Five clips in two shards."""
    folder = tmp_path_factory.mktemp("clips")
    write_shard(folder / "clips-0.safetensors", [clip(seed) for seed in range(3)])
    write_shard(folder / "clips-1.safetensors", [clip(seed) for seed in (3, 4)])
    return [*batches.filmed_clips(folder)]


def test_real_clips_keep_their_own_mouth(films: list[ClipInShard], tmp_path: Path) -> None:
    learned = batches.drawn_batch([], films, 4, np.random.default_rng(1))
    np.testing.assert_array_equal(learned.mouths[0], learned.mouths[1])
    assert not learned.letters.any()
    unseen = clip(1)
    unseen.motion.geometry[:] = np.nan
    short = dataclasses.replace(clip(1), sound=clip(1).sound[: batches.ROWS - 1])
    write_shard(tmp_path / "clips-0.safetensors", [unseen, short])
    assert not [*batches.filmed_clips(tmp_path)]


def test_clips_stay_on_the_disk_until_they_are_learned_from(tmp_path: Path) -> None:
    shard = tmp_path / "clips-0.safetensors"
    write_shard(shard, [clip(1), clip(2)])
    films = [*batches.filmed_clips(tmp_path)]
    assert [(each.speaker, each.rows) for each in films] == [("speaker 1", 300), ("speaker 0", 300)]
    np.testing.assert_array_equal(films[1].read().sound, clip(2).sound)
    mixed = batches.drawn_batch(PASSAGES[:2], films, 4, np.random.default_rng(1))
    assert sorted((mixed.letters > 0).any(axis=1)) == [False, False, True, True]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(BadInput, match="cannot be read"):
        batches.drawn_batch([], films, 2, np.random.default_rng(1))
    shard.unlink()
    with pytest.raises(FileNotFoundError):
        films[0].read()


def test_torch_and_numpy_give_the_same_vectors() -> None:
    torch.manual_seed(1)
    model = network.Encoders(network.JUDGE)
    arrays = {**model.arrays(), "confidence": np.zeros(7, np.float32)}
    for stack in ("sound", "mouth"):  # the half precision of the file
        getattr(model, stack).load_state_dict(stack_state(arrays, stack))
    own = encoders.from_arrays(arrays)
    learned = batches.batch(PASSAGES[:2], np.random.default_rng(2))
    for stack, layers, inputs in (("hear", own.sound, learned.sound), ("see", own.mouth, learned.mouths[0])):
        with torch.no_grad():
            theirs = network.unit(getattr(model, stack)(torch.from_numpy(inputs))).numpy()
        ours = np.stack([encoders.encode(layers, one) for one in inputs])
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("architecture", network.ARCHITECTURES.values())
def test_sizes(architecture: network.Architecture) -> None:
    model = network.Encoders(architecture)
    own = encoders.from_arrays({**model.arrays(), "confidence": np.zeros(7, np.float32)})
    assert max(own.parameters) <= 250_000


def recipe(**changes: Any) -> training.SyncRecipe:
    return training.SyncRecipe(**{"architecture": TINY, "copies": 1, "steps": 6, "batch": 4, **changes})


def trained(
    films: list[ClipInShard], wanted: training.SyncRecipe, folder: Path | None = None
) -> training.SyncTrainer:
    *_, last = training.train(training.Corpus({}, films), wanted, folder)
    return last


def test_levels_have_losses() -> None:
    learned = batches.batch(PASSAGES, np.random.default_rng(3))
    assert set(training.SyncTrainer(recipe()).losses(learned)) == {"frame", "shifted", "semantic", "style"}
    only = training.SyncTrainer(recipe(levels=("frame",))).losses(learned)
    assert set(only) == {"frame", "shifted"}


def test_what_is_heard_without_a_visible_mouth_has_no_part() -> None:
    learned = batches.batch(PASSAGES, np.random.default_rng(3))
    hidden = learned.mouths.copy()
    hidden[:, 1] = 0.0  # the face is lost throughout
    other = learned.sound.copy()
    other[1] += 1.0
    trainer = training.SyncTrainer(recipe())
    found = [
        {name: float(value.detach()) for name, value in trainer.losses(changed).items()}
        for changed in (
            dataclasses.replace(learned, mouths=hidden),
            dataclasses.replace(learned, mouths=hidden, sound=other),
        )
    ]
    assert found[0] == found[1]
    everything = {name: float(value.detach()) for name, value in trainer.losses(learned).items()}
    assert all(everything[name] != found[0][name] for name in everything)
    nobody = trainer.losses(dataclasses.replace(learned, mouths=learned.mouths * 0.0))
    assert all(float(value.detach()) == 0.0 for value in nobody.values())


def test_pooled_means_have_visible_rows_alone() -> None:
    rows = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    inside = torch.tensor([[True, True, False]])
    assert torch.allclose(training.pooled(rows, inside), torch.tensor([[0.6, 0.8]]))
    assert not training.pooled(rows, inside & False).any()


def test_what_is_heard_and_seen_is_learned() -> None:
    trainer = training.SyncTrainer(recipe(steps=40, batch=4, rate=1e-2, levels=("frame",)))
    rng = np.random.default_rng(4)
    found = [trainer.step(batches.batch(PASSAGES[:4], rng)) for _ in range(40)]
    first, last = (np.mean([each["frame"] for each in part]) for part in (found[:5], found[-10:]))
    assert last < first - 0.15


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    films: list[ClipInShard], tmp_path: Path, monkeypatch: Any
) -> None:
    whole = trained(films, recipe())
    monkeypatch.setattr(training, "KEPT_EVERY", 2)

    def stop(step: int, total: int, losses: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    corpus = training.Corpus({}, films)
    with pytest.raises(KeyboardInterrupt):
        [*training.train(corpus, recipe(), tmp_path, stop)]
    assert torch.load(tmp_path / training.STATE, weights_only=True)["step"] == 4
    again = trained(films, recipe(), tmp_path)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert trained(films, recipe(), tmp_path).step_number == 6  # done already


def test_a_checkpoint_of_another_configuration(films: list[ClipInShard], tmp_path: Path) -> None:
    trained(films, recipe(), tmp_path)
    with pytest.raises(BadInput, match="other settings"):
        trained(films, recipe(seed=5), tmp_path)
    with pytest.raises(BadInput, match="recordings"):
        [*training.train(training.Corpus({}, films[:1]), recipe(), tmp_path)]
    (tmp_path / training.STATE).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(BadInput, match="cannot be read"):
        trained(films, recipe(), tmp_path)


def test_what_is_no_number_stops_and_keeps_what_was_good(
    films: list[ClipInShard], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(training, "KEPT_EVERY", 2)
    real = training.drawn_batch
    made: list[batches.TrainingBatch] = []

    def fifth_broken(*wanted: Any) -> batches.TrainingBatch:
        made.append(real(*wanted))
        if len(made) == 5:
            made[-1].sound[0, 0, 0] = np.nan
        return made[-1]

    monkeypatch.setattr(training, "drawn_batch", fifth_broken)
    with pytest.raises(Failed, match="Batch 5 gave a loss that is no number"):
        trained(films, recipe(), tmp_path)
    state = torch.load(tmp_path / training.STATE, weights_only=True)
    assert state["step"] == 4
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_nothing_to_learn_from() -> None:
    with pytest.raises(BadInput, match="nothing to learn from"):
        [*training.train(training.Corpus({}), recipe())]


def toy_trials(count: int = 4000) -> list[scoring.Trial]:
    """Measurements that are right as often as the logistic function of their evidence says."""
    rng = np.random.default_rng(6)
    found = []
    for reasons in rng.normal(size=(count, REASONS)):
        right = rng.random() < 1 / (1 + np.exp(-(2 * reasons[0] - 1)))
        guess = scoring.Estimate(0.0 if right else 0.3, 0.0)
        found.append(scoring.Trial(0.0, guess, reasons))
    return found


def test_confidence_is_the_share_that_is_right() -> None:
    measured = toy_trials()
    weights = scoring.fit_confidence(measured)
    np.testing.assert_allclose(weights, [2, 0, 0, 0, 0, 0, -1], atol=0.25)
    sure = [1 / (1 + np.exp(-(trial.reasons @ weights[:-1] + weights[-1]))) for trial in measured]  # type: ignore[operator]
    known = [
        scoring.Trial(trial.truth, trial.found._replace(confidence=float(share)), trial.reasons)  # type: ignore[union-attr]
        for trial, share in zip(measured, sure, strict=True)
    ]
    assert scoring.calibration_error(known) < 0.03
    wrong = [scoring.Trial(t.truth, t.found._replace(confidence=0.99), t.reasons) for t in known]  # type: ignore[union-attr]
    assert scoring.calibration_error(wrong) > 0.3


def test_visemes_of_drawn_mouths_are_all_drawn() -> None:
    style = drawing.draw_style(np.random.default_rng(8))
    assert style.shapes.shape[0] == style.rules.shape[0] == len(Viseme)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several voices that hum other tones for other phonemes."""
    folder = tmp_path_factory.mktemp("recordings")
    for voice in range(5):
        for number in range(6):
            phonemes = spoken(10 * voice + number, 3.0)
            times = np.arange(3 * RATE) / RATE
            sound = np.zeros(len(times), np.float32)
            for phoneme in phonemes:
                part = slice(int(phoneme.start * RATE), int(phoneme.end * RATE))
                hertz = 200 + 150 * LETTERS.index(phoneme.name) + 20 * voice
                sound[part] = 0.3 * np.sin(2 * np.pi * hertz * times[part])
            save(folder, f"voice{voice}_{number}", (sound, phonemes))
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(network.ARCHITECTURES, "calibration", TINY)
    monkeypatch.setattr(run, "PIECES", 1)
    monkeypatch.setattr(model, "CHOICES", 2)


def command(*words: object) -> int:
    return main(["train", "sync", *map(str, words)])


@pytest.mark.usefixtures("tiny")
def test_one_command(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "né w" / "sync.safetensors"
    words = (output, "--corpus", recordings, "--copies", 1, "--steps", 3, "--json")
    assert command(*words) == 0
    found = json.loads(capsys.readouterr().out)
    assert encoders.load(output).parameters[0] < 10_000
    assert found["metrics"]["calibration error"] >= 0
    page = output.with_suffix(".md").read_text(encoding="utf-8")
    assert "3 voices, spoken by voice0" in page
    assert "No picture of a real person" in page
    assert "clean: 2 s within 40 ms" in page
    before = load_file(output)
    assert command(*words) == 0  # nothing is left to learn
    after = load_file(output)
    assert all(np.array_equal(before[name], after[name]) for name in before | after)


@pytest.mark.usefixtures("tiny")
def test_clips_of_real_video_are_learned_from(recordings: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "clips").mkdir()
    write_shard(tmp_path / "clips" / "clips-00000.safetensors", [clip(1), clip(2)])
    words = ("--corpus", recordings, "--clips", tmp_path / "clips", "--copies", 1, "--steps", 2)
    assert command(tmp_path / "sync.safetensors", *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"].endswith("sync.safetensors")
    assert "Also 2 clips of 2 real speakers" in (tmp_path / "sync.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sync.txt",), "no name of a model"),
        (("sync.safetensors", "--levels", "frame,taste"), "no level 'taste'"),
        (("sync.safetensors", "--corpus", "nowhere"), "no recordings"),
        (("sync.safetensors", "--steps", "0"), "from 1"),
    ],
)
def test_what_is_wrong_is_said(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    assert said in capsys.readouterr().err


def test_shards_that_are_damaged_are_said(recordings: Path, tmp_path: Path, capsys: Any) -> None:
    write_shard(tmp_path / "clips-00000.safetensors", [clip(1)])
    whole = (tmp_path / "clips-00000.safetensors").read_bytes()
    (tmp_path / "clips-00000.safetensors").write_bytes(whole[: len(whole) // 2])
    words = ("--corpus", recordings, "--clips", tmp_path)
    assert command(tmp_path / "sync.safetensors", *words) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "sync.safetensors").exists()


def test_voices_on_both_sides(recordings: Path, tmp_path: Path, capsys: Any) -> None:
    words = ("--corpus", recordings, "--held-out", recordings)
    assert command(tmp_path / "sync.safetensors", *words) == 2
    assert "is in both folders" in capsys.readouterr().err


def test_too_few_voices_are_said_before_anything_is_learned(
    recordings: Path, tmp_path: Path, capsys: Any
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for file in recordings.glob("voice0_*"):
        shutil.copy(file, few)
    assert command(tmp_path / "sync.safetensors", "--corpus", few) == 2
    assert "too few voices" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sync.safetensors", "sync.md"])
def test_what_is_not_ours_is_not_replaced(recordings: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    (tmp_path / name).write_text("somebody's own")
    assert command(tmp_path / "sync.safetensors", "--corpus", recordings) == 2
    assert "exists and is no" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "somebody's own"


@pytest.mark.parametrize(("channels", "width", "said"), [(2, 2, "2 channels"), (1, 3, "24 bits")])
def test_recordings_of_another_shape(
    recordings: Path, tmp_path: Path, channels: int, width: int, said: str, capsys: Any
) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(recordings, corpus)
    with wave.open(str(corpus / "voice0_0.wav"), "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(RATE)
        writer.writeframes(b"\0" * RATE * channels * width)
    assert command(tmp_path / "sync.safetensors", "--corpus", corpus) == 2
    assert said in capsys.readouterr().err


def test_nobody_learns_and_judges() -> None:
    speakers = {f"voice{number}": [] for number in range(9)}
    learned, aside = model.split(speakers)
    one, other = model.halves(aside)
    assert {*learned} | {*aside} == {*speakers}
    assert not {*learned} & {*aside} and not {*one} & {*other}
    assert one and other
    for few in range(3):
        assert model.split(dict([*speakers.items()][:few]))[1] == {}
    assert len(model.split(dict([*speakers.items()][:3]))[1]) == 2
