"""The training corpus: recordings with phoneme times, alone and among other sounds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("librosa", reason="the corpus needs librosa: install the extra `train`")

from sonic_ext.train.corpus import acoustics, mixtures, music, singing, sounds, speech, synthesizers
from sonic_ext.train.corpus.sounds import RATE
from sonic_ext.train.phonemes import PAUSE, Phoneme, is_vowel

RECORDINGS = sorted((Path(__file__).parent / "data" / "speech").glob("*.wav"))


@pytest.fixture(scope="module")
def speakers() -> dict[str, list[sounds.Utterance]]:
    """Five voices."""
    return sounds.by_voice(RECORDINGS)


@pytest.fixture(scope="module")
def backgrounds(speakers: dict[str, list[sounds.Utterance]]) -> mixtures.Backgrounds:
    """What they and code play."""
    return mixtures.Backgrounds(speakers, 5, pieces=2)


def test_silence_before_a_burst_belongs_to_the_plosive() -> None:
    sound = np.concatenate([np.ones(1600), np.zeros(800), np.ones(1600)]).astype(np.float32)
    moved = synthesizers.with_closures(sound, RATE, [Phoneme("a", 0.0, 0.15), Phoneme("p", 0.15, 0.25)])
    assert moved[0].end == moved[1].start == pytest.approx(0.1, abs=0.011)


def test_a_recording_survives_being_saved(tmp_path: Path) -> None:
    sounds.save(tmp_path, "one", (np.linspace(-0.5, 0.5, 800, dtype=np.float32), [Phoneme("a", 0.0, 0.05)]))
    sound, spoken = sounds.load(tmp_path / "one.wav")
    np.testing.assert_allclose(sound, np.linspace(-0.5, 0.5, 800), atol=1e-4)
    assert spoken == [Phoneme("a", 0.0, 0.05)]


def test_recordings_are_found_by_voice(speakers: dict[str, list[sounds.Utterance]]) -> None:
    assert {"flite-rms", "espeak-en-us+f2"} <= set(speakers)
    assert all(len(lines) == 1 for lines in speakers.values())


def test_a_line_depends_on_its_number_alone() -> None:
    assert speech.line(speech.TRAINING, 1, 7) == speech.line(speech.TRAINING, 1, 7)
    drawn = [speech.line(speech.TRAINING, seed, number).text for seed in (1, 2) for number in range(40)]
    assert len(set(drawn)) == len(drawn)


def test_held_out_voices_are_not_trained_on() -> None:
    trained, held_out = (
        {speech.line(cast, 1, number).speaker for number in range(600)}
        for cast in (speech.TRAINING, speech.HELD_OUT)
    )
    assert not trained & held_out
    assert not set(speech.TRAINING.variants) & set(speech.HELD_OUT.variants)


def test_making_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def speak(line: speech.Line, _espeak: object) -> sounds.Utterance:
        said.append(line.text)
        return np.full(20 * RATE, 0.1, dtype=np.float32), [Phoneme("a", 0.0, 20.0)]

    monkeypatch.setattr(speech, "Espeak", lambda: None)
    monkeypatch.setattr(speech, "spoken", speak)
    first = list(speech.make(tmp_path, speech.TRAINING, 1.0, 3))
    assert len(first) == len(said) == 3
    sounds.phonemes_of(first[1]).unlink()
    assert list(speech.make(tmp_path, speech.TRAINING, 1.5, 3))[:3] == first
    assert len(said) == 3 + 3
    assert said[3] == said[1]


def test_a_piece_of_music_is_its_seed() -> None:
    np.testing.assert_array_equal(music.piece(3, 2.0), music.piece(3, 2.0))
    assert abs(np.corrcoef(music.piece(3, 2.0), music.piece(4, 2.0))[0, 1]) < 0.3
    assert music.piece(3, 2.0).std() == pytest.approx(1.0, abs=0.05)


def test_a_sung_line_keeps_its_sounds_at_their_new_times(speakers: dict[str, list[sounds.Utterance]]) -> None:
    rng = np.random.default_rng(2)
    line = speakers["flite-slt"][0]
    sound, sung = singing.sung(line, music.any_score(rng), rng)
    assert [p.name for p in sung] == [p.name for p in line[1]]
    assert len(sound) == pytest.approx(sung[-1].end * RATE, abs=singing.HOP)
    assert all(before.end == pytest.approx(after.start) for before, after in pairwise(sung))
    held = [
        new.end - new.start - (old.end - old.start)
        for new, old in zip(sung, line[1], strict=True)
        if is_vowel(old.name)
    ]
    assert min(held) >= -1e-9
    assert max(held) > 0.1
    loud = [np.sqrt(np.mean(sound[int(p.start * RATE) : int(p.end * RATE)] ** 2)) for p in sung]
    vowels = np.mean([x for x, p in zip(loud, sung, strict=True) if is_vowel(p.name)])
    assert vowels > 3 * np.mean([x for x, p in zip(loud, sung, strict=True) if p.name == PAUSE])


@pytest.mark.parametrize("codec", acoustics.CODECS)
def test_a_codec_leaves_every_sound_in_its_place(
    codec: str, speakers: dict[str, list[sounds.Utterance]]
) -> None:
    sound = speakers["flite-slt"][0][0]
    heard = acoustics.coded(sound, codec, acoustics.CODECS[codec][2][-1])
    assert len(heard) == len(sound)
    assert np.corrcoef(sound, heard)[0, 1] > 0.99


def test_a_background_is_as_much_quieter_as_was_asked(
    speakers: dict[str, list[sounds.Utterance]], backgrounds: mixtures.Backgrounds
) -> None:
    line = speakers["flite-rms"][0]
    for kind in ("babble", "music", "song", "noise"):
        beside = getattr(backgrounds, kind)(len(line[0]), np.random.default_rng(1))
        mixed, spoken = mixtures.over(line, beside, 6.0)
        left = np.mean((mixed - line[0]).astype(np.float64) ** 2)
        assert 10 * np.log10(mixtures.spoken_power(line) / left) == pytest.approx(6.0, abs=0.05)
        assert spoken == line[1]


def test_streams_are_their_seed_and_keep_phoneme_times(
    speakers: dict[str, list[sounds.Utterance]], backgrounds: mixtures.Backgrounds
) -> None:
    lines = [line for some in speakers.values() for line in some]
    mix = mixtures.MixtureShares(babble=0.4, music=0.2, song=0.1, sung=0.3, snippet=1.0, nobody=1.0)
    once, again = (
        list(mixtures.streams(lines, backgrounds, mix, np.random.default_rng(4))) for _ in range(2)
    )
    assert len(once) == 6
    for (sound, spoken), (same, same_spoken) in zip(once, again, strict=True):
        np.testing.assert_array_equal(sound, same)
        assert spoken == same_spoken
        assert np.isfinite(sound).all() and np.abs(sound).max() <= 1.0
        assert not spoken or spoken[-1].end <= len(sound) / RATE + 0.05
    assert sum(not spoken for _, spoken in once) == 2
