"""The temporal VAE of Stable Video Diffusion: diffusers' class and what the engine does with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from .build import arguments, on_meta
from .layers import GROUPS, TemporalConvolution, group_channels

CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
    "norm_num_groups": GROUPS,
}
"""Stable Video Diffusion's."""


IMAGE_CONFIG: dict[str, Any] = {
    **{key: value for key, value in CONFIG.items() if key != "force_upcast"},
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
"""Stable Diffusion 1's, which has the same latents."""


def build_image_vae(config: Mapping[str, Any] = IMAGE_CONFIG) -> Any:
    """An `AutoencoderKL` without its encoder, on the meta device: decodes pictures one by one."""
    from diffusers import AutoencoderKL

    def build() -> Any:
        vae = AutoencoderKL(**arguments(config))
        del vae.encoder, vae.quant_conv
        return vae

    return on_meta(build)


def build_vae(config: Mapping[str, Any] = CONFIG) -> Any:
    """An `AutoencoderKLTemporalDecoder` on the meta device."""
    return on_meta(lambda: start_vae(config))


def start_vae(config: Mapping[str, Any]) -> Any:
    """An `AutoencoderKLTemporalDecoder`, randomly started; diffusers' own has 32 groups of channels."""
    from diffusers import AutoencoderKLTemporalDecoder

    own = arguments(config)
    groups = own.pop("norm_num_groups", GROUPS)
    vae = AutoencoderKLTemporalDecoder(**own)
    _flatten_convolutions(vae)
    group_channels(vae, groups)
    return vae


def _flatten_convolutions(network: torch.nn.Module) -> None:
    """Convolutions over time alone in two dimensions: exact, and not every device knows the other kind."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Conv3d) and child.kernel_size == (3, 1, 1):
                setattr(parent, name, TemporalConvolution(child.in_channels, child.out_channels))


def encode_mean(vae: Any, pictures: torch.Tensor) -> torch.Tensor:
    """The unscaled mean, [n, 4, height / 8, width / 8], of pictures [n, 3, height, width] in -1 to 1."""
    return vae.encode(pictures).latent_dist.mean


def decode(vae: Any, latents: torch.Tensor, chunk: int = 8, temporal: bool = True) -> Iterator[torch.Tensor]:
    """Pictures of scaled latents [frames, 4, height, width], chunk after chunk.

    Chunks know nothing of each other; the last one is shorter.

    Args:
        vae: of `build_vae` or `build_image_vae`, filled.
        latents: anywhere, in any precision; the work is done where and as the weights are.
        chunk: frames together.
        temporal: which of the two it is.

    Yields:
        [frames of the chunk, 3, 8 · height, 8 · width], around -1 to 1.
    """
    weight = next(vae.decoder.parameters())
    for part in latents.split(chunk):
        unscaled = (part / vae.config.scaling_factor).to(weight.device, weight.dtype)
        frames = {"num_frames": len(part)} if temporal else {}
        yield vae.decode(unscaled, **frames).sample


def to_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """Decoded pictures as values of 0 to 1."""
    return (pictures * 0.5 + 0.5).clamp(0, 1)
