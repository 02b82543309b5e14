"""A network's configuration, read off the shapes of its weights.

What shapes cannot tell, the widths of attention heads, comes from a `config.json` beside the file where there
is one, and is that of the published networks otherwise. Sources of the rules: the published configurations of
Stable Video Diffusion, OpenCLIP ViT-H/14 and Whisper.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from . import clip, unet, vae, whisper
from .layers import GROUPS

Shapes = Mapping[str, tuple[int, ...]]
NOTHING: Mapping[str, Any] = MappingProxyType({})
HEAD = 64
"""Channels per attention head of the UNet and of Whisper."""
CLIP_HEAD = 80
"""Channels per attention head of OpenCLIP ViT-H/14."""
STATES = 10
"""Steps of hidden states that make one frame's audio tokens."""


def json_config(path: Path) -> dict[str, Any]:
    """The `config.json` in a file's folder; empty where there is none or it is unreadable as JSON."""
    try:
        values = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def of_unet(shapes: Shapes, stated: Mapping[str, Any] = NOTHING) -> unet.UNetConfig:
    """The size of the UNet."""
    blocks = range(_count(shapes, "down_blocks.{}.resnets.0.spatial_res_block.conv1.weight"))
    channels = [shapes[f"down_blocks.{n}.resnets.0.spatial_res_block.conv1.weight"][0] for n in blocks]
    attended = [any(key.startswith(f"down_blocks.{n}.attentions.") for key in shapes) for n in blocks]
    attention = f"down_blocks.{attended.index(True)}.attentions.0"
    heads = stated.get("num_attention_heads") or [max(1, side // HEAD) for side in channels]
    return unet.UNetConfig(
        channels=tuple(channels),
        heads=tuple(heads) if isinstance(heads, list) else (int(heads),) * len(channels),
        attended=tuple(attended),
        layers=_count(shapes, "down_blocks.0.resnets.{}.spatial_res_block.conv1.weight"),
        depth=_count(shapes, attention + ".transformer_blocks.{}.norm1.weight"),
        context=shapes[f"{attention}.transformer_blocks.0.attn2.to_k.weight"][1],
        ids=shapes["add_embedding.linear_1.weight"][1] // 3,
        in_channels=shapes["conv_in.weight"][1],
        out_channels=shapes["conv_out.weight"][0],
        groups=int(stated.get("norm_num_groups") or GROUPS),
    )


def of_vae(shapes: Shapes, stated: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Arguments of `build_vae`; the decoder mirrors the encoder."""
    widths = _decoder_widths(shapes)
    return {
        **vae.CONFIG,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "layers_per_block": _count(shapes, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
        "norm_num_groups": int(stated.get("norm_num_groups") or GROUPS),
    }


def _decoder_widths(shapes: Shapes) -> list[int]:
    levels = _count(shapes, "encoder.down_blocks.{}.resnets.0.conv1.weight")
    return [shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)]


def of_image_vae(shapes: Shapes) -> dict[str, Any]:
    """Arguments of `AutoencoderKL`, from its decoder."""
    levels = range(_count(shapes, "decoder.up_blocks.{}.resnets.0.conv1.weight"))
    widths = [shapes[f"decoder.up_blocks.{level}.resnets.0.conv1.weight"][0] for level in reversed(levels)]
    return {
        **vae.IMAGE_CONFIG,
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": _count(shapes, "decoder.up_blocks.0.resnets.{}.conv1.weight") - 1,
    }


def of_clip(shapes: Shapes, stated: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Arguments of `CLIPVisionConfig`."""
    hidden, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
    patches = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1
    kept = {key: stated[key] for key in ("hidden_act", "layer_norm_eps") if key in stated}
    return {
        **clip.CONFIG,
        **kept,
        "hidden_size": hidden,
        "intermediate_size": shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
        "projection_dim": shapes["visual_projection.weight"][0],
        "num_hidden_layers": _count(shapes, "vision_model.encoder.layers.{}.mlp.fc1.weight"),
        "num_attention_heads": stated.get("num_attention_heads") or max(1, hidden // CLIP_HEAD),
        "image_size": math.isqrt(patches) * patch,
        "patch_size": patch,
    }


def of_whisper(shapes: Shapes, stated: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Arguments of `WhisperConfig`; keys of the encoder without prefix."""
    width, mels, _ = shapes["conv1.weight"]
    return {
        **whisper.CONFIG,
        "num_mel_bins": mels,
        "d_model": width,
        "encoder_layers": _count(shapes, "layers.{}.fc1.weight"),
        "encoder_attention_heads": stated.get("encoder_attention_heads") or max(1, width // HEAD),
        "encoder_ffn_dim": shapes["layers.0.fc1.weight"][0],
        "max_source_positions": shapes["embed_positions.weight"][0],
    }


def of_audio2token(shapes: Shapes, whisper_config: Mapping[str, Any]) -> dict[str, int]:
    """Arguments of `AudioToToken` for the hidden states of a speech encoder's configuration."""
    width = shapes["norm.weight"][0]
    return {
        "seq_len": STATES,
        "blocks": whisper_config["encoder_layers"] + 1,
        "channels": whisper_config["d_model"],
        "intermediate_dim": shapes["proj1.weight"][0],
        "output_dim": width,
        "context_tokens": shapes["proj3.weight"][0] // width,
    }


def of_audio2bucket(
    shapes: Shapes, whisper_config: Mapping[str, Any], clip_config: Mapping[str, Any]
) -> dict[str, int]:
    """Arguments of `AudioToBucket` for a speech encoder and an image encoder."""
    portrait = clip_config["projection_dim"]
    return {
        "seq_len": (shapes["proj1.weight"][1] - portrait) // whisper_config["d_model"],
        "blocks": 1,
        "channels": whisper_config["d_model"],
        "clip_channels": portrait,
        "intermediate_dim": shapes["proj1.weight"][0],
        "output_dim": 1,
        "context_tokens": shapes["proj3.weight"][0],
    }


def _count(shapes: Shapes, pattern: str) -> int:
    """How many keys there are with 0, 1, 2, … in the pattern."""
    number = 0
    while pattern.format(number) in shapes:
        number += 1
    return number
