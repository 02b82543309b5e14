"""The processes that carry a batch out, each with a worker of its own.

They take their jobs from the queue. The parent only sees to it that there are as many of them as there should
be: when one dies, its job goes back to its place in the queue and another process begins. They end when the
pipe to the parent closes, so that they do not outlive it, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from types import TracebackType

from ..errors import Failed
from ..jobs import Queue
from ..processes import THREADS, module_path, own_group

CHILD = "sonic_ext.cli.batch_worker"
"""Module whose `main` a process runs."""
STOP_SECONDS = 20.0
"""How long processes may take to leave nothing half-written; a step of the sonic engine is waited for."""
_BEGIN = (
    "import json, sys; order = json.loads(sys.stdin.buffer.readline()); sys.path[:] = order.pop('path'); "
    f"from {CHILD} import main; main(**order)"
)


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
        self._order = {"path": module_path(), "batch": batch, "lane": lane, "threads": threads}
        self._batch, self._count, self._threads = batch, count, threads
        self._running: list[subprocess.Popen[bytes]] = []
        self._deaths = 0
        self._ended = -1

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
            self._require_hope(len(dead))
            for process in dead:
                _let_go(process)
                self._running.remove(process)
            self._queue.recover()
        while len(self._running) < self._count:
            self._running.append(self._begun())

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

    def _begun(self) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if self._threads:
            environment |= dict.fromkeys(THREADS, str(self._threads))
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _BEGIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environment,
                **own_group(),
            )
        except OSError as error:
            raise Failed(
                f"Python could not be started ({error.strerror or error}).", "Install it anew."
            ) from error
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it died at once: `keep` sees it
            process.stdin.write(json.dumps(self._order).encode() + b"\n")
            process.stdin.flush()
        return process

    def _require_hope(self, dead: int) -> None:
        """A job that kills its process is given up by the queue; what dies without a job never ends."""
        ended = sum(state.ended for state, _ in self._queue.standing(self._batch).values())
        self._deaths = dead if ended != self._ended else self._deaths + dead
        self._ended = ended
        if self._deaths > 3 * (self._count + 1):
            raise Failed(
                "The processes that make the videos end as soon as they begin.",
                "Look at what they say above; with --jobs 1 there is one of them.",
            )


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe, by which a process that lives knows that it is to end."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it died before it took what it was sent
        process.stdin.close()
