"""The published way: diffusers' UNet with two-source attention written out, for what must equal it.

Every pixel attends to its frame's tokens, every branch of guidance is one more item of the batch, and the
temporal layers project their context once for every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sonic_ext.nn.unet import Branch, UNetConfig


def arguments(config: UNetConfig) -> dict[str, Any]:
    """Of `UNetSpatioTemporalConditionModel`, as in a published `config.json`."""
    kinds = [
        "CrossAttnDownBlockSpatioTemporal" if each else "DownBlockSpatioTemporal" for each in config.attended
    ]
    return {
        "sample_size": 96,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "down_block_types": tuple(kinds),
        "up_block_types": tuple(kind.replace("Down", "Up") for kind in reversed(kinds)),
        "block_out_channels": config.channels,
        "addition_time_embed_dim": config.ids,
        "projection_class_embeddings_input_dim": 3 * config.ids,
        "layers_per_block": config.layers,
        "cross_attention_dim": config.context,
        "transformer_layers_per_block": config.depth,
        "num_attention_heads": config.heads,
        "num_frames": 25,
    }


def config_of(told: dict[str, Any]) -> UNetConfig:
    """The other way round."""
    return UNetConfig(
        channels=tuple(told["block_out_channels"]),
        heads=tuple(told["num_attention_heads"]),
        attended=tuple(kind.startswith("CrossAttn") for kind in told["down_block_types"]),
        layers=told["layers_per_block"],
        depth=told["transformer_layers_per_block"],
        context=told["cross_attention_dim"],
        ids=told["addition_time_embed_dim"],
        in_channels=told["in_channels"],
        out_channels=told["out_channels"],
    )


class Oracle(nn.Module):  # type: ignore[misc]
    """Called as the `UNet` is; its keys are the same."""

    def __init__(self, config: UNetConfig) -> None:
        from diffusers import UNetSpatioTemporalConditionModel

        super().__init__()
        self.unet = UNetSpatioTemporalConditionModel(**arguments(config)).eval()
        self.processors = []
        for name, module in list(self.unet.named_modules()):
            if name.endswith(".attn2"):
                temporal = "temporal_transformer_blocks" in name
                module.set_processor(Processor(module.to_q.out_features, config.context, temporal))
                self.processors.append(module.processor)

    def forward(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        ids: torch.Tensor,
        branches: Sequence[Branch],
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        """[branches, frames, 4, height, width]; nothing is cached, no weights visit, nobody stops it."""
        for processor in self.processors:
            processor.branches = branches
        inputs = [branch.input for branch in branches]
        nothing = x.new_zeros(len(inputs), 1, 1)  # diffusers reshapes it; the processors have the real one
        return self.unet(x[inputs], timestep, nothing, ids[inputs], return_dict=False)[0]


class Processor(nn.Module):  # type: ignore[misc]
    """Two-source cross-attention without any saving."""

    branches: Sequence[Branch]

    def __init__(self, hidden: int, context: int, temporal: bool) -> None:
        super().__init__()
        self.to_k_ip = nn.ModuleList([nn.Linear(context, hidden, bias=False)])
        self.to_v_ip = nn.ModuleList([nn.Linear(context, hidden, bias=False)])
        self.temporal = temporal
        """Frames attend to the window's mean tokens, for every pixel anew; else pixels to their frame's."""

    def forward(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """[branches · n, length, hidden]."""
        rows = hidden_states.unflatten(0, (len(self.branches), -1))
        portrait, speech = (
            torch.cat([self.repeated(getattr(branch, name), rows.shape[1]) for branch in self.branches])
            for name in ("portrait", "speech")
        )
        query = attn.to_q(hidden_states)
        seen = heads(query, attn.to_k(portrait), attn.to_v(portrait), attn.heads)
        heard = heads(query, self.to_k_ip[0](speech), self.to_v_ip[0](speech), attn.heads)
        return attn.to_out[0](seen + (heard if self.temporal else self.masked(heard)))

    def repeated(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """[count, tokens, width]."""
        if self.temporal:
            return tokens.mean(0, keepdim=True).repeat(count, 1, 1)
        return tokens.expand(count, -1, -1)

    def masked(self, heard: torch.Tensor) -> torch.Tensor:
        """With the face mask, where there is one."""
        parts = heard.unflatten(0, (len(self.branches), -1))
        found = [
            part * whole(branch.face[heard.shape[1]], heard) if branch.face else part
            for part, branch in zip(parts, self.branches, strict=True)
        ]
        return torch.cat(found)


def whole(level: Any, like: torch.Tensor) -> torch.Tensor:
    """The mask of all pixels, [pixels, 1]."""
    if level.face is None:
        return level.weights.to(like)
    return like.new_zeros(like.shape[1], 1).index_copy(0, level.face, level.weights.to(like))


def heads(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, count: int) -> torch.Tensor:
    """Scaled dot-product attention, [batch, length, hidden]."""
    parts = (each.unflatten(-1, (count, -1)).transpose(1, 2) for each in (query, key, value))
    return functional.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(query.shape)
