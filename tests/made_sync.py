"""Reports of lip sync as a measurement gives them, made of curves."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from sonic_ext.errors import SonicError
from sonic_ext.media.geometry import Box
from sonic_ext.progress import Silent, Stage, Tick, Ticker
from sonic_ext.provenance import isolated
from sonic_ext.sync.mouth import FEATURES, MouthMotion
from sonic_ext.sync.report import SyncReport, TrackSync

FPS = 25
LAGS = np.linspace(-0.3, 0.3, 31)


def _loudness(seconds: float) -> NDArray[np.float32]:
    times = np.arange(round(50 * seconds)) / 50
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * times) * (0.6 + 0.4 * np.sin(5.3 * times)), 0, 1)
    return np.asarray(syllables * (np.sin(0.9 * times) > -0.6), np.float32)


def track(
    offset: float = 0.08,
    confidence: float = 0.93,
    start: float = 0.0,
    end: float = 8.2,
    note: str = "",
    seed: int = 0,
) -> TrackSync:
    """A face whose mouth follows the sound by `offset`; nan is one that could not be measured."""
    draw = np.random.default_rng(seed)
    shown = (np.arange(round(start * FPS), round(end * FPS)) + 0.5) / FPS
    late = offset if math.isfinite(offset) else 0.0
    loud = _loudness(60.0)
    opening = np.interp(shown - late, np.arange(len(loud)) / 50, loud) * 0.4 + 0.02 * draw.random(len(shown))
    geometry = np.tile(opening[:, None], (1, len(FEATURES))).astype(np.float32)
    geometry[len(shown) // 3 : len(shown) // 3 + 4] = np.nan
    times = np.arange(start + 0.5, end - 0.49, 0.2) if math.isfinite(offset) else np.zeros(0)
    drift = 0.02 * draw.standard_normal(len(times))
    sure = 0.35 + 0.6 * draw.random(len(times))
    near = np.exp(-(((LAGS[None] - late - drift[:, None]) / 0.05) ** 2))
    ripple = 0.12 * np.cos(2 * np.pi * (LAGS[None] - late) * 3.1)
    scores = (sure[:, None] * near + ripple - 0.1).astype(np.float32)
    return TrackSync(
        start,
        end,
        Box(40, 30, 210, 230),
        offset,
        confidence,
        note,
        MouthMotion(shown, geometry),
        times,
        scores,
    )


def report(*tracks: TrackSync, seconds: float = 8.2, warnings: tuple[str, ...] = ()) -> SyncReport:
    """A video with these faces."""
    return SyncReport(seconds, 25.0, round(25 * seconds), LAGS, _loudness(seconds), tracks, warnings)


def measured_as(patch: pytest.MonkeyPatch, found: SyncReport | SonicError) -> list[Path]:
    """Stand in for the measurement, in this process; the files that it is asked about."""
    asked: list[Path] = []

    def measure_sync(path: Path, tick: Tick | None = None, network: object = None) -> SyncReport:
        asked.append(Path(path))
        if tick is not None:
            tick(Stage.READING, 1, 2)
        if isinstance(found, SonicError):
            raise found
        return found

    module = ModuleType("sonic_ext.sync.measure")
    module.__dict__["measure_sync"] = measure_sync
    patch.setitem(sys.modules, module.__name__, module)

    def call(work: isolated.Work, given: dict[str, object], **rest: object) -> dict[str, object]:
        return work(**given, tick=rest.get("tick") or Ticker(Silent()))

    patch.setattr(isolated, "call", call)
    return asked
