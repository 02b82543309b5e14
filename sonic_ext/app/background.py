"""Work that a request begins and does not wait for: it reports, can be stopped, and says how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..errors import Cancelled, SonicError, WrongTime, as_error
from ..messages import said
from ..progress import Step
from .routing import failure

NOTHING = {"what": "", "stage": "", "detail": "", "done": 0, "total": 0, "seconds_left": None, "error": None}
IDLE = NOTHING | {"state": "idle"}
"""`SonicTask` of nothing."""


class BackgroundTask:
    """A `Progress` in a thread of its own. The interpreter's end, which would wait for it, stops it, too.

    Args:
        what: word for what is done.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._step: Step | None = None
        self._stop = threading.Event()
        self._ended: str | SonicError = ""

    def begin(self, work: Callable[[BackgroundTask], str], after: Callable[[], None]) -> None:
        """Run `work`, which returns what was done in words, then `after` whatever came of it."""
        # no daemon: a thread cut off inside a library takes the whole process down with it
        threading.Thread(target=self._run, args=(work, after), name=f"sonic-{self._what}").start()

    def report(self, step: Step) -> None:
        """Remember the step."""
        self._step = step

    def cancelled(self) -> bool:
        """True once it was stopped, or the process ends."""
        return self._stop.is_set() or not threading.main_thread().is_alive()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._stop.set()

    def described(self) -> dict[str, Any]:
        """`SonicTask`."""
        told, ended = NOTHING | {"what": self._what}, self._ended
        if isinstance(ended, Cancelled):
            return told | {"state": "cancelled"}
        if isinstance(ended, SonicError):
            return told | {"state": "failed", "error": failure(ended)}
        if ended:
            return told | {"state": "done", "detail": said(ended)}
        step = vars(self._step) if self._step else {}
        return told | {"state": "running"} | step | {"stage": str(step.get("stage", ""))}

    def _run(self, work: Callable[[BackgroundTask], str], after: Callable[[], None]) -> None:
        ended: str | SonicError
        try:
            ended = work(self)
        except BaseException as error:  # told to whoever asks
            ended = as_error(error)
        after()
        self._ended = ended


class TaskSlot:
    """Room for one task: how the newest one stands, and no other beside it.

    Args:
        busy: makes what is said to whoever asks for another one meanwhile.
        alone: held while one runs.
    """

    def __init__(self, busy: Callable[[], WrongTime], alone: threading.Lock | None = None) -> None:
        self._busy = busy
        self._alone = alone or threading.Lock()
        self._newest: BackgroundTask | None = None

    def begin(self, what: str, work: Callable[[BackgroundTask], str]) -> dict[str, Any]:
        """See `BackgroundTask.begin`; `SonicTask`.

        Raises:
            WrongTime: one runs already.
        """
        if not self._alone.acquire(blocking=False):
            raise self._busy()
        self._newest = BackgroundTask(what)
        self._newest.begin(work, self._alone.release)
        return self.task()

    def task(self) -> dict[str, Any]:
        """How the newest one stands or ended."""
        return self._newest.described() if self._newest else IDLE

    def stop(self) -> dict[str, Any]:
        """Ask it to stop."""
        if self._newest is not None:
            self._newest.cancel()
        return self.task()
