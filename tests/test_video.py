"""Video files: lengths, streams, tags and tidiness of what is written; reading it back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import sounds
from patience import PATIENCE

from sonic_ext.errors import BadAudio, BadOutput, BadVideo
from sonic_ext.media.audio import Speech, read_speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.video import VideoWriter, probe, read_frames, read_planes, remux, shifted

MEDIA = Path(__file__).parent / "data/media"
TAGS = {"AIGC": '{"Label":"1"}', "comment": "Steps: 25, 你好", "title": "it's"}
GREY = np.full((96, 64), 128, np.uint8)


def written(path: Path, speech: Speech | None, frames: int, fps: int = 25, **options: object) -> Path:
    with VideoWriter(path, 64, 64, fps, speech, **options) as writer:  # type: ignore[arg-type]
        for number in range(frames):
            # A bar that moves, so that frames can be told apart.
            frame = GREY.copy()
            frame[:64, (number * 3) % 60 : (number * 3) % 60 + 4] = 220
            writer.write(frame)
    return path


def boxes_of(path: Path) -> list[str]:
    """Names of an MP4's top-level boxes, in order."""
    data, place, names = path.read_bytes(), 0, []
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        names.append(data[place + 4 : place + 8].decode())
        place += size
    return names


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def voice() -> Speech:
    return read_speech(MEDIA / "short_en_flite_rms_2s3.wav")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, voice: Speech) -> Path:
    return written(tmp_path_factory.mktemp("clip") / "clip.mp4", voice, 58, metadata=TAGS)


# What is written


@pytest.mark.parametrize("ending", [".wav", ".mp3", ".m4a", ".opus"])
@pytest.mark.parametrize("seconds", [0.04, 0.2, 1.0, 7.31])
def test_picture_sound_and_file_last_as_long(tmp_path: Path, ending: str, seconds: float) -> None:
    speech = read_speech(sounds.write(tmp_path / f"a{ending}", sounds.tone(seconds)))
    frames = max(1, round(seconds * 25))
    info = probe(written(tmp_path / "a.mp4", speech, frames))
    assert info.frames == frames
    assert info.seconds == pytest.approx(frames / 25, abs=1e-4)
    for length in (info.seconds, info.audio_seconds, info.container_seconds):
        assert length == pytest.approx(seconds, abs=0.0201)
    assert read_speech(tmp_path / "a.mp4").seconds == pytest.approx(seconds, abs=0.001)


def test_what_is_in_the_file(clip: Path) -> None:
    info = probe(clip)
    assert (info.width, info.height, info.fps, info.frames) == (64, 64, 25.0, 58)
    assert (info.codec, info.profile, info.pixel_format) == ("h264", "High", "yuv420p")
    assert (info.audio_codec, info.audio_rate, info.audio_channels) == ("aac", 48000, 1)
    assert info.metadata.items() >= TAGS.items()
    boxes = boxes_of(clip)
    assert boxes.index("moov") < boxes.index("mdat")


def test_xmp_is_the_last_box_and_is_not_copied(tmp_path: Path) -> None:
    """Written with the file, so that the file never lay there without it."""
    first = written(tmp_path / "a.mp4", None, 5, metadata=TAGS, xmp=b"<x:xmpmeta/>")
    remux(first, tmp_path / "b.mp4", TAGS)
    remux(first, tmp_path / "c.mp4", TAGS, xmp=b"<other/>")
    assert first.read_bytes().endswith(b"<x:xmpmeta/>")
    assert (tmp_path / "c.mp4").read_bytes().endswith(b"<other/>")
    assert [boxes_of(tmp_path / name).count("uuid") for name in ("a.mp4", "b.mp4", "c.mp4")] == [1, 0, 1]
    assert [boxes_of(tmp_path / name)[-1] for name in ("a.mp4", "c.mp4")] == ["uuid", "uuid"]
    assert {probe(tmp_path / name).frames for name in ("a.mp4", "b.mp4", "c.mp4")} == {5}


def test_the_rate_is_constant(clip: Path) -> None:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        times = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]
    assert times == pytest.approx([number / 25 for number in range(58)])


def test_fifty_frames_a_second(tmp_path: Path, voice: Speech) -> None:
    info = probe(written(tmp_path / "a.mp4", voice, 115, fps=50))
    assert (info.fps, info.frames, info.seconds) == (50.0, 115, pytest.approx(2.3))


def test_stereo_stays_stereo(tmp_path: Path) -> None:
    both = np.concatenate([sounds.tone(1, level=0.6), sounds.tone(1, level=0.1)])
    speech = Speech.from_samples(both.T, 48000)
    info = probe(written(tmp_path / "a.mp4", speech, 25))
    assert info.audio_channels == 2
    loud = [
        np.abs(side).max()
        for side in np.concatenate(list(read_speech(tmp_path / "a.mp4").sound(48000, 2)), 1)
    ]
    assert loud[0] > 4 * loud[1]


def test_sound_and_picture_are_interleaved(clip: Path) -> None:
    """A player that reads from the front never has to wait for the other stream for long."""
    with av.open(str(clip)) as container:
        clock = {"video": 0.0, "audio": 0.0}
        apart = 0.0
        for packet in container.demux():
            if packet.dts is not None:
                clock[packet.stream.type] = float(packet.dts * packet.time_base)
                apart = max(apart, abs(clock["video"] - clock["audio"]))
    assert apart < 1.1


def test_colours_come_back(tmp_path: Path) -> None:
    rgb = cv2.resize(read_portrait(MEDIA / "portrait_03.jpg").rgb, (256, 256), interpolation=cv2.INTER_AREA)
    with VideoWriter(tmp_path / "a.mp4", 256, 256, 25, crf=10) as writer:
        for _ in range(3):
            writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420))
    back = list(read_frames(tmp_path / "a.mp4"))
    assert len(back) == 3
    assert np.abs(back[1].astype(int) - rgb).mean() < 3
    assert np.abs(back[1].reshape(-1, 3).mean(0) - rgb.reshape(-1, 3).mean(0)).max() < 1.5
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_range, context.colorspace) == (1, 6)
        assert (context.color_primaries, context.color_trc) == (1, 13)


def test_planes_are_what_was_encoded(tmp_path: Path) -> None:
    i420 = cv2.cvtColor(
        cv2.resize(read_portrait(MEDIA / "portrait_02.jpg").rgb, (200, 120)), cv2.COLOR_RGB2YUV_I420
    )
    with VideoWriter(tmp_path / "a.mp4", 200, 120, 25, crf=10) as writer:
        for _ in range(4):
            writer.write(i420)
    frames = list(read_planes(tmp_path / "a.mp4"))
    assert [planes.shape for planes in frames] == [(180, 200)] * 4
    assert np.abs(frames[2].astype(int) - i420).mean() < 2
    assert np.abs(frames[2][120:].astype(int) - i420[120:]).mean() < 2
    assert len(list(read_planes(tmp_path / "a.mp4", limit=2))) == 2


def kept_whole(path: Path, picture: av.VideoFrame) -> Path:
    """Three frames of a lossless video, in the picture's pixel format; an AVI of FFV1 or of raw pixels."""
    codec = "rawvideo" if picture.format.name == "nv12" else "ffv1"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
        for number in range(3):
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (64, 47), (67, 45), (17, 9), (16, 2)])
def test_an_odd_side_loses_its_last_row_or_column(tmp_path: Path, width: int, height: int) -> None:
    """Nothing else is moved: every plane begins where it did."""
    half = (-(-height // 2), -(-width // 2))
    rng = np.random.default_rng(0)
    luma = rng.integers(16, 236, (height, width), np.uint8)
    chroma = rng.integers(16, 241, (2, *half), np.uint8)
    picture = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(picture.planes, (luma, *chroma), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows)
    frames = list(read_planes(kept_whole(tmp_path / "a.avi", picture)))
    assert len(frames) == 3
    tall, wide = height // 2 * 2, width // 2 * 2
    for planes in frames:
        assert (planes.shape, planes.dtype) == ((tall * 3 // 2, wide), np.uint8)
        assert np.array_equal(planes[:tall], luma[:tall, :wide])
        found = planes[tall:].reshape(2, tall // 2, wide // 2)
        assert np.array_equal(found, chroma[:, : tall // 2, : wide // 2])


@pytest.mark.parametrize("kind", ["gray", "yuv444p", "yuv422p", "nv12", "yuv420p10le", "bgr0"])
def test_other_pixel_formats_come_as_i420(tmp_path: Path, kind: str) -> None:
    """With the same colours; where there is no colour, with none."""
    rgb = cv2.resize(read_portrait(MEDIA / "portrait_03.jpg").rgb, (64, 48), interpolation=cv2.INTER_AREA)
    rgb = cv2.GaussianBlur(rgb, (0, 0), 2)
    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    true = picture.reformat(format="yuv420p").to_ndarray().astype(int)
    first = next(read_planes(kept_whole(tmp_path / "a.avi", picture.reformat(format=kind))))
    assert (first.shape, first.dtype) == ((72, 64), np.uint8)
    if kind == "gray":
        assert np.all(first[48:] == 128)
        true[48:] = 128
    assert np.abs(first[:48] - true[:48]).mean() < 1.5
    assert np.abs(first[48:] - true[48:]).mean() < 1.5


def test_frames_keep_their_order(clip: Path) -> None:
    places = [int(planes[:64, :60].mean(axis=0).argmax()) for planes in read_planes(clip)]
    assert all(abs(place - ((number * 3) % 60 + 1)) <= 3 for number, place in enumerate(places))


# Sound against picture


def heard_at(path: Path) -> float:
    sound = np.abs(np.concatenate(list(read_speech(path).blocks(48000))))
    return float(np.argmax(sound > 0.2 * sound.max())) / 48000


@pytest.mark.parametrize("shift", [0.0, 0.05, -0.05, 0.013])
def test_sound_is_moved_and_keeps_its_length(tmp_path: Path, shift: float) -> None:
    speech = Speech.from_samples(sounds.click(2.0, at=1.0)[0], 48000)
    direct = written(tmp_path / "direct.mp4", speech, 50, sound_shift=shift)
    plain = written(tmp_path / "plain.mp4", speech, 50)
    remux(plain, tmp_path / "from source.mp4", {}, sound_shift=shift)
    remux(plain, tmp_path / "from speech.mp4", {}, sound_shift=shift, speech=speech)
    for path in (direct, tmp_path / "from source.mp4", tmp_path / "from speech.mp4"):
        assert heard_at(path) == pytest.approx(1.0 + shift, abs=0.004)
        info = probe(path)
        assert (info.seconds, info.frames) == (2.0, 50)
        assert info.audio_seconds == pytest.approx(2.0, abs=0.001)
        assert info.container_seconds == pytest.approx(2.0, abs=0.001)


@pytest.mark.parametrize("shift", [-0.4, -0.05, 0.0, 0.05, 0.4])
@pytest.mark.parametrize("seconds", [0.1, 2.3])
def test_shifting_keeps_every_sample_that_stays(voice: Speech, shift: float, seconds: float) -> None:
    from dataclasses import replace

    speech = replace(voice, limit=seconds)
    plain = np.concatenate(list(speech.sound(16000, 1)), axis=1)[0]
    moved = np.concatenate(list(shifted(speech, 16000, 1, shift)), axis=1)[0]
    assert len(moved) == len(plain)
    count = round(abs(shift) * 16000)
    kept = max(0, len(plain) - count)
    if shift >= 0:
        assert np.array_equal(moved[count:], plain[:kept])
        assert not moved[:count].any()
    else:
        assert np.array_equal(moved[:kept], plain[len(plain) - kept :])
        assert not moved[kept:].any()


def test_too_large_a_shift(tmp_path: Path, voice: Speech) -> None:
    with pytest.raises(BadOutput, match="moved by 3 s"):
        VideoWriter(tmp_path / "a.mp4", 64, 64, 25, voice, sound_shift=3)


# Copying


def test_a_copy_has_new_tags_and_the_same_packets(tmp_path: Path, clip: Path) -> None:
    copy = tmp_path / "copy.mp4"
    remux(clip, copy, {"AIGC": "second", "artist": "none"})
    info = probe(copy)
    assert info.metadata["AIGC"] == "second"
    assert info.metadata["artist"] == "none"
    assert "title" not in info.metadata
    assert boxes_of(copy).index("moov") < boxes_of(copy).index("mdat")

    def packets(path: Path) -> Iterator[tuple[int, float, bytes]]:
        with av.open(str(path)) as container:
            for packet in container.demux():
                if packet.size:
                    yield packet.stream_index, float(packet.pts * packet.time_base), bytes(packet)

    assert sorted(packets(copy)) == sorted(packets(clip))
    before = probe(clip)
    lengths = ("frames", "seconds", "audio_seconds", "container_seconds")
    assert [getattr(info, name) for name in lengths] == [getattr(before, name) for name in lengths]


def test_a_copy_of_silent_film(tmp_path: Path) -> None:
    remux(written(tmp_path / "a.mp4", None, 5), tmp_path / "b.mp4", {"AIGC": "x"})
    info = probe(tmp_path / "b.mp4")
    assert (info.frames, info.audio_seconds, info.audio_codec) == (5, 0.0, "")


# Trouble


class Broken(Exception):
    pass


@pytest.mark.parametrize("trouble", [Broken, KeyboardInterrupt])
def test_nothing_is_left_after_trouble(tmp_path: Path, voice: Speech, trouble: type[BaseException]) -> None:
    with pytest.raises(trouble), VideoWriter(tmp_path / "a.mp4", 64, 64, 25, voice) as writer:
        for _ in range(30):
            writer.write(GREY)
        assert len(leftovers(tmp_path)) == 1
        raise trouble
    assert leftovers(tmp_path) == []


def test_an_existing_file_survives(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(BadOutput, match="exists already") as caught:
        VideoWriter(path, 64, 64, 25)
    assert "--overwrite" in caught.value.hint
    with pytest.raises(BadOutput, match="exists already"):
        remux(clip, path, {})
    with pytest.raises(Broken), VideoWriter(path, 64, 64, 25, overwrite=True) as writer:
        writer.write(GREY)
        raise Broken
    assert path.read_bytes() == b"precious"
    assert leftovers(tmp_path) == ["a.mp4"]
    written(path, None, 2, overwrite=True)
    assert probe(path).frames == 2


def test_a_file_that_appears_meanwhile_survives(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(BadOutput, match="exists already"), VideoWriter(path, 64, 64, 25) as writer:
        writer.write(GREY)
        path.write_bytes(b"precious")
    assert path.read_bytes() == b"precious"
    assert leftovers(tmp_path) == ["a.mp4"]


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="No frame"), VideoWriter(tmp_path / "a.mp4", 64, 64, 25):
        pass
    assert leftovers(tmp_path) == []


def test_sound_that_vanishes(tmp_path: Path) -> None:
    source = sounds.write(tmp_path / "a.wav", sounds.tone(1))
    speech = read_speech(source)
    source.unlink()
    with pytest.raises(BadAudio, match="no file at"):
        written(tmp_path / "a.mp4", speech, 5)
    assert leftovers(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="does not exist"):
        VideoWriter(tmp_path / "none" / "a.mp4", 64, 64, 25)
    with pytest.raises(BadOutput, match="is a folder"):
        VideoWriter(tmp_path, 64, 64, 25)
    with pytest.raises(BadOutput, match="even sides"):
        VideoWriter(tmp_path / "a.mp4", 63, 64, 25)


def test_frames_of_another_size_are_a_mistake(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="expected uint8"),
        VideoWriter(tmp_path / "a.mp4", 64, 64, 25) as writer,
    ):
        writer.write(np.zeros((96, 128), np.uint8))


FULL_DISK = """
import resource, signal, sys
import numpy as np
from sonic_ext.errors import BadOutput
from sonic_ext.media.video import VideoWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], 256, 256, 25) as writer:
        for _ in range(100):
            writer.write(noise.integers(0, 255, (384, 256), dtype=np.uint8))
except BadOutput as error:
    print(error.message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the end of the disk."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.mp4")]
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=PATIENCE, check=False)
    assert "a.mp4 cannot be written" in done.stdout, done.stderr
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["with space.mp4", 'it\'s "so".mp4', "肖像 é.mp4", "-dash.mp4", "http:a.mp4", "a%03d.mp4"]
)
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, voice: Speech, name: str) -> None:
    if sys.platform == "win32" and set(name) & set('":'):
        pytest.skip("Windows has no such names")
    monkeypatch.chdir(tmp_path)
    written(Path(name), voice, 58)
    assert probe(name).frames == 58
    assert len(list(read_planes(name, limit=3))) == 3
    remux(name, "copy " + name, {"AIGC": "x"})
    assert leftovers(tmp_path) == sorted([name, "copy " + name])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"no video at all\n" * 50, "not video"),
        (b"\x00\x00\x00\x20ftypisom" + bytes(500), "not video"),
    ],
)
def test_what_is_not_a_video(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    copy = tmp_path / "b.mp4"
    for read in (probe, lambda path: next(read_planes(path)), lambda path: remux(path, copy, {})):
        with pytest.raises(BadVideo, match=said):
            read(path)
    assert leftovers(tmp_path) == ["a.mp4"]
    with pytest.raises(BadVideo, match="no video"):
        probe(MEDIA / "speech_en_espeak.wav")


def test_a_video_cut_short_gives_what_it_has(tmp_path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) * 2 // 3])
    shapes = [planes.shape for planes in read_planes(tmp_path / "a.mp4")]
    assert 0 < len(shapes) < 58
    assert set(shapes) == {(96, 64)}


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    peaks = []
    for seconds in (4, 40):
        speech = read_speech(sounds.write(tmp_path / f"{seconds}.flac", sounds.tone(seconds, 8000), 8000))
        tracemalloc.start()
        written(tmp_path / f"{seconds}.mp4", speech, seconds * 25)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Held frames or samples would be megabytes; some versions of PyAV lose 80 bytes a frame.
    assert peaks[1] < peaks[0] + 2**20
