"""What one step learns from: windows of latent clips under noise, all of it told by the step's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ...engines.sonic.conditioning import token_windows
from ...engines.sonic.sampling import SCALING
from ...engines.sonic.windows import BASE_FPS
from ...nn.unet import Level
from ..sync.network import tokens
from .clips import TrainingClip

NO_PORTRAIT, NO_SPEECH = 0.1, 0.1
"""Shares of windows without portrait and speech, and without speech: what guidance needs."""


@dataclass(frozen=True, eq=False)
class LatentWindows:
    """Windows of `n` clips."""

    clean: torch.Tensor
    """Scaled latents, [n, frames, 4, height, width]."""
    noisy: torch.Tensor
    """The same under noise."""
    sigmas: torch.Tensor
    """Standard deviation of that noise, [n, 1, 1, 1, 1]."""
    portraits: torch.Tensor
    """Unscaled latents, [n, 1, 4, height, width]; zeros where the portrait is left out."""
    looks: torch.Tensor
    """Embeddings of the portraits, [n, 1, 1, width]; likewise."""
    states: torch.Tensor
    """Input of audio2token, [n, frames, 10, layers, width] ..."""
    other_states: torch.Tensor
    """... and of another hearing of the same sound, where there is one."""
    ids: torch.Tensor
    """[n, 3]."""
    deaf: torch.Tensor
    """Whether speech is left out, bool [n]."""
    letters: torch.Tensor
    """What is said, int64 [n, PhonemeEncoder.LONGEST]; zeros where it is not known."""
    levels: tuple[dict[int, Level], ...]
    mouths: tuple[tuple[int, int, int, int], ...]
    """See `TrainingClip.mouth`."""

    def __len__(self) -> int:
        return len(self.clean)

    def mouth_mask(self) -> torch.Tensor:
        """1 at the mouth and 0 elsewhere, [n, 1, 1, height, width]."""
        mask = self.clean.new_zeros(len(self), 1, 1, *self.clean.shape[-2:])
        for each, (left, top, right, bottom) in zip(mask, self.mouths, strict=True):
            each[..., top:bottom, left:right] = 1
        return mask

    def mouths_of(self, latents: torch.Tensor, side: int) -> torch.Tensor:
        """The mouths of latents [n, frames, 4, height, width] at one size, [n, frames, 4, side, side]."""
        cut = []
        for each, (left, top, right, bottom) in zip(latents, self.mouths, strict=True):
            part = each[..., top:bottom, left:right]
            cut.append(functional.interpolate(part, (side, side), mode="bilinear", align_corners=False))
        return torch.stack(cut)


def draw_windows(
    clips: Sequence[TrainingClip],
    seeds: Sequence[tuple[int, ...]],
    frames: int,
    noise: tuple[float, float],
    device: torch.device | str = "cpu",
) -> LatentWindows:
    """A window of each clip.

    Args:
        clips: each of `frames` frames at least.
        seeds: of each window: where it begins, what is left out of it, and its noise.
        frames: of a window.
        noise: mean and standard deviation of the logarithm of σ.
        device: that the tensors go to. Noise is drawn on the CPU: a seed means the same everywhere.
    """
    parts: dict[str, list[Any]] = {name: [] for name in LatentWindows.__dataclass_fields__}
    for clip, seed in zip(clips, seeds, strict=True):
        rng = np.random.default_rng([*seed, 6])
        start = int(rng.integers(len(clip) - frames + 1))
        part = slice(start, start + frames)
        first, second = _hearings(len(clip.states), rng)
        sigma = float(np.exp(rng.normal(*noise)))
        kind = rng.random()
        blind, deaf = kind < NO_PORTRAIT, kind < NO_PORTRAIT + NO_SPEECH
        clean = SCALING * clip.latents[part]
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        parts["clean"].append(clean)
        parts["noisy"].append(clean + sigma * torch.randn(clean.shape, generator=generator))
        parts["sigmas"].append(torch.full((1, 1, 1, 1), sigma))
        parts["portraits"].append(torch.zeros_like(clip.portrait) if blind else clip.portrait)
        parts["looks"].append(torch.zeros_like(clip.look) if blind else clip.look)
        for name, number in (("states", first), ("other_states", second)):
            parts[name].append(token_windows(clip.states[number], len(clip))[part])
        parts["ids"].append(clip.ids)
        parts["deaf"].append(torch.tensor(deaf))
        seconds = (start / BASE_FPS, (start + frames) / BASE_FPS)
        parts["letters"].append(torch.from_numpy(tokens(clip.phonemes, *seconds)))
        parts["levels"].append({size: level.to(device) for size, level in clip.levels.items()})
        parts["mouths"].append(clip.mouth)
    tuples = {name: tuple(parts.pop(name)) for name in ("levels", "mouths")}
    return LatentWindows(**{name: torch.stack(values).to(device) for name, values in parts.items()}, **tuples)


def _hearings(count: int, rng: np.random.Generator) -> tuple[int, int]:
    """Two of them, different where there are two."""
    first = int(rng.integers(count))
    return first, (first + 1 + int(rng.integers(max(1, count - 1)))) % count
