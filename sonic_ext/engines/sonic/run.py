"""From conditioning to final latents: step by step, each kept, on whatever memory there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from ...errors import BadOutput, BrokenNumbers
from ...nn.offload import Offload
from ...nn.storage import compiled, store_fp8
from ...nn.unet import UNet
from ...progress import Stage, Tick
from ...settings import Settings
from .budget import RUNGS, SAID, Budget
from .denoise import Conditioning, Denoiser, Shortcuts
from .device import release, unless_full
from .draft import Draft, Drafts
from .guidance import Guidance
from .heap import kept_heap
from .networks import Networks
from .sampling import draw_noise, sample, starting_latents
from .schedule import Moment, Schedule, schedule
from .windows import Plan


@dataclass
class Run:
    """One video's way through the UNet. `notes` grows while it runs."""

    networks: Networks
    conditioning: Conditioning
    settings: Settings
    budget: Budget
    drafts: Drafts
    key: str
    """Of the draft."""
    rung: str
    tick: Tick
    notes: list[str] = field(default_factory=list)
    _newest: Draft = field(init=False)

    def finished(self, draft: Draft) -> Draft:
        """Take the steps that the draft lacks.

        Raises:
            OutOfMemory: on every rung; names the largest resolution that fits.
            BrokenNumbers: infinities or not-a-numbers in the latents.
            Cancelled: from `tick`; the draft stays.
        """
        levels = schedule(self.settings.inference_steps)
        self._newest = draft
        while self._newest.done < levels.steps:
            with unless_full():
                self._on_rung(levels)
                break
            release(self.networks.hardware.device)
            self._step_down()
        return self._newest

    def _step_down(self) -> None:
        lower = RUNGS.index(self.rung) + 1
        if lower == len(RUNGS) or (self.networks.hardware.is_cpu and RUNGS[lower] == "offload"):
            raise self.budget.refusal(self.networks.room.free())
        self.rung = RUNGS[lower]
        self.notes.append(f"Memory ran out; went on with {SAID[self.rung]}.")

    def _on_rung(self, levels: Schedule) -> None:
        device = self.networks.hardware.device
        with self.networks.room.stage(), torch.inference_mode(), kept_heap(device):
            self._stepped(self._unet(), levels)

    def _stepped(self, unet: UNet, levels: Schedule) -> None:
        draft = self._newest
        predict = self._ticking(self._denoiser(unet), draft.done, levels)
        group = Shortcuts.named(self.settings.shortcuts).group
        steps = sample(predict, draft.latents, levels, self.budget.plan, draft.done, group)
        for done, latents in steps:
            self._check(latents, done)
            self._newest = replace(draft, latents=latents, done=done, rung=self.rung)
            self._save(self._newest)

    def _unet(self) -> UNet:
        hardware, waits = self.networks.hardware, self.rung == "offload"
        unet = self.networks.unet("cpu" if waits or hardware.stored_in_8_bits else None)
        if hardware.stored_in_8_bits:
            store_fp8(unet)
        working = self.budget.working(self.rung)
        if waits:
            self.networks.room.clear(working)
        else:
            unet = self.networks.room.brought(unet, working)
        if self.settings.compiled:
            problem = compiled(unet)
            self.notes.extend([problem] if problem else [])
        return unet

    def _denoiser(self, unet: UNet) -> Denoiser:
        settings = self.settings
        return Denoiser(
            unet,
            self.conditioning,
            Guidance(settings.image_guidance, settings.audio_guidance),
            head=settings.motion_scale,
            expression=settings.dynamic_scale,
            together=self.rung == "together",
            visit=Offload(unet, self.networks.hardware.device) if self.rung == "offload" else None,
            shortcuts=Shortcuts.named(settings.shortcuts),
        )

    def _ticking(self, predict: Denoiser, done: int, levels: Schedule) -> Callable[..., torch.Tensor]:
        total, finished = levels.steps * self.budget.plan.count, done * self.budget.plan.count
        self.tick(Stage.DENOISING, finished, total)

        def ticked(x: torch.Tensor, moment: Moment, frames: torch.Tensor, first: bool) -> torch.Tensor:
            """Latents wait in main memory, as many as the video has; a window of them visits the device."""
            nonlocal finished
            v = predict(x, moment, frames, first).to(x)
            finished += 1
            self.tick(Stage.DENOISING, finished, total)
            return v

        return ticked

    def _check(self, latents: torch.Tensor, done: int) -> None:
        if latents.isfinite().all():
            return
        dtype = str(self.networks.hardware.dtype).removeprefix("torch.")
        half = self.networks.hardware.dtype is torch.float16
        raise BrokenNumbers(
            f"The latents hold no numbers after step {done} of {self.settings.inference_steps} "
            f"(precision={self.settings.precision}: {dtype}).",
            "Use precision=bf16 or fp32." if half else "Check the weights: sonic weights check",
        )

    def _save(self, draft: Draft) -> None:
        try:
            self.drafts.save(self.key, draft)
        except BadOutput as error:
            said = f"This run could not be continued if it were stopped: {error.message}"
            self.notes.extend([] if said in self.notes else [said])


def begun(conditioning: Conditioning, plan: Plan, steps: int, seed: int, rung: str) -> Draft:
    """A draft with no step done. The noise comes from the CPU: a seed means the same on every device."""
    portrait = conditioning.portrait.float().cpu()
    noise = draw_noise(torch.Generator().manual_seed(seed), plan.frames, tuple(portrait.shape[-2:]))
    return Draft(starting_latents(portrait, noise, schedule(steps)), 0, seed, rung)
