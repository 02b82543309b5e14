"""Kill a process at a random instant, start again, and look at what is left.

A scenario is prepared once. For every kill its folder is copied, a process forked from this one carries the
operation out and is ended with SIGKILL, another forked process is the next start, and what is left is counted
twice: right after the kill and after the next start. Instants are drawn in three ways, taking turns:

    time   a moment, uniform over as long as the operation takes
    line   before one of the lines of sonic_ext that are run, uniform over them
    call   before one of the calls for files, folders, links, renames, modes and locks that Python's audit
           events tell of, uniform over them

The first finds long steps and the middle of native calls, the others the short steps between them.
Forking saves the time that imports take; nothing native may have been used before in this process, as its
threads would be missing in the copies.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import random
import select
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import sonic_ext

PACKAGE = str(Path(sonic_ext.__file__).parent)
PATIENCE = 600.0
"""Seconds after which a process counts as hanging."""
CALLS = ("open", "os.", "shutil.", "sqlite3.", "fcntl.", "tempfile.")
"""Beginnings of the audit events that count as calls."""
WAYS = ("time", "line", "call")


class Scenario(Protocol):
    """An operation that may be killed, and what has to hold after the next start.

    Every method runs in a process of its own and gets the folder that the operation works in; the temporary
    folder of the process is `tmp` in it.
    """

    name: str

    def prepare(self, place: Path) -> None:
        """Fill `place` with what the operation starts from."""

    def act(self, place: Path) -> None:
        """The operation."""

    def resume(self, place: Path) -> None:
        """The next start. Raises what its user would see."""

    def left(self, place: Path) -> dict[str, int]:
        """What lies about that should not: kind → number."""

    def problems(self, place: Path) -> list[str]:
        """What does not hold after the next start, beyond what lies about; a sentence each."""

    def outcome(self, place: Path) -> str:
        """What became of the operation, after the next start."""


@dataclass
class Figures:
    """What happened in one scenario."""

    scenario: str
    kills: Counter[str] = field(default_factory=Counter)
    """Way of drawing → kills."""
    completed: int = 0
    """Operations that ended before their instant came; looked at like the others, not counted as kills."""
    at_kill: Counter[str] = field(default_factory=Counter)
    """Kind → kills right after which at least one of it lay about."""
    after: Counter[str] = field(default_factory=Counter)
    """The same after the next start."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """What became of the operations."""
    problems: list[str] = field(default_factory=list)
    """Sentences, each with the way and instant that show it again."""
    seconds: float = 0.0

    @property
    def faults(self) -> int:
        return sum(self.after.values()) + len(self.problems)

    def text(self) -> str:
        kills = ", ".join(f"{count} by {way}" for way, count in sorted(self.kills.items()))
        lines = [
            f"{self.scenario}: {sum(self.kills.values())} kills ({kills}), "
            f"{self.completed} had ended before; {self.seconds:.0f} s",
            "  " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items())),
        ]
        kinds = sorted(self.at_kill | self.after)
        lines += [
            f"  {self.at_kill[kind]:5} after the kill, {self.after[kind]:5} after the next start: {kind}"
            for kind in kinds
        ]
        return "\n".join([*lines, *(f"  PROBLEM {each}" for each in self.problems)])


def kill(scenario: Scenario, kills: int, seed: int, folder: Path | None = None) -> Figures:
    """Kill the operation of `scenario` so many times; the same seed draws the same instants.

    Args:
        folder: where to work; one in the temporary folder by default, gone afterwards.
    """
    figures, began = Figures(scenario.name), time.monotonic()
    with _folder(folder) as work:
        cases = _Cases(scenario, work)
        drawn = _Instants(scenario, cases, random.Random(f"{scenario.name} {seed}"))
        while sum(figures.kills.values()) < kills:
            way, instant = drawn.next()
            with cases.copy() as place:
                ended = _one(scenario, place, way, instant, figures)
            if way == "time" and not ended.killed:
                drawn.seconds = ended.seconds  # the machine is less busy than at the rehearsal
    figures.seconds = time.monotonic() - began
    return figures


class _Cases:
    """What the operation starts from, as often as wanted and in one place: it may have written down paths."""

    def __init__(self, scenario: Scenario, work: Path) -> None:
        self._template, self._place = work / "template", work / "case"
        (self._place / "tmp").mkdir(parents=True)
        _must(_forked(lambda: scenario.prepare(self._place), self._place), "the preparation")
        self._place.rename(self._template)

    @contextlib.contextmanager
    def copy(self) -> Iterator[Path]:
        shutil.copytree(self._template, self._place, symlinks=True)
        try:
            yield self._place
        finally:
            shutil.rmtree(self._place)


def _one(scenario: Scenario, place: Path, way: str, instant: float, figures: Figures) -> _Ended:
    """One kill, one start, two looks."""
    where = f"[{way} {instant:.6g}]"
    ended = _forked(lambda: scenario.act(place), place, way, instant)
    if ended.killed:
        figures.kills[way] += 1
    else:
        figures.completed += 1
        if ended.trouble:
            figures.problems.append(f"{where} the operation failed: {ended.trouble}")
    figures.at_kill.update(_kinds(scenario, place))
    resumed = _forked(lambda: scenario.resume(place), place)
    if resumed.trouble or resumed.killed:
        figures.problems.append(f"{where} the next start failed: {resumed.trouble}")
    after = _kinds(scenario, place)
    figures.after.update(after)
    if after:
        figures.problems.append(f"{where} left: {', '.join(sorted(after))}")
    outcome, *problems = _looked(lambda: [scenario.outcome(place), *scenario.problems(place)], place)
    figures.outcomes[outcome] += 1
    figures.problems += [f"{where} {problem}" for problem in problems]
    return ended


def _kinds(scenario: Scenario, place: Path) -> set[str]:
    return {kind for kind, count in _looked(lambda: scenario.left(place), place).items() if count}


def _looked(look: Callable[[], object], place: Path) -> Any:
    found = _forked(look, place)
    _must(found, "looking at what is left")
    return found.answer


# Instants


class _Instants:
    """Ways and instants in turn, after a rehearsal that measures how long the operation is."""

    def __init__(self, scenario: Scenario, cases: _Cases, chance: random.Random) -> None:
        self._chance, self._count = chance, 0
        rehearsals = [self._rehearse(scenario, cases) for _ in range(3)]
        self.seconds = statistics.median(done.seconds for done in rehearsals)
        self.steps = {
            way: int(self._rehearse(scenario, cases, functools.partial(_count, way)).answer)
            for way in ("line", "call")
        }

    def _rehearse(
        self,
        scenario: Scenario,
        cases: _Cases,
        how: Callable[[Callable[[], None]], object] = lambda act: act(),
    ) -> _Ended:
        with cases.copy() as place:
            done = _forked(lambda: how(lambda: scenario.act(place)), place)
        _must(done, "the rehearsal")
        return done

    def next(self) -> tuple[str, float]:
        ways = [way for way in WAYS if self.steps.get(way) != 0]
        way = ways[self._count % len(ways)]
        self._count += 1
        if way == "time":
            return way, self._chance.uniform(0.0, self.seconds)
        return way, self._chance.randint(1, self.steps[way])


def _count(way: str, action: Callable[[], object]) -> int:
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


# Processes


@dataclass(frozen=True)
class _Ended:
    killed: bool
    trouble: str = ""
    """Last line of a traceback."""
    answer: Any = None
    seconds: float = 0.0


def _forked(action: Callable[[], object], place: Path, way: str = "", instant: float = 0.0) -> _Ended:
    """Carry `action` out in a copy of this process, killed at `instant` where a way is given."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(action, place, writing, way, int(instant))
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        pipe.read(1)  # it begins now
        began = time.monotonic()
        if way == "time":
            time.sleep(instant)
            os.kill(child, signal.SIGKILL)
        said = _read(pipe, child)
        seconds = time.monotonic() - began
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        meant = bool(way) and number == signal.SIGKILL
        return _Ended(True, "" if meant else f"ended by signal {number}")
    told = json.loads(said)
    return _Ended(False, told["trouble"], told["answer"], seconds)


def _read(pipe: Any, child: int) -> bytes:
    said, until = b"", time.monotonic() + PATIENCE
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            raise RuntimeError(f"a process hung for {PATIENCE:.0f} s")
        block = pipe.read(65536)
        if not block:
            return said
        said += block


def _child(action: Callable[[], object], place: Path, writing: int, way: str, steps: int) -> None:
    """The copy: never returns."""
    trouble, answer, left, process = "", None, steps, os.getpid()
    logging.disable()

    def step() -> None:
        nonlocal left
        left -= 1
        if not left and os.getpid() == process:  # and not one that the operation forked
            os.kill(process, signal.SIGKILL)

    tempfile.tempdir = os.environ["TMPDIR"] = str(place / "tmp")
    os.environ["SONIC_HOME"] = str(place / "home")
    try:
        os.write(writing, b"x")
        with _stepping(way, step) if way in ("line", "call") else contextlib.nullcontext():
            answer = action()
    except BaseException:
        trouble = " | ".join(traceback.format_exc().strip().splitlines()[-3:])
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps({"trouble": trouble, "answer": answer}).encode())
    os._exit(0)


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


def _must(ended: _Ended, what: str) -> None:
    if ended.killed or ended.trouble:
        raise RuntimeError(f"{what} failed: {ended.trouble}")


@contextlib.contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="sonic-faults-") as made:
        yield Path(made)
