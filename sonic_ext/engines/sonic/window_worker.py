"""Takes windows of a video of another process, on the device of this one.

It computes what that process would: where libraries, device, threads and memory mode are the same, to the
bit.
"""

from __future__ import annotations

import json
from dataclasses import replace

import torch

from ... import weights
from ...progress import Tick
from ...settings import Settings
from ...weights import Search
from ...weights.overlays import find_overlay
from ..runtime.checkpoints import Checkpoints
from ..runtime.devices import hardware
from ..runtime.heap import keep_heap
from .budget import Budget
from .networks import Networks
from .profile import profile_of
from .run import Calls, SamplingRun
from .scatter import WindowOrder, WindowRecipe, packed_state
from .settings import DiffusionSettings
from .windows import Plan


class WindowWorker:
    """Takes windows of a run of somebody else's; see `EngineSpec.window_worker`.

    Args:
        recipe: a `WindowRecipe`, packed.
        settings: of the video.
        search: where the weights lie here.
        tick: called between the layers of the network.

    Raises:
        MissingPart, BadWeights: the network or its adapters are not here, or are none.
    """

    def __init__(self, recipe: bytes, settings: Settings, search: Search, tick: Tick) -> None:
        own = DiffusionSettings.of(settings)
        chosen, profile = hardware(own.precision), profile_of(search)
        self._told = WindowRecipe.unpacked(recipe, chosen.device, chosen.dtype)
        paths = weights.prepare(search, [weights.UNET], tick)
        overlay = find_overlay(search, own.adapters) if own.adapters else None
        height, width = self._told.conditioning.portrait.shape[-2:]
        budget = Budget(
            chosen,
            weights.shapes(weights.UNET, paths[weights.UNET.name]),
            8 * min(height, width),
            Plan(profile.window, profile.window),
            own.inference_steps,
            aspect=max(height, width) / min(height, width),
        )
        self._run = SamplingRun(
            Networks(paths, chosen, tick, overlay=overlay),
            self._told.conditioning,
            settings.with_values({"motion_scale": self._told.motion_scale}),
            profile,
            budget,
            Checkpoints(),
            "",
            self._told.mode,
            tick,
        )
        self._unet = self._run.unet()

    def take(self, order: bytes) -> bytes:
        """Carry out a `WindowOrder`, packed; the answer is a state, packed.

        Raises:
            BrokenNumbers: infinities or not-a-numbers.
            Cancelled: from the tick.
        """
        found, run = WindowOrder.unpacked(order), self._run
        run.conditioning = replace(self._told.conditioning, speech=found.tokens, buckets=found.buckets)
        frames = torch.arange(len(found.tokens))
        with torch.inference_mode(), keep_heap(run.networks.hardware.device):
            take = run.in_turn(self._unet, Calls(run.tick, 0, len(found.steps)))
            after = take.after(found.state, found.steps, frames)
        return packed_state(after)


def numbers(settings: Settings, threads: int = 0) -> str:
    """What the latents depend on besides weights and settings; see `EngineSpec.window_numbers`."""
    if threads:
        torch.set_num_threads(threads)
    chosen = hardware(DiffusionSettings.of(settings).precision)
    facts = [chosen.title, str(chosen.dtype), chosen.narrow, torch.__version__, torch.get_num_threads()]
    return json.dumps(facts)
