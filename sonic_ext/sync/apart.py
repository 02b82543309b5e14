"""Measures the lip sync of strangers' videos in a process of its own, within the bounds of a verification."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ..errors import BadVideo
from ..media.boxes import check_bounds
from ..media.container import check_file
from ..progress import Stage, Tick
from ..provenance import isolated
from ..provenance.verify import time_limit
from .verdict import verdict_values

MOST_TRACKS, MOST_WINDOWS = 100, 2000
"""Faces that an answer tells of, the longest, and windows of all of them; the chart is made of all."""


def measured_apart(path: Path, tick: Tick | None = None, name: str = "") -> dict[str, Any]:
    """Lip sync of a video as JSON values: those of the report, what they amount to, and the chart.

    Args:
        path: any file.
        tick: told of the steps; may stop it.
        name: of the video in the chart; that of the file by default.

    Returns:
        `SyncReport.values`, `verdict.verdict_values`, and `chart`, a PNG as a data URL.

    Raises:
        BadVideo: no video, or it cannot be read, or not within the bounds of time, memory and boxes.
        BadAudio: it has no sound.
        Cancelled: from `tick`.
    """
    shown = name or path.name
    given = {"path": str(path), "name": shown}
    return isolated.call(measure, given, name=shown, seconds=time_limit(path), tick=tick, stage=Stage.READING)


def measure(path: str, name: str, tick: Tick) -> dict[str, Any]:
    """What `measured_apart` runs elsewhere."""
    from .chart import chart_png
    from .measure import measure_sync

    file = Path(path)
    check_file(file, BadVideo, "video")
    try:
        check_bounds(file)
    except OSError as error:
        raise BadVideo(f"{file} cannot be read: {error.strerror or error}.", "Check the file.") from error
    report = measure_sync(file, tick)
    picture = base64.b64encode(chart_png(report, name)).decode()
    return {
        **verdict_values(report),
        **report.values(MOST_TRACKS, MOST_WINDOWS),
        "chart": f"data:image/png;base64,{picture}",
    }
