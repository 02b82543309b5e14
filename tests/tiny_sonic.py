"""A set of weights of the sonic engine, tiny and random, in the published files' places and names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sonic_ext import weights
from sonic_ext.nn import audio, clip, interpolate, unet, vae, whisper

WIDTH = 32
"""Of tokens and embeddings."""
UNET = unet.UNetConfig(channels=(32, 32, 32, 32), heads=(1, 1, 1, 1), layers=1, context=WIDTH, ids=32)
VAE = {**vae.CONFIG, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
CLIP = {
    **clip.CONFIG,
    "hidden_size": 80,
    "intermediate_size": 96,
    "projection_dim": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "patch_size": 56,
}
WHISPER = {
    **whisper.CONFIG,
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 1,
    "encoder_ffn_dim": 96,
}
TOKEN = {
    "seq_len": 10,
    "blocks": 3,
    "channels": 64,
    "intermediate_dim": 48,
    "output_dim": WIDTH,
    "context_tokens": 4,
}
BUCKET = {
    "seq_len": 50,
    "blocks": 1,
    "channels": 64,
    "clip_channels": WIDTH,
    "intermediate_dim": 48,
    "output_dim": 1,
    "context_tokens": 2,
}


def write(
    folder: Path,
    rife: bool = False,
    unet_config: unet.UNetConfig = UNET,
    vae_config: Mapping[str, Any] = VAE,
    width: int = WIDTH,
) -> Path:
    """Write every part that the engine needs; a set of a few megabytes as it is.

    Args:
        folder: a models folder.
        rife: write frame interpolation too, which has one size only: 12 MB.
        unet_config: its `context` is `width`.
        vae_config: of the temporal VAE.
        width: of tokens and embeddings.
    """
    clip_config = {**CLIP, "projection_dim": width}
    _save(folder, weights.UNET, unet.build_unet(unet_config))
    _save(folder, weights.VAE, vae.build_vae(vae_config))
    _save(folder, weights.IMAGE_ENCODER, clip.build_clip(clip_config), told={"num_attention_heads": 1})
    _save(folder, weights.WHISPER, whisper.build_whisper(WHISPER), whisper.PREFIX)
    _save(folder, weights.AUDIO2TOKEN, audio.build_audio2token({**TOKEN, "output_dim": width}))
    _save(folder, weights.AUDIO2BUCKET, audio.build_audio2bucket({**BUCKET, "clip_channels": width}))
    if rife:
        _save(folder, weights.RIFE, interpolate.build_interpolator(), "module.", slope=0.25, loud=0.5)
    return folder


def write_image_vae(folder: Path) -> None:
    """Write the optional decoder for single pictures beside the others."""
    small = {**vae.IMAGE_CONFIG, "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}
    _save(folder, weights.IMAGE_VAE, vae.build_image_vae(small))


def _save(
    folder: Path,
    part: weights.Part,
    network: Any,
    prefix: str = "",
    told: Mapping[str, Any] | None = None,
    slope: float = 1.0,
    loud: float = 1.0,
) -> None:
    path = folder / part.local_names[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    made = {prefix + key: random(key, tuple(value.shape), slope, loud) for key, value in state.items()}
    save_file({key: value for key, value in made.items() if not key.endswith("position_ids")}, path)
    if told:
        (path.parent / "config.json").write_text(json.dumps(told), encoding="utf-8")


def random(key: str, shape: tuple[int, ...], slope: float = 1.0, loud: float = 1.0) -> torch.Tensor:
    """A weight that keeps the loudness of what passes through it, times `loud`."""
    generator = torch.Generator().manual_seed(sum(map(ord, key)) + 7 * len(shape))
    noise = torch.randn(shape, generator=generator)
    if len(shape) >= 2:
        return noise * loud / math.sqrt(math.prod(shape[1:]))
    return slope + 0.05 * noise if key.endswith("weight") else 0.02 * noise
