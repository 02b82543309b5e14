"""From conditioning to final latents: step by step, each kept, on whatever memory there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch

from ...errors import BadOutput, BrokenNumbers
from ...nn.offload import Offload
from ...nn.storage import compiled, multiply_int8, store_fp8
from ...nn.unet import Poll, UNet
from ...progress import Stage, Tick
from ...settings import Settings
from ..runtime.checkpoints import Checkpoint, Checkpoints
from ..runtime.devices import catch_out_of_memory, release
from ..runtime.heap import keep_heap
from .budget import MEMORY_MODES, MODE_TEXTS, Budget
from .denoise import Conditioning, Denoiser
from .long_run import LongRun
from .networks import Networks
from .profile import Profile
from .sampler import Sampler
from .sampling import Gathered, State, Totals, Windows, noise_parts, sample_gathered, starting_latents
from .schedule import Moment, Schedule
from .settings import DiffusionSettings
from .solvers import SolverState
from .windows import Plan

POLL_SECONDS = 0.25
"""How often a call of the network asks whether to stop, between its layers."""


@dataclass
class SamplingRun:
    """One video's way through the UNet. `notes` grows while it runs."""

    networks: Networks
    conditioning: Conditioning
    settings: Settings
    profile: Profile
    budget: Budget
    checkpoints: Checkpoints
    key: str
    """Of the checkpoint."""
    mode: str
    tick: Tick
    notes: list[str] = field(default_factory=list)
    long_run: LongRun | None = None
    """Keeps latents in files, where they are too many for memory."""
    _newest: Checkpoint = field(init=False)

    @cached_property
    def own(self) -> DiffusionSettings:
        """The engine's own settings."""
        return DiffusionSettings.of(self.settings)

    @cached_property
    def sampler(self) -> Sampler:
        """How the steps are taken."""
        return Sampler.of(self.own, self.profile)

    @property
    def levels(self) -> Schedule:
        """Noise levels of the run."""
        return self.sampler.levels

    def complete(self, checkpoint: Checkpoint) -> Checkpoint:
        """Take the steps that the checkpoint lacks.

        Raises:
            OutOfMemory: in every memory mode; names the largest resolution that fits.
            BrokenNumbers: infinities or not-a-numbers in the latents.
            Cancelled: from `tick`; the checkpoint stays.
        """
        levels, hardware = self.levels, self.networks.hardware
        self._newest = checkpoint
        while self._newest.done < levels.steps:
            with catch_out_of_memory():
                with self.networks.memory.stage(), torch.inference_mode(), keep_heap(hardware.device):
                    self._take_steps(self._unet())
                break
            release(hardware.device)
            lower = MEMORY_MODES.index(self.mode) + 1
            if lower == len(MEMORY_MODES) or (hardware.is_cpu and MEMORY_MODES[lower] == "offload"):
                raise self.budget.refusal(self.networks.memory.free())
            self.mode = MEMORY_MODES[lower]
            self.notes.append(f"Memory ran out; went on with {MODE_TEXTS[self.mode]}.")
        return self._newest

    def _take_steps(self, unet: UNet) -> None:
        if self.long_run is not None:
            self._take_long_steps(unet, self.long_run)
            return
        checkpoint = self._newest
        state = SolverState(checkpoint.latents, checkpoint.history)
        for done, after in self._sampled(unet, state, lambda *_: Totals(self.budget.plan.frames)):
            self._newest = Checkpoint(after.latents, done, checkpoint.seed, self.mode, after.history)
            try:
                self.checkpoints.save(self.key, self._newest)
            except BadOutput as error:
                note = f"This run could not be continued if it were stopped: {error.message}"
                self.notes.extend([] if note in self.notes else [note])

    def _take_long_steps(self, unet: UNet, long_run: LongRun) -> None:
        """The same; what a step finds is kept as it comes."""
        long_run.mode, latents = self.mode, self._newest.latents
        for done, after in self._sampled(unet, latents, long_run.gather, long_run.progress.windows):
            self._newest = Checkpoint(after, done, self._newest.seed, self.mode)

    def _sampled(
        self,
        unet: UNet,
        state: State,
        gather: Callable[[Windows, range], Gathered[State]],
        windows: int = 0,
    ) -> Iterator[tuple[int, State]]:
        """Steps done and state, after each group; of the first group so many windows are done already."""
        done, sampler = self._newest.done, self.sampler
        begun = next((len(steps) for steps in sampler.parts if steps.start == done), 0)
        return sample_gathered(
            self._ticking(unet, done * self.budget.plan.count + windows * begun),
            state,
            self.levels,
            self.budget.plan,
            gather,
            done,
            sampler.solver,
            sampler.parts,
        )

    def _unet(self) -> UNet:
        hardware, offloaded = self.networks.hardware, self.mode == "offload"
        unet = self.networks.unet("cpu" if offloaded or hardware.narrow else None)
        if hardware.narrow:
            {"fp8": store_fp8, "int8": multiply_int8}[hardware.narrow](unet)
        working = self.budget.working(self.mode)
        if offloaded:
            self.networks.memory.clear(working)
        else:
            unet = self.networks.memory.load(unet, working)
        if self.own.compiled:
            problem = compiled(unet)
            self.notes.extend([problem] if problem else [])
        return unet

    def _denoiser(self, unet: UNet, poll: Poll) -> Denoiser:
        return Denoiser(
            unet,
            self.conditioning,
            self.sampler.guidance,
            head=self.settings.motion_scale,
            expression=self.settings.dynamic_scale,
            batched=self.mode == "together",
            load_layer=Offload(unet, self.networks.hardware.device) if self.mode == "offload" else None,
            shortcuts=self.sampler.shortcuts,
            poll=poll,
        )

    def _ticking(self, unet: UNet, taken: int) -> Callable[..., torch.Tensor]:
        """The guided network; so many calls of it are done."""
        total = self.levels.steps * self.budget.plan.count
        self.tick(Stage.DENOISING, taken, total)
        last = time.monotonic()

        def poll() -> None:
            """Within a call, which may take minutes; a step that is stopped is taken again as a whole."""
            nonlocal last
            if time.monotonic() - last >= POLL_SECONDS:
                self.tick(Stage.DENOISING, taken, total)
                last = time.monotonic()

        predict = self._denoiser(unet, poll)

        def ticked(x: torch.Tensor, moment: Moment, frames: torch.Tensor, first: bool) -> torch.Tensor:
            """Latents wait in main memory, as many as the video has; a window of them visits the device."""
            nonlocal taken
            v = predict(x, moment, frames, first).to(x)
            self._check(v, moment.step + 1)
            taken += 1
            self.tick(Stage.DENOISING, taken, total)
            return v

        return ticked

    def _check(self, prediction: torch.Tensor, step: int) -> None:
        if prediction.isfinite().all():
            return
        dtype = str(self.networks.hardware.dtype).removeprefix("torch.")
        half = self.networks.hardware.dtype is torch.float16
        raise BrokenNumbers(
            f"The latents hold no numbers after step {step} of {self.own.inference_steps} "
            f"(precision={self.own.precision}: {dtype}).",
            "Use precision=bf16 or fp32." if half else "Check the weights: sonic weights check",
        )


def first_checkpoint(
    conditioning: Conditioning, plan: Plan, levels: Schedule, seed: int, mode: str
) -> Checkpoint:
    """A checkpoint with no step done. The noise comes from the CPU: a seed means the same on every device."""
    (latents,) = first_latents(conditioning, plan, levels, seed, plan.frames)
    return Checkpoint(latents, 0, seed, mode)


def first_latents(
    conditioning: Conditioning, plan: Plan, levels: Schedule, seed: int, together: int
) -> Iterator[torch.Tensor]:
    """Its latents, `together` frames at a time."""
    portrait = conditioning.portrait.float().cpu()
    generator, size = torch.Generator().manual_seed(seed), tuple(portrait.shape[-2:])
    for noise in noise_parts(generator, plan.frames, size, together):
        yield starting_latents(portrait, noise, levels)
