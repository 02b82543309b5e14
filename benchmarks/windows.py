"""One video, its windows drawn by several workers of a Ray cluster: `python benchmarks/windows.py`.

A UNet of middling size with random weights, workers of one thread each. Prints whether the latents are those
of one process to the bit, and the seconds of processor that are spent beside the UNet: in the workers, in
this process while it waits and gathers, and in Ray's own processes. Needs ray, torch, diffusers, transformers
and psutil.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import tiny_sonic
from pipeline import PORTRAIT, looped

from sonic_ext import weights
from sonic_ext.batch.cluster.connection import LOCAL, Connection
from sonic_ext.batch.cluster.windows import WindowCluster
from sonic_ext.engines.sonic.engine import MULTIPLE, DiffusionEngine
from sonic_ext.media.audio import read_speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.scene import compose
from sonic_ext.nn.unet import UNetConfig
from sonic_ext.pipeline import frame_count
from sonic_ext.progress import Stage
from sonic_ext.settings import Settings

MIDDLING = UNetConfig(
    channels=(64, 128, 256, 256), heads=(1, 2, 4, 4), context=tiny_sonic.WIDTH, ids=tiny_sonic.WIDTH
)
SETTINGS = Settings(engine="sonic", min_resolution=256, framing="crop", seed=7)


class Clock:
    """A `Tick`; seconds of this process's processor while the UNet works."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        """See `progress.Tick`."""
        if stage is Stage.DENOISING:
            self.began = self.began or time.process_time()
            self.ended = time.process_time()

    @property
    def seconds(self) -> float:
        """Between the first tick and the last."""
        return self.ended - self.began


def drawn(folder: Path, home: str, seconds: float, steps: int, pool: Any) -> tuple[torch.Tensor, Clock]:
    """Final latents of a video."""
    settings = replace(SETTINGS, inference_steps=steps)
    speech = read_speech(looped(folder / "speech.wav", seconds))
    scene, clock = compose(read_portrait(PORTRAIT), settings, MULTIPLE), Clock()
    maker = DiffusionEngine(weights.Search(own=folder / "models"), home=folder / home, window_pool=pool)
    animation = maker.prepare(scene, speech, settings, frame_count(speech.length, 25), 7, clock)
    latents = animation._latents[0][:].clone()
    animation.close()
    return latents, clock


def of_ray() -> float:
    """Seconds of processor of Ray's own processes, workers left out."""
    spent = 0.0
    for child in psutil.Process().children(recursive=True):
        try:
            if "ray::" not in " ".join(child.cmdline()):
                spent += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_sonic.write(folder / "models", unet_config=MIDDLING)
        os.environ["SONIC_MODELS"] = str(folder / "models")
        seconds = options.windows * 25 / 12.5
        want, alone = drawn(folder, "alone", seconds, options.steps, None)
        search, settings = (
            weights.Search(own=folder / "models"),
            replace(SETTINGS, inference_steps=options.steps),
        )
        connection = Connection(LOCAL, options.workers)
        with WindowCluster(connection, "sonic", settings, search, options.workers, print) as pool:
            began = of_ray()
            found, clock = drawn(folder, "together", seconds, options.steps, pool)
            daemons = of_ray() - began
            told = pool.standings()
        print(f"{options.workers} workers, {options.windows} windows, {options.steps} steps")
        print(f"the same to the bit: {torch.equal(found, want)}")
        network = sum(each["drawing"] for each in told)
        beside = {
            "in the workers": sum(each["process"] - each["drawing"] for each in told),
            "in this process": clock.seconds,
            "in Ray's": daemons,
        }
        print(f"UNet: {network:.1f} s of processor; alone, in one process: {alone.seconds:.1f} s")
        for place, spent in beside.items():
            print(f"beside it {place}: {spent:.2f} s, {spent / network:.2%}")
        print(f"together {sum(beside.values()) / network:.2%}")


if __name__ == "__main__":
    main()
