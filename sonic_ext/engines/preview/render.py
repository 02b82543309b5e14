"""Draws a face with any mix of motions: one remap for the head, small ones where surfaces part.

Lips are edges at which one surface covers another, which no single smooth warp can show. They are drawn as
layers: every layer is the portrait warped by its own fields, cut at a line of the resting portrait that is
carried along by the same warp, so an edge is always where its surface ends. Eyes are drawn by `eyes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy, read_anatomy
from .eyes import draw_eye
from .fields import JAW_DROP, Motion, curve_height, head_fields, lip_fields, mouth_coordinates, parting
from .interior import RAISED, Interior, draw_interior
from .seam import refine_lips
from .warp import Grid, Rect, Warp, looked_up, sampled

SEAM = 0.055
"""Width of the dark line on either side of shut lips, in half mouth widths."""
ROOM = 0.6
"""How far the head carries the mouth, at most, in eye distances."""
TEETH_DEPTH = 0.3
"""How far the teeth lie behind the lips, in half mouth widths."""


@dataclass(frozen=True)
class Lip:
    """A lip: its warp, and how far each resting pixel lies beyond its rim."""

    warp: Warp
    beyond: NDArray[np.float32]
    """float32 [h, w, 2] of the warp's rectangle: signed pixels past the rim of shut lips and of parted
    ones; negative on the lip. Parted lips lose the dark line in which they met."""

    def draw(
        self, picture: NDArray[np.uint8], mix: NDArray[np.floating[Any]], part: Rect
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The warped lip in a part of its rectangle, float32 [h, w, 3], and how much it covers, 0..1."""
        sources = part.relative(self.warp.rect).cut(self.warp.sources(mix))
        shut, open_ = cv2.split(looked_up(self.beyond, sources, self.warp.rect))
        parted = _parted(mix)
        past = shut * (1.0 - parted) + open_ * parted
        return sampled(picture, sources).astype(np.float32), np.clip(0.5 - past, 0.0, 1.0)


class Renderer:
    """One portrait, ready to be drawn with any expression.

    Args:
        picture: uint8 RGB [height, width, 3]; may show more than what is drawn.
        landmarks: float32 [468, 3] in its pixels.
        view: the part of the picture that is drawn; all of it by default.
        eyes: whether they blink and look about; not where the outlines of the lids are a guess.
        window: how much of the head's motion is left at picture points [..., 2], 1 on the face itself; all of
            it by default.
    """

    def __init__(
        self,
        picture: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        view: Rect | None = None,
        eyes: bool = True,
        window: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    ) -> None:
        self._window = window
        self._picture = np.ascontiguousarray(picture)
        height, width = picture.shape[:2]
        self._view = view or Rect(0, 0, width, height)
        anatomy = refine_lips(read_anatomy(landmarks), picture)
        self.anatomy = anatomy
        self._head = self._head_warp(anatomy)
        self._mouth = self._mouth_rect(anatomy)
        self._upper, self._lower = self._lips(anatomy)
        self._interior: Interior = draw_interior(anatomy, picture, self._mouth)
        # How far the head moves the mouth per coefficient, [motions, 2]
        self._at_mouth = head_fields(anatomy, anatomy.axes.origin[None, None])[:, 0, 0]
        self._at_mouth[[*range(Motion.YAW), Motion.REST]] = 0.0
        drawn = (draw_eye(anatomy, eye, self._picture) for eye in anatomy.eyes if eyes)
        self._eyes = tuple(filter(None, drawn))
        self._frame = self._picture.copy()

    def draw(self, mix: NDArray[np.floating[Any]], out: NDArray[np.uint8]) -> None:
        """Draw one frame.

        Args:
            mix: float [motions], coefficients in the order of `Motion`.
            out: uint8 RGB of the view's size, filled with the frame.
        """
        # What surrounds the head never changes: only what was drawn before is drawn over
        sources, head = self._head.sources(mix), self._head.rect
        head.cut(self._frame)[:] = sampled(self._picture, sources)
        self._draw_mouth(mix)
        for eye in self._eyes:
            part = eye.rect.moved(mix @ eye.way).within(head)
            eye.draw(self._picture, part.relative(head).cut(sources), mix, part.cut(self._frame))
        np.copyto(out, self._view.cut(self._frame))

    def _draw_mouth(self, mix: NDArray[np.floating[Any]]) -> None:
        way = mix @ self._at_mouth
        part = self._mouth_part(mix)
        upper, over = self._upper.draw(self._picture, mix, part)
        lower, under = self._lower.draw(self._picture, mix, part)
        under = np.minimum(under, 1.0 - over)
        inside = 1.0 - over - under
        frame = upper * over[..., None] + lower * under[..., None]
        if inside.max() > 0.02:
            m, axes = self.anatomy.mouth, self.anatomy.axes
            turned = mix[Motion.YAW] * axes.right + mix[Motion.PITCH] * axes.down
            corner = np.array(part[:2]) - self._mouth[:2]
            head = way - corner - TEETH_DEPTH * m * turned
            jaw = head + mix[Motion.JAW] * JAW_DROP * self.anatomy.gape * axes.down
            tongue = jaw - mix[Motion.TONGUE] * RAISED * m * axes.down
            frame += (
                self._interior.draw(inside, head, jaw, tongue, float(mix[Motion.ROUND])) * inside[..., None]
            )
        part.cut(self._frame)[:] = np.rint(frame)

    def _mouth_part(self, mix: NDArray[np.floating[Any]]) -> Rect:
        """Where the mouth is in a frame."""
        return self._mouth.moved(mix @ self._at_mouth).within(self._upper.warp.rect)

    def _head_warp(self, anatomy: Anatomy) -> Warp:
        """The part of the view in which anything moves."""
        height, width = self._picture.shape[:2]
        grid = Grid.over(Rect(0, 0, width, height), max(3.0, anatomy.unit / 14))
        points = grid.points()
        fields = head_fields(anatomy, points)
        if self._window is not None:
            fields *= self._window(points)[..., None]
        moves = np.abs(fields).max(axis=(0, -1)) > 1e-3
        rect = Rect.around(points[moves], 1.5 * grid.step, width, height)
        return Warp(grid, fields, rect.within(self._view))

    def _mouth_rect(self, anatomy: Anatomy) -> Rect:
        m = anatomy.mouth
        reach = 1.35 * max(anatomy.left, anatomy.right)
        top, bottom = anatomy.nose, max(anatomy.chin, anatomy.lip_bottom + 0.3 * m) + JAW_DROP * m
        corners = [[x, y] for x in (-reach, reach) for y in (top, bottom)]
        return Rect.around(anatomy.axes.to_picture(np.array(corners)), 2.0, *self._picture.shape[1::-1])

    def _lips(self, anatomy: Anatomy) -> tuple[Lip, Lip]:
        """The upper and the lower one."""
        way = ROOM * anatomy.unit
        wide = np.array([self._mouth[:2], self._mouth[2:]], np.float64)
        reached, around = (Rect.around(wide, room, *self._picture.shape[1::-1]) for room in (way, 2 * way))
        grid = Grid.over(around, max(1.5, anatomy.mouth / 16))
        points = grid.points()
        rect = reached.within(self._head.rect)
        face = anatomy.axes.to_face(rect.pixels())
        u, _ = mouth_coordinates(anatomy, face)
        rim = SEAM * anatomy.mouth * parting(u) ** 1.5
        shared = head_fields(anatomy, points)

        def lip(lower: bool) -> Lip:
            curve = anatomy.lower_lip if lower else anatomy.upper_lip
            past = (face[..., 1] - curve_height(curve, face[..., 0])) * (-1.0 if lower else 1.0)
            warp = Warp(grid, shared + lip_fields(anatomy, points, lower), rect)
            return Lip(warp, np.stack([past, past + rim], axis=-1).astype(np.float32))

        return lip(lower=False), lip(lower=True)


def _parted(mix: NDArray[np.floating[Any]]) -> float:
    """0 for lips that touch .. 1 for lips well apart."""
    apart = mix[Motion.GAP] + 0.2 * (mix[Motion.UPPER] + mix[Motion.LOWER])
    return float(np.clip(apart / 0.15, 0.0, 1.0))
