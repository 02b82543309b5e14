"""From picture and speech to frames, as the engine goes, time by stage."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sonic_ext.engines.runtime.checkpoints import Checkpoints
from sonic_ext.engines.runtime.devices import Hardware
from sonic_ext.engines.sonic import stream
from sonic_ext.engines.sonic.budget import Budget, MemoryPlan
from sonic_ext.engines.sonic.output import Decoder, FrameInterpolator
from sonic_ext.engines.sonic.prepare import prepare_conditioning
from sonic_ext.engines.sonic.profile import PUBLISHED
from sonic_ext.engines.sonic.run import SamplingRun, first_checkpoint
from sonic_ext.engines.sonic.vaes import VaeChoice
from sonic_ext.engines.sonic.windows import BASE_FPS, Plan
from sonic_ext.media.geometry import Box
from sonic_ext.progress import Stage
from sonic_ext.settings import Settings

from .bench import Bench, gigabytes, named
from .networks import RandomNetworks
from .runner import Row

FACE = Box(0.25, 0.2, 0.75, 0.7)
"""As shares of the picture."""


@dataclass(frozen=True)
class Sound:
    """Speech without a file: a tone that swells; as `media.audio.Speech` to the engine."""

    length: float

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """See `Speech.blocks`."""
        t = np.arange(round(self.length * rate)) / rate
        yield (0.3 * np.sin(2 * np.pi * 180 * t) * np.abs(np.sin(2 * np.pi * 2 * t))).astype(np.float32)


@dataclass
class Clock:
    """Seconds by stage; what making weights takes is left out."""

    bench: Bench
    making: list[float]
    spent: dict[str, float] = field(default_factory=dict)
    _before: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        """A stage begins."""
        self.bench.finish()
        self._before = time.perf_counter(), sum(self.making)

    def stop(self, stage: str) -> None:
        """It ends, and the next begins."""
        before, made = self._before
        self.start()
        took = self._before[0] - before - (self._before[1] - made)
        self.spent[stage] = self.spent.get(stage, 0.0) + took


@dataclass(frozen=True)
class Video:
    """One video's way through the engine."""

    bench: Bench
    side: int
    steps: int

    @property
    def frames(self) -> int:
        """That the network draws."""
        return max(1, round(self.bench.sizes.seconds * BASE_FPS))

    def stages(self, folder: Path) -> Row:
        """Seconds of every stage, the peak, and what came out."""
        bench, hardware = self.bench, Hardware(self.bench.device, self.bench.dtypes[0])
        networks = RandomNetworks({}, hardware, lambda *_: None, sizes=bench.sizes)
        plan = Plan(self.frames, bench.sizes.frames)
        budget = Budget(hardware, bench.sizes.unet_shapes, self.side, plan, self.steps)
        memory_plan = budget.memory_plan("auto", bench.free())
        clock = Clock(bench, networks.making)
        latents, notes = self._latents(networks, budget, memory_plan, clock, folder)
        bench.release()
        count, good = self._frames(networks, budget, memory_plan, latents, clock, notes)
        per_step = clock.spent["UNet"] / self.steps / plan.count
        return {
            "numbers": named(hardware.dtype),
            "rung": memory_plan.mode,
            "frames": count,
            **{f"{stage} s": seconds for stage, seconds in clock.spent.items()},
            "s per step": per_step,
            "all s": sum(clock.spent.values()),
            "weights s": sum(networks.making),
            "notes": "; ".join(notes),
            "passed": good,
        }

    def _latents(
        self, networks: RandomNetworks, budget: Budget, memory_plan: MemoryPlan, clock: Clock, folder: Path
    ) -> tuple[torch.Tensor, list[str]]:
        def tick(stage: Stage, done: int, total: int, detail: str = "") -> None:
            ended = {("looking at the portrait", 1): "CLIP", ("reading the speech", 0): "VAE encoder"}
            if name := ended.get((stage, done), "speech" if stage == "reading the speech" else ""):
                clock.stop(name)

        picture = np.random.default_rng(0).integers(0, 256, (self.side, self.side, 3), np.uint8)
        face = SimpleNamespace(box=FACE.scaled(self.side, self.side))
        head: Any = SimpleNamespace(picture=picture, face=face, source=Box(0, 0, self.side, self.side))
        sound: Any = Sound(self.bench.sizes.seconds)
        settings = replace(Settings(), inference_steps=self.steps)
        clock.start()
        told = prepare_conditioning(networks, head, sound, self.frames, tick)
        clock.start()
        run = SamplingRun(
            networks,
            told.conditioning,
            settings,
            PUBLISHED,
            budget,
            Checkpoints(folder),
            "checkpoint",
            memory_plan.mode,
            lambda *_: None,
        )
        checkpoint = run.complete(
            first_checkpoint(told.conditioning, budget.plan, run.levels, 7, memory_plan.mode)
        )
        clock.stop("UNet")
        return checkpoint.latents, [*told.notes, *run.notes]

    def _frames(
        self,
        networks: RandomNetworks,
        budget: Budget,
        memory_plan: MemoryPlan,
        latents: torch.Tensor,
        clock: Clock,
        notes: list[str],
    ) -> tuple[int, bool]:
        """How many, and whether they are pictures: numbers that differ from place to place."""
        decoder = Decoder(networks, budget, VaeChoice("temporal"), memory_plan.chunk, notes)
        between = FrameInterpolator(networks, notes)
        rest = "jitter filter, 8 bits"

        def decode(part: torch.Tensor) -> torch.Tensor:
            clock.stop(rest)
            pictures = decoder(part)
            clock.stop("decoder")
            return pictures

        def middle(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            clock.stop(rest)
            frames = between(first, second)
            clock.stop("RIFE")
            return frames

        clock.start()
        with torch.inference_mode():
            finish = stream.Finish(2, middle, self._steady(notes))
            frames = list(finish.frames(decode, latents))
        clock.stop(rest)
        decoder.unload()
        right = len(frames) == finish.count(len(latents))
        return len(frames), right and all(frame.shape == (self.side, self.side, 3) for frame in frames)

    def _steady(self, notes: list[str]) -> Any:
        if find_spec("cv2") is None:
            notes.append("no jitter filter, since OpenCV is not installed")
            return None
        from sonic_ext.media.steady import Steady

        return Steady(FACE.scaled(self.side, self.side), stream.STEADY_REACH)


def measure(bench: Bench) -> Iterator[Row]:
    """The largest picture and the smallest; a short run before them loads libraries and kernels."""
    sides = dict.fromkeys((bench.sizes.sides[-1], bench.sizes.sides[0]))
    with tempfile.TemporaryDirectory() as home:
        Video(bench, bench.sizes.sides[-1], 1).stages(Path(home) / "first")
        for side in sides:
            video = Video(bench, side, bench.sizes.steps)
            yield bench.tried({"side": side}, partial(_row, video, Path(home) / str(side)))
            bench.release()


def _row(video: Video, folder: Path) -> Row:
    if not video.bench.is_cpu:
        torch.cuda.reset_peak_memory_stats(video.bench.device)
    row = video.stages(folder)
    if video.bench.is_cpu:
        return {**row, "peak GB": None}
    return {**row, "peak GB": gigabytes(torch.cuda.max_memory_allocated(video.bench.device))}
