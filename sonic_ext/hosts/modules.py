"""The modules of the WebUIs and of ComfyUI: the one map of their names.

Branches mix each other's layouts, so a module is looked for under each name that it has had, and nobody asks
what the WebUI is called.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from enum import Enum
from typing import Any


class Module(Enum):
    """What we use of a WebUI → the names of its module, newest first."""

    CALL_QUEUE = ("modules.call_queue",)
    DEVICES = ("modules.devices",)
    INFOTEXT = ("modules.infotext_utils", "modules.generation_parameters_copypaste")
    """Of WebUIs since 1.8; of older branches."""
    PATHS = ("modules.paths_internal",)
    PROCESSING = ("modules.processing",)
    PROGRESS = ("modules.progress",)
    SAMPLERS = ("modules.sd_samplers",)
    SCHEDULERS = ("modules.sd_schedulers",)
    SCRIPTS = ("modules.scripts",)
    SCRIPT_CALLBACKS = ("modules.script_callbacks",)
    SD_MODELS = ("modules.sd_models",)
    SHARED = ("modules.shared",)
    UI_COMPONENTS = ("modules.ui_components",)
    FORGE_MAIN = ("modules_forge.main_entry",)
    FORGE_THREAD = ("modules_forge.main_thread",)
    FORGE_MEMORY = ("backend.memory_management",)
    """Forge's and Neo's."""
    FORGE_PATCHER = ("backend.patcher.base",)
    LDM_MEMORY = ("ldm_patched.modules.model_management",)
    """reForge's and Classic's."""
    LDM_PATCHER = ("ldm_patched.modules.model_patcher",)


class ComfyModule(Enum):
    """What we use of ComfyUI → the name of its module."""

    API = "comfy_api.latest"
    FOLDERS = "folder_paths"
    MEMORY = "comfy.model_management"
    PATCHER = "comfy.model_patcher"
    SERVER = "server"
    UTILS = "comfy.utils"
    NODES = "nodes"
    ARGUMENTS = "comfy.cli_args"


def comfyui(module: ComfyModule) -> Any:
    """A module of ComfyUI.

    Raises:
        ImportError: this is no ComfyUI.
    """
    return importlib.import_module(module.value)


def webui(module: Module) -> Any:
    """A module of the WebUI.

    Raises:
        ImportError: it has none, or not under any of the names.
    """
    *newer, last = module.value
    for name in newer:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return importlib.import_module(last)


def offers(module: Module) -> bool:
    """Whether the WebUI has a module; looked for without loading anything that is not."""
    return any(map(_there, module.value))


def _there(name: str) -> bool:
    if name in sys.modules:
        return True
    parent = name.rpartition(".")[0]
    if parent and not _there(parent):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):  # a parent that is no package, or half loaded
        return False
