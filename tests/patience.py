"""How long a test waits, in one place.

Nothing waits longer than it takes; what never comes fails after `PATIENCE`. It has to hold where many other
programs want the same few cores.
"""

from __future__ import annotations

PATIENCE = 180.0
"""Seconds that one step may take: a page that loads, a video that is made, a process that ends."""
MILLISECONDS = PATIENCE * 1000
"""The same as playwright takes it."""
