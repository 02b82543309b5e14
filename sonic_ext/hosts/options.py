"""The settings page *Sonic* of a WebUI, and what its values mean."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECTION = ("sonic", "Sonic")
OUTPUTS = "sonic_outputs"
SAVE_PORTRAITS = "sonic_save_portraits"


def add() -> None:
    """Called by the WebUI when it makes its settings page."""


def outputs() -> Path:
    """Folder for exported videos, by the user's pattern."""
    data = Path(importlib.import_module("modules.paths_internal").data_path)
    return data / "outputs" / "sonic"


def saves_portraits() -> bool:
    """Whether portraits are saved among the WebUI's other pictures."""
    return bool(_value(SAVE_PORTRAITS, False))


def defaults() -> Mapping[str, Any]:
    """The user's defaults, by the names of `Settings`."""
    return {}


def _value(name: str, otherwise: Any) -> Any:
    return getattr(importlib.import_module("modules.shared").opts, name, otherwise)
