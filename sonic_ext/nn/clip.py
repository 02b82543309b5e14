"""The image encoder: transformers' CLIP vision tower with its projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .build import arguments, on_meta

CONFIG: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1024,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-05,
}
"""OpenCLIP ViT-H/14, as Stable Video Diffusion ships it."""


def build_clip(config: Mapping[str, Any] = CONFIG) -> Any:
    """A `CLIPVisionModelWithProjection` on the meta device."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return on_meta(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**arguments(config))))


def embed(clip: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Embeddings [n, width] of normalised pictures [n, 3, 224, 224]."""
    return clip(pixel_values=pictures).image_embeds
