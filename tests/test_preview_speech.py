"""Speech → mouth motion: the shipped network on recordings whose phoneme times are known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonic_ext.engines.preview import background, mel, motion, network, speech
from sonic_ext.engines.preview.speech import RATE, MouthTrack, VisemeNet
from sonic_ext.engines.preview.visemes import SHAPES, Viseme
from sonic_ext.errors import Cancelled, MissingPart
from sonic_ext.progress import Stage
from sonic_ext.train import corpus, phonemes, scores
from sonic_ext.train.phonemes import Phoneme

DATA = Path(__file__).parent / "data"
RECORDINGS = [DATA / "media" / "speech_en_espeak.wav", *sorted((DATA / "speech").glob("*.wav"))]
FPS = 25
SHUT = 0.03


def quietly(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """A tick that lets everything pass."""


def read(sound: np.ndarray, fps: float = FPS, count: int | None = None) -> MouthTrack:
    """The whole sound as one block."""
    return VisemeNet().read(iter([sound]), count or max(1, int(len(sound) / RATE * fps)), fps, quietly)


@pytest.fixture(scope="module", params=RECORDINGS, ids=lambda file: file.stem)
def recording(request: pytest.FixtureRequest) -> corpus.Utterance:
    """Sound and phonemes; none of these sentences was trained on."""
    return corpus.load(request.param)


def tracks(fps: float) -> Iterator[tuple[MouthTrack, list[Phoneme]]]:
    """Every recording, read."""
    for sound, spoken in map(corpus.load, RECORDINGS):
        yield read(sound, fps), spoken


@pytest.fixture(scope="module")
def everything() -> scores.Scores:
    """All recordings measured together."""
    return scores.score(list(tracks(FPS)), FPS)


@pytest.fixture(scope="module")
def english() -> corpus.Utterance:
    """The shipped example."""
    return corpus.load(RECORDINGS[0])


def test_there_are_recordings_in_several_voices_and_languages() -> None:
    assert {file.stem.split("_")[0] for file in RECORDINGS[1:]} >= {"flite-rms", "espeak-cmn", "espeak-de"}


def test_lips_close_on_p_b_m_and_stay_open_on_vowels(everything: scores.Scores) -> None:
    assert everything.closures >= 45
    assert everything.closed >= 0.96
    assert everything.pressed_vowels < 0.05
    assert 0.4 < everything.vowel_opening < 0.7


def test_no_recording_falls_behind(recording: corpus.Utterance) -> None:
    sound, spoken = recording
    found = scores.score([(read(sound), spoken)], FPS)
    assert found.closed >= 0.85
    assert found.pressed_vowels < 0.1
    assert found.vowel_opening > 0.3


@pytest.mark.parametrize("fps", [24, 25, 50])
def test_closures_are_seen_at_any_frame_rate(fps: int) -> None:
    assert scores.score(list(tracks(fps)), fps).closed >= 0.96


def test_mouth_neither_leads_nor_lags(recording: corpus.Utterance) -> None:
    sound, spoken = recording
    assert abs(scores.score([(read(sound), spoken)], FPS).lag) <= 0.02


def test_lips_round_on_o_and_u_and_the_jaw_drops_on_a(everything: scores.Scores) -> None:
    assert everything.round_vowels > everything.other_vowels + 0.3
    assert everything.open_vowels > everything.close_vowels + 0.2


def test_pauses_shut_the_mouth(everything: scores.Scores) -> None:
    assert everything.pause_opening < SHUT


def test_band_limited_speech_still_closes(recording: corpus.Utterance) -> None:
    sound, spoken = recording
    narrow = corpus.resampled(corpus.resampled(sound, RATE, 8000), 8000, RATE)
    assert scores.score([(read(narrow), spoken)], FPS).closed >= 0.8


def test_speech_in_noise_still_closes(recording: corpus.Utterance) -> None:
    sound, spoken = recording
    hiss = np.random.default_rng(1).normal(size=len(sound)) * np.sqrt(np.mean(sound**2)) * 0.1
    found = scores.score([(read((sound + hiss).astype(np.float32)), spoken)], FPS)
    assert found.closed >= 0.7
    assert found.pressed_vowels < 0.1


def test_quiet_speech_moves_the_mouth_like_loud_speech(english: corpus.Utterance) -> None:
    loud, quiet = read(english[0]), read(english[0] * 0.02)
    assert np.corrcoef(loud.jaw, quiet.jaw)[0, 1] > 0.95
    assert np.median(quiet.jaw[quiet.speaking > 0.5]) > 0.7 * np.median(loud.jaw[loud.speaking > 0.5])


def _background(kind: str) -> np.ndarray:
    time = np.arange(4 * RATE) / RATE
    chance = np.random.default_rng(5)
    hiss = chance.normal(size=len(time))
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
    kind: str, english: corpus.Utterance
) -> None:
    before = _background(kind)
    track = read(np.concatenate([before, english[0], before]))
    seconds = len(before) / RATE
    assert track.jaw[: int((seconds - 0.1) * FPS)].max() < SHUT
    assert track.jaw[-int((seconds - 0.3) * FPS) :].max() < SHUT
    assert track.jaw.max() > 0.5


def test_motion_is_smooth(recording: corpus.Utterance) -> None:
    track = read(recording[0], fps=100)
    for values in (track.jaw, track.rounding, track.spread):
        bend = np.abs(np.diff(values, 2))
        assert np.percentile(bend, 99) < 0.06
        assert bend.max() < 0.12


def test_values_keep_their_ranges(recording: corpus.Utterance) -> None:
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


def test_silence_follows_sound_that_ends_early(english: corpus.Utterance) -> None:
    track = read(english[0][: 2 * RATE], count=100)
    assert track.jaw[:50].max() > 0.3
    assert track.jaw[58:].max() < SHUT


def test_a_fifth_of_a_second_is_enough(english: corpus.Utterance) -> None:
    vowel = next(p for p in english[1] if p.name == "oʊ")
    track = read(english[0][int(vowel.start * RATE) :][: RATE // 5], count=5)
    assert len(track) == 5
    assert track.jaw.max() > 0.2


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=6))
def test_the_cutting_into_blocks_changes_nothing(cuts: list[int]) -> None:
    sound = corpus.load(RECORDINGS[0])[0][:60_000]
    whole = read(sound, count=90)
    parts = VisemeNet().read(iter(np.split(sound, sorted(cuts))), 90, FPS, quietly)
    for name in motion.MOTION:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_windows_join_without_a_seam(english: corpus.Utterance, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(english[0])
    monkeypatch.setattr(speech, "PART", 130)
    parts = read(english[0])
    for name in motion.MOTION:
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), atol=1e-4)


def test_memory_does_not_grow_with_the_speech(english: corpus.Utterance) -> None:
    def peak(times: int) -> int:
        tracemalloc.start()
        VisemeNet().read(iter([english[0]] * times), int(times * 6.1 * FPS), FPS, quietly)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(3)
    assert peak(15) < 1.1 * peak(3)


def test_ticks_rise_to_the_count_and_can_stop_the_reading(english: corpus.Utterance) -> None:
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


def test_a_row_of_the_spectrum_stands_for_its_own_ten_milliseconds() -> None:
    click = np.zeros(RATE, dtype=np.float32)
    click[37 * mel.HOP + mel.HOP // 2] = 1.0
    rows = np.concatenate(list(mel.mel_rows(iter([click]), 100)))
    assert rows.shape == (100, mel.BANDS)
    assert int(mel.loudness(rows).argmax()) == 37


def test_level_of_speech_comes_out_near_zero_however_loud_it_was() -> None:
    sound = corpus.load(RECORDINGS[0])[0]
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


def test_silence_before_a_burst_belongs_to_the_plosive() -> None:
    sound = np.concatenate([np.ones(1600), np.zeros(800), np.ones(1600)]).astype(np.float32)
    moved = corpus.with_closures(sound, RATE, [Phoneme("a", 0.0, 0.15), Phoneme("p", 0.15, 0.25)])
    assert moved[0].end == moved[1].start == pytest.approx(0.1, abs=0.011)


def test_a_recording_survives_being_saved(tmp_path: Path) -> None:
    corpus.save(tmp_path, "one", (np.linspace(-0.5, 0.5, 800, dtype=np.float32), [Phoneme("a", 0.0, 0.05)]))
    sound, spoken = corpus.load(tmp_path / "one.wav")
    np.testing.assert_allclose(sound, np.linspace(-0.5, 0.5, 800), atol=1e-4)
    assert spoken == [Phoneme("a", 0.0, 0.05)]


def test_training_in_miniature_learns_and_numpy_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    from sonic_ext.train import visemes

    said: list[str] = []
    utterances = [corpus.load(file) for file in RECORDINGS[:2]]
    weights = visemes.train(utterances, visemes.Recipe(copies=1, epochs=6, batch=2), said.append)
    losses = [float(line.rsplit(" ", 1)[1]) for line in said]
    assert losses[-1] < 0.85 * losses[0]
    net = network.from_arrays(weights)
    layers = visemes.network()
    for index, layer in enumerate(layers):
        taps = weights[f"layer{index}.weights"].transpose(2, 1, 0)
        layer.load_state_dict(
            {"weight": torch.tensor(taps), "bias": torch.tensor(weights[f"layer{index}.bias"])}
        )
    rows = np.random.default_rng(2).normal(-20, 10, (120, mel.BANDS)).astype(np.float32)
    with torch.no_grad():
        by_torch = torch.softmax(visemes.scores(layers, torch.tensor(network.inputs(rows)).T[None]), 1)[
            0
        ].T.numpy()
    inner = slice(net.radius, len(rows) - net.radius)
    np.testing.assert_allclose(net(rows), by_torch[inner], atol=1e-5)
