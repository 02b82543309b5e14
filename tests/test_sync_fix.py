"""Copies of videos in which mouth and voice agree: sound measured by correlating samples, pictures packet by
packet."""

from __future__ import annotations

import errno
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_sync import report, track
from muxed import CODECS, RATE, delay, heard, muxed, noise_bursts, picture_packets

from sonic_ext import messages
from sonic_ext.errors import BadAudio, BadOutput, BadVideo, Refused
from sonic_ext.media import shift as shifting
from sonic_ext.media.samples import decoded
from sonic_ext.media.shift import shift_sound
from sonic_ext.provenance.take import Take
from sonic_ext.provenance.verdict import Verdict
from sonic_ext.provenance.verify import verify
from sonic_ext.sync.fix import check_fix, fix_sync

ROOT = Path(__file__).parents[1]
TAGS = {"title": "你好", "comment": "Steps: 25", "AIGC": '{"Label":"1"}'}
SOUND = noise_bursts(3.0)
OFFSETS = (0.06, 0.1, 0.2, -0.06, -0.1, -0.2)


def _late(offset: float) -> np.ndarray:  # type: ignore[type-arg]
    """The sound of a video whose mouth comes `offset` seconds after the voice: it is as much too early."""
    moved = round(offset * RATE)
    if moved > 0:
        return np.concatenate([SOUND[moved:], np.zeros(moved, np.float32)])
    return np.concatenate([np.zeros(-moved, np.float32), SOUND[:moved]])


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("kind", CODECS)
def test_mouth_and_voice_agree_afterwards(tmp_path: Path, kind: str, offset: float) -> None:
    video = muxed(tmp_path / f"late.{kind}", _late(offset), metadata=TAGS)
    assert delay(SOUND, heard(video)) == pytest.approx(-offset, abs=0.001)
    done = fix_sync(video, tmp_path / f"fixed.{kind}", report(track(offset)))
    assert done.path == tmp_path / f"fixed.{kind}"
    assert delay(SOUND, heard(done.path)) == pytest.approx(0.0, abs=0.001)
    assert picture_packets(done.path) == picture_packets(video)
    assert len(heard(done.path)) == pytest.approx(len(SOUND), abs=0.03 * RATE)
    assert all(messages.translated("zh", note) for note in done.notes)
    with av.open(str(done.path)) as found, av.open(str(video)) as before:
        assert {key.upper() for key in TAGS if kind != "webm"} <= {key.upper() for key in found.metadata}
        assert found.metadata["title"] == "你好"
        names = [stream.codec_context.name for stream in before.streams]
        assert [stream.codec_context.name for stream in found.streams] == names
        assert found.duration == pytest.approx(before.duration, abs=40_000)


@pytest.mark.parametrize("offset", [0.1, -0.1])
def test_sound_that_time_stamps_move(tmp_path: Path, offset: float) -> None:
    """As when a stream was delayed while it was muxed: the gap before it counts."""
    video = muxed(tmp_path / "late.mkv", SOUND[round(0.3 * RATE) :], begin=0.3 - offset)
    assert delay(SOUND, heard(video)) == pytest.approx(-offset, abs=0.002)
    shift_sound(video, tmp_path / "fixed.mkv", offset)
    assert delay(SOUND, heard(tmp_path / "fixed.mkv")) == pytest.approx(0.0, abs=0.002)


def test_sound_that_stays_is_the_same(tmp_path: Path) -> None:
    video = muxed(tmp_path / "in.mov", SOUND)
    shift_sound(video, tmp_path / "out.mov", 0.0)
    assert np.array_equal(heard(tmp_path / "out.mov"), heard(video))


def test_silence_comes_before_sound_that_is_moved_later(tmp_path: Path) -> None:
    video = muxed(tmp_path / "in.mov", SOUND)
    shift_sound(video, tmp_path / "out.mov", 0.2)
    found = heard(tmp_path / "out.mov")
    assert not found[: round(0.2 * RATE)].any()
    assert np.abs(found[round(0.2 * RATE) :] - SOUND[: -round(0.2 * RATE)]).max() < 2e-4


def test_sound_that_is_moved_earlier_is_cut_and_filled(tmp_path: Path) -> None:
    video = muxed(tmp_path / "in.mov", SOUND)
    shift_sound(video, tmp_path / "out.mov", -0.2)
    found, cut = heard(tmp_path / "out.mov"), round(0.2 * RATE)
    assert np.abs(found[:-cut] - SOUND[cut:]).max() < 2e-4
    assert not found[-cut:].any()


def test_the_end_of_short_sound_is_kept(tmp_path: Path) -> None:
    """What the picture goes on beyond is room for it."""
    short = SOUND[: round(2.5 * RATE)]
    shift_sound(muxed(tmp_path / "in.mov", short), tmp_path / "out.mov", 0.2)
    found = heard(tmp_path / "out.mov")
    assert len(found) == len(short) + round(0.2 * RATE)
    assert np.abs(found[round(0.2 * RATE) :] - short).max() < 2e-4


def test_sound_longer_than_the_picture_keeps_its_length(tmp_path: Path) -> None:
    long = noise_bursts(4.0)
    shift_sound(muxed(tmp_path / "in.mov", long), tmp_path / "out.mov", 0.2)
    assert len(heard(tmp_path / "out.mov")) == len(long)


@pytest.mark.parametrize(
    ("name", "encoders", "rate", "kept"),
    [
        ("a.mp4", ("libx264", "libmp3lame"), 44100, "mp3"),
        ("a.mp4", ("mpeg4", "ac3"), 48000, "ac3"),
        ("a.mov", ("libx264", "alac"), 44100, "alac"),
        ("a.mov", ("libx264", "pcm_s24le"), 96000, "pcm_s24le"),
        ("a.mkv", ("libx264", "pcm_f32le"), 16000, "pcm_f32le"),
        ("a.mkv", ("libx264", "libopus"), 48000, "opus"),
        ("a.mkv", ("libx264", "aac"), 22050, "aac"),
        ("a.mkv", ("libx264", "mp2"), 44100, "mp2"),
        ("a.mov", ("libx264", "adpcm_ima_qt"), 44100, "aac"),
        ("a.webm", ("libvpx-vp9", "libopus"), 48000, "opus"),
    ],
)
def test_sound_of_every_kind(
    tmp_path: Path, name: str, encoders: tuple[str, str], rate: int, kept: str
) -> None:
    sound = noise_bursts(3.0, rate)
    video = muxed(tmp_path / name, sound, encoders=encoders, rate=rate)
    shift_sound(video, tmp_path / f"out{video.suffix}", 0.1)
    before, after = heard(video, rate=rate), heard(tmp_path / f"out{video.suffix}", rate=rate)
    assert delay(before, after, rate) == pytest.approx(0.1, abs=0.002)
    assert picture_packets(video) == picture_packets(tmp_path / f"out{video.suffix}")
    with av.open(str(tmp_path / f"out{video.suffix}")) as found:
        assert found.streams.audio[0].codec_context.codec.canonical_name == kept
        assert found.streams.audio[0].rate == rate


@pytest.mark.parametrize("name", ["a.mov", "a.mkv"])
def test_lossless_sound_stays_as_it_was(tmp_path: Path, name: str) -> None:
    """There and back again, all but what was cut off is the same to the bit."""
    video = muxed(tmp_path / name, SOUND, encoders=("libx264", "pcm_s24le"))
    shift_sound(video, tmp_path / f"b{video.suffix}", 0.1)
    shift_sound(tmp_path / f"b{video.suffix}", tmp_path / f"c{video.suffix}", -0.1)
    there, back = heard(video), heard(tmp_path / f"c{video.suffix}")
    assert np.array_equal(there[: -round(0.1 * RATE)], back[: len(there) - round(0.1 * RATE)])


@pytest.mark.parametrize("sides", [2, 6])
def test_channels_keep_their_places(tmp_path: Path, sides: int) -> None:
    sound = np.stack([noise_bursts(2.0, seed=seed) for seed in range(sides)])
    video = muxed(tmp_path / "a.mkv", sound, frames=50, encoders=("libx264", "pcm_s16le"))
    shift_sound(video, tmp_path / "b.mkv", 0.1)
    pieces = [piece.samples for piece in decoded(tmp_path / "b.mkv", 0, [])]
    found = np.concatenate(pieces, axis=1)[:, round(0.1 * RATE) :]
    assert found.shape[0] == sides
    assert np.abs(found - sound[:, : found.shape[1]]).max() < 1e-4


def test_every_sound_track_is_moved(tmp_path: Path) -> None:
    video = muxed(tmp_path / "a.mkv", SOUND, tracks=2)
    shift_sound(video, tmp_path / "b.mkv", 0.1)
    for number in range(2):
        assert delay(SOUND, heard(tmp_path / "b.mkv", number)) == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_variable_frame_rate_is_kept(tmp_path: Path, name: str) -> None:
    stamps = np.cumsum(np.random.default_rng(1).integers(20, 120, 40)).tolist()
    video = muxed(tmp_path / name, SOUND, frames=40, stamps=stamps)
    shift_sound(video, tmp_path / f"b{video.suffix}", -0.1)
    before, after = picture_packets(video), picture_packets(tmp_path / f"b{video.suffix}")
    assert before == after
    assert len({time for time, _ in after}) == 40
    # muxed at 0: where the picture begins later, so did it in the source
    moved = delay(heard(video), heard(tmp_path / f"b{video.suffix}"))
    assert moved == pytest.approx(-0.1, abs=0.002)


def test_a_turned_picture_stays_turned(tmp_path: Path) -> None:
    """A telephone's video: its turn lies beside the packets."""
    video = muxed(tmp_path / "a.mp4", SOUND)
    data = bytearray(video.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 8 + 4 + 4 + 4 + 8 + 2 + 2 + 2 + 2
    quarter = (0, 0x10000, 0, -0x10000 & 0xFFFFFFFF, 0, 0, 64 << 16, 0, 0x40000000)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big") for value in quarter)
    video.write_bytes(data)

    def turn(path: Path) -> int:
        with av.open(str(path)) as source:
            return int(next(source.decode(source.streams.video[0])).rotation)

    shift_sound(video, tmp_path / "b.mp4", 0.1)
    assert abs(turn(video)) == 90
    assert turn(tmp_path / "b.mp4") == turn(video)


def test_what_agrees_is_left_alone(tmp_path: Path) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)
    for offset in (0.0, 0.02, -0.012):
        done = fix_sync(video, tmp_path / "b.mp4", report(track(offset)))
        assert (done.path, done.shift) == (None, 0.0)
        assert "agree to within 20 ms" in done.notes[0]
        assert messages.translated("zh", done.notes[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (report(), "no offset"),
        (report(track(float("nan"), 0.0, note="Why not.")), "no offset"),
        (report(track(0.08, 0.49)), "not sure"),
        (report(track(0.08), track(-0.1)), "differ"),
    ],
)
def test_a_fix_never_guesses(tmp_path: Path, found: object, word: str) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)
    done = fix_sync(video, tmp_path / "b.mp4", found)  # type: ignore[arg-type]
    assert done.path is None
    assert word in done.notes[0]
    assert messages.translated("zh", done.notes[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_fix_guesses_when_told_to(tmp_path: Path) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)
    done = fix_sync(video, tmp_path / "b.mp4", report(track(0.08, 0.3)), unsure=True)
    assert done.path is not None
    assert delay(SOUND, heard(done.path)) == pytest.approx(0.08, abs=0.001)
    assert fix_sync(video, tmp_path / "c.mp4", report(), unsure=True).path is None


def test_the_file_itself_can_be_replaced(tmp_path: Path) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)
    before = picture_packets(video)
    with pytest.raises(BadOutput, match="exists already"):
        fix_sync(video, video, report(track(0.08)))
    assert fix_sync(video, video, report(track(0.08)), overwrite=True).path == video
    assert delay(SOUND, heard(video)) == pytest.approx(0.08, abs=0.001)
    assert picture_packets(video) == before


def test_marks_stay_and_the_signature_goes_loudly(tmp_path: Path) -> None:
    """An exported video of this tool: who asks for its marks afterwards still finds watermark and labels."""
    signed = ROOT / "sonic_ext" / "assets" / "example" / "hello.mp4"
    before = verify(signed)
    assert before.verdict in (Verdict.UNKNOWN_SIGNER, Verdict.INTACT)
    done = fix_sync(signed, tmp_path / "b.mp4", report(track(0.08)))
    assert any("signature of hello.mp4" in note for note in done.notes)
    after = verify(tmp_path / "b.mp4")
    assert (after.verdict, after.id) == (Verdict.METADATA_LOST, before.id)
    assert after.labels == before.labels
    assert after.watermark.id == before.watermark.id
    assert picture_packets(tmp_path / "b.mp4") == picture_packets(signed)


def test_an_unsigned_video_loses_nothing(tmp_path: Path) -> None:
    done = fix_sync(muxed(tmp_path / "a.mp4", SOUND), tmp_path / "b.mp4", report(track(0.08)))
    assert not any("signature" in note for note in done.notes)


def test_a_video_that_waits_for_its_consent_stays(take: Take, tmp_path: Path) -> None:
    """By whatever name: its master has no consent yet."""
    link = tmp_path / "link.mp4"
    link.symlink_to(take.master)
    for source in (take.master, take.preview, link):
        with pytest.raises(Refused, match="private folder"):
            fix_sync(source, tmp_path / "out.mp4", report(track(0.08)), unsure=True, overwrite=True)
    assert not (tmp_path / "out.mp4").exists()


def test_nothing_is_written_into_the_private_folder(take: Take, tmp_path: Path) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)
    before = take.master.read_bytes()
    with pytest.raises(BadOutput, match="private folder"):
        fix_sync(video, take.master, report(track(0.08)), overwrite=True)
    assert take.master.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "problem", "word"),
    [
        ("b.mkv", BadOutput, "another kind"),
        ("b.avi", BadOutput, "another kind"),
        ("b", BadOutput, "another kind"),
        ("nowhere/b.mp4", BadOutput, "does not exist"),
        ("a.mp4", BadOutput, "exists already"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, name: str, problem: type[Exception], word: str) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)
    with pytest.raises(problem, match=word):
        check_fix(video, tmp_path / name)
    with pytest.raises(problem, match=word):
        shift_sound(video, tmp_path / name, 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_pictures_that_the_container_cannot_hold(tmp_path: Path) -> None:
    video = muxed(tmp_path / "a.mkv", SOUND)
    with pytest.raises(BadOutput, match="cannot hold the picture"):
        shift_sound(video, tmp_path / "b.webm", 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]


@pytest.mark.parametrize("seconds", [2.1, -3.0, float("nan"), float("inf")])
def test_moves_that_are_too_far(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(BadOutput, match="cannot be moved"):
        shift_sound(muxed(tmp_path / "a.mp4", SOUND), tmp_path / "b.mp4", seconds)


def test_sources_that_cannot_be(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    silent = muxed(tmp_path / "silent.mp4", None)
    sound = tmp_path / "sound.mkv"
    with av.open(str(sound), "w") as target:
        stream = target.add_stream("flac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray((SOUND[None] * 30000).astype(np.int16), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    names = sorted(path.name for path in tmp_path.iterdir())
    for source, problem in (
        (text, BadVideo),
        (silent, BadAudio),
        (sound, BadVideo),
        (tmp_path, BadVideo),
        (tmp_path / "none.mp4", BadVideo),
        (ROOT / "sonic_ext/assets/example/portrait.jpg", BadVideo),
        (ROOT / "sonic_ext/assets/example/speech.wav", BadVideo),
    ):
        with pytest.raises(problem) as caught:
            shift_sound(source, tmp_path / f"out{source.suffix or '.mp4'}", 0.1)
        assert messages.translated("zh", str(caught.value.message))
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("kind", ["avi"])
def test_other_containers_are_told(tmp_path: Path, kind: str) -> None:
    video = muxed(tmp_path / f"a.{kind}", SOUND, encoders=("mpeg4", "pcm_s16le"))
    with pytest.raises(BadVideo, match="its sound cannot be moved"):
        shift_sound(video, tmp_path / f"b.{kind}", 0.1)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shifting, "flush_into_place", full)
    with pytest.raises(BadOutput, match="No space left"):
        shift_sound(video, tmp_path / "b.mp4", 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_stop_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = muxed(tmp_path / "a.mp4", SOUND)
    earlier = tmp_path / "b.mp4"
    earlier.write_bytes(b"earlier")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shifting._MovedTrack, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        shift_sound(video, earlier, 0.1, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    assert earlier.read_bytes() == b"earlier"


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    video = muxed(tmp_path / "a.mkv", SOUND)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    try:
        shift_sound(cut, tmp_path / "b.mkv", 0.1)
    except BadVideo:
        assert not (tmp_path / "b.mkv").exists()
    else:  # as far as it goes, its sound is moved
        assert delay(heard(cut), heard(tmp_path / "b.mkv")) == pytest.approx(0.1, abs=0.002)


def test_subtitles_and_chapters_come_along(tmp_path: Path) -> None:
    lines = tmp_path / "lines.srt"
    lines.write_text("1\n00:00:00,500 --> 00:00:01,500\nHello\n\n2\n00:00:02,000 --> 00:00:02,500\nBye\n")
    plain, video, done = muxed(tmp_path / "plain.mkv", SOUND), tmp_path / "a.mkv", tmp_path / "b.mkv"
    chapters = [
        {"id": 1, "start": 0, "end": 1500, "time_base": Fraction(1, 1000), "metadata": {"title": "A"}}
    ]
    with av.open(str(plain)) as shown, av.open(str(lines)) as told, av.open(str(video), "w") as target:
        sources = [*shown.streams.video, *shown.streams.audio, *told.streams.subtitles]
        copies = [target.add_stream_from_template(stream, opaque=True) for stream in sources]
        if hasattr(target, "set_chapters"):
            target.set_chapters(chapters)
        for stream, copy in zip(sources, copies, strict=True):
            for packet in stream.container.demux(stream):
                if packet.size:
                    packet.stream = copy
                    target.mux(packet)
    shift_sound(video, done, 0.1)

    def told_of(path: Path) -> list[object]:
        with av.open(str(path)) as source:
            known = source.chapters() if hasattr(source, "chapters") else []
            said = [
                (float(each.pts * each.time_base), bytes(each))
                for each in source.demux(source.streams.subtitles[0])
                if each.size and each.pts is not None
            ]
            return [said, [(each["start"], each["end"], each["metadata"]["title"]) for each in known]]

    assert told_of(done) == told_of(video)
    assert [data for _, data in told_of(video)[0]] == [b"Hello", b"Bye"]  # type: ignore[attr-defined]
    assert picture_packets(done) == picture_packets(video)
