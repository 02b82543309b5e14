"""A few kills, the same ones every time; `run.py` draws as many as wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that forks and SIGKILL are needed")

HERE = Path(__file__).parent

WRITERS = """
import json, sys
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
sys.path[:0] = [{tests!r}, {here!r}]
from faults import FAULTS
from trials import Cases, Scenario, trial

class Writer(Scenario):
    name = "writer"
    careful = True
    def prepare(self, place):
        (place / "home").mkdir()
    def act(self, place):
        (place / "part").write_bytes(b"1")
        (place / "part").rename(place / "whole")
    def resume(self, place):
        if self.careful:
            (place / "part").unlink(missing_ok=True)
    def left(self, place):
        return {{"half a file": (place / "part").exists()}}
    def problems(self, place):
        return [] if self.careful else ["it did not care"]
    def outcome(self, place):
        return "whole" if (place / "whole").exists() else "nothing"

class Careless(Writer):
    careful = False

class Stuck(Writer):
    def resume(self, place):
        raise FileNotFoundError("what it wanted")

class Loud(Writer):
    rehearsed = False
    def act(self, place):
        super().act(place)
        if self.rehearsed:
            raise ValueError("nobody foresaw this")

told = {{}}
for writer in (Writer(), Careless(), Stuck(), Loud()):
    with TemporaryDirectory() as work:
        cases = Cases(writer, Path(work))
        writer.rehearsed = True
        found = [trial(cases, FAULTS[0], Random(f"{{number}}")) for number in range(12)]
    at_once, problems = [each.at_once for each in found], [each.problems for each in found]
    told[type(writer).__name__] = [sum(each.struck for each in found), at_once, problems]
print(json.dumps(told))
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    # Apart from this process: its threads would be missing in a forked one.
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_every_fault_at_some_instants(tmp_path: Path) -> None:
    """Of an export, of jobs and of a batch; `run.py` draws as many as wanted."""
    log = tmp_path / "log.jsonl"
    names = (
        "export over a file without hard links",
        "two jobs in order",
        "batch, and the same command again",
    )
    chosen = [word for name in names for word in ("--scenario", name)]
    done = run(str(HERE / "run.py"), "--kills", "12", "--seed", "1060", "--log", str(log), *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 instants" in done.stdout and ", 0 faults left" in done.stdout
    trials = [json.loads(line) for line in log.read_text().splitlines()]
    there = {each["fault"] for each in trials if each["struck"]}
    assert {"killed", "stopped", "database locked", "worker lost"} <= there
    lasting = [
        each for each in trials if each["fault"] in ("disk full", "read-only folder", "database locked")
    ]
    assert any(each["said"] for each in lasting)
    again = run(str(HERE / "run.py"), "--kills", "12", "--seed", "1060", "--log", str(log), *chosen)
    assert again.returncode == 0 and len(log.read_text().splitlines()) == len(trials)  # nothing is left to do


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """Name of a writer → trials that struck, what lay about in each, problems of each."""
    script = WRITERS.format(tests=str(HERE.parent), here=str(HERE))
    done = run("-c", script)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_what_is_left_is_seen(told: dict[str, Any]) -> None:
    struck, at_once, problems = told["Writer"]
    assert struck > 0 and any(at_once)
    assert not any("it did not care" in each for each in problems)
    struck, at_once, problems = told["Careless"]
    assert all("it did not care" in each for each in problems)
    assert [bool(each) for each in at_once] == ["after all: half a file" in each for each in problems]


def test_a_start_that_fails_is_seen(told: dict[str, Any]) -> None:
    assert all(any("what it wanted" in text for text in each) for each in told["Stuck"][2])


def test_an_error_that_nobody_foresaw_is_seen(told: dict[str, Any]) -> None:
    struck, _, problems = told["Loud"]
    assert sum(any("nobody foresaw this" in text for text in each) for each in problems) >= 12 - struck
