"""The benchmark of a card: whatever happens to a section, the others go on and what was measured is kept.

The sections themselves run once, with tiny networks, on the processor; a card is nobody's to have here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import PATIENCE, until

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import device  # noqa: E402
from card import report, runner  # noqa: E402
from card.runner import Record, Row, Section, Worker  # noqa: E402

OPTIONS = {"bench": "card_sections:opened"}
LONG = 300.0
"""Seconds that no section here needs, under any load."""


def fake(name: str, seconds: float = LONG, called: str = "") -> Section:
    return Section(called or name, f"About {name}", seconds, f"card_sections:{name}")


def start(**options: Any) -> Worker:
    return Worker.start({**OPTIONS, **options}, [ROOT / "tests"])


def record(folder: Path) -> Record:
    return Record(partial(device.place, folder, "2026-01-02"), {"form": 1, "date": "2026-01-02"})


def ran(folder: Path, *sections: Section, budget: float = 10 * LONG) -> Record:
    found = record(folder)
    runner.measured(sections, start, found, budget)
    return found


def written(folder: Path) -> Row:
    (path,) = folder.glob("*.json")
    value: Row = json.loads(path.read_text(encoding="utf-8"))
    return value


# Deadlines, failures


def test_sections_that_end_well_share_a_process(tmp_path: Path) -> None:
    found = ran(tmp_path, fake("well"), fake("lacks"), fake("well", called="again"))
    first, second = (found.sections[name]["rows"] for name in ("well", "again"))
    assert first[0]["process"] == second[0]["process"] == found.card["process"]
    assert [first[0]["released"], second[0]["released"]] == [0, 1]
    assert found.sections["lacks"]["status"] == "left out"
    assert "a_library_that_nobody_has" in found.sections["lacks"]["why"]
    assert found.well


@pytest.mark.parametrize(
    ("name", "status", "why"),
    [
        ("out_of_memory", "out of memory", "MemoryError: a card would say"),
        ("fails", "failed", "illegal memory access was encountered (card_sections.py:"),
        ("dies", "failed", "its process ended with code 3"),
    ],
)
def test_after_a_failure_the_next_section_goes_on_afresh(
    tmp_path: Path, name: str, status: str, why: str
) -> None:
    found = ran(tmp_path, fake(name), fake("well"))
    assert (found.sections[name]["status"], found.sections["well"]["status"]) == (status, "done")
    assert why in found.sections[name]["why"]
    assert found.sections[name]["rows"] == [{"rung": "before"}]
    assert found.sections["well"]["rows"][0]["process"] != found.card["process"]
    assert not found.well
    assert written(tmp_path)["sections"][name]["status"] == status


def test_a_section_that_hangs_ends_at_its_deadline_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def said(worker: Worker, until: float) -> Iterator[Row | None]:
        """Until the row that comes before the hanging: then the deadline passes."""
        for line in usual(worker, time.monotonic() + LONG):
            yield line
            if line and line.get("row") == {"rung": "before"}:
                waited.append(until - time.monotonic())
                return

    usual = Worker.said
    monkeypatch.setattr(Worker, "said", said)
    found = ran(tmp_path, fake("hangs", 900), fake("well"))
    assert found.sections["hangs"]["status"] == "deadline"
    assert "stopped after 900 s" in found.sections["hangs"]["why"]
    assert found.sections["hangs"]["rows"] == [{"rung": "before"}]
    assert found.sections["well"]["status"] == "done"
    assert 0 < waited[0] <= 900


def test_the_clock_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], []
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: now[0]))
    worker = start()
    try:
        assert next(line for line in worker.said(1.0))["card"]  # type: ignore[index]
        worker.order(fake("hangs"))
        assert list(worker.said(0.0)) == []
        for line in worker.said(1.0):
            said.append(line)
            now[0] = 1.0
        assert said == [{"row": {"rung": "before"}}]
    finally:
        worker.kill()
    assert worker.process.poll() is not None


def test_a_section_gets_its_own_time_and_the_last_one_all_that_is_left(tmp_path: Path) -> None:
    found = ran(tmp_path, fake("well", 70), fake("wrong", 80), budget=1000)
    assert found.sections["well"]["deadline"] == 70
    assert 500 < found.sections["wrong"]["deadline"] <= 1000
    assert not found.well, "a check failed"


def test_without_time_a_section_is_left_out(tmp_path: Path) -> None:
    found = ran(tmp_path, fake("well"), budget=1.0)
    assert found.sections["well"]["status"] == "left out"
    assert "no time" in found.sections["well"]["why"]


def test_a_card_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    found = record(tmp_path)
    runner.measured([fake("well")], partial(start, broken=True), found, LONG)
    assert found.sections["well"]["status"] == "failed"
    assert "no driver" in found.sections["well"]["why"]
    assert not list(tmp_path.iterdir()), "nobody knows what it would be of"


def test_deadlines_fit_into_eight_minutes() -> None:
    assert sum(section.seconds for section in device.SECTIONS) <= device.BUDGET <= 480
    assert device.SECTIONS[-1].name == "compile"
    assert len({section.name for section in device.SECTIONS}) == len(device.SECTIONS)


# The file


def test_the_file_is_json_after_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Row] = []
    write = Record.write

    def noted(self: Record) -> Path | None:
        path = write(self)
        seen.append(json.loads(path.read_text(encoding="utf-8")) if path else {})
        return path

    monkeypatch.setattr(Record, "write", noted)
    ran(tmp_path, fake("well"))
    rows = [each["sections"]["well"]["rows"] for each in seen]
    assert [len(each) for each in rows] == [1, 2, 3, 3]
    assert rows[-1][1]["s"] is None, "JSON knows no not-a-number"
    assert [each["sections"]["well"]["status"] for each in seen] == ["running"] * 3 + ["done"]
    assert [path.name for path in tmp_path.iterdir()] == ["2026-01-02-a-card-8-gb.json"]


def test_earlier_results_stay(tmp_path: Path) -> None:
    for _ in range(2):
        ran(tmp_path, fake("wrong"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "2026-01-02-a-card-8-gb-2.json",
        "2026-01-02-a-card-8-gb.json",
    ]


def test_files_say_what_they_are_of() -> None:
    name = partial(device.place, Path("results"), "2026-01-02")
    assert name({"name": "NVIDIA H100 80GB HBM3"}).name == "2026-01-02-nvidia-h100-80gb-hbm3.json"
    assert name({"name": "NVIDIA H200", "limit": 8 * 10**9}).name == "2026-01-02-nvidia-h200-8gb.json"
    assert name({"name": "a processor", "tiny": True}).name == "2026-01-02-a-processor-dry-run.json"


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_measured_before_a_stop_is_kept(tmp_path: Path, number: int) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT / "tests")])}
    words = [sys.executable, str(ROOT / "tests" / "card_sections.py"), "--out", str(tmp_path)]
    words += ["--budget", "9000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT) as process:
        try:
            until(lambda: any(tmp_path.glob("*.json")) and "hangs" in written(tmp_path)["sections"])
            until(lambda: written(tmp_path)["sections"]["hangs"]["rows"])
            process.send_signal(number)
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
    kept = written(tmp_path)["sections"]
    assert (kept["well"]["status"], kept["hangs"]["status"]) == ("done", "interrupted")
    assert kept["hangs"]["rows"] == [{"rung": "before"}]
    assert "wrong" not in kept
    assert "what was measured is kept" in said and "before" in said


# Tables


def test_tables_for_people(tmp_path: Path) -> None:
    found = ran(tmp_path, fake("well"), fake("wrong"), fake("lacks"))
    lines = list(report.text(found.value))
    assert lines[0].startswith("A Card, 8 GB, 8.0 GB, ")
    assert any(line.split() == ["rung", "s", "process", "released"] for line in lines)
    assert any(line.split()[:2] == ["two", "–"] for line in lines if line.strip())
    assert "  A sentence." in lines
    assert any("About wrong (1 checks failed)" in line for line in lines)
    assert any("About lacks (left out: No module named" in line for line in lines)
    page = "\n".join(report.markdown(found.value))
    assert page.startswith("## A Card, 8 GB, 2026-01-02\n")
    assert "| rung | passed |\n| --- | --- |\n| one | NO |" in page


# The sections


def test_every_section_runs_once_on_the_processor(tmp_path: Path) -> None:
    for library in ("torch", "diffusers", "transformers"):
        pytest.importorskip(library, reason=f"{library} is an optional part, and not installed")
    words = [sys.executable, str(ROOT / "benchmarks" / "device.py"), "--device", "auto", "--threads", "1"]
    words += ["--out", str(tmp_path), "--budget", "1700"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=env, check=False)
    sections = written(tmp_path)["sections"]
    if find_spec("accelerate") is None:
        assert sections.pop("training")["status"] == "left out"
    else:
        (step,) = sections["training"]["rows"]
        assert step["passed"] and step["s"] > 0 and step["forecast GB"] > 1
    assert {name: (each["status"], each["why"]) for name, each in sections.items()} == {
        section.name: ("done", "") for section in device.SECTIONS if section.name in sections
    }
    assert done.returncode == 0
    assert done.stdout.startswith("No card is used: a dry run")
    parity = [row for row in sections["parity"]["rows"] if row["numbers"] == "fp32"]
    assert {row["kind"] for row in parity} >= {"speech", "attention", "UNet", "loop", "VAE", "RIFE"}
    assert all(0 < row["error"] < row["allowed"] for row in parity)
    calls = {row["rung"]: row for row in sections["unet"]["rows"]}
    assert list(calls) == ["together", "branches", "offload"]
    assert all(row["s"] > 0 and row["TFLOP"] > 0 and row["forecast GB"] > 0 for row in calls.values())
    assert [row["rung"] for row in sections["ladder"]["rows"]] == ["plain", "one branch at a time"]
    (path,) = sections["path"]["rows"]
    assert path["frames"] == 11 and path["passed"] and path["UNet s"] > 0 and path["decoder s"] > 0
    wide, *narrow = (row for row in sections["fp8"]["rows"] if "weights" in row)
    assert [row["weights"] for row in narrow] == ["fp8", "int8"]
    assert narrow[0]["weights GB"] < 0.5 * wide["weights GB"] and narrow[1]["weights GB"] < wide["weights GB"]
    assert all(row["difference"] > 0 for row in narrow)
    assert sections["fp8"]["rows"][0]["error of the weights"] < 0.03
    assert any(row.get("operation") == "aten::addmm" for row in sections["profile"]["rows"])
    assert [row["compiled"] for row in sections["compile"]["rows"]] == ["nothing", "one block, traced only"]


def card_of(gigabytes: float) -> Any:
    """A card that can be asked for its memory, and for nothing else."""
    from card.bench import Bench
    from card.networks import FULL

    memory = round(gigabytes * 1e9)
    return Bench("cuda:0", FULL, None, {"name": "a card", "memory": memory, "free": memory})


@pytest.mark.parametrize(
    ("gigabytes", "sides"),
    [
        (80, {"together": 512, "branches": 512, "offload": 512}),
        (24, {"together": 512, "branches": 512, "offload": 512}),
        (12, {"together": 512, "branches": 512, "offload": 512}),
        (8, {"together": 512, "branches": 512, "offload": 512}),
        (6, {"together": 384, "branches": 512, "offload": 512}),
        (5, {"together": 256, "branches": 384, "offload": 512}),
        (3, {"offload": 512}),
        (2.5, {"offload": 384}),
        (1.8, {}),
    ],
)
def test_sections_shrink_with_the_card(gigabytes: float, sides: dict[str, int]) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    from card import calls
    from card.worker import LeftOut

    found = {}
    for rung in ("together", "branches", "offload"):
        try:
            found[rung] = calls.sized(card_of(gigabytes), torch.float16, rung).side
        except LeftOut as error:
            assert f"{rung} in fp16 needs" in str(error)
    assert found == sides


def test_a_smaller_picture_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    from card import bench, calls

    monkeypatch.setattr(bench.Bench, "dtypes", (torch.float16,))
    monkeypatch.setattr(bench.Bench, "peak", lambda *_: 1e12)
    monkeypatch.setattr(calls, "_rung", lambda setup, *_: {"s": 1.0})
    rows = list(calls.rungs(card_of(6)))
    assert rows[0] == {"note": "together in fp16 at 384²: more does not fit."}
    assert [(row["rung"], row["side"]) for row in rows[1:]] == [
        ("together", 384),
        ("branches", 512),
        ("offload", 512),
    ]


def test_memory_that_runs_out_in_a_row_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    from card import bench, calls

    monkeypatch.setattr(bench.Bench, "dtypes", (torch.float16,))
    monkeypatch.setattr(bench.Bench, "peak", lambda *_: 1e12)
    monkeypatch.setattr(bench.Bench, "release", lambda _: None)

    def full(setup: Any, *_: Any) -> Row:
        if setup.rung == "together":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return {"s": 1.0}

    monkeypatch.setattr(calls, "_rung", full)
    rows = list(calls.rungs(card_of(24)))
    assert [row.get("result", row.get("s")) for row in rows] == ["out of memory", 1.0, 1.0]


def test_a_card_stands_in_for_a_smaller_one(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: shares.append(share))
    large = card_of(80)
    large.limit = 8 * 10**9
    large.allow(None)
    large.allow(4 * 10**9)
    assert shares == pytest.approx([0.1, 0.05])
    assert large.memory == 8 * 10**9


def test_not_a_number_fails_a_check() -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    from card.bench import checked

    assert checked(torch.tensor([1.0, 2.0])) == {"passed": True}
    assert checked(torch.tensor([1.0, float("nan")])) == {"passed": False}
    assert checked(torch.tensor([1.0, float("inf")])) == {"passed": False}
    assert checked(torch.tensor([1.0, 1.0])) == {"passed": False}


def test_a_recorded_number_that_is_missed_fails_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is an optional part, and not installed")
    pytest.importorskip("diffusers", reason="diffusers is an optional part, and not installed")
    import parity_cases
    from card import parity

    for off, passed in ((0.0, True), (1e-3, False), (float("nan"), False)):
        checks = [parity_cases.Check("all", torch.ones(2) + off, torch.ones(2))]
        kind = parity.Kind("kind", "", lambda *_: iter(checks), {"fp32": 1e-4})  # noqa: B023
        row = parity._row(kind, "fp32", SimpleNamespace(), [Path("a file")])  # type: ignore[arg-type]
        assert row["passed"] is passed
