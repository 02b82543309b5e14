"""How jobs stand, told as it changes: server-sent events (HTML Living Standard, 9.2) for pages.

    event: animations     at the beginning: all of them, as GET /animations has them
    event: animation      one that is new, or stands differently now
    event: forgotten      one that is remembered no longer

A line lasts `LASTS` seconds. A browser that loses it asks again by itself, and is told everything from the
beginning: so nobody listens on who may not any more, and no server waits for long before it can end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool

EVERY = 0.5
"""Seconds between two looks at the queue."""
SHARE = 0.1
"""Of the time that is spent on looking at most: a long queue is looked at less often."""
LASTS = 20.0
"""Seconds."""
AGAIN_MS = 500
"""Milliseconds after which a browser asks again."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "identity"}
"""Of the answer: nobody keeps it, nor holds it back until there is more, as a WebUI's gzip does."""

Animation = Mapping[str, Any]


async def job_events(
    first: Sequence[Animation], look: Callable[[], Sequence[Animation]]
) -> AsyncIterator[bytes]:
    """Events for `LASTS` seconds; whoever listens no longer ends them before.

    Args:
        first: all animations as they stand.
        look: gives them as they stand then, in some other thread.
    """
    end = time.monotonic() + LASTS
    known, pause = {each["id"]: each for each in first}, EVERY
    yield f"retry: {AGAIN_MS}\n".encode() + event("animations", {"animations": [*known.values()]})
    while time.monotonic() + pause < end:
        await asyncio.sleep(pause)
        began = time.monotonic()
        found = {each["id"]: each for each in await run_in_threadpool(look)}
        pause = max(EVERY, (time.monotonic() - began) / SHARE)
        news = [event("animation", each) for id, each in found.items() if known.get(id) != each]
        news += [event("forgotten", {"id": id, "forgotten": True}) for id in known.keys() - found.keys()]
        known = found
        if news:
            yield b"".join(news)


def event(name: str, values: Mapping[str, Any]) -> bytes:
    """One event; its JSON is ASCII and one line."""
    told = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {told}\n\n".encode("ascii")
