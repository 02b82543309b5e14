"""Tears on drawn frames: places where neighbours of the portrait no longer lie side by side.

A frame is compared with the picture that it was drawn from. Dense flow (Kroeger et al., "Fast Optical Flow
using Dense Inverse Search", arXiv 1603.03590) says roughly where each of its pixels comes from. A warp
without a tear, however strong, changes that little by little. A tear shows in two ways:

- The strips on both sides of a line, each followed by itself (Lucas and Kanade, 1981), moved differently,
  more so than the strips farther away. That is looked for on face and throat: on hair and plain backgrounds
  the flow is no good. Where the portrait has an edge along the line, one surface may pass another, and
  nothing is said.
- The frame has a sharp edge where the portrait has none near.

Lips and eyes are left out: there surfaces part by nature, and what appears was not in the portrait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..media.flow import looked_up, pixels
from ..media.mesh import EYE_RIMS, LIPS, eye_centres

SOFT = 0.8
"""Pixels by which both pictures are blurred: what a codec leaves is no motion."""
THICK, LONG = 4, 17
"""Pixels of the strips on both sides of a line, across it and along it."""
HOLDS = 13
"""Pixels along a line on all of which a step has to be found: what is wider is no slip of the flow."""
BESIDE = 9
"""Pixels from a line at which the same is measured to know what the motion does around it."""
TEXTURE = 1.2
"""Levels per pixel, RMS over a strip, from which its motion in that direction can be told."""
RIDGE = 0.4
"""Levels per pixel that are too few to follow a strip by."""
MOST = 4.0
"""Pixels that a strip is followed beyond the flow."""
EDGE = 12.0
"""Levels per pixel across a line from which the portrait has an edge there."""
ROOM = 4
"""Pixels around the place a pixel comes from in which the portrait's own edge is looked for."""
SHARPER = 1.5
"""How much a warp that presses pixels together may sharpen an edge ..."""
FAINT = 6.0
"""... and levels per pixel that nobody sees."""
JAW, FOREHEAD = (136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365), 10
THROAT = 0.25
"""How far below the jaw the throat is looked at, in heights of the face."""
PARTING = 0.16
"""Eye distances around lips and eyes that are left out."""


@dataclass(frozen=True)
class Tear:
    """The worst of one frame, outside of lips and eyes."""

    jump: float
    """Pixels: largest step of the motion across a line, on face and throat."""
    edge: float
    """Levels per pixel by which the sharpest new edge exceeds the portrait's there, mean over its length."""
    jump_at: tuple[int, int]
    """x, y of the largest step."""
    edge_at: tuple[int, int]
    """x, y of the sharpest new edge."""


class _Strips(NamedTuple):
    """The motion of the strips that end at each pixel."""

    motion: NDArray[np.float32]
    """float32 [height, width, 2], pixels."""
    texture: NDArray[np.float32]
    """float32 [height, width, 3]: means of xx, xy and yy of the slopes, squares of levels per pixel."""


class TearFinder:
    """Looks for tears in frames drawn from one picture; not to be used by two threads at once.

    Args:
        picture: uint8 RGB [height, width, 3], or an untorn frame.
        points: the face in it, [468, 2 or more].
    """

    def __init__(self, picture: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> None:
        self._luma = _luma(picture)
        self._points = points
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        slopes = [np.abs(slope) for slope in _slopes(self._luma)]
        self._near, self._around = (
            [cv2.dilate(slope, np.ones((2 * room + 1, 2 * room + 1), np.uint8)) for slope in slopes]
            for room in (ROOM, ROOM + THICK)
        )

    def look(self, frame: NDArray[np.uint8], points: NDArray[np.floating[Any]]) -> Tear:
        """The worst tear of a frame.

        Args:
            frame: uint8 RGB, the size of the picture.
            points: the face in it, [468, 2 or more].
        """
        luma = _luma(frame)
        flow = self._search.calc(_levels(luma), _levels(self._luma), None)
        sources = flow + pixels(*luma.shape)
        free = self._free(points)
        skin = free & _skin(points, luma.shape)
        jumps, edges = [], []
        slopes, came = _slopes(luma), looked_up(self._luma, sources)
        for across in (0, 1):
            # Strips that touch an edge of the portrait are no strips of one surface.
            smooth = skin & (looked_up(self._around[across], sources) < EDGE)
            jumps.append(_jumps(luma, came, flow, across) * smooth)
            sharper = np.abs(slopes[across]) - SHARPER * looked_up(self._near[across], sources) - FAINT
            edges.append(cv2.blur(np.maximum(sharper, 0.0), _size(1, LONG, across)) * free)
        jump, edge = cv2.max(*jumps), cv2.max(*edges)
        return Tear(float(jump.max()), float(edge.max()), _peak(jump), _peak(edge))

    def _free(self, points: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Where tears are looked for: not at lips and eyes, here or in the picture, and not at the rim."""
        left, right = eye_centres(self._points)
        room = max(2, round(PARTING * float(np.hypot(*(right - left)))))
        taken = np.zeros(self._luma.shape, np.uint8)
        for face in (points, self._points):
            for part in (LIPS, *EYE_RIMS):
                hull = cv2.convexHull(np.rint(face[list(part), :2]).astype(np.int32))
                cv2.fillConvexPoly(taken, hull, 1)
        taken = cv2.dilate(taken, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * room + 1,) * 2))
        rim = BESIDE + THICK
        free = np.zeros(taken.shape, bool)
        free[rim:-rim, rim:-rim] = taken[rim:-rim, rim:-rim] == 0
        return free


def _skin(points: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The face and the throat below it, bool [height, width]."""
    flat = points[:, :2].astype(np.float64)
    throat = flat[list(JAW)] + THROAT * (flat[JAW[len(JAW) // 2]] - flat[FOREHEAD])
    hull = cv2.convexHull(np.rint(np.concatenate([flat, throat])).astype(np.int32))
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    return mask > 0


def _jumps(
    luma: NDArray[np.float32], came: NDArray[np.float32], flow: NDArray[np.float32], across: int
) -> NDArray[np.float32]:
    """Step of the motion across the line below each pixel (`across` 0) or to its right (1), in pixels.

    Of the step counts what texture shows: on a smooth cheek nothing, along an edge only what crosses it.

    Args:
        luma: the frame, float32 [height, width].
        came: the picture as the flow carries it into the frame.
        flow: where each pixel comes from, relative to it, float32 [height, width, 2].
    """
    before, after = (_followed(luma, came, flow, across, anchor) for anchor in (THICK - 1, 0))
    step = _moved(after.motion, 1, across) - before.motion
    around = (_moved(step, BESIDE, across) + _moved(step, -BESIDE, across)) * np.float32(0.5)
    x, y = cv2.split(step - around)
    xx, xy, yy = cv2.split(cv2.min(before.texture, _moved(after.texture, 1, across)))
    middle, apart = (xx + yy) / 2, cv2.magnitude((xx - yy) / 2, xy)
    # Eigenvectors of the texture's second moments: the direction in which it shows most, and the other.
    angle = cv2.phase((xx - yy) / 2, xy) / 2
    right, down = np.cos(angle), np.sin(angle)
    most = np.where(middle + apart > TEXTURE**2, x * right + y * down, 0.0)
    least = np.where(middle - apart > TEXTURE**2, y * right - x * down, 0.0)
    steps = cv2.magnitude(most.astype(np.float32), least.astype(np.float32))
    return cv2.erode(steps, np.ones(_size(1, HOLDS, across)[::-1], np.uint8))


def _followed(
    luma: NDArray[np.float32],
    came: NDArray[np.float32],
    flow: NDArray[np.float32],
    across: int,
    anchor: int,
) -> _Strips:
    """A step of Lucas and Kanade's method beyond the flow, for strips whose row `anchor` is at each pixel."""
    down, right = _slopes(came)
    size = _size(THICK, LONG, across)
    place = (LONG // 2, anchor) if across == 0 else (anchor, LONG // 2)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.boxFilter(values, cv2.CV_32F, size, anchor=place, borderType=cv2.BORDER_REPLICATE)

    xx, xy, yy = mean(right * right), mean(right * down), mean(down * down)
    rest = luma - came
    x, y = mean(right * rest), mean(down * rest)
    # A ridge: in a direction without texture a strip stays where the flow puts it.
    a, c = xx + RIDGE**2, yy + RIDGE**2
    scale = 1 / (a * c - xy * xy)
    more = cv2.merge([(c * x - xy * y) * scale, (a * y - xy * x) * scale])
    return _Strips(mean(flow) + np.clip(more, -MOST, MOST), cv2.merge([xx, xy, yy]))


def _luma(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), SOFT)


def _levels(luma: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(luma), np.uint8)


def _slopes(luma: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Levels per pixel downwards and to the right, float32 [height, width] each."""
    return (
        cv2.Scharr(luma, cv2.CV_32F, 0, 1, scale=1 / 32),
        cv2.Scharr(luma, cv2.CV_32F, 1, 0, scale=1 / 32),
    )


def _size(thick: int, long: int, across: int) -> tuple[int, int]:
    """Width and height of a strip along lines that run from left to right (0) or from top to bottom (1)."""
    return (long, thick) if across == 0 else (thick, long)


def _moved(values: NDArray[Any], by: int, axis: int) -> NDArray[Any]:
    """The values `by` pixels farther along an axis; the border goes on."""
    places = np.clip(np.arange(values.shape[axis]) + by, 0, values.shape[axis] - 1)
    return np.take(values, places, axis=axis)


def _peak(values: NDArray[np.float32]) -> tuple[int, int]:
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return int(column), int(row)
