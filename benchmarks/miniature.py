"""What a miniature reaches, and what each of the engine's shortcuts costs on it.

    python benchmarks/miniature.py MINIATURE --sheet sheet.png
    python benchmarks/miniature.py MINIATURE --shortcuts --clips 6
    python benchmarks/miniature.py MINIATURE --curves curves.svg

MINIATURE is a folder of `sonic train miniature`, with MINIATURE.training beside it. Voices that nothing was
learned from are said by faces that were learned from, and by faces that were not, and drawn by the engine's
own code. Prints Markdown. Needs torch, diffusers and transformers.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sonic_ext import weights
from sonic_ext.engines.sonic.profile import profile_of
from sonic_ext.engines.sonic.sampler import Sampler
from sonic_ext.engines.sonic.settings import DiffusionSettings
from sonic_ext.evaluation.plots import standalone, svg
from sonic_ext.progress import Stage
from sonic_ext.settings import PRESETS, Settings
from sonic_ext.train.corpus.sounds import recordings
from sonic_ext.train.miniature.codec import pixels, psnr
from sonic_ext.train.miniature.footage import FootageClip
from sonic_ext.train.miniature.identities import read_faces
from sonic_ext.train.miniature.judging import clip_figures, drawn_clip, judge, reached, sheet, spoken_clips
from sonic_ext.train.miniature.recipe import STAGES

SHORTCUTS: Mapping[str, Mapping[str, Any]] = {
    "exact, 25 steps": {"inference_steps": 25},
    "15 steps": {"inference_steps": 15},
    "10 steps": {"inference_steps": 10},
    "6 steps": {"inference_steps": 6},
    "4 steps": {"inference_steps": 4},
    "2 steps": {"inference_steps": 2},
    "null_branch, 25 steps": {"inference_steps": 25, "shortcuts": "null_branch"},
    "deep_features, 25 steps": {"inference_steps": 25, "shortcuts": "deep_features"},
    "both, 25 steps": {"inference_steps": 25, "shortcuts": "both"},
    "both, interval 5, 25 steps": {"inference_steps": 25, "shortcuts": "both", "cache_interval": 5},
    "deep_features, interval 3, 25 steps": {
        "inference_steps": 25,
        "shortcuts": "deep_features",
        "cache_interval": 3,
    },
    "deep_features, interval 10, tolerance 0.1, 25 steps": {
        "inference_steps": 25,
        "shortcuts": "deep_features",
        "cache_interval": 10,
        "cache_tolerance": 0.1,
    },
    "even windows, 25 steps": {"inference_steps": 25, "windows": "even"},
    "deep_features, interval 3, widening, 25 steps": {
        "inference_steps": 25,
        "shortcuts": "deep_features",
        "cache_interval": 3,
        "cache_spacing": "widening",
    },
    **{
        f"{schedule}, {solver}, {steps} steps": {
            "inference_steps": steps,
            "schedule": schedule,
            "solver": solver,
        }
        for steps in (10, 6, 4)
        for schedule in ("karras", "align_your_steps")
        for solver in ("euler", "dpmpp_2m", "unipc")
        if (schedule, solver) != ("karras", "euler")
    },
    "image guidance from 0.5 to 100, 25 steps": {
        "inference_steps": 25,
        "image_guidance_interval": [0.5, 100.0],
    },
    "audio guidance from 1 to 100, 25 steps": {
        "inference_steps": 25,
        "audio_guidance_interval": [1.0, 100.0],
    },
    **{preset: {**PRESETS[preset], "min_resolution": 512} for preset in ("balanced", "fast", "draft")},
    "fp8, 25 steps": {"inference_steps": 25, "precision": "fp8"},
    "int8, 25 steps": {"inference_steps": 25, "precision": "int8"},
    "bf16, 25 steps": {"inference_steps": 25, "precision": "bf16"},
    "frames decoded one by one, 25 steps": {"inference_steps": 25, "decoder": "image"},
}
"""The first is what the others are compared with."""


CURVE_POINTS = 40
"""Of a drawn loss."""
TRIES = 60
"""Voices and lines of which those with the most long p, b and m are taken, where closures are asked for."""


class UNetTime:
    """A `Tick` with the processor's clock while the UNet works: the machine may have other work, too."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: float | None = None

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        """See `progress.Tick`."""
        now = time.process_time()
        if self._last is not None:
            self.seconds += now - self._last
        self._last = now if stage is Stage.DENOISING and done < total else None


def clips_of(miniature: Path, count: int, seconds: float, tries: int = 1) -> dict[str, list[FootageClip]]:
    """Group → clips that say what nothing was learned from."""
    training = miniature.with_name(miniature.name + ".training")
    files = recordings(training / "other-voices")
    faces = {"known faces": "footage", "other faces": "held-out"}
    return {
        group: spoken_clips(
            read_faces(training / f"{name}-faces.safetensors"), files, count, seconds, 41, tries
        )
        for group, name in faces.items()
    }


def table(columns: Sequence[str], rows: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown of row → column → figure."""
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for name, figures in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{figures[column]:.3f}' for column in columns)} |")
    return "\n".join(lines)


def mean_of(figures: Sequence[float]) -> float:
    """Of those that are numbers; nan where none is."""
    numbers = [each for each in figures if np.isfinite(each)]
    return float(np.mean(numbers)) if numbers else float("nan")


def show(text: str) -> None:
    """A line on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def reach(
    miniature: Path, groups: Mapping[str, Sequence[FootageClip]], steps: int, picture: Path | None
) -> None:
    """Print the figures of each group; the sheet has footage above and what was drawn below."""
    found, judged = {}, []
    for group, clips in groups.items():
        show(group)
        each = judge(miniature, clips, lambda *_: None, steps)
        found[group] = reached(each)
        judged += each[:4]
    whats = [*next(iter(found.values()))]
    print(table([*found], {what: {group: found[group][what] for group in found} for what in whats}))
    if picture is not None:
        cv2.imwrite(str(picture), cv2.cvtColor(sheet(judged, columns=14, every=4), cv2.COLOR_RGB2BGR))


def judge_shortcuts(miniature: Path, clips: Sequence[FootageClip], wanted: Sequence[str]) -> None:
    """Print work, time, figures, and the difference of pictures and mouths from the first, row by row.

    Args:
        wanted: beginnings of the names in `SHORTCUTS` that are judged.
    """
    exact: list[NDArray[np.uint8]] = []
    first_work = first_seconds = 0.0
    profile = profile_of(weights.Search.alone(miniature))
    for name, values in SHORTCUTS.items():
        if exact and not name.startswith(tuple(wanted)):
            continue
        show(name)
        settings = Settings().with_values(values)
        clock, frames = UNetTime(), []
        for number, clip in enumerate(clips):
            steps = values["inference_steps"]
            frames.append(drawn_clip(miniature, clip, steps, number, settings, clock))
        work = Sampler.of(DiffusionSettings.of(settings), profile).branch_calls
        first_work, first_seconds = first_work or work, first_seconds or clock.seconds
        figures = [clip_figures(miniature, clip, each) for clip, each in zip(clips, frames, strict=True)]
        told = ("mouth, r", "sync confidence", "long p, b, m shut", "identity", "jitter", "dB")
        row = {
            "work of the UNet": work / first_work,
            "its processor time": clock.seconds / first_seconds,
            "dB to exact": float(
                np.mean([psnr(pixels(a), pixels(b)) for a, b in zip(frames, exact or frames, strict=True)])
            ),
            **{what: mean_of([each[what] for each in figures]) for what in told},
        }
        lines = table([*row], {name: row}).splitlines()
        print("\n".join(lines[-1:] if exact else lines), flush=True)
        exact = exact or frames


def losses_of(miniature: Path) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Stage and loss, and its value at every step, as the training kept them for TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = miniature.with_name(miniature.name + ".training") / "curves"
    for stage in (each for each in STAGES if (curves / each).is_dir()):
        events = EventAccumulator(str(curves / stage), size_guidance={"scalars": 0})
        events.Reload()
        for loss in events.Tags()["scalars"]:
            yield f"{stage}: {loss}", np.array([each.value for each in events.Scalars(loss)])


def draw_curves(miniature: Path) -> str:
    """SVG: every loss by its steps, medians of `CURVE_POINTS` parts, each on a scale of its own from 0."""
    width, height, columns, room = 250, 110, 4, 34
    parts = []
    found = list(losses_of(miniature))
    for number, (name, values) in enumerate(found):
        medians = [float(np.median(part)) for part in np.array_split(values, CURVE_POINTS)]
        left, top = number % columns * (width + room) + room, number // columns * (height + 2 * room) + room
        points = " ".join(
            f"{left + width * place / (CURVE_POINTS - 1):.1f},{top + height * (1 - each / max(medians)):.1f}"
            for place, each in enumerate(medians)
        )
        said = f"{medians[0]:.2g} to {medians[-1]:.2g} in {len(values)} steps"
        parts.append(
            f'<text x="{left}" y="{top - 10}">{name}</text>'
            f'<text x="{left}" y="{top + height + 16}">{said}</text>'
            f'<path d="M{left} {top}v{height}h{width}"/><polyline points="{points}"/>'
        )
    across, down = columns * (width + room) + room, math.ceil(len(found) / columns) * (height + 2 * room)
    style = (
        "text{font:12px sans-serif;fill:#1b1d23}path{stroke:#c5c9d3;fill:none}"
        "polyline{stroke:#1b1d23;fill:none;stroke-width:1.5}"
    )
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    return standalone(svg(across, down, ground + "".join(parts), "Losses"), style)


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("miniature", type=Path, help="folder of the weights")
    parser.add_argument("--clips", type=int, default=14, help="of each group")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each clip, 12.5 frames a second")
    parser.add_argument("--steps", type=int, default=10, help="of inference")
    parser.add_argument("--sheet", type=Path, help="PNG of footage and what was drawn")
    parser.add_argument("--curves", type=Path, help="SVG of the losses, instead; needs tensorboard")
    parser.add_argument("--shortcuts", action="store_true", help="judge the engine's shortcuts instead")
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of names of shortcuts")
    parser.add_argument("--closures", action="store_true", help="clips with many long p, b and m")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.curves:
        arguments.curves.write_text(draw_curves(arguments.miniature.absolute()), encoding="utf-8")
        return
    tries = TRIES if arguments.closures else 1
    groups = clips_of(arguments.miniature.absolute(), arguments.clips, arguments.seconds, tries)
    if arguments.shortcuts:
        judge_shortcuts(arguments.miniature.absolute(), groups["other faces"], arguments.only)
    else:
        reach(arguments.miniature.absolute(), groups, arguments.steps, arguments.sheet)


if __name__ == "__main__":
    main()
