"""What ComfyUI is given: nodes, the page and its API. `__init__.py` beside `install.py` hands this to it."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from ..errors import MissingPart, SonicError
from ..hosts.modules import ComfyModule, comfyui

WEB_DIRECTORY = "./sonic_ext/hosts/comfy/web"
"""Below the extension's folder: what ComfyUI's page loads."""
_log = logging.getLogger(__name__)


async def comfy_entrypoint() -> Any:
    """Called by ComfyUI once, before its server starts. The nodes are there whatever else is missing."""
    api = comfyui(ComfyModule.API)
    add_model_folder()
    add_routes()
    classes = importlib.import_module("sonic_ext.hosts.comfy.pack").NODES

    class SonicExtension(api.ComfyExtension):  # type: ignore[misc, name-defined]
        async def get_node_list(self) -> list[Any]:
            return list(classes)

    return SonicExtension()


def add_model_folder() -> None:
    """List `models/sonic` among ComfyUI's folders, so that `extra_model_paths.yaml` may add to it."""
    from pathlib import Path

    from ..hosts.comfy.host import FOLDER, FOLDER_KEY, folders

    known = folders()
    known.add_model_folder_path(FOLDER_KEY, str(Path(known.models_dir) / FOLDER))


def add_routes() -> None:
    """Page and API, on ComfyUI's own server, and the guard around all of it: what earlier sessions made is
    private also where the rest cannot be."""
    from ..app import aiohttp_guard
    from ..hosts.comfy.host import ComfyUI, served

    server = comfyui(ComfyModule.SERVER).PromptServer.instance.app
    aiohttp_guard.guard(server, served, ComfyUI().configuration)
    try:
        from ..app import aiohttp_bridge
        from ..hosts.comfy.making import worker

        worker().start()
        aiohttp_bridge.mount(server, worker())
    except (SonicError, ImportError) as problem:
        missing = _as_missing(problem)
        _log.error("%s", missing, exc_info=problem)
        aiohttp_guard.answer_all(server, missing)


def _as_missing(problem: Exception) -> SonicError:
    if isinstance(problem, SonicError):
        return problem
    return MissingPart(
        f"Sonic's page cannot start: {getattr(problem, 'name', None) or 'a part'} is not installed.",
        "Run install.py in Sonic's folder below custom_nodes with ComfyUI's Python, and restart ComfyUI.",
    )
