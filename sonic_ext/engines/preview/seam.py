"""The line between the lips, found to the pixel: landmarks say where to look, darkness says where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy, Curve
from .fields import curve_height

COLUMNS = 48
REACH = 0.14
"""How far from the landmarks' line a rim may lie, in half mouth widths."""
OPEN = 0.12
"""Lips further apart than this (in half mouth widths) are an open mouth: each rim keeps its own line."""


def refine_lips(anatomy: Anatomy, picture: NDArray[np.uint8]) -> Anatomy:
    """The anatomy with its lip rims moved onto the lines that the picture has there.

    Shut lips meet in a dark line. Parted lips end where their red does.

    Args:
        picture: uint8 RGB [height, width, 3].
    """
    x = np.linspace(anatomy.upper_lip[0, 0], anatomy.upper_lip[-1, 0], COLUMNS)
    upper, lower = curve_height(anatomy.upper_lip, x), curve_height(anatomy.lower_lip, x)
    if np.max(lower - upper) <= OPEN * anatomy.mouth:
        seam = _traced(anatomy, picture, x, (upper + lower) / 2, _light)
        return replace(anatomy, upper_lip=seam, lower_lip=seam)
    rims = (
        _traced(anatomy, picture, x, upper, _red_gained),
        _traced(anatomy, picture, x, lower, lambda band: -_red_gained(band)),
    )
    # Both rims end in the same two points, so that nothing parts beyond the corners.
    step = 0.08 * anatomy.mouth
    first, last = ((rims[0][end] + rims[1][end]) / 2 + (way, 0.0) for end, way in ((0, -step), (-1, step)))
    upper_rim, lower_rim = (np.concatenate([[first], rim, [last]]) for rim in rims)
    return replace(anatomy, upper_lip=upper_rim, lower_lip=lower_rim)


def _light(band: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brightness of a band float32 [rows, columns, 3]."""
    return np.asarray(band @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def _red_gained(band: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much redder it gets downwards: least where an upper lip ends."""
    red = band[..., 0] / (band.sum(axis=-1) + 30.0)
    return np.gradient(cv2.GaussianBlur(red, (3, 5), 0), axis=0)


def _traced(
    anatomy: Anatomy,
    picture: NDArray[np.uint8],
    x: NDArray[np.float64],
    guess: NDArray[np.float64],
    cost_of: Callable[[NDArray[Any]], NDArray[Any]],
) -> Curve:
    """The smooth line of least cost through a band around a guess (dynamic programming)."""
    reach = max(2.0, REACH * anatomy.mouth)
    offsets = np.linspace(-reach, reach, 4 * int(np.ceil(reach)) + 1)
    places = np.stack(np.broadcast_arrays(x[None], guess[None] + offsets[:, None]), axis=-1)
    band = cv2.remap(
        picture,
        anatomy.axes.to_picture(places).astype(np.float32),
        None,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    cost = cv2.GaussianBlur(cost_of(band.astype(np.float32)), (3, 3), 0)
    cost = cost / max(float(cost.std()), 1e-6) + 0.6 * (offsets[:, None] / reach) ** 2
    path = _cheapest(cost, bend=2.0 / len(offsets))
    moved = cv2.GaussianBlur(offsets[path][None], (5, 1), 0, borderType=cv2.BORDER_REPLICATE)[0]
    return np.stack([x, guess + moved], axis=-1)


def _cheapest(cost: NDArray[np.float64], bend: float) -> NDArray[np.int64]:
    """Row of each column on the path of least cost [rows, columns]; a step of one row costs `bend`."""
    rows, columns = cost.shape
    steps = np.abs(np.subtract.outer(np.arange(rows), np.arange(rows))) * bend
    total, came = cost[:, 0], np.zeros((columns, rows), dtype=int)
    for column in range(1, columns):
        ways = total[None, :] + steps
        came[column] = ways.argmin(axis=1)
        total = ways.min(axis=1) + cost[:, column]
    path = [int(total.argmin())]
    for column in range(columns - 1, 0, -1):
        path.append(int(came[column][path[-1]]))
    return np.array(path[::-1])
