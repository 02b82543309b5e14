"""Complete sets of weights that are no published ones, each in a folder of its own.

DIR/PART/PART.safetensors   and a config.json where shapes do not tell everything
DIR/engine.json             what the engine has to know of them, and their origin
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import MissingPart

ABOUT = "engine.json"
"""In the folder of a set."""
MINIATURE = Path(__file__).parents[1] / "assets" / "miniature"
"""The set that comes with this package, `sonic train miniature` made it."""


def part_file(folder: Path, part: str) -> Path:
    """Where a part of a set lies."""
    return folder / part / f"{part}.safetensors"


def about(folder: Path) -> dict[str, Any]:
    """What a set says of itself.

    Raises:
        MissingPart: its file is missing or damaged.
    """
    path = folder / ABOUT
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingPart(f"{path} is missing or damaged.", "Train it anew, or copy it whole.") from error
    return found
