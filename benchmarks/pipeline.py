"""Figures of the whole way, from command to exported file: `python benchmarks/pipeline.py [--quick]`.

Prints, for the shipped example: seconds from command to exported file for 10 s of speech; where the time
goes, stage by stage; how peak memory grows with the length of the speech; how long importing takes. Longer
speech is the example's, over and over. Every command is a process of its own with an empty private store.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sonic_ext import engines
from sonic_ext.media.audio import Speech, read_speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import Scene, compose
from sonic_ext.media.video import VideoWriter
from sonic_ext.pipeline import frame_count
from sonic_ext.progress import Stage
from sonic_ext.provenance.labels import VisibleLabel
from sonic_ext.provenance.stamp import PreviewStamp, preview_size
from sonic_ext.provenance.watermark import marker
from sonic_ext.settings import Settings
from sonic_ext.sync.calibration import MEASURED_SECONDS, Calibration

EXAMPLE = Path(__file__).resolve().parent.parent / "sonic_ext" / "assets" / "example"
PORTRAIT, SPEECH = EXAMPLE / "portrait.jpg", EXAMPLE / "speech.wav"
FPS = 25
CONSENT = ("--consent-face", "synthetic", "--consent-voice", "synthetic")
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
print(used.ru_maxrss * unit, used.ru_utime + used.ru_stime, file=sys.stderr)
sys.exit(code)
"""
"""Runs a command; prints the peak of its resident memory in bytes and the seconds of processor it took."""


@dataclass(frozen=True)
class Run:
    """One command from start to end."""

    seconds: float
    """Wall clock."""
    peak: int
    """Peak resident memory in bytes."""
    cpu: float
    """Seconds of processor, all threads."""


def quiet(stage: Stage, done: int, total: int, detail: str = "") -> None:
    """A `Tick` that shows nothing."""


def looped(path: Path, seconds: float) -> Path:
    """The example's speech over and over, `seconds` long, as a wav."""
    with wave.open(str(SPEECH)) as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        samples = source.readframes(source.getnframes())
        left = round(seconds * source.getframerate()) * source.getsampwidth() * source.getnchannels()
        while left > 0:
            target.writeframes(samples[:left])
            left -= len(samples)
    return path


def command(folder: Path, seconds: float) -> Run:
    """`sonic animate` of `seconds` of speech with default settings, exported."""
    audio, output = looped(folder / f"{seconds:g}.wav", seconds), folder / f"{seconds:g}.mp4"
    words = [sys.executable, "-m", "sonic_ext", "animate", str(PORTRAIT), str(audio), "-o", str(output)]
    environment = os.environ | {"SONIC_HOME": str(folder / f"home-{seconds:g}")}
    began = time.perf_counter()
    words = [sys.executable, "-c", PEAK, *words, *CONSENT]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    spent = time.perf_counter() - began
    if done.returncode or not output.is_file():
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    peak, cpu = done.stderr.splitlines()[-1].split()
    return Run(spent, int(peak), float(cpu))


class Clock:
    """Adds up the seconds spent in each stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def run(self, stage: str, work: Callable[..., Any], *values: Any) -> Any:
        """`work(*values)`, its time added to `stage`."""
        began = time.perf_counter()
        result = work(*values)
        self.spent[stage] = self.spent.get(stage, 0.0) + time.perf_counter() - began
        return result


@dataclass(frozen=True)
class Split:
    """Where the time of a video goes."""

    once: dict[str, float]
    """Seconds for what is done once."""
    each: dict[str, float]
    """Seconds for what is done for each frame, all frames together."""
    frames: int


def split(folder: Path, seconds: float, size: int) -> Split:
    """The pipeline's own stages in its own order, one after the other, each timed."""
    once, settings = Clock(), Settings(min_resolution=size, seed=1)
    path = looped(folder / "split.wav", seconds)
    engine = engines.choose("preview")
    speech: Speech = once.run("read the speech", read_speech, path, quiet)
    portrait = once.run("read the portrait", read_portrait, PORTRAIT)
    scene: Scene = once.run("find and fit the face", compose, portrait, settings, engine.size_multiple, quiet)
    count = frame_count(speech.length, FPS)
    animation = once.run("prepare the engine", engine.prepare, scene, speech, settings, count, 1, quiet)
    each = Clock()
    with (
        VideoWriter(folder / "split-master.mp4", scene.width, scene.height, FPS, speech) as video,
        _preview_writer(folder, scene, speech) as small,
    ):
        _frames(each, animation.frames(), scene, settings, video, small)
    return Split(once.spent, each.spent, count)


def _preview_writer(folder: Path, scene: Scene, speech: Speech) -> VideoWriter:
    return VideoWriter(folder / "split-preview.mp4", *preview_size(scene.width, scene.height), FPS, speech)


def _frames(
    clock: Clock,
    drawn: Iterator[np.ndarray],
    scene: Scene,
    settings: Settings,
    video: VideoWriter,
    small: VideoWriter,
) -> None:
    size, face_range = (scene.width, scene.height), scene.face_range(settings.motion_scale)
    label = VisibleLabel(settings, *size, FPS, face_range)
    stamp = PreviewStamp(settings, scene.face, face_range, *size, FPS)
    mark, small_mark = marker(1, *size, FPS), marker(1, stamp.width, stamp.height, FPS)
    sync = Calibration(scene.face, np.zeros(round(MEASURED_SECONDS * FPS)), FPS)
    index = 0
    while (frame := clock.run("draw", next, drawn, None)) is not None:
        frame = clock.run("copy", frame.copy)
        clock.run("measure lip sync", sync.see, frame)
        stamped = clock.run("convert", _i420, clock.run("stamp", stamp.frame, frame, index))
        clock.run("watermark of the preview", small_mark.embed, stamped, index)
        clock.run("encode preview", small.write, stamped)
        clock.run("label", label.draw, frame, index)
        planes = clock.run("convert", _i420, frame)
        clock.run("watermark", mark.embed, planes, index)
        clock.run("encode master", video.write, planes)
        index += 1


def _i420(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)


def import_seconds(statement: str, repeats: int = 5) -> float:
    """Median seconds that a fresh Python needs for the statement, beyond starting."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    words = [sys.executable, "-c", code]
    runs = (subprocess.run(words, capture_output=True, text=True, check=True) for _ in range(repeats))
    return float(np.median([float(run.stdout) for run in runs]))


def print_commands(folder: Path, long: float) -> dict[str, float]:
    """Seconds and memory of whole commands."""
    command(folder, 1)  # fills the system's file cache
    (folder / "1.mp4").unlink()
    short, far = command(folder, 10), command(folder, long)
    print(f"{'speech':>8}  {'seconds':>8}  {'of processor':>12}  {'× real time':>11}  {'peak memory':>11}")
    for length, run in ((10.0, short), (long, far)):
        speed, memory = length / run.seconds, run.peak / 1e6
        print(f"{length:6.0f} s  {run.seconds:8.1f}  {run.cpu:12.1f}  {speed:11.2f}  {memory:8.0f} MB")
    print(f"memory, {long:.0f} s over 10 s: {far.peak / short.peak:.3f}\n")
    return {
        "seconds_10": short.seconds,
        "peak_10": short.peak,
        f"seconds_{long:.0f}": far.seconds,
        f"peak_{long:.0f}": far.peak,
        "memory_ratio": far.peak / short.peak,
    }


def print_split(found: Split, size: int) -> None:
    """Where the time goes."""
    print(f"once for a video, {size}²")
    for stage, spent in found.once.items():
        print(f"  {stage:24} {spent:7.2f} s")
    total = sum(found.each.values())
    print(f"for each of {found.frames} frames, {size}²")
    for stage, spent in sorted(found.each.items(), key=lambda item: -item[1]):
        print(f"  {stage:24} {1000 * spent / found.frames:7.2f} ms  {spent / total:6.1%}")
    print(f"  {'together':24} {1000 * total / found.frames:7.2f} ms = {found.frames / total:.1f} frames/s")
    print(f"  {'drawing alone':24} {'':10} = {found.frames / found.each['draw']:.1f} frames/s\n")


def main() -> None:
    """Measure and print; `--json FILE` keeps the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one minute in place of ten")
    parser.add_argument("--size", type=int, default=512, help="short side of the stage split in pixels")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, OpenCV {cv2.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, Any] = print_commands(folder, 60 if options.quick else 600)
        found = split(folder, 10, options.size)
        print_split(found, options.size)
    figures |= {"once": found.once, "each": found.each, "frames": found.frames}
    for statement in ("import sonic_ext", "import sonic_ext.cli.main", "import sonic_ext; sonic_ext.animate"):
        figures[statement] = import_seconds(statement)
        print(f"{statement:40} {1000 * figures[statement]:6.0f} ms")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
