"""Python in processes of its own: for work that takes all cores, and may die without taking its caller along.

    with Workers("sonic_ext.evaluation.measuring:measured", count=cores()) as workers:
        for number, answer in workers.answers(orders):
            ...

The function takes an order and `Alive`, and gives an answer; both are what JSON can say. The processes import
nothing of the program that starts them, leave Ctrl-C to their parent, and end when the pipe to it closes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import Cancelled, Failed, SonicError, as_error, error_from, error_values

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Variables that libraries look at when they are loaded."""
POLL = 0.1
"""Seconds between two looks whether to stop."""
SIGN = 1.0
"""Seconds between two signs of life, at least."""

Alive = Callable[[], None]
"""To be called while an order is carried out, as often as one likes: a sign of life."""


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _module_path() -> list[str]:
    """Where a process finds the modules that this one has."""
    package = str(Path(__file__).resolve().parents[1])
    return [package, *(place for place in sys.path if place and place != package)]


def _own_group() -> dict[str, Any]:
    """What to start a process with so that Ctrl-C reaches its parent alone."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def start_python(
    function: str, values: dict[str, Any], threads: int, stdout: int, stderr: int | None = None
) -> subprocess.Popen[bytes]:
    """A process that calls a function with these values, and finds the modules that this one has.

    Those alone: nothing that lies in the current folder, where strangers' files may be, or is named in the
    environment is imported. Its standard input is a pipe, from which it has read one line when it begins. One
    that dies at once is returned all the same.

    Args:
        function: `module:name`.
        values: its arguments by name, what JSON can say.
        threads: that numerical libraries may use; 0 leaves it to them.
        stdout, stderr: as `subprocess` takes them.

    Raises:
        Failed: it cannot be started.
    """
    if not sys.executable:
        raise Failed("This Python does not know its own program.", "Run the command `sonic` instead.")
    module, _, name = function.partition(":")
    code = (
        "import json, sys; order = json.loads(sys.stdin.buffer.readline()); "
        f"sys.path[:] = order['path']; from {module} import {name}; {name}(**order['values'])"
    )
    environment = dict(os.environ)
    if threads:
        environment |= dict.fromkeys(THREADS, str(threads))
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            **_own_group(),
        )
    except OSError as error:
        raise Failed(
            f"Python could not be started ({error.strerror or error}).", "Install it anew."
        ) from error
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it died at once: whoever asks it for something sees that
        process.stdin.write(json.dumps({"path": _module_path(), "values": values}).encode() + b"\n")
        process.stdin.flush()
    return process


@dataclass(eq=False)
class _Worker:
    """A process, and what is known of how it fares."""

    process: subprocess.Popen[bytes]
    seen: float | None = None
    """Monotonic seconds of its last sign of life; None while it has no order, or still loads its modules."""
    loaded: bool = False
    stuck: bool = False
    """It was ended because there was none for too long."""


class Workers:
    """Processes that answer one order after the other; a context manager, after which none of them is left.

    Args:
        function: `module:name`; called with an order, a JSON object; what it returns is JSON, too.
        count: as many processes.
        threads: that OpenCV and numpy may use in each; 0 leaves it to them.
        patience: seconds after which a process that gave no sign of life is ended, and its order has failed;
            infinite by default.
    """

    def __init__(self, function: str, count: int, threads: int = 1, patience: float = math.inf) -> None:
        self._start = {"function": function, "threads": threads}
        self._threads = threads
        self._patience = patience
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="sonic-worker")
        self._own = threading.local()
        self._all: list[_Worker] = []
        self._lock, self._ended = threading.Lock(), False

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended = True
            for worker in self._all:
                worker.process.kill()
        self._pool.shutdown(cancel_futures=True)
        for process in (worker.process for worker in self._all):
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe and pipe.close()

    def answers(
        self, orders: Sequence[dict[str, Any]], cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, Any]]:
        """Number of each order and its answer, as they come; a `SonicError` as the answer where it failed.

        Raises:
            Cancelled: as soon as `cancelled` says so; the processes end with the block.
        """
        waiting: dict[Future[Any], int] = {
            self._pool.submit(self._ask, order): number for number, order in enumerate(orders)
        }
        while waiting:
            done, _ = wait(waiting, POLL, FIRST_COMPLETED)
            for each in done:
                yield waiting.pop(each), each.result()
            if cancelled():
                raise Cancelled
            self._end_stuck()

    def _end_stuck(self) -> None:
        now = time.monotonic()
        with self._lock:
            for worker in self._all:
                if worker.seen is not None and now - worker.seen > self._patience:
                    worker.stuck = True
                    worker.process.kill()

    def _ask(self, order: dict[str, Any]) -> Any:
        worker: _Worker | None = getattr(self._own, "worker", None)
        try:
            if worker is None:
                worker = self._own.worker = self._begun()
            line = self._answer(worker, json.dumps(order).encode() + b"\n")
        except SonicError as error:
            return error
        if not line.endswith(b"\n"):
            self._own.worker = None
            code = worker.process.wait()
            if worker.stuck:
                return Failed(
                    f"There was no sign of life for {self._patience:.0f} s, and the process was ended.",
                    "What it worked on may be damaged: look at it with another program.",
                )
            return Failed(
                f"The process that did this ended by itself (code {code}).",
                "Memory may have run out: try it alone, or fewer at a time.",
            )
        answer = json.loads(line)
        return error_from(answer["error"]) if "error" in answer else answer["answer"]

    @staticmethod
    def _answer(worker: _Worker, order: bytes) -> bytes:
        """The line that answers an order; cut off where the process died of it."""
        source, target = worker.process.stdout, worker.process.stdin
        assert source is not None and target is not None
        worker.seen = time.monotonic() if worker.loaded else None
        try:
            target.write(order)
            target.flush()
            while (line := source.readline()) == b"\n":  # a sign of life; the first is that it has loaded
                worker.loaded, worker.seen = True, time.monotonic()
        except OSError:  # it died before it took the order
            return b""
        finally:
            worker.seen = None
        return line

    def _begun(self) -> _Worker:
        with self._lock:
            if self._ended:
                raise Cancelled
            process = start_python(f"{__name__}:serve", self._start, self._threads, subprocess.PIPE)
            worker = _Worker(process)
            self._all.append(worker)
        return worker


def serve(function: str, threads: int) -> None:
    """What a worker runs: an order a line on standard input, an answer a line on what was standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    module, _, name = function.partition(":")
    if threads:
        import_module("cv2").setNumThreads(threads)
    work = getattr(import_module(module), name)
    told = time.monotonic()

    def say(line: bytes) -> None:
        try:
            answers.write(line + b"\n")
            answers.flush()
        except OSError:  # the parent is gone. Nothing that the work catches: what it did would be half of it
            raise SystemExit(1) from None

    def alive() -> None:
        nonlocal told
        if time.monotonic() - told >= SIGN:
            told = time.monotonic()
            say(b"")

    say(b"")
    for line in sys.stdin.buffer:
        try:
            answer = {"answer": work(json.loads(line), alive)}
        except Exception as problem:
            answer = {"error": error_values(as_error(problem))}
        say(json.dumps(answer).encode())
