"""Where the package runs: standalone, A1111, Forge; each is a `ports.Host`. `modules` has the names of a
WebUI's modules, and nobody else has.
"""

from __future__ import annotations

POLL = 0.2
"""Seconds between two looks at whether a waiting job was cancelled."""
