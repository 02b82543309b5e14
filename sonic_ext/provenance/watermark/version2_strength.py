"""How strong the second watermark is in each place of a picture: what hides it, what an encoder makes of it.

The marker asks for a video's first frame, the reader for the mean of what it saw, to know where to look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .detail import SHRINK, Real, detail_in


@dataclass(frozen=True)
class Strength:
    """How strong the pattern is, as its standard deviation in grey levels; detail is in grey levels, too."""

    luma: float = 0.4
    """On smooth ground; rounded, only its peaks are left, of one level."""
    luma_gain: float = 0.3
    """More per level of detail where there is little: `luma_gain` * d * exp(-d / `luma_peak`)."""
    luma_peak: float = 1.5
    """Where the picture is busier than this, encoders pay more for luma, and it is read by its turns."""
    luma_power: float = 1.5
    """Largest mean square over a frame, in squared grey levels: 46.3 dB."""
    busy: float = 0.9
    """Detail from which on luma turns its sign."""
    chroma: float = 0.65
    """On smooth ground, in U and in V."""
    chroma_gain: float = 0.2
    """More per level of detail."""
    chroma_most: float = 1.3
    moving: float = 0.4
    """Share of all this that is left while the whole picture moves: no encoder can take from the frame before
    a pattern that stands still in front of it, and less is enough, since the picture averages out."""
    rich: float = 0.6
    """Mean detail below which a picture gets less: it has nothing of its own to drown the pattern."""
    luma_spared: float = 0.25
    """Share that a picture without any detail is spared."""
    chroma_spared: float = 0.5


SHIPPED = Strength()
SIZES = (0.7, 1.6)
"""Range of the strengths' factor for the frame's size; 1 at 512 x 512."""


@dataclass(frozen=True)
class Strengths:
    """Standard deviation of the pattern, grey levels [h, w], SHRINK times smaller than the picture."""

    still: Real
    """In luma, the part that never changes."""
    turning: Real
    """In luma, the part that turns its sign."""
    chroma: Real
    """In U and in V."""
    detail: float
    """The picture's mean detail, grey levels."""


def strengths(small: Real, own: Strength = SHIPPED) -> Strengths:
    """For a picture as `smaller` gives it."""
    detail = detail_in(small)
    # Fewer pixels carry the same message: small frames get more, large ones less.
    more = float(np.clip(512 / SHRINK / np.sqrt(small.size), *SIZES))
    mean = float(detail.mean())
    plain = 1 - min(1.0, mean / own.rich)
    luma = own.luma * (1 - own.luma_spared * plain) + more * own.luma_gain * detail * np.exp(
        -detail / own.luma_peak
    )
    luma *= min(1.0, float(np.sqrt(own.luma_power / np.mean(luma * luma))))
    turning = luma * np.clip(2.5 * (detail - own.busy) + 0.5, 0, 1)
    chroma = own.chroma * (1 - own.chroma_spared * plain) + own.chroma_gain * detail
    return Strengths(luma - turning, turning, more * np.minimum(chroma, own.chroma_most), mean)
