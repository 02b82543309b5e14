"""`sonic sync`: words, JSON, codes, chart and copies. The measurement is stood in for, but at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sync import measured_as, report, track
from muxed import RATE, delay, heard, muxed, noise_bursts, picture_packets
from PIL import Image

from sonic_ext.cli.main import main
from sonic_ext.cli.sync_command import MOST_FACES, sync_lines
from sonic_ext.errors import BadAudio, BadVideo
from sonic_ext.media.video import read_frames
from sonic_ext.provenance.take import Take

SOUND = noise_bursts(3.0)
EXAMPLE = Path(__file__).parents[1] / "sonic_ext" / "assets" / "example"
Sync = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Three seconds of noise."""
    return muxed(tmp_path / "采访 video.mp4", SOUND)


@pytest.fixture
def sync(capsys: pytest.CaptureFixture[str]) -> Sync:
    """Calls `sonic sync … --json`; its code and values."""

    def call(*words: str | Path) -> tuple[int, dict[str, Any]]:
        code = main(["sync", *map(str, words), "--json"])
        values = json.loads(capsys.readouterr().out)
        assert values["exit_code"] == code
        return code, values

    return call


@pytest.mark.parametrize(
    ("offset", "confidence", "code", "verdict"),
    [
        (0.012, 0.97, 0, "in sync"),
        (0.08, 0.93, 9, "out of sync"),
        (-0.2, 0.93, 9, "out of sync"),
        (0.08, 0.2, 10, "unsure"),
    ],
)
def test_codes(
    video: Path,
    sync: Sync,
    monkeypatch: pytest.MonkeyPatch,
    offset: float,
    confidence: float,
    code: int,
    verdict: str,
) -> None:
    asked = measured_as(monkeypatch, report(track(offset, confidence)))
    found, values = sync(video)
    assert (found, values["verdict"], values["offset"]) == (code, verdict, offset)
    assert values["path"] == str(video)
    assert len(values["tracks"][0]["scores"]) == len(values["tracks"][0]["times"]) > 30
    assert (values["chart"], values["fixed"]) == (None, None)
    assert asked == [video]


def test_plain_words(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured_as(monkeypatch, report(track(), warnings=("The picture has cuts.",)))
    assert main(["sync", str(video)]) == 9
    out, err = capsys.readouterr()
    assert out == "The mouth comes 80 ms after the voice (confidence 0.93).\n"
    assert "Warning: The picture has cuts." in err


def test_several_faces_have_a_line_each(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    still = track(math.nan, 0.0, 1.0, 3.0, "The mouth does not move.")
    measured_as(monkeypatch, report(track(), still))
    assert main(["sync", str(video)]) == 9
    assert capsys.readouterr().out.splitlines() == [
        "The mouth comes 80 ms after the voice (confidence 0.93).",
        "  Face 1, 0.0 to 8.2 s: The mouth comes 80 ms after the voice (confidence 0.93).",
        "  Face 2, 1.0 to 3.0 s: The mouth does not move.",
    ]


def test_why_not_and_what_to_do(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured_as(monkeypatch, report(warnings=("No face was found.",)))
    assert main(["sync", str(video)]) == 10
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("The lip sync could not be measured. No face was found. Use a stretch of at least")


def test_chinese(video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SONIC_LANGUAGE", "zh")
    measured_as(monkeypatch, report(track(), track(-0.1, 0.2)))
    main(["sync", str(video), "--fix", str(video.with_name("b.mp4"))])
    out = capsys.readouterr().out
    assert "口型比声音晚 80 毫秒" in out
    assert "人脸 2" in out and "水印" in out
    assert "mouth" not in out and "sound" not in out


def test_many_faces_are_not_told_one_by_one() -> None:
    many = tuple(track(start=number, end=number + 0.96, note="short") for number in range(20))
    lines = sync_lines(report(*many))
    assert len(lines) == 1 + MOST_FACES + 1
    assert lines[-1] == "  … and 8 more; --json has them all."
    assert len(sync_lines(report(*many[:MOST_FACES]))) == 1 + MOST_FACES


def test_a_chart(video: Path, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, report(track()))
    chart = tmp_path / "图.png"
    assert sync(video, "--chart", chart)[1]["chart"] == str(chart)
    with Image.open(chart) as picture:
        assert (picture.format, picture.size[0]) == ("PNG", 1600)
    code, values = sync(video, "--chart", chart)
    assert (code, values["error"]) == (2, "BadOutput")
    assert sync(video, "--chart", chart, "--overwrite")[0] == 9


def test_a_copy(video: Path, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, report(track(0.08)))
    code, values = sync(video, "--fix", tmp_path / "b.mp4")
    assert (code, values["fixed"], values["verdict"]) == (0, str(tmp_path / "b.mp4"), "out of sync")
    assert delay(SOUND, heard(tmp_path / "b.mp4")) == pytest.approx(0.08, abs=0.001)
    assert picture_packets(tmp_path / "b.mp4") == picture_packets(video)
    assert "80 ms later" in values["notes"][0]
    assert "Watermark" in values["notes"][-1]


@pytest.mark.parametrize(
    ("offset", "confidence", "code", "word"),
    [(0.01, 0.9, 0, "agree"), (0.08, 0.4, 10, "not sure"), (math.nan, 0.0, 10, "no offset")],
)
def test_no_copy_where_there_is_none_to_make(
    video: Path,
    sync: Sync,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    offset: float,
    confidence: float,
    code: int,
    word: str,
) -> None:
    measured_as(monkeypatch, report(track(offset, confidence)))
    found, values = sync(video, "--fix", tmp_path / "b.mp4")
    assert (found, values["fixed"]) == (code, None)
    assert word in values["notes"][0]
    assert list(tmp_path.iterdir()) == [video]


def test_told_to_go_by_what_is_not_sure(
    video: Path, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, report(track(-0.1, 0.3)))
    assert sync(video, "--fix", tmp_path / "b.mp4", "--unsure")[0] == 0
    assert delay(SOUND, heard(tmp_path / "b.mp4")) == pytest.approx(-0.1, abs=0.001)


@pytest.mark.parametrize("option", ["--fix", "--chart"])
@pytest.mark.parametrize("name", ["nowhere/b", "exists", "b.txt"])
def test_places_are_refused_before_the_work(
    video: Path, sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str
) -> None:
    asked = measured_as(monkeypatch, report(track()))
    ending = {"--fix": ".mp4", "--chart": ".png"}[option]
    place = tmp_path / (name if "." in name else name + ending)
    if name == "exists":
        place.write_bytes(b"mine")
    code, values = sync(video, option, place)
    assert (code, values["error"], asked) == (2, "BadOutput", [])
    assert values["hint"]
    assert not place.exists() or place.read_bytes() == b"mine"


def test_a_take_does_not_leave_by_this_door(
    take: Take, sync: Sync, tmp_path: Path, sonic_home: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = measured_as(monkeypatch, report(track()))
    code, values = sync(take.master, "--fix", tmp_path / "b.mp4")
    assert (code, values["error"], asked) == (3, "Refused", [])
    assert "sonic export" in values["hint"]
    assert sync(video, "--chart", sonic_home / "chart.png")[1]["error"] == "BadOutput"
    assert sync(video, "--fix", sonic_home / "b.mp4")[1]["error"] == "BadOutput"
    assert list(tmp_path.iterdir()) == [video]


@pytest.mark.parametrize(
    "problem",
    [BadAudio("v.mp4 is a video without sound.", "Give a file with speech in it."), BadVideo("No.", "Look.")],
)
def test_what_cannot_be_read_is_an_error(
    video: Path, sync: Sync, monkeypatch: pytest.MonkeyPatch, problem: BadVideo
) -> None:
    measured_as(monkeypatch, problem)
    code, values = sync(video, "--chart", video.with_name("c.png"), "--fix", video.with_name("b.mp4"))
    assert (code, values["error"], values["message"]) == (2, type(problem).__name__, problem.message)
    assert list(video.parent.iterdir()) == [video]


def test_a_stop_leaves_nothing(video: Path, sync: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, report(track()))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sonic_ext.media.shift._MovedTrack.finish", stop)
    code, values = sync(video, "--fix", video.with_name("b.mp4"))
    assert (code, values["error"]) == (130, "Cancelled")
    assert list(video.parent.iterdir()) == [video]


def test_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--help"]) == 0
    told = capsys.readouterr().out
    assert "9 they are further apart" in told and "--unsure" in told


# With the measurement itself


@pytest.mark.parametrize("shift", [0.0, 0.06, 0.1, 0.2, -0.06, -0.1, -0.2])
def test_a_drawn_video_is_measured_and_fixed(sync: Sync, tmp_path: Path, drawn: Path, shift: float) -> None:
    """A video of the preview engine, its sound moved: told, and brought to within 20 ms."""
    from sonic_ext.media.shift import shift_sound

    moved = tmp_path / "moved.mp4"
    shift_sound(drawn, moved, -shift)  # the sound earlier: the mouth comes after the voice
    code, values = sync(moved, "--fix", tmp_path / "fixed.mp4")
    assert values["offset"] == pytest.approx(shift, abs=0.04), values["summary"]
    assert values["confidence"] >= 0.5
    assert code == 0
    fixed = tmp_path / "fixed.mp4" if values["fixed"] else moved
    assert delay(heard(drawn), heard(fixed)) == pytest.approx(0.0, abs=0.04)
    assert abs(sync(fixed)[1]["offset"]) <= 0.02


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of the preview engine that says the whole example."""
    folder = tmp_path_factory.mktemp("drawn")
    words = ["--consent-face", "synthetic", "--consent-voice", "synthetic", "--set", "seed=7"]
    sources = [str(EXAMPLE / "portrait.jpg"), str(EXAMPLE / "speech.wav")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONIC_HOME", str(folder / "home"))
        assert main(["animate", *sources, "-o", str(folder / "out.mp4"), *words]) == 0
    return folder / "out.mp4"


@pytest.mark.parametrize("name", ["folder", "missing.mp4", "text.mp4", "portrait.jpg", "empty.mp4"])
def test_files_that_are_no_videos(sync: Sync, tmp_path: Path, name: str) -> None:
    file = EXAMPLE / name if name == "portrait.jpg" else tmp_path / name
    if name == "folder":
        file.mkdir()
    elif name == "text.mp4":
        file.write_text("no video")
    elif name == "empty.mp4":
        file.touch()
    before = sorted(tmp_path.iterdir())
    code, values = sync(file, "--chart", tmp_path / "c.png")
    assert code == 2
    assert values["error"] == "BadVideo"
    assert values["message"] and values["hint"]
    assert sorted(tmp_path.iterdir()) == before


def test_a_video_without_sound(sync: Sync, tmp_path: Path) -> None:
    code, values = sync(muxed(tmp_path / "a.mp4", None))
    assert (code, values["error"]) == (2, "BadAudio")
    assert values["hint"]


def test_a_video_without_a_face(sync: Sync, tmp_path: Path, video: Path) -> None:
    code, values = sync(video, "--fix", tmp_path / "b.mp4", "--chart", tmp_path / "c.png")
    assert (code, values["verdict"], values["fixed"]) == (10, "not measured", None)
    assert values["reason"] and values["hint"]
    assert (tmp_path / "c.png").exists() and not (tmp_path / "b.mp4").exists()


@pytest.fixture(scope="module")
def pictures(drawn: Path) -> list[Any]:
    """Frames of the drawn video, half as large."""
    return [np.ascontiguousarray(frame[::2, ::2]) for frame in read_frames(drawn, 100)]


@pytest.fixture(scope="module")
def spoken(drawn: Path) -> Any:
    """The sound of the drawn video."""
    return heard(drawn)[: 4 * RATE]


def test_too_few_frames_a_second(sync: Sync, tmp_path: Path, pictures: list[Any], spoken: Any) -> None:
    code, values = sync(muxed(tmp_path / "a.mp4", spoken, fps=5, pictures=pictures[::5]))
    assert (code, values["verdict"]) == (10, "not measured")
    assert "frames a second" in values["reason"]


@pytest.mark.parametrize("sound", ["noise", "silence"])
def test_a_face_without_a_voice(
    sync: Sync, tmp_path: Path, pictures: list[Any], spoken: Any, sound: str
) -> None:
    other = noise_bursts(4.0) if sound == "noise" else np.zeros_like(spoken)
    code, values = sync(muxed(tmp_path / "a.mp4", other, pictures=pictures), "--fix", tmp_path / "b.mp4")
    if sound == "noise":
        assert (code, values["fixed"]) == (10, None), values["summary"]
    else:
        assert (code, values["error"]) == (2, "BadAudio")
    assert not (tmp_path / "b.mp4").exists()


def test_of_two_faces_the_one_that_speaks(
    sync: Sync, tmp_path: Path, pictures: list[Any], spoken: Any
) -> None:
    both = [np.concatenate([pictures[0], each], axis=1) for each in pictures]
    _, values = sync(muxed(tmp_path / "a.mp4", spoken, pictures=both), "--chart", tmp_path / "c.png")
    assert len(values["tracks"]) == 2
    assert abs(values["offset"]) <= 0.04
    best = max(values["tracks"], key=lambda face: face["confidence"])
    assert best["box"][0] > pictures[0].shape[1]


def test_a_variable_frame_rate(sync: Sync, tmp_path: Path, pictures: list[Any], spoken: Any) -> None:
    """Of every five frames one or two are dropped; what is left keeps its time."""
    kept = [number for number in range(100) if number % 5 not in (1, 2 * (number % 2) + 1)]
    video = muxed(
        tmp_path / "a.mkv",
        spoken,
        pictures=[pictures[number] for number in kept],
        stamps=[40 * number for number in kept],
    )
    assert abs(sync(video)[1]["offset"]) <= 0.04


def test_cuts(sync: Sync, tmp_path: Path, pictures: list[Any], spoken: Any) -> None:
    """In the middle something else for half a second: each shot is a track, and the chart has both."""
    shown = [*pictures[:44], *([np.full_like(pictures[0], 90)] * 12), *pictures[56:]]
    video = muxed(tmp_path / "a.mp4", spoken, pictures=shown)
    _, values = sync(video, "--chart", tmp_path / "c.png")
    assert len(values["tracks"]) == 2
    assert (tmp_path / "c.png").exists()
