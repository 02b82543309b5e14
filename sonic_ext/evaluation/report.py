"""What came of an evaluation: `evaluation.csv`, `evaluation.json` and a page of plots, replaced whole.

File names, errors and whatever else strangers wrote stay text: no formula in the table, no markup.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import BadOutput, error_values
from ..files.atomic import replace_files
from ..text import table_cell, whole
from .folder import EvaluatedVideo, Evaluation, FolderComparison
from .metrics import METRICS
from .page import as_html
from .statistics import MeanInterval

NAMES = ("evaluation.csv", "evaluation.json", "evaluation.html")
FORMAT = "sonic evaluation 1"
"""By which a report of ours is known again."""
RESULTS = "results"
"""Folder beside the report with what was measured of each video."""


def require_ours(folder: Path, overwrite: bool) -> None:
    """Refuse to replace reports that somebody else wrote.

    Raises:
        BadOutput: there is such a file, and `overwrite` is not set.
    """
    there = [name for name in NAMES if (folder / name).exists()]
    if there and not overwrite and not _is_ours(folder / "evaluation.json"):
        raise BadOutput(
            f"{folder / there[0]} is there already and is no report of an earlier evaluation.",
            "Choose another folder, or allow overwriting (--overwrite).",
        )


def write(
    folder: Path, evaluations: Sequence[Evaluation], comparison: FolderComparison | None = None
) -> tuple[Path, ...]:
    """Write all three files; where they are.

    Args:
        folder: where to; it is there.
        evaluations: the folder that was measured, and the one that it is compared with.
        comparison: of both.

    Raises:
        BadOutput: one of them cannot be written.
    """
    written = datetime.now(timezone.utc).isoformat(timespec="seconds")
    values = as_values(evaluations, comparison) | {"written": written}
    texts = (
        as_csv(evaluations),
        json.dumps(values, indent=1, allow_nan=False).encode(),
        as_html(evaluations, comparison, written),
    )
    return replace_files(folder, dict(zip(NAMES, texts, strict=True)))


def as_csv(evaluations: Sequence[Evaluation]) -> bytes:
    """A row for each video; empty where something was not measured. Units: seconds, and those of the JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = [metric.name for metric in METRICS]
    writer.writerow(["folder", "video", "seconds", "frames", "seen", *names, "notes", "error"])
    for each in evaluations:
        for video in each.videos:
            figures = video.figures
            about = [round(figures.seconds, 3), figures.frames, figures.seen] if figures else ["", "", ""]
            numbers = [f"{value:.6g}" if math.isfinite(value) else "" for value in map(video.value, names)]
            said = [" ".join(figures.notes) if figures else "", str(video.error or "")]
            writer.writerow(
                [
                    table_cell(each.folder.name),
                    table_cell(video.name),
                    *about,
                    *numbers,
                    *map(table_cell, said),
                ]
            )
    return text.getvalue().encode("utf-8-sig", "replace")


def as_values(evaluations: Sequence[Evaluation], comparison: FolderComparison | None) -> dict[str, Any]:
    """All of it as plain JSON, in units of the values themselves; null where something was not measured."""
    metrics = {
        metric.name: {
            "label": metric.label,
            "group": metric.group.value,
            "help": metric.help,
            "people": metric.people and [*metric.people],
            "ideal": metric.ideal,
        }
        for metric in METRICS
    }
    values: dict[str, Any] = {"format": FORMAT, "version": __version__, "metrics": metrics}
    values["folders"] = [
        {
            "folder": whole(str(each.folder)),
            "measured": len(each.videos) - len(each.failed),
            "failed": len(each.failed),
            "summary": {name: _interval(interval) for name, interval in each.summary().items()},
            "videos": [_video(video) for video in each.videos],
        }
        for each in evaluations
    ]
    values["comparison"] = _comparison(comparison) if comparison else None
    return values


def _video(video: EvaluatedVideo) -> dict[str, Any]:
    return {
        "video": whole(video.name),
        "sha256": video.sha256,
        "figures": video.figures.as_json() if video.figures else None,
        "error": error_values(video.error) if video.error else None,
    }


def _comparison(comparison: FolderComparison) -> dict[str, Any]:
    return {
        "pairs": [*map(whole, comparison.names)],
        "only_first": [*map(whole, comparison.only_first)],
        "only_second": [*map(whole, comparison.only_second)],
        "differences": {
            name: {
                **_interval(found.difference),
                "more": found.more,
                "less": found.less,
                "sign_test": found.sign,
                "signed_ranks": found.ranks,
                "deviation": found.deviation if math.isfinite(found.deviation) else None,
                "adjusted": comparison.adjusted[name],
            }
            for name, found in comparison.differences.items()
        },
    }


def _interval(interval: MeanInterval) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(interval).items()}


def _is_ours(path: Path) -> bool:
    try:
        return path.is_file() and json.loads(path.read_bytes()).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return False
