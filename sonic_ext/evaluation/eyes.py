"""Lids and gaze."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..media.scene import LEFT_EYE, RIGHT_EYE

CORNERS = ((33, 133), (362, 263))
"""Corners of each eye, left and right in the picture, from left to right."""
LIDS = (((160, 144), (158, 153)), ((385, 380), (387, 373)))
"""Pairs of upper and lower lid, for each eye."""
BLINK = 0.85
"""Share of the open eye's ratio below which a lid is falling."""
LONGEST_BLINK = 0.6
"""Seconds beyond which closed eyes are no blink."""
WIDTH, HEIGHT = 96, 56
"""Pixels of the patch that an eye is looked at in."""
SPAN = 72.0
"""Pixels of the patch from corner to corner."""
IRIS = 0.2
"""Radius of an iris over the eye's width: 11.7 mm of about 29."""


def eye_ratio(points: NDArray[np.floating[Any]]) -> float:
    """How far the eyes are open: mean height between the lids over the width, both eyes together.

    Soukupová and Čech, "Real-Time Eye Blink Detection using Facial Landmarks", 2016: two heights for each
    eye. People have 0.34 to 0.39 open and under 0.09 at the height of a blink.
    """
    flat = points[:, :2].astype(np.float64)
    ratios = []
    for (left, right), lids in zip(CORNERS, LIDS, strict=True):
        width = max(float(np.hypot(*(flat[right] - flat[left]))), 1e-6)
        ratios.append(np.mean([np.hypot(*(flat[low] - flat[high])) for high, low in lids]) / width)
    return float(np.mean(ratios))


def blink_minima(ratios: NDArray[np.floating[Any]], fps: float) -> tuple[float, NDArray[np.float64]]:
    """The open eye's ratio, and the least ratio of each blink, float64 [blinks].

    The open eye's is the median of all frames; a blink is a dip below `BLINK` of that which ends within
    `LONGEST_BLINK`.
    """
    if not len(ratios):
        return float("nan"), np.zeros(0)
    opened = float(np.median(ratios))
    down = np.zeros(len(ratios) + 2, dtype=np.int8)
    down[1:-1] = ratios < BLINK * opened
    starts, ends = (np.flatnonzero(np.diff(down) == way) for way in (1, -1))
    dips = [ratios[a:b].min() for a, b in zip(starts, ends, strict=True) if (b - a) / fps <= LONGEST_BLINK]
    return opened, np.array(dips, dtype=np.float64)


def gaze(rgb: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Where the irises stand between the corners of the eyes, mean of both eyes, float64 [2].

    x along the eye, y down, from the middle between the corners, over the eye's width. The landmarks have no
    iris: it is found in the picture, as the darkest blob of its size inside the lids. nan for eyes too small
    or too narrow to tell.

    Args:
        rgb: uint8 [height, width, 3].
        points: [468, 2 or more] in its pixels.
    """
    flat = points[:, :2].astype(np.float64)
    found = [
        iris_place(rgb, flat[list(corners)], flat[list(outline)])
        for corners, outline in zip(CORNERS, (LEFT_EYE, RIGHT_EYE), strict=True)
    ]
    return np.asarray(np.mean(found, axis=0), np.float64)


def iris_place(
    rgb: NDArray[np.uint8], corners: NDArray[np.float64], outline: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As `gaze`, of one eye: its corners [2, 2], left first, and its lids' outline [n, 2] in pixels."""
    across = (corners[1] - corners[0]) / SPAN
    down = np.array([-across[1], across[0]])
    to_picture = np.column_stack([across, down, corners.mean(axis=0)])
    to_picture[:, 2] -= to_picture[:, :2] @ ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    if np.hypot(*(corners[1] - corners[0])) < 8:
        return np.full(2, np.nan)
    # Red: lids and whites are bright in it, blue and brown irises are both dark.
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(
        rgb[..., 0], to_picture, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    lids = (outline - to_picture[:, 2]) @ np.linalg.inv(to_picture[:, :2]).T
    cv2.fillPoly(inside, [np.rint(lids * 16).astype(np.int32)], 1, shift=4)
    return _darkest_blob(patch, inside.astype(np.float32))


def _darkest_blob(patch: NDArray[np.uint8], inside: NDArray[np.float32]) -> NDArray[np.float64]:
    radius = IRIS * SPAN
    x, y = np.meshgrid(*(np.arange(-int(radius) - 1, int(radius) + 2),) * 2)
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    darkness = (255.0 - patch.astype(np.float32)) * inside
    border = cv2.BORDER_CONSTANT
    seen = cv2.filter2D(inside, cv2.CV_32F, disc, borderType=border)
    dark = cv2.filter2D(darkness, cv2.CV_32F, disc, borderType=border)
    enough = seen >= 0.6 * seen.max()
    if seen.max() < 0.25 * disc.sum():
        return np.full(2, np.nan)
    mean = np.where(enough, dark / np.maximum(seen, 1e-6), 0.0)
    top = float(mean.max())
    # The centroid of the peak's upper part places it to a fraction of a pixel.
    weights = np.where(enough, np.clip(mean - (top - 0.08 * (top - mean[enough].min() + 1.0)), 0, None), 0.0)
    rows, columns = np.indices(mean.shape)
    place = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
    return np.asarray((place - ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)) / SPAN, np.float64)
