"""Let something go wrong at a random instant of an operation, start again, and look at what is left.

A scenario is prepared once. For every trial its folder is copied and a process forked from this one carries
the operation out. At the instant that was drawn that process stands still, a fault of `faults` begins, and
the process goes on, if it can; while it does, the fault ends. `sonic doctor` and the next start are processes
of their own. How instants are drawn, `instants` says.
"""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from instants import BUSY_SECONDS, WAYS, Ended, await_descendants, forked, must, steps_of

from sonic_ext.jobs import Queue
from sonic_ext.jobs.doctor import FindingState, examine
from sonic_ext.provenance.recovery import clear_up

NOTES = "notes"
"""Folder of a place that is on another disk: what a scenario writes down for itself arrives."""
UNFORESEEN = "Something went wrong inside"
"""Beginning of what users read of an error that nobody foresaw."""

OUT_OF_ORDER = "the order changed"
"""A problem where nothing but its own end happened to a process."""
EXPIRED = "its take is gone"
"""A problem where no clock was ahead by a week."""
NO_SIGNATURE = "its signature does not hold"
"""A problem where no clock was ahead while the certificate was made …"""
NOT_YET = "The signing certificate begins only on"
"""… which is told."""


class Scenario:
    """An operation that something may go wrong in, and what has to hold after the next start.

    Every method runs in a process of its own and gets the folder that the operation works in; the temporary
    folder of the process is `tmp` in it.
    """

    name: str
    has: frozenset[str] = frozenset()
    """What it has that some faults need, see `faults.Fault.needs`."""
    ways = WAYS
    """In which its instants are drawn."""

    def prepare(self, place: Path) -> None:
        """Fill `place` with what the operation starts from."""
        raise NotImplementedError

    def act(self, place: Path) -> None:
        """The operation. Raises what its user would see."""
        raise NotImplementedError

    def beside(self, place: Path) -> None:
        """What another process does while this one stands still."""
        clear_up()

    def resume(self, place: Path) -> None:
        """The next start, and the same asked for again where it failed. Raises what its user would see."""
        raise NotImplementedError

    def left(self, place: Path) -> dict[str, int]:
        """What lies about that should not: kind → number."""
        raise NotImplementedError

    def problems(self, place: Path) -> list[str]:
        """What does not hold after the next start, beyond what lies about; a sentence each."""
        raise NotImplementedError

    def outcome(self, place: Path) -> str:
        """What became of the operation, after the next start."""
        raise NotImplementedError

    def said(self, place: Path) -> list[str]:
        """What its user was told of what failed, besides what was raised."""
        return []


@dataclass(frozen=True)
class Victim:
    """An operation that stands still, and something is about to happen to it."""

    pid: int
    scenario: Scenario
    place: Path
    disk: Path | None
    """What the place is on, where that is a disk of its own (`namespace.disk`)."""
    chance: random.Random

    def beside(self) -> None:
        """Let another process do what it would do meanwhile, to its end."""
        must(forked(lambda: self.scenario.beside(self.place), self.place), "the other process")


class Fault(Protocol):
    """See `faults`."""

    @property
    def name(self) -> str: ...

    @property
    def excused(self) -> tuple[str, ...]:
        """Words of problems that are none after it."""

    def begin(self, victim: Victim) -> contextlib.AbstractContextManager[None]: ...


@dataclass
class Trial:
    """What happened in one."""

    number: int
    scenario: str
    fault: str
    way: str
    instant: float
    struck: bool = False
    """False where the operation had ended before its instant came; looked at like the others, not counted."""
    at_once: list[str] = field(default_factory=list)
    """Kinds of what lay about when the operation had ended."""
    said: list[str] = field(default_factory=list)
    """What its user was told."""
    mended: list[str] = field(default_factory=list)
    """What `sonic doctor` said that it had mended."""
    noticed: list[str] = field(default_factory=list)
    """What it said of the fault while that lasted."""
    outcome: str = ""
    problems: list[str] = field(default_factory=list)
    """Sentences; none is as it should be."""
    seconds: float = 0.0


class Cases:
    """What an operation starts from, as often as wanted and in one place: it may have written down paths.

    Args:
        work: an empty folder.
        disk: where the operation works; `work` itself by default.
    """

    def __init__(self, scenario: Scenario, work: Path, disk: Path | None = None) -> None:
        self.scenario, self.disk = scenario, disk
        self._template, self._notes = work / "template", work / "notes"
        self._place = (disk or work) / "case"
        (self._place / "tmp").mkdir(parents=True)
        self._notes.mkdir()
        (self._place / NOTES).symlink_to(self._notes)
        must(forked(lambda: scenario.prepare(self._place), self._place), "the preparation")
        shutil.copytree(self._place, self._template, symlinks=True)
        self._kept_notes = {path.name: path.read_bytes() for path in self._notes.iterdir()}
        shutil.rmtree(self._place)
        self.steps = {"time": self._rehearsed().seconds}
        """Way → how long the operation is: seconds, lines, calls."""
        for way in set(scenario.ways) - {"time"}:
            self.steps[way] = int(self._rehearsed(functools.partial(steps_of, way)).answer)

    @contextlib.contextmanager
    def copy(self) -> Iterator[Path]:
        shutil.copytree(self._template, self._place, symlinks=True)
        for name, data in self._kept_notes.items():
            (self._notes / name).write_bytes(data)
        try:
            yield self._place
        finally:
            await_descendants()
            shutil.rmtree(self._place)
            for path in self._notes.iterdir():
                path.unlink()

    def instant(self, way: str, share: float) -> float:
        """One of the operation, 0 to 1: seconds, or the number of a step from 1."""
        length = self.steps[way]
        return share * length if way == "time" else 1 + int(share * length)

    def _rehearsed(self, how: Callable[[Callable[[], None]], object] = lambda act: act()) -> Ended:
        with self.copy() as place:
            done = forked(lambda: how(lambda: self.scenario.act(place)), place)
        must(done, "the rehearsal")
        return done


def trial(cases: Cases, fault: Fault, chance: random.Random, number: int = 0) -> Trial:
    """One fault at a random instant of one operation, one start, and the looks in between.

    Args:
        chance: draws all that is random; the same state of it draws the same.
    """
    ways = [way for way in cases.scenario.ways if cases.steps[way]]
    way = chance.choice(ways)
    instant = cases.instant(way, chance.random())
    told = Trial(number, cases.scenario.name, fault.name, way, round(instant, 6))
    began = time.monotonic()
    with cases.copy() as place:
        _Course(cases, fault, chance, place, told).take()
    told.seconds = round(time.monotonic() - began, 2)
    return told


class _Course:
    """From the operation's first step to the last look."""

    def __init__(self, cases: Cases, fault: Fault, chance: random.Random, place: Path, told: Trial) -> None:
        self._scenario, self._place, self._told, self._chance = cases.scenario, place, told, chance
        self._fault, self._disk = fault, cases.disk

    def take(self) -> None:
        told = self._told
        ended = forked(
            lambda: self._scenario.act(self._place), self._place, (told.way, told.instant), self._befall
        )
        if ended.trouble:
            told.problems.append(f"the operation failed: {ended.trouble}")
        told.said += [ended.said] if ended.said else []
        told.at_once = self._lying_about()
        for step in self._chance.choice(((self._examine, self._start), (self._start, self._examine))):
            step()
        told.problems += [f"after all: {kind}" for kind in self._lying_about()]
        looked = _looked(lambda: self._scenario.problems(self._place), self._place)
        told.problems += self._not_excused(looked)
        told.outcome = _looked(lambda: self._scenario.outcome(self._place), self._place)
        told.said += _looked(lambda: self._scenario.said(self._place), self._place)
        told.problems += [f"no sentence for its user: {said}" for said in told.said if UNFORESEEN in said]
        if told.said and not told.struck:
            told.problems.append(f"nothing happened to it, and yet: {told.said[0]}")

    @contextlib.contextmanager
    def _befall(self, pid: int) -> Iterator[float]:
        """While the block runs, the fault lasts; yields for how many seconds it shall."""
        self._told.struck = True
        victim = Victim(pid, self._scenario, self._place, self._disk, self._chance)
        with self._fault.begin(victim):
            yield self._chance.uniform(0.5, 2.0) * BUSY_SECONDS + BUSY_SECONDS
            if self._chance.random() < 0.5:
                found = forked(_findings, self._place)
                self._told.problems += [f"doctor meanwhile: {found.trouble}"] if found.trouble else []
                left = [each for each in found.answer or () if each[0] == FindingState.LEFT]
                self._told.noticed += [text for _, _, text in left]

    def _examine(self) -> None:
        """`sonic doctor`; then nothing is left, and it says so itself."""
        await_descendants()
        told = self._told
        found = _looked(_findings, self._place)
        told.mended += [text for state, _, text in found if state == FindingState.MENDED]
        told.problems += [f"left by doctor: {kind}" for kind in self._lying_about()]
        again = _looked(_findings, self._place)
        texts = [text for state, _, text in again if state != FindingState.FINE]
        told.problems += [f"doctor again: {text}" for text in self._not_excused(texts)]

    def _start(self) -> None:
        resumed = forked(lambda: self._scenario.resume(self._place), self._place)
        if resumed.trouble or resumed.said or resumed.killed:
            self._told.problems.append(f"the next start failed: {resumed.trouble or resumed.said}")

    def _not_excused(self, found: list[str]) -> list[str]:
        return [each for each in found if not any(words in each for words in self._fault.excused)]

    def _lying_about(self) -> list[str]:
        found = _looked(lambda: self._scenario.left(self._place), self._place)
        return sorted(kind for kind, count in found.items() if count)


def _findings() -> list[tuple[str, str, str]]:
    """State, name and text of what `sonic doctor` finds."""
    return [(str(each.state), each.name, each.text) for each in examine(Queue())]


def _looked(look: Callable[[], object], place: Path) -> Any:
    found = forked(look, place)
    must(found, "looking at what is left")
    return found.answer
