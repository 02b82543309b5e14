"""The denoising loop, over any function that predicts v."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from .schedule import Moment, Schedule, euler, scaled
from .windows import Plan

SCALING = 0.18215
"""Latents of the sampler per latent of the VAE."""


class Predict(Protocol):
    """The network with its guidance."""

    def __call__(self, x: torch.Tensor, moment: Moment, frames: torch.Tensor) -> torch.Tensor:
        """v for scaled latents.

        Args:
            x: [window, channels, height, width].
            moment: which step this is.
            frames: int64 [window], which frames of the video these are.

        Returns:
            The same shape as `x`.
        """


def starting_latents(portrait: torch.Tensor, noise: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """Where the sampler begins: the portrait's latent under the most noise.

    Args:
        portrait: [1, channels, height, width], the VAE's unscaled mean.
        noise: [frames, channels, height, width], standard normal.
        schedule: of the run.
    """
    return SCALING * portrait.to(noise) + schedule.sigmas[0].to(noise) * noise


def draw_noise(
    generator: torch.Generator, frames: int, size: tuple[int, int], factor: int = 8
) -> torch.Tensor:
    """Standard normal float32 latents [frames, 4, height, width], on the generator's device.

    Args:
        generator: seeded; the published inference draws noise of the picture's size first and leaves it
            unused, and so do we: that one seed means the same.
        frames: of the video.
        size: height, width of the latents.
        factor: pixels of the picture per latent.
    """
    height, width = size
    device = generator.device
    torch.randn((1, 3, height * factor, width * factor), generator=generator, device=device)
    return torch.randn((1, frames, 4, height, width), generator=generator, device=device)[0]


def sample(
    predict: Predict, latents: torch.Tensor, schedule: Schedule, plan: Plan, start: int = 0
) -> Iterator[torch.Tensor]:
    """Euler's method in moving windows: the latents after each step.

    Args:
        predict: the guided network.
        latents: [frames, channels, height, width] at the noise level of step `start`; float32 is advised.
        schedule: of the run.
        plan: windows of each step.
        start: the first step to take; the latents after step n go on with `start` n + 1.

    Yields:
        New latents, once a step.
    """
    for step in range(start, schedule.steps):
        latents = _step(predict, latents, schedule.moment(step), plan.windows(step))
        yield latents


def _step(predict: Predict, latents: torch.Tensor, moment: Moment, windows: list[list[int]]) -> torch.Tensor:
    """Every window by itself; frames that were seen more than once are averaged."""
    sigma, following = moment.sigma.to(latents), moment.following.to(latents)
    total, seen = torch.zeros_like(latents), latents.new_zeros(len(latents), 1, 1, 1)
    for window in windows:
        frames = torch.tensor(window, device=latents.device)
        x = latents.index_select(0, frames)
        v = predict(scaled(x, sigma), moment, frames).to(x)
        total.index_add_(0, frames, euler(x, v, sigma, following))
        seen.index_add_(0, frames, seen.new_ones(len(frames), 1, 1, 1))
    return total / seen
