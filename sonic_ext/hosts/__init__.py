"""Where the package runs: standalone, A1111, Forge; each is a `ports.Host`. The only room beside `extension`
that imports a WebUI's modules.
"""

from __future__ import annotations

POLL = 0.2
"""Seconds between two looks at whether a waiting job was cancelled."""
