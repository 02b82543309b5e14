"""Speech → mouth motion: the shipped network on recordings whose phoneme times are known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from sonic_ext.engines.preview import background, motion, network, speech
from sonic_ext.engines.preview.speech import RATE, MouthTrack, VisemeNet
from sonic_ext.engines.preview.visemes import SHAPES, Viseme
from sonic_ext.errors import Cancelled, MissingPart
from sonic_ext.media import mel
from sonic_ext.media.audio import read_speech
from sonic_ext.progress import Stage
from sonic_ext.train import phonemes, scores
from sonic_ext.train.corpus import sounds
from sonic_ext.train.phonemes import Phoneme, read_phonemes

DATA = Path(__file__).parent / "data"
TRAIN = "needs the extra `train`"
RECORDINGS = [DATA / "media" / "speech_en_espeak.wav", *sorted((DATA / "speech").glob("*.wav"))]
FPS = 25
SHUT = 0.03


def quietly(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """A tick that lets everything pass."""


def read(sound: np.ndarray, fps: float = FPS, count: int | None = None) -> MouthTrack:
    """The whole sound as one block."""
    return VisemeNet().read(iter([sound]), count or max(1, int(len(sound) / RATE * fps)), fps, quietly)


def loaded(file: Path) -> sounds.Utterance:
    """Sound as the engine is given it, and phonemes."""
    return np.concatenate([*read_speech(file).blocks(RATE)]), [*read_phonemes(sounds.phonemes_of(file))]


@pytest.fixture(scope="module", params=RECORDINGS, ids=lambda file: file.stem)
def recording(request: pytest.FixtureRequest) -> sounds.Utterance:
    """Sound and phonemes; none of these sentences was trained on."""
    return loaded(request.param)


def tracks(fps: float) -> Iterator[tuple[MouthTrack, list[Phoneme]]]:
    """Every recording, read."""
    for sound, spoken in map(loaded, RECORDINGS):
        yield read(sound, fps), spoken


@pytest.fixture(scope="module")
def everything() -> scores.Scores:
    """All recordings measured together."""
    return scores.score(list(tracks(FPS)), FPS)


@pytest.fixture(scope="module")
def english() -> sounds.Utterance:
    """The shipped example."""
    return loaded(RECORDINGS[0])


def test_there_are_recordings_in_several_voices_and_languages() -> None:
    assert {file.stem.split("_")[0] for file in RECORDINGS[1:]} >= {"flite-rms", "espeak-cmn", "espeak-de"}


def test_lips_close_on_p_b_m_and_stay_open_on_vowels(everything: scores.Scores) -> None:
    assert everything.closures >= 45
    assert everything.closed >= 0.96
    assert everything.pressed_vowels < 0.05
    assert 0.4 < everything.vowel_opening < 0.7


def test_no_recording_falls_behind(recording: sounds.Utterance) -> None:
    sound, spoken = recording
    found = scores.score([(read(sound), spoken)], FPS)
    assert found.closed >= 0.85
    assert found.pressed_vowels < 0.1
    assert found.vowel_opening > 0.3


@pytest.mark.parametrize("fps", [24, 25, 50])
def test_closures_are_seen_at_any_frame_rate(fps: int) -> None:
    assert scores.score(list(tracks(fps)), fps).closed >= 0.96


def test_mouth_neither_leads_nor_lags(recording: sounds.Utterance) -> None:
    sound, spoken = recording
    assert abs(scores.score([(read(sound), spoken)], FPS).lag) <= 0.02


def test_lips_round_on_o_and_u_and_the_jaw_drops_on_a(everything: scores.Scores) -> None:
    assert everything.round_vowels > everything.other_vowels + 0.3
    assert everything.open_vowels > everything.close_vowels + 0.2


def test_pauses_shut_the_mouth(everything: scores.Scores) -> None:
    assert everything.pause_opening < SHUT


def test_band_limited_speech_still_closes(recording: sounds.Utterance) -> None:
    pytest.importorskip("librosa", reason=TRAIN)
    sound, spoken = recording
    narrow = sounds.resampled(sounds.resampled(sound, RATE, 8000), 8000, RATE)
    assert scores.score([(read(narrow), spoken)], FPS).closed >= 0.8


def test_speech_in_noise_still_closes(recording: sounds.Utterance) -> None:
    sound, spoken = recording
    hiss = np.random.default_rng(1).normal(size=len(sound)) * np.sqrt(np.mean(sound**2)) * 0.1
    found = scores.score([(read((sound + hiss).astype(np.float32)), spoken)], FPS)
    assert found.closed >= 0.7
    assert found.pressed_vowels < 0.1


@pytest.fixture(scope="module")
def backgrounds() -> Any:
    """Babble of the recordings' own voices, and music that was not trained on."""
    pytest.importorskip("librosa", reason=TRAIN)
    from sonic_ext.train.corpus import mixtures

    return mixtures.Backgrounds({file.stem: [sounds.load(file)] for file in RECORDINGS}, 4_000_003, pieces=4)


@pytest.mark.parametrize(
    ("kind", "decibels", "closed", "pause"),
    [("babble", 10, 0.85, 0.2), ("babble", 5, 0.7, 0.3), ("music", 10, 0.85, 0.2), ("music", 0, 0.65, 0.4)],
)
def test_others_and_music_leave_the_mouth_alone(
    kind: str, decibels: float, closed: float, pause: float, backgrounds: Any
) -> None:
    from sonic_ext.train.corpus import mixtures

    found = []
    for number, file in enumerate(RECORDINGS):
        sound, spoken = loaded(file)
        quiet = np.zeros(RATE, dtype=np.float32)
        silence = Phoneme(phonemes.PAUSE, spoken[-1].end, spoken[-1].end + 1.0)
        longer = np.concatenate([sound, quiet]), [*spoken, silence]
        beside = getattr(backgrounds, kind)(len(longer[0]), np.random.default_rng(number))
        noisy = mixtures.over(longer, beside, decibels)[0]
        found.append((read(noisy), longer[1]))
    together = scores.score(found, FPS)
    assert together.closed >= closed
    assert together.usual_pause < pause * together.vowel_opening


@pytest.mark.parametrize("kind", ["babble", "music"])
def test_a_mouth_that_nobody_uses_is_mostly_still(kind: str, backgrounds: Any) -> None:
    openings = []
    for number in range(4):
        sound = getattr(backgrounds, kind)(8 * RATE, np.random.default_rng(number))
        openings.append(read(0.1 * sound).jaw)  # of unit power
    assert np.mean(openings) < 0.3


def test_quiet_speech_moves_the_mouth_like_loud_speech(english: sounds.Utterance) -> None:
    loud, quiet = read(english[0]), read(english[0] * 0.02)
    assert np.corrcoef(loud.jaw, quiet.jaw)[0, 1] > 0.95
    assert np.median(quiet.jaw[quiet.speaking > 0.5]) > 0.7 * np.median(loud.jaw[loud.speaking > 0.5])


def _background(kind: str) -> np.ndarray:
    time = np.arange(4 * RATE) / RATE
    rng = np.random.default_rng(5)
    hiss = rng.normal(size=len(time))
    sounds = {
        "silence": np.zeros(len(time)),
        "hiss": hiss,
        "rumble": np.convolve(hiss, np.ones(40), mode="same"),
        "hum": sum(np.sin(2 * np.pi * 50 * n * time) / n for n in range(1, 7)),
    }
    sound = np.asarray(sounds[kind])
    return np.asarray(sound / max(float(sound.std()), 1e-9) * 10 ** (-50 / 20), dtype=np.float32)


@pytest.mark.parametrize("kind", ["silence", "hiss", "rumble", "hum"])
def test_a_mouth_with_nothing_to_say_is_shut(kind: str) -> None:
    track = read(_background(kind))
    assert track.jaw.max() < SHUT
    assert track.press.max() < SHUT
    assert track.speaking.max() < 0.1


@pytest.mark.parametrize("kind", ["silence", "hiss", "hum"])
def test_background_before_and_after_speech_does_not_move_the_mouth(
    kind: str, english: sounds.Utterance
) -> None:
    before = _background(kind)
    track = read(np.concatenate([before, english[0], before]))
    seconds = len(before) / RATE
    assert track.jaw[: int((seconds - 0.1) * FPS)].max() < SHUT
    assert track.jaw[-int((seconds - 0.3) * FPS) :].max() < SHUT
    assert track.jaw.max() > 0.5


def test_motion_is_smooth(recording: sounds.Utterance) -> None:
    track = read(recording[0], fps=100)
    for values in (track.jaw, track.rounding, track.spread):
        bend = np.abs(np.diff(values, 2))
        assert np.percentile(bend, 99) < 0.06
        assert bend.max() < 0.12


def test_values_keep_their_ranges(recording: sounds.Utterance) -> None:
    track = read(recording[0])
    for name in motion.MOTION:
        values = getattr(track, name)
        assert values.dtype == np.float32
        assert values.min() >= (-1.0 if name in ("upper", "lower") else 0.0)
        assert values.max() <= 1.0


@settings(max_examples=15)
@given(count=st.integers(1, 150), fps=st.sampled_from([23.976, 25, 50]), samples=st.integers(0, 40_000))
def test_any_count_of_frames_comes_from_any_length_of_sound(count: int, fps: float, samples: int) -> None:
    sound = np.random.default_rng(samples).normal(size=samples).astype(np.float32) * 0.1
    track = read(sound, fps, count)
    assert {len(getattr(track, name)) for name in motion.MOTION} == {count} == {len(track)}
    assert all(np.isfinite(getattr(track, name)).all() for name in motion.MOTION)


def test_silence_follows_sound_that_ends_early(english: sounds.Utterance) -> None:
    track = read(english[0][: 2 * RATE], count=100)
    assert track.jaw[:50].max() > 0.3
    assert track.jaw[58:].max() < SHUT


def test_three_tenths_of_a_second_are_enough(english: sounds.Utterance) -> None:
    vowel = next(p for p in english[1] if p.name == "oʊ")
    track = read(english[0][int(vowel.start * RATE) :][: 3 * RATE // 10], count=8)
    assert len(track) == 8
    assert track.jaw.max() > 0.2


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=6))
def test_the_cutting_into_blocks_changes_nothing(cuts: list[int]) -> None:
    sound = loaded(RECORDINGS[0])[0][:60_000]
    whole = read(sound, count=90)
    parts = VisemeNet().read(iter(np.split(sound, sorted(cuts))), 90, FPS, quietly)
    for name in motion.MOTION:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_windows_join_without_a_seam(english: sounds.Utterance, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(english[0])
    monkeypatch.setattr(speech, "PART", 17 * network.BLOCK)
    parts = read(english[0])
    for name in motion.MOTION:
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), atol=1e-4)


def test_memory_does_not_grow_with_the_speech(english: sounds.Utterance) -> None:
    def peak(times: int) -> int:
        tracemalloc.start()
        VisemeNet().read(iter([english[0]] * times), int(times * 6.1 * FPS), FPS, quietly)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(3)
    assert peak(15) < 1.1 * peak(3)


def test_ticks_rise_to_the_count_and_can_stop_the_reading(english: sounds.Utterance) -> None:
    seen: list[int] = []

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        assert total == 700
        seen.append(done)
        if done > 300:
            raise Cancelled

    with pytest.raises(Cancelled):
        VisemeNet().read(iter([english[0]] * 5), 700, FPS, tick)
    assert seen == sorted(seen)
    assert seen[-1] < 700


def test_a_missing_or_damaged_network_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match=r"nowhere\.safetensors"):
        network.load(tmp_path / "nowhere.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(network.WEIGHTS.read_bytes()[:5000])
    with pytest.raises(MissingPart, match=r"damaged\.safetensors"):
        network.load(damaged)


def test_a_network_of_another_format_or_shape_is_refused(tmp_path: Path) -> None:
    arrays = load_file(network.WEIGHTS)
    older = tmp_path / "older.safetensors"
    save_file(arrays, older, metadata={"format": "visemes 1"})
    with pytest.raises(MissingPart, match="visemes 1"):
        network.load(older)
    misshapen = tmp_path / "misshapen.safetensors"
    save_file(
        {**arrays, "fine2.bias": arrays["fine2.bias"][:-1]}, misshapen, metadata={"format": network.FORMAT}
    )
    with pytest.raises(MissingPart, match="misshapen"):
        network.load(misshapen)


def test_nobody_speaks_where_the_gate_is_shut() -> None:
    scores = np.zeros((2, len(Viseme) + 1), dtype=np.float32)
    scores[:, Viseme.OPEN] = 9.0
    scores[:, -1] = 9.0, -9.0
    open_gate, shut_gate = network.gated(scores)
    assert open_gate[Viseme.OPEN] > 0.99
    assert shut_gate[Viseme.SILENCE] > 0.99
    np.testing.assert_allclose(network.gated(scores).sum(axis=1), 1.0, atol=1e-6)


def test_a_row_of_the_spectrum_stands_for_its_own_ten_milliseconds() -> None:
    click = np.zeros(RATE, dtype=np.float32)
    click[37 * mel.HOP + mel.HOP // 2] = 1.0
    rows = np.concatenate(list(mel.mel_rows(iter([click]), 100)))
    assert rows.shape == (100, mel.BANDS)
    assert int(mel.loudness(rows).argmax()) == 37


def test_level_of_speech_comes_out_near_zero_however_loud_it_was() -> None:
    sound = loaded(RECORDINGS[0])[0]
    for gain in (1.0, 0.1, 0.02):
        rows = np.concatenate(list(mel.levelled(mel.mel_rows(iter([sound * np.float32(gain)]), 600))))
        assert len(rows) == 600
        assert abs(np.percentile(mel.loudness(rows), 90)) < 4.0


def test_quiet_steady_rows_are_background_and_what_rises_from_them_is_not() -> None:
    loud = np.random.default_rng(4).normal(-50.0, 1.5, 600)
    loud[300:330] = -30.0
    found = background.background(loud)
    assert found[:299].all()
    assert not found[300:330].any()
    assert found[331:].all()


def test_a_held_loud_note_is_not_background() -> None:
    assert not background.background(np.full(600, -20.0)).any()


def test_a_short_lull_is_not_background() -> None:
    loud = np.full(400, -20.0)
    loud[150:250] = -60.0
    assert not background.background(loud).any()


def test_muting_does_not_depend_on_the_parts() -> None:
    rows = np.random.default_rng(6).normal(-60.0, 2.0, (1500, mel.BANDS)).astype(np.float32)
    rows[700:900] += 40.0 * np.abs(np.sin(np.arange(200) / 12.0))[:, None].astype(np.float32)
    whole = np.concatenate(list(background.muted([rows], 1500)))
    parts = np.concatenate(list(background.muted(np.split(rows, [3, 500, 501, 1100]), 1500)))
    assert whole.shape == rows.shape
    np.testing.assert_array_equal(whole, parts)
    at_once = background.background(mel.loudness(rows))
    np.testing.assert_array_equal(whole[:, 0] == mel.FLOOR_DB, at_once)
    assert at_once[:690].all()
    assert not at_once[710:890].any()


@pytest.mark.parametrize("sizes", [[10], [3, 0, 4], [1] * 25, []])
def test_pieces_have_one_size_and_hold_the_sound(sizes: list[int]) -> None:
    blocks = np.split(np.arange(1, sum(sizes) + 1, dtype=np.float32), np.cumsum(sizes)[:-1]) if sizes else []
    pieces = list(mel.fixed_pieces(iter(blocks), 8, 20))
    assert [len(piece) for piece in pieces] == [8, 8, 8]
    expected = np.zeros(24)
    expected[: min(20, sum(sizes))] = np.arange(1, min(20, sum(sizes)) + 1)
    np.testing.assert_array_equal(np.concatenate(pieces), expected)


def test_sound_beyond_the_frames_is_not_read() -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield np.zeros(RATE, dtype=np.float32)

    assert len(VisemeNet().read(endless(), 30, FPS, quietly)) == 30


def test_a_closure_of_one_frame_is_held_at_full() -> None:
    likely = np.zeros((100, len(Viseme)))
    likely[:, Viseme.OPEN] = 1.0
    for start in range(40, 48):
        closed = likely.copy()
        closed[start : start + 6] = np.eye(len(Viseme))[Viseme.CLOSED]
        moves = motion.motion(closed, np.zeros(100))
        frames = motion.sampled(moves, np.arange(25) * 4 + 1.5, 4.0)
        assert frames[:, motion.MOTION.index("press")].max() == pytest.approx(1.0, abs=1e-6)


def test_a_flicker_of_the_network_does_not_close_the_lips() -> None:
    likely = np.zeros((100, len(Viseme)))
    likely[:, Viseme.OPEN] = 1.0
    likely[50] = np.eye(len(Viseme))[Viseme.CLOSED]
    assert motion.motion(likely, np.zeros(100))[:, motion.MOTION.index("press")].max() == 0.0


def test_every_viseme_has_a_shape() -> None:
    assert set(SHAPES) == set(Viseme)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p", [Viseme.CLOSED]),
        ("pʰ", [Viseme.CLOSED, Viseme.BACK]),
        ("tʃ", [Viseme.HUSH]),
        ("ts.", [Viseme.HUSH]),
        ("oʊ", [Viseme.ROUND_MID, Viseme.ROUND_CLOSE]),
        ("ɑ̃", [Viseme.OPEN]),
        ("aɪɚ", [Viseme.OPEN, Viseme.FRONT, Viseme.MID]),
        ("_", [Viseme.SILENCE]),
        ("ʲ", []),
    ],
)
def test_phonemes_become_visemes(name: str, expected: list[Viseme]) -> None:
    found = phonemes.visemes(name.replace("ʰ", "h"))
    assert [viseme for viseme, _ in found] == expected
    assert not found or sum(share for _, share in found) == pytest.approx(1.0)


def test_training_in_miniature_learns_and_numpy_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch", reason=TRAIN)
    pytest.importorskip("librosa", reason=TRAIN)
    from sonic_ext.train import visemes

    said: list[str] = []
    speakers = {file.stem: [sounds.load(file)] for file in RECORDINGS[:3]}
    *_, weights = visemes.train(speakers, visemes.Recipe(copies=1, epochs=8, batch=2), said.append)
    losses = [float(line.rsplit(" ", 1)[1]) for line in said]
    assert losses[-1] < 0.85 * losses[0]
    net = network.from_arrays(weights)
    layers = visemes.network()
    visemes.fill(layers, weights)
    rows = np.random.default_rng(2).normal(-20, 10, (50 * network.BLOCK, mel.BANDS)).astype(np.float32)
    with torch.no_grad():
        found = visemes.scores(layers, torch.tensor(network.inputs(rows)).T[None])[0].T.numpy()
    inner = slice(net.radius, len(rows) - net.radius)
    np.testing.assert_allclose(net(rows), network.gated(found)[inner], atol=1e-5)
