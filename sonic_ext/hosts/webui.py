"""Inside Stable Diffusion WebUI (A1111, Forge and their forks): the host, by what the WebUI offers.

What has no memory manager of Forge's or of `ldm_patched` is A1111. Importing this module loads nothing of the
WebUI, torch or gradio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..configuration import Configuration
from ..errors import BadOutput
from ..ports import DeviceManager, Portraits, Result
from ..progress import Progress
from . import options
from .devices import WebUIDeviceManager
from .modules import Module, offers, webui
from .webui_queue import WebUIProgress, keep_bar, listed_task, queue_lock, running_state

JOB = "sonic"
"""Name of our jobs in the WebUI's state."""
TASK = "task("
"""Beginning of the names that the WebUI's page gives its tasks."""


class WebUI:
    """The `Host` of a WebUI.

    Args:
        name: a1111 or forge; written to logs.
        devices: its VAE and memory.
        portraits: its txt2img and img2img.
        lock_held: the queue is ours already, as inside the hooks of a script: no lock is taken, and the
            WebUI's own job goes on afterwards.
    """

    def __init__(
        self, name: str, devices: WebUIDeviceManager, portraits: Portraits, lock_held: bool = False
    ) -> None:
        self.name = name
        self.lane = f"webui {webui(Module.PATHS).data_path}"
        self.slots = 1
        self.devices: DeviceManager | None = devices
        self._devices = devices
        self.portraits: Portraits | None = portraits
        self._lock_held = lock_held

    def outputs(self) -> Path:
        """See `Host.outputs`: below the WebUI's own, by the pattern of the settings page."""
        folder = options.outputs()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadOutput(
                f"The folder {folder} cannot be made: {error.strerror or error}.",
                "Choose another one in the WebUI's settings, Sonic.",
            ) from error
        return folder

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """See `Host.work`.

        Where `progress` has a `task_id` of the WebUI's form (`task(…)`), the WebUI's own bar shows the job.
        """
        state = webui(Module.SHARED).state
        if self._lock_held:
            with keep_bar(state):
                return self._done(progress, task, state)
        tasks = webui(Module.PROGRESS)
        lock = webui(Module.CALL_QUEUE).queue_lock
        with listed_task(tasks, _task_id(progress)) as started, queue_lock(lock, progress):
            started()

            def run() -> Result:
                with running_state(state, JOB):
                    return self._done(progress, task, state)

            return self._devices.run(run)

    def _done(self, progress: Progress, task: Callable[[Progress], Result], state: Any) -> Result:
        with self._devices.visit():
            return task(WebUIProgress(progress, state))

    def configuration(self) -> Configuration:
        """See `Host.configuration`."""
        return options.configuration()

    def defaults(self) -> Mapping[str, Any]:
        """See `Host.defaults`."""
        return options.defaults()

    def credentials(self) -> Mapping[str, str]:
        """See `Host.credentials`: those of `--api-auth`."""
        command_line = webui(Module.SHARED).cmd_opts
        return credentials(getattr(command_line, "api_auth", None) or "")


def credentials(given: str) -> dict[str, str]:
    """User → password of `--api-auth`: "user:password", several separated by commas."""
    pairs = (pair.partition(":") for pair in given.split(",") if pair)
    return {user: password for user, _, password in pairs}


def _task_id(progress: Progress) -> str | None:
    name = getattr(progress, "task_id", None)
    return name if isinstance(name, str) and name.startswith(TASK) else None


@cache
def device_manager() -> WebUIDeviceManager:
    """One for both hosts: what is lent out must be known to both."""
    if offers(Module.FORGE_MEMORY) or offers(Module.LDM_MEMORY):
        from .forge import ForgeDeviceManager

        return ForgeDeviceManager()
    from .a1111 import A1111DeviceManager

    return A1111DeviceManager()
