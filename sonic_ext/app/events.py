"""How jobs stand, told as it changes: server-sent events (HTML Living Standard, 9.2) for pages.

    event: animations     at the beginning: all of them, as GET /animations has them
    event: animation      one that is new, or stands differently now
    event: forgotten      one that is remembered no longer

A browser that loses the line asks again by itself, and is told everything from the beginning.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool

EVERY = 0.5
"""Seconds between two looks at the queue."""
SILENCE = 15.0
"""Seconds without news after which a line says that it is still there: proxies cut silent ones."""
AGAIN_MS = 2000
"""Milliseconds after which a browser asks again."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Of the answer: nobody keeps it, nor holds it back until there is more."""

Animation = Mapping[str, Any]


async def job_events(look: Callable[[], Sequence[Animation]]) -> AsyncIterator[bytes]:
    """Events without end; whoever listens no longer ends them.

    Args:
        look: gives all animations as they stand, in some other thread.
    """
    known = {each["id"]: each for each in await run_in_threadpool(look)}
    yield f"retry: {AGAIN_MS}\n".encode() + event("animations", {"animations": [*known.values()]})
    silent = 0.0
    while True:
        await asyncio.sleep(EVERY)
        silent += EVERY
        found = {each["id"]: each for each in await run_in_threadpool(look)}
        news = [event("animation", each) for id, each in found.items() if known.get(id) != each]
        news += [event("forgotten", {"id": id, "forgotten": True}) for id in known.keys() - found.keys()]
        if not news and silent >= SILENCE:
            news = [b": still here\n\n"]
        known = found
        if news:
            silent = 0.0
            yield b"".join(news)


def event(name: str, values: Mapping[str, Any]) -> bytes:
    """One event; its JSON is ASCII and one line."""
    told = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {told}\n\n".encode("ascii")
