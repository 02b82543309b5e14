"""Lids and gaze, in the picture.

The landmarks say where the eyes are, but they have no iris, and those of the lids hardly follow a blink: of
eyes that shut they tell 0.28 falling to 0.27. So both are looked for in the pixels.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..media.blocks import runs
from ..media.mesh import EYE_RIMS, RIGID, fit_similarity

CORNERS = ((33, 133), (362, 263))
"""Corners of each eye, left and right in the picture, from left to right."""
LIDS = (((160, 144), (158, 153)), ((385, 380), (387, 373)))
"""Pairs of upper and lower lid, for each eye."""
BLINK, AWAKE = 0.5, 0.75
"""Shares of the open eye's ratio: in a blink it falls below the first; from the second on an eye looks."""
LONGEST_BLINK = 0.6
"""Seconds beyond which closed eyes are no blink."""
WIDTH, HEIGHT = 96, 56
"""Pixels of the patch that an eye is looked at in."""
SPAN = 72.0
"""Pixels of the patch from corner to corner."""
SMALLEST = 8.0
"""Pixels: width of an eye below which nothing can be told of its gaze."""
AROUND = 12
"""Pixels around a patch in which an eye is looked for: landmarks are a little off, and a turned head is not
a shifted one."""
SAME = 0.75
"""Correlation from which it is the same open eye; one that shuts (0.7) is where it was last."""
GAZES = range(-8, 9, 2)
"""Pixels of the patch to the right by which an iris may have moved."""
RADII = (0.16, 0.18, 0.2, 0.22)
"""Of an iris over the eye's width: 5.8 mm of about 29."""
FARTHEST, HIGHEST, LOWEST = 0.22, -0.12, 0.04
"""Eye widths to the sides, up and down, within which an iris is looked for."""


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


def find_blinks(ratios: NDArray[np.floating[Any]], fps: float) -> tuple[float, NDArray[np.int64]]:
    """The open eye's ratio, and where the ratio of each blink is least, int64 [blinks].

    The open eye's is the median of all frames; a blink is a dip below `BLINK` of that which ends within
    `LONGEST_BLINK`.
    """
    if not len(ratios):
        return float("nan"), np.zeros(0, np.int64)
    opened = float(np.median(ratios))
    dips = [
        start + ratios[start:end].argmin()
        for start, end in runs(ratios < BLINK * opened)
        if (end - start) / fps <= LONGEST_BLINK
    ]
    return opened, np.array(dips, dtype=np.int64)


class Lids:
    """Tells how far the eyes of a picture are still open in frames of the same face, one after the other.

    What shows between the lids of the picture is compared with what a lid would show there, the skin above
    and below drawn together; the frame's eyes are open by the share of that difference which they still
    have. What else shows there, lashes or an iris smeared over a lid, does not open them, but is told.

    Args:
        picture: uint8 RGB [height, width, 3], eyes open.
        points: [468, 2 or more] in its pixels.
    """

    def __init__(self, picture: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> None:
        self._points = points[:, :2].astype(np.float64)
        self._open = eye_ratio(points)
        self._steps = [(AROUND, AROUND)] * 2
        self._eyes = []
        for corners, outline in zip(CORNERS, EYE_RIMS, strict=True):
            place = _patch_place(self._points[list(corners)])
            inside = _inside(self._points[list(outline)], place)
            patch = _patch(picture, place)
            self._eyes.append((place, patch, inside, _beyond_skin(patch, inside)))

    def look(self, frame: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> tuple[float, float]:
        """How far the eyes are open, and how much shows between the lids that is no skin.

        Returns:
            As `eye_ratio`: the picture's times the share that is still open, 0 or more. And the mean square
            of all that is no skin over that of the open eye: 1 when open, 0.3 to 0.5 on a shut lid with a
            crease and lashes, more on one that is smeared.
        """
        rigid = list(RIGID)
        scale, turn, shift = fit_similarity(self._points[rigid], points[rigid, :2].astype(np.float64))
        shares, rests = [], []
        for number, (place, patch, inside, wanted) in enumerate(self._eyes):
            moved = np.column_stack([scale * turn @ place[:, :2], scale * turn @ place[:, 2] + shift])
            wide = _patch(frame, moved, AROUND)
            alike = cv2.matchTemplate(wide, patch, cv2.TM_CCOEFF_NORMED)
            _, best, _, (left, top) = cv2.minMaxLoc(alike)
            if best > SAME:
                self._steps[number] = top, left
            top, left = self._steps[number]
            seen = _beyond_skin(wide[top : top + HEIGHT, left : left + WIDTH], inside)
            power = max(float(np.square(wanted).sum()), 1.0)
            gazes = (np.roll(wanted, step, axis=1) for step in GAZES)
            shares.append(max(float((each * seen).sum()) for each in gazes) / power)
            rests.append(float(np.square(seen).sum()) / power)
        return self._open * max(0.0, float(np.mean(shares))), float(np.mean(rests))


def gaze(rgb: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> float:
    """Where the irises stand along the eyes, from the middle between the corners, over the eye's width.

    Mean of both eyes, positive to the right; nan where an eye is too small to tell. Its changes say more than
    itself: the corners found may lie a little off.

    Args:
        rgb: uint8 [height, width, 3].
        points: [468, 2 or more] in its pixels.
    """
    flat = points[:, :2].astype(np.float64)
    return float(np.mean([iris_place(rgb, flat[list(corners)])[0] for corners in CORNERS]))


def iris_place(rgb: NDArray[np.uint8], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of an iris between the corners of its eye, x along it and y down, in eye widths, float64 [2].

    The dark disc with the sharpest rims to both sides (after Daugman, "High confidence visual recognition of
    persons by a test of statistical independence", 1993; above and below lie lids).

    Args:
        rgb: uint8 [height, width, 3].
        corners: float64 [2, 2] in its pixels, left first.
    """
    if np.hypot(*(corners[1] - corners[0])) < SMALLEST:
        return np.full(2, np.nan)
    # Red: lids and whites are bright in it, blue and brown irises are both dark. Reflections are taken out.
    red = _patch(rgb, _patch_place(corners))[..., 0]
    spot = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    red = cv2.GaussianBlur(cv2.morphologyEx(red, cv2.MORPH_OPEN, spot), (0, 0), 1.2)
    fits = [cv2.filter2D(red, cv2.CV_32F, iris, borderType=cv2.BORDER_REPLICATE) for iris in _irises()]
    x = (np.arange(WIDTH) - (WIDTH - 1) / 2) / SPAN
    y = (np.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2) / SPAN
    fit, near = np.max(fits, axis=0), (np.abs(x) <= FARTHEST) & (y >= HIGHEST) & (y <= LOWEST)
    top, low = fit[near].max(), fit[near].min()
    # The centroid of the peak's upper part places it to a fraction of a pixel.
    weights = np.where(near, np.clip(fit - (top - 0.06 * (top - low + 1e-3)), 0.0, None), 0.0)
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


@cache
def _irises() -> tuple[NDArray[np.float32], ...]:
    """Kernels for irises of `RADII`: large on a dark disc that is brighter to both sides."""
    kernels = []
    for radius in RADII:
        size = radius * SPAN
        reach = int(size) + 5
        x, y = np.meshgrid(*(np.arange(-reach, reach + 1.0),) * 2)
        far = np.hypot(x, y)
        sides = np.clip((40 - np.degrees(np.arctan2(np.abs(y), np.abs(x)))) / 10 + 0.5, 0, 1)
        white, rim = (sides * np.exp(-(((far - size + off) / 1.6) ** 2)) for off in (-3, 3))
        disc = np.clip(0.8 * size + 0.5 - far, 0, 1)
        kernels.append((white / white.sum() - rim / rim.sum() - disc / disc.sum()).astype(np.float32))
    return tuple(kernels)


def _patch_place(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map from pixels of an eye's patch, the corners level in it, to the picture, float64 [2, 3]."""
    across = (corners[1] - corners[0]) / SPAN
    turn = np.column_stack([across, (-across[1], across[0])])
    return np.column_stack([turn, corners.mean(axis=0) - turn @ ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)])


def _patch(rgb: NDArray[np.uint8], place: NDArray[np.float64], around: int = 0) -> NDArray[np.float32]:
    """float32 [HEIGHT, WIDTH, 3], and some more pixels around that."""
    place = np.column_stack([place[:, :2], place[:, 2] - place[:, :2] @ (around, around)])
    size = WIDTH + 2 * around, HEIGHT + 2 * around
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    taken = cv2.warpAffine(rgb, place, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32)


def _inside(outline: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.uint8]:
    """1 between the lids, uint8 [HEIGHT, WIDTH]."""
    lids = (outline - place[:, 2]) @ np.linalg.inv(place[:, :2]).T
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(inside, [np.rint(lids * 16).astype(np.int32)], 1, shift=4)
    return inside


def _beyond_skin(patch: NDArray[np.float32], inside: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a patch shows between the lids beyond the skin above and below them, float32 like the patch."""
    top, bottom = inside.argmax(axis=0), HEIGHT - 1 - inside[::-1].argmax(axis=0)
    columns = np.arange(WIDTH)
    above, below = (
        np.mean([patch[np.clip(row + step, 0, HEIGHT - 1), columns] for step in steps], axis=0)
        for row, steps in ((top, (-5, -4, -3)), (bottom, (3, 4, 5)))
    )
    share = ((np.arange(HEIGHT)[:, None] - top + 0.5) / (bottom - top + 1))[..., None]
    skin = above * (1 - share) + below * share
    return np.asarray((patch - skin) * inside[..., None], np.float32)
