"""Windows that another process takes, on another card or computer: what goes there and what comes back.

All of it is bytes of safetensors, which name no code. A worker is given once what all windows have in common
(`WindowRecipe`), and with each window its latents, audio tokens and buckets (`WindowOrder`). It computes what
this process would: where libraries, device, threads and memory mode are the same, to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import tee
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from ... import weights
from ...nn.unet import Level
from ...ports import WindowPool
from ...progress import Tick
from ...settings import Settings
from ...weights import Search
from ...weights.overlays import find_overlay
from ..runtime.checkpoints import Checkpoints
from ..runtime.devices import hardware
from ..runtime.heap import keep_heap
from .budget import Budget
from .denoise import Conditioning
from .networks import Networks
from .profile import profile_of
from .run import Calls, SamplingRun
from .sampling import Frames
from .settings import DiffusionSettings
from .solvers import SolverState
from .windows import Plan

ABOUT = "about"
"""Among the tensors: what is none, as JSON."""


@dataclass(frozen=True)
class WindowRecipe:
    """What all windows of a run have in common."""

    conditioning: Conditioning
    settings: Settings
    mode: str
    """Of the memory, of `budget.MEMORY_MODES`."""

    def packed(self) -> bytes:
        """Without what belongs to single frames."""
        told = self.conditioning
        tensors = {"portrait": told.portrait, "clip": told.clip, "silence": told.silence}
        for size, level in told.levels.items():
            tensors[f"weights {size}"] = level.weights
            if level.face is not None:
                tensors[f"face {size}"] = level.face
        return _packed(tensors, {"settings": self.settings.to_dict(), "mode": self.mode})

    @classmethod
    def unpacked(cls, data: bytes, device: str, dtype: torch.dtype) -> WindowRecipe:
        """As it was packed, on a device and in the numbers that its network has; without frames."""
        tensors, about = _unpacked(data)
        own = {name: tensors[name].to(device, dtype) for name in ("portrait", "clip", "silence")}
        levels = {
            int(name.split()[1]): Level(weight, tensors.get(f"face {name.split()[1]}")).to(device)
            for name, weight in tensors.items()
            if name.startswith("weights ")
        }
        none = torch.empty(0)
        conditioning = Conditioning(**own, speech=none, buckets=none, levels=levels)
        return cls(conditioning, Settings.from_mapping(about["settings"]), about["mode"])

    def order(self, state: SolverState, steps: range, frames: torch.Tensor) -> WindowOrder:
        """What is to be done with the frames of a window, int64 [window]."""
        told = self.conditioning
        tokens, buckets = told.speech.index_select(0, frames), told.buckets.index_select(0, frames)
        return WindowOrder(state, steps, tokens, buckets)


@dataclass(frozen=True)
class WindowOrder:
    """A window, and the steps that it is to take."""

    state: SolverState
    steps: range
    tokens: torch.Tensor
    """[window, tokens, width]."""
    buckets: torch.Tensor
    """float32 [window, 2]."""

    def packed(self) -> bytes:
        """To be sent."""
        tensors = {"tokens": self.tokens, "buckets": self.buckets, **_tensors_of(self.state)}
        return _packed(tensors, {"steps": [self.steps.start, self.steps.stop]})

    @classmethod
    def unpacked(cls, data: bytes) -> WindowOrder:
        """As it was packed."""
        tensors, about = _unpacked(data)
        return cls(_state_of(tensors), range(*about["steps"]), tensors["tokens"], tensors["buckets"])


@dataclass(frozen=True)
class PoolScatter:
    """Windows taken by a pool; a `run.Scatter`."""

    pool: WindowPool

    def __call__(
        self,
        run: SamplingRun,
        state: Frames,
        steps: range,
        windows: Iterable[torch.Tensor],
        poll: Callable[[], None],
    ) -> Iterator[tuple[torch.Tensor, SolverState]]:
        """See `run.Scatter`."""
        recipe = WindowRecipe(run.conditioning, run.settings, run.mode)
        sent, ordered = tee(windows)
        orders = (recipe.order(state.frames(frames), steps, frames).packed() for frames in ordered)
        answers = self.pool.carry_out(recipe.packed(), orders, poll)
        for frames, answer in zip(sent, answers, strict=True):
            yield frames, _state_of(load(answer))


class WindowWorker:
    """Takes windows of a run of somebody else's; see `EngineSpec.window_worker`.

    Args:
        recipe: a `WindowRecipe`, packed.
        search: where the weights lie here.
        tick: called between the layers of the network.
        device: as torch names it; the best one by default.

    Raises:
        MissingPart, BadWeights: the network or its adapters are not here, or are none.
    """

    def __init__(self, recipe: bytes, search: Search, tick: Tick, device: str | None = None) -> None:
        settings = Settings.from_mapping(_unpacked(recipe)[1]["settings"])
        own = DiffusionSettings.of(settings)
        chosen, profile = hardware(own.precision, device), profile_of(search)
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
            settings,
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
        return save(_tensors_of(after))


def numbers(settings: Settings, threads: int = 0) -> str:
    """What the latents depend on besides weights and settings; see `EngineSpec.window_numbers`."""
    if threads:
        torch.set_num_threads(threads)
    chosen = hardware(DiffusionSettings.of(settings).precision)
    facts = [chosen.title, str(chosen.dtype), chosen.narrow, torch.__version__, torch.get_num_threads()]
    return json.dumps(facts)


def _tensors_of(state: SolverState) -> dict[str, torch.Tensor]:
    """By name, each in memory of its own: a solver may remember the latents themselves."""
    history = {f"history{number}": each.clone() for number, each in enumerate(state.history)}
    return {"latents": state.latents.clone(), **history}


def _state_of(tensors: Mapping[str, torch.Tensor]) -> SolverState:
    count = sum(name.startswith("history") for name in tensors)
    return SolverState(tensors["latents"], tuple(tensors[f"history{number}"] for number in range(count)))


def _packed(tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> bytes:
    text = torch.from_numpy(np.frombuffer(json.dumps(about).encode(), np.uint8).copy())
    return save({ABOUT: text, **{name: each.cpu().contiguous() for name, each in tensors.items()}})


def _unpacked(data: bytes) -> tuple[dict[str, torch.Tensor], Any]:
    tensors = load(data)
    return tensors, json.loads(tensors.pop(ABOUT).numpy().tobytes())
