"""What each process of `sonic batch` runs: a worker on the jobs of one batch, until the parent is gone."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

POLL = 0.2
"""Seconds between two looks for new jobs while there are none."""


def main(batch: str, lane: str, threads: int) -> None:
    """Carry jobs out until standard input closes, or the graphics card fails: that is another process's then.

    Args:
        batch: id of the batch.
        lane: of its jobs.
        threads: that OpenCV and the encoders may use; 0 leaves it to them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), name="sonic-parent", daemon=True).start()
    import cv2

    from ..hosts.standalone import Standalone
    from ..jobs import Worker

    if threads:
        cv2.setNumThreads(threads)
    host = Standalone(Path(), lane=lane)
    with Worker(host, batch=batch, threads=threads, replaced=True) as worker:
        while not (ended.wait(POLL) or worker.device_lost):
            worker.wake()


def _wait_for_the_end(ended: threading.Event) -> None:
    while os.read(0, 1):
        pass
    ended.set()
