"""A stream of updates that the page loses: the work goes on, and the page can ask for what it missed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from patience import PATIENCE

pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")

from sonic_ext.app import compat
from sonic_ext.app import relay as relays
from sonic_ext.app.compat import gr
from sonic_ext.app.relay import Relay
from sonic_ext.app.work import TabKey

pytestmark = pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries
Told = dict[Any, Any]


class Slow:
    """A handler that tells one word each time it is let on, and notes how it ended."""

    def __init__(self) -> None:
        self.on = threading.Semaphore(0)
        self.ended = threading.Event()

    def __call__(self, tab: TabKey, *words: str) -> Iterator[Told]:
        """One update for each word."""
        try:
            for word in words:
                assert self.on.acquire(timeout=PATIENCE)
                yield {"said": word}
        finally:
            self.ended.set()


@pytest.fixture
def slow() -> Slow:
    return Slow()


def relay_of(handler: Callable[..., Iterator[Told]]) -> Relay:
    with gr.Blocks(analytics_enabled=False):
        return Relay(handler, gr.State(TabKey()), [gr.HTML()])  # type: ignore[arg-type]


def streamed(relay: Relay, tab: TabKey, *values: Any) -> Iterator[Told]:
    """What a page is told that loses nothing: the answer to the event, then the stream after it."""
    told = relay.begin(tab, *values)
    yield told
    yield from relay.stream(tab, told[relay.number])


def numbered(relay: Relay, updates: Told) -> tuple[Any, str]:
    """What was said, and the number that the page is to know it by."""
    return updates.get("said"), updates[relay.number]


def until_over(relay: Relay, tab: TabKey, known: str) -> Told:
    """Ask as a page does, until no more will come."""
    got: Told = {}
    end = time.monotonic() + PATIENCE
    while known and time.monotonic() < end:
        news = relay.ask(tab, known)
        got, known = {**got, **news}, news[relay.number]
    assert not known, "never over"
    return got


def test_a_stream_tells_all_and_ends(slow: Slow) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    told = streamed(relay, tab, "one", "two")
    said, number = numbered(relay, next(told))
    assert (said, bool(number)) == ("one", True)
    slow.on.release()
    last = list(told)
    assert ("two" in [each.get("said") for each in last], last[-1][relay.number]) == (True, "")
    assert relay.ask(tab, number) == {"said": "two", relay.number: ""}


def test_an_answer_does_not_wait_for_a_slow_handler(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "SOON", 0.01)
    relay, tab = relay_of(slow), TabKey()
    said, number = numbered(relay, relay.begin(tab, "one"))
    assert (said, number.split()[1]) == (None, "0")
    slow.on.release()
    assert until_over(relay, tab, number)["said"] == "one"


def test_the_end_is_told_as_each_gradio_wants_it(slow: Slow) -> None:
    """Version 3 sends the last message twice; version 4's page would lose what came just before it."""
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    first = relay.begin(tab, "one", "two")
    slow.on.release()
    told = list(relay.stream(tab, first[relay.number]))
    nothing = {relay.number: ""}
    assert told[-1] == (nothing if compat.SENDS_LAST_TWICE else {"said": "two"} | nothing)
    assert "two" in [each.get("said") for each in told]
    assert list(streamed(relay, tab))[-1:] == [nothing]


def test_what_the_answer_told_is_not_streamed_again(slow: Slow) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release(2)
    first, *rest = streamed(relay, tab, "one", "two")
    (name,) = relay._runs[tab]
    whole = relay.ask(tab, f"{name} 0")
    seen = [first, *rest]
    assert [each["said"] for each in seen if "said" in each][-1] == whole["said"] == "two"
    assert len([each for each in seen if each.get("said") == "two"]) == 1


def test_what_a_lost_stream_would_have_told_can_be_asked_for(slow: Slow) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    _, number = numbered(relay, relay.begin(tab, "one", "two", "three"))
    assert relay.ask(tab, number) == {relay.number: number}
    slow.on.release(2)
    assert until_over(relay, tab, number)["said"] == "three"
    assert slow.ended.is_set()


def test_work_that_no_page_wants_is_stopped(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    relay.begin(tab, *map(str, range(9)))
    monkeypatch.setattr(relays, "ABANDONED", 0.0)
    time.sleep(0.01)
    slow.on.release()
    assert slow.ended.wait(PATIENCE)


def test_two_streams_of_a_tab_are_told_apart(slow: Slow) -> None:
    quick, relay, tab = Slow(), relay_of(lambda tab, kind, *words: kind(tab, *words)), TabKey()
    slow.on.release()
    _, known = numbered(relay, relay.begin(tab, slow, "older", "last"))
    newer = relay.begin(tab, quick, "newer")
    quick.on.release()
    *_, end = relay.stream(tab, newer[relay.number])
    assert end[relay.number].split()[0] == known.split()[0], "the older one goes on"
    slow.on.release()
    assert until_over(relay, tab, end[relay.number])["said"] == "last"


def test_only_the_newest_runs_can_be_asked_for(slow: Slow) -> None:
    relay, tab, other = relay_of(slow), TabKey(), TabKey()
    slow.on.release(9)
    known = [relay.begin(tab, "word")[relay.number] or "gone 1" for _ in range(9)]
    assert relay.ask(tab, "unknown 3") == relay.ask(other, known[-1]) == {relay.number: ""}
    assert len(relay._runs[tab]) == relays.KEPT


def test_properties_named_one_by_one_are_joined() -> None:
    def handler(tab: TabKey) -> Iterator[Told]:
        yield {"part": gr.update(visible=True), "plain": gr.update(visible=False), "same": "text"}
        yield {"part": gr.update(interactive=False), "plain": "text", "value": ["first"], "gone": "text"}
        yield {"same": gr.update(), "value": gr.update(visible=True), "gone": None, "none": gr.update()}

    relay, tab = relay_of(handler), TabKey()
    list(streamed(relay, tab))
    (name,) = relay._runs[tab]
    update = gr.update()
    assert relay.ask(tab, f"{name} 0") == {
        "part": gr.update(visible=True) | gr.update(interactive=False),
        "plain": "text",
        "same": "text",
        "value": update | {"value": ["first"], "visible": True},
        "gone": None,
        "none": update,
        relay.number: "",
    }


def test_what_gradio_does_to_an_update_is_not_told_again() -> None:
    def handler(tab: TabKey) -> Iterator[Told]:
        yield {"part": gr.update(value="file")}

    relay, tab = relay_of(handler), TabKey()
    news = relay.begin(tab)
    news["part"].clear()
    (name,) = relay._runs[tab]
    assert relay.ask(tab, f"{name} 0")["part"]["value"] == "file"


def test_what_the_handler_raises_reaches_whoever_listens() -> None:
    def handler(tab: TabKey) -> Iterator[Told]:
        yield {"said": "one"}
        raise KeyError("of its own")

    relay, tab = relay_of(handler), TabKey()
    with pytest.raises(KeyError, match="of its own"):
        list(streamed(relay, tab))
    (name,) = relay._runs[tab]
    with pytest.raises(KeyError, match="of its own"):
        relay.ask(tab, f"{name} 0")


def test_no_thread_is_left() -> None:
    def handler(tab: TabKey) -> Generator[Told, None, None]:
        yield {"said": "one"}

    before = threading.active_count()
    relay, tab = relay_of(handler), TabKey()
    for _ in range(20):
        list(streamed(relay, tab))
    end = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before
