"""`sonic batch`: three rows, two processes that make them, and the same command again.

The processes are copies of this one instead of Pythons of their own, which saves the time that imports take.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from animating import MEDIA, SETTINGS
from faults import WORKERS
from working import CLIP_FRAMES, POLL, SPEECH, Work, recorded, run_command

from sonic_ext import pipeline
from sonic_ext.batch import processes
from sonic_ext.cli import batch_worker
from sonic_ext.errors import SonicError
from sonic_ext.provenance.recovery import clear_up

ROWS = ("ana", "ben", "cem")


class Batch(Work):
    name = "batch, and the same command again"
    has = frozenset({WORKERS})
    jobs = len(ROWS)
    frames = CLIP_FRAMES
    drawn = False
    in_turn = False
    reports = ("report.", ".report.")

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        lines = [f"{MEDIA / 'portrait_01.jpg'},{MEDIA / SPEECH},{name},{n}" for n, name in enumerate(ROWS)]
        (place / "jobs.csv").write_text("\n".join(["portrait,audio,output,seed", *lines]))

    def act(self, place: Path) -> None:
        pipeline.animate = recorded(place / "clip")
        processes.start_python = Copy  # type: ignore[assignment, misc]
        words = ["batch", place / "jobs.csv", "-o", place / "outputs", "--jobs", "2"]
        words += ["--consent-face", "synthetic", "--consent-voice", "synthetic"]
        words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        run_command(words)

    def beside(self, place: Path) -> None:
        """It is told that another command is at it."""
        with suppress(SonicError):
            self.act(place)

    def resume(self, place: Path) -> None:
        clear_up()
        self.act(place)

    def problems(self, place: Path) -> list[str]:
        there = {path.name for path in (place / "outputs").iterdir() if path.name.startswith(self.reports)}
        wanted = {f"report.{kind}" for kind in ("csv", "json", "html")}
        return [*super().problems(place), *(f"{name}: report" for name in there ^ wanted)]


class Copy:
    """As much of `subprocess.Popen` as `batch.processes` uses."""

    _pipes: ClassVar[list[BinaryIO]] = []
    """Ends that the parent writes to: a copy that held them would keep the others alive."""

    def __init__(self, function: str, values: dict[str, Any], threads: int, stdout: int) -> None:
        assert function.startswith(batch_worker.__name__)
        reading, writing = os.pipe()
        self.stdin: BinaryIO = os.fdopen(writing, "wb", buffering=0)
        self._pipes.append(self.stdin)
        self.returncode: int | None = None
        self._pid = os.fork()
        if not self._pid:
            try:
                for pipe in self._pipes:
                    pipe.close()
                os.dup2(reading, 0)
                batch_worker.main(**values)
            finally:
                os._exit(0)
        os.close(reading)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        end = None if seconds is None else time.monotonic() + seconds
        while self.poll() is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired("a copy", seconds or 0.0)
            time.sleep(POLL)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        os.kill(self._pid, 9)
