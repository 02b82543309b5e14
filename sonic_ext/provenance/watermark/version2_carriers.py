"""What carries the second watermark, and how its reader looks at each: the marker knows it, too."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .detail import Real
from .version2_pattern import TILE

FLOOR = 0.03
"""Added to the local power, squared grey levels: no ground is smoother than this."""


@dataclass(frozen=True)
class Carrier:
    """A plane of the picture, or a sum of planes."""

    pixel: int
    """Size of its pixels, in the picture's."""
    planes: int
    """How many planes it is the sum of; all get the same."""
    finer: int
    """How many times smaller than TILE the pattern is in it."""
    mean: int
    """Side of the square over which its local mean is taken off, in its own pixels."""
    size: int
    """Side of the square over which its local power is measured."""
    power: float
    """It is divided by its local size to this power: 2 where a picture's own noise were all there is."""
    thrift: float
    """Weight of the mark's amplitudes against what is left of the picture in them."""

    def flat(self, image: Real) -> Real:
        """The image less its local mean."""
        return np.asarray(image - cv2.blur(image, (self.mean, self.mean)), dtype=np.float32)

    def weights(self, flat: Real) -> Real:
        """What each pixel of `flat` counts for."""
        local = cv2.blur(flat * flat, (self.size, self.size)) + FLOOR
        return np.asarray(local ** (-self.power / 2), dtype=np.float32)

    def levelled(self, image: Real) -> Real:
        """What is left to read: the flat image, each pixel as much as it counts for."""
        flat = self.flat(image)
        return flat * self.weights(flat)

    def places(self, length: int) -> NDArray[np.float64]:
        """Where `length` pixels from the picture's edge lie, in tiles."""
        return (np.arange(length) * self.pixel + (self.pixel - 1) / 2) * self.finer / TILE

    def passed(self, waves: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of waves [N, 2] that is left without the local mean: [N]."""
        cycles = waves * (self.mean * self.pixel * self.finer / TILE)
        return np.asarray(1 - np.sinc(cycles).prod(axis=1), dtype=np.float64)


CHROMA = Carrier(pixel=2, planes=2, finer=1, mean=25, size=25, power=1.0, thrift=0.15)
"""U and V together."""
LUMA = Carrier(pixel=1, planes=1, finer=2, mean=41, size=25, power=1.25, thrift=0.2)
"""Half as large as in chroma: at periods of 10 to 32 pixels portraits have less of their own, and under a
pattern that repeats more often more of the picture averages out."""
