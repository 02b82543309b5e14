"""A page of its own on this computer, without a WebUI around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..configuration import Configuration
from ..errors import BadOutput, Cancelled
from ..ports import Place
from ..progress import Progress
from . import POLL, Portraits, Result


class Standalone:
    """The `Host` of `sonic serve`.

    Args:
        outputs: folder for exported videos.
    """

    name = "standalone"
    place: Place | None = None
    portraits: Portraits | None = None

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

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """One video at a time: two at once would each take twice as long. See `Host.work`."""
        while not self._busy.acquire(timeout=POLL):
            if progress.cancelled():
                raise Cancelled
        try:
            return task(progress)
        finally:
            self._busy.release()

    def configuration(self) -> Configuration:
        """The environment's."""
        return Configuration.from_environment()

    def defaults(self) -> Mapping[str, Any]:
        """None: the settings' own."""
        return {}

    def credentials(self) -> Mapping[str, str]:
        """None: the server asks for them before the API does, see `app.access`."""
        return {}
