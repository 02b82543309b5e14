"""Work in a process of its own: what comes back, and how it ends when it does not end by itself."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import strange_work
from patience import until

from sonic_ext.errors import BadVideo, Cancelled, Failed, MissingPart
from sonic_ext.progress import Stage
from sonic_ext.provenance import isolated
from sonic_ext.provenance.c2pa import Signature
from sonic_ext.provenance.metadata import AigcLabel
from sonic_ext.provenance.verify import Labels, Mark, Marks

Steps = list[tuple[str, int, int, str]]
LONG = 600.0


def call(work: isolated.Work, seconds: float = LONG, tick: Any = None, **given: Any) -> dict[str, Any]:
    return isolated.call(work, given, name="clip.mp4", seconds=seconds, tick=tick)


def wait_until_gone(pid: int) -> None:
    """A process that ended, and that its parent or the system has taken notice of."""

    def gone() -> bool:
        try:
            os.kill(pid, 0)
            return ") Z " in Path(f"/proc/{pid}/stat").read_text()
        except ProcessLookupError:
            return True
        except FileNotFoundError:  # this system has no such files, or it has just gone
            return False

    until(gone)


posix = pytest.mark.skipif(sys.platform == "win32", reason="asks by signals whether a process is there")


def test_arguments_go_and_the_answer_comes() -> None:
    given = {"text": "视频 \ud800 \n", "number": 1.5, "none": None, "list": [1, [2]]}
    found = call(strange_work.echo, **given)
    assert found.pop("pid") != os.getpid()
    assert found == given


def test_steps_are_told_in_order() -> None:
    told: Steps = []
    call(strange_work.echo, tick=lambda *step: told.append(step))
    counted = [step for step in told if step[3] == "by counting"]
    # The last one is told again while nothing new comes.
    assert list(dict.fromkeys(counted)) == [(Stage.CHECKING, done, 3, "by counting") for done in (1, 2, 3)]


@posix
@pytest.mark.parametrize("work", [strange_work.sleep, strange_work.hold])
def test_what_does_not_end_is_ended(work: isolated.Work, monkeypatch: pytest.MonkeyPatch) -> None:
    pids, now = [], [0.0]

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if detail in ("asleep", "holding"):
            pids.append(done)
            now[0] = LONG + 1

    monkeypatch.setattr(isolated, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with pytest.raises(BadVideo, match=r"clip\.mp4 could not be checked within 600 s"):
        call(work, tick=tick)
    wait_until_gone(pids[0])


@posix
@pytest.mark.parametrize("work", [strange_work.sleep, strange_work.hold])
def test_whoever_asked_can_stop_it(work: isolated.Work) -> None:
    pids = []

    def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
        if detail in ("asleep", "holding"):
            pids.append(done)
            raise Cancelled

    with pytest.raises(Cancelled):
        call(work, tick=tick)
    wait_until_gone(pids[0])


def test_one_that_dies_is_told() -> None:
    with pytest.raises(BadVideo, match="its reader broke down"):
        call(strange_work.crash)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its memory")
def test_one_that_swells_is_told() -> None:
    with pytest.raises(BadVideo, match="its reader broke down"):
        call(strange_work.swell)


def test_an_answer_has_a_bound() -> None:
    with pytest.raises(BadVideo, match="its reader broke down"):
        call(strange_work.chatter)


def test_errors_of_the_tree_come_back_as_they_are() -> None:
    with pytest.raises(MissingPart) as caught:
        call(strange_work.refuse)
    assert (caught.value.message, caught.value.hint) == ("Something is not there.", "Bring it.")


def test_a_fault_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(Failed, match="Something went wrong inside"):
        call(strange_work.fail)
    assert "no_such_thing" in caplog.text


def test_a_python_without_a_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(Failed, match="does not know its own program"):
        call(strange_work.echo)


def test_a_python_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(Failed, match="Python could not be started"):
        call(strange_work.echo)


def test_modules_that_lie_in_the_folder_are_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever checks a video among downloads has strangers' files there."""
    for name in ("json", "av", "strange_work", "sonic_ext"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert call(strange_work.echo, text="here")["text"] == "here"
    assert not (tmp_path / "ran").exists()


@posix
def test_it_ends_with_its_caller(tmp_path: Path, root: Path) -> None:
    """Also where the caller had no time to tidy up."""
    code = (
        f"import sys; sys.path[:0] = [{str(root / 'tests')!r}, {str(root)!r}]\n"
        "import strange_work\nfrom sonic_ext.provenance import isolated\n"
        "tick = lambda stage, done, total, what: what == 'asleep' and print(done, flush=True)\n"
        "isolated.call(strange_work.sleep, {}, name='', seconds=600, tick=tick)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        os.kill(pid, 0)
        caller.kill()
    wait_until_gone(pid)


def test_what_a_file_says_comes_back_through_json() -> None:
    signature = Signature("valid", problems=("a", "b"), take={"engine": "preview"}, ingredients=("x (y)",))
    labels = Labels(AigcLabel({"Label": "1"}, ("short",)), "http://x", "a\ncomment")
    for marks in (
        Marks("ab", signature, Mark("0" * 16, "local.sonic.watermark.2", 1e-9, 75), labels),
        Marks("ab", Signature("absent"), Mark(note="why"), Labels()),
    ):
        assert isolated.from_values(Marks, json.loads(json.dumps(dataclasses.asdict(marks)))) == marks
