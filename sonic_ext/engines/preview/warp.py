"""A backward warp whose displacement is a mix of fields computed once per portrait.

Every field says where a point of the resting portrait goes for a coefficient of one, in pixels. A frame
mixes the fields, inverts the sum by fixed-point iteration on a coarse grid and enlarges the result to one
map for `cv2.remap`: the cost of a frame does not depend on how many motions there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Values = TypeVar("Values", bound=np.generic)

INVERSIONS = 4
"""Fixed-point steps of p = s + D(s); each divides the error by 1/|grad D|, 1.8 at the least (`limits`)."""


class Rect(NamedTuple):
    """Pixels [top:bottom, left:right] of the picture."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def shifted(self, x: int, y: int) -> Rect:
        """Moved by whole pixels."""
        return Rect(self.left + x, self.top + y, self.right + x, self.bottom + y)

    def moved(self, way: NDArray[np.floating[Any]]) -> Rect:
        """Moved by the nearest whole pixels of a displacement [2]."""
        x, y = np.rint(way).astype(int).tolist()
        return self.shifted(x, y)

    def relative(self, whole: Rect) -> Rect:
        """In an array that begins at the corner of another rectangle."""
        return self.shifted(-whole.left, -whole.top)

    def within(self, other: Rect) -> Rect:
        """What lies in both; two pixels at least."""
        left = min(max(self.left, other.left), other.right - 2)
        top = min(max(self.top, other.top), other.bottom - 2)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Rect(left, top, max(right, left + 2), max(bottom, top + 2))

    def pixels(self) -> NDArray[np.float64]:
        """Picture coordinates of its pixels, float64 [height, width, 2]."""
        y, x = np.mgrid[self.top : self.bottom, self.left : self.right]
        return np.stack([x, y], axis=-1).astype(np.float64)

    def cut(self, picture: NDArray[Values]) -> NDArray[Values]:
        """View of the picture [height, width, ...] inside the rectangle."""
        return picture[self.top : self.bottom, self.left : self.right]

    @classmethod
    def around(cls, points: NDArray[np.float64], margin: float, width: int, height: int) -> Rect:
        """Smallest rectangle that holds the points [n, 2] and a margin, inside the picture."""
        low = np.floor(points.min(axis=0) - margin).astype(int)
        high = np.ceil(points.max(axis=0) + margin).astype(int)
        left, top = (int(v) for v in np.clip(low, 0, (width - 2, height - 2)))
        right, bottom = np.clip(high, (left + 2, top + 2), (width, height))
        return cls(left, top, int(right), int(bottom))


@dataclass(frozen=True)
class Grid:
    """Coarse sample points of a rectangle: the middles of cells of `step` by `step` pixels."""

    rect: Rect
    step: int

    @classmethod
    def over(cls, rect: Rect, step: float) -> Grid:
        """A grid with about `step` pixels between points, at least one."""
        return cls(rect, max(1, round(step)))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; the last cells may reach beyond the rectangle."""
        width, height = self.rect.size
        return -(-height // self.step), -(-width // self.step)

    def points(self) -> NDArray[np.float64]:
        """Picture coordinates of the grid points, float64 [rows, columns, 2]."""
        rows, columns = np.indices(self.shape)
        corner = (self.rect.left, self.rect.top)
        return np.asarray((np.stack([columns, rows], axis=-1) + 0.5) * self.step - 0.5 + corner, np.float64)


class Warp:
    """Backward maps of one rectangle for any mix of its fields.

    Args:
        grid: where the fields are sampled; it reaches as far around the rectangle as things move.
        fields: [motions, rows, columns, 2], displacement in pixels per unit of each coefficient.
        rect: what is mapped; all of the grid by default.
    """

    def __init__(self, grid: Grid, fields: NDArray[np.float64], rect: Rect | None = None) -> None:
        self.rect = rect or grid.rect
        self._inner = self.rect.relative(grid.rect)
        self._step = grid.step
        self._shape = (*grid.shape, 2)
        self._basis = np.ascontiguousarray(fields.reshape(len(fields), -1), dtype=np.float32)
        rows, columns = np.indices(grid.shape, dtype=np.float32)
        self._cells = np.stack([columns, rows], axis=-1)
        width, height = self.rect.size
        y, x = np.indices((height, width), dtype=np.float32)
        # Added in pixels at full size, so that a point that does not move maps to itself exactly.
        self._identity = np.stack([x + self.rect.left, y + self.rect.top], axis=-1)

    def displacement(self, mix: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Inverse displacement at full size, float32 [height, width, 2]: source = pixel + displacement."""
        forward = (mix.astype(np.float32) @ self._basis).reshape(self._shape)
        backward: NDArray[np.float32] = -forward
        for _ in range(INVERSIONS):
            backward = -_sample(forward, self._cells + backward * (1.0 / self._step))
        rows, columns, _ = self._shape
        size = (columns * self._step, rows * self._step)
        # cv2.resize takes samples for middles of cells, as the grid does.
        return self._inner.cut(cv2.resize(backward, size, interpolation=cv2.INTER_LINEAR))

    def sources(self, mix: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Where each pixel of the rectangle comes from, picture coordinates, float32 [height, width, 2]."""
        return self.displacement(mix) + self._identity


def _sample(field: NDArray[np.float32], cells: NDArray[np.float32]) -> NDArray[np.float32]:
    return cv2.remap(field, cells, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def looked_up(values: NDArray[np.float32], sources: NDArray[np.float32], rect: Rect) -> NDArray[np.float32]:
    """Values of a rectangle [h, w, ...] at picture coordinates."""
    places = sources - np.array([rect.left, rect.top], dtype=np.float32)
    return cv2.remap(values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def sampled(picture: NDArray[np.uint8], sources: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture at these coordinates; mirrored beyond its edges."""
    return cv2.remap(picture, sources, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
