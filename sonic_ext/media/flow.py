"""The frame between two frames by optical flow, for when no network for it is at hand. CPU only.

Dense flow is found in both directions (Kroeger et al., "Fast Optical Flow using Dense Inverse Search",
arXiv 1603.03590). At every pixel of the middle frame some explanations compete: the motion that either flow
says, no motion at all, and a surface that only one of the frames shows. The one under which both frames agree
best there wins.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

ROUNDS = 2
"""How often a flow is looked up again where it says the pixel came from; motion edges then move along."""
REACH = 5
"""Pixels, side of the square over which agreement is judged."""
SOFTNESS = 1.5
"""Levels by which one explanation must be worse than another to weigh e times less."""
STRAY = 1.0
"""Pixels by which both flows must disagree for a surface to count as hidden in the other frame."""
HIDDEN = 6.0
"""Levels of disagreement from which a surface seen once is the better explanation."""
ROOM = 48
"""Pixels around what differs that the flow gets to see."""


class _Way(NamedTuple):
    """One explanation of the middle frame."""

    picture: np.ndarray
    """uint8 [height, width, 3]."""
    doubt: np.ndarray
    """float32 [height, width], levels."""


class FlowInterpolator:
    """Finds middle frames. Keeps nothing from one pair to the next; not to be used by two threads at once."""

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def middle(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
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

    def _moved(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        ahead, back = self._flows(first, second)
        still = _judged(first, second)
        ways = [
            _along(first, second, _at_middle(ahead)),
            _along(first, second, -_at_middle(back)),
            still,
            _Way(first, _lone(ahead, back, still.doubt)),
            _Way(second, _lone(back, ahead, still.doubt)),
        ]
        return _blended(ways)

    def _flows(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels, float32 [height, width, 2]: first → second, and back."""
        before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second))
        return self._search.calc(before, after, None), self._search.calc(after, before, None)


def _grown(left: int, top: int, width: int, height: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a rectangle with room around it, inside a picture of `shape`."""
    rows = slice(max(0, top - ROOM), min(shape[0], top + height + ROOM))
    return rows, slice(max(0, left - ROOM), min(shape[1], left + width + ROOM))


def _brightest(picture: np.ndarray) -> np.ndarray:
    """The largest of the three channels, uint8 [height, width]."""
    red, green, blue = cv2.split(picture)
    return cv2.max(cv2.max(red, green), blue)


def _at_middle(flow: np.ndarray) -> np.ndarray:
    """A flow, given at its first frame, at the pixels of the middle frame that it passes through."""
    height, width = flow.shape[:2]
    # Half the size is as fine as the search itself.
    small = cv2.resize(flow, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    scale = np.array([small.shape[1] / width, small.shape[0] / height], np.float32)
    passing, here = small, _pixels(*small.shape[:2])
    for _ in range(ROUNDS):
        passing = _looked_up(small, here - passing * (scale / 2))
    return cv2.resize(passing, (width, height), interpolation=cv2.INTER_LINEAR)


def _along(first: np.ndarray, second: np.ndarray, flow: np.ndarray) -> _Way:
    """Both frames moved half-way along a flow [height, width, 2] that is given at the middle frame."""
    here, half = _pixels(*flow.shape[:2]), flow * np.float32(0.5)
    return _judged(_looked_up(first, here - half), _looked_up(second, here + half))


def _judged(first: np.ndarray, second: np.ndarray) -> _Way:
    """The mean of two pictures, and how much they disagree around each pixel."""
    apart = _brightest(cv2.absdiff(first, second))
    return _Way(cv2.addWeighted(first, 0.5, second, 0.5, 0), _around(apart))


def _around(values: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(values, cv2.CV_32F, (REACH, REACH))


def _lone(own: np.ndarray, other: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Doubt, float32 [height, width], that a frame alone shows what belongs here.

    Args:
        own: flow from this frame, pixels.
        other: flow back to it.
        still: doubt that nothing moved; what did not move is not hidden.
    """
    returned = own + _looked_up(other, _pixels(*own.shape[:2]) + own)
    stray = cv2.boxFilter(cv2.magnitude(*cv2.split(returned)), cv2.CV_32F, (REACH, REACH))
    return np.where((stray > STRAY) & (still > HIDDEN), np.float32(HIDDEN), np.float32(1e3))


def _blended(ways: list[_Way]) -> np.ndarray:
    """Explanations by how little they are doubted, uint8 [height, width, 3]."""
    least = ways[0].doubt
    for way in ways[1:]:
        least = cv2.min(least, way.doubt)
    total = cv2.exp((least - ways[0].doubt) / SOFTNESS)
    picture = ways[0].picture
    for way in ways[1:]:
        weight = cv2.exp((least - way.doubt) / SOFTNESS)
        picture = cv2.blendLinear(picture, way.picture, total, weight)
        total = total + weight
    return picture


def _pixels(height: int, width: int) -> np.ndarray:
    """x, y of every pixel, float32 [height, width, 2]."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.merge([x, y])


def _looked_up(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    return cv2.remap(values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
