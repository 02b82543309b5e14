"""Speech files: lengths to the sample, loudness, and every kind of trouble."""

from __future__ import annotations

import contextlib
import hashlib
import math
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import sounds
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sonic_ext.errors import BadAudio, BadSetting, Cancelled
from sonic_ext.media.audio import MAX_SECONDS, Speech, read_speech, wav_bytes
from sonic_ext.progress import Stage
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data/media"
LOSSLESS = (".wav", ".flac", ".ogg")


def wav_header(seconds: float, rate: int = 8000, channels: int = 1) -> bytes:
    size = round(seconds * rate) * 2 * channels
    head = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", size)
    )  # fmt: skip


def sparse_wav(path: Path, seconds: float) -> Path:
    """A WAV of zeros that takes no room on the disk."""
    header = wav_header(seconds)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + round(seconds * 8000) * 2)
    return path


@pytest.mark.parametrize("ending", list(sounds.CODECS))
@pytest.mark.parametrize("seconds", [0.2, 1.0, 7.31])
def test_lengths_agree_with_the_truth(tmp_path: Path, ending: str, seconds: float) -> None:
    path = sounds.write(tmp_path / f"a{ending}", sounds.tone(seconds, channels=2))
    speech = read_speech(path)
    assert speech.seconds == pytest.approx(seconds, abs=0.001)
    assert (speech.rate, speech.channels) == (48000, 2)
    assert speech.warnings == ()
    assert sum(map(len, speech.blocks(16000))) == round(speech.seconds * 16000)


@pytest.mark.parametrize("ending", [".wav", ".mp3", ".m4a", ".opus"])
def test_a_minute(tmp_path: Path, ending: str) -> None:
    path = sounds.write(tmp_path / f"a{ending}", sounds.tone(61, 24000), 24000)
    assert read_speech(path).seconds == pytest.approx(61, abs=0.001)


@pytest.mark.parametrize("ending", list(sounds.CODECS))
def test_nothing_moves_in_time(tmp_path: Path, ending: str) -> None:
    path = sounds.write(tmp_path / f"a{ending}", sounds.click(2.0, at=1.25))
    heard = np.abs(np.concatenate(list(read_speech(path).blocks(16000))))
    assert np.argmax(heard > 0.2 * heard.max()) / 16000 == pytest.approx(1.25, abs=0.004)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("speech_en_espeak.wav", 6.12),
        ("speech_en_flite_slt.mp3", 6.55),
        ("speech_zh_espeak.m4a", 6.80),
        ("short_en_flite_rms_2s3.wav", 2.30),
    ],
)
def test_the_shipped_speech(name: str, seconds: float) -> None:
    speech = read_speech(MEDIA / name)
    assert speech.seconds == pytest.approx(seconds, abs=0.04)
    assert speech.sha256 == hashlib.sha256((MEDIA / name).read_bytes()).hexdigest()
    assert -30 < speech.loudness < -10
    assert speech.warnings == ()


def test_one_voice_in_two_formats_sounds_the_same() -> None:
    loud = [read_speech(MEDIA / name).loudness for name in ("speech_zh_espeak.wav", "speech_zh_espeak.m4a")]
    assert loud[0] == pytest.approx(loud[1], abs=0.3)


# Loudness: the tones of EBU Tech 3341 and ITU-R BS.2217 have known values.


@pytest.mark.parametrize(("level", "channels", "lufs"), [(-23, 2, -23.0), (-33, 2, -33.0), (-23, 1, -26.0)])
def test_loudness_of_known_tones(tmp_path: Path, level: float, channels: int, lufs: float) -> None:
    time = np.arange(5 * 48000) / 48000
    tone = (10 ** (level / 20) * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    path = sounds.write(tmp_path / "a.wav", np.tile(tone, (channels, 1)))
    assert read_speech(path).loudness == pytest.approx(lufs, abs=0.1)


def test_pauses_do_not_lower_the_loudness(tmp_path: Path) -> None:
    speech = sounds.tone(4)
    path = sounds.write(tmp_path / "a.wav", np.concatenate([speech, np.zeros((1, 8 * 48000), np.float32)], 1))
    alone = sounds.write(tmp_path / "b.wav", speech)
    assert read_speech(path).loudness == pytest.approx(read_speech(alone).loudness, abs=0.25)


def test_resampling_agrees_with_ffmpegs_meter(tmp_path: Path) -> None:
    """The same voice measured by ffmpeg's own ebur128 filter, where this PyAV hands its numbers out."""
    if not hasattr(av.AudioFrame, "metadata"):
        pytest.skip("this PyAV does not show frame metadata")
    path = MEDIA / "speech_en_flite_slt.wav"
    graph, last = av.filter.Graph(), ""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        chain = [
            graph.add_abuffer(template=stream),
            graph.add("ebur128", "metadata=1"),
            graph.add("abuffersink"),
        ]
        chain[0].link_to(chain[1])
        chain[1].link_to(chain[2])
        graph.configure()
        for frame in container.decode(stream):
            graph.push(frame)
            with contextlib.suppress(av.error.BlockingIOError):
                while True:
                    last = graph.pull().metadata.get("lavfi.r128.I", last)
    assert read_speech(path).loudness == pytest.approx(float(last), abs=0.15)


# Blocks


def test_blocks_have_the_asked_size(tmp_path: Path) -> None:
    speech = read_speech(sounds.write(tmp_path / "a.wav", sounds.tone(2.5, 44100), 44100))
    blocks = list(speech.blocks(16000, 1.0))
    assert [len(block) for block in blocks] == [16000, 16000, 8000]
    assert all(block.dtype == np.float32 for block in blocks)
    again = np.concatenate(list(speech.blocks(16000, 0.3)))
    assert np.array_equal(np.concatenate(blocks), again)
    expected = sounds.tone(2.5, 16000)[0]
    assert np.abs(again - expected)[100:-100].max() < 0.01


def test_stereo_stays_stereo_and_mono_is_their_mean(tmp_path: Path) -> None:
    both = np.concatenate([sounds.tone(1, level=0.6), sounds.tone(1, level=0.2)])
    speech = read_speech(sounds.write(tmp_path / "a.wav", both))
    stereo = np.concatenate(list(speech.sound(48000, 2)), axis=1)
    assert np.abs(stereo - both).max() < 1e-3
    mono = np.concatenate(list(speech.blocks(48000)))
    assert np.abs(mono - both.mean(axis=0)).max() < 2e-3


def test_six_channels_are_mixed_down_and_said(tmp_path: Path) -> None:
    sound = np.zeros((6, 48000), np.float32)
    sound[2] = sounds.tone(1)[0]
    speech = read_speech(sounds.write(tmp_path / "a.wav", sound))
    assert "6 channels" in speech.warnings[0]
    assert np.concatenate(list(speech.blocks(16000))).std() > 0.05


def test_telephone_quality(tmp_path: Path) -> None:
    speech = read_speech(sounds.write(tmp_path / "a.wav", sounds.tone(1.5, 8000), 8000))
    assert (speech.rate, speech.seconds) == (8000, 1.5)
    assert (
        np.abs(np.concatenate(list(speech.blocks(48000))) - sounds.tone(1.5, 48000)[0])[500:-500].max() < 0.02
    )


@examples(max_examples=25)
@given(st.floats(0.05, 4.0), st.integers(4000, 50000), st.floats(0.01, 3.0))
def test_any_limit_rate_and_block_fit_exactly(limit: float, rate: int, seconds: float) -> None:
    path = MEDIA / "short_en_flite_rms_2s3.wav"
    speech = Speech(path, 2.3, 16000, 1, "", -20.0, (), limit)
    blocks = list(speech.blocks(rate, seconds))
    assert sum(map(len, blocks)) == round(limit * rate)
    assert all(len(block) == max(1, round(seconds * rate)) for block in blocks[:-1])
    if limit > 2.4:
        tail = np.concatenate(blocks)[math.ceil(2.35 * rate) :]
        assert not tail.any()


# Duration


def speech_of(seconds: float) -> Speech:
    return Speech(Path("a.wav"), seconds, 48000, 1, "", -20.0)


def test_without_a_duration_nothing_changes() -> None:
    assert speech_of(3.0).fitted(Settings()).length == 3.0


@pytest.mark.parametrize("duration", [2.95, 3.0, 3.1])
def test_small_differences_follow_the_audio(duration: float) -> None:
    assert speech_of(3.0).fitted(Settings(duration=duration)).length == 3.0


@pytest.mark.parametrize(
    ("duration", "policy", "offered"),
    [
        (2.0, "exact", "trim"),
        (4.0, "exact", "pad_silence"),
        (2.0, "pad_silence", "trim"),
        (4.0, "trim", "pad_silence"),
    ],
)
def test_larger_differences_are_refused_with_an_offer(duration: float, policy: str, offered: str) -> None:
    with pytest.raises(BadSetting, match=r"differs from the audio's 3\.00 s") as caught:
        speech_of(3.0).fitted(Settings(duration=duration, duration_policy=policy))
    assert f"duration_policy={offered}" in caught.value.hint


@pytest.mark.parametrize(("duration", "policy"), [(2.0, "trim"), (2.96, "trim"), (4.0, "pad_silence")])
def test_trimming_and_padding(duration: float, policy: str) -> None:
    assert speech_of(3.0).fitted(Settings(duration=duration, duration_policy=policy)).length == duration


# Trouble


def test_video_lends_its_sound(tmp_path: Path) -> None:
    from sonic_ext.media.video import VideoWriter

    path = tmp_path / "a.mp4"
    with VideoWriter(path, 64, 64, 25, read_speech(MEDIA / "short_en_flite_rms_2s3.wav")) as writer:
        for _ in range(58):
            writer.write(np.full((96, 64), 128, np.uint8))
    speech = read_speech(path)
    assert speech.seconds == pytest.approx(2.3, abs=0.001)
    assert "only its sound is used" in speech.warnings[0]


def test_video_without_sound_is_refused(tmp_path: Path) -> None:
    from sonic_ext.media.video import VideoWriter

    path = tmp_path / "a.mp4"
    with VideoWriter(path, 64, 64, 25) as writer:
        writer.write(np.full((96, 64), 128, np.uint8))
    with pytest.raises(BadAudio, match="video without sound"):
        read_speech(path)


@pytest.mark.parametrize("level", [0.0, 0.0005])
def test_silence_is_refused(tmp_path: Path, level: float) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.tone(1, level=level))
    with pytest.raises(BadAudio, match="only silence"):
        read_speech(path)


def test_a_faint_voice_is_said(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.tone(1, level=0.004))
    assert "very quiet" in read_speech(path).warnings[0]


@pytest.mark.parametrize("ending", [".wav", ".mp3", ".flac", ".opus"])
def test_a_truncated_file_gives_what_is_there_and_says_so(tmp_path: Path, ending: str) -> None:
    path = sounds.write(tmp_path / f"a{ending}", sounds.tone(6))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    speech = read_speech(path)
    assert 2.5 < speech.seconds < 3.5
    if ending != ".opus":
        # Ogg has no length in its header: half of such a file is a shorter file.
        assert "cut short" in " ".join(speech.warnings)
    assert sum(map(len, speech.blocks(8000))) == round(speech.seconds * 8000)


def test_a_truncated_m4a_cannot_be_read(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.m4a", sounds.tone(3))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BadAudio, match="damaged"):
        read_speech(path)


def test_damage_in_the_middle_is_left_out_and_said(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.flac", sounds.tone(4))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    speech = read_speech(path)
    assert 1 < speech.seconds <= 4.01
    assert speech.warnings


def bad_files() -> dict[str, tuple[bytes, str]]:
    return {
        "empty.wav": (b"", "empty"),
        "text.mp3": (b"Dear reader, this is no sound at all.\n" * 50, "not sound|no sound|without sound"),
        "list.m3u8": (b"#EXTM3U\n#EXTINF:10,\nhttp://localhost/a.ts\n", "not sound"),
        "script.wav": (b"ffconcat version 1.0\nfile speech.wav\n", "not sound"),
        "header.wav": (wav_header(0), "no sound|not sound"),
        "picture.mp3": ((MEDIA / "portrait_01.jpg").read_bytes(), "not sound|without sound"),
        "short.wav": (wav_header(0.01) + b"\x00\x40" * 80, "only 10 ms"),
    }


@pytest.mark.parametrize("name", list(bad_files()))
def test_bad_files_are_told_apart(tmp_path: Path, name: str) -> None:
    data, said = bad_files()[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadAudio, match=said) as caught:
        read_speech(tmp_path / name)
    assert caught.value.hint


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="no file at"):
        read_speech(tmp_path / "none.wav")
    with pytest.raises(BadAudio, match="is a folder"):
        read_speech(tmp_path)


def test_three_hours_are_refused_from_the_header(tmp_path: Path) -> None:
    ticks: list[int] = []
    path = sparse_wav(tmp_path / "a.wav", 3 * 3600)
    with pytest.raises(BadAudio, match=r"lasts 3:00:00; the limit is 2:00:00"):
        read_speech(path, lambda stage, done, total: ticks.append(done))
    assert ticks == []


def test_a_lying_header_does_not_hide_the_length(tmp_path: Path) -> None:
    """A header of 0xFFFFFFFF bytes, as streamed files have, is not taken for 37 hours."""
    path = tmp_path / "a.wav"
    sound = (sounds.tone(1.0, 16000)[0] * 32767).astype("<i2").tobytes()
    header = bytearray(wav_header(1, 16000))
    header[4:8] = header[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(header) + sound)
    assert read_speech(path).seconds == 1.0
    assert MAX_SECONDS < 0xFFFFFFFF / 32000


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    path = sounds.write(tmp_path / "a.wav", sounds.tone(60, 8000), 8000)
    seen: list[tuple[int, int]] = []

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        seen.append((done, total))
        if len(seen) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        read_speech(path, tick)
    assert [total for _, total in seen] == [60, 60, 60]
    assert seen[0][0] < seen[1][0] < seen[2][0] < 30


@pytest.mark.parametrize(
    "name", ["with space.wav", 'it\'s "so".wav', "你好.wav", "-dash.wav", "http:odd.wav", "a%03d.wav"]
)
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if sys.platform == "win32" and set(name) & set('":'):
        pytest.skip("Windows has no such names")
    plain = sounds.write(tmp_path / "plain.wav", sounds.tone(0.5))
    plain.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read_speech(name).seconds == 0.5


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    peaks = []
    for seconds in (10, 200):
        path = sounds.write(tmp_path / f"{seconds}.flac", sounds.tone(seconds, 8000), 8000)
        tracemalloc.start()
        for _ in read_speech(path).blocks(16000):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Held frames or samples would be megabytes; some versions of PyAV lose 80 bytes a frame.
    assert peaks[1] < peaks[0] + 2**20


@pytest.mark.parametrize("kind", [np.float32, np.int16])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_speech_like_the_file_of_them(kind: type, channels: int, tmp_path: Path) -> None:
    sound = sounds.tone(0.5, 16000, channels).T
    samples = sound.astype(np.float32) if kind is np.float32 else (sound * 32767).astype(np.int16)
    speech = Speech.from_samples(samples[:, 0] if channels == 1 else samples, 16000)
    path = tmp_path / "same.wav"
    path.write_bytes(wav_bytes(samples, 16000))
    read = read_speech(path)
    assert speech.data == path.read_bytes()
    assert (speech.seconds, speech.rate, speech.channels) == (0.5, 16000, channels)
    assert (speech.sha256, speech.loudness, speech.warnings) == (read.sha256, read.loudness, ())
    for rate in (16000, 48000):
        heard = [np.concatenate(list(each.blocks(rate))) for each in (speech, read)]
        assert np.array_equal(*heard)
    assert np.concatenate(list(speech.blocks(16000))) == pytest.approx(sound[:, 0], abs=1e-4)


def test_the_digest_of_samples_is_fixed() -> None:
    speech = Speech.from_samples((np.arange(1600) % 200 * 100).astype(np.int16), 16000)
    assert speech.sha256 == "9f8275cba524aebc9c5425b50a4123410e97a33645bd40c4ef6eb0eadcbe290c"


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(16000), "float64"),
        (np.zeros((2, 2, 2), np.float32), "shape"),
        (np.zeros(0, np.float32), "no sound"),
        (np.full(16000, np.nan, np.float32), "not finite"),
        (np.zeros(16000, np.float32), "silence"),
        (np.ones(16, np.float32), "only 1 ms"),
    ],
)
def test_samples_that_are_no_speech(samples: np.ndarray, words: str) -> None:
    with pytest.raises(BadAudio, match=words):
        Speech.from_samples(samples, 16000)


def test_a_watcher_that_fails_says_nothing_of_the_file(tmp_path: Path) -> None:
    """Whoever is told how far it is may have a closed window or a full disk."""

    def tick(*_: object) -> None:
        raise BrokenPipeError("the window is closed")

    with pytest.raises(BrokenPipeError):
        read_speech(sounds.write(tmp_path / "a.wav", sounds.tone(2.0)), tick)
