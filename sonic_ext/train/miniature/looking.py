"""The miniature's image encoder: a small one with CLIP's interface, that knows people again.

InfoNCE between two frames of each of several people: whatever they say and wherever they look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ...engines.sonic.picture import clip_pixels
from ...nn.build import arguments
from ...nn.clip import embed
from ...sync.losses import Temperature, info_nce
from ..steps import Losses
from .footage import FootageClip
from .sizes import CLIP

PEOPLE = 24
"""Of a batch."""


class Looking(nn.Module):
    """The image encoder and the temperature that it is trained with."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        self.clip: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**arguments(CLIP)))
        self.temperature = Temperature()


def looking_losses(looking: Looking, clips: Sequence[FootageClip], step: int, seed: int) -> Losses:
    """Of one batch."""
    rng = np.random.default_rng([seed, step, 3])
    chosen = rng.choice(len(clips), min(PEOPLE, len(clips)), replace=False)
    pairs = []
    for place in chosen:
        clip = clips[int(place)]
        other = clip.frames[int(rng.integers(len(clip.frames)))]
        pairs.append((clip_pixels(clip.portrait), clip_pixels(other)))
    looks = [
        functional.normalize(embed(looking.clip, torch.cat([pair[side] for pair in pairs])), dim=-1)
        for side in (0, 1)
    ]
    return {"contrast": info_nce(looks[0], looks[1], looking.temperature())}
