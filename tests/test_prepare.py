"""`sonic train prepare`: from corpora in the published layouts to shards, whatever is in them and whenever it
stops."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from miniature_corpus import (
    FPS,
    LATE,
    WORDS,
    Corpus,
    lrs3,
    talking,
    transcript,
    uneven,
    voxceleb2,
    write_video,
)
from patience import PATIENCE, until

from sonic_ext.cli.main import main
from sonic_ext.errors import BadInput, BadOutput, BadVideo, Busy, Cancelled, MissingPart
from sonic_ext.files import atomic
from sonic_ext.files.locks import held
from sonic_ext.progress import Silent, Step
from sonic_ext.sync.mouth import FEATURES, MouthMotion
from sonic_ext.sync.offset import REASONS
from sonic_ext.train import clips as shards
from sonic_ext.train.clips import Clip, Word, read_contents, read_shard, read_shards
from sonic_ext.train.prepare import offsets, preparing
from sonic_ext.train.prepare.examining import LONGEST_GAP, examine, resampled
from sonic_ext.train.prepare.layouts import ClipSource, source_of, video_names
from sonic_ext.train.prepare.offsets import offset_by
from sonic_ext.train.prepare.preparing import LIST, ShardOrder, grouped, make_shard, prepare
from sonic_ext.train.prepare.transcripts import read_transcript


@pytest.fixture(scope="session")
def vox(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A VoxCeleb2 in miniature; not to be written into."""
    return voxceleb2(tmp_path_factory.mktemp("voxceleb2"))


@pytest.fixture(scope="session")
def ted(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """An LRS3 in miniature; not to be written into."""
    return lrs3(tmp_path_factory.mktemp("lrs3"))


@pytest.fixture(scope="session")
def prepared(vox: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of `vox`, by the command; copied by those who change them."""
    output = tmp_path_factory.mktemp("prepared") / "clips"
    assert main(["train", "prepare", str(vox.folder), "-o", str(output), "--jobs", "2"]) == 0
    return output


def some(folder: Path, count: int) -> Path:
    """Videos without layout, the same one of a good second under several names."""
    frames, sound = talking(0)
    first = write_video(folder / "a0.mp4", frames[:27], sound)
    for number in range(1, count):
        shutil.copy(first, folder / f"a{number}.mp4")
    return folder


def run(*words: object, **how: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "sonic_ext", "train", "prepare", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every shard."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob(shards.PATTERN)}


def has_come(process: subprocess.Popen[str], output: Path, wanted: int) -> bool:
    """Whether so many shards are there, or the command is over."""
    return len(bytes_of(output)) >= wanted or process.poll() is not None


def leftovers(folder: Path) -> list[str]:
    """What should not be there when nobody writes."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".lock"]


# Layouts


@pytest.mark.parametrize(
    ("name", "speaker"),
    [
        ("dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "id00012"),
        ("vox2/test/mp4/id00017/5MkXgwdrmJw/00003.mp4", "id00017"),
        ("pretrain/0Fi83BHQsMA/00001.mp4", "0Fi83BHQsMA"),
        ("lrs3/trainval/0akiEFwtkyA/50002.mp4", "0akiEFwtkyA"),
        ("ann/monday/walk.mov", "ann"),
        ("test/ann/walk.mp4", "test"),
        ("bob.webm", "bob"),
        ("李明/早上.mp4", "李明"),
    ],
)
def test_whose_a_video_is(name: str, speaker: str) -> None:
    found = source_of(Path("/corpus"), name)
    assert (found.name, found.speaker) == (name, speaker)


def test_a_part_of_a_corpus_is_known_by_the_folders_above(vox: Corpus, ted: Corpus) -> None:
    part = vox.folder / "dev" / "mp4" / "id00015"
    assert video_names(part) == ["0fijmz4vTVU/00001.mp4"]
    first = source_of(part, "0fijmz4vTVU/00001.mp4")
    assert (first.name, first.speaker) == ("0fijmz4vTVU/00001.mp4", "id00015")
    assert first.sound == vox.folder / "dev/aac/id00015/0fijmz4vTVU/00001.m4a"
    first = source_of(ted.folder / "pretrain" / "0Fi83BHQsMA", "00001.mp4")
    assert first.speaker == "0Fi83BHQsMA" and first.transcript == first.path.with_suffix(".txt")


def test_every_video_is_found_once(vox: Corpus, ted: Corpus) -> None:
    for corpus in (vox, ted):
        assert video_names(corpus.folder) == sorted([*corpus.good, *corpus.bad])


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_that_lead_in_circles(tmp_path: Path) -> None:
    (tmp_path / "in" / "ann").mkdir(parents=True)
    (tmp_path / "in" / "ann" / "one.mp4").write_bytes(b"1")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "two.mp4").write_bytes(b"2")
    (tmp_path / "in" / "ann" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "bob").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    assert video_names(tmp_path / "in") == ["ann/one.mp4", "bob/two.mp4"]


def test_hidden_files_the_output_and_other_files_are_left_out(tmp_path: Path) -> None:
    for name in ("a.mp4", ".b.mp4", ".trash/c.mp4", "out/d.mp4", "e.txt", "f.MP4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert video_names(tmp_path, tmp_path / "out") == ["a.mp4", "f.MP4"]


# Transcripts


def test_words_of_a_transcript(tmp_path: Path) -> None:
    path = tmp_path / "00001.txt"
    path.write_text(transcript(WORDS), encoding="utf-8")
    assert read_transcript(path, 1.6) == tuple(Word(*word) for word in WORDS)
    path.write_text(transcript(WORDS, table=False), encoding="utf-8")
    assert read_transcript(path, 1.6) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no text",
        "Text: A\nWORD START END ASDSCORE\nA one two 3\n",
        "Text: A\nWORD START END ASDSCORE\nA 0.5\n",
        transcript([("A", 0.5, 0.2)]),
        transcript([("B", 0.5, 0.6), ("A", 0.1, 0.2)]),
        transcript([("A", 0.5, 9.0)]),
        "Text: A\nWORD START END ASDSCORE\nA nan nan 3\n",
    ],
)
def test_transcripts_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput):
        read_transcript(tmp_path / "a.txt", 1.6)


def test_a_transcript_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"Text: \xff\xfe")
    (tmp_path / "b.txt").mkdir()
    for name in ("a.txt", "b.txt"):
        with pytest.raises(BadInput):
            read_transcript(tmp_path / name, 1.6)


# One video


def test_times_between_frames() -> None:
    times = np.array([0.02, 0.06, 0.10, 0.50, 0.54])
    geometry = np.repeat(times[:, None], len(FEATURES), axis=1).astype(np.float32)
    geometry[4] = np.nan
    wanted = np.array([0.0, 0.02, 0.05, 0.09, 0.3, 0.5, 0.52, 0.7])
    found = resampled(MouthMotion(times, geometry), wanted)[:, 0]
    assert np.isnan(found[[4, 6, 7]]).all(), f"frames beyond {LONGEST_GAP} s are not bridged"
    assert found[[0, 1, 2, 3, 5]] == pytest.approx([0.02, 0.02, 0.05, 0.09, 0.5], abs=1e-4)
    assert resampled(MouthMotion(times[:0], geometry[:0]), wanted).shape == (8, len(FEATURES))


def clip_of(corpus: Corpus, name: str, **how: Any) -> Clip:
    """The one clip of a video."""
    (clip,), _ = examine(source_of(corpus.folder, name), **how)
    return clip


def test_a_variable_frame_rate_gives_25_frames_a_second(vox: Corpus) -> None:
    clip = clip_of(vox, "test/mp4/id00017/5MkXgwdrmJw/00001.mp4")
    whole = clip_of(vox, "test/mp4/id00017/5MkXgwdrmJw/00002.mp4")
    assert np.diff(clip.motion.times) == pytest.approx(1 / FPS)
    both = clip.motion.found & whole.motion.found
    assert both.mean() > 0.9
    # What stays on screen for two frames is late by half a frame: by the eye, and so by the measure.
    assert np.corrcoef(clip.motion["gap"][both], whole.motion["gap"][both])[0, 1] > 0.8


def test_sound_that_lies_beside_the_picture(vox: Corpus, tmp_path: Path) -> None:
    """VoxCeleb2's own: `aac` beside `mp4`."""
    clip = clip_of(vox, "dev/mp4/id00015/0fijmz4vTVU/00001.mp4")
    write_video(tmp_path / "own.mp4", *talking(1))
    own = clip_of(Corpus(tmp_path), "own.mp4")
    both = [each.sound.astype(np.float32).ravel() for each in (clip, own)]
    assert np.corrcoef(*both)[0, 1] > 0.98


def test_sound_and_frames_have_one_clock(vox: Corpus) -> None:
    """The same speech, muxed late, is found so much later in the rows."""
    early = clip_of(vox, "test/mp4/id00017/5MkXgwdrmJw/00001.mp4").sound.astype(np.float32)
    late = clip_of(vox, "test/mp4/id00017/5MkXgwdrmJw/00002.mp4").sound.astype(np.float32)
    rows = round(LATE * 50)
    assert np.corrcoef(early[:-rows].ravel(), late[rows:].ravel())[0, 1] > 0.95


def test_videos_whose_mouth_and_voice_are_apart_are_left_out(vox: Corpus) -> None:
    source = source_of(vox.folder, "test/mp4/id00017/5MkXgwdrmJw/00002.mp4")
    for measured, kept in ((-LATE, 0), (0.05, 1), (None, 1)):
        clips, remarks = examine(source, offset_of=lambda clip, value=measured: value)
        assert len(clips) == kept and [each.reason for each in remarks] == ["off_sync"] * (1 - kept)


class Echo:
    """A network that knows what is heard by its row, and sees the same where the mouth is so many rows
    late."""

    def __init__(self, late: int, sure: float) -> None:
        self.late, self.confidence = late, np.array([0] * REASONS + [sure], np.float32)
        rows = np.random.default_rng(3).normal(size=(400, 16))
        self.rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def hear(self, rows: np.ndarray) -> np.ndarray:
        return self.rows[100 : 100 + len(rows)]

    def see(self, motion: MouthMotion, start: float, rows: int) -> np.ndarray:
        return self.rows[100 - self.late : 100 - self.late + rows]


def test_offsets_by_a_network(vox: Corpus) -> None:
    clip = clip_of(vox, "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4")
    for rows in (-9, 0, 5):
        network: Any = Echo(rows, 3.0)
        assert offset_by(network, clip) == pytest.approx(rows / 50, abs=0.01)
        network = Echo(rows, -3.0)
        assert offset_by(network, clip) is None, "it is not sure"


def test_what_is_out_of_sync_is_left_out_by_the_network_that_ships(tmp_path: Path) -> None:
    """Of four seconds; a variable frame rate puts nothing out of sync."""
    (frames, sound), folder = talking(1, 4.0), tmp_path / "in"
    kept = uneven(len(frames))
    write_video(folder / "good.mp4", frames, sound)
    write_video(folder / "late.mp4", frames, sound, late=LATE)
    write_video(folder / "uneven.mp4", frames[kept], sound, times=[*(kept / FPS)])
    assert main(["train", "prepare", str(folder), "--in-sync", "-o", str(tmp_path / "out")]) == 0
    assert listed(tmp_path / "out") == {"late.mp4": ("no", "off_sync")}
    for clip in read_shards(tmp_path / "out"):
        assert offset_by(offsets.shipped(), clip) == pytest.approx(0.0, abs=0.03)


def test_without_its_network_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(offsets.encoders, "weights_of", lambda name: tmp_path / "none.safetensors")
    words = ["train", "prepare", str(tmp_path), "--in-sync", "-o", str(tmp_path / "out")]
    assert main(words) == MissingPart.exit_code
    assert "The sync network none.safetensors cannot be read" in capsys.readouterr().err


def test_a_video_with_cuts_gives_a_clip_for_each_long_shot(tmp_path: Path) -> None:
    (one, said), (two, heard) = talking(0), talking(1)
    frames = np.concatenate([one[:30], two[:10], one[:32]])
    path = write_video(
        tmp_path / "ann" / "cuts.mp4", frames, np.concatenate([said, heard])[: len(frames) * 640]
    )
    clips, remarks = examine(source_of(tmp_path, path.relative_to(tmp_path).as_posix()))
    assert [clip.name for clip in clips] == ["ann/cuts.mp4#1", "ann/cuts.mp4#3"]
    assert {clip.speaker for clip in clips} == {"ann"}
    assert [each[:3] for each in remarks] == [("ann/cuts.mp4", True, "cut")]
    assert [len(clip.motion) for clip in clips] == [30, 32]
    assert [len(clip.sound) for clip in clips] == [60, 64]
    assert all(clip.motion.times[0] == pytest.approx(0.5 / FPS) for clip in clips)


def test_words_are_cut_with_the_shot(tmp_path: Path) -> None:
    (one, said), (two, _) = talking(0), talking(1)
    folder = tmp_path / "pretrain" / "abc"
    path = write_video(folder / "00001.mp4", np.concatenate([two[:10], one[:30]]), said)
    path.with_suffix(".txt").write_text(
        transcript([("FIRST", 0.0, 0.3), ("ACROSS", 0.35, 0.6), ("LAST", 0.9, 1.3)]), encoding="utf-8"
    )
    (clip,), _ = examine(source_of(tmp_path, path.relative_to(tmp_path).as_posix()))
    assert clip.words == (Word("LAST", pytest.approx(0.5), pytest.approx(0.9)),)


def test_a_file_that_is_cut_short_behind_its_index(tmp_path: Path) -> None:
    """Its header promises more than there is."""
    frames, sound = talking(0)
    path = write_video(tmp_path / "whole.mp4", np.concatenate([frames, frames]), None)
    with (
        av.open(str(path)) as source,
        av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "+faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = (tmp_path / "fast.mp4").read_bytes()
    (tmp_path / "fast.mp4").write_bytes(data[: len(data) * 6 // 10])
    shutil.copy(write_video(tmp_path / "s" / "sound.mp4", frames[:2], sound), tmp_path / "sound.mp4")
    clips, (remark,) = examine(
        ClipSource(tmp_path / "fast.mp4", "fast.mp4", "a", sound=tmp_path / "sound.mp4")
    )
    assert clips == [] and remark.reason == "damaged"


def test_a_video_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network drive that is away for a moment: nothing stands for the video, and the next call makes it."""
    folder, output = some(tmp_path / "in", 1), tmp_path / "out"
    order = vars(ShardOrder(str(folder), str(output), tuple(video_names(folder))))
    output.mkdir()

    def away(*_: Any, **__: Any) -> None:
        av.error.err_check(-errno.EIO)

    with monkeypatch.context() as drive:
        drive.setattr(av, "open", away)
        with pytest.raises(BadVideo):
            make_shard(order, lambda: None)
    assert list(output.iterdir()) == []
    assert read_contents(output / make_shard(order, lambda: None)).remarks == ()


# Corpora, by the command


def listed(output: Path) -> dict[str, tuple[str, str]]:
    """The list: video → kept, reason."""
    with (output / LIST).open(encoding="utf-8", newline="") as file:
        return {row["video"]: (row["kept"], row["reason"]) for row in csv.DictReader(file)}


def test_voxceleb2(vox: Corpus, prepared: Path) -> None:
    clips = {clip.name: clip for clip in read_shards(prepared)}
    assert sorted(clips) == sorted(vox.good)
    assert listed(prepared) == {name: ("no", reason) for name, reason in vox.bad.items()}
    assert {clip.speaker for clip in clips.values()} == {"id00012", "id00015", "id00017"}
    for clip in clips.values():
        assert 1.5 < clip.seconds <= 1.62
        assert len(clip.sound) == 2 * len(clip.motion)
        assert clip.motion.found.mean() > 0.9 and np.isfinite(clip.sound).all()
        assert not clip.words
    assert not leftovers(prepared)


def test_lrs3(ted: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "clips"
    assert main(["train", "prepare", str(ted.folder), "-o", str(output), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["videos"], told["clips"], told["speakers"], told["skipped"]) == (5, 5, 3, {})
    assert told["noted"] == {"bad_transcript": 2, "no_transcript": 1}
    clips = {clip.name: clip for clip in read_shards(output)}
    assert sorted(clips) == sorted(ted.good)
    assert {name: len(clip.words) for name, clip in clips.items() if clip.words} == {
        "pretrain/0Fi83BHQsMA/00001.mp4": len(WORDS)
    }
    assert {kept for kept, _ in listed(output).values()} == {"yes"}


def test_a_folder_of_videos_with_any_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output lies in it, too, as it does when one stands in the folder."""
    folder = tmp_path / "Gespräche"
    for name in ("李明/早上.mp4", "zoë ünd 'x', \"y\".mp4"):
        write_video(folder / name, *talking(1))
    monkeypatch.chdir(folder)
    for _ in range(2):
        assert main(["train", "prepare", ".", "--jobs", "1"]) == 0
        assert "2 clips of 2 speakers" in capsys.readouterr().out
    assert {clip.speaker for clip in read_shards(folder / "Gespräche-clips")} == {
        "李明",
        "zoë ünd 'x', \"y\"",
    }


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = some(tmp_path / "in", 1)
    (folder / "a0.mp4").rename(folder / os.fsdecode(b"caf\xe9.mp4"))
    (folder / os.fsdecode(b"empty\xe9.mp4")).write_bytes(b"")
    found = prepare(folder, tmp_path / "out", jobs=1)
    assert (found.clips, found.reasons(kept=False)) == (1, {"damaged": 1})
    assert b"empty\xe9.mp4" in (tmp_path / "out" / LIST).read_bytes()


# Going on


def test_again_touches_nothing(vox: Corpus, prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = bytes_of(prepared)
    assert main(["train", "prepare", str(vox.folder), "-o", str(prepared)]) == 0
    assert "5 clips of 3 speakers" in capsys.readouterr().out
    assert bytes_of(prepared) == before


def test_a_truncated_shard_is_made_again(vox: Corpus, prepared: Path, tmp_path: Path) -> None:
    output = tmp_path / "clips"
    shutil.copytree(prepared, output)
    before, (first, second, *_) = (
        bytes_of(output),
        sorted(output.glob(shards.PATTERN), key=lambda p: -p.stat().st_size),
    )
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(b"")
    with pytest.raises(BadInput, match="cannot be read"):
        read_shard(first)
    (output / f".{first.name}.0123abcd").write_bytes(b"half-written")
    prepare(vox.folder, output, 1)
    after = bytes_of(output)
    assert {name: data for name, (data, _) in after.items()} == {
        name: data for name, (data, _) in before.items()
    }
    touched = {name for name in before if after[name][1] != before[name][1]}
    assert touched == {first.name, second.name} and not leftovers(output)


def test_new_videos_are_added(tmp_path: Path) -> None:
    folder, output = some(tmp_path / "in", 2), tmp_path / "out"
    prepare(folder, output, 1)
    before = bytes_of(output)
    some(folder, 3)
    found = prepare(folder, output, 1)
    assert found.clips == 3 and before.items() <= bytes_of(output).items()


def test_a_video_in_two_shards_counts_once(tmp_path: Path) -> None:
    folder, output = some(tmp_path / "in", 2), tmp_path / "out"
    prepare(folder, output, 1)
    make_shard(vars(ShardOrder(str(folder), str(output), tuple(video_names(folder)))), lambda: None)
    found = prepare(folder, output, 1)
    assert found.clips == 2 and len(list(read_shards(output))) == 2


@pytest.mark.parametrize("rounds", [1, 3])
def test_killed_at_any_instant_it_goes_on(tmp_path: Path, rounds: int) -> None:
    """The processes end with the command, nothing half-written counts, and what is done stays."""
    folder, output = some(tmp_path / "in", 5), tmp_path / "out"
    done: dict[str, tuple[bytes, int]] = {}
    for number in range(rounds):
        process = run(folder, "-o", output, "--jobs", 2)
        wanted = max(1, min(4, len(done) + (number + 1) // rounds))
        until(partial(has_come, process, output, wanted))
        process.kill()
        process.communicate()
        now = bytes_of(output)
        assert done.items() <= now.items()
        done = now
    assert prepare(folder, output, 1).clips == 5
    assert done.items() <= bytes_of(output).items()
    until(lambda: not leftovers(output))  # a process whose parent is gone ends what it was at


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_stops_it_and_the_same_command_goes_on(tmp_path: Path) -> None:
    folder, output = some(tmp_path / "in", 8), tmp_path / "out"
    process = run(folder, "-o", output, "--jobs", 1, "--json", start_new_session=True)
    until(lambda: bytes_of(output))
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, json.loads(out)["error"]) == (130, "Cancelled")
    assert "goes on where it was" in errors and not leftovers(output)
    before = bytes_of(output)
    assert 1 <= len(before) < 8 and listed(output) == {}
    assert prepare(folder, output, 1).clips == 8
    assert before.items() <= bytes_of(output).items()


def test_progress_says_how_far_it_is(tmp_path: Path) -> None:
    class Watching(Silent):
        def __init__(self, most: int) -> None:
            self.steps: list[Step] = []
            self.most = most

        def report(self, step: Step) -> None:
            self.steps.append(step)

        def cancelled(self) -> bool:
            return bool(self.steps) and self.steps[-1].done >= self.most

    folder, progress = some(tmp_path / "in", 3), Watching(2)
    with pytest.raises(Cancelled):
        prepare(folder, tmp_path / "out", 1, progress=progress)
    assert [(step.done, step.total) for step in progress.steps] == [(0, 3), (1, 3), (2, 3)]
    assert progress.steps[-1].seconds_left is not None
    progress = Watching(9)
    assert prepare(folder, tmp_path / "out", 1, progress=progress).clips == 3
    assert [(step.done, step.total) for step in progress.steps] == [(0, 1), (1, 1)], (
        "what is done is not work"
    )


def test_groups_depend_on_the_videos_alone(tmp_path: Path) -> None:
    for count, size in ((5, 1), (200, 3), (10_000, 32)):
        names = [f"{number:05}.mp4" for number in range(count)]
        groups = list(grouped(tmp_path, names))
        assert max(map(len, groups)) == size and [name for group in groups for name in group] == names


# What goes wrong


def full(path: Path, data: bytes) -> None:
    """A disk that takes half of it."""
    path.write_bytes(data[: len(data) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, output = some(tmp_path / "in", 1), tmp_path / "out"
    output.mkdir()
    order = vars(ShardOrder(str(folder), str(output), tuple(video_names(folder))))
    monkeypatch.setattr(atomic, "new_file", full)
    with pytest.raises(BadOutput, match="No space left") as refused:
        make_shard(order, lambda: None)
    assert "goes on where it was" in refused.value.hint
    assert list(output.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(atomic, "new_file", full)
    with pytest.raises(BadOutput, match="No space left"):
        prepare(folder, output, 1)
    assert list(output.iterdir()) == []
    monkeypatch.undo()
    assert prepare(folder, output, 1).clips == 1


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files")
def test_writing_that_fails_in_a_process_stops_the_command(tmp_path: Path) -> None:
    """For real: no file may be larger than 4 kB, as on a disk that fills up."""
    folder, output = some(tmp_path / "in", 3), tmp_path / "out"
    (folder / "empty.mp4").write_bytes(b"")
    process = run(folder, "-o", output, "--jobs", 1, preexec_fn=limit_files)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and "cannot be written" in errors, errors
    assert not leftovers(output)
    assert all(path.stat().st_size < 4096 for path in output.iterdir())
    assert prepare(folder, output, 1).clips == 3


def limit_files() -> None:
    """In the child: writing beyond 4 kB is an error, not the end."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A measure of the offset that ends its process for one video, fails over another and hangs over a third,
    until a file `healed` lies beside it."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "deadly_offset.py").write_text(
        "import os, pathlib, threading\n"
        "healed = pathlib.Path(__file__).with_name('healed').exists()\n"
        "def measured(clip):\n"
        "    if clip.name == 'a1.mp4' and not healed: os._exit(11)\n"
        "    if clip.name == 'a2.mp4' and not healed: raise RuntimeError('strange')\n"
        "    if clip.name == 'a4.mp4' and not healed: threading.Event().wait()\n"
        "    return 0.5 if clip.name == 'a3.mp4' else 0.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    yield "deadly_offset:measured"
    sys.modules.pop("deadly_offset", None)


def test_a_video_that_kills_its_process_is_left_out(
    tmp_path: Path, deadly: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "GROUPS", 1)
    monkeypatch.setattr(preparing, "PATIENCE", 10.0)
    folder, output = some(tmp_path / "in", 6), tmp_path / "out"
    found = prepare(folder, output, 2, offset_of=deadly)
    assert (found.videos, found.clips) == (6, 2)
    left_out = {f"a{number}.mp4": ("no", "failed") for number in (1, 2, 4)}
    assert listed(output) == left_out | {"a3.mp4": ("no", "off_sync")}
    details = {remark.name: remark.detail for remark in found.remarks}
    assert "(code 11)" in details["a1.mp4"] and "RuntimeError" in details["a2.mp4"]
    assert "no sign of life for 10 s" in details["a4.mp4"]
    # What may pass is tried again, and nothing else.
    before = bytes_of(output)
    (tmp_path / "modules" / "healed").touch()
    found = prepare(folder, output, 2, offset_of=deadly)
    assert (found.videos, found.clips) == (6, 5)
    assert listed(output) == {"a3.mp4": ("no", "off_sync")}
    assert sum(before.get(name) == data for name, data in bytes_of(output).items()) == len(before) - 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "holds no videos"),
        (lambda folder: (folder / "a.txt").write_text("x"), "holds no videos"),
        (lambda folder: folder.rmdir(), "There is no folder"),
        (lambda folder: (folder.rmdir(), folder.write_text("x")), "is a file"),
        (lambda folder: (folder / "a.mp4").write_text("x"), "None of 1 videos gives a clip"),
    ],
)
def test_folders_without_videos(
    tmp_path: Path, make: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder)
    assert main(["train", "prepare", str(folder), "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    folder, other = some(tmp_path / "in", 1), some(tmp_path / "other", 1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadOutput, match="is a file"):
        prepare(folder, tmp_path / "file")
    with pytest.raises(BadOutput, match="cannot be made"):
        prepare(folder, tmp_path / "file" / "deeper")
    with pytest.raises(BadInput, match="cannot go into the folder of the videos"):
        prepare(folder, tmp_path / "other" / ".." / "in")
    prepare(folder, tmp_path / "out", 1)
    with pytest.raises(BadInput, match="clips of another folder"):
        prepare(other, tmp_path / "out")
    with pytest.raises(BadInput, match="without --in-sync"):
        prepare(folder, tmp_path / "out", 1, offsets.BY_NETWORK)
    (tmp_path / "out" / "corpus.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        prepare(folder, tmp_path / "out", 1)


def test_two_commands_do_not_write_into_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "WAIT", 0.05)
    folder, output = some(tmp_path / "in", 1), tmp_path / "out"
    output.mkdir()
    with held(output / preparing.LOCK), pytest.raises(Busy):
        prepare(folder, output, 1)
    assert prepare(folder, output, 1).clips == 1


def test_shards_of_another_version_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, output = some(tmp_path / "in", 1), tmp_path / "out"
    prepare(folder, output, 1)
    before = bytes_of(output)
    for name, value in (("FORMAT", "sonic clips 9"), ("FEATURES", ("gap",))):
        with monkeypatch.context() as patch:
            patch.setattr(shards, name, value)
            with pytest.raises(BadInput):
                prepare(folder, output, 1)
    assert bytes_of(output) == before


def test_what_a_shard_says(prepared: Path, vox: Corpus) -> None:
    contents = [read_contents(path) for path in sorted(prepared.glob(shards.PATTERN))]
    assert sorted(name for each in contents for name in each.videos) == sorted([*vox.good, *vox.bad])
    assert sum(seconds for each in contents for _, _, seconds in each.clips) == pytest.approx(8.0, abs=0.1)
    with pytest.raises(FileNotFoundError):
        read_shard(prepared / "none.safetensors")
    with pytest.raises(BadInput, match="has no shards"):
        list(read_shards(prepared.parent))
