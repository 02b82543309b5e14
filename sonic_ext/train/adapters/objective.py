"""What adapters are trained for: `total = reconstruction + λ_adv · adversarial + λ_cont · contrast`.

- Reconstruction: the velocity of noisy latents, the mouth's weighted more (Karras et al., arXiv 2206.00364;
  Salimans & Ho, arXiv 2202.00512).
- Adversarial: the hinge loss (Lim & Ye, arXiv 1705.02894) of a discriminator that sees windows of latents. A
  denoised latent under much noise is the mean of what is possible and looks like none of it, so clips count
  by 1 / (1 + σ²).
- Contrast: frame, semantic and style level of `sync.losses`, each switched on by its name.

The encoder of mouths learns from clean latents alone. Denoised ones go through it with its weights held, so
that it cannot agree with the network on something that is no mouth.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engines.sonic.schedule import denoised, velocity
from ...sync.losses import (
    Temperature,
    disentangling,
    frame_info_nce,
    gathered,
    gathered_mask,
    semantic_info_nce,
)
from ..sync.network import PhonemeEncoder, unit
from .network import AdapterNetwork, Prediction
from .windows import LatentWindows

DIMENSIONS = 64
"""Of the space that sounds and mouths are compared in."""
MOUTH_SIDE = 8
"""Latents of the square that every mouth is brought to."""


class ContrastHeads(nn.Module):
    """Encoders of sounds, mouths and phonemes into one space: there while adapters learn, not afterwards."""

    def __init__(self, token_numbers: int) -> None:
        super().__init__()
        self.heard = nn.Linear(token_numbers, DIMENSIONS)
        self.seen = nn.Sequential(
            nn.Conv2d(4, 32, 3, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(32 * MOUTH_SIDE**2, DIMENSIONS),
        )
        self.text = PhonemeEncoder(DIMENSIONS)
        self.temperature = Temperature()
        self.pooled_temperature = Temperature()

    def hear(self, tokens: Tensor) -> Tensor:
        """[clips, frames, DIMENSIONS], not of unit length, of tokens [clips, frames, tokens, width]."""
        heard: Tensor = self.heard(tokens.flatten(2))
        return heard

    def see(self, mouths: Tensor, learn: bool) -> Tensor:
        """The same of `mouths_of`, [clips, frames, 4, MOUTH_SIDE, MOUTH_SIDE]; gradients reach the weights
        only where these are to learn."""
        run = self.seen if learn else held(self.seen)
        return run(mouths.flatten(0, 1)).unflatten(0, mouths.shape[:2])


class Discriminator(nn.Module):
    """Tells clean windows of latents from denoised ones, patch by patch in space and time."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(5, width, 3, stride=(1, 2, 2), padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(width, 2 * width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv3d(2 * width, 1, 3, padding=1),
        )

    def forward(self, latents: Tensor, sigmas: Tensor) -> Tensor:
        """How clean they look, [clips, patches].

        Args:
            latents: scaled, [clips, frames, 4, height, width].
            sigmas: noise under which they were predicted, [clips, 1, 1, 1, 1]: its logarithm is seen, too.
        """
        level = (0.25 * sigmas.log()).expand(*latents.shape[:2], 1, *latents.shape[3:])
        seen: Tensor = self.layers(torch.cat([latents, level], dim=2).transpose(1, 2))
        return seen.flatten(1)


def held(module: nn.Module) -> Callable[..., Tensor]:
    """The module with weights that get no gradient; what goes through it does."""
    weights = {name: weight.detach() for name, weight in module.named_parameters()}
    return lambda *args: torch.func.functional_call(module, weights, args)


def reconstruction(prediction: Prediction, windows: LatentWindows, mouth: float) -> Tensor:
    """Squares of the velocity's error; each clip counts alike, whatever the share of its mouth."""
    error = (prediction.velocity - velocity(windows.noisy, windows.clean, windows.sigmas)) ** 2
    weights = 1 + (mouth - 1) * windows.mouth_mask()
    by_clip = (weights * error).mean(dim=(1, 2, 3, 4)) / weights.mean(dim=(1, 2, 3, 4))
    return by_clip.mean()


def generator_loss(discriminator: Discriminator, believed: Tensor, windows: LatentWindows) -> Tensor:
    """What the adapters are to lower: how little the discriminator takes their latents for clean ones."""
    scores = held(discriminator)(believed, windows.sigmas)
    return -(_by_noise(windows.sigmas) * scores.mean(dim=1)).mean()


def discriminator_loss(
    discriminator: Discriminator, believed: Tensor, windows: LatentWindows
) -> tuple[Tensor, Tensor]:
    """The hinge loss, and what it would be if nothing was told apart; it is 0 where everything is."""
    real = functional.relu(1 - discriminator(windows.clean, windows.sigmas)).mean(dim=1)
    false = functional.relu(1 + discriminator(believed.detach(), windows.sigmas)).mean(dim=1)
    weights = _by_noise(windows.sigmas)
    return (weights * (real + false)).mean(), 2 * weights.mean()


def contrast(
    heads: ContrastHeads,
    network: AdapterNetwork,
    tokens: Tensor,
    windows: LatentWindows,
    levels: tuple[str, ...],
    believed: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss of each level over the clips of all processes.

    Args:
        tokens: of the windows' sound, [clips, frames, tokens, width].
        believed: denoised latents, [clips, frames, 4, height, width]; None compares clean ones alone.
    """
    heard, seen = heads.hear(tokens), heads.see(windows.mouths_of(windows.clean, MOUTH_SIDE), learn=True)
    sounds, mouths = gathered(unit(heard)), gathered(unit(seen))
    everywhere = torch.ones(mouths.shape[:2], dtype=torch.bool, device=mouths.device)
    scale = heads.temperature()
    found = {}
    if "frame" in levels:
        found["frame"] = frame_info_nce(sounds, mouths, everywhere, scale)
    told = None
    if believed is not None:
        told = heads.see(windows.mouths_of(believed, MOUTH_SIDE), learn=False)
        hearing = gathered_mask(~windows.deaf)[:, None].expand_as(everywhere)
        if "frame" in levels:
            spoken = frame_info_nce(sounds, gathered(unit(told)), hearing, scale)
            found["frame"] = (found["frame"] + spoken) / 2
    pooled_scale = heads.pooled_temperature()
    if "semantic" in levels:
        known = gathered_mask((windows.letters > 0).any(dim=1))
        text = gathered(unit(heads.text(windows.letters)))
        voices = gathered(unit(heard.mean(dim=1)))
        faces = gathered(unit((seen if told is None else (seen + told) / 2).mean(dim=1)))
        found["semantic"] = (
            semantic_info_nce(voices[known], faces[known], text[known], pooled_scale)
            if known.any()
            else text.sum() * 0.0
        )
    if "style" in levels:
        again = gathered(unit(heads.hear(network.tokens(windows.other_states))))
        vectors = torch.cat([sounds.flatten(0, 1), again.flatten(0, 1)])
        count = len(vectors) // 2
        moments = torch.arange(count, device=vectors.device).repeat(2)
        hearings = torch.arange(2, device=vectors.device).repeat_interleave(count)
        found["style"] = disentangling(vectors, moments, hearings, scale)
    return found


def believed_of(prediction: Prediction, windows: LatentWindows) -> Tensor:
    """The clean latents that a prediction stands for, [clips, frames, 4, height, width]."""
    return denoised(windows.noisy, prediction.velocity, windows.sigmas)


def _by_noise(sigmas: Tensor) -> Tensor:
    """[clips]."""
    return 1 / (1 + sigmas.flatten() ** 2)
