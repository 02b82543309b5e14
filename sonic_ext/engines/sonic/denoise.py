"""The network with everything it is conditioned on: what the sampler calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ...nn.attention import Level, Tokens, Window
from ...nn.unet import predict
from .conditioning import added_time_ids
from .guidance import Guidance
from .schedule import Moment


@dataclass(frozen=True)
class Conditioning:
    """What stays the same over the steps of a video. Everything lies on the network's device."""

    portrait: torch.Tensor
    """[1, 4, height, width]: the VAE's unscaled mean."""
    clip: Tokens
    """The portrait's CLIP embedding, [1, 1, width]."""
    speech: Tokens
    """Audio tokens, [frames, tokens, width]."""
    silence: Tokens
    """Audio tokens of zero states, [1, tokens, width]."""
    buckets: torch.Tensor
    """float32 [frames, 2]."""
    levels: Mapping[int, Level] = field(default_factory=dict)
    """The face mask; empty for none."""
    no_portrait: Tokens = field(init=False)
    """A zero embedding."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "no_portrait", Tokens(torch.zeros_like(self.clip.values[:1])))

    def window(self, frames: torch.Tensor) -> Window:
        """Three branches: nothing; portrait; portrait and speech."""
        branches = [
            (self.no_portrait, self.silence),
            (self.clip, self.silence),
            (self.clip, self.speech),
        ]
        return Window.of(branches, frames, self.levels)


@dataclass(frozen=True)
class Denoiser:
    """Predicts v with guidance; a `sampling.Predict`."""

    unet: Any
    """From `nn.unet.build_unet`, filled."""
    conditioning: Conditioning
    guidance: Guidance = field(default_factory=Guidance)
    head: float = 1.0
    """Strength of head motion."""
    expression: float = 1.0
    """Strength of mouth and expression."""
    together: bool = True
    """All branches in one call; one after the other takes a third of the activations."""

    def __call__(self, x: torch.Tensor, moment: Moment, frames: torch.Tensor) -> torch.Tensor:
        """v, [window, 4, height, width], for scaled latents of the same shape."""
        x = x.to(self.conditioning.portrait)
        ids = self.ids(frames)
        window = self.conditioning.window(frames)
        timestep = moment.timestep.to(x.device)
        branches = range(len(window.branches))
        if self.together:
            inputs = torch.stack([self._input(x, branch) for branch in branches])
            parts = list(predict(self.unet, window, inputs, timestep, ids.repeat(len(branches), 1)))
        else:
            each = ((window.only(branch), self._input(x, branch)[None]) for branch in branches)
            parts = [predict(self.unet, one, inputs, timestep, ids)[0] for one, inputs in each]
        return self.guidance.combined(parts, moment.step, moment.steps)

    def ids(self, frames: torch.Tensor) -> torch.Tensor:
        """What the network is told of motion in a window, float32 [1, 3]."""
        return added_time_ids(self.conditioning.buckets, frames, self.head, self.expression)

    def _input(self, x: torch.Tensor, branch: int) -> torch.Tensor:
        """[window, 8, height, width]: the first branch sees no portrait."""
        portrait = self.conditioning.portrait if branch else torch.zeros_like(self.conditioning.portrait)
        return torch.cat([x, portrait.expand_as(x)], dim=1)
