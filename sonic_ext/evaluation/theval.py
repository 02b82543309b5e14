"""THEval's figures that need landmarks alone.

Quignon et al., "THEval", arXiv 2511.04520: no figure is better the larger or the smaller it is, each is
compared with the mean of real people's clips. Written anew from the definitions. Points are numbered as in
MediaPipe's Face Mesh, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..media.mesh import EYE_RIMS, LIPS

SIDE = 256
"""Pixels: side of the square that a frame is resized to before lengths are measured in it."""
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
UPPER, LOWER = (191, 80, 81, 82, 13, 312, 311, 310), (95, 88, 178, 87, 14, 317, 402, 318)
"""Upper and lower inner lip, one above the other."""
OUTER_CORNERS = (33, 263)
"""Of the eyes, left and right in the picture."""
BROWS = (
    (46, 53, 52, 65, 55, 70, 63, 105, 66, 107),
    (276, 283, 282, 295, 285, 300, 293, 334, 296, 336),
)
"""Left and right in the picture."""
PAUSE = 0.3
"""Seconds from which silence counts as a pause."""
BREAK = 0.1
"""Seconds of silence up to which speech goes on."""
TRUTH = {
    "lip_dynamics": 1.7166,
    "brow_dynamics": 0.006777,
    "silent_lips": 0.0263,
    "lip_sync": 0.2528,
}
"""Means of real people, by the fields of `Naturalness`. That of the lips holds for their framing."""


def score(value: float, truth: float) -> float:
    """1 for real people's mean, 0 or less from as far off as that mean is from zero."""
    return 1.0 - abs(value - truth) / abs(truth)


def scores(values: Mapping[str, float]) -> dict[str, float]:
    """The score of each of `TRUTH`'s figures that is there; nan where it could not be measured."""
    return {name: score(values[name], truth) for name, truth in TRUTH.items() if name in values}


class LipDynamics:
    """Pixels of a 256² frame: how much the lips change shape.

    The standard deviation over time of the distance between two lip points, mean over all pairs of forty.
    Kept are running sums (Welford), not frames.
    """

    def __init__(self) -> None:
        self._pairs = np.array([*combinations((*LIPS, *INNER_LIPS), 2)]).T
        self._count = 0
        self._mean = np.zeros(self._pairs.shape[1])
        self._squares = np.zeros(self._pairs.shape[1])

    def see(self, points: NDArray[np.floating[Any]], size: tuple[int, int]) -> None:
        """Take in the next frame: points [468, 2 or more] in its pixels, its width and height."""
        flat = points[:, :2].astype(np.float64) * (SIDE / np.array(size))
        first, second = self._pairs
        distances = np.linalg.norm(flat[first] - flat[second], axis=1)
        self._count += 1
        before = distances - self._mean
        self._mean += before / self._count
        self._squares += before * (distances - self._mean)

    def value(self) -> float:
        """The figure; nan for fewer than two frames."""
        if self._count < 2:
            return float("nan")
        return float(np.sqrt(self._squares / self._count).mean())


def lip_opening(points: NDArray[np.floating[Any]]) -> float:
    """Height between the inner lips, mean of eight pairs, over the distance of the eyes' outer corners."""
    apart = np.abs(points[list(UPPER), 1] - points[list(LOWER), 1]).mean()
    left, right = points[list(OUTER_CORNERS), :2]
    return float(apart / max(float(np.hypot(*(right - left))), 1e-6))


def brow_heights(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Distance from each brow's centre to its eye's over the distance of the eyes, float64 [2]."""
    eyes = np.stack([points[list(eye), :2].mean(axis=0) for eye in EYE_RIMS])
    brows = np.stack([points[list(brow), :2].mean(axis=0) for brow in BROWS])
    apart = max(float(np.hypot(*(eyes[1] - eyes[0]))), 1e-6)
    return np.asarray(np.linalg.norm(brows - eyes, axis=1) / apart, np.float64)


def brow_dynamics(heights: NDArray[np.floating[Any]]) -> float:
    """Mean absolute change per frame of `brow_heights`, [frames, 2], both sides together."""
    return float(np.abs(np.diff(heights, axis=0)).mean()) if len(heights) > 1 else float("nan")


def silent_lips(openings: NDArray[np.floating[Any]], pausing: NDArray[np.bool_]) -> float:
    """Median absolute deviation of `lip_opening` from its mean on the frames of pauses; both [frames]."""
    still = openings[pausing]
    return float(np.median(np.abs(still - still.mean()))) if len(still) > 1 else float("nan")


def lip_sync(
    openings: NDArray[np.floating[Any]], loudness: NDArray[np.floating[Any]], speaking: NDArray[np.bool_]
) -> float:
    """Mean absolute difference of opening and loudness, each scaled to 0..1 over the frames of speech.

    Args:
        openings: `lip_opening`, [frames].
        loudness: RMS of 50 ms around each frame, [frames].
        speaking: frames outside of pauses, [frames].
    """
    if speaking.sum() < 2:
        return float("nan")
    mouth, voice = (_scaled(values[speaking].astype(np.float64)) for values in (openings, loudness))
    return float(np.abs(mouth - voice).mean())


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = values.min(), values.max()
    return np.asarray((values - low) / max(high - low, 1e-8), np.float64)
