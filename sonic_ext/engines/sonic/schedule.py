"""Noise levels and one step of Euler's method.

Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364;
the network predicts v (Salimans & Ho, arXiv 2202.00512) at continuous times.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...weights import SCHEDULER_VALUES as CONFIG


@dataclass(frozen=True)
class Moment:
    """One step of a run; its tensors are float32 scalars on the CPU."""

    step: int
    """From 0."""
    steps: int
    """Of the run."""
    timestep: torch.Tensor
    """What the network is told."""
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
    """float32 [steps], what the network is told: a quarter of the logarithm of sigma."""

    @property
    def steps(self) -> int:
        """Calls of the sampler."""
        return len(self.timesteps)

    def moment(self, step: int) -> Moment:
        """Where the run stands at a step, from 0."""
        return Moment(step, self.steps, self.timesteps[step], self.sigmas[step], self.sigmas[step + 1])


def schedule(steps: int, config: Mapping[str, Any] = CONFIG) -> Schedule:
    """The schedule of diffusers' `EulerDiscreteScheduler`, on the CPU.

    Args:
        steps: at least 1.
        config: as in `scheduler_config.json`; keys this diffusers does not know are left out.

    Raises:
        ValueError: the scheduler does not predict v.
    """
    from diffusers import EulerDiscreteScheduler

    known = inspect.signature(EulerDiscreteScheduler.__init__).parameters
    scheduler = EulerDiscreteScheduler(**{key: value for key, value in config.items() if key in known})
    if scheduler.config.prediction_type != "v_prediction":
        raise ValueError(f"the scheduler predicts {scheduler.config.prediction_type}, not v")
    scheduler.set_timesteps(steps)
    return Schedule(scheduler.sigmas.float().cpu(), scheduler.timesteps.float().cpu())


def scaled(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Noisy latents with the variance that the network expects."""
    return x / (sigma**2 + 1) ** 0.5


def denoised(x: torch.Tensor, v: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The clean latents that a prediction of v stands for."""
    return v * (-sigma / (sigma**2 + 1) ** 0.5) + x / (sigma**2 + 1)


def euler(x: torch.Tensor, v: torch.Tensor, sigma: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """From noise level `sigma` to the following one."""
    slope = (x - denoised(x, v, sigma)) / sigma
    return x + slope * (following - sigma)
