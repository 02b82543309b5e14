"""Lip sync on the page, through the handlers of the Verify tab; the measurement is stood in for."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_sync import measured_as, report, track
from patience import PATIENCE

gradio = pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")

from sonic_ext.app.tasks import BackgroundTasks, TabKey  # noqa: E402
from sonic_ext.app.verify_view import VerifyView  # noqa: E402
from sonic_ext.errors import BadAudio  # noqa: E402
from sonic_ext.hosts.standalone import Standalone  # noqa: E402
from sonic_ext.progress import Stage  # noqa: E402
from sonic_ext.provenance import isolated  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries


@pytest.fixture
def view(tmp_path: Path) -> Iterator[VerifyView]:
    tasks = BackgroundTasks()
    with gradio.Blocks():
        yield VerifyView(Standalone(tmp_path / "out"), tasks)
    tasks.stop_all()


@pytest.fixture
def video(tmp_path: Path) -> str:
    file = tmp_path / "clip <b>.mp4"
    file.write_bytes(b"read by nobody")
    return str(file)


def _told(view: VerifyView, given: Any) -> str:
    *_, last = view.read_sync(TabKey(), given)
    return str(last[view.sync])


@pytest.mark.parametrize(
    ("offset", "confidence", "kind", "words"),
    [
        (0.08, 0.93, "warning", "The mouth comes 80 ms after the voice (confidence 0.93)."),
        (0.01, 0.93, "good", "Mouth and voice agree"),
        (0.08, 0.3, "note", "which is not sure"),
        (math.nan, 0.0, "note", "could not be measured"),
    ],
)
def test_offset_confidence_and_chart(
    view: VerifyView,
    video: str,
    monkeypatch: pytest.MonkeyPatch,
    offset: float,
    confidence: float,
    kind: str,
    words: str,
) -> None:
    found = report(track(offset, confidence, note="Why <i>." if math.isnan(offset) else ""))
    asked = measured_as(monkeypatch, found)
    told = _told(view, video)
    assert f"sonic-banner sonic-{kind}" in told
    assert words in told
    assert 'lang="zh-CN"' in told
    assert '<img class="sonic-chart" src="data:image/png;base64,' in told
    assert ("Why &lt;i&gt;." in told) == math.isnan(offset)
    assert asked == [Path(video)]


def test_without_a_file(view: VerifyView) -> None:
    assert "Add a video in which somebody speaks." in _told(view, None)


def test_errors_are_told(view: VerifyView, video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_as(monkeypatch, BadAudio("clip is a video without sound.", "Give a file with speech in it."))
    told = _told(view, video)
    assert "sonic-error" in told and "a video without sound" in told and "img" not in told


def test_no_video_is_told_by_the_real_reader(view: VerifyView, video: str) -> None:
    """In a process of its own."""
    told = _told(view, video)
    assert "sonic-error" in told and "clip &lt;b&gt;.mp4" in told


def test_without_its_file_the_measurement_ends(
    view: VerifyView, video: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def call(work: Any, given: Any, *, tick: Any, **_: Any) -> dict[str, Any]:
        try:
            while True:
                begun.set()
                tick(Stage.READING, 0, 1)
        finally:
            ended.set()

    measured_as(monkeypatch, report(track()))
    monkeypatch.setattr(isolated, "call", call)
    tab = TabKey()
    steps = view.read_sync(tab, video)
    assert "sonic-progress" in next(steps)[view.sync]
    assert "sonic-progress" in next(steps)[view.sync]
    assert begun.wait(PATIENCE)
    assert view.forget(tab)[view.sync] == ""
    assert ended.wait(PATIENCE)
    assert list(steps)[-1][view.sync] == gradio.update()
