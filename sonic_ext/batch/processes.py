"""The processes that carry a batch out, each with a worker of its own.

They take their jobs from the queue. The parent only sees to it that there are as many of them as there should
be: when one dies, its job goes back to its place in the queue and another process begins. They end when the
pipe to the parent closes, so that they do not outlive it, however it ends.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from types import TracebackType

from ..errors import Failed
from ..jobs import Queue
from ..processes import start_python

CHILD = "sonic_ext.cli.batch_worker"
"""Module whose `main` a process runs."""
STOP_SECONDS = 20.0
"""How long processes may take to leave nothing half-written; a step of the sonic engine is waited for."""


class Processes:
    """A context manager; nothing of them is left after the block.

    Args:
        batch: id of the batch whose jobs they take.
        lane: of its jobs.
        count: as many of them.
        threads: that each of them may use; 0 leaves it to the libraries.
    """

    def __init__(self, queue: Queue, batch: str, lane: str, count: int, threads: int) -> None:
        self._queue = queue
        self._order = {"batch": batch, "lane": lane, "threads": threads}
        self._count, self._threads = count, threads
        self._running: list[subprocess.Popen[bytes]] = []
        self._deaths = DeathCount(queue, batch)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0 if error is not None else STOP_SECONDS)

    def keep(self) -> None:
        """Begin those that are missing: all at first, later those that died. Call it while there is work.

        Raises:
            Failed: they die again and again, and nothing comes of it.
        """
        dead = [process for process in self._running if process.poll() is not None]
        if dead:
            if self._deaths.is_hopeless(len(dead), self._count):
                raise Failed(
                    "The processes that make the videos end as soon as they begin.",
                    "Look at what they say above; with --jobs 1 there is one of them.",
                )
            for process in dead:
                _let_go(process)
                self._running.remove(process)
            self._queue.recover()
        while len(self._running) < self._count:
            self._running.append(
                start_python(f"{CHILD}:main", self._order, self._threads, subprocess.DEVNULL)
            )

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let what is being made wait for another time, and end all processes.

        Args:
            seconds: after these they are ended without further ado, which loses no more than the work on
                the jobs that they had.
        """
        if not self._running:
            return
        for process in self._running:
            _let_go(process)
        end = time.monotonic() + seconds
        for process in self._running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except BaseException as waiting:
                process.kill()
                process.wait()
                if not isinstance(waiting, subprocess.TimeoutExpired):
                    end = 0.0  # asked once more: the rest goes at once
        self._running = []
        self._queue.recover()


class DeathCount:
    """Deaths since a job of a batch ended. A job that kills its process is given up by the queue; what dies
    without a job never ends."""

    def __init__(self, queue: Queue, batch: str) -> None:
        self._queue, self._batch = queue, batch
        self._deaths, self._ended = 0, -1

    def is_hopeless(self, dead: int, count: int) -> bool:
        """Whether nothing will come of it any more.

        Args:
            dead: so many died since the last time.
            count: as many there should be.
        """
        ended = sum(state.ended for state, _ in self._queue.standing(self._batch).values())
        self._deaths = dead if ended != self._ended else self._deaths + dead
        self._ended = ended
        return self._deaths > 3 * (count + 1)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe, by which a process that lives knows that it is to end."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it died before it took what it was sent
        process.stdin.close()
