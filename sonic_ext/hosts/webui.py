"""Inside Stable Diffusion WebUI (A1111, Forge and their forks): the tab, by what the host offers."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

from ..errors import SonicError
from ..provenance.private import private_home, refuse_served
from .standalone import Standalone

_log = logging.getLogger(__name__)


class WebUI(Standalone):
    """The `Host` of a tab: exports go to the WebUI's own outputs folder."""

    name = "webui"

    def __init__(self) -> None:
        data = Path(importlib.import_module("modules.paths_internal").data_path)
        refuse_served(private_home(), [data])
        super().__init__(data / "outputs" / "sonic")


def register() -> None:
    """Ask the WebUI for a tab. It is built when the WebUI builds its page."""
    importlib.import_module("modules.script_callbacks").on_ui_tabs(tabs)


def tabs() -> list[tuple[Any, str, str]]:
    """The tab *Sonic*; where a part is missing, a sentence that says which one and what brings it."""
    try:
        from ..app import tab

        blocks = tab.build(WebUI())
    except (SonicError, ImportError) as problem:
        _log.error("the tab Sonic cannot be built", exc_info=problem)
        from ..app import missing

        blocks = missing.build(problem)
    return [(blocks, "Sonic", "sonic")]
