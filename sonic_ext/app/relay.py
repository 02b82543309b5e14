"""Long work begun by an event, and what it tells, kept for a page that missed some of it.

gradio's queue loses events: both versions drop a click while they still end what the same button began
before, although the page has shown the outcome and the button is free again. So an event that begins work is
answered outside the queue, with all that it needs in its own request.

The queue loses streams, too: version 3 gives one up whose page takes a second to receive a message, or whose
own request of the next one fails, and says nothing; any version does when the connection breaks, as tunnels
and sleeping computers make it. So the work runs in a thread of its own, each update has a number, and a page
that has heard nothing for a while asks for what came after the last one that it got.

What a late message says must not silence the page: it knows by the answer to the event which run is its
newest, and asks until it has heard the end of that very one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Generator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from . import compat
from .compat import gr
from .tasks import TabKey, Updates

Handler = Callable[..., Generator[Updates, None, None]]

ABANDONED = 300.0
"""Seconds without a page that asks or receives, after which the work is stopped. A hidden page's timers may
run once a minute."""
SOON = 0.5
"""Seconds that the answer to an event waits for the first update."""
AWAKE = 1.0
"""Seconds between two signs of life of a stream that has nothing to tell."""
SAME = "(...inputs) => inputs"
SENT = "(tab, ...known) => [tab, ...({script})(...known.slice(0, {count}))]"
"""JavaScript that sends what `script` makes of `count` inputs; what an event changes follows them."""
_TYPE = "__type__"
"""The key that tells gradio's updates from values."""
WATCH = """() => {
    const SILENCE = 5000, OFTEN = 500;
    const root = typeof gradioApp === "function" ? gradioApp() : document;
    const heard = new Map();
    setInterval(() => {
        for (const relay of root.querySelectorAll(".sonic-relay")) {
            const [begun, place] = [...relay.querySelectorAll("textarea, input")].map(each => each.value);
            const known = `${begun} ${place}`, last = heard.get(relay);
            if (!last || last.known !== known) {
                heard.set(relay, {known, since: Date.now(), patience: SILENCE});
            } else if (begun && place !== `${begun} over` && Date.now() - last.since > last.patience) {
                last.since = Date.now();
                last.patience *= 2;
                relay.querySelector("button").click();
            }
        }
    }, OFTEN);
}"""
"""JavaScript for the page's load: asks where a stream has fallen silent, ever more seldom if in vain."""


@dataclass(frozen=True)
class News:
    """What changed since some update."""

    updates: Updates
    number: int
    """Of the newest update, from 1."""
    over: bool
    """No more will come."""


class _Run:
    """A handler's work in a thread, and all that it told."""

    def __init__(self, updates: Generator[Updates, None, None]) -> None:
        self.name = secrets.token_hex(4)
        self._updates = updates
        self._told: dict[Any, tuple[int, Any]] = {}
        self._count = 0
        self.over = False
        self._problem: BaseException | None = None
        self._changed = threading.Condition()
        self._wanted = time.monotonic()
        # no daemon: a thread cut off inside OpenCV takes the whole process down with it
        threading.Thread(target=self._work_off, name="sonic-relay").start()

    def after(self, number: int, patience: float = 0.0) -> News:
        """What changed since the update of this number.

        Args:
            patience: seconds to wait where nothing has.

        Raises:
            BaseException: what the handler raised.
        """
        with self._changed:
            self._wanted = time.monotonic()
            self._changed.wait_for(lambda: self.over or self._count > number, patience)
            self._changed.wait_for(lambda: self.over, min(patience, compat.MOMENT))
            if self.over and self._problem is not None:
                raise self._problem
            # gradio 4 changes the updates that it is given
            updates = {part: copy(state) for part, (when, state) in self._told.items() if when > number}
            return News(updates, self._count, self.over)

    def number(self, place: str) -> int:
        """Of the update up to which a page at this place knows this run; 0 where it knows another one."""
        name, _, number = place.partition(" ")
        if name != self.name:
            return 0
        return int(number) if number.isdecimal() else self._count

    def _work_off(self) -> None:
        try:
            for updates in self._updates:
                if self._tell(updates):
                    break
        except BaseException as problem:  # raised again where the stream is read
            self._problem = problem
        finally:
            self._updates.close()
            with self._changed:
                self.over = True
                self._changed.notify_all()

    def _tell(self, updates: Updates) -> bool:
        """Keep the updates; whether nobody wants them any more."""
        with self._changed:
            self._count += 1
            for part, state in updates.items():
                known = self._told.get(part)
                self._told[part] = self._count, _joined(known[1], state) if known else state
            self._changed.notify_all()
            return time.monotonic() - self._wanted > ABANDONED


def _joined(before: Any, state: Any) -> Any:
    """A component's state after both: gradio's updates may name some of its properties, or none."""
    if not _is_update(state):
        return state
    if not state.keys() - {_TYPE}:
        return before
    return {**(before if _is_update(before) else {"value": before}), **state}


def _is_update(state: Any) -> bool:
    return isinstance(state, Mapping) and _TYPE in state


class Relay:
    """Brings the updates of one kind of event to the page, each of them at least once.

    Of a tab's runs the newest one counts; what an older one tells from then on is not shown.

    Args:
        handler: takes the tab's key and the event's inputs; yields updates.
        tab: the component of the tab's key.
        outputs: the components that `handler` changes.
    """

    def __init__(self, handler: Handler, tab: Any, outputs: list[Any]) -> None:
        self._handler = handler
        self._tab = tab
        self._newest: WeakKeyDictionary[TabKey, _Run] = WeakKeyDictionary()
        with gr.Row(elem_classes=["sonic-unseen", "sonic-relay"]):
            self.begun = gr.Textbox(label="")
            self.place = gr.Textbox(label="")
            ask = gr.Button("")
        self._outputs = [*outputs, self.begun, self.place]
        ask.click(self.ask, [tab, self.begun, self.place], self._outputs, **compat.prompt())

    def at(self, event: Any, inputs: list[Any], script: str = SAME) -> None:
        """Begin the work at this event, with these inputs besides the tab's key.

        Not in the queue, which may lose the event; what follows may be lost, and is asked for then.

        Args:
            script: JavaScript function from the inputs to what is sent in their place.
        """
        sent = compat.script(SENT.format(count=len(inputs), script=script))
        begun = event(self.begin, [self._tab, *inputs], self._outputs, **compat.prompt(), **sent)
        begun.then(self.stream, [self._tab, self.begun, self.place], self._outputs, **compat.streamed())

    def begin(self, tab: TabKey, *values: Any) -> Updates:
        """Begin the work; the handler's first updates where they come soon."""
        run = self._newest[tab] = _Run(self._handler(tab, *values))
        told = self._news(run, run.after(0, SOON))
        newest = self._newest[tab] is run  # or another event's answer tells
        return told | {self.begun: run.name} if newest else {self.begun: gr.update()}

    def stream(self, tab: TabKey, begun: str, place: str) -> Generator[Updates, None, None]:
        """The run's updates after this place. Whoever stops iterating stops nothing."""
        run, told = self._newest.get(tab), False
        if run is not None and run.name == begun:
            for updates in self._follow(tab, run, run.number(place)):
                told = True
                yield updates
        if compat.SENDS_LAST_TWICE or not told:
            yield {self.place: gr.update()}

    def _follow(self, tab: TabKey, run: _Run, number: int) -> Generator[Updates, None, None]:
        over = False
        while not over and self._newest.get(tab) is run:
            news = run.after(number, AWAKE)
            if news.over or news.number > number:
                yield self._news(run, news)
            number, over = news.number, news.over

    def ask(self, tab: TabKey, begun: str, place: str) -> Updates:
        """What the page has missed of the newest run. Its name is told only to a page that has another one:
        this answer, too, may come late."""
        run = self._newest.get(tab)
        if run is None:  # the page is older than this server
            return {self.begun: "", self.place: ""}
        told = self._news(run, run.after(run.number(place)))
        return told if begun == run.name else told | {self.begun: run.name}

    def _news(self, run: _Run, news: News) -> Updates:
        where = "over" if news.over else news.number
        return news.updates | {self.place: f"{run.name} {where}"}
