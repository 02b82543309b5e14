"""The miniature's VAE: diffusers' temporal decoder with few channels, trained on the footage.

Its latents are scaled into its weights, so that the sampler's published constant gives them unit variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ...engines.sonic.sampling import SCALING
from ..steps import Losses
from .footage import FootageClip
from .sizes import SIDE, VAE

CLIPS, TOGETHER = 3, 4
"""Clips of a batch, and frames of each: many faces teach more than many frames of one."""
MOUTH_WEIGHT = 4.0
"""Of a pixel of the mouth, beside 1."""
KL_WEIGHT = 1e-5
GRADIENT_WEIGHT = 0.5
"""Of differences between neighbouring pixels, without which edges are soft."""
MEASURED = 8
"""Frames of a clip that are decoded together to see how well."""


def pixels(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """uint8 [n, h, w, 3] as the VAE takes them, float32 [n, 3, h, w] of -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def mouth_weights(clip: FootageClip) -> torch.Tensor:
    """[1, 1, SIDE, SIDE]: `MOUTH_WEIGHT` at the mouth, 1 elsewhere."""
    weights = torch.ones(1, 1, SIDE, SIDE)
    left, top, right, bottom = clip.mouth.rounded()
    weights[..., top:bottom, left:right] = MOUTH_WEIGHT
    return weights


def codec_losses(codec: Any, clips: Sequence[FootageClip], step: int, seed: int) -> Losses:
    """Of one batch: absolute differences of pixels and of neighbours, and the latents' divergence."""
    rng = np.random.default_rng([seed, step, 1])
    chosen = [clips[int(place)] for place in rng.choice(len(clips), CLIPS, replace=len(clips) < CLIPS)]
    parts = []
    for clip in chosen:
        start = int(rng.integers(len(clip.frames) - TOGETHER + 1))
        part = pixels(clip.frames[start : start + TOGETHER])
        parts.append(part * float(rng.uniform(0.8, 1.1)) + float(rng.uniform(-0.1, 0.1)))
    wanted = torch.cat(parts).clamp(-1, 1)
    found = codec.encode(wanted).latent_dist
    error = codec.decode(found.sample(), num_frames=TOGETHER).sample - wanted
    weights = torch.cat([mouth_weights(clip).expand(TOGETHER, -1, -1, -1) for clip in chosen])
    edges = sum((error.diff(dim=axis).abs() * weights.narrow(axis, 0, SIDE - 1)).mean() for axis in (-1, -2))
    return {
        "pixels": (error.abs() * weights).mean(),
        "edges": GRADIENT_WEIGHT * torch.as_tensor(edges),
        "divergence": KL_WEIGHT * found.kl().mean(),
    }


@torch.no_grad()
def encoded(codec: Any, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """The VAE's unscaled means of frames, float32 [n, 4, SIDE / 8, SIDE / 8]."""
    return torch.cat([codec.encode(part).latent_dist.mean for part in pixels(frames).split(64)])


@torch.no_grad()
def scale_latents(codec: Any, clips: Sequence[FootageClip]) -> float:
    """Scale the latents so that `SCALING` times them vary by 1; the pictures stay.

    Returns:
        Their standard deviation before.
    """
    latents = torch.cat([encoded(codec, clip.frames[::5]) for clip in clips])
    std = float(latents.std())
    factor = 1 / (SCALING * std)
    channels = VAE["latent_channels"]
    codec.quant_conv.weight[:channels] *= factor
    codec.quant_conv.bias[:channels] *= factor
    codec.quant_conv.bias[channels:] += 2 * float(np.log(factor))  # of the variance's logarithm
    codec.decoder.conv_in.weight /= factor
    return std


def psnr(drawn: torch.Tensor, wanted: torch.Tensor) -> float:
    """Decibels over values of -1 to 1."""
    return float(10 * torch.log10(4 / functional.mse_loss(drawn.clamp(-1, 1), wanted)))


@torch.no_grad()
def codec_psnr(codec: Any, clips: Sequence[FootageClip]) -> float:
    """Of encoding and decoding, mean over clips, decibels."""
    found = []
    for clip in clips:
        part = clip.frames[:MEASURED]
        drawn = codec.decode(encoded(codec, part), num_frames=len(part)).sample
        found.append(psnr(drawn, pixels(part)))
    return float(np.mean(found))
