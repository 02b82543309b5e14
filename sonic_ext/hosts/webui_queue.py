"""A turn at a WebUI: its queue, its progress bar, its Interrupt and *Reload UI*."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled
from ..progress import Progress, Step
from . import POLL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN_EVERY = 1.0
"""Seconds between two live preview pictures."""
STOPS = ("interrupted", "stopping_generation", "skipped")
"""Flags of the WebUI's state that its buttons set."""
BAR = ("job_count", "job_no", "sampling_steps", "sampling_step", "textinfo", "time_start")
"""Fields of the WebUI's state that its progress bar is drawn from."""


@contextmanager
def queue_lock(lock: Any, progress: Progress) -> Iterator[None]:
    """Wait for the WebUI's queue lock and keep it while inside.

    The lock is first come, first served and cannot be asked for with a time limit, so a thread stands in the
    queue. If the job is cancelled meanwhile, the thread gives the lock back when its turn comes.

    Raises:
        Cancelled: `progress.cancelled()` became true while waiting.
    """
    if not lock.acquire(blocking=False):
        _Waiting(lock).wait(progress)
    try:
        yield
    finally:
        lock.release()


class _Waiting:
    """One place in the queue."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._deciding = threading.Lock()
        self._abandoned = False
        self._acquired = threading.Event()
        # a daemon: the WebUI may end while somebody stands in its queue
        threading.Thread(target=self._acquire, name="sonic-queue", daemon=True).start()

    def wait(self, progress: Progress) -> None:
        """Until the lock is ours."""
        while not self._acquired.wait(POLL):
            if progress.cancelled() and self._abandon():
                raise Cancelled

    def _abandon(self) -> bool:
        """Give up the place; False where the turn has just come."""
        with self._deciding:
            self._abandoned = not self._acquired.is_set()
        return self._abandoned

    def _acquire(self) -> None:
        self._lock.acquire()
        with self._deciding:
            if not self._abandoned:
                self._acquired.set()
        if self._abandoned:
            self._lock.release()


class WebUIProgress:
    """A `Progress` that also moves the WebUI's bar and heeds its Interrupt, Skip and Stop.

    Args:
        inner: whoever asked for the work.
        state: the WebUI's `shared.state`.
        clock: seconds.
    """

    def __init__(self, inner: Progress, state: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self.inner = inner
        self._state = state
        self._clock = clock
        self._shown = -SHOWN_EVERY
        self._stage = ""
        self._stopped = False

    def report(self, step: Step) -> None:
        """Tell whoever asked, and set the bar."""
        self.inner.report(step)
        state = self._state
        state.job_count, state.job_no = 1, 0
        state.sampling_steps, state.sampling_step = step.total, step.done
        state.textinfo = f"Sonic: {step.text} {step.done}/{step.total}"
        if step.text != self._stage:  # the WebUI's forecast is of one stage: they are not equally long
            self._stage = step.text
            state.time_start = time.time()

    def cancelled(self) -> bool:
        """Once true, true for good: other events of the page reset the WebUI's flags."""
        self._stopped = (
            self._stopped
            or self.inner.cancelled()
            or any(getattr(self._state, flag, False) for flag in STOPS)
        )
        return self._stopped

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Put a stamped frame beside the bar, at most one in `SHOWN_EVERY` seconds."""
        now = self._clock()
        if now - self._shown < SHOWN_EVERY:
            return
        from PIL import Image

        self._shown = now
        self._state.assign_current_image(Image.fromarray(picture))


@contextmanager
def running_state(state: Any, name: str) -> Iterator[None]:
    """The WebUI's state between `begin` and `end`, whatever happens inside."""
    state.begin(job=name)
    try:
        yield
    finally:
        state.end()


def let_restarts_pass(state: Any, name: str) -> None:
    """*Reload UI* builds the WebUI's page anew, and presses Interrupt before: not while this has the turn.

    What else there is then waits in the queue, where an Interrupt stops nothing either. Call it before the
    page is built, which keeps `state.request_restart`; again does nothing.
    """
    original = getattr(state, "request_restart", None)
    if original is None or hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def request_restart() -> None:
        if state.job == name:
            state.server_command = "restart"
        else:
            original()

    state.request_restart = request_restart


@contextmanager
def keep_bar(state: Any) -> Iterator[None]:
    """The WebUI's bar stands as before when this is left: the job around us goes on with it."""
    before = {name: getattr(state, name) for name in BAR if hasattr(state, name)}
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(state, name, value)


@contextmanager
def listed_task(tasks: Any, name: str | None) -> Iterator[Callable[[], None]]:
    """A job in the WebUI's list of tasks, which its page asks about by name.

    Args:
        tasks: the WebUI's module `progress`.
        name: as the page made it, `task(…)`; None lists nothing.

    Yields:
        What is to be called when the job leaves the queue.
    """
    if name is None:
        yield lambda: None
        return
    tasks.add_task_to_queue(name)
    try:
        yield lambda: tasks.start_task(name)
    finally:
        tasks.pending_tasks.pop(name, None)
        tasks.finish_task(name)
