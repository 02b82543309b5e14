"""Guidance with two scales: towards the portrait, and from there towards the speech.

Ji et al., arXiv 2411.16331, after Brooks et al., "InstructPix2Pix", arXiv 2211.09800 (two conditions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch

Scale: TypeAlias = float | tuple[float, float]
"""A strength, or a pair that runs evenly from the first step to the last."""


@dataclass(frozen=True)
class Guidance:
    """Strengths of both conditions."""

    image: Scale = 2.0
    """Towards the portrait."""
    audio: Scale = 7.5
    """Towards the speech."""

    def combined(self, predictions: list[torch.Tensor], step: int = 0, steps: int = 1) -> torch.Tensor:
        """The guided prediction at a step.

        Args:
            predictions: with neither portrait nor speech; with the portrait; with both. One shape.
            step: from 0.
            steps: of the run.
        """
        nothing, image, both = predictions
        towards_image = strength(self.image, step, steps) * (image - nothing)
        return nothing + towards_image + strength(self.audio, step, steps) * (both - image)


def strength(scale: Scale, step: int, steps: int) -> float:
    """The scale at a step."""
    low, high = scale if isinstance(scale, tuple) else (scale, scale)
    return low + (high - low) * step / max(1, steps - 1)
