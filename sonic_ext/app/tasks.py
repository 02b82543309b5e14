"""Long work behind a page: a thread that reports, can be asked to stop, and hands over its result."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..progress import Step

POLL = 0.2
"""Seconds between two looks at a running task."""
STOP_SECONDS = 2.0
"""How long `stop_all` waits for tasks to tidy up."""

Updates = dict[Any, Any]
"""Component → its new state; what is not named stays as it is."""

Result = TypeVar("Result")
Shown = TypeVar("Shown")


class TabKey:
    """Names one browser tab.

    As the value of a `gr.State` it is copied once for each session, and every copy is a key of its own.
    (gradio 3.41 does not tell events which session they come from.)
    """

    def __deepcopy__(self, memo: object) -> TabKey:
        return TabKey()


def new_task() -> str:
    """A name of the form that a WebUI's page gives its tasks, so that its own bar can ask for one of ours."""
    return f"task(sonic-{secrets.token_hex(8)})"


class BackgroundTask:
    """A `Progress` that remembers the last step; one task belongs to one browser tab.

    Args:
        task_id: its name in a WebUI's list of tasks, of `new_task`; empty for none.
    """

    def __init__(self, task_id: str = "") -> None:
        self.task_id = task_id
        self.step: Step | None = None
        self.ended = threading.Event()
        self._stop = threading.Event()

    def report(self, step: Step) -> None:
        """Remember the step."""
        self.step = step

    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._stop.set()


@dataclass(frozen=True)
class Running(Generic[Result]):
    """A task in a thread of its own."""

    task: BackgroundTask
    _future: Future[Result]

    def result(self) -> Result:
        """What the work returned, once it has ended; its errors are raised here."""
        return self._future.result()

    def steps(self) -> Generator[Step, None, Result]:
        """The task's steps until it ends, then its result."""
        while not self.task.ended.wait(POLL):
            if self.task.step is not None and not self.task.cancelled():
                yield self.task.step
        return self.result()


class BackgroundTasks:
    """The running tasks of one page, at most one for each browser tab and purpose."""

    def __init__(self) -> None:
        self._running: dict[tuple[TabKey, str], BackgroundTask] = {}
        self._lock = threading.Lock()

    def cancel(self, tab: TabKey, purpose: str) -> bool:
        """Ask the tab's task to stop; False where none runs."""
        with self._lock:
            task = self._running.get((tab, purpose))
        if task is not None:
            task.cancel()
        return task is not None

    def stop_all(self) -> None:
        """Ask every task to stop and give them a moment to leave nothing half-written."""
        with self._lock:
            tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            task.ended.wait(STOP_SECONDS)

    def begin(
        self, tab: TabKey, purpose: str, work: Callable[[BackgroundTask], Result], task_id: str = ""
    ) -> Running[Result]:
        """Run `work` in a thread. A task of the same tab and purpose is asked to stop first."""
        running = Running[Result](BackgroundTask(task_id), Future())
        with self._lock:
            former = self._running.get((tab, purpose))
            self._running[(tab, purpose)] = running.task
        if former is not None:
            former.cancel()
        # no daemon: a thread cut off inside OpenCV takes the whole process down with it
        todo = (tab, purpose, work, running.task, running._future)
        threading.Thread(target=self._run, args=todo, name=f"sonic-{purpose}").start()
        return running

    def follow(
        self, tab: TabKey, purpose: str, work: Callable[[BackgroundTask], Result], task_id: str = ""
    ) -> Generator[Step, None, Result]:
        """`begin`, yield the steps and return the value. Whoever stops iterating stops the task."""
        running = self.begin(tab, purpose, work, task_id)
        try:
            return (yield from running.steps())
        finally:
            running.task.cancel()

    def _run(
        self,
        tab: TabKey,
        purpose: str,
        work: Callable[[BackgroundTask], Result],
        task: BackgroundTask,
        future: Future[Result],
    ) -> None:
        try:
            future.set_result(work(task))
        except BaseException as error:  # raised again where the task is followed
            future.set_exception(error)
        finally:
            with self._lock:
                if self._running.get((tab, purpose)) is task:
                    del self._running[(tab, purpose)]
            task.ended.set()


def shown(
    steps: Generator[Step, None, Result], show: Callable[[Step], Shown]
) -> Generator[Shown, None, Result]:
    """Yield what `show` makes of each step; return what `steps` returns."""
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield show(step)
    finally:
        steps.close()
