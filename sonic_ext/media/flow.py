"""The frame between two frames by optical flow, for when no network for it is at hand. CPU only.

Dense flow is found in both directions (Kroeger et al., "Fast Optical Flow using Dense Inverse Search",
arXiv 1603.03590) and moved to the pixels of the middle frame. There every pixel takes the motion, of its own
or of its neighbours, under which both frames agree best (Barnes et al., "PatchMatch", 2009). Where they agree
under none, a surface shows in only one of them, and that one is believed.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

FINEST = 1
"""Halvings of the half-size pictures at which the search ends."""
ROUNDS = 2
"""How often a flow is looked up again where it says the pixel came from; motion edges then move along."""
STEPS = (10, 3)
"""Pixels of the half-size pictures, how far off neighbours are asked for their motion."""
REACH = 3
"""Pixels, side of the square over which agreement is judged."""
SOFTNESS = 3.0
"""Levels by which an explanation must be worse than the best to count for nothing."""
STRAY = 1.0
"""Pixels of the half-size pictures by which both flows differ where a surface is hidden in one frame."""
HIDDEN = 60.0
"""Levels of disagreement from which a surface seen once is the better explanation, where its pixels stray by
`STRAY`; less, the further they do."""
NEVER = 1000.0
"""Levels of doubt that nothing reaches."""
ROOM = 48
"""Pixels around what differs that the flow gets to see."""


class _Warped(NamedTuple):
    """One explanation of the middle frame."""

    picture: NDArray[np.uint8]
    """uint8 [height, width, 3]."""
    doubt: NDArray[np.float32]
    """float32 [height, width], levels."""


class FlowInterpolator:
    """Finds middle frames. Keeps nothing from one pair to the next; not to be used by two threads at once."""

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._search.setFinestScale(FINEST)

    def middle(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame half-way between two.

        Where the frames are equal, so is the result, bit for bit.

        Args:
            first: uint8 RGB [height, width, 3].
            second: the same size.

        Returns:
            A new array like them.

        Raises:
            ValueError: the sizes differ, or not 8-bit colour.
        """
        if first.shape != second.shape or first.dtype != np.uint8 or second.dtype != np.uint8:
            raise ValueError(f"{first.dtype} {first.shape} and {second.dtype} {second.shape}")
        result = first.copy()
        differs = _brightest(cv2.absdiff(first, second))
        left, top, width, height = cv2.boundingRect(differs)
        if width == 0:
            return result
        part = _grown(left, top, width, height, first.shape)
        made = self._moved(np.ascontiguousarray(first[part]), np.ascontiguousarray(second[part]))
        cv2.copyTo(made, differs[part], result[part])
        return result

    def _moved(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = first.shape[:2]
        before, after = _half(first), _half(second)
        ahead, back = self._search.calc(before, after, None), self._search.calc(after, before, None)
        flow = _agreed(before, after, [_at_middle(ahead), -_at_middle(back)])
        scale = width / before.shape[1], height / before.shape[0]
        strays = [cv2.resize(_stray(*pair), (width, height)) for pair in ((ahead, back), (back, ahead))]
        ways = [
            _along(first, second, cv2.resize(flow, (width, height)) * np.array(scale, np.float32)),
            _judged(first, second),
            _Warped(first, _lone(*strays)),
            _Warped(second, _lone(*reversed(strays))),
        ]
        return _blended(ways)


def _half(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma at half the size, uint8."""
    height, width = picture.shape[:2]
    size = max(16, (width + 1) // 2), max(16, (height + 1) // 2)
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)


def _grown(left: int, top: int, width: int, height: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a rectangle with room around it, inside a picture of `shape`."""
    rows = slice(max(0, top - ROOM), min(shape[0], top + height + ROOM))
    return rows, slice(max(0, left - ROOM), min(shape[1], left + width + ROOM))


def _brightest(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest of the three channels, uint8 [height, width]."""
    red, green, blue = cv2.split(picture)
    return cv2.max(cv2.max(red, green), blue)


def _at_middle(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """A flow, given at its first frame, at the pixels of the middle frame that it passes through."""
    passing, here = flow, pixels(*flow.shape[:2])
    for _ in range(ROUNDS):
        passing = looked_up(flow, here - passing * np.float32(0.5))
    return passing


def _agreed(
    before: NDArray[np.uint8], after: NDArray[np.uint8], flows: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The flow at the middle frame, float32 [height, width, 2], under which both frames agree best."""
    here = pixels(*before.shape)
    best, least = np.zeros_like(here), _around(cv2.absdiff(before, after))
    for flow in flows:
        best, least = _better(before, after, here, (best, least), flow)
    for step, (x, y) in product(STEPS, ((1, 0), (-1, 0), (0, 1), (0, -1))):
        asked = _shifted(best, x * step, y * step)
        best, least = _better(before, after, here, (best, least), asked)
    return best


def _better(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    here: NDArray[np.float32],
    held: tuple[NDArray[np.float32], NDArray[np.float32]],
    flow: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Flow and doubt, each taken from `held` or from `flow`, whichever is doubted less."""
    half = flow * np.float32(0.5)
    doubt = _around(cv2.absdiff(looked_up(before, here - half), looked_up(after, here + half)))
    best, least = held
    mask = cv2.compare(doubt, least, cv2.CMP_LT)
    cv2.copyTo(flow, mask, best)
    return best, cv2.min(doubt, least)


def _shifted(values: NDArray[np.float32], x: int, y: int) -> NDArray[np.float32]:
    """Moved by whole pixels; the border goes on."""
    height, width = values.shape[:2]
    grown = cv2.copyMakeBorder(values, max(y, 0), max(-y, 0), max(x, 0), max(-x, 0), cv2.BORDER_REPLICATE)
    top, left = max(-y, 0), max(-x, 0)
    return grown[top : top + height, left : left + width]


def _along(first: NDArray[np.uint8], second: NDArray[np.uint8], flow: NDArray[np.float32]) -> _Warped:
    """Both frames moved half-way along a flow [height, width, 2] that is given at the middle frame."""
    here, half = pixels(*flow.shape[:2]), flow * np.float32(0.5)
    return _judged(looked_up(first, here - half), looked_up(second, here + half))


def _judged(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> _Warped:
    """The mean of two pictures, and how much they disagree around each pixel."""
    apart = _brightest(cv2.absdiff(first, second))
    return _Warped(cv2.addWeighted(first, 0.5, second, 0.5, 0), _around(apart))


def _around(values: NDArray[Any]) -> NDArray[np.float32]:
    return cv2.boxFilter(values, cv2.CV_32F, (REACH, REACH))


def _stray(own: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far from itself a pixel comes back along both flows, pixels, float32 [height, width]."""
    returned = own + looked_up(other, pixels(*own.shape[:2]) + own)
    return _around(cv2.magnitude(*cv2.split(returned)))


def _lone(own: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Doubt, float32 [height, width], that a frame alone shows what belongs here.

    Args:
        own: how far its pixels stray; those that the other frame hides do.
        other: how far those of the other frame do.
    """
    surer = cv2.max(own - other, STRAY)
    return np.where((own > STRAY) & (own > other), np.float32(HIDDEN * STRAY) / surer, np.float32(NEVER))


def _blended(warped: list[_Warped]) -> NDArray[np.uint8]:
    """Explanations by how little they are doubted, uint8 [height, width, 3]."""
    least = warped[0].doubt
    for way in warped[1:]:
        least = cv2.min(least, way.doubt)
    total = _weight(warped[0], least)
    picture = warped[0].picture
    for way in warped[1:]:
        weight = _weight(way, least)
        picture = cv2.blendLinear(picture, way.picture, total, weight)
        total = total + weight
    return picture


def _weight(way: _Warped, least: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 where a way is the least doubted, 0 where it is doubted by `SOFTNESS` levels more."""
    return cv2.max(cv2.addWeighted(least, 1 / SOFTNESS, way.doubt, -1 / SOFTNESS, 1.0), 0.0)


def pixels(height: int, width: int) -> NDArray[np.float32]:
    """x, y of every pixel, float32 [height, width, 2]."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.merge([x, y])


def looked_up(values: NDArray[Any], places: NDArray[np.float32]) -> NDArray[Any]:
    """Values [height, width, ...] at places x, y [..., 2]; the border goes on."""
    return cv2.remap(values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
