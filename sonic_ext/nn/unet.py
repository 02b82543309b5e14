"""The denoising network: diffusers' UNet of Stable Video Diffusion with audio in its cross-attentions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .attention import Window, conditioned, install
from .blocks import blocks_in_pieces
from .build import arguments, on_meta
from .feedforward import in_pieces
from .layers import blend_in_place, double_in_convolutions, flatten_convolutions
from .residual import residuals_in_place

CONFIG: dict[str, Any] = {
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [5, 10, 20, 20],
    "num_frames": 25,
}
"""Stable Video Diffusion XT."""


def build_unet(config: Mapping[str, Any] = CONFIG, lean: bool = True) -> Any:
    """A `UNetSpatioTemporalConditionModel` with audio processors, on the meta device.

    Args:
        config: as in `config.json`.
        lean: some layers are replaced by cheaper ones with the same weights and the same result.
    """
    from diffusers import UNetSpatioTemporalConditionModel

    def build() -> Any:
        unet = UNetSpatioTemporalConditionModel(**arguments(config))
        install(unet)
        if lean:
            made_lean(unet)
        return unet

    return on_meta(build)


def made_lean(unet: Any) -> None:
    """Everything that is exact and pays; weights may be filled before or after."""
    flatten_convolutions(unet)
    double_in_convolutions(unet)
    blend_in_place(unet)
    in_pieces(unet)
    blocks_in_pieces(unet)
    residuals_in_place(unet)


def predict(
    unet: Any, window: Window, x: torch.Tensor, timestep: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    """One call of the network.

    Args:
        unet: from `build_unet`.
        window: the conditioning, of as many branches as `x`.
        x: [branches, frames, 8, height, width]: scaled latents and the portrait's latent.
        timestep: scalar, the continuous time.
        ids: [branches, 3]: frames per second, head bucket, expression bucket.

    Returns:
        [branches, frames, 4, height, width], the predicted velocity.
    """
    # The processors have the real context; this one only passes through diffusers' reshaping.
    nothing = x.new_zeros(len(x), 1, 1)
    with conditioned(unet, window):
        return unet(x, timestep, nothing, ids, return_dict=False)[0]
