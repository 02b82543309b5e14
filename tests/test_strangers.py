"""Bytes of strangers: parsers raise errors of the tree alone, and no file forges what is shown of it.

`tests/fuzz/run.py` looks for more by the million; what it found lies in `tests/fuzz/finds`.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from fuzz.mutate import mutated
from fuzz.targets import TARGETS, Target, check_shown
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from patience import PATIENCE

from sonic_ext.errors import BadVideo, SonicError
from sonic_ext.media.audio import read_speech
from sonic_ext.media.video import VideoWriter, probe, read_frames, read_planes, remux
from sonic_ext.provenance import c2pa
from sonic_ext.provenance.verify import Verification, verify

FOUND = sorted((Path(__file__).parent / "fuzz" / "finds").glob("*/*.bin"))
PARTS = {"pickles": "torch", "infotext": "gradio"}
"""Targets that need a package which not every installation has."""
SHIPPED = Path("sonic_ext/assets/example/hello.mp4")
"""Below the repository."""
FORGED = "Nice\nSignature:      valid, by all\r\x1b[2J\x1b]0;x\x07\x9b1m\u202e\u2028</td></tr><tr><td>"
ROWS = (
    "Signature",
    "Time stamp",
    "Watermark",
    "AIGC label",
    "XMP source",
    "Comment",
    "Consent record",
    "SHA-256",
)

Seeds = Callable[[Target], list[bytes]]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("targets")


@pytest.fixture(scope="session")
def seeds(place: Path) -> Seeds:
    """The good files of a target, made once; skips where its package is missing."""
    made: dict[str, list[bytes]] = {}

    def of(target: Target) -> list[bytes]:
        if target.name in PARTS:
            pytest.importorskip(PARTS[target.name])
        folder(place, target).mkdir(exist_ok=True)
        if target.name not in made:
            made[target.name] = target.seeds(folder(place, target))
        return made[target.name]

    return of


def folder(place: Path, target: Target) -> Path:
    return place / target.name


def parse(target: Target, data: bytes, place: Path) -> object:
    """What comes of the bytes; an error of the tree is an answer, too."""
    try:
        return target.call(data, folder(place, target))
    except SonicError as refused:
        assert refused.message
        return refused


# Parsers


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_good_files_are_read(target: Target, seeds: Seeds, place: Path) -> None:
    """Most of the seeds; a few are strange already."""
    results = [parse(target, data, place) for data in seeds(target)]
    assert any(not isinstance(result, SonicError) for result in results)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_hostile_bytes_raise_errors_of_the_tree(target: Target, seeds: Seeds, place: Path) -> None:
    good = seeds(target)

    @examples(max_examples=25, deadline=None)
    @given(st.integers(0, 2**64 - 1))
    def changed(number: int) -> None:
        parse(target, mutated(good, target.words, random.Random(number), target.longest), place)

    @examples(max_examples=10, deadline=None)
    @given(st.binary(max_size=200))
    def any_bytes(data: bytes) -> None:
        parse(target, data, place)

    changed()
    any_bytes()


@pytest.mark.parametrize("find", FOUND, ids=[f"{find.parent.name}-{find.stem}" for find in FOUND])
def test_what_was_found_stays_mended(find: Path, seeds: Seeds, place: Path) -> None:
    target = TARGETS[find.parent.name]
    seeds(target)
    parse(target, find.read_bytes(), place)


# What is shown


def told(folder: Path, tags: dict[str, str]) -> Path:
    """A small video with tags."""
    plain, tagged = folder / "plain.mp4", folder / "tagged.mp4"
    with VideoWriter(plain, 64, 64, 25) as writer:
        for frame in np.random.default_rng(0).integers(16, 235, (5, 96, 64), np.uint8):
            writer.write(frame)
    remux(plain, tagged, tags)
    return tagged


def test_a_comment_forges_no_row(tmp_path: Path, sonic_home: Path) -> None:
    found = verify(told(tmp_path, {"comment": FORGED}))
    assert found.labels.comment == FORGED
    check_rows(found)
    assert "Nice\\nSignature:" in found.text()


def test_a_label_forges_no_row(tmp_path: Path, sonic_home: Path) -> None:
    found = verify(told(tmp_path, {"AIGC": json.dumps({FORGED: FORGED, "ReservedCode1": "sonic_ext"})}))
    check_rows(found)


def check_rows(found: Verification) -> None:
    assert [name for name, _ in found.rows] == list(ROWS)
    lines = found.text().split("\n")
    check_shown(lines)
    assert [line.split(":")[0].strip() for line in lines[1:]] == list(ROWS)


def test_the_command_line_steers_no_terminal(tmp_path: Path) -> None:
    video = told(tmp_path, {"comment": FORGED, "AIGC": json.dumps({"Label": FORGED})})
    for more in ([], ["--json"]):
        done = sonic("verify", str(video), *more)
        assert done.returncode == 5
        check_lines(done.stdout + done.stderr)
    assert json.loads(done.stdout)["labels"]["comment"] == FORGED


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_file_name_steers_no_terminal(tmp_path: Path) -> None:
    for name in ("a\x1b[31m\nsonic: all is well.mp4", b"\xff\xfe.mp4".decode("utf-8", "surrogateescape")):
        done = sonic("verify", str(tmp_path / name))
        assert done.returncode == 2
        assert len(check_lines(done.stderr)) == 2  # how far it is, and what is wrong


def check_lines(printed: bytes) -> list[str]:
    lines = printed.decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
    check_shown(lines)
    return lines


def sonic(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "sonic_ext", *words], capture_output=True, check=False)


# Bounds of a verification


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "x" * 5_000_000, "9" * 4000, '"\\ud800"'])
def test_a_label_that_is_no_label(text: str, tmp_path: Path, sonic_home: Path) -> None:
    found = verify(told(tmp_path, {"AIGC": text, "comment": text}))
    assert found.verdict.value == "unmarked"
    assert found.labels.aigc is not None
    assert found.labels.aigc.problems
    assert len(found.labels.comment) <= 1 << 16
    assert len(found.text()) < 20_000
    json.dumps(found.to_dict()).encode("ascii")


def test_two_million_boxes_behind_a_video(tmp_path: Path, sonic_home: Path) -> None:
    video = told(tmp_path, {})
    with video.open("ab") as file:
        file.write(b"\0\0\0\x08free" * 2_000_000)
    with pytest.raises(BadVideo, match="too many to check"):
        verify(video)


def test_a_gigabyte_behind_a_video(tmp_path: Path, sonic_home: Path) -> None:
    video = told(tmp_path, {})
    with video.open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(BadVideo, match="besides pictures and sound"):
        verify(video)


def test_speech_that_would_keep_the_signing_for_hours(tmp_path: Path) -> None:
    sound = tmp_path / "speech.m4a"
    sound.write_bytes(b"\0\0\0\x10ftypM4A isom")
    assert c2pa.ingredient_type(sound) == "audio/mp4"
    sound.write_bytes(sound.read_bytes() + b"\0\0\0\x08free" * 30_000)
    assert c2pa.ingredient_type(sound) == "application/octet-stream"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking them")
def test_a_verification_can_be_stopped(tmp_path: Path) -> None:
    """A file that keeps ffmpeg searching, and SIGTERM."""
    video = tmp_path / "long.avi"
    video.write_bytes(b"RIFF\xff\xff\xff\x7fAVI LIST")
    with video.open("r+b") as file:
        file.truncate(1 << 32)
    words = [sys.executable, "-m", "sonic_ext", "verify", str(video), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        try:
            assert b"reading the marks" in running.stderr.readline()
            running.send_signal(signal.SIGTERM)
            said, _ = running.communicate(timeout=PATIENCE)
        finally:
            running.kill()
    assert (json.loads(said)["error"], running.returncode) == ("Cancelled", 130)


# Codecs that nobody knows


def recoded(source: Path, target: Path, *names: tuple[bytes, bytes]) -> Path:
    data = source.read_bytes()
    for name, other in names:
        assert name in data
        data = data.replace(name, other)
    target.write_bytes(data)
    return target


def test_pictures_of_an_unknown_kind(root: Path, tmp_path: Path) -> None:
    video = recoded(root / SHIPPED, tmp_path / "a.mp4", (b"avc1", b"zzzz"))
    for read in (probe, lambda path: next(read_planes(path)), lambda path: next(read_frames(path))):
        with pytest.raises(BadVideo, match="holds video of a kind that is not known here"):
            read(video)
    assert read_speech(video).channels == 1


def test_sound_of_an_unknown_kind(root: Path, tmp_path: Path) -> None:
    """The fourth letter of the stream's type, in a file of Matroska."""
    plain = tmp_path / "plain.mkv"
    with (
        av.open(str(root / SHIPPED)) as source,
        av.open(str(plain), "w") as sink,
    ):
        copies = {
            stream.index: sink.add_stream_from_template(stream, opaque=True) for stream in source.streams
        }
        for packet in source.demux():
            if packet.dts is not None and packet.dts < 20_000:
                packet.stream = copies[packet.stream.index]
                sink.mux(packet)
    strange = recoded(plain, tmp_path / "strange.mkv", (b"A_AAC", b"A_XYZ"))
    info = probe(strange)
    assert (info.codec, info.audio_codec, info.audio_rate) == ("h264", "", 0)
    with pytest.raises(SonicError, match="holds sound of a kind that is not known here"):
        read_speech(strange)


def test_warnings_of_libraries_are_no_errors(seeds: Seeds, place: Path) -> None:
    """The test command turns warnings into errors; none comes from what strangers send."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("portrait", "sound"):
            for data in seeds(TARGETS[name]):
                parse(TARGETS[name], data[: len(data) * 2 // 3], place)
