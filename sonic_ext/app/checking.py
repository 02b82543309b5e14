"""The check of what a page holds: shown soon, and never of something older than what is there.

gradio loses events, see `compat.prompt`. So a check begins outside the queue, by `latest.on_latest`, and is
followed only for the progress of a long one by an event in the queue.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import Cancelled
from ..progress import Stage, Step
from .tasks import BackgroundTask, BackgroundTasks, Running, TabKey, Updates, shown

SOON = 1.0
"""Seconds that the page waits for a check before it shows how far it is."""

Values = tuple[Any, ...]


@dataclass
class _Check:
    """The newest check of a browser tab."""

    asked: float
    running: Running[Updates]
    told: bool = False
    """At once, so that nothing is left to follow."""


class Checks:
    """The checks of one page, one for each browser tab.

    Args:
        look: makes the page's updates from sources and settings, in a thread; raises nothing but `Cancelled`.
        show: the page's updates that show a step.
    """

    def __init__(
        self,
        tasks: BackgroundTasks,
        look: Callable[[BackgroundTask, Values, Values], Updates],
        show: Callable[[Step], Updates],
    ) -> None:
        self._tasks = tasks
        self._look = look
        self._show = show
        self._lock = threading.Lock()
        self._newest: WeakKeyDictionary[TabKey, _Check] = WeakKeyDictionary()

    def begin(
        self, tab: TabKey, asked: float, sources: Sequence[Any], settings: Sequence[Any]
    ) -> Updates | None:
        """Check anew; the result where it comes soon. None where a newer check is known by then.

        Args:
            asked: when, by the page's clock: what it sends in a row may arrive in another order.
        """
        check = self._begin(tab, asked, tuple(sources), tuple(settings))
        if check is None:
            return None
        task = check.running.task
        with contextlib.suppress(Cancelled):
            check.told = task.ended.wait(SOON)
            step = task.step or Step(Stage.CHECKING, 0, 1)
            told = check.running.result() if check.told else self._show(step)
            if self._is_newest(tab, check):
                return told
        return None

    def follow(self, tab: TabKey) -> Generator[Updates, None, None]:
        """What `begin` had no time to show of the newest check; ends where a newer one has taken over."""
        check = self._newest.get(tab)
        if check is None or check.told:
            return
        with contextlib.suppress(Cancelled):
            told = yield from shown(check.running.steps(), self._show)
            if self._is_newest(tab, check):
                yield told

    def _begin(self, tab: TabKey, asked: float, sources: Values, settings: Values) -> _Check | None:
        """None where a check that was asked for later has begun."""
        with self._lock:  # whichever task stops the other is the newer one here, too
            newest = self._newest.get(tab)
            if newest is not None and newest.asked > asked:
                return None
            running = self._tasks.begin(tab, "check", lambda task: self._look(task, sources, settings))
            check = self._newest[tab] = _Check(asked, running)
        return check

    def _is_newest(self, tab: TabKey, check: _Check) -> bool:
        with self._lock:  # whoever stopped this one has not taken over before
            return self._newest.get(tab) is check
