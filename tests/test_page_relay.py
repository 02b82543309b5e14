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
from sonic_ext.app.tasks import TabKey

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
    yield from relay.stream(tab, told[relay.begun], told[relay.place])


def until_over(relay: Relay, tab: TabKey, page: Told) -> Told:
    """Ask as a page that has got these updates does, until no more will come."""
    end = time.monotonic() + PATIENCE
    while page[relay.place] != f"{page[relay.begun]} over":
        assert time.monotonic() < end, "never over"
        page = page | relay.ask(tab, page[relay.begun], page[relay.place])
    return page


def words(relay: Relay, updates: Told) -> Told:
    """The handler's own."""
    return {part: each for part, each in updates.items() if part not in (relay.begun, relay.place)}


def test_a_stream_tells_all_and_ends(slow: Slow) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    told = streamed(relay, tab, "one", "two")
    first = next(told)
    name = first[relay.begun]
    assert (first["said"], first[relay.place]) == ("one", f"{name} 1")
    slow.on.release()
    rest = list(told)
    assert "two" in [each.get("said") for each in rest]
    assert f"{name} over" in [each[relay.place] for each in rest]
    assert words(relay, relay.ask(tab, name, f"{name} 1")) == {"said": "two"}


def test_an_answer_does_not_wait_for_a_slow_handler(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "SOON", 0.01)
    relay, tab = relay_of(slow), TabKey()
    first = relay.begin(tab, "one")
    assert (words(relay, first), first[relay.place]) == ({}, f"{first[relay.begun]} 0")
    slow.on.release()
    assert until_over(relay, tab, first)["said"] == "one"


def test_the_end_is_told_as_each_gradio_wants_it(slow: Slow) -> None:
    """Version 3 sends the last message twice; version 4's page would lose what came just before it."""
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    first = relay.begin(tab, "one", "two")
    slow.on.release()
    *_, last = relay.stream(tab, first[relay.begun], first[relay.place])
    if compat.SENDS_LAST_TWICE:
        assert last == {relay.place: gr.update()}
    else:
        assert (last["said"], last[relay.place]) == ("two", f"{first[relay.begun]} over")


def test_what_the_answer_told_is_not_streamed_again(slow: Slow) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release(2)
    seen = list(streamed(relay, tab, "one", "two"))
    name = seen[0][relay.begun]
    assert len([each for each in seen if each.get("said") == "two"]) == 1
    assert words(relay, relay.ask(tab, name, "")) == {"said": "two"}
    assert words(relay, relay.ask(tab, name, f"{name} over")) == {}


def test_what_a_lost_stream_would_have_told_can_be_asked_for(slow: Slow) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    first = relay.begin(tab, "one", "two", "three")
    assert words(relay, relay.ask(tab, first[relay.begun], first[relay.place])) == {}
    slow.on.release(2)
    assert until_over(relay, tab, first)["said"] == "three"
    assert slow.ended.is_set()


def test_work_that_no_page_wants_is_stopped(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    relay, tab = relay_of(slow), TabKey()
    slow.on.release()
    relay.begin(tab, *map(str, range(9)))
    monkeypatch.setattr(relays, "ABANDONED", 0.0)
    time.sleep(0.01)
    slow.on.release()
    assert slow.ended.wait(PATIENCE)


class TestTwoRuns:
    """The newer one counts, whatever comes late of the older one."""

    @pytest.fixture
    def tab(self) -> TabKey:
        return TabKey()

    @pytest.fixture
    def relay(self) -> Relay:
        return relay_of(lambda tab, kind, *words: kind(tab, *words))

    def test_the_older_one_is_not_shown_any_more(self, relay: Relay, tab: TabKey, slow: Slow) -> None:
        quick = Slow()
        slow.on.release()
        older = relay.begin(tab, slow, "older", "last")
        stream = relay.stream(tab, older[relay.begun], older[relay.place])
        quick.on.release()
        newer = relay.begin(tab, quick, "newer")
        slow.on.release()
        assert [each for each in stream if words(relay, each)] == []
        assert newer["said"] == "newer"
        assert slow.ended.wait(PATIENCE)

    @pytest.mark.parametrize("late", ["stream", "ask"])
    def test_a_late_end_of_the_older_one_is_not_taken_for_its_own(
        self, relay: Relay, tab: TabKey, slow: Slow, late: str
    ) -> None:
        quick = Slow()
        quick.on.release()
        older = relay.begin(tab, quick, "older")
        known = older[relay.begun], older[relay.place]
        (word, *_) = relay.stream(tab, *known) if late == "stream" else [relay.ask(tab, *known)]
        page = older | relay.begin(tab, slow, "newer") | word
        slow.on.release()
        assert until_over(relay, tab, page)["said"] == "newer"

    def test_a_page_that_missed_an_answer_learns_of_the_newer_one(
        self, relay: Relay, tab: TabKey, slow: Slow
    ) -> None:
        quick = Slow()
        older = relay.begin(tab, quick, "older")
        slow.on.release()
        newer = relay.begin(tab, slow, "newer")
        assert until_over(relay, tab, older) == older | newer
        quick.on.release()
        assert quick.ended.wait(PATIENCE)


def test_a_page_older_than_the_server_stops_asking(slow: Slow) -> None:
    relay = relay_of(slow)
    assert relay.ask(TabKey(), "unknown", "unknown 3") == {relay.begun: "", relay.place: ""}


def test_properties_named_one_by_one_are_joined() -> None:
    def handler(tab: TabKey) -> Iterator[Told]:
        yield {"part": gr.update(visible=True), "plain": gr.update(visible=False), "same": "text"}
        yield {"part": gr.update(interactive=False), "plain": "text", "value": ["first"], "gone": "text"}
        yield {"same": gr.update(), "value": gr.update(visible=True), "gone": None, "none": gr.update()}

    relay, tab = relay_of(handler), TabKey()
    list(streamed(relay, tab))
    update = gr.update()
    assert words(relay, relay.ask(tab, "", "")) == {
        "part": gr.update(visible=True) | gr.update(interactive=False),
        "plain": "text",
        "same": "text",
        "value": update | {"value": ["first"], "visible": True},
        "gone": None,
        "none": update,
    }


def test_what_gradio_does_to_an_update_is_not_told_again() -> None:
    def handler(tab: TabKey) -> Iterator[Told]:
        yield {"part": gr.update(value="file")}

    relay, tab = relay_of(handler), TabKey()
    news = relay.begin(tab)
    news["part"].clear()
    assert relay.ask(tab, "", "")["part"]["value"] == "file"


def test_what_the_handler_raises_reaches_whoever_listens() -> None:
    def handler(tab: TabKey) -> Iterator[Told]:
        yield {"said": "one"}
        raise KeyError("of its own")

    relay, tab = relay_of(handler), TabKey()
    with pytest.raises(KeyError, match="of its own"):
        list(streamed(relay, tab))
    with pytest.raises(KeyError, match="of its own"):
        relay.ask(tab, "", "")


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
