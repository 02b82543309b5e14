"""From Whisper's hidden states to tokens for the cross-attentions and to motion buckets.

Ji et al., "Sonic: Shifting Focus to Global Audio Perception in Portrait Animation", arXiv 2411.16331.
Names and shapes are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .build import on_meta

TOKEN_CONFIG = {
    "seq_len": 10,
    "blocks": 5,
    "channels": 384,
    "intermediate_dim": 1024,
    "output_dim": 1024,
    "context_tokens": 32,
}
"""The published audio2token: states per frame, layers of Whisper, their width; width of the tokens, count."""
BUCKET_CONFIG = {
    "seq_len": 50,
    "blocks": 1,
    "channels": 384,
    "clip_channels": 1024,
    "intermediate_dim": 1024,
    "output_dim": 1,
    "context_tokens": 2,
}
"""The published audio2bucket."""


class AudioToToken(nn.Module):
    """Ten steps of five hidden states become the audio tokens of one frame."""

    def __init__(
        self,
        seq_len: int,
        blocks: int,
        channels: int,
        intermediate_dim: int,
        output_dim: int,
        context_tokens: int,
    ) -> None:
        super().__init__()
        self.window = (seq_len, blocks, channels)
        """Shape of the input of one frame."""
        self.context_tokens = context_tokens
        self.proj1 = nn.Linear(seq_len * blocks * channels, intermediate_dim)
        self.proj2 = nn.Linear(intermediate_dim, intermediate_dim)
        self.proj3 = nn.Linear(intermediate_dim, context_tokens * output_dim)
        self.norm = nn.LayerNorm(output_dim)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[frames, steps, layers, channels] → [frames, tokens, width]."""
        x = functional.relu(self.proj1(states.flatten(1)))
        x = functional.relu(self.proj2(x))
        return self.norm(self.proj3(x).unflatten(-1, (self.context_tokens, -1)))


class AudioToBucket(nn.Module):
    """Two seconds of speech and the portrait's embedding become two strengths of motion for one frame."""

    def __init__(
        self,
        seq_len: int,
        blocks: int,
        channels: int,
        clip_channels: int,
        intermediate_dim: int,
        output_dim: int,
        context_tokens: int,
    ) -> None:
        super().__init__()
        self.window = (seq_len, blocks, channels)
        """Shape of the input of one frame."""
        self.proj1 = nn.Linear(seq_len * blocks * channels + clip_channels, intermediate_dim)
        self.proj2 = nn.Linear(intermediate_dim, intermediate_dim)
        self.proj3 = nn.Linear(intermediate_dim, context_tokens * output_dim)

    def forward(self, states: torch.Tensor, portrait: torch.Tensor) -> torch.Tensor:
        """[frames, steps, layers, channels] and CLIP's [1 or frames, width] → [frames, 2] around 0.

        Raw output: the buckets are 16 times as much plus 16 (`engines.sonic.conditioning.buckets`).
        """
        x = torch.cat([states.flatten(1), portrait.expand(len(states), -1)], dim=-1)
        x = functional.silu(self.proj1(x))
        x = functional.silu(self.proj2(x))
        return self.proj3(x)


def build_audio2token(config: Mapping[str, Any] = TOKEN_CONFIG) -> AudioToToken:
    """On the meta device; `build.fill` gives it weights."""
    return on_meta(lambda: AudioToToken(**config))


def build_audio2bucket(config: Mapping[str, Any] = BUCKET_CONFIG) -> AudioToBucket:
    """On the meta device; `build.fill` gives it weights."""
    return on_meta(lambda: AudioToBucket(**config))
