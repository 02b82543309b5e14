"""What a program on this computer holds: it must be the same after ten rounds as before."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Any

import pytest
from patience import until

GROWN = 1.02
"""Share of the memory before that may be held afterwards: what Python's allocator keeps is no leak."""
PASSING = 3
"""More threads or handles that a pool or a request under way may have; ten rounds would leave ten."""


@dataclass(frozen=True)
class Holding:
    """Of one process."""

    memory: int
    """Bytes that are resident."""
    threads: int
    handles: int
    """Open files and sockets."""


def process_of(url: str) -> Any:
    """The process that listens there, by psutil."""
    psutil = pytest.importorskip("psutil")
    port = urllib.parse.urlsplit(url).port
    for process in psutil.process_iter():
        try:
            listening = [each for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        except psutil.Error:
            continue
        if any(each.laddr.port == port for each in listening):
            return process
    pytest.skip(f"nothing on this computer listens on port {port}")


def holding(process: Any) -> Holding:
    """What it holds now."""
    handles = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
    return Holding(process.memory_info().rss, process.num_threads(), handles)


def require_as_before(process: Any, before: Holding) -> None:
    """Wait until threads and handles that are only slow to go have gone; memory is looked at then."""
    now = until(
        lambda: holding(process),
        lambda held: held.threads <= before.threads + PASSING and held.handles <= before.handles + PASSING,
    )
    assert now.memory <= GROWN * before.memory, (before, now)
