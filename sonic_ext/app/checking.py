"""The check of what a page holds: shown soon, and never of something older than what is there.

gradio loses events, see `compat.prompt`; version 3 also outside its queue those that come while the same
event is answered. So a check begins outside the queue, is followed by a look whether the settings have
changed meanwhile, and only for the progress of a long one by an event in the queue.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import Cancelled
from ..ports import Step
from .work import Job, Jobs, Running, TabKey, Updates, shown

SOON = 1.0
"""Seconds that the page waits for a check before it shows how far it is."""

Values = tuple[Any, ...]


@dataclass
class _Check:
    """The newest check of a browser tab."""

    turn: int
    asked: float
    sources: Values
    settings: Values
    running: Running[Updates]
    told: bool = False
    """At once, so that nothing is left to follow."""


class Checks:
    """The checks of one page, one for each browser tab.

    Args:
        look: makes the page's updates from sources and settings, in a thread; raises nothing but `Cancelled`.
        show: the page's updates that show a step.
        same: updates that change nothing.
        turn: the component that holds the number of the newest check that the page knows of: an event sent
            before a newer check began must not take that one back.
    """

    def __init__(
        self,
        jobs: Jobs,
        look: Callable[[Job, Values, Values], Updates],
        show: Callable[[Step], Updates],
        same: Updates,
        turn: Any,
    ) -> None:
        self._jobs = jobs
        self._look = look
        self._show = show
        self._same = same
        self._turn = turn
        self._turns = itertools.count(1)
        self._lock = threading.Lock()
        self._newest: WeakKeyDictionary[TabKey, _Check] = WeakKeyDictionary()

    def begin(self, tab: TabKey, asked: float, sources: Sequence[Any], settings: Sequence[Any]) -> Updates:
        """Check anew; the result where it comes soon.

        Args:
            asked: when, by the page's clock: what it sends in a row may arrive in another order.
        """
        check = self._begin(tab, asked, tuple(sources), tuple(settings))
        if check is None:
            return self._same
        if check.running.job.ended.wait(SOON):
            told = self._result(tab, check)
            check.told = True
        else:
            told = self._show(check.running.job.step or Step("checking", 0, 1))
        with self._lock:  # whoever stopped this one has not taken over before
            newest = self._newest[tab]
        return (told if newest is check else self._same) | {self._turn: newest.turn}

    def again(self, tab: TabKey, turn: int, settings: Sequence[Any]) -> Updates:
        """`begin` with these settings, if they changed without the check of this turn being told."""
        known = self._newest.get(tab)
        if known is None or known.turn != turn or known.settings == tuple(settings):
            return self._same
        return self.begin(tab, known.asked, known.sources, settings)

    def follow(self, tab: TabKey, turn: int) -> Generator[Updates, None, None]:
        """What `begin` had no time to show; ends where a newer check has taken over."""
        check = self._newest.get(tab)
        if check is not None and check.turn == turn and not check.told:
            with contextlib.suppress(Cancelled):
                yield from shown(check.running.steps(), self._show)
                yield self._result(tab, check)

    def _begin(self, tab: TabKey, asked: float, sources: Values, settings: Values) -> _Check | None:
        """None where a check that was asked for later has begun."""
        with self._lock:  # whichever job stops the other is the newer one here, too
            newest = self._newest.get(tab)
            if newest is not None and newest.asked > asked:
                return None
            running = self._jobs.begin(tab, "check", lambda job: self._look(job, sources, settings))
            check = self._newest[tab] = _Check(next(self._turns), asked, sources, settings, running)
        return check

    def _result(self, tab: TabKey, check: _Check) -> Updates:
        """The result, unless a newer check has taken over."""
        try:
            updates = check.running.result()
        except Cancelled:
            updates = self._same
        return updates if self._newest.get(tab) is check else self._same
