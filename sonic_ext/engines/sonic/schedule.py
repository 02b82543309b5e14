"""Noise levels and one step of Euler's method.

Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364;
the network predicts v (Salimans & Ho, arXiv 2202.00512) at continuous times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...weights import SCHEDULER_VALUES as CONFIG

RHO = 7.0
"""How much closer the small sigmas are to each other."""


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


def schedule(steps: int, config: Mapping[str, Any] = CONFIG) -> Schedule:
    """Sigmas by equation 5 of Karras et al., as diffusers' `EulerDiscreteScheduler` makes them; on the CPU.

    Args:
        steps: at least 1.
        config: as in `scheduler_config.json`: `sigma_max` and `sigma_min` count.

    Raises:
        ValueError: the scheduler does not predict v in continuous time.
    """
    for key in ("prediction_type", "timestep_type", "use_karras_sigmas"):
        if config[key] != CONFIG[key]:
            raise ValueError(f"the scheduler's {key} is {config[key]}, not {CONFIG[key]}")
    first, last = (float(config[key]) ** (1 / RHO) for key in ("sigma_max", "sigma_min"))
    sigmas = torch.from_numpy(((first + np.linspace(0, 1, steps) * (last - first)) ** RHO).astype(np.float32))
    return Schedule(torch.cat([sigmas, torch.zeros(1)]), 0.25 * sigmas.log())


def scaled(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Noisy latents with the variance that the network expects."""
    return x / (sigma**2 + 1) ** 0.5


def denoised(x: torch.Tensor, v: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The clean latents that a prediction of v stands for."""
    return v * (-sigma / (sigma**2 + 1) ** 0.5) + x / (sigma**2 + 1)


def velocity(x: torch.Tensor, z: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The prediction of v of noisy latents `x` for which `denoised` gives the clean latents `z`."""
    return (x / (sigma**2 + 1) - z) * (sigma**2 + 1) ** 0.5 / sigma


def euler(x: torch.Tensor, v: torch.Tensor, sigma: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """From noise level `sigma` to the following one."""
    slope = (x - denoised(x, v, sigma)) / sigma
    return x + slope * (following - sigma)
