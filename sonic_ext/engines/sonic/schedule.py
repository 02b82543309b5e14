"""Noise levels of a run, and what a prediction at one of them means.

Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364;
Sabour et al., "Align Your Steps", arXiv 2404.14507. The network predicts v (Salimans & Ho, arXiv 2202.00512)
at continuous times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...weights import SCHEDULER_VALUES as CONFIG

RHO = 7.0
"""How much closer the small sigmas are to each other."""
ALIGNED = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)
"""What Align Your Steps found for ten steps of Stable Video Diffusion."""


@dataclass(frozen=True)
class Moment:
    """One step of a run; its tensors are float32 scalars on the CPU."""

    step: int
    """From 0."""
    steps: int
    """Of the run."""
    timestep: torch.Tensor
    """The conditioning on noise."""
    sigma: torch.Tensor
    """Noise before the step."""
    following: torch.Tensor
    """Noise after it."""


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a run."""

    sigmas: torch.Tensor
    """float32 [steps + 1], from the most noise to 0."""
    timesteps: torch.Tensor
    """float32 [steps], the conditioning on noise: a quarter of the logarithm of sigma."""

    @property
    def steps(self) -> int:
        """Calls of the sampler."""
        return len(self.timesteps)

    def moment(self, step: int) -> Moment:
        """Where the run stands at a step, from 0."""
        return Moment(step, self.steps, self.timesteps[step], self.sigmas[step], self.sigmas[step + 1])


def schedule(steps: int, config: Mapping[str, Any] = CONFIG, kind: str = "karras") -> Schedule:
    """Noise levels; on the CPU.

    Args:
        steps: at least 1.
        config: as in `scheduler_config.json`: `sigma_max` and `sigma_min` count.
        kind: karras or align_your_steps.

    Raises:
        ValueError: the scheduler does not predict v in continuous time, or there is no such kind.
    """
    for key in ("prediction_type", "timestep_type", "use_karras_sigmas"):
        if config[key] != CONFIG[key]:
            raise ValueError(f"the scheduler's {key} is {config[key]}, not {CONFIG[key]}")
    if kind not in SCHEDULES:
        raise ValueError(f"no schedule is called {kind}")
    levels = SCHEDULES[kind](steps, float(config["sigma_max"]), float(config["sigma_min"]))
    sigmas = torch.from_numpy(levels.astype(np.float32))
    return Schedule(torch.cat([sigmas, torch.zeros(1)]), 0.25 * sigmas.log())


def karras(steps: int, highest: float, lowest: float) -> NDArray[np.float64]:
    """Equation 5 of Karras et al., as diffusers' `EulerDiscreteScheduler` has it: both ends are steps."""
    first, last = highest ** (1 / RHO), lowest ** (1 / RHO)
    return (first + np.linspace(0, 1, steps) * (last - first)) ** RHO


def align_your_steps(steps: int, highest: float, lowest: float) -> NDArray[np.float64]:
    """`ALIGNED`, for another number of steps between them along the logarithm, as its authors do.

    The lowest level gives way to 0, the end of the last step. For weights with another range of noise the
    logarithms are stretched evenly from one range to the other: its ends become theirs.
    """
    known = np.log(ALIGNED)
    levels = np.interp(np.linspace(0, 1, steps + 1), np.linspace(0, 1, len(known)), known)[:-1]
    stretch = np.log(highest / lowest) / (known[0] - known[-1])
    return np.asarray(highest * np.exp((levels - known[0]) * stretch))


SCHEDULES: Mapping[str, Callable[[int, float, float], NDArray[np.float64]]] = {
    "karras": karras,
    "align_your_steps": align_your_steps,
}
"""By the names of the setting: noise levels of the steps, from the most noise on."""


def scaled(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Noisy latents with the variance that the network expects."""
    return x / (sigma**2 + 1) ** 0.5


def denoised(x: torch.Tensor, v: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The clean latents that a prediction of v stands for."""
    return v * (-sigma / (sigma**2 + 1) ** 0.5) + x / (sigma**2 + 1)


def velocity(x: torch.Tensor, z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The prediction of v of noisy latents `x` for which `denoised` gives the clean latents `z`."""
    return (x / (sigma**2 + 1) - z) * (sigma**2 + 1) ** 0.5 / sigma
