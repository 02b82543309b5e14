"""What a WebUI is given: a tab, a settings page, routes, and the script in txt2img and img2img.

`scripts/sonic.py` calls `register`; the rest is made when the WebUI builds its page, starts its server or
first needs it. Importing this module loads nothing of the WebUI, torch or gradio.
"""

from __future__ import annotations

import importlib
import logging
import re
import secrets
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SonicError
from ..files.home import private_home
from ..hosts import options
from ..hosts.modules import Module, webui
from ..hosts.webui import JOB, WebUI, device_manager
from ..hosts.webui_queue import let_restarts_pass
from ..ports import Host
from ..provenance.boundary import refuse_served

if TYPE_CHECKING:
    from ..app.admission import Admission
    from ..jobs import Worker

_log = logging.getLogger(__name__)


@cache
def host() -> Host:
    """The one host of this process, made when it is first asked for.

    Raises:
        BadSetting: the private home lies where the WebUI hands files out.
    """
    from ..provenance.recovery import clear_up

    made = _make_host(held=False)
    clear_up(configuration=options.configuration())
    return made


@cache
def held_host() -> Host:
    """The same for hooks of scripts, inside which the WebUI's queue is held already."""
    host()
    return _make_host(held=True)


@cache
def worker() -> Worker:
    """The one of this process, for page, API and script.

    What an earlier process of the WebUI left of the page's and the script's jobs waits for its user's word;
    an API's goes on.
    """
    from ..jobs import Origin, Worker

    return Worker(host(), hold=(Origin.PAGE, Origin.SCRIPT))


def _make_host(held: bool) -> WebUI:
    from ..hosts.portraits import WebUIPortraits

    refuse_served(private_home(), served())
    devices = device_manager()
    return WebUI(devices.name, devices, WebUIPortraits(devices), held)


def served() -> list[Path]:
    """Folders that the WebUI hands files out of: its data, those of its command line, and gradio's own."""
    from ..app.file_guard import served_by_gradio

    data = Path(webui(Module.PATHS).data_path)
    command_line = webui(Module.SHARED).cmd_opts
    named = map(Path, getattr(command_line, "gradio_allowed_path", None) or ())
    return [data, *named, *served_by_gradio(private_home())]


def register() -> None:
    """Ask the WebUI for a tab, a settings page, routes and hooks; they are made when it makes its own.

    Its scripts, and with them this, are loaded before its page is built, and again by *Reload UI*.
    """
    callbacks = webui(Module.SCRIPT_CALLBACKS)
    callbacks.on_ui_tabs(tabs)
    callbacks.on_ui_settings(_add_settings)
    callbacks.on_app_started(started)
    let_restarts_pass(webui(Module.SHARED).state, JOB)
    _register_script()


def _add_settings() -> None:
    from . import settings_page

    settings_page.add()


def _register_script() -> None:
    try:
        importlib.import_module("sonic_ext.extension.script").register()
    except Exception as problem:  # the tab must appear whatever happens to the script
        _log.error("Sonic's script in txt2img and img2img is missing", exc_info=problem)


@cache
def page_token() -> str:
    """What the page of this process shows to the API, see `app.admission`."""
    return secrets.token_urlsafe()


def tabs() -> list[tuple[Any, str, str]]:
    """The tab *Sonic*; where a part is missing, a sentence that says which one and what brings it.

    The WebUI builds its page before it launches gradio, so the guard is there before the first request, also
    where the tab cannot be: what earlier sessions made is private all the same.
    """
    try:
        importlib.import_module("sonic_ext.app.file_guard").guard_gradio(options.configuration)
        importlib.import_module("sonic_ext.app.api")
        worker()
        blocks = importlib.import_module("sonic_ext.app.tab").build(page_token())
    except (SonicError, ImportError) as problem:
        _log.error("the tab Sonic cannot be built", exc_info=problem)
        from ..app import missing

        blocks = missing.build(problem)
    return [(blocks, "Sonic", "sonic")]


def started(page: Any, app: Any) -> None:
    """The WebUI's server is up: add the API, for the page alone where the WebUI has none, and the page."""
    try:
        worker().start()
        if page is None:  # there is nobody to ask
            worker().resume_held()
    except SonicError as problem:
        _log.error("Sonic's jobs cannot be worked off", exc_info=problem)
    try:
        from ..app import api, page_files

        api.mount(app, worker(), admission(page is not None))
        if page is not None:
            app.include_router(page_files.router(alone=False))
    except (SonicError, ImportError) as problem:
        _log.error("the API of Sonic cannot be added", exc_info=problem)


def admission(page: bool) -> Admission:
    """Who may ask: the page, if there is one, and where the WebUI has an API, who may ask that."""
    from ..app.admission import Admission

    command_line = webui(Module.SHARED).cmd_opts
    has_api = bool(getattr(command_line, "api", False) or getattr(command_line, "nowebui", False))
    return Admission(host().credentials, page_token() if page else "", has_api, _allowed_origin)


def _allowed_origin(origin: str) -> bool:
    """Of `--cors-allow-origins` and `--cors-allow-origins-regex`."""
    command_line = webui(Module.SHARED).cmd_opts
    named = (getattr(command_line, "cors_allow_origins", None) or "").split(",")
    pattern = getattr(command_line, "cors_allow_origins_regex", None) or ""
    return bool(origin) and (origin in named or (bool(pattern) and bool(re.fullmatch(pattern, origin))))
