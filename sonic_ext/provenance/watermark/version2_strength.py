"""How strong the second watermark is in each place of a picture: what hides it, what an encoder makes of it.

The marker asks for a video's first frame, the reader for the mean of what it saw, to know where to look.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
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
    """Where the picture is busier than this, encoders pay more for luma."""
    luma_read: float = 60.0
    """Signal at which luma is strong enough: amplitude over the noise of one level, as the reader sums it."""
    power: float = 1.5
    """Largest mean square of a plane's mark, in squared grey levels: 46.3 dB."""
    smooth: float = 0.9
    """Detail up to which luma changes by one level at most, MOST_LUMA elsewhere."""
    chroma: float = 0.55
    """On smooth ground, in U and in V."""
    chroma_gain: float = 0.17
    """More per level of detail."""
    chroma_most: float = 1.1
    dark: float = 64.0
    """Grey level under which chroma gets less, down to half: a tint is seen first in dark hair."""
    moving: float = 0.45
    """Share of chroma that is left while the whole picture moves (of luma, none): less is enough, since the
    picture averages out."""
    rich: float = 0.8
    """Mean detail below which a picture gets less: it has nothing of its own to drown the pattern."""
    luma_spared: float = 0.4
    """Share that a picture without any detail is spared."""
    chroma_spared: float = 0.6


SHIPPED = Strength()
SIZES = (0.7, 1.6)
"""Range of the strengths' factor for the frame's size; 1 at 512 x 512."""
MOST_LUMA, MOST_CHROMA = 3.0, 2.0
"""Most that a pixel is changed by, grey levels."""
LISTENED = 90.0
"""Percentile of the reader's weights up to which luma is weaker where they are smaller."""
RAISED = 2.0
"""Most that luma is raised by to reach `Strength.luma_read`."""


@dataclass(frozen=True)
class Strengths:
    """Standard deviation of the pattern, grey levels [h, w], SHRINK times smaller than the picture."""

    luma: Real
    most: Real
    """Most that a pixel of luma is changed by."""
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
    most = np.where(detail < own.smooth, np.float32(1), np.float32(MOST_LUMA))
    chroma = own.chroma * (1 - own.chroma_spared * plain) + own.chroma_gain * detail
    seen = 0.5 + 0.5 * np.clip(cv2.blur(small, (9, 9)) / own.dark, 0, 1)
    return Strengths(luma, most, more * seen * np.minimum(chroma, own.chroma_most), mean)


def where_read(luma: Real, weights: Real, own: Strength) -> Real:
    """Luma's strength [h, w] without what the reader, by its weights [h, w], makes nothing of."""
    if not luma.any():
        return luma
    luma = luma * np.minimum(1, weights / np.percentile(weights, LISTENED))
    signal = float(np.sum(luma * weights) / np.sqrt(np.sum(weights * weights)))
    return np.asarray(luma * min(RAISED, own.luma_read / signal), dtype=np.float32)
