"""A page of its own on this computer, without a WebUI around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..configuration import Configuration
from ..errors import BadOutput, Cancelled
from ..files.names import expanded
from ..ports import DeviceManager, Portraits, Result
from ..progress import Progress
from . import POLL


class Standalone:
    """The `Host` of `sonic serve`.

    Args:
        outputs: folder for exported videos.
        slots: videos that are made at the same time.
        lane: see `Host.lane`.
    """

    name = "standalone"
    devices: DeviceManager | None = None
    portraits: Portraits | None = None

    def __init__(self, outputs: Path, slots: int = 1, lane: str = "standalone") -> None:
        self.slots = slots
        self.lane = lane
        self._outputs = expanded(outputs).resolve()
        self._free = threading.BoundedSemaphore(slots)

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

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """As many videos at a time as there are slots. See `Host.work`."""
        while not self._free.acquire(timeout=POLL):
            if progress.cancelled():
                raise Cancelled
        try:
            return task(progress)
        finally:
            self._free.release()

    def configuration(self) -> Configuration:
        """The environment's."""
        return Configuration.from_environment()

    def defaults(self) -> Mapping[str, Any]:
        """None: the settings' own."""
        return {}

    def credentials(self) -> Mapping[str, str]:
        """None: the server asks for them before the API does, see `app.access`."""
        return {}
