"""The network with everything it is conditioned on: what the sampler calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ...nn.attention import Level, Tokens, Window
from ...nn.prefix import Prefix
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
    together: bool = False
    """All branches in one call; one after the other takes a third of the activations, and shares layers."""
    share: bool = True
    """Branches with the same latents share their first layers when they come one after the other."""

    def __call__(self, x: torch.Tensor, moment: Moment, frames: torch.Tensor) -> torch.Tensor:
        """v, [window, 4, height, width], for scaled latents of the same shape."""
        portrait = self.conditioning.portrait
        x = x.to(portrait)
        call = Call(
            self.unet, self.conditioning.window(frames), moment.timestep.to(x.device), self.ids(frames)
        )
        inputs = [torch.cat([x, part.expand_as(x)], dim=1) for part in (torch.zeros_like(portrait), portrait)]
        predictions = call.together(inputs) if self.together else call.in_turn(inputs, self.share)
        return self.guidance.combined(predictions, moment.step, moment.steps)

    def ids(self, frames: torch.Tensor) -> torch.Tensor:
        """What the network is told of motion in a window, float32 [1, 3]."""
        return added_time_ids(self.conditioning.buckets, frames, self.head, self.expression)


@dataclass(frozen=True)
class Call:
    """The three branches of one window at one step."""

    unet: Any
    window: Window
    timestep: torch.Tensor
    ids: torch.Tensor
    """float32 [1, 3]."""

    def together(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Predictions [frames, 4, height, width] of inputs [frames, 8, height, width], in one batch.

        `inputs` are those without and with the portrait.
        """
        nothing, image = inputs
        stacked = torch.stack([nothing, image, image])
        ids = self.ids.repeat(len(stacked), 1)
        return list(predict(self.unet, self.window, stacked, self.timestep, ids))

    def in_turn(self, inputs: list[torch.Tensor], share: bool) -> list[torch.Tensor]:
        """The same, one branch after the other."""
        nothing, image = inputs
        if not share:
            return [self._one(branch, x) for branch, x in enumerate((nothing, image, image))]
        prefix, first = Prefix(self.unet), self._one(0, nothing)
        with prefix.recorded():
            second = self._one(1, image)
        with prefix.replayed():
            return [first, second, self._one(2, image)]

    def _one(self, branch: int, x: torch.Tensor) -> torch.Tensor:
        return predict(self.unet, self.window.only(branch), x[None], self.timestep, self.ids)[0]
