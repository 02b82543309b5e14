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

WRITERS = '''
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
from kills import kill

class Writer:
    """Writes a file in two steps; the next start takes back what is half-done, or does not care."""
    name = "writer"
    def __init__(self, careful):
        self.careful = careful
    def prepare(self, place):
        pass
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

class Stuck(Writer):
    def resume(self, place):
        raise FileNotFoundError("what it wanted")

import json
made = {{"careful": Writer(True), "careless": Writer(False), "stuck": Stuck(True)}}
told = {{}}
for name, writer in made.items():
    found = kill(writer, 12, 1)
    told[name] = [found.faults, found.at_kill["half a file"], found.after["half a file"], found.problems[:1]]
    told[name].append(sum(found.kills.values()))
print(json.dumps(told))
'''


def run(*words: str) -> subprocess.CompletedProcess[str]:
    # Apart from this process: its threads would be missing in a forked one.
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_no_kill_leaves_anything() -> None:
    names = ("export", "export over a file without hard links", "next start after a kill")
    chosen = [word for name in names for word in ("--scenario", name)]
    done = run(str(HERE / "run.py"), "--kills", "24", "--seed", "3", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 kills, 0 faults left after the next start" in done.stdout


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    script = WRITERS.format(tests=str(HERE.parent), here=str(HERE))
    done = run("-c", script)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_what_is_left_is_seen(told: dict[str, Any]) -> None:
    faults, at_kill, after, problems, kills = told["careless"]
    assert kills == 12
    assert 0 < at_kill == after
    assert faults > after
    assert problems[0].startswith("[")
    faults, at_kill, after, problems, kills = told["careful"]
    assert (faults, after, problems, kills) == (0, 0, [], 12)
    assert at_kill > 0


def test_a_start_that_fails_is_seen(told: dict[str, Any]) -> None:
    assert told["stuck"][0] >= 12
    assert "what it wanted" in told["stuck"][3][0]
