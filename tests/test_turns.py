"""Turns of requests that compute."""

from __future__ import annotations

import threading

import pytest
from patience import PATIENCE, until

from sonic_ext.app.turns import Turns
from sonic_ext.errors import Busy


def test_as_many_as_there_are_places_and_the_rest_waits_or_is_sent_away() -> None:
    turns, done = Turns(waiting=1, at_once=2), threading.Event()
    inside, most, sent_away = [], [], []

    def work() -> None:
        try:
            with turns.turn():
                inside.append(1)
                most.append(len(inside))
                assert done.wait(PATIENCE)
                inside.pop()
        except Busy as error:
            sent_away.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(inside) == 2 and len(sent_away) == 1)
    done.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(most) == 3 and max(most) == 2 and len(sent_away) == 1


def test_a_turn_that_fails_is_free_again() -> None:
    turns = Turns(waiting=0, at_once=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="odd"), turns.turn():
            raise ValueError("odd")


def test_nobody_waits_for_ever() -> None:
    turns = Turns(waiting=1, at_once=1, longest=0.01)
    with turns.turn(), pytest.raises(Busy):
        turns.turn().__enter__()
    with turns.turn():
        pass
