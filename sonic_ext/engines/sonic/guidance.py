"""Guidance with two scales: towards the portrait, and from there towards the speech.

Ji et al., arXiv 2411.16331, after Brooks et al., "InstructPix2Pix", arXiv 2211.09800 (two conditions). Each
may be confined to an interval of noise levels (Kynkäänniemi et al., arXiv 2404.07724), outside of which its
scale is 1 and the branch that it leads away from is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

NOTHING, IMAGE, BOTH = BRANCHES = (0, 1, 2)
"""The branches of guidance: without portrait and speech; with the portrait; with both."""
Scale: TypeAlias = float | tuple[float, float]
"""A strength, or a pair that runs evenly from the first step to the last."""

Interval: TypeAlias = tuple[float, float]
"""Noise levels above the first, up to the second."""
EVERYWHERE: Interval = (0.0, math.inf)
NOWHERE: Interval = (math.inf, math.inf)


@dataclass(frozen=True)
class Guidance:
    """Strengths of both conditions."""

    image: Scale = 2.0
    """Towards the portrait."""
    audio: Scale = 7.5
    """Towards the speech."""
    image_interval: Interval = EVERYWHERE
    """Where the branch without portrait counts."""
    audio_interval: Interval = EVERYWHERE
    """Where the branch with the portrait alone counts."""

    def branches(self, sigma: float) -> tuple[int, ...]:
        """The branches that count at a noise level, of `BRANCHES` and in their order."""
        intervals = {NOTHING: self.image_interval, IMAGE: self.audio_interval, BOTH: EVERYWHERE}
        if self.image == 1.0:  # `combined` would take away what it adds
            intervals[NOTHING] = NOWHERE
            if self.audio == 1.0:
                intervals[IMAGE] = NOWHERE
        return tuple(branch for branch, (low, high) in intervals.items() if low < sigma <= high)

    def combined(
        self, predictions: Mapping[int, torch.Tensor], step: int = 0, steps: int = 1
    ) -> torch.Tensor:
        """The guided prediction at a step.

        Args:
            predictions: by branch, in one shape. In the place of one that is not there stands the next,
                which makes its scale 1.
            step: from 0.
            steps: of the run.
        """
        both = predictions[BOTH]
        image = predictions.get(IMAGE, both)
        nothing = predictions.get(NOTHING, image)
        towards_image = strength(self.image, step, steps) * (image - nothing)
        return nothing + towards_image + strength(self.audio, step, steps) * (both - image)


def strength(scale: Scale, step: int, steps: int) -> float:
    """The scale at a step."""
    low, high = scale if isinstance(scale, tuple) else (scale, scale)
    return low + (high - low) * step / max(1, steps - 1)
