"""Copies of this process that an operation is carried out in, and that stand still at an instant of it.

Forking saves the time that imports take; nothing native may have been used before in this process, as its
threads would be missing in the copies. Instants are counted in three ways:

    time   a moment, uniform over as long as the operation takes
    line   before one of the lines of sonic_ext that are run, uniform over them
    call   before one of the calls for files, folders, links, renames, modes and locks that Python's audit
           events tell of, uniform over them

The first finds long steps and the middle of native calls, the others the short steps between them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import sonic_ext
from sonic_ext.errors import SonicError
from sonic_ext.jobs import database as queue_database
from sonic_ext.jobs import worker
from sonic_ext.provenance import database as ledger_database

PACKAGE = str(Path(sonic_ext.__file__).parent)
PATIENCE = 900.0
"""Seconds after which a process counts as hanging."""
BUSY_SECONDS = 0.3
"""How long processes of a trial wait for a database: not the package's minute, which no fault lasts."""
RETRY_SECONDS = 0.2
"""After which their workers try again, and look for jobs of the dead, instead of the package's seconds."""
CALLS = ("open", "os.", "shutil.", "sqlite3.", "fcntl.", "tempfile.")
"""Beginnings of the audit events that count as calls."""
WAYS = ("time", "line", "call")
Befall = Callable[[int], contextlib.AbstractContextManager[float]]
"""Makes something happen to the process of this id; yields for how many seconds it shall last."""


@dataclass(frozen=True)
class Ended:
    """How a copy ended."""

    killed: bool
    trouble: str = ""
    """Last lines of a traceback, for what is no error of the package's tree."""
    said: str = ""
    """What its user reads of an error that is."""
    answer: Any = None
    seconds: float = 0.0


def forked(
    action: Callable[[], object],
    place: Path,
    instant: tuple[str, float] | None = None,
    befall: Befall | None = None,
) -> Ended:
    """Carry `action` out in a copy of this process.

    Args:
        instant: way and step at which the process stands still.
        befall: what happens to it then; its process goes on inside of the block.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(action, place, writing, instant)
    os.close(writing)
    answer = _Answer(reading, child)
    try:
        answer.read_begun()
        began = time.monotonic()
        if instant is not None and befall is not None:
            if instant[0] == "time":
                time.sleep(instant[1])
                os.kill(child, signal.SIGSTOP)
            if answer.stands_still():
                with befall(child) as seconds:
                    os.kill(child, signal.SIGCONT)
                    answer.read(seconds)
        if not answer.read(PATIENCE):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ended(True, f"it hung for {PATIENCE:.0f} s")
        seconds = time.monotonic() - began
    except BaseException:
        os.kill(child, signal.SIGKILL)  # it may stand still
        raise
    finally:
        os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        meant = instant is not None and number == signal.SIGKILL
        return Ended(True, "" if meant else f"ended by signal {number}")
    return Ended(False, **json.loads(answer.line), seconds=seconds)


class _Answer:
    """What a copy of this process says, a line at its end."""

    def __init__(self, pipe: int, child: int) -> None:
        self.line = b""
        self._pipe, self._child = pipe, child

    def read_begun(self) -> None:
        """It begins now."""
        os.read(self._pipe, 1)

    def stands_still(self) -> bool:
        """Wait until it does; False where it ended before."""
        while True:
            found = os.waitid(os.P_PID, self._child, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if found is not None:
                return found.si_code in (os.CLD_STOPPED, os.CLD_TRAPPED)
            if self.read(0.005):
                return False

    def read(self, seconds: float) -> bool:
        """Whether it has ended within so many."""
        end = time.monotonic() + seconds
        while not self.line.endswith(b"\n"):
            left = max(0.0, end - time.monotonic())
            # Asked first: what it said before it went is in the pipe by then
            gone = os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            ready, _, _ = select.select([self._pipe], [], [], min(left, 0.02))
            block = os.read(self._pipe, 65536) if ready else b""
            self.line += block
            if not block and gone is not None:  # others may hold the pipe still
                return True
            if not left:
                return False
        return True


def _child(
    action: Callable[[], object], place: Path, writing: int, instant: tuple[str, float] | None
) -> None:
    """The copy: never returns."""
    way, left = instant or ("", 0.0)
    process = os.getpid()
    told: dict[str, Any] = {"trouble": "", "said": "", "answer": None}
    logging.disable()

    def step() -> None:
        nonlocal left
        left -= 1
        if not left and os.getpid() == process:  # and not one that the operation forked
            signal.raise_signal(signal.SIGSTOP)  # to this thread, so that it stops here

    tempfile.tempdir = os.environ["TMPDIR"] = str(place / "tmp")
    os.environ["SONIC_HOME"] = str(place / "home")
    queue_database.BUSY_SECONDS = ledger_database.BUSY_SECONDS = BUSY_SECONDS
    worker.RETRY_SECONDS = worker.RECOVER_EVERY = RETRY_SECONDS
    try:
        os.write(writing, b"x")
        with _stepping(way, step) if way in ("line", "call") else contextlib.nullcontext():
            told["answer"] = action()
    except SonicError as error:
        told["said"] = f"{type(error).__name__}: {error}"
        if not (error.message and error.hint):
            told["trouble"] = f"an error without advice: {error!r}"
    except BaseException:
        told["trouble"] = " | ".join(traceback.format_exc().strip().splitlines()[-5:])
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(told).encode() + b"\n")
    os._exit(0)


def steps_of(way: str, action: Callable[[], object]) -> int:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with _stepping(way, step):
        action()
    return steps


@contextlib.contextmanager
def _stepping(way: str, step: Callable[[], None]) -> Iterator[None]:
    """Call `step` before every line of the package, or every call that is told of."""
    on = True

    def audit(event: str, _: object) -> None:
        if on and event.startswith(CALLS):
            step()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            step()
        return trace

    if way == "call":
        sys.addaudithook(audit)
    else:
        threading.settrace(trace)
        sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
        threading.settrace(None)
        on = False


def in_a_copy(action: Callable[[], object]) -> None:
    """Carry `action` out in a copy of this process, which may die of SIGKILL."""
    child = os.fork()
    if not child:
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        raise RuntimeError("a part of the preparation failed")


def descendants(pid: int) -> list[int]:
    """Children of a process, by Linux's table of processes; none where there is no such table."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            facts = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(facts[1]) == pid and facts[0] != "Z":
                found.append(int(path.parent.name))
    return sorted(found)


def adopt_orphans() -> None:
    """What processes of a trial leave running becomes this one's, so that it can be waited for."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def await_descendants() -> None:
    """Until none of a trial's processes is left, those that it left running included."""
    end = time.monotonic() + PATIENCE
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                if time.monotonic() > end:
                    raise RuntimeError("processes of a trial do not end")
                time.sleep(0.005)


def must(ended: Ended, what: str) -> None:
    if ended.killed or ended.trouble or ended.said:
        raise RuntimeError(f"{what} failed: {ended.trouble or ended.said}")
