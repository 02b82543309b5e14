"""The toy engine's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sonic_ext.fields import Affects, EngineSettings, setting


@dataclass(frozen=True)
class ToySettings(EngineSettings):
    """How it shifts."""

    sections: ClassVar[Mapping[str, str]] = {"toy": "Toy engine"}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quality": {"toy_reach": 9}}

    toy_reach: int = setting(
        4,
        "Reach",
        "Pixels that the toy engine shifts the picture by.",
        Affects.LATENTS,
        group="toy",
        low=0,
        high=16,
    )
