"""Sets of weights that ship with the extension, each in a folder of its own.

assets/models/NAME/PART/PART.safetensors   and a config.json where shapes do not tell everything
assets/models/NAME/engine.json             what the engine has to know of them, and their origin
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import MissingPart

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "models"
ABOUT = "engine.json"
"""In the folder of a set."""


def part_file(name: str, part: str) -> Path:
    """Where a part of a set lies."""
    return FOLDER / name / part / f"{part}.safetensors"


@cache
def about(name: str) -> dict[str, Any]:
    """What a set says of itself.

    Raises:
        MissingPart: its file is missing or damaged.
    """
    path = FOLDER / name / ABOUT
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingPart(f"{path} is missing or damaged.", "Install the extension anew.") from error
    return found
