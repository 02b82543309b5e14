"""Requests that compute while somebody waits for the answer: few at a time, so that the others are quick.

Each keeps a core busy for about a second, or more. Side by side they would take no less time together, and
whatever only looks something up would stand behind them all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Busy

AT_ONCE = min(4, max(1, (os.cpu_count() or 1) // 2))
"""Half of the cores: one is left for the others where there are two."""
LONGEST = 60.0
"""Seconds that a request waits: whoever sent it may have gone, and then nobody needs the answer."""


class Turns:
    """Who may compute now. Safe to use from several threads.

    Args:
        waiting: how many may wait for it; each holds one of the web framework's 40 threads meanwhile.
        at_once: how many have it together.
        longest: seconds that one waits.
    """

    def __init__(self, waiting: int, at_once: int = AT_ONCE, longest: float = LONGEST) -> None:
        self._longest = longest
        self._places = threading.BoundedSemaphore(at_once)
        self._room = threading.BoundedSemaphore(at_once + waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one, and have it for the length of the block.

        Raises:
            Busy: too many wait already, or it has waited for too long.
        """
        busy = Busy("Too many requests are being worked on.", "Try again in a moment.")
        if not self._room.acquire(blocking=False):
            raise busy
        try:
            if not self._places.acquire(timeout=self._longest):
                raise busy
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._room.release()
