"""Where the package runs: standalone, A1111, Forge. The only room that imports a host."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Host(Protocol):
    """What the page asks of the place it runs in."""

    name: str
    """Shown to nobody; written to logs."""

    def outputs(self) -> Path:
        """Folder that exported videos go to; made if it is not there.

        Raises:
            BadOutput: it cannot be made or written to.
        """

    def turn(self, cancelled: Callable[[], bool]) -> AbstractContextManager[None]:
        """Wait until no other video is being made here; hold the place inside the block.

        Raises:
            Cancelled: `cancelled()` became true while waiting.
        """
