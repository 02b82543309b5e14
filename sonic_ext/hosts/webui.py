"""Inside Stable Diffusion WebUI (A1111, Forge and their forks): the host, by what the WebUI offers.

Branches mix each other's layouts, so modules are looked for and names are not: `backend.memory_management` is
Forge's and Neo's, `ldm_patched` reForge's and Classic's, and what has neither is A1111. Importing this module
loads nothing of the WebUI, torch or gradio.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..configuration import Configuration
from ..errors import BadOutput, SonicError
from ..files.home import private_home
from ..ports import Place
from ..progress import Progress
from ..provenance.boundary import refuse_served
from . import Host, Portraits, Result, options
from .places import WebUIPlace, offers
from .turn import Mirror, bar_kept, begun, listed, taken

JOB = "sonic"
"""Name of our jobs in the WebUI's state."""
TASK = "task("
"""Beginning of the names that the WebUI's page gives its tasks."""

_log = logging.getLogger(__name__)


class WebUI:
    """The `Host` of a WebUI.

    Args:
        name: a1111 or forge; written to logs.
        place: its VAE and memory.
        portraits: its txt2img and img2img.
        held: the queue is ours already, as inside the hooks of a script: no lock is taken, and the WebUI's
            own job goes on afterwards.
    """

    def __init__(self, name: str, place: WebUIPlace, portraits: Portraits, held: bool = False) -> None:
        self.name = name
        self.place: Place | None = place
        self._place = place
        self.portraits: Portraits | None = portraits
        self._held = held

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
        state = importlib.import_module("modules.shared").state
        if self._held:
            with bar_kept(state):
                return self._done(progress, task, state)
        tasks = importlib.import_module("modules.progress")
        lock = importlib.import_module("modules.call_queue").queue_lock
        with listed(tasks, _task_id(progress)) as started, taken(lock, progress):
            started()

            def run() -> Result:
                with begun(state, JOB):
                    return self._done(progress, task, state)

            return self._place.run(run)

    def _done(self, progress: Progress, task: Callable[[Progress], Result], state: Any) -> Result:
        with self._place.visit():
            return task(Mirror(progress, state))

    def configuration(self) -> Configuration:
        """See `Host.configuration`."""
        return options.configuration()

    def defaults(self) -> Mapping[str, Any]:
        """See `Host.defaults`."""
        return options.defaults()

    def credentials(self) -> Mapping[str, str]:
        """See `Host.credentials`: those of `--api-auth`."""
        command_line = importlib.import_module("modules.shared").cmd_opts
        return credentials(getattr(command_line, "api_auth", None) or "")


def credentials(given: str) -> dict[str, str]:
    """User → password of `--api-auth`: "user:password", several separated by commas."""
    pairs = (pair.partition(":") for pair in given.split(",") if pair)
    return {user: password for user, _, password in pairs}


def _task_id(progress: Progress) -> str | None:
    name = getattr(progress, "task_id", None)
    return name if isinstance(name, str) and name.startswith(TASK) else None


@cache
def host() -> Host:
    """The one host of this process, made when it is first asked for.

    Raises:
        BadSetting: the private home lies where the WebUI hands files out.
    """
    from ..provenance.recovery import clear_up

    made = _made(held=False)
    clear_up(configuration=options.configuration())
    return made


@cache
def held_host() -> Host:
    """The same for hooks of scripts, inside which the WebUI's queue is held already."""
    host()
    return _made(held=True)


@cache
def host_jobs() -> Any:
    """The one `jobs.Register` of this process, for page, API and script."""
    return importlib.import_module("sonic_ext.jobs").Register()


def _made(held: bool) -> WebUI:
    refuse_served(private_home(), served())
    place = _place()
    from .portraits import WebUIPortraits

    return WebUI(place.name, place, WebUIPortraits(place), held)


@cache
def _place() -> WebUIPlace:
    """One for both hosts: what is lent out must be known to both."""
    if offers("backend.memory_management") or offers("ldm_patched.modules.model_management"):
        from .forge import ForgePlace

        return ForgePlace()
    from .a1111 import A1111Place

    return A1111Place()


def served() -> list[Path]:
    """Folders that the WebUI hands files out of: its data, those of its command line, and gradio's own."""
    from ..app.file_guard import served_by_gradio

    data = Path(importlib.import_module("modules.paths_internal").data_path)
    command_line = importlib.import_module("modules.shared").cmd_opts
    named = map(Path, getattr(command_line, "gradio_allowed_path", None) or ())
    return [data, *named, *served_by_gradio(private_home())]


def register() -> None:
    """Ask the WebUI for a tab, a settings page, routes and hooks; they are made when it makes its own."""
    callbacks = importlib.import_module("modules.script_callbacks")
    callbacks.on_ui_tabs(tabs)
    callbacks.on_ui_settings(options.add)
    callbacks.on_app_started(started)
    _register_script()


def _register_script() -> None:
    try:
        importlib.import_module("sonic_ext.hosts.script").register()
    except Exception as problem:  # the tab must appear whatever happens to the script
        _log.error("Sonic's script in txt2img and img2img is missing", exc_info=problem)


def tabs() -> list[tuple[Any, str, str]]:
    """The tab *Sonic*; where a part is missing, a sentence that says which one and what brings it.

    The WebUI builds its page before it launches gradio, so the guard is there before the first request, also
    where the tab cannot be: what earlier sessions made is private all the same.
    """
    try:
        importlib.import_module("sonic_ext.app.file_guard").guard_gradio(options.configuration)
        from ..app import tab

        doors = importlib.import_module("sonic_ext.hosts.script").doors()
        blocks = tab.build(host(), doors=doors, register=host_jobs())
    except (SonicError, ImportError) as problem:
        _log.error("the tab Sonic cannot be built", exc_info=problem)
        from ..app import missing

        blocks = missing.build(problem)
    return [(blocks, "Sonic", "sonic")]


def started(page: Any, app: Any) -> None:
    """The WebUI's server is up: add the API where the WebUI has one, with a page beside it or without.

    Elsewhere it would be a way around the page's own password.
    """
    if page is not None:
        importlib.import_module("sonic_ext.app.leaving").let_go_of_closed_windows(app)
    command_line = importlib.import_module("modules.shared").cmd_opts
    if not (getattr(command_line, "api", False) or getattr(command_line, "nowebui", False)):
        return
    try:
        importlib.import_module("sonic_ext.app.api").mount(app, host(), host_jobs())
    except (SonicError, ImportError) as problem:
        _log.error("the API of Sonic cannot be added", exc_info=problem)
