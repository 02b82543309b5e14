"""Sound as people really have it: odd channels, tracks, numbers, headers and time stamps.

Each is made of the same voice, and has to drive the mouth as that voice alone does.
"""

from __future__ import annotations

import contextvars
import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sounds
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sonic_ext.cli import main as cli
from sonic_ext.engines.preview.speech import RATE, MouthTrack, VisemeNet
from sonic_ext.errors import BadAudio
from sonic_ext.media import headers
from sonic_ext.media.audio import QUIET, SILENCE, Speech, read_speech
from sonic_ext.media.mixing import layout_weights, speech_covariance, unopposed
from sonic_ext.media.samples import decoded

VOICE = sounds.voice()
LOUDNESS = Speech.from_samples(VOICE[0], 16000).loudness
SAMPLES_WAV = {"float32": (3, "<f4"), "float64": (3, "<f8"), "int24": (1, "<i4"), "int32": (1, "<i4")}


def stacked(*channels: np.ndarray) -> np.ndarray:
    return np.concatenate(channels).astype(np.float32)


def wav(path: Path, sound: np.ndarray, rate: int = 16000, kind: str = "float32") -> Path:
    """Numbers as they are, or whole ones for -1 to 1, without a mask of channels; [channels, samples]."""
    tag, code = SAMPLES_WAV[kind]
    width, channels = int(kind[-2:]) // 8, len(sound)
    values = sound.T if tag == 3 else np.round(sound.T.astype(np.float64) * (2**31 - 1))
    data = values.astype(code).tobytes()
    if width == 3:
        data = np.frombuffer(data, np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    frame = width * channels
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, 8 * width)
    form = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + struct.pack("<I", len(form) + len(data)) + form + data)
    return path


def heard(speech: Speech, rate: int = 16000) -> np.ndarray:
    return np.concatenate(list(speech.blocks(rate)))


def levels(sound: np.ndarray, rate: int = 16000) -> np.ndarray:
    """Decibels of every 100 ms."""
    step = rate // 10
    blocks = sound[: len(sound) // step * step].reshape(-1, step).astype(np.float64)
    return 10 * np.log10((blocks**2).mean(axis=1) + 1e-12)


def check_like_the_voice(speech: Speech, within: float = 1.0, voice: np.ndarray = VOICE) -> None:
    """Where the voice is loud, the mono mix is as loud; so it is measured, and not called quiet."""
    ours, theirs = levels(heard(speech)), levels(voice[0])
    loud = theirs > theirs.max() - 30
    assert np.abs(ours[: len(theirs)] - theirs)[loud].max() < within
    assert speech.loudness == pytest.approx(LOUDNESS, abs=within)
    assert "quiet" not in " ".join(speech.warnings)


def mouth(speech: Speech, fps: int = 25) -> MouthTrack:
    return VisemeNet().read(speech.blocks(RATE), math.ceil(speech.seconds * fps), fps, lambda *_: None)


# Channels


def test_an_inverted_channel_leaves_the_mouth_as_it_is(tmp_path: Path) -> None:
    speech = read_speech(sounds.write(tmp_path / "a.wav", stacked(VOICE, -VOICE), 16000))
    check_like_the_voice(speech)
    assert "cancel" in " ".join(speech.warnings)
    alone = mouth(Speech.from_samples(VOICE[0], 16000))
    for name, values in vars(mouth(speech)).items():
        assert values == pytest.approx(getattr(alone, name), abs=0.02), name


@pytest.mark.parametrize("ending", [".wav", ".flac", ".m4a", ".mp3", ".opus"])
def test_inverted_in_other_formats(tmp_path: Path, ending: str) -> None:
    sound = sounds.voice(48000)
    speech = read_speech(sounds.write(tmp_path / f"a{ending}", stacked(sound, -sound)))
    check_like_the_voice(speech, 2.0)
    sides = np.concatenate(list(speech.sound(48000, 2)), axis=1)
    assert np.array_equal(sides[0], sides[1])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000, 192000])
def test_inverted_at_every_rate(tmp_path: Path, rate: int) -> None:
    sound = sounds.voice(rate)
    speech = read_speech(wav(tmp_path / "a.wav", stacked(sound, -sound), rate))
    assert speech.mix.mono
    alone = heard(Speech.from_samples(sound[0], rate))
    assert np.abs(heard(speech)) == pytest.approx(np.abs(alone), abs=1e-3)


@examples(max_examples=30)
@given(
    weaker=st.floats(0.4, 1.0),
    right=st.booleans(),
    delay=st.integers(0, 3),
    noise=st.floats(0.0, 0.02),
    turned=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_a_voice_never_cancels(
    weaker: float, right: bool, delay: int, noise: float, turned: Sequence[bool]
) -> None:
    """Whatever parts of it are inverted, in whichever channel, a little quieter, later, or with noise."""
    signs = np.repeat(np.where(turned, -1.0, 1.0), math.ceil(VOICE.shape[1] / len(turned)))[: VOICE.shape[1]]
    other = weaker * np.roll(VOICE * signs, delay)
    sound = stacked(*((other, VOICE) if right else (VOICE, other)))
    sound += np.random.default_rng(1).normal(0, noise, sound.shape).astype(np.float32)
    speech = Speech.from_samples(np.ascontiguousarray(sound.T), 16000)
    ours, theirs = levels(heard(speech)), levels(VOICE[0])
    loud = theirs > theirs.max() - 20
    assert (ours - theirs)[loud].min() > -8
    assert speech.loudness > LOUDNESS - 6


def test_inverted_in_a_part_only(tmp_path: Path) -> None:
    sound = np.tile(VOICE, 4)
    sign = np.ones(sound.shape[1], np.float32)
    sign[sound.shape[1] // 4 : sound.shape[1] // 2] = -1
    speech = read_speech(wav(tmp_path / "a.wav", stacked(sound, sound * sign)))
    ours, theirs = levels(heard(speech)), levels(sound[0])
    loud = theirs > theirs.max() - 30
    assert np.abs(ours - theirs)[loud].max() < 3
    assert "cancel" in " ".join(speech.warnings)


@pytest.mark.parametrize("delay", [5, 12, 40])
@pytest.mark.parametrize("sign", [1, -1])
def test_two_microphones_apart(tmp_path: Path, delay: int, sign: int) -> None:
    """Some of the voice cancels, whatever the sign; the video keeps both sides."""
    sound = stacked(VOICE, sign * np.roll(VOICE, delay))
    speech = read_speech(wav(tmp_path / "a.wav", sound))
    ours, theirs = levels(heard(speech)), levels(VOICE[0])
    assert (ours - theirs)[theirs > theirs.max() - 20].min() > -12
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97
    if not speech.mix.mono:
        both = np.concatenate(list(speech.sound(16000, 2)), axis=1)
        assert np.abs(both - sound).max() < 1e-5
        assert speech.warnings == ()


def test_inverted_in_a_moment_of_a_long_file(tmp_path: Path) -> None:
    sound = np.tile(VOICE, 60)
    sign = np.ones(sound.shape[1], np.float32)
    part = slice(20 * VOICE.shape[1], 21 * VOICE.shape[1])
    sign[part] = -1
    speech = read_speech(wav(tmp_path / "a.wav", stacked(sound, sound * sign)))
    ours, theirs = levels(heard(speech)[part]), levels(VOICE[0])
    assert np.abs(ours - theirs)[theirs > theirs.max() - 20].max() < 3


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (4, 5)])
def test_inverted_in_surround(tmp_path: Path, pair: tuple[int, int]) -> None:
    sound = np.zeros((6, VOICE.shape[1]), np.float32)
    sound[pair[0]], sound[pair[1]] = VOICE[0], -VOICE[0]
    speech = read_speech(sounds.write(tmp_path / "a.wav", sound, 16000))
    check_like_the_voice(speech)
    everywhere = np.tile(VOICE, (6, 1)) * np.array([1, -1, 1, 1, -1, 1], np.float32)[:, None]
    check_like_the_voice(read_speech(sounds.write(tmp_path / "b.wav", everywhere, 16000)))


def test_what_does_not_cancel_stays_as_it_was(tmp_path: Path) -> None:
    """Two sides that differ, a wide stereo and a weak, inverted echo are mixed half and half."""
    noise = np.random.default_rng(2).normal(0, 0.1, VOICE.shape).astype(np.float32)
    for index, sides in enumerate(
        [(VOICE, noise), (VOICE + noise / 8, VOICE - noise / 8), (VOICE, -0.2 * VOICE)]
    ):
        speech = read_speech(wav(tmp_path / f"{index}.wav", stacked(*sides)))
        assert np.abs(heard(speech) - stacked(*sides).mean(axis=0)).max() < 1e-5
        assert speech.warnings == ()
        both = np.concatenate(list(speech.sound(16000, 2)), axis=1)
        assert np.abs(both - stacked(*sides)).max() < 1e-5


def test_the_louder_of_opposed_channels_is_kept() -> None:
    blocks = [
        stacked(VOICE, -VOICE),
        stacked(0.5 * VOICE, -VOICE),
        stacked(VOICE, VOICE),
        stacked(VOICE, 0 * VOICE),
    ]
    kept = [unopposed(speech_covariance(block, 16000), np.full(2, 0.5), None).tolist() for block in blocks]
    assert kept == [[True, False], [False, True], [True, True], [True, True]]
    flapping = speech_covariance(stacked(0.9 * VOICE, -VOICE), 16000)
    assert unopposed(flapping, np.full(2, 0.5), np.array([True, False])).tolist() == [True, False]


@pytest.mark.parametrize("side", [0, 1])
def test_a_voice_on_one_side(tmp_path: Path, side: int) -> None:
    sound = np.zeros((2, VOICE.shape[1]), np.float32)
    sound[side] = VOICE
    speech = read_speech(wav(tmp_path / "a.wav", sound))
    check_like_the_voice(speech)
    assert speech.warnings == ()
    both = np.concatenate(list(speech.sound(16000, 2)), axis=1)
    assert both == pytest.approx(sound, abs=1e-5)


@pytest.mark.parametrize(
    ("channels", "voiced"),
    [(6, 3), (6, 2), (6, 5), (3, 2), (8, 3), (8, 7), (16, 15), (16, 0), (4, 3), (7, 6)],
)
def test_a_voice_in_any_channel_is_heard_and_said(tmp_path: Path, channels: int, voiced: int) -> None:
    sound = np.random.default_rng(3).normal(0, 1e-4, (channels, VOICE.shape[1])).astype(np.float32)
    sound[voiced] += VOICE[0]
    speech = read_speech(sounds.write(tmp_path / "a.wav", sound, 16000))
    check_like_the_voice(speech)
    assert f"only channel {voiced + 1}" in speech.warnings[0]
    for side in np.concatenate(list(speech.sound(16000, 2)), axis=1):
        assert levels(side).max() > levels(VOICE[0]).max() - 4


@pytest.mark.parametrize(("channels", "voiced"), [(9, 8), (16, 15), (24, 20), (12, 3)])
def test_a_voice_in_a_channel_without_a_place(tmp_path: Path, channels: int, voiced: int) -> None:
    """A recorder's file says how many channels there are, and not where."""
    sound = np.zeros((channels, VOICE.shape[1]), np.float32)
    sound[voiced] = VOICE
    speech = read_speech(wav(tmp_path / "a.wav", sound))
    check_like_the_voice(speech)
    assert f"only channel {voiced + 1}" in speech.warnings[0]


def test_a_voice_in_one_of_many_noisy_channels(tmp_path: Path) -> None:
    """Faint noise in fifteen others does not dilute it until it is called quiet."""
    sound = np.random.default_rng(4).normal(0, 0.001, (16, VOICE.shape[1])).astype(np.float32)
    sound[15] += 0.2 * VOICE[0]
    speech = read_speech(wav(tmp_path / "a.wav", sound))
    assert speech.loudness == pytest.approx(LOUDNESS - 14, abs=2)
    assert speech.warnings == ("The sound has 16 channels; only channel 16 holds a voice, and it is used.",)


def test_a_voice_in_lfe_beside_faint_noise(tmp_path: Path) -> None:
    sound = np.random.default_rng(3).normal(0, 0.01, (6, VOICE.shape[1])).astype(np.float32)
    sound[3] += VOICE[0]
    speech = read_speech(sounds.write(tmp_path / "a.wav", sound, 16000))
    assert "channel 4 (LFE) included" in speech.warnings[0]
    assert np.corrcoef(heard(speech), VOICE[0])[0, 1] > 0.9


def test_the_rumble_of_a_film_stays_out(tmp_path: Path) -> None:
    time = np.arange(VOICE.shape[1]) / 16000
    sound = np.tile(0.2 * VOICE, (6, 1)).astype(np.float32)
    sound[3] = 0.9 * np.sin(2 * np.pi * 50 * time)
    speech = read_speech(sounds.write(tmp_path / "a.wav", sound, 16000))
    assert speech.warnings == ("The sound has 6 channels; they are mixed down.",)
    assert np.corrcoef(heard(speech), VOICE[0])[0, 1] > 0.99


@pytest.mark.parametrize(
    "layout", ["stereo", "5.1", "7.1", "2.1", "hexadecagonal", "16 channels", "ambisonic 1"]
)
def test_weights_of_layouts(layout: str) -> None:
    import av

    channels = len(av.AudioLayout(layout).channels)
    for sides in (1, 2):
        weights = layout_weights(layout, channels, sides)
        assert weights.shape == (sides, channels)
        assert weights.any(axis=1).all()
        assert weights.sum(axis=1).max() <= 1 + 1e-6
    if layout == "5.1":
        assert not layout_weights(layout, channels, 1)[0, 3]


# Tracks


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mka", ".mov"])
@pytest.mark.parametrize("silent", [1, 3])
def test_a_silent_track_is_passed_over(tmp_path: Path, ending: str, silent: int) -> None:
    sound = sounds.voice(48000)
    nothing = np.zeros((2, sound.shape[1]), np.float32)
    tracks = [nothing] * silent + [sound]
    speech = read_speech(sounds.write(tmp_path / f"a{ending}", tracks[0], more=tracks[1:]))
    check_like_the_voice(speech, 1.5)
    said = f"Sound track 1 of {silent + 1} is silent; track {silent + 1} is used."
    assert speech.warnings == (said,)
    assert speech.channels == 1


def test_of_two_voices_the_first_speaks(tmp_path: Path) -> None:
    sound = sounds.voice(48000)
    speech = read_speech(sounds.write(tmp_path / "a.mp4", sound, more=[sounds.tone(2.3)]))
    check_like_the_voice(speech, 1.5)
    assert speech.warnings == ()


def test_a_faint_first_track_is_kept_where_no_other_is_loud(tmp_path: Path) -> None:
    sound = sounds.voice(48000)
    speech = read_speech(sounds.write(tmp_path / "a.mka", 0.01 * sound, more=[0.02 * sound]))
    assert speech.mix.track == 0
    speech = read_speech(sounds.write(tmp_path / "b.mka", 0.01 * sound, more=[sound]))
    assert speech.warnings == ("Sound track 1 of 2 is very quiet; track 2 is used.",)


def test_another_track_that_cannot_be_used(tmp_path: Path) -> None:
    sound = sounds.voice(48000)
    broken = np.where(np.arange(sound.shape[1]) == 90000, np.nan, sound).astype(np.float32)
    assert read_speech(sounds.write(tmp_path / "a.mka", 0.01 * sound, more=[broken])).mix.track == 0
    with pytest.raises(BadAudio, match="NaN"):
        read_speech(sounds.write(tmp_path / "b.mka", 0 * sound, more=[broken]))


def test_only_silent_tracks_are_refused(tmp_path: Path) -> None:
    nothing = np.zeros((1, 48000), np.float32)
    path = sounds.write(tmp_path / "a.mp4", nothing, more=[nothing, nothing])
    with pytest.raises(BadAudio, match="only silence in all its 3 sound tracks"):
        read_speech(path)


# Numbers


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("ending", [".wav", ".mka", ".mov", ".caf"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, ending: str, value: float, said: str) -> None:
    sound = stacked(VOICE, VOICE)
    sound[1, 20000] = value
    path = tmp_path / f"a{ending}"
    wav(path, sound) if ending == ".wav" else sounds.write(path, sound, 16000)
    with pytest.raises(
        BadAudio, match=rf"{path.name} holds samples that are .*{said}.* at 1\.25 s"
    ) as caught:
        read_speech(path)
    assert caught.value.hint


def test_one_not_a_number_late_in_a_long_file(tmp_path: Path) -> None:
    """Found while it is read block by block."""
    tracemalloc = pytest.importorskip("tracemalloc")
    sound = sounds.tone(60, 8000)
    sound[0, -100] = np.nan
    path = wav(tmp_path / "a.wav", sound, 8000)
    tracemalloc.start()
    with pytest.raises(BadAudio, match=r"NaN.* at 59\.99 s"):
        read_speech(path)
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


def test_float64_beyond_float32_is_infinite(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", VOICE.astype(np.float64) * 1e300, kind="float64")
    with pytest.raises(BadAudio, match="infinite"):
        read_speech(path)


def test_numpy_warns_as_before_while_a_file_is_read(tmp_path: Path) -> None:
    """And a reader that is given up elsewhere (another thread, another task) has nothing to put back."""
    before = np.geterr()
    pieces = decoded(wav(tmp_path / "a.wav", VOICE), 0, [])
    next(pieces)
    assert np.geterr() == before
    contextvars.Context().run(pieces.close)


@pytest.mark.parametrize("kind", list(SAMPLES_WAV))
def test_wide_samples_are_fine(tmp_path: Path, kind: str) -> None:
    speech = read_speech(wav(tmp_path / "a.wav", VOICE, kind=kind))
    assert heard(speech) == pytest.approx(VOICE[0], abs=1e-5)
    assert speech.warnings == ()


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("factor", [4.0, 2.0**15, 2.0**23, 2.0**31, 1e20])
def test_other_scales_are_brought_down_and_said(tmp_path: Path, kind: str, factor: float) -> None:
    speech = read_speech(wav(tmp_path / "a.wav", VOICE * factor, kind=kind))
    peak = np.abs(VOICE).max()
    assert heard(speech) == pytest.approx(VOICE[0] / peak, abs=1e-4)
    assert speech.loudness == pytest.approx(LOUDNESS - 20 * math.log10(peak), abs=0.1)
    over = round(20 * math.log10(factor * peak))
    assert speech.warnings == (f"The sound reaches {over} dB beyond full scale; it was scaled down.",)


def test_a_little_above_full_scale_is_left_alone(tmp_path: Path) -> None:
    speech = read_speech(wav(tmp_path / "a.wav", VOICE * 1.3 / np.abs(VOICE).max(), kind="float32"))
    assert np.abs(heard(speech)).max() == pytest.approx(1.3, abs=0.01)
    assert speech.warnings == ()


def test_a_damaged_sample_does_not_hide_the_voice(tmp_path: Path) -> None:
    sound = VOICE.copy()
    sound[0, 9000] = 1e20
    speech = read_speech(wav(tmp_path / "a.wav", sound, kind="float32"))
    assert "clipped" in " ".join(speech.warnings)
    off = np.abs(heard(speech) - VOICE[0]) > 1e-3
    assert off.sum() < 10


def test_a_few_words_in_a_long_silence_are_no_damage(tmp_path: Path) -> None:
    sound = np.random.default_rng(5).normal(0, 1e-4, (1, 40 * 16000)).astype(np.float32)
    sound[:, 300000 : 300000 + VOICE.shape[1]] += VOICE
    speech = read_speech(wav(tmp_path / "a.wav", sound * 32768))
    assert "scaled down" in speech.warnings[0]
    assert speech.loudness == pytest.approx(LOUDNESS - 20 * math.log10(np.abs(VOICE).max()), abs=1)


def test_samples_in_memory_are_scaled_too() -> None:
    speech = Speech.from_samples(VOICE[0] * 32768, 16000)
    assert "scaled down" in speech.warnings[0]
    assert 0.9 < np.abs(heard(speech)).max() <= 1.001


@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3", ".ogg", ".m4a", ".wma", ".aac"])
@pytest.mark.parametrize("constant", [0.5, -0.9, 0.01])
def test_a_constant_is_silence(tmp_path: Path, ending: str, constant: float) -> None:
    path = sounds.write(tmp_path / f"a{ending}", np.full((1, 96000), constant, np.float32))
    with pytest.raises(BadAudio, match="only silence"):
        read_speech(path)


def test_a_constant_in_two_channels_and_beyond_full_scale(tmp_path: Path) -> None:
    sound = np.ones((2, 32000), np.float32) * np.array([[7.0], [-0.3]], np.float32)
    with pytest.raises(BadAudio, match="only silence"):
        read_speech(wav(tmp_path / "a.wav", sound))


def test_a_voice_on_a_constant_moves_the_mouth_as_without(tmp_path: Path) -> None:
    speech = read_speech(wav(tmp_path / "a.wav", 0.5 * VOICE + 0.4))
    assert heard(speech).mean() == pytest.approx(0, abs=1e-3)
    assert heard(speech) == pytest.approx(0.5 * (VOICE[0] - VOICE.mean()), abs=1e-3)
    assert speech.warnings == ()


# Lengths


@pytest.mark.parametrize("ending", list(sounds.MORE_CODECS))
def test_lengths_in_more_formats(tmp_path: Path, ending: str) -> None:
    sound = np.tile(sounds.voice(48000), 3)
    speech = read_speech(sounds.write(tmp_path / f"a{ending}", sound))
    # Without marks of their own, the encoder's delay and padding remain: two frames.
    within = 0.07 if ending in (".aac", ".ac3", ".wma", ".ts", ".flv") else 0.022
    assert speech.seconds == pytest.approx(sound.shape[1] / 48000, abs=within)
    assert speech.warnings == ()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_wma_is_as_long_as_it_says(tmp_path: Path, rate: int) -> None:
    sound = sounds.voice(rate)
    speech = read_speech(sounds.write(tmp_path / "a.wma", sound, rate))
    assert speech.seconds == pytest.approx(2.3, abs=0.025)
    shift = np.argmax(np.correlate(heard(speech)[6000:20000], VOICE[0, 8000:18000])) - 2000
    assert abs(shift) < 100


def vbr_mp3(path: Path, sound: np.ndarray, rate: int, *, xing: bool) -> Path:
    options = {"global_quality": str(118 * 6), "flags": "+qscale"}
    return sounds.write(path, sound, rate, options=options, container_options={"write_xing": str(int(xing))})


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("loud_first", [False, True])
def test_variable_bit_rate_is_measured_not_believed(tmp_path: Path, rate: int, loud_first: bool) -> None:
    """Beginning with silence, the first frame's bit rate makes a guess of many times the length."""
    sound = sounds.voice(rate)
    quiet = np.zeros((1, 8 * rate), np.float32)
    both = np.concatenate([sound, quiet] if loud_first else [quiet, sound, sound], axis=1)
    speech = read_speech(vbr_mp3(tmp_path / "a.mp3", both, rate, xing=False))
    assert speech.seconds == pytest.approx(both.shape[1] / rate, abs=2600 / rate)
    assert speech.warnings == ()


@pytest.mark.parametrize("factor", [0.25, 4])
def test_a_wrong_count_of_frames_is_no_damage(tmp_path: Path, factor: float) -> None:
    sound = np.tile(sounds.voice(44100), 2)
    path = vbr_mp3(tmp_path / "a.mp3", sound, 44100, xing=True)
    data = bytearray(path.read_bytes())
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    frames = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = round(frames * factor).to_bytes(4, "big")
    path.write_bytes(data)
    speech = read_speech(path)
    assert speech.seconds == pytest.approx(sound.shape[1] / 44100, abs=0.06)
    assert speech.warnings == ()


def test_a_cut_mp3_behind_a_picture_is_still_told(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.mp3", np.tile(sounds.voice(44100), 3), 44100)
    data = path.read_bytes()
    size = struct.pack(">I", 300_000)  # below 2 ** 21: seven bits a byte from here
    size = bytes((300_000 >> shift) & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x04\x00\x00" + size + bytes(300_000)
    path.write_bytes(tag + data)
    assert read_speech(path).warnings == ()
    path.write_bytes(tag + data[: len(data) // 2])
    assert "cut short" in read_speech(path).warnings[0]


@pytest.mark.parametrize(
    ("head", "cut"),
    [
        (b"Xing" + struct.pack(">III", 3, 100, 5000), True),
        (b"Xing" + struct.pack(">III", 3, 100, 900), False),
        (b"Info" + struct.pack(">II", 2, 5000), True),
        (b"Info" + struct.pack(">II", 1, 5000), False),
        (b"VBRI" + struct.pack(">HHHII", 1, 2, 3, 5000, 100), True),
        (b"VBRI" + struct.pack(">HHHII", 1, 2, 3, 900, 100), False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("tags", [0, 1, 2])
def test_an_mp3_tells_by_its_bytes_that_it_is_cut(tmp_path: Path, head: bytes, cut: bool, tags: int) -> None:
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 39, 8]) + bytes(5000)
    (tmp_path / "a.mp3").write_bytes(tags * tag + bytes(36) + head + bytes(1000))
    assert headers._mp3_misses_bytes(tmp_path / "a.mp3") is cut


# Time stamps


@pytest.mark.parametrize("ending", [".webm", ".mkv", ".mka", ".mp4", ".ts", ".flv"])
def test_gaps_keep_their_time(tmp_path: Path, ending: str) -> None:
    sound = np.tile(sounds.voice(48000), 3)
    speech = read_speech(sounds.write(tmp_path / f"a{ending}", sound, gaps=[(2.0, 2.0), (4.0, 0.5)]))
    assert speech.seconds == pytest.approx(sound.shape[1] / 48000 + 2.5, abs=0.07)
    assert speech.warnings == ()
    ours = heard(speech)
    assert not ours[round(2.1 * 16000) : round(3.9 * 16000)].any()
    late = levels(ours)[65:90]
    assert late == pytest.approx(levels(heard(Speech.from_samples(sound[0], 48000)))[40:65], abs=25)
    assert np.corrcoef(late, levels(heard(Speech.from_samples(sound[0], 48000)))[40:65])[0, 1] > 0.9


def test_many_small_gaps(tmp_path: Path) -> None:
    """As a microphone that sends nothing in pauses leaves them."""
    gaps = [(0.1 * number, 0.06) for number in range(1, 20)]
    speech = read_speech(sounds.write(tmp_path / "a.webm", sounds.voice(48000), gaps=gaps))
    assert speech.seconds == pytest.approx(2.3 + 19 * 0.06, abs=0.03)
    assert speech.warnings == ()


def test_sound_that_begins_later_than_the_file(tmp_path: Path) -> None:
    sound = sounds.voice(48000)
    nothing = np.zeros((2, 3 * 48000), np.float32)
    for ending in (".mka", ".mp4", ".ts"):
        path = sounds.write(tmp_path / f"a{ending}", nothing, more=[sound], later=0.7)
        speech = read_speech(path)
        assert speech.seconds == pytest.approx(3.0, abs=0.07)
        assert np.abs(heard(speech)[:10400]).max() < 0.01
    path = sounds.write(tmp_path / "b.webm", sound, gaps=[(0.0, 5.0)])
    assert read_speech(path).seconds == pytest.approx(2.3, abs=0.03)


def test_a_gap_beyond_the_limit_is_too_long(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.mka", sounds.voice(48000), gaps=[(1.0, 7300.0)])
    with pytest.raises(BadAudio, match="the limit is 2:00:00"):
        read_speech(path)


def test_overlapping_stamps_lose_nothing(tmp_path: Path) -> None:
    from sonic_ext.media.samples import _Timeline

    class Container:
        format = type("Format", (), {"name": "matroska,webm"})
        start_time, duration, time_base = 0, None, Fraction(1, 100)

    class Packet:
        pts, duration = 20, 32

    path = tmp_path / "a.webm"
    path.write_bytes(bytes(100))
    timeline = _Timeline(Container, Container, path)
    stamps = (0, 2, 2, 3, 6, 50, 52, 500, 0, 2, 20, None)
    # Overlaps are kept whole and use up a small gap after them; stamps that begin anew go on from there.
    silences = [0, 0, 0, 0, 0, 0.4, 0, 4.46, 0, 0, 0.16, 0]
    assert [timeline.place(stamp, 0.02) for stamp in stamps] == pytest.approx(silences)
    assert timeline.open_end() == 0
    timeline.note_packet(Packet)
    # The last packet lasts longer than its samples: until 5.22 + 0.32 s, and 5.24 s were given out.
    assert timeline.open_end() == pytest.approx(0.28)


# All the way


def test_the_command_line_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], media: Path) -> None:
    portrait = str(media / "portrait_01.jpg")
    path = wav(tmp_path / "a.wav", stacked(VOICE, -VOICE) * 32768)
    assert cli.main(["preflight", portrait, str(path)]) == 0
    said = " ".join(capsys.readouterr())
    assert "cancel each other" in said
    assert "scaled down" in said
    sound = VOICE.copy()
    sound[0, 100] = np.nan
    assert cli.main(["preflight", portrait, str(wav(tmp_path / "b.wav", sound))]) == 2
    assert "NaN" in " ".join(capsys.readouterr())


def test_silence_and_faintness_are_far_apart() -> None:
    assert 20 * math.log10(SILENCE) < QUIET
