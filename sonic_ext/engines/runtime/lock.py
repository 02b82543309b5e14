"""One video at a time on a device, also across processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ...files.home import home_errors, private_folder
from ...progress import Stage, Tick

POLL = 0.5
"""Seconds between two tries."""


@contextmanager
def device_lock(home: Path, device: str, tick: Tick) -> Iterator[None]:
    """Wait until no other video is being made on the device, then keep it while inside.

    The system frees the lock of a process that died.
    """
    with home_errors(home):
        private_folder(home)
        name = f"sonic-{device.replace(':', '-')}.lock"
        lock = FileLock(str(home / name), thread_local=False)  # may be given back by another thread
    while not _acquired(lock, home):
        tick(Stage.WAITING_FOR_DEVICE, 0, 1)
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock, home: Path) -> bool:
    with home_errors(home):
        try:
            lock.acquire(timeout=POLL)
        except Timeout:
            return False
    return True
