"""How long a test waits, in one place.

Nothing waits longer than it takes; what never comes fails after `PATIENCE`. It has to hold where many other
programs want the same few cores. `test_patience.py` holds the other tests to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 180.0
"""Seconds that one step may take: a page that loads, a video that is made, a process that ends."""
MILLISECONDS = PATIENCE * 1000
"""The same as playwright takes it."""
POLL = 0.01
"""Seconds between two looks at a state that tells nobody when it changes."""

Found = TypeVar("Found")


def until(look: Callable[[], Found], holds: Callable[[Found], object] = bool) -> Found:
    """What `look` finds as soon as it `holds`; by default, as soon as it is true.

    Raises:
        AssertionError: it does not within `PATIENCE`.
    """
    end = time.monotonic() + PATIENCE
    while not holds(found := look()):
        assert time.monotonic() < end, f"after {PATIENCE:.0f} s still {found!r}"
        time.sleep(POLL)
    return found
