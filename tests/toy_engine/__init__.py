"""A third engine: one folder, and one line in `engines.registry.ENGINES`. It shifts the portrait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sonic_ext.engines.spec import EngineSpec
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


@dataclass(frozen=True)
class ToyAnimation:
    """See `ports.Animation`."""

    picture: np.ndarray
    count: int
    reach: int
    seed: int
    warnings: tuple[str, ...]

    def frames(self) -> Iterator[np.ndarray]:
        """See `ports.Animation.frames`."""
        for index in range(self.count):
            yield np.roll(self.picture, index % (self.reach + 1), axis=1)

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


class ToyEngine:
    """See `ports.Engine`."""

    name = "toy"
    size_multiple = 2
    head_motion = 1.0

    def __init__(self, notes: tuple[str, ...]) -> None:
        self._notes = notes

    def prepare(
        self, scene: Any, speech: Any, settings: Any, count: int, seed: int, tick: Any
    ) -> ToyAnimation:
        """See `ports.Engine.prepare`."""
        return ToyAnimation(scene.picture, count, ToySettings.of(settings).toy_reach, seed, self._notes)

    def forecast(self, scene: Any, settings: Any, count: int) -> Any:
        """See `ports.Engine.forecast`."""
        from sonic_ext.ports import Forecast

        return Forecast(count / 100, 10**8)


def probe(context: Any) -> Any:
    """See `EngineSpec.probe`."""
    from sonic_ext.engines.context import Readiness

    return Readiness()


def make(context: Any) -> ToyEngine:
    """See `EngineSpec.make`."""
    return ToyEngine(context.notes)


SPEC = EngineSpec("toy", probe, make, ToySettings)
