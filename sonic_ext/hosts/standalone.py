"""A page of its own on this computer, without a WebUI around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadOutput, Cancelled

POLL = 0.2
"""Seconds between two looks at whether a waiting job was cancelled."""


class Standalone:
    """The `Host` of `sonic serve`.

    Args:
        outputs: folder for exported videos.
    """

    name = "standalone"

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs.expanduser().resolve()
        self._busy = threading.Lock()

    def outputs(self) -> Path:
        """The folder for exported videos, made if it is not there."""
        try:
            self._outputs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadOutput(
                f"The folder {self._outputs} cannot be made: {error.strerror or error}.",
                "Choose another one with --output-dir.",
            ) from error
        return self._outputs

    @contextmanager
    def turn(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """One video at a time: two at once would each take twice as long."""
        while not self._busy.acquire(timeout=POLL):
            if cancelled():
                raise Cancelled
        try:
            yield
        finally:
            self._busy.release()
