"""`sonic eval`: folders of videos, pairs of folders, the report and the command."""

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
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_evaluations import (  # noqa: F401  (fixtures)
    FPS,
    MEDIA,
    PHONEMES,
    SMALL,
    STAND_IN,
    clip,
    no_packs_of_this_computer,
    talking_video,
)
from patience import PATIENCE, until
from tiny_arcface import write_arcface

from sonic_ext.cli import main as cli
from sonic_ext.errors import BadAudio, BadInput, BadOutput, BadVideo, Cancelled, Failed
from sonic_ext.evaluation import measuring, plots, report
from sonic_ext.evaluation.folder import (
    EvaluatedVideo,
    Evaluation,
    EvaluationProgress,
    compare,
    evaluate,
    videos_of,
)
from sonic_ext.evaluation.measuring import Measuring, VideoFigures
from sonic_ext.evaluation.metrics import BY_NAME, METRICS
from sonic_ext.evaluation.naturalness import PEOPLE, Naturalness
from sonic_ext.evaluation.page import as_html
from sonic_ext.evaluation.statistics import mean_interval
from sonic_ext.processes import Workers, cores, start_python

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


def test_workers_that_hang_are_ended_and_those_that_are_slow_are_not() -> None:
    orders: list[dict[str, int]] = [{"hang": 1}, {"slow": 3, "number": 2}, {"number": 5}]
    with Workers("stand_in_sync:answer", 1, patience=10.0) as workers:
        found = dict(workers.answers(orders))
    assert isinstance(found[0], Failed) and "no sign of life for 10 s" in found[0].message
    assert (found[1]["twice"], found[2]["twice"]) == (4, 10)


def test_a_worker_whose_parent_is_gone_draws_no_conclusion_from_it(tmp_path: Path) -> None:
    """It ends; that its sign of life reaches nobody says nothing of what it works on."""
    said = tmp_path / "said"
    values = {"function": "stand_in_sync:answer", "threads": 1}
    process = start_python("sonic_ext.processes:serve", values, 1, subprocess.PIPE, subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"\n", "it is not loaded"
    process.stdout.close()
    process.stdin.write(json.dumps({"orphan": str(said)}).encode() + b"\n")
    process.stdin.flush()  # and is kept open: it is the sign of life that fails
    assert process.wait() == 1 and not said.exists()
    process.stdin.close()


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
