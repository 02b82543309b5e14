"""One step of the sampler: from what the network takes for the clean latents to latents with less noise.

With lambda = -log sigma the latents follow d(x / sigma) / d lambda = z / sigma, where z are the clean latents
that the network sees in x. Euler's method takes the slope of x over sigma as constant. The others solve the
linear part exactly and follow z along a line through what earlier steps found:

- DPM-Solver++(2M), Lu et al., arXiv 2211.01095: of second order;
- UniPC, Zhao et al., arXiv 2302.04867, with p = 2 and B(h) = e^h - 1 (bh2): the same step, after the last one
  was corrected by what the network finds where it led; of third order, and no call of the network more.

What a method remembers lies in the `SolverState`, frame by frame: windows move between steps, and a frame
goes on from its own past whichever window it is in. Every frame takes every step, so that the noise levels of
the past are those of the schedule. The first step has no past, and the last, to no noise, ends at z: both are
of first order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SolverState:
    """Where a run stands between two steps."""

    latents: torch.Tensor
    """[frames, channels, height, width]."""
    history: tuple[torch.Tensor, ...] = ()
    """What the solver remembers, each like the latents; nothing before the first step."""

    def frames(self, frames: torch.Tensor) -> SolverState:
        """Of these frames, int64 [window]."""
        place = frames.to(self.latents.device)
        latents, *history = (each.index_select(0, place) for each in (self.latents, *self.history))
        return SolverState(latents, tuple(history))


Solver = Callable[[SolverState, torch.Tensor, torch.Tensor, int], SolverState]
"""`solver(state, z, sigmas, step)`: the state after a step.

`z` are the clean latents that the network sees in `state.latents`, `sigmas` the noise levels of the run,
float32 [steps + 1] on the CPU, and `step` counts from 0.
"""


def euler(state: SolverState, z: torch.Tensor, sigmas: torch.Tensor, step: int) -> SolverState:
    """Of first order, Karras et al., arXiv 2206.00364; as published."""
    x = state.latents
    sigma, following = sigmas[step].to(x), sigmas[step + 1].to(x)
    slope = (x - z) / sigma
    return SolverState(x + slope * (following - sigma))


def dpmpp_2m(state: SolverState, z: torch.Tensor, sigmas: torch.Tensor, step: int) -> SolverState:
    """DPM-Solver++(2M); remembers z."""
    return SolverState(_along_line(state.latents, z, state.history, sigmas, step), (z,))


def unipc(state: SolverState, z: torch.Tensor, sigmas: torch.Tensor, step: int) -> SolverState:
    """UniPC-2; remembers z of the last two steps, and the latents that the last one began with."""
    x = _corrected(state, z, sigmas, step)
    before = state.history[:1]
    return SolverState(_along_line(x, z, before, sigmas, step), (z, x, *before))


SOLVERS: Mapping[str, Solver] = {"euler": euler, "dpmpp_2m": dpmpp_2m, "unipc": unipc}
"""By the names of the setting."""
REMEMBERED: Mapping[str, int] = {"euler": 0, "dpmpp_2m": 1, "unipc": 3}
"""Tensors like the latents that each keeps of every frame, at most."""


def _along_line(
    x: torch.Tensor, z: torch.Tensor, before: tuple[torch.Tensor, ...], sigmas: torch.Tensor, step: int
) -> torch.Tensor:
    """A step with z along the line through its values at this step and, where there is one, at the last."""
    sigma, following = float(sigmas[step]), float(sigmas[step + 1])
    if following == 0:
        return z
    h = math.log(sigma / following)
    if before:
        ratio = math.log(float(sigmas[step - 1]) / sigma) / h
        z = z + (z - before[0]) / (2 * ratio)
    return x * math.exp(-h) - z * math.expm1(-h)


def _corrected(state: SolverState, z: torch.Tensor, sigmas: torch.Tensor, step: int) -> torch.Tensor:
    """The last step once more, now that z is known where it led (UniC; shorter after the first step)."""
    if not state.history:
        return state.latents
    last, x, *older = state.history
    sigma = float(sigmas[step])
    h = math.log(float(sigmas[step - 1]) / sigma)
    whole = -math.expm1(-h)
    towards = (z - last) / 2
    if older:
        # The weights of both differences make the step exact for z quadratic in lambda.
        ratio = math.log(float(sigmas[step - 2] / sigmas[step - 1])) / h
        linear = 1 / whole - 1 / h
        quadratic = (1 - 2 * (1 - whole / h) / h) / whole
        past = (linear - quadratic) / (1 + ratio)
        towards = (z - last) * (linear - past) + (last - older[0]) * (past / ratio)
    return x * math.exp(-h) + (last + towards) * whole
