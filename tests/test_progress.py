"""Stages, steps and the tick made of a progress."""

from __future__ import annotations

import json

import pytest

from sonic_ext.errors import Cancelled
from sonic_ext.progress import Silent, Stage, Step, Ticker


class Recorder(Silent):
    """Keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def report(self, step: Step) -> None:
        self.steps.append(step)


def test_a_stage_is_its_words() -> None:
    assert f"{Stage.DRAWING}" == str(Stage.DRAWING) == "drawing frames"
    assert Stage("drawing frames") is Stage.DRAWING
    assert json.dumps([Stage.SIGNING]) == '["signing"]'


def test_a_step_says_what_it_is_about() -> None:
    assert Step(Stage.DENOISING, 1, 2).text == "denoising"
    assert Step(Stage.LOADING, 1, 2, detail="unet").text == "loading unet"


def test_a_ticker_forgets_the_time_of_the_stage_before() -> None:
    progress = Recorder()
    tick = Ticker(progress)
    tick(Stage.READING, 0, 10, "one")
    tick(Stage.READING, 5, 10, "one")
    tick(Stage.READING, 0, 4, "two")
    tick(Stage.CHECKING, 0, 4)
    assert [step.seconds_left is None for step in progress.steps] == [True, False, True, True]
    assert [step.text for step in progress.steps] == ["reading one", "reading one", "reading two", "checking"]


def test_a_ticker_counts_only_what_was_done_while_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run did took none of this one's time."""
    now = iter([100.0, 110.0, 200.0, 300.0, 320.0])
    monkeypatch.setattr("sonic_ext.progress.time.monotonic", lambda: next(now))
    progress = Recorder()
    tick = Ticker(progress)
    tick(Stage.DENOISING, 50, 100)
    tick(Stage.DENOISING, 51, 100)
    tick(Stage.LOADING, 0, 1, "unet")
    tick(Stage.DENOISING, 60, 100)
    tick(Stage.DENOISING, 62, 100)
    assert [step.seconds_left for step in progress.steps] == [None, 490.0, None, None, 380.0]


def test_a_ticker_raises_where_its_progress_says_stop() -> None:
    class Stopped(Silent):
        def cancelled(self) -> bool:
            return True

    with pytest.raises(Cancelled):
        Ticker(Stopped())(Stage.CHECKING, 0, 1)
