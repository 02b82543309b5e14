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
from ...nn.layers import TemporalConvolution
from ...nn.vae import start_vae
from ..steps import Losses
from .footage import FootageClip
from .sizes import FACTOR, SIDE, VAE

STILL = 0.75
"""Share of the steps that learn from pictures of many people, one by one; the rest from moving ones."""
PICTURES, CLIPS, TOGETHER = 6, 2, 4
"""Pictures of a step; clips of a later one, and frames of each."""
CROP = 64
"""Pixels of a side of what a step looks at, in multiples of `FACTOR`."""
AT_MOUTH = 0.4
"""Share of crops around the mouth; the others are anywhere."""
MOUTH_WEIGHT = 4.0
"""Of a pixel of the mouth, beside 1."""
KL_WEIGHT = 1e-6
QUIET = -6.0
"""Logarithm of the latents' variance at the start: nothing comes through more."""
MEASURED = 8
"""Frames of a clip that are decoded together to see how well."""


@torch.no_grad()
def start_codec() -> Any:
    """An `AutoencoderKLTemporalDecoder`, started so that frames know nothing of each other."""
    codec = start_vae(VAE)
    channels = VAE["latent_channels"]
    codec.quant_conv.weight[channels:] *= 0.1
    codec.quant_conv.bias[channels:] = QUIET
    for module in codec.modules():
        if isinstance(module, TemporalConvolution):
            module.weight[:, :, ::2] = 0
    codec.decoder.time_conv_out.weight[:, :, 1] = torch.eye(3)[..., None, None]
    codec.decoder.time_conv_out.bias.zero_()
    for weight in codec.parameters():
        if weight.dim() == 4:
            weight.data = weight.contiguous(memory_format=torch.channels_last)
    return codec


def pixels(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """uint8 [n, h, w, 3] as the VAE takes them, float32 [n, 3, h, w] of -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def mouth_weights(clip: FootageClip) -> torch.Tensor:
    """[1, 1, SIDE, SIDE]: `MOUTH_WEIGHT` at the mouth, 1 elsewhere."""
    weights = torch.ones(1, 1, SIDE, SIDE)
    left, top, right, bottom = clip.mouth.rounded()
    weights[..., top:bottom, left:right] = MOUTH_WEIGHT
    return weights


def codec_losses(codec: Any, clips: Sequence[FootageClip], step: int, seed: int, moving: bool) -> Losses:
    """Of one batch: squares of what differs, and the latents' divergence."""
    rng = np.random.default_rng([seed, step, 1])
    count, together = (CLIPS, TOGETHER) if moving else (PICTURES, 1)
    chosen = [clips[int(place)] for place in rng.choice(len(clips), count, replace=len(clips) < count)]
    parts, weights = [], []
    for clip in chosen:
        start = int(rng.integers(len(clip.frames) - together + 1))
        rows, columns = _crop(clip, rng)
        part = pixels(clip.frames[start : start + together, rows, columns])
        parts.append(part * float(rng.uniform(0.8, 1.1)) + float(rng.uniform(-0.1, 0.1)))
        weights.append(mouth_weights(clip)[..., rows, columns].expand(together, -1, -1, -1))
    wanted = torch.cat(parts).clamp(-1, 1).contiguous(memory_format=torch.channels_last)
    found = codec.encode(wanted).latent_dist
    error = codec.decode(found.sample(), num_frames=together).sample - wanted
    return {
        "pixels": (error**2 * torch.cat(weights)).mean(),
        "divergence": KL_WEIGHT * found.kl().mean(),
    }


def _crop(clip: FootageClip, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns, beginning where a latent does."""
    places = rng.uniform(0, SIDE - CROP, 2)
    if rng.random() < AT_MOUTH:
        x, y = clip.mouth.centre
        places = np.array([y, x]) - CROP / 2 + rng.uniform(-2 * FACTOR, 2 * FACTOR, 2)
    row, column = FACTOR * (places.clip(0, SIDE - CROP) / FACTOR).round().astype(int)
    return slice(row, row + CROP), slice(column, column + CROP)


@torch.no_grad()
def encoded(codec: Any, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """The VAE's unscaled means of frames, float32 [n, 4, SIDE / 8, SIDE / 8]."""
    return torch.cat([codec.encode(part).latent_dist.mean for part in pixels(frames).split(4)])


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
