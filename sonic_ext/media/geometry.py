"""Boxes, crops and video sizes: pure functions on numbers, pixels as the unit throughout.

The crop, the mask box and the size rule are those of the published Sonic inference, to the pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are exclusive. May reach outside a picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from left to right; negative when the sides are swapped."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def centre(self) -> tuple[float, float]:
        """x, y of the middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def area(self) -> float:
        """Square pixels, 0 when empty."""
        return max(0.0, self.width) * max(0.0, self.height)

    def expanded(self, ratio: float) -> Box:
        """Grown on each side by `ratio` of its own width or height."""
        dx, dy = self.width * ratio, self.height * ratio
        return Box(self.left - dx, self.top - dy, self.right + dx, self.bottom + dy)

    def united(self, other: Box) -> Box:
        """The smallest that holds both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        return Box(left, top, max(self.right, other.right), max(self.bottom, other.bottom))

    def squared(self) -> Box:
        """The square about its middle that is as long as its longer side."""
        (x, y), half = self.centre, max(self.width, self.height) / 2
        return Box(x - half, y - half, x + half, y + half)

    def clipped(self, width: float, height: float) -> Box:
        """The part inside a picture of this size; empty (zero width or height) when outside."""
        left, right = (min(max(x, 0.0), width) for x in (self.left, self.right))
        top, bottom = (min(max(y, 0.0), height) for y in (self.top, self.bottom))
        return Box(left, top, right, bottom)

    def scaled(self, sx: float, sy: float) -> Box:
        """In the coordinates of a picture resized by `sx`, `sy`."""
        return Box(self.left * sx, self.top * sy, self.right * sx, self.bottom * sy)

    def shifted(self, dx: float, dy: float) -> Box:
        """Moved by `dx`, `dy`."""
        return Box(self.left + dx, self.top + dy, self.right + dx, self.bottom + dy)

    def turned(self, quarters: int, width: float, height: float) -> Box:
        """In the coordinates of a picture of this size that was turned anticlockwise by quarters."""
        box = self
        for _ in range(quarters % 4):
            box = Box(box.top, width - box.right, box.bottom, width - box.left)
            width, height = height, width
        return box

    def rounded(self) -> tuple[int, int, int, int]:
        """Nearest whole pixels, ties to even."""
        return round(self.left), round(self.top), round(self.right), round(self.bottom)

    def overlap(self, other: Box) -> float:
        """Area shared with another box, in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


def crop_square(face: Box, ratio: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The square around a face: left, top, right, bottom in whole pixels of a `width` × `height` picture.

    The box grows by `ratio` on each side and is clipped; inside that lies the largest square
    that stays nearest the centre of the face. Rounding may leave its sides one pixel apart.
    """
    room = face.expanded(ratio).clipped(width, height)
    side = min(room.width, room.height)
    x, y = face.centre
    left = _slid(x - side / 2, side, room.left, room.right)
    top = _slid(y - side / 2, side, room.top, room.bottom)
    return Box(left, top, left + side, top + side).rounded()


def _slid(start: float, length: float, low: float, high: float) -> float:
    """The start nearest to the wanted one that keeps `length` between `low` and `high`."""
    return max(low, min(start, high - length))


def mask_box(face: Box, width: int, height: int, area: float = 1.1) -> tuple[int, int, int, int] | None:
    """The face mask of the sonic engine: the box scaled by `area` about its centre, None when empty."""
    x, y = (face.left + face.right) // 2, (face.top + face.bottom) // 2
    dx, dy = face.width * area // 2, face.height * area // 2
    box = Box(x - dx, y - dy, x + dx, y + dy).clipped(width, height)
    left, top, right, bottom = (int(value) for value in box)
    return (left, top, right, bottom) if right > left and bottom > top else None


def video_size(width: int, height: int, short_side: int, multiple: int) -> tuple[int, int]:
    """Width and height of the video for a picture: short side as asked, aspect kept.

    Each side is rounded to `multiple` (ties to even) and is at least one multiple long.
    """
    scale = short_side / min(width, height)
    return tuple(max(1, round(side * scale / multiple)) * multiple for side in (width, height))  # type: ignore[return-value]


def smooth(
    x: NDArray[np.float64], start: float | NDArray[np.float64], end: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """0 before `start`, 1 after `end`, a smooth cubic between; reversed when end < start."""
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
