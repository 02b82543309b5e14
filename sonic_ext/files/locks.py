"""Locks that the system gives back when their process ends, however it ends.

What a process makes in the private home lies beside a lock file that it holds meanwhile. Whoever can take
that lock finds the work of a process that is gone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".lock"
SECONDS = 30.0
"""How long `wait_for_lock` waits where nothing else is said."""
POLL = 0.01
"""Seconds between two of its tries."""

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    _TAKEN: type[OSError] = PermissionError
else:
    import fcntl

    def _take(handle: int) -> None:
        # Not lockf: that lock is its process's, so that two threads would not keep each other out.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    _TAKEN = BlockingIOError


def lock_of(path: Path) -> Path:
    """The lock file that stands for `path`, beside it."""
    return path.with_name(path.name + SUFFIX)


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Try to hold the lock of `path` while the block runs; yields whether it is held.

    It is not where another thread or process has it. The lock file goes away with the lock; what a killed
    process left of it is in nobody's way.

    Raises:
        OSError: the file cannot be made, or the file system has no locks (SQLite needs them, too).
    """
    file = lock_of(path)
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:
        if sys.platform != "win32" or not file.exists():
            raise
        # Windows: the holder is deleting it right now.
        yield False
        return
    mine = False
    try:
        with contextlib.suppress(_TAKEN):
            _take(handle)
            # Its holder before may have deleted the file between our opening and our locking it.
            mine = _is_same_file(handle, file)
        yield mine
    finally:
        # Deleted first where the system can: with the lock let go, the file may be the next one's.
        if mine and sys.platform != "win32":
            with contextlib.suppress(OSError):  # read-only by now; the lock itself has to go in any case
                file.unlink()
        os.close(handle)
        if mine and sys.platform == "win32":
            with contextlib.suppress(OSError):  # somebody has it open, and deletes it in turn
                file.unlink()


@contextlib.contextmanager
def wait_for_lock(path: Path, seconds: float = SECONDS) -> Iterator[bool]:
    """As `held`, for what is the caller's own: outlasts those who only look whether its holder lives.

    `sweep` and whoever clears up take a lock for a moment.
    """
    end = time.monotonic() + seconds
    while True:
        with held(path) as mine:
            if mine or time.monotonic() >= end:
                yield mine
                return
        time.sleep(POLL)


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def sweep(folder: Path, names: str = "*") -> None:
    """Remove the lock files of processes that are gone, of what is called like the pattern `names`."""
    for file in folder.glob(names + SUFFIX):
        with contextlib.suppress(FileNotFoundError), held(file.with_name(file.name[: -len(SUFFIX)])):
            pass
