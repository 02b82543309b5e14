"""What goes wrong on bad days, each as real as a computer can be made to have it.

Each begins while the operation stands still at some instant, lasts while it goes on, and ends: room is made,
the lock is let go, the clock is set right. What it was is named by `Fault.name`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import clock
import namespace
from instants import PATIENCE, descendants
from trials import EXPIRED, NO_SIGNATURE, NOT_YET, NOTES, OUT_OF_ORDER, Victim

LOST_CARD = "lost-card"
"""Note: the process that has lost its graphics card."""
CARD, WORKERS = "card", "workers"
"""What some scenarios have: networks on a card; processes that work for the one that is watched."""


@dataclass(frozen=True)
class Fault:
    """See `trials.Fault`."""

    name: str
    begin: Callable[[Victim], AbstractContextManager[None]]
    needs: str = ""
    """What a scenario must have for it; "" for any."""
    mounts: bool = False
    """It needs a mount namespace."""
    sets_clock: bool = False
    """It needs a clock that can be set."""
    excused: tuple[str, ...] = ()
    """See `trials.Fault`."""


@contextlib.contextmanager
def killed(victim: Victim) -> Iterator[None]:
    """SIGKILL."""
    os.kill(victim.pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def stopped(victim: Victim) -> Iterator[None]:
    """SIGSTOP; another process does meanwhile what there is to do, and then this one goes on."""
    victim.beside()
    yield


@contextlib.contextmanager
def disk_full(victim: Victim) -> Iterator[None]:
    """ENOSPC from the file system itself."""
    assert victim.disk is not None
    with namespace.full(victim.disk):
        yield


@contextlib.contextmanager
def clock_jumps(victim: Victim) -> Iterator[None]:
    """Forwards or back, by a minute to 60 days, or 400, and later it is set right."""
    sign, days = victim.chance.choice(((1, 60), (-1, 400)))  # batches are remembered for 90
    seconds = int(60 * (days * 24 * 60) ** victim.chance.random())
    with clock.ahead_by(sign * seconds):
        yield


@contextlib.contextmanager
def read_only(victim: Victim) -> Iterator[None]:
    """EROFS from the private home, or from what else the operation writes to."""
    folders = [folder for name in ("home", "outputs") if (folder := victim.place / name).is_dir()]
    with namespace.read_only(victim.chance.choice(folders)):
        yield


@contextlib.contextmanager
def database_locked(victim: Victim) -> Iterator[None]:
    """Another process has one of the databases to itself, for longer than anybody waits."""
    home = victim.place / "home"
    files = [
        home / name for name in ("consent/ledger.sqlite3", "jobs/queue.sqlite3") if (home / name).is_file()
    ]
    if not files:
        yield
        return
    with _held_by_another(victim.chance.choice(files)):
        yield


@contextlib.contextmanager
def worker_lost(victim: Victim) -> Iterator[None]:
    """SIGKILL to one of the processes that work for it."""
    if workers := descendants(victim.pid):
        os.kill(victim.chance.choice(workers), signal.SIGKILL)
    yield


@contextlib.contextmanager
def card_gone(victim: Victim) -> Iterator[None]:
    """Every call of a network raises what torch raises when a card has failed, for as long as the process
    lives; see `denoising`."""
    (victim.place / NOTES / LOST_CARD).write_text(str(victim.pid))
    yield


FAULTS = (
    Fault("killed", killed),
    Fault("stopped", stopped, excused=(OUT_OF_ORDER,)),
    Fault("disk full", disk_full, mounts=True),
    Fault(
        "clock jumps", clock_jumps, sets_clock=True, excused=(OUT_OF_ORDER, EXPIRED, NO_SIGNATURE, NOT_YET)
    ),
    Fault("read-only folder", read_only, mounts=True),
    Fault("database locked", database_locked),
    Fault("worker lost", worker_lost, needs=WORKERS),
    Fault("card gone", card_gone, needs=CARD),
)


@contextlib.contextmanager
def _held_by_another(database: Path) -> Iterator[None]:
    """A copy of this process has a database to itself while the block runs: at once, or else as soon as
    whoever stands still has let it go."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            db = sqlite3.connect(database, timeout=0.0, isolation_level=None)
            try:
                db.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                os.write(writing, b"x")
                db.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")
                db.execute("BEGIN EXCLUSIVE")
            os.write(writing, b"x")
            signal.pause()
        os._exit(0)
    os.close(writing)
    try:
        os.read(reading, 1)
        yield
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
