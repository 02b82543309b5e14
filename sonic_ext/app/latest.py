"""Events of which only the last one counts: what the page shows answers what it holds.

gradio drops an event while the one before of the same kind is answered (version 3 of any kind), and what is
sent in a row may be heard, answered and shown in another order. So the page's clock goes with each question,
a newer one outdates an older one, and after every answer the page looks whether it shows the one to its
newest question and whether it holds anything else by then; if so, it asks again.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any

from . import compat
from .compat import gr
from .tasks import Updates

ASK = """(time, ...known) => {{
    const sent = known.slice(0, {count});
    const question = {{asked: performance.now(), of: JSON.stringify(sent), answered: false}};
    (window.sonicAsked ??= new Map()).set("{name}", question);
    return [question.asked, ...sent];
}}"""
"""JavaScript that puts the page's time before `count` inputs; what an event changes follows them."""
LOOK = """(shown, ...known) => {{
    const newest = window.sonicAsked.get("{name}");
    newest.answered ||= newest.asked === shown;
    const outdone = newest.answered && newest.asked !== shown;
    if (outdone || newest.of !== JSON.stringify(known.slice(0, {count}))) {{
        const root = typeof gradioApp === "function" ? gradioApp() : document;
        root.querySelector("#{name} button, button#{name}").click();
    }}
    return [];
}}"""
"""JavaScript that asks again where another answer than the newest is shown, or other inputs are held."""


def on_latest(
    events: Sequence[Any], fn: Callable[..., Updates | None], inputs: list[Any], outputs: list[Any]
) -> list[Any]:
    """Call `fn` at the events and whenever the page was found to show another answer.

    Args:
        fn: takes when it was asked, by the page's clock in milliseconds, and the inputs; None where a newer
            question is known.

    Returns:
        What an event that follows an answer is bound to.
    """
    name = f"sonic_ask_{secrets.token_hex(4)}"
    with gr.Row(elem_classes="sonic-unseen"):
        shown = gr.Number(-1, label="")  # when the answer that the page shows was asked for
        repeat = gr.Button("", elem_id=name)
    part = {"name": name, "count": len(inputs)}

    def answer(asked: float, *values: Any) -> Updates:
        told = fn(asked, *values)
        return {shown: gr.update()} if told is None else {**told, shown: asked}

    asking = compat.prompt() | compat.script(ASK.format(**part))
    answered = []
    for event in (*events, repeat.click):
        done = event(answer, [shown, *inputs], [*outputs, shown], **asking)
        done.then(None, [shown, *inputs], None, **compat.script(LOOK.format(**part)))
        answered.append(done.then)
    return answered


class _Newest:
    """When the newest question of one session was asked. As a `gr.State` it is made anew for each session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = -1.0

    def __deepcopy__(self, memo: object) -> _Newest:
        return _Newest()

    def take(self, asked: float) -> bool:
        """Whether nothing newer is known up to now."""
        with self._lock:
            self._asked = max(self._asked, asked)
            return self._asked == asked


def on_choice(event: Any, fn: Callable[..., Updates], inputs: list[Any], outputs: list[Any]) -> list[Any]:
    """`on_latest` for what is soon known, and is the same for the same inputs."""

    def answer(asked: float, newest: _Newest, *values: Any) -> Updates | None:
        told = fn(*values) if newest.take(asked) else None
        return told if newest.take(asked) else None

    return on_latest([event], answer, [gr.State(_Newest()), *inputs], outputs)
