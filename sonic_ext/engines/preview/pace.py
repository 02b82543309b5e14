"""How fast this computer is just now, for forecasts: its processor counts, and what else that is doing."""

from __future__ import annotations

import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

THREADS = 2
"""Of the computer that the forecasts were measured on; drawing and encoding keep about as many busy."""
SECONDS = 0.06
"""How long is looked: several turns of a scheduler."""
REFERENCE = 3600.0
"""Pieces of work a second that the two threads did there, with nothing else to do."""


def slowness() -> float:
    """Times that work takes longer here and now than where the forecasts were measured: 1 there, 2 where two
    such programs share its processor, below 1 on a faster one. Takes `SECONDS`.

    A load average would say what was a minute ago, and Windows has none.
    """
    threads = min(THREADS, os.cpu_count() or 1)
    _piece()  # made once, and not in the time that is looked
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(_work_until, [began + SECONDS] * threads))
    return REFERENCE * (time.perf_counter() - began) / done


@cache
def _piece() -> bytes:
    return bytes((n**3 >> 7) & 255 for n in range(1 << 15))


def _work_until(end: float) -> int:
    """Pieces of work done until then, at least one. zlib works without Python's lock."""
    done, piece = 0, _piece()
    while not done or time.perf_counter() < end:
        zlib.compress(piece, 6)
        done += 1
    return done
