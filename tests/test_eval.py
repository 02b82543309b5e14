"""`sonic eval`: the figures of finished videos, folders of them, and the report."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_takes import drawn_frames
from patience import PATIENCE, until
from safetensors.numpy import save_file
from sounds import voice
from test_sync_networks import toy_arrays
from tiny_arcface import write_arcface

from sonic_ext import weights
from sonic_ext.cli import main as cli
from sonic_ext.engines.detectors import recognisers
from sonic_ext.errors import BadAudio, BadInput, BadOutput, BadVideo, Cancelled, Failed, MissingPart, NoFace
from sonic_ext.evaluation import measuring, plots, report
from sonic_ext.evaluation.closures import closure_figures
from sonic_ext.evaluation.folder import (
    EvaluatedVideo,
    Evaluation,
    EvaluationProgress,
    compare,
    evaluate,
    videos_of,
)
from sonic_ext.evaluation.measuring import Measuring, VideoFigures, measure_figures
from sonic_ext.evaluation.metrics import BY_NAME, METRICS
from sonic_ext.evaluation.naturalness import PEOPLE, FaceTrack, Look, Naturalness, measure_video
from sonic_ext.evaluation.page import as_html
from sonic_ext.evaluation.statistics import mean_interval
from sonic_ext.media.arcface import PLACES, SIDE, ArcFace, laid_square
from sonic_ext.media.audio import Speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.mesh import mean_face
from sonic_ext.media.video import VideoWriter
from sonic_ext.pipeline import animate
from sonic_ext.processes import Workers, cores
from sonic_ext.provenance.store import Store
from sonic_ext.settings import Settings
from sonic_ext.sync import encoders
from sonic_ext.train.phonemes import Phoneme, read_phonemes

MEDIA = Path(__file__).parent / "data" / "media"
PHONEMES = MEDIA / "speech_en_espeak.phonemes.json"
STAND_IN = Measuring(sync="stand_in_sync:measure")
FPS = 25
SMALL = 64
"""Pixels: side of a picture without a face, which is searched long."""


@pytest.fixture(autouse=True)
def _no_packs_of_this_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "insightface"))


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.6 seconds of the preview engine, with the phonemes of its speech beside it."""
    folder = tmp_path_factory.mktemp("talking")
    settings = Settings(
        engine="preview", seed=1, min_resolution=256, framing="crop", duration=1.6, duration_policy="trim"
    )
    take = animate(
        MEDIA / "portrait_01.jpg",
        MEDIA / "speech_en_espeak.wav",
        settings,
        store=Store(tmp_path_factory.mktemp("store") / "home"),
    )
    shutil.copy(take.master, folder / "hello.mp4")
    shutil.copy(PHONEMES, folder / "hello.phonemes.json")
    return folder / "hello.mp4"


def clip(path: Path, count: int = 6, sound: bool = True, name: str = "") -> Path:
    """A portrait that stands still, or noise without a face, as a small video."""
    speech = Speech.from_samples(voice()[0, : 16000 * count // FPS], 16000) if sound else None
    frames: Iterable[np.ndarray] = drawn_frames(count, SMALL)
    if name:
        still = cv2.resize(read_portrait(MEDIA / name).rgb, (256, 256), interpolation=cv2.INTER_AREA)
        frames = [still] * count
    side = 256 if name else SMALL
    with VideoWriter(path, side, side, FPS, speech) as writer:
        for frame in frames:
            writer.write(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420))
    return path


# Closures


def track_of(gaps: np.ndarray) -> FaceTrack:
    looks = np.full((len(gaps), len(Look._fields)), np.nan)
    looks[:, Look._fields.index("time")] = (np.arange(len(gaps)) + 0.5) / FPS
    looks[:, Look._fields.index("gap")] = gaps
    return FaceTrack(FPS, looks, 0.0)


SPOKEN = (Phoneme("a", 0.0, 0.4), Phoneme("p", 0.4, 0.52), Phoneme("a", 0.52, 1.0), Phoneme("m", 1.0, 1.12))


@pytest.mark.parametrize(("shut", "closed"), [((), 0.0), ((11,), 0.5), ((11, 26), 1.0), ((5,), 0.0)])
def test_lips_are_closed_where_a_frame_shows_it(shut: tuple[int, ...], closed: float) -> None:
    gaps = np.full(40, 0.2)
    gaps[[*shut]] = 0.02
    found = closure_figures(track_of(gaps), SPOKEN)
    assert (found["closures"], found["closed"]) == (2, closed)
    assert found["vowel_opening"] == pytest.approx(0.2)


def test_a_face_that_is_lost_for_a_moment_or_for_good() -> None:
    gaps = np.full(40, 0.2)
    gaps[[11, 26]], gaps[3:8] = 0.02, np.nan
    assert closure_figures(track_of(gaps), SPOKEN)["closed"] == 1.0
    gaps[:24] = np.nan
    assert closure_figures(track_of(gaps), SPOKEN) == {}
    assert closure_figures(track_of(np.full(40, 0.2)), [Phoneme("p", 9.0, 9.1)]) == {}
    assert closure_figures(track_of(np.zeros(0)), SPOKEN) == {}


@pytest.mark.parametrize(
    "text",
    ["", "{}x", "7", '[{"phoneme": "a"}]', '[["a", 0, 1]]', '[{"phoneme": "a", "start_s": 2, "end_s": 1}]',
     '[{"phoneme": "a", "start_s": 0, "end_s": NaN}]', '[{"phoneme": "a", "start_s": 0, "end_s": "x"}]'],
)  # fmt: skip
def test_phonemes_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.phonemes.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"a\.phonemes\.json"):
        read_phonemes(tmp_path / "a.phonemes.json")


# One video


def test_a_video_has_all_its_figures(talking: Path) -> None:
    found = measure_figures(talking, STAND_IN)
    natural = measure_video(talking)
    for name in set(vars(natural)) & set(BY_NAME):
        assert found.values[name] == pytest.approx(getattr(natural, name), nan_ok=True), name
    for name, score in natural.scores().items():
        assert found.values[f"score_{name}"] == pytest.approx(score, nan_ok=True)
    assert found.values["closures"] == sum(
        each.end <= 1.6 and each.name in ("p", "b", "m") and each.end - each.start >= 0.06
        for each in read_phonemes(PHONEMES)
    )
    assert found.values["closed"] == 1.0
    assert 0.02 < found.values["vowel_opening"] < 0.5
    assert (found.values["sync_offset"], found.values["sync_error"]) == (-0.02, 0.02)
    assert math.isnan(found.values["identity"])
    assert (found.frames, found.seen) == (40, 40)


def test_figures_are_the_same_after_json(talking: Path) -> None:
    found = measure_figures(talking, STAND_IN)
    again = VideoFigures.from_json(json.loads(json.dumps(found.as_json(), allow_nan=False)))
    assert again.as_json() == found.as_json()
    for broken in ({}, found.as_json() | {"values": {}}, found.as_json() | {"notes": 3}):
        with pytest.raises((KeyError, TypeError)):
            VideoFigures.from_json(broken)


def test_phonemes_that_cannot_be_read_cost_closures_alone(talking: Path, tmp_path: Path) -> None:
    shutil.copy(talking, tmp_path / "hello.mp4")
    (tmp_path / "hello.phonemes.json").write_text("[1]", encoding="utf-8")
    found = measure_figures(tmp_path / "hello.mp4", STAND_IN)
    assert math.isnan(found.values["closed"]) and math.isfinite(found.values["lip_dynamics"])
    assert "Closures were not measured: hello.phonemes.json holds no phonemes with times." in found.notes


def test_a_video_without_sound_has_the_figures_of_its_picture(tmp_path: Path) -> None:
    found = measure_figures(clip(tmp_path / "silent.mp4", sound=False, name="portrait_02.jpg"), STAND_IN)
    assert math.isfinite(found.values["yaw"])
    assert np.isnan(
        [found.values[name] for name in ("lip_sync", "silent_lips", "sync_offset", "score")]
    ).all()
    assert found.notes == ("Lip sync was not measured: silent.mp4 has no sound.",)


def test_an_offset_that_is_not_sure_is_told_and_counts_nowhere(tmp_path: Path) -> None:
    found = measure_figures(clip(tmp_path / "unsure.mp4", sound=False, name="portrait_02.jpg"), STAND_IN)
    assert (found.offset, found.values["sync_confidence"]) == (-0.02, 0.3)
    assert math.isnan(found.values["sync_offset"]) and math.isnan(found.values["sync_error"])
    assert found.notes == ("An offset of -20 ms is not sure (confidence 0.30).",)


def test_lip_sync_is_the_judges(talking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network without training, which is 50 % sure of anything; what ships for calibration is not read."""
    judge = tmp_path / "judge.safetensors"
    arrays = {name: np.ascontiguousarray(array) for name, array in toy_arrays().items()}
    save_file(arrays, judge, {"format": encoders.FORMAT})
    places = {"judge": judge}
    monkeypatch.setattr(measuring, "weights_of", places.__getitem__)
    found = measure_figures(talking, Measuring())
    assert math.isfinite(found.offset) and found.values["sync_confidence"] == pytest.approx(0.5, abs=0.01)
    judge.unlink()
    encoders.load.cache_clear()
    without = measure_figures(talking, Measuring())
    assert math.isnan(without.offset) and math.isfinite(without.values["yaw"])
    assert any("judge.safetensors" in note for note in without.notes)


def test_why_lip_sync_could_not_be_measured_is_told(tmp_path: Path) -> None:
    found = measure_figures(clip(tmp_path / "still.mp4", 2, sound=False, name="portrait_02.jpg"), STAND_IN)
    assert math.isnan(found.offset) and math.isnan(found.values["sync_confidence"])
    assert found.notes == ("The mouth does not move.", "One warning.")


def test_nothing_to_measure_is_an_error_and_a_face_is_not_everything(tmp_path: Path) -> None:
    with pytest.raises(BadAudio, match="no sound"):
        measure_figures(clip(tmp_path / "silent noise.mp4", 3, sound=False), STAND_IN)
    found = measure_figures(clip(tmp_path / "noise.mp4", 3), STAND_IN)
    assert found.values["sync_offset"] == -0.02 and found.seen == 0
    assert any(note.startswith("The face was not measured: ") for note in found.notes)


def test_measuring_stops_between_frames(talking: Path) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        measure_figures(talking, STAND_IN, lambda: next(asked))


# Identity


def test_the_five_points_come_to_their_places() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    points = mean_face() * 80 + (200, 180, 0)
    for corner in points[[61, 291, 1], :2]:
        cv2.circle(picture, np.rint(corner).astype(int).tolist(), 4, (255, 255, 255), -1)
    square = laid_square(picture, points)
    assert square.shape == (SIDE, SIDE, 3)
    for x, y in PLACES[2:]:
        near = square[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7, 0]
        assert near.max() > 200


def test_one_face_is_like_itself_and_less_like_another(tmp_path: Path) -> None:
    network = ArcFace(write_arcface(tmp_path / "肖像" / "w600k_tiny.onnx"))
    rgb = read_portrait(MEDIA / "portrait_01.jpg").rgb
    points = (mean_face() * 60 + (rgb.shape[1] / 2, rgb.shape[0] / 2, 0)).astype(np.float32)
    own, darker = network.direction(rgb, points), network.direction(255 - rgb, points)
    assert own.shape == (147,) and np.linalg.norm(own) == pytest.approx(1)
    assert own @ network.direction(rgb, points) == pytest.approx(1)
    assert own @ darker < 0.9


def test_recognisers_that_are_none(tmp_path: Path) -> None:
    points = mean_face() * 40 + 56
    with pytest.raises(MissingPart, match="cannot be read"):
        ArcFace(tmp_path / "gone.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x06nothing")
    with pytest.raises(MissingPart, match="face recogniser"):
        ArcFace(tmp_path / "broken.onnx").direction(np.zeros((112, 112, 3), np.uint8), points)
    other = ArcFace(write_arcface(tmp_path / "other.onnx", last="Relu"))
    with pytest.raises(MissingPart, match="does not answer as a face recogniser"):
        other.direction(np.zeros((112, 112, 3), np.uint8), points)


def test_recognisers_are_found_beside_detectors(tmp_path: Path) -> None:
    search = weights.Search(tmp_path / "own")
    assert recognisers(search) == []
    pack = tmp_path / "insightface" / "models" / "buffalo_s"
    pack.mkdir(parents=True)
    for name, size in (("det_500m.onnx", 9), ("w600k_mbf.onnx", 20), ("genderage.onnx", 90)):
        (pack / name).write_bytes(b"0" * size)
    (tmp_path / "insightface" / "glintr100.onnx").write_bytes(b"0" * 50)
    assert [path.name for path in recognisers(search)] == ["glintr100.onnx", "w600k_mbf.onnx"]


def test_identity_is_measured_against_the_first_frame_or_a_portrait(talking: Path, tmp_path: Path) -> None:
    network = write_arcface(tmp_path / "w600k_tiny.onnx")
    own = measure_figures(talking, Measuring("stand_in_sync:measure", network)).values
    assert 0.8 < own["identity_least"] <= own["identity"] <= 1 + 1e-6
    other = Measuring("stand_in_sync:measure", network, MEDIA / "portrait_03.jpg")
    assert measure_figures(talking, other).values["identity"] < own["identity"]


def test_what_would_fail_with_every_video_is_refused_at_once(talking: Path, tmp_path: Path) -> None:
    network = write_arcface(tmp_path / "w600k_tiny.onnx")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((SMALL, SMALL, 3), 128, np.uint8))
    for how, error in (
        (Measuring(portrait=MEDIA / "portrait_01.jpg"), BadInput),
        (Measuring(recogniser=network, portrait=tmp_path / "grey.png"), NoFace),
        (Measuring(recogniser=tmp_path / "gone.onnx"), MissingPart),
    ):
        with pytest.raises(error):
            evaluate([talking.parent], tmp_path / "results", how)
    assert not (tmp_path / "results").exists()


# Folders


def test_folders_without_videos(tmp_path: Path) -> None:
    for name in (".hidden.mp4", "hello.phonemes.json", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(BadInput, match="There is no video in"):
        videos_of(tmp_path)
    with pytest.raises(BadInput, match="is no folder"):
        videos_of(tmp_path / "notes.txt")
    with pytest.raises(BadInput, match="cannot be read"):
        videos_of(tmp_path / "gone")


@pytest.fixture
def mixed(talking: Path, tmp_path: Path) -> Path:
    """A talking video under a name that is not ASCII, one with a formula for a name, and a damaged one."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(talking, folder / "你好 é.mp4")
    shutil.copy(PHONEMES, folder / "你好 é.phonemes.json")
    clip(folder / "=1+1 <b>.mp4", 3, name="portrait_02.jpg")
    (folder / "broken.mp4").write_bytes(b"\0\0\0 ftypisom no video")
    return folder


def test_the_rest_of_a_folder_is_measured_and_again_does_nothing(mixed: Path, tmp_path: Path) -> None:
    steps: list[EvaluationProgress] = []
    (found,) = evaluate([mixed], tmp_path / "results", STAND_IN, progress=steps.append)
    assert [video.name for video in found.videos] == ["=1+1 <b>.mp4", "broken.mp4", "你好 é.mp4"]
    assert [video.name for video in found.failed] == ["broken.mp4"]
    assert isinstance(found.failed[0].error, BadVideo) and found.failed[0].figures is None
    assert [(step.done, step.total) for step in steps] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert steps[-1] == EvaluationProgress(3, 1, 3, 3, 3)

    steps.clear()
    (again,) = evaluate([mixed], tmp_path / "results", STAND_IN, progress=steps.append)
    assert steps[0] == EvaluationProgress(2, 0, 3, 0, 1), "only what failed is tried again"
    assert again.column("lip_dynamics").tolist() == pytest.approx(
        found.column("lip_dynamics").tolist(), nan_ok=True
    )


def test_what_was_changed_is_measured_again(talking: Path, tmp_path: Path) -> None:
    folder, results, steps = tmp_path / "videos", tmp_path / "results", list[EvaluationProgress]()
    folder.mkdir()
    video = clip(folder / "a.mp4", 2, name="portrait_02.jpg")
    shutil.copy(video, folder / "same.mp4")

    def measured(how: Measuring = STAND_IN) -> int:
        evaluate([folder], results, how, progress=steps.append)
        return steps[-1].measured

    assert measured() == 1, "two files of the same content"
    assert measured() == 0
    next(results.iterdir()).write_text("{}", encoding="utf-8")
    assert measured() == 1
    (folder / "a.phonemes.json").write_text("[]", encoding="utf-8")
    assert measured() == 1
    assert measured(Measuring("stand_in_sync:measure", write_arcface(tmp_path / "w600k_a.onnx"))) == 2
    video.unlink()
    clip(video, 3, name="portrait_02.jpg")
    assert measured() == 1


def test_a_stop_keeps_what_was_measured(mixed: Path, tmp_path: Path) -> None:
    steps: list[EvaluationProgress] = []
    with pytest.raises(Cancelled):
        evaluate(
            [mixed],
            tmp_path / "results",
            STAND_IN,
            progress=steps.append,
            cancelled=lambda: bool(steps) and steps[-1].done > 0,
        )
    assert len(list((tmp_path / "results").iterdir())) == 1
    evaluate([mixed], tmp_path / "results", STAND_IN, progress=steps.append)
    assert steps[-1] == EvaluationProgress(3, 1, 3, 2, 2)


def test_a_place_that_cannot_be_written_to(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadOutput, match="cannot be made"):
        evaluate([mixed], tmp_path / "file" / "results", STAND_IN)


# Pairs


def evaluation(folder: str, **values: float) -> Evaluation:
    """Videos `a`, `b` … with one figure each."""
    known = dict.fromkeys(BY_NAME, math.nan)
    return Evaluation(
        Path(folder),
        tuple(
            EvaluatedVideo(f"{name}.mp4", "", VideoFigures(1.0, 25, 25, known | {"roll": value}))
            for name, value in values.items()
        ),
    )


def test_videos_of_the_same_name_are_compared() -> None:
    found = compare(evaluation("x", a=1, b=2, c=3, d=4), evaluation("y", b=1, c=5, d=math.nan, e=9))
    assert (found.names, found.only_first, found.only_second) == (
        ("b.mp4", "c.mp4", "d.mp4"),
        ("a.mp4",),
        ("e.mp4",),
    )
    assert list(found.differences) == ["roll"]
    roll = found.differences["roll"]
    assert (roll.difference.count, roll.difference.mean, roll.more, roll.less) == (2, -0.5, 1, 1)
    assert found.adjusted == {"roll": roll.ranks}


def test_accents_apart_from_their_letters_are_the_same_name() -> None:
    one, other = (unicodedata.normalize(form, "só") for form in ("NFC", "NFD"))
    assert one != other
    found = compare(evaluation("x", **{one: 1}), evaluation("y", **{other: 2}))
    assert found.differences["roll"].difference.mean == -1
    assert found.only_first == found.only_second == ()


def test_folders_that_share_no_name() -> None:
    found = compare(evaluation("x", a=1), evaluation("y", b=1))
    assert (found.names, found.differences) == ((), {})
    assert b"no measured video of the same name" in as_html([evaluation("x", a=1)] * 2, found, "2026-01-01")


# The report


class _Page(HTMLParser):
    """What is on a page."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_says_it_all(mixed: Path, tmp_path: Path) -> None:
    late = tmp_path / "late"
    shutil.copytree(mixed, late)
    (late / "broken.mp4").unlink()
    clip(late / "more.mp4", 2, name="portrait_02.jpg")
    both = evaluate([mixed, late], tmp_path / "results", STAND_IN)
    compared = compare(*both)
    paths = report.write(tmp_path, both, compared)
    assert [path.name for path in paths] == list(report.NAMES)

    rows = list(csv.DictReader(io.StringIO(paths[0].read_bytes().decode("utf-8-sig"))))
    assert [(row["folder"], row["video"]) for row in rows] == [
        *(("mixed", name) for name in ("'=1+1 <b>.mp4", "broken.mp4", "你好 é.mp4")),
        *(("late", name) for name in ("'=1+1 <b>.mp4", "more.mp4", "你好 é.mp4")),
    ]
    assert set(BY_NAME) <= rows[0].keys()
    assert rows[1]["error"] and not rows[1]["yaw"] and not rows[0]["error"]
    assert float(rows[2]["closed"]) == 1 and rows[0]["closed"] == ""

    values = json.loads(paths[1].read_bytes())
    assert values["format"] == report.FORMAT and values["metrics"]["yaw"]["people"] == [*PEOPLE["yaw"]]
    first, second = values["folders"]
    assert (first["measured"], first["failed"], second["failed"]) == (2, 1, 0)
    assert first["videos"][1]["error"]["error"] == "BadVideo"
    assert first["summary"]["closed"] == {"count": 1, "mean": 1.0, "low": None, "high": None}
    interval = mean_interval(both[0].column("eyes_open"))
    assert first["summary"]["eyes_open"] == pytest.approx(vars(interval))
    assert values["comparison"]["only_first"] == ["broken.mp4"]
    assert values["comparison"]["only_second"] == ["more.mp4"]

    page = _Page(paths[2].read_bytes())
    assert "script" not in page.tags and "img" not in page.tags and "b>.mp4" in page.text
    assert page.tags.count("section") == sum(
        any(metric.name in each.summary() for each in both) for metric in METRICS
    )
    assert page.tags.count("svg") == page.tags.count("section") + 4 + 2, "legend, sync, differences"
    for said in (
        "broken.mp4",
        "Only in late (1)",
        "Differences in pairs",
        "People: 0.053 to 0.105.",
        "你好 é",
    ):
        assert said in page.text, said


def test_a_report_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    report.require_ours(tmp_path, overwrite=False)
    for name, text in (("evaluation.csv", "mine"), ("evaluation.json", "[]")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(BadOutput, match="no report of an earlier evaluation"):
            report.require_ours(tmp_path, overwrite=False)
        report.require_ours(tmp_path, overwrite=True)
    report.write(tmp_path, [evaluation("x", a=1)])
    report.require_ours(tmp_path, overwrite=False)
    (tmp_path / "evaluation.csv").unlink()
    (tmp_path / "evaluation.csv").mkdir()
    with pytest.raises(BadOutput, match="cannot be written"):
        report.write(tmp_path, [evaluation("x", a=1)])


def test_a_page_of_nothing_and_of_very_many() -> None:
    nothing = Evaluation(Path("x"), (EvaluatedVideo("a.mp4", "", None, BadVideo("Broken.", "")),))
    assert "0 of 1 videos measured" in _Page(as_html([nothing], None, "2026-01-01T00:00:00")).text
    many = evaluation("x", **{f"v{number}": float(number % 37) for number in range(1500)})
    page = _Page(as_html([many], None, "2026-01-01T00:00:00"))
    assert page.tags.count("tr") == 1001 and "500 more are in the CSV." in page.text
    assert page.tags.count("circle") == 1, "an outline instead of dots; the legend has one"


def test_metrics_are_those_that_are_measured() -> None:
    natural = set(Naturalness.__dataclass_fields__) - {"frames", "seen"}
    assert natural <= set(BY_NAME) and set(PEOPLE) <= set(BY_NAME)
    assert len(BY_NAME) == len(METRICS)
    assert BY_NAME["sync_offset"].text(-0.0204) == "−20" and BY_NAME["yaw"].text(math.nan) == "–"


@given(
    low=st.floats(-1e6, 1e6),
    span=st.floats(1e-6, 1e6),
    about=st.integers(3, 9),
)
def test_ticks_are_round_and_lie_inside(low: float, span: float, about: int) -> None:
    axis = plots.Axis([low, low + span], 10, 350)
    ticks = axis.ticks(about)
    assert len(ticks) <= about + 2
    assert all(9.9 <= place <= 350.1 for place, _ in ticks)
    assert [place for place, _ in ticks] == sorted(place for place, _ in ticks)


@pytest.mark.parametrize(("least", "step"), [(0.011, 0.02), (1.0, 1.0), (2.1, 5.0), (60, 100), (0.2, 0.2)])
def test_steps_are_one_two_or_five(least: float, step: float) -> None:
    assert plots.round_step(least) == pytest.approx(step)


def test_dots_of_the_same_value_do_not_hide_each_other() -> None:
    lane = plots.Lane([f"v{n}" for n in range(5)], np.full(5, 0.1), mean_interval([0.1] * 5))
    drawn = plots.strip_plot(BY_NAME["roll"], [lane])
    centres = {part.split('"')[0] for part in drawn.split('cy="')[1:]}
    assert len(centres) == 5


# Processes


def test_workers_answer_refuse_die_and_go_on() -> None:
    orders = [{"number": 1}, {"refuse": 1}, {"die": 1}, {"break": 1}, {"number": 4}]
    with Workers("stand_in_sync:answer", 1) as workers:
        found = dict(workers.answers(orders))
    assert found[0]["twice"] == 2 and found[4]["twice"] == 8
    assert found[0]["pid"] not in (os.getpid(), found[4]["pid"]), "one that died is replaced"
    assert isinstance(found[1], BadAudio) and str(found[1]) == "Nothing is heard. Speak up."
    assert isinstance(found[2], Failed) and "(code 7)" in found[2].message
    assert isinstance(found[3], Failed) and "RuntimeError" in found[3].message


def test_workers_stop_when_asked_and_measure_as_this_process_does(mixed: Path, tmp_path: Path) -> None:
    (here,) = evaluate([mixed], tmp_path / "here", STAND_IN)
    (there,) = evaluate([mixed], tmp_path / "there", STAND_IN, processes=cores())
    for name in BY_NAME:
        assert there.column(name).tolist() == pytest.approx(here.column(name).tolist(), nan_ok=True, rel=1e-4)
    assert str(there.failed[0].error) == str(here.failed[0].error)

    def begun() -> bool:
        return any(mixed.glob("*.begun"))

    with pytest.raises(Cancelled):
        evaluate([mixed], tmp_path / "stopped", Measuring("stand_in_sync:wait"), 1, cancelled=begun)


# The command


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SYNC", "stand_in_sync:measure")


def test_a_folder_with_its_report_inside(
    mixed: Path, stand_in: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert cli.main(["eval", str(mixed), "--jobs", "1", "--json"]) == 8
        said = capsys.readouterr()
        values = json.loads(said.out)
        assert (values["exit_code"], values["folders"][0]["measured"]) == (8, 2)
        assert values["report"] == [str(mixed / "evaluation" / name) for name in report.NAMES]
        assert "broken.mp4: " in said.err and "no insightface pack" in said.err
        assert "3 of 3 videos, 1 failed" in said.err
    assert {path.name for path in (mixed / "evaluation").iterdir()} == {*report.NAMES, report.RESULTS}


def test_two_folders_on_the_command_line(
    talking: Path, stand_in: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    late = tmp_path / "late"
    shutil.copytree(talking.parent, late)
    pack = tmp_path / "insightface" / "models" / "tiny"
    write_arcface(pack / "w600k_tiny.onnx")
    out = tmp_path / "out"
    words = ["eval", str(talking.parent), "--against", str(late), "-o", str(out)]
    assert cli.main([*words, "--portrait", str(MEDIA / "portrait_01.jpg")]) == 0
    said = capsys.readouterr()
    assert "1 pairs; only in one of the folders: 0 and 0." in said.out
    assert "Likeness: " in said.out and "insightface" not in said.err
    values = json.loads((out / "evaluation.json").read_bytes())
    assert values["comparison"]["differences"]["yaw"]["mean"] == pytest.approx(0)
    assert cli.main(["eval", str(late), "--against", str(tmp_path / "late" / ".")]) == 2
    assert "beside itself" in capsys.readouterr().err


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", str(tmp_path)]) == 2
    assert cli.main(["eval", str(tmp_path / "gone")]) == 2
    assert not any(tmp_path.iterdir())
    assert cli.main(["eval"]) == 2
    capsys.readouterr()


@pytest.mark.skipif(os.name == "nt", reason="signals to one process need a POSIX system")
def test_ctrl_c_ends_it_at_once_and_says_that_it_can_go_on(mixed: Path) -> None:
    code = (
        "import sys; from sonic_ext.evaluation import measuring; measuring.SYNC = 'stand_in_sync:wait'; "
        f"from sonic_ext.cli.main import main; sys.exit(main(['eval', {str(mixed)!r}, '--jobs', '2']))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment) as process:
        until(lambda: any(mixed.glob("*.begun")))
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 130
    assert "Stopped as asked." in said and "the same command goes on" in said
    assert not list((mixed / "evaluation" / "results").glob("*"))
