"""Forecasts heed how fast this computer is just now."""

from __future__ import annotations

import pytest

from sonic_ext.engines.preview import engine, pace
from sonic_ext.engines.preview.engine import PreviewEngine
from sonic_ext.media.scene import Scene
from sonic_ext.settings import Settings


def test_looking_takes_a_moment() -> None:
    assert 0 < pace.slowness() < 1000


def test_half_the_work_done_is_twice_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_work_until", lambda _: 1)
    times = iter((0.0, 2 * pace.THREADS / pace.REFERENCE) * 2)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(pace.os, "cpu_count", lambda: 16)
    assert pace.slowness() == pytest.approx(2.0)


def test_the_forecast_is_as_much_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        width = height = 256
        second, faces = None, (None,)

    told = []
    for slowness in (1.0, 3.0):
        monkeypatch.setattr(engine, "slowness", lambda factor=slowness: factor)
        scene: Scene = Small()  # type: ignore[assignment]
        told.append(PreviewEngine().forecast(scene, Settings(), 100).seconds)
    assert told[1] == pytest.approx(3 * told[0])
