"""Long work behind the page: steps, results, errors and stopping."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Generator
from typing import Any

import pytest
from patience import PATIENCE

from sonic_ext.app.checking import Checks
from sonic_ext.app.tasks import BackgroundTask, BackgroundTasks, TabKey, shown
from sonic_ext.errors import BadInput, Cancelled
from sonic_ext.progress import Step


def _outcome(steps: Generator[Step, None, str]) -> str:
    walked = shown(steps, lambda step: step.stage)
    while True:
        try:
            next(walked)
        except StopIteration as end:
            return str(end.value)


def test_value_is_returned_and_steps_are_shown() -> None:
    gone_on = threading.Event()

    def work(task: BackgroundTask) -> str:
        task.report(Step("drawing", 1, 2))
        assert gone_on.wait(PATIENCE)
        return "made"

    walked = shown(BackgroundTasks().follow(TabKey(), "make", work), lambda step: step.stage)
    assert next(walked) == "drawing"
    gone_on.set()
    with pytest.raises(StopIteration) as end:
        while True:
            next(walked)
    assert end.value.value == "made"


def test_errors_come_out_where_the_job_is_followed() -> None:
    def work(task: BackgroundTask) -> str:
        raise BadInput("No.", "Yes.")

    with pytest.raises(BadInput):
        _outcome(BackgroundTasks().follow(TabKey(), "make", work))


def _obedient(task: BackgroundTask) -> str:
    task.report(Step("waiting", 0, 1))
    while not task.cancelled():
        threading.Event().wait(0.01)
    raise Cancelled


def test_cancel_reaches_only_the_tabs_own_job() -> None:
    tasks, one, two = BackgroundTasks(), TabKey(), TabKey()
    first, second = tasks.follow(one, "make", _obedient), tasks.follow(two, "make", _obedient)
    assert (next(first).stage, next(second).stage) == ("waiting", "waiting")
    assert tasks.cancel(one, "make")
    with pytest.raises(Cancelled):
        list(first)
    assert next(second).stage == "waiting"
    tasks.stop_all()
    with pytest.raises(Cancelled):
        list(second)
    assert not tasks.cancel(two, "make")


def test_newer_job_of_a_tab_stops_the_older_which_then_shows_nothing() -> None:
    tasks, tab = BackgroundTasks(), TabKey()
    older = tasks.follow(tab, "check", _obedient)
    next(older)
    newer = tasks.follow(tab, "check", lambda task: "newer")
    assert _outcome(newer) == "newer"
    with pytest.raises(Cancelled):
        next(older)


def test_whoever_stops_looking_stops_the_job() -> None:
    ended = threading.Event()

    def work(task: BackgroundTask) -> str:
        try:
            return _obedient(task)
        finally:
            ended.set()

    steps = BackgroundTasks().follow(TabKey(), "make", work)
    next(steps)
    steps.close()
    assert ended.wait(PATIENCE)


def test_every_session_gets_a_key_of_its_own() -> None:
    key = TabKey()
    assert copy.deepcopy(key) is not key
    assert len({key, copy.deepcopy(key), copy.deepcopy(key)}) == 3


class TestChecks:
    """Updates are dicts as on the page; `None` changes nothing."""

    @pytest.fixture
    def gate(self) -> threading.Event:
        """Closed: a check for which "long" is set waits until it opens."""
        return threading.Event()

    @pytest.fixture
    def began(self) -> threading.Event:
        """A check has begun."""
        return threading.Event()

    @pytest.fixture
    def checks(self, gate: threading.Event, began: threading.Event) -> Checks:
        def look(task: BackgroundTask, sources: tuple[str, ...], settings: tuple[str, ...]) -> dict[str, str]:
            task.report(Step("looking", 1, 2))
            began.set()
            while "long" in settings and not gate.wait(0.01):
                if task.cancelled():
                    raise Cancelled
            return {"facts": " ".join(sources + settings)}

        return Checks(BackgroundTasks(), look, lambda step: {"facts": step.stage})

    def test_a_short_one_is_told_at_once_and_not_again(self, checks: Checks) -> None:
        tab = TabKey()
        assert checks.begin(tab, 1.0, ["face"], ["256"]) == {"facts": "face 256"}
        assert list(checks.follow(tab)) == []

    def test_a_long_one_is_followed(self, checks: Checks, gate: threading.Event) -> None:
        tab = TabKey()
        assert checks.begin(tab, 1.0, ["face"], ["long"]) == {"facts": "looking"}
        followed = checks.follow(tab)
        assert next(followed) == {"facts": "looking"}
        gate.set()
        assert list(followed)[-1:] == [{"facts": "face long"}]

    def test_the_older_says_nothing_once_there_is_a_newer(self, checks: Checks) -> None:
        tab = TabKey()
        checks.begin(tab, 1.0, ["face"], ["long"])
        older = checks.follow(tab)
        next(older)
        assert checks.begin(tab, 1.0, ["face"], ["256"]) == {"facts": "face 256"}
        assert list(older) == []

    def test_an_older_one_does_not_answer(self, checks: Checks, began: threading.Event) -> None:
        tab, older = TabKey(), list[Any]()
        thread = threading.Thread(target=lambda: older.append(checks.begin(tab, 1.0, ["face"], ["long"])))
        thread.start()
        assert began.wait(PATIENCE)
        checks.begin(tab, 1.0, ["face"], ["256"])
        thread.join(PATIENCE)
        assert older == [None]

    def test_an_older_one_waits_until_the_newer_one_has_taken_over(
        self, checks: Checks, began: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin = BackgroundTasks.begin

        def slowly(tasks: BackgroundTasks, *work: Any) -> Any:
            running = begin(tasks, *work)
            time.sleep(0.2 if began.is_set() else 0)  # the former one is stopped by now
            return running

        monkeypatch.setattr(BackgroundTasks, "begin", slowly)
        self.test_an_older_one_does_not_answer(checks, began)

    def test_what_was_asked_for_later_stays_whichever_arrives_first(self, checks: Checks) -> None:
        tab = TabKey()
        assert checks.begin(tab, 2.0, ["face"], ["256"]) == {"facts": "face 256"}
        assert checks.begin(tab, 1.0, ["none"], ["256"]) is None
        assert checks.begin(tab, 3.0, ["face"], ["512"]) == {"facts": "face 512"}

    def test_tabs_do_not_cross(self, checks: Checks) -> None:
        one, two = TabKey(), TabKey()
        assert checks.begin(one, 2.0, ["face"], ["256"]) == {"facts": "face 256"}
        assert checks.begin(two, 1.0, ["other"], ["512"]) == {"facts": "other 512"}

    def test_nothing_was_asked(self, checks: Checks) -> None:
        assert list(checks.follow(TabKey())) == []
