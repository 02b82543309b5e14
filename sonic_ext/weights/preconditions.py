"""What keeps this computer from bringing weights: a library that lacks, the user's word, a full disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ..errors import MissingPart

YES = ("1", "ON", "YES", "TRUE")


@dataclass(frozen=True)
class Obstacle:
    """Something that cannot be done here."""

    task: Literal["fetch", "convert"]
    error: MissingPart
    """What it would end with."""

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"task": self.task, "detail": self.error.message, "hint": self.error.hint}


def obstacles() -> tuple[Obstacle, ...]:
    """Those of this computer, as far as they are seen without asking anybody."""
    known = (
        (find_spec("httpx") is None, Obstacle("fetch", no_httpx())),
        (offline(), Obstacle("fetch", forbidden())),
        (find_spec("torch") is None, Obstacle("convert", no_torch())),
    )
    return tuple(each for here, each in known if here)


def no_httpx() -> MissingPart:
    """What speaks with the Hub is missing."""
    return MissingPart(
        "Weights are fetched with httpx, which is not installed.",
        'Bring it with: python -m pip install "httpx>=0.24"',
    )


def forbidden() -> MissingPart:
    """The user does not want the Hub to be asked."""
    return MissingPart("HF_HUB_OFFLINE forbids to ask the Hub.", "Unset it, then start this program again.")


def no_torch() -> MissingPart:
    """What turns pickles into safetensors is missing."""
    return MissingPart(
        "A pickle can be converted only with PyTorch, which is not installed.",
        'Bring it with: python -m pip install "sonic-ext[sonic]"',
    )


def offline() -> bool:
    """Whether $HF_HUB_OFFLINE forbids to ask."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in YES


def free_bytes(folder: Path) -> int | None:
    """Room where a folder is or will be; None where that cannot be told."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.is_dir()), None)
    try:
        return shutil.disk_usage(there).free if there else None
    except OSError:
        return None
