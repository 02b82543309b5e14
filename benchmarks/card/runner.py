"""Runs sections in processes of their own, each with a deadline; whatever happens, what was measured is kept.

A process whose section ended well serves the next one. After a deadline, a failure or memory that ran out it
is not trusted any more, and the next section gets a fresh one.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

BENCHMARKS = Path(__file__).resolve().parent.parent
ROOT = BENCHMARKS.parent
LEAST = 5.0
"""Seconds under which a section is not begun."""
OPENING = 120.0
"""Seconds that the first process may take to load its libraries and to find the card."""
LOOK_EVERY = 0.5
"""Seconds between two looks at the clock: Ctrl-C does not wait longer, on Windows either."""
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One thing that is measured."""

    name: str
    title: str
    seconds: float
    """Its deadline, the start of its process included."""
    target: str
    """`module:function`, a generator of rows over a `bench.Bench`."""


@dataclass
class Record:
    """What was measured; the file is complete JSON after every row."""

    place: Callable[[Mapping[str, Any]], Path]
    """Where its file belongs, by what the card says of itself."""
    facts: Row
    card: Row = field(default_factory=dict)
    sections: dict[str, Row] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _path: Path | None = None
    _section_began: float = 0.0

    def begin(self, section: Section, allowed: float) -> None:
        """A section starts."""
        self._section_began = time.monotonic()
        own = {"title": section.title, "status": "running", "why": "", "deadline": round(allowed, 1)}
        self.sections[section.name] = {**own, "seconds": 0.0, "rows": []}

    def found(self, row: Row) -> None:
        """The section under way has a row more."""
        self._newest["rows"].append(row)
        self.write()

    def end(self, status: str, why: str = "") -> None:
        """The section under way is over."""
        seconds = round(time.monotonic() - self._section_began, 2)
        self._newest.update(status=status, why=why, seconds=seconds)
        self.write()

    def interrupted(self) -> None:
        """Somebody stopped it."""
        if self.sections and self._newest["status"] == "running":
            self.end("interrupted", "stopped from outside")

    def knows(self, card: Row) -> None:
        """What the card says of itself."""
        self.card = self.card or card

    @property
    def _newest(self) -> Row:
        return next(reversed(self.sections.values()))

    @property
    def value(self) -> Row:
        """All of it, as it is written."""
        seconds = round(time.monotonic() - self.began, 1)
        return {**self.facts, "card": self.card, "seconds": seconds, "sections": self.sections}

    @property
    def well(self) -> bool:
        """Nothing failed, and no check did."""
        bad = {"failed", "out of memory", "interrupted", "deadline"}
        return not any(
            section["status"] in bad or any(row.get("passed") is False for row in section["rows"])
            for section in self.sections.values()
        )

    def write(self) -> Path | None:
        """Replace the file as a whole; nowhere as long as no card has said what it is."""
        if not self.card:
            return None
        self._path = self._path or self._free(self.place(self.card))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.value, indent=1, ensure_ascii=False, allow_nan=False)
        other = self._path.with_suffix(".part")
        other.write_text(f"{text}\n", encoding="utf-8")
        other.replace(self._path)
        return self._path

    def _free(self, path: Path) -> Path:
        """Earlier measurements stay."""
        names = (path, *(path.with_stem(f"{path.stem}-{number}") for number in range(2, 1000)))
        return next(each for each in names if not each.exists())


@dataclass
class Worker:
    """A process that measures."""

    process: subprocess.Popen[str]
    lines: queue.Queue[Row | None] = field(default_factory=queue.Queue)
    """What it says; None when it has ended."""
    handed_back: list[Row | None] = field(default_factory=list)
    """Said already, and to be heard again."""
    listener: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    @classmethod
    def start(cls, options: Mapping[str, Any], paths: Sequence[Path] = ()) -> Worker:
        """A new one.

        Args:
            options: of `bench.opened`.
            paths: where modules are looked for, besides the benchmarks and the package.
        """
        python = os.pathsep.join(str(path) for path in (*paths, BENCHMARKS, ROOT, *_inherited("PYTHONPATH")))
        command = [sys.executable, "-m", "card.worker", json.dumps(dict(options))]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": python, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # what it starts ends with it, and Ctrl-C reaches us alone
        )
        return cls(process)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                # Not-a-number and infinity, which JSON does not have, become null
                self.lines.put(json.loads(line, parse_constant=lambda _: None))
        self.lines.put(None)

    def order(self, section: Section) -> None:
        """Let it measure a section."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended; `said` tells
            self.process.stdin.write(json.dumps({"target": section.target}) + "\n")
            self.process.stdin.flush()

    def said(self, until: float) -> Iterator[Row | None]:
        """Line after line; ends when the clock passes `until`."""
        while self.handed_back:
            yield self.handed_back.pop()
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                yield self.lines.get(timeout=min(left, LOOK_EVERY))

    def kill(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a driver may hold what is dead already
            self.process.wait(10)
        self.listener.join(10)
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def _inherited(name: str) -> list[str]:
    return [part for part in os.environ.get(name, "").split(os.pathsep) if part]


def measured(
    sections: Sequence[Section],
    start: Callable[[], Worker],
    record: Record,
    budget: float,
    patience: Callable[[Row], float] = lambda _: 1.0,
) -> None:
    """Every section in turn; the last one may take what is left.

    Args:
        sections: in their order.
        start: makes a worker.
        record: takes what they find.
        budget: seconds in all, from the record's beginning.
        patience: deadlines are multiplied with it, by what the card says of itself.

    Raises:
        KeyboardInterrupt: after what was measured has been written.
    """
    ends = record.began + budget
    worker: Worker | None = start()
    try:
        _meet(worker, record)
        for section in sections:
            left = ends - time.monotonic()
            allowed = left if section is sections[-1] else min(left, section.seconds * patience(record.card))
            record.begin(section, allowed)
            if allowed < LEAST:
                record.end("left out", "no time was left")
                continue
            worker = worker or start()
            if not _follow(worker, section, allowed, record):
                worker.kill()
                worker = None
    except KeyboardInterrupt:
        record.interrupted()
        raise
    finally:
        if worker is not None:
            worker.kill()


def _meet(worker: Worker, record: Record) -> None:
    """Wait for what the card says of itself; a process that says nothing shows when it is given a section."""
    for line in worker.said(time.monotonic() + OPENING):
        if line is None or "end" in line:
            worker.handed_back.append(line)
            return
        record.knows(line["card"])
        return


def _follow(worker: Worker, section: Section, allowed: float, record: Record) -> bool:
    """One section to its end; whether its process may go on."""
    worker.order(section)
    for line in worker.said(time.monotonic() + allowed):
        if line is None:
            code = worker.process.wait()
            record.end("failed", f"its process ended with code {code}")
            return False
        if "row" in line:
            record.found(line["row"])
        if "end" in line:
            record.end(line["end"], line.get("why", ""))
            return line["end"] in ("done", "left out")
    record.end("deadline", f"stopped after {allowed:.0f} s; what it had measured is kept")
    return False
