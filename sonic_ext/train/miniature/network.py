"""The miniature's UNet with its audio adapters, audio2token and audio2bucket, trained on latents.

Noise levels are drawn from a log-normal distribution and the velocity is learned, as Karras et al., arXiv
2206.00364, and Salimans & Ho, arXiv 2202.00512, have it; the mouth's latents weigh more, because it is a
twentieth of the picture and all that is looked at. Portrait and speech are left out now and then, for
guidance. By frame-level InfoNCE the mouth of the latents that the network believes in has to tell the moment
that it hears from others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ...engines.sonic.conditioning import bucket_windows, mask_levels, token_windows
from ...engines.sonic.picture import clip_pixels, draw_mask, mask_values
from ...engines.sonic.sampling import SCALING
from ...engines.sonic.schedule import denoised, scaled, velocity
from ...engines.sonic.speech import whisper_states
from ...engines.sonic.windows import BASE_FPS, SAMPLES_PER_STEP
from ...media.geometry import mask_box
from ...nn.audio import AudioToBucket, AudioToToken
from ...nn.clip import embed
from ...nn.unet import Branch, Level, UNet
from ...sync.losses import Temperature, info_nce
from ..corpus.mixtures import Backgrounds
from ..steps import Losses
from .codec import encoded
from .footage import FootageClip
from .hearing import among
from .sizes import BUCKET, FACTOR, SIDE, TOKEN, UNET, WIDTH, WINDOW

TOGETHER = 4
"""Clips of a batch, `WINDOW` frames of each."""
SIGMA_MEAN, SIGMA_STD = 1.6, 1.4
"""Of the logarithm of a clip's noise."""
MOUTH_WEIGHT = 6.0
"""Of a latent of the mouth, beside 1."""
NO_PORTRAIT, NO_SPEECH = 0.1, 0.1
"""Shares of clips without portrait and speech, and without speech."""
CONTRAST = 0.1
"""Weight of InfoNCE."""
VIEWS = 2
"""Times that a clip's sound is heard: alone, and among others."""
GRID = SIDE // FACTOR
CARRIED, STEADY = 16, 3.0
"""Channels that carry the portrait through the UNet at first, and the level that half of them keep, in
standard deviations of the latents."""


@dataclass(frozen=True, eq=False)
class LatentClip:
    """A clip as the network sees it."""

    latents: torch.Tensor
    """The VAE's unscaled means, [n, 4, GRID, GRID]."""
    portrait: torch.Tensor
    """[1, 4, GRID, GRID]."""
    look: torch.Tensor
    """The image embedding, [1, 1, WIDTH]."""
    states: tuple[torch.Tensor, ...]
    """Of the speech encoder, [steps, layers, WIDTH], once for each hearing."""
    ids: torch.Tensor
    """Frames per second and the two buckets, [3]."""
    levels: dict[int, Level]
    mouth: torch.Tensor
    """[1, 1, GRID, GRID]: 1 where the mouth is, 0 elsewhere."""


class MiniatureNetwork(nn.Module):
    """What is trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet(UNET)
        self.to_token = AudioToToken(**TOKEN)
        self.heard = nn.Linear(TOKEN["context_tokens"] * TOKEN["output_dim"], WIDTH)
        self.seen = nn.Sequential(
            nn.Conv2d(4, 32, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(32 * GRID**2, WIDTH)
        )
        self.temperature = Temperature()
        start_with_portrait(self.unet)


@torch.no_grad()
def start_with_portrait(unet: UNet) -> None:
    """Start a UNet with saying that the clean latents are the portrait's, whatever it is shown.

    Where all is noise the velocity is the clean picture's negative, and a picture in which only the mouth
    moves is the portrait: what is left to learn is what differs. Of the finest grid's channels, four for each
    of the portrait's carry it from the first convolution to the last: `x`, `-x`, `STEADY`, `-STEADY`, which
    one norm takes together. So their mean is 0, their deviation hardly depends on `x`, and as silu(a) -
    silu(-a) = a, the last convolution has `x` again.
    """
    unet.conv_in.weight[:, 4:] *= SCALING  # the portrait's latents come unscaled, five times as large
    unet.conv_out.weight.zero_()
    unet.conv_out.bias.zero_()
    carried = slice(0, CARRIED)
    layers = [unet.conv_in]
    finest = unet.down_blocks[0], unet.up_blocks[-1]
    for block in finest:
        layers += [resnet.spatial_res_block.conv2 for resnet in block.resnets]
        layers += [resnet.temporal_res_block.conv2 for resnet in block.resnets]
        layers += [transformer.proj_out for transformer in block.attentions]
    skips = [resnet.spatial_res_block.conv_shortcut for resnet in finest[1].resnets]
    for layer in (*layers, *skips):
        layer.weight[carried] = 0
        layer.bias[carried] = 0
    for skip in skips:  # of what comes from below and what was kept on the way down, the latter
        kept = skip.in_channels - unet.conv_in.out_channels
        skip.weight[carried, kept : kept + CARRIED, 0, 0] = torch.eye(CARRIED)
    deviation = ((STEADY**2 + 1) / 2) ** 0.5
    for channel in range(4):
        own = 4 * channel
        unet.conv_in.weight[own : own + 2, 4 + channel, 1, 1] = torch.tensor([SCALING, -SCALING])
        unet.conv_in.bias[own + 2 : own + 4] = torch.tensor([STEADY, -STEADY])
        unet.conv_out.weight[channel, own : own + 2, 1, 1] = torch.tensor([-deviation, deviation])


def buckets_of(strength: np.ndarray[Any, Any]) -> torch.Tensor:
    """Head and expression bucket for motion_scale and dynamic_scale that a clip was drawn with, [2]."""
    return torch.from_numpy(16 * np.asarray(strength, np.float32))


@torch.no_grad()
def latent_clip(
    clip: FootageClip, codec: Any, clip_encoder: Any, whisper: Any, backgrounds: Backgrounds, seed: int
) -> LatentClip:
    """Run everything that the network's training does not change."""
    steps = 2 * (len(clip.sound) // SAMPLES_PER_STEP)
    rng = np.random.default_rng([seed, 4])
    sounds = [clip.sound, *(among((clip.sound, []), backgrounds, rng) for _ in range(VIEWS - 1))]
    box = mask_box(clip.face, SIDE, SIDE)
    mask = mask_values(draw_mask(box, (SIDE, SIDE), (SIDE, SIDE)))
    mouth = torch.zeros(1, 1, GRID, GRID)
    left, top, right, bottom = clip.mouth.scaled(1 / FACTOR, 1 / FACTOR)
    mouth[..., int(top) : int(bottom) + 1, int(left) : int(right) + 1] = 1
    return LatentClip(
        encoded(codec, clip.frames),
        encoded(codec, clip.portrait[None]),
        embed(clip_encoder, clip_pixels(clip.portrait))[:, None],
        tuple(whisper_states(whisper, [sound], steps) for sound in sounds),
        torch.cat([torch.tensor([BASE_FPS]), buckets_of(clip.strength)]),
        mask_levels(mask, (GRID, GRID), len(UNET.channels), sparse=False),
        mouth,
    )


def network_losses(
    network: MiniatureNetwork, clips: Sequence[LatentClip], step: int, seed: int, contrast: float = CONTRAST
) -> Losses:
    """Of one batch: the velocity's, and the contrast of moments."""
    rng = np.random.default_rng([seed, step, 6])
    chosen = [clips[int(place)] for place in rng.choice(len(clips), TOGETHER, replace=len(clips) < TOGETHER)]
    nothing = torch.zeros(1, *network.to_token.window)
    silence = network.to_token(nothing)
    tokens, inputs, wanted, noisy, branches, without = [], [], [], [], [], []
    sigmas = torch.from_numpy(np.exp(rng.normal(SIGMA_MEAN, SIGMA_STD, TOGETHER)).astype(np.float32))
    sigmas = sigmas[:, None, None, None, None]
    for number, clip in enumerate(chosen):
        start = int(rng.integers(len(clip.latents) - WINDOW + 1))
        part = slice(start, start + WINDOW)
        states = clip.states[int(rng.integers(len(clip.states)))]
        spoken = network.to_token(token_windows(states, len(clip.latents))[part])
        kind = rng.random()
        blind, deaf = kind < NO_PORTRAIT, kind < NO_PORTRAIT + NO_SPEECH
        without.append(deaf)
        tokens.append(spoken)
        wanted.append(SCALING * clip.latents[part])
        noisy.append(wanted[-1] + sigmas[number] * torch.randn_like(wanted[-1]))
        portrait = torch.zeros_like(clip.portrait) if blind else clip.portrait
        inputs.append(torch.cat([scaled(noisy[-1], sigmas[number]), portrait.expand(WINDOW, -1, -1, -1)], 1))
        look = torch.zeros_like(clip.look) if blind else clip.look
        branches.append(Branch(look, silence if deaf else spoken, clip.levels, input=number))
    z, x = torch.stack(wanted), torch.stack(noisy)
    ids = torch.stack([clip.ids for clip in chosen])
    v = network.unet(torch.stack(inputs), 0.25 * sigmas.flatten().log(), ids, branches)
    aim = velocity(x, z, sigmas)
    mouths = torch.stack([clip.mouth for clip in chosen])
    weights = 1 + (MOUTH_WEIGHT - 1) * mouths
    losses = {"velocity": (weights * (v - aim) ** 2).mean() / weights.mean()}
    hearing = [number for number, deaf in enumerate(without) if not deaf]
    if contrast and hearing:
        believed = denoised(x, v, sigmas) * mouths
        seen = network.seen(believed[hearing].flatten(0, 1))
        heard = network.heard(torch.stack(tokens)[hearing].flatten(0, 1).flatten(1))
        losses["contrast"] = contrast * info_nce(
            functional.normalize(heard, dim=-1), functional.normalize(seen, dim=-1), network.temperature()
        )
    return losses


class Buckets(nn.Module):
    """audio2bucket, from what the speech encoder heard and who is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.to_bucket = AudioToBucket(**BUCKET)


def bucket_losses(buckets: Buckets, clips: Sequence[LatentClip], step: int, seed: int) -> Losses:
    """Of one batch."""
    rng = np.random.default_rng([seed, step, 7])
    clip = clips[int(rng.integers(len(clips)))]
    states = clip.states[int(rng.integers(len(clip.states)))][:, -1]
    raw = buckets.to_bucket(bucket_windows(states, len(clip.latents)), clip.look[:, 0])
    return {"buckets": functional.mse_loss(raw, (clip.ids[1:] / 16 - 1).expand_as(raw))}
