"""Draws a face with any mix of motions: one remap for the head, small ones where surfaces part.

Lips and eyelids are edges at which one surface covers another, which no single smooth warp can show. Each
is drawn as layers: every layer is the portrait warped by its own fields, cut at a line of the resting
portrait that is carried along by the same warp, so an edge is always where its surface ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy, Eye, read_anatomy
from .fields import (
    JAW_DROP,
    Motion,
    curve_height,
    head_fields,
    lid_shape,
    lip_fields,
    mouth_coordinates,
    parting,
)
from .interior import Interior, draw_interior
from .seam import refine_lips
from .warp import Grid, Rect, Warp

SEAM = 0.055
"""Width of the dark line on either side of shut lips, in half mouth widths."""


@dataclass(frozen=True)
class Lip:
    """A lip: its warp, and how far each resting pixel lies beyond its rim."""

    warp: Warp
    beyond: NDArray[np.float32]
    """float32 [h, w, 2] of the warp's rectangle: signed pixels past the rim of shut lips and of parted
    ones; negative on the lip. Parted lips lose the dark line in which they met."""

    def draw(
        self, picture: NDArray[np.uint8], mix: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The warped lip, float32 [h, w, 3], and how much it covers, 0..1 [h, w]."""
        sources = self.warp.sources(mix)
        shut, open_ = cv2.split(_looked_up(self.beyond, sources, self.warp.rect))
        parted = _parted(mix)
        past = shut * (1.0 - parted) + open_ * parted
        return _sampled(picture, sources).astype(np.float32), np.clip(0.5 - past, 0.0, 1.0)


@dataclass(frozen=True)
class Lid:
    """An upper eyelid: skin stretched down over the eye, on top of the head's own warp."""

    warp: Warp
    shape: NDArray[np.float32]
    """float32 [h, w, 3] of the warp's rectangle: see `lid_shape`."""
    down: NDArray[np.float64]
    """float64 [2]: the face's direction of down."""

    def draw(
        self, picture: NDArray[np.uint8], mix: NDArray[np.floating[Any]], blink: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The lid's skin, float32 [h, w, 3], and how much it covers, 0..1 [h, w]."""
        sources = self.warp.sources(mix)
        below, stretch, edge = cv2.split(_looked_up(self.shape, sources, self.warp.rect))
        unstretched = np.where(below > 0, below / (1.0 + blink * stretch), below)
        sources += (unstretched - below)[..., None] * self.down.astype(np.float32)
        return _sampled(picture, sources).astype(np.float32), np.clip(0.5 - (unstretched - edge), 0.0, 1.0)


class Renderer:
    """One portrait, ready to be drawn with any expression.

    Args:
        picture: uint8 RGB [height, width, 3].
        landmarks: float32 [468, 3] in its pixels.
    """

    def __init__(self, picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
        self._picture = np.ascontiguousarray(picture)
        height, width = picture.shape[:2]
        self._size = (width, height)
        anatomy = refine_lips(read_anatomy(landmarks), picture)
        self.anatomy = anatomy
        self._head = self._head_warp(anatomy)
        mouth = self._mouth_rect(anatomy)
        self._upper, self._lower = (self._lip(anatomy, mouth, side) for side in (False, True))
        self._interior: Interior = draw_interior(anatomy, picture, mouth)
        self._at_mouth = self._mouth_motion(anatomy)
        self._lids = tuple(self._lid(anatomy, eye) for eye in anatomy.eyes)

    def draw(self, mix: NDArray[np.floating[Any]], blink: float, out: NDArray[np.uint8]) -> None:
        """Draw one frame.

        Args:
            mix: float [motions], coefficients in the order of `Motion`.
            blink: 0 open .. 1 both eyes shut.
            out: uint8 RGB [height, width, 3], filled with the frame.
        """
        np.copyto(out, self._picture)
        view = self._head.rect.cut(out)
        view[:] = _sampled(self._picture, self._head.sources(mix))
        self._draw_mouth(mix, out)
        if blink > 0:
            for lid in self._lids:
                self._draw_lid(lid, mix, blink, out)

    def _draw_mouth(self, mix: NDArray[np.floating[Any]], out: NDArray[np.uint8]) -> None:
        upper, over = self._upper.draw(self._picture, mix)
        lower, under = self._lower.draw(self._picture, mix)
        under = np.minimum(under, 1.0 - over)
        inside = 1.0 - over - under
        frame = upper * over[..., None] + lower * under[..., None]
        if inside.max() > 0.02:
            head, jaw = self._ways(mix)
            frame += self._interior.draw(head, jaw) * inside[..., None]
        self._upper.warp.rect.cut(out)[:] = np.rint(frame)

    def _draw_lid(
        self, lid: Lid, mix: NDArray[np.floating[Any]], blink: float, out: NDArray[np.uint8]
    ) -> None:
        skin, cover = lid.draw(self._picture, mix, blink)
        view = lid.warp.rect.cut(out)
        alpha = cover[..., None]
        view[:] = np.rint(skin * alpha + view * (1.0 - alpha))

    def _ways(self, mix: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels that the upper and the lower teeth move."""
        pose = mix.copy()
        pose[: Motion.YAW] = 0.0
        head = pose @ self._at_mouth
        return head, head + mix[Motion.JAW] * JAW_DROP * self.anatomy.mouth * self.anatomy.axes.down

    def _head_warp(self, anatomy: Anatomy) -> Warp:
        outline = anatomy.axes.to_picture(anatomy.oval)
        rect = Rect.around(outline, 1.6 * anatomy.unit, *self._size)
        rect = self._shrunk(anatomy, rect)
        grid = Grid.over(rect, max(3.0, anatomy.unit / 14))
        return Warp(grid, head_fields(anatomy, grid.points(), self._size))

    def _shrunk(self, anatomy: Anatomy, rect: Rect) -> Rect:
        """The part of the rectangle in which anything moves."""
        points = Grid.over(rect, 6.0).points()
        moves = np.abs(head_fields(anatomy, points, self._size)).max(axis=(0, -1)) > 1e-3
        return Rect.around(points[moves], 8.0, *self._size)

    def _mouth_rect(self, anatomy: Anatomy) -> Rect:
        m = anatomy.mouth
        reach = 1.15 * max(anatomy.left, anatomy.right)
        top, bottom = anatomy.nose, max(anatomy.chin, anatomy.lip_bottom + 0.3 * m) + JAW_DROP * m
        corners = [[x, y] for x in (-reach, reach) for y in (top, bottom)]
        return Rect.around(anatomy.axes.to_picture(np.array(corners)), 2.0, *self._size)

    def _lip(self, anatomy: Anatomy, rect: Rect, lower: bool) -> Lip:
        grid = Grid.over(rect, max(1.5, anatomy.mouth / 16))
        points = grid.points()
        shared = head_fields(anatomy, points, self._size)
        warp = Warp(grid, shared + lip_fields(anatomy, points, lower))
        face = anatomy.axes.to_face(_pixels(rect))
        u, _ = mouth_coordinates(anatomy, face)
        curve = anatomy.lower_lip if lower else anatomy.upper_lip
        past = (face[..., 1] - curve_height(curve, face[..., 0])) * (-1.0 if lower else 1.0)
        rim = SEAM * anatomy.mouth * parting(u) ** 1.5
        return Lip(warp, np.stack([past, past + rim], axis=-1).astype(np.float32))

    def _lid(self, anatomy: Anatomy, eye: Eye) -> Lid:
        outline = anatomy.axes.to_picture(np.concatenate([eye.upper, eye.lower, [[eye.centre[0], eye.brow]]]))
        rect = Rect.around(outline, 0.25 * eye.width, *self._size)
        grid = Grid.over(rect, max(2.0, eye.width / 8))
        warp = Warp(grid, head_fields(anatomy, grid.points(), self._size))
        shape = lid_shape(anatomy, eye, _pixels(rect)).astype(np.float32)
        return Lid(warp, np.ascontiguousarray(shape), anatomy.axes.down)

    def _mouth_motion(self, anatomy: Anatomy) -> NDArray[np.float64]:
        """Displacement of the middle of the mouth per coefficient, [motions, 2]."""
        place = anatomy.axes.origin[None, None]
        return head_fields(anatomy, place, self._size)[:, 0, 0]


def _parted(mix: NDArray[np.floating[Any]]) -> float:
    """0 for lips that touch .. 1 for lips well apart."""
    apart = mix[Motion.GAP] + 0.2 * (mix[Motion.UPPER] + mix[Motion.LOWER])
    return float(np.clip(apart / 0.15, 0.0, 1.0))


def _pixels(rect: Rect) -> NDArray[np.float64]:
    y, x = np.mgrid[rect.top : rect.bottom, rect.left : rect.right]
    return np.stack([x, y], axis=-1).astype(np.float64)


def _looked_up(values: NDArray[np.float32], sources: NDArray[np.float32], rect: Rect) -> NDArray[np.float32]:
    """Values of a rectangle [h, w, ...] at picture coordinates."""
    places = sources - np.array([rect.left, rect.top], dtype=np.float32)
    return cv2.remap(values, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _sampled(picture: NDArray[np.uint8], sources: NDArray[np.float32]) -> NDArray[np.uint8]:
    return cv2.remap(picture, sources, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
