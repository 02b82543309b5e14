"""From conditioning to final latents: step by step, each kept, on whatever memory there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import tee

import torch

from ...errors import BadOutput, BrokenNumbers
from ...nn.offload import Offload
from ...nn.storage import compiled, multiply_int8, store_fp8
from ...nn.unet import Poll, UNet
from ...ports import WindowPool
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
from .sampling import (
    Frames,
    Gathered,
    State,
    TakeWindows,
    Totals,
    Windows,
    WindowsInTurn,
    noise_parts,
    sample_gathered,
    starting_latents,
)
from .scatter import WindowRecipe, unpacked_state
from .schedule import Moment, Schedule
from .settings import DiffusionSettings
from .solvers import SolverState
from .windows import Plan

POLL_SECONDS = 0.25
"""How often a call of the network asks whether to stop, between its layers."""


@dataclass
class Calls:
    """Calls of the guided network, for the user."""

    tick: Tick
    done: int
    total: int

    def add(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        self.show()

    def show(self) -> None:
        """Tell; raises what the tick raises."""
        self.tick(Stage.DENOISING, self.done, self.total)


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
    window_pool: WindowPool | None = None
    """Takes the windows, in place of this process."""
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
                if self.window_pool is not None:
                    self._take_steps(self._scattered(self.window_pool))
                else:
                    with self.networks.memory.stage(), torch.inference_mode(), keep_heap(hardware.device):
                        self._take_steps(self.in_turn(self.unet(), self._calls()))
                break
            release(hardware.device)
            lower = MEMORY_MODES.index(self.mode) + 1
            if lower == len(MEMORY_MODES) or (hardware.is_cpu and MEMORY_MODES[lower] == "offload"):
                raise self.budget.refusal(self.networks.memory.free())
            self.mode = MEMORY_MODES[lower]
            self.notes.append(f"Memory ran out; went on with {MODE_TEXTS[self.mode]}.")
        return self._newest

    def _take_steps(self, take: TakeWindows) -> None:
        if self.long_run is not None:
            self._take_long_steps(take, self.long_run)
            return
        checkpoint = self._newest
        state = SolverState(checkpoint.latents, checkpoint.history)
        saving: Future[None] | None = None
        # Beside the next steps, since a disk takes as long as a tenth of a fast card's step; left only when
        # the last one is there.
        with ThreadPoolExecutor(1) as beside:
            for done, after in self._sampled(take, state, lambda *_: Totals(self.budget.plan.frames)):
                self._newest = Checkpoint(after.latents, done, checkpoint.seed, self.mode, after.history)
                if saving is not None:
                    saving.result()
                saving = beside.submit(self._save, self._newest)
            if saving is not None:
                saving.result()

    def _save(self, checkpoint: Checkpoint) -> None:
        try:
            self.checkpoints.save(self.key, checkpoint)
        except BadOutput as error:
            note = f"This run could not be continued if it were stopped: {error.message}"
            self.notes.extend([] if note in self.notes else [note])

    def _take_long_steps(self, take: TakeWindows, long_run: LongRun) -> None:
        """The same; what a step finds is kept as it comes."""
        long_run.mode, latents = self.mode, self._newest.latents
        for done, after in self._sampled(take, latents, long_run.gather):
            self._newest = Checkpoint(after, done, self._newest.seed, self.mode)

    def _sampled(
        self, take: TakeWindows, state: State, gather: Callable[[Windows, range], Gathered[State]]
    ) -> Iterator[tuple[int, State]]:
        """Steps done and state, after each group."""
        plan = self.budget.plan
        return sample_gathered(take, state, plan, gather, self.sampler.parts, self._newest.done)

    def in_turn(self, unet: UNet, calls: Calls) -> WindowsInTurn:
        """Windows taken here."""
        return WindowsInTurn(self._ticking(unet, calls), self.levels, self.sampler.solver)

    def _scattered(self, pool: WindowPool) -> TakeWindows:
        """Windows taken by others; the ticks are of those that have come back."""
        recipe = WindowRecipe(self.conditioning, self.mode, self.settings.motion_scale)
        packed, calls = recipe.packed(), self._calls()

        def take(
            state: Frames, steps: range, windows: Iterable[torch.Tensor]
        ) -> Iterator[tuple[torch.Tensor, SolverState]]:
            sent, ordered = tee(windows)
            orders = (recipe.order(state.frames(frames), steps, frames).packed() for frames in ordered)
            for frames, answer in zip(sent, pool.carry_out(packed, orders, calls.show), strict=True):
                yield frames, unpacked_state(answer)
                calls.add(len(steps))

        return take

    def _calls(self) -> Calls:
        """Of the guided network, as far as they are done."""
        plan, done = self.budget.plan, self._newest.done
        calls = Calls(self.tick, done * plan.count, self.levels.steps * plan.count)
        if self.long_run is not None:
            begun = next((len(steps) for steps in self.sampler.parts if steps.start == done), 0)
            calls.done += begun * self.long_run.progress.windows
        calls.show()
        return calls

    def unet(self) -> UNet:
        """The network where it works, in the numbers that it works with."""
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

    def _ticking(self, unet: UNet, calls: Calls) -> Callable[..., torch.Tensor]:
        """The guided network."""
        last = time.monotonic()

        def poll() -> None:
            """Within a call, which may take minutes; a window that is stopped is taken again as a whole."""
            nonlocal last
            if time.monotonic() - last >= POLL_SECONDS:
                calls.show()
                last = time.monotonic()

        predict = self._denoiser(unet, poll)

        def ticked(x: torch.Tensor, moment: Moment, frames: torch.Tensor, first: bool) -> torch.Tensor:
            """Latents wait in main memory, as many as the video has; a window of them visits the device."""
            v = predict(x, moment, frames, first).to(x)
            self._check(v, moment.step + 1)
            calls.add(1)
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
