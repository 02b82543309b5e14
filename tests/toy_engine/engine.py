"""Shifts the portrait. What is heavy is imported here, not beside the settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sonic_ext.engines.context import Readiness
from sonic_ext.ports import Forecast
from sonic_ext.progress import Stage

from .settings import ToySettings


@dataclass(frozen=True)
class ToyAnimation:
    """See `ports.Animation`."""

    picture: np.ndarray
    count: int
    reach: int
    seed: int
    warnings: tuple[str, ...]
    stage = Stage.DRAWING

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
        return Forecast(count / 100, 10**8)


def probe(context: Any) -> Any:
    """See `EngineSpec.probe`."""
    return Readiness()


def make(context: Any) -> ToyEngine:
    """See `EngineSpec.make`."""
    return ToyEngine(context.notes)
