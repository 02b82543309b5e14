"""How far one picture lies from another."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW, SIGMA = (11, 11), 1.5
"""Of SSIM's Gaussian, in pixels."""
STEADYING = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
"""What keeps SSIM's quotients from dividing by nothing, for pictures of 8 bits."""


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two pictures of one shape; inf where they are the same."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Structural similarity of the brightness of two pictures, -1 to 1, 1 for the same.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.

    Args:
        one, other: uint8 RGB [height, width, 3].
    """
    first, second = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float64) for each in (one, other))

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, WINDOW, SIGMA))

    middle, middle2 = mean(first), mean(second)
    spread = mean(first * first) - middle**2, mean(second * second) - middle2**2
    together = mean(first * second) - middle * middle2
    light = (2 * middle * middle2 + STEADYING[0]) / (middle**2 + middle2**2 + STEADYING[0])
    shape = (2 * together + STEADYING[1]) / (sum(spread) + STEADYING[1])
    return float((light * shape).mean())
