"""Windows that another process takes, on another card or computer: what goes there and what comes back.

All of it is bytes of safetensors, which name no code. A worker is given once what all windows have in common
(`WindowRecipe`), and with each window its latents, audio tokens and buckets (`WindowOrder`). What takes them
is in `window_worker`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from ...nn.unet import Level
from .denoise import Conditioning
from .solvers import SolverState

ABOUT = "about"
"""Among the tensors: what is none, as JSON."""


@dataclass(frozen=True)
class WindowRecipe:
    """What all windows of a run have in common."""

    conditioning: Conditioning
    mode: str
    """Of the memory, of `budget.MEMORY_MODES`."""
    motion_scale: float
    """Of this head: beside another one it may move less than the video's settings say."""

    def packed(self) -> bytes:
        """Without what belongs to single frames."""
        told = self.conditioning
        tensors = {"portrait": told.portrait, "clip": told.clip, "silence": told.silence}
        for size, level in told.levels.items():
            tensors[f"weights {size}"] = level.weights
            if level.face is not None:
                tensors[f"face {size}"] = level.face
        return _packed(tensors, {"mode": self.mode, "motion_scale": self.motion_scale})

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
        return cls(conditioning, about["mode"], about["motion_scale"])

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


def packed_state(state: SolverState) -> bytes:
    """Where the frames of a window stand, to be sent back."""
    return save(_tensors_of(state))


def unpacked_state(data: bytes) -> SolverState:
    """The state that `packed_state` was given."""
    return _state_of(load(data))


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
