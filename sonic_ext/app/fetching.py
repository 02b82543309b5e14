"""The sonic engine's weights over the API: fetched and converted in the background, one task at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from .. import weights
from ..errors import BadInput, WrongTime
from ..jobs.submission import search_of
from ..progress import Tick, Ticker
from ..weights import Part, PartState, Search
from . import schemas
from .background import TaskSlot

if TYPE_CHECKING:
    from ..ports import Host

_ALONE = threading.Lock()
"""Held while weights are written: two downloads into the same file would spoil each other."""


class Fetching:
    """The routes below /weights that change something."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._slot = TaskSlot(
            lambda: WrongTime(
                "Weights are being fetched or converted in another window.", "Wait until it ends."
            ),
            _ALONE,
        )

    def fetch(self, body: schemas.FetchRequest) -> dict[str, Any]:
        """From the Hub, on where it stopped the last time. The licences have to be accepted by name."""
        check(parts := weights.parts_named(body.parts), body.accept)

        def work(tick: Tick) -> str:
            weights.fetch(parts, search_of(self._host).target, accept=True, tick=tick)
            return f"Fetched: {', '.join(part.title for part in parts)}."

        return self._begin("fetch", work)

    def convert(self, body: schemas.NothingRequest | None = None) -> dict[str, Any]:
        """Every part whose state is `to convert`; nothing in a pickle is run."""
        return self._begin("convert", lambda tick: convert(search_of(self._host), tick))

    def task(self) -> dict[str, Any]:
        """How the newest one stands or ended."""
        return self._slot.task()

    def stop(self) -> dict[str, Any]:
        """What came so far stays, and the next fetch goes on from there."""
        return self._slot.stop()

    def _begin(self, what: str, work: Callable[[Tick], str]) -> dict[str, Any]:
        return self._slot.begin(what, lambda task: work(Ticker(task)))


def check(parts: Sequence[Part], accepted: Collection[str]) -> None:
    """Raise `BadInput` without a part, or without its licence."""
    if not parts:
        raise BadInput("No part is chosen.", "Choose one under Parts to fetch.")
    left = dict.fromkeys(part.licence.name for part in parts if part.licence.name not in accepted)
    if left:
        raise BadInput(
            f"The licences have not been accepted: {', '.join(left)}.", "Read them, then tick their boxes."
        )


def convert(search: Search, tick: Tick) -> str:
    """Convert every pickle; what was done, in words."""
    todo = [each for each in weights.survey(search).findings if each.state is PartState.CONVERT]
    for each in todo:
        assert each.path is not None, "what can be converted has been found"
        to = weights.target_of(each.part, search.target)
        weights.convert(each.part, each.path, to, again=True, strict=False, tick=tick)
    done = ", ".join(each.part.title for each in todo)
    return f"Converted: {done}." if done else "There is nothing to convert."
