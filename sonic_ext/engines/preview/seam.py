"""The line between the lips, found to the pixel: landmarks say where to look, darkness says where it is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from .anatomy import Anatomy, Curve
from .fields import curve_height

COLUMNS = 48
REACH = 0.14
"""How far from the landmarks' line the seam may lie, in half mouth widths."""
OPEN = 0.12
"""Lips further apart than this (in half mouth widths) are an open mouth: each rim keeps its own line."""


def refine_lips(anatomy: Anatomy, picture: np.ndarray) -> Anatomy:
    """The anatomy with its lip rims moved onto the picture's own line between closed lips.

    Args:
        picture: uint8 RGB [height, width, 3].
    """
    x = np.linspace(anatomy.upper_lip[0, 0], anatomy.upper_lip[-1, 0], COLUMNS)
    upper, lower = curve_height(anatomy.upper_lip, x), curve_height(anatomy.lower_lip, x)
    if np.max(lower - upper) > OPEN * anatomy.mouth:
        return anatomy
    seam = _darkest_path(anatomy, picture, x, (upper + lower) / 2)
    line: Curve = np.stack([x, seam], axis=-1)
    return replace(anatomy, upper_lip=line, lower_lip=line)


def _darkest_path(anatomy: Anatomy, picture: np.ndarray, x: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Smooth path of least light through a band around `middle`; heights [columns] (dynamic programming)."""
    reach = max(2.0, REACH * anatomy.mouth)
    offsets = np.linspace(-reach, reach, 2 * int(np.ceil(reach)) * 2 + 1)
    band = np.stack(np.broadcast_arrays(x[None], middle[None] + offsets[:, None]), axis=-1)
    places = anatomy.axes.to_picture(band).astype(np.float32)
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    light = cv2.remap(luma, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    light = cv2.GaussianBlur(light.astype(np.float32), (3, 3), 0)
    contrast = max(float(light.std()), 1.0)
    cost = light / contrast + 0.6 * (offsets[:, None] / reach) ** 2
    path = _cheapest(cost, bend=2.0 / len(offsets))
    return middle + cv2.GaussianBlur(offsets[path][None], (5, 1), 0, borderType=cv2.BORDER_REPLICATE)[0]


def _cheapest(cost: np.ndarray, bend: float) -> np.ndarray:
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
