"""Eyes that look about and shut: the ball moves in its outline, skin from above the lashes is drawn over it.

A lid is not the portrait's own pixels pulled down: those of its edge are lashes and iris. Only the clean skin
between brow and lashes is stretched, and a line of lashes is drawn along its edge in their own colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...media.geometry import smooth
from .anatomy import Anatomy, Axes, Eye
from .fields import Motion, curve_height, head_fields
from .warp import Rect, looked_up, sampled

ROOM = 0.42
"""Height above the eye whose skin becomes the lid, in eye widths; less where brow or glasses are near."""
BELOW_BROW = 0.66
"""Share of the way from the eye to the middle of its brow above which hairs may grow."""
LASHES = 0.05
"""Height above the eye in which lashes lie at least, in eye widths: not stretched."""
FOLD = 0.2
"""Height above the eye within which what is darkest is lashes, make-up or the fold, in eye widths."""
CLEAN = 0.92
"""Share of the lightest skin's light from which skin has no lashes, folds or make-up on it."""
LEAST_SKIN = 0.08
"""Of clean skin, in eye widths."""
UNDER = 0.22
"""Height under the eye whose skin follows the lower lid, in eye widths."""
CHEEK = 0.35
"""Height under the eye within which the skin's own colour is looked for, in eye widths."""
RISE = 0.3
"""Share of the way to the line between the corners that the lower lid rises."""
LASH_LINE = 0.022
"""Half the thickness of shut lashes, in eye widths."""
LEAST_OPEN = 0.10
"""Height over width below which an eye counts as shut already: it is left alone."""


@dataclass(frozen=True)
class DrawnEye:
    """One eye, ready to be drawn over a frame."""

    rect: Rect
    skin: NDArray[np.uint8]
    """uint8 RGB of the rectangle: what lids are made of, without the lines of lashes and folds."""
    shape: NDArray[np.float32]
    """float32 [h, w, 6] of the rectangle: pixels below the upper rim; height of the eye, 0 beyond its
    corners; how far the lower lid rises; how far the ball follows a gaze, 0..1; how much the pixel belongs
    to the ball, 0..1; height of the skin that becomes the upper lid."""
    margin: float
    """Share of it in which lashes and make-up lie."""
    width: float
    """Of the eye, pixels."""
    way: NDArray[np.float64]
    """float64 [motions, 2]: how far the head moves the eye per coefficient, pixels."""
    axes: Axes
    """The face's."""
    lash: NDArray[np.float32]
    """float32 [3]: colour of the lashes, RGB."""
    tone: NDArray[np.float32]
    """float32 [3]: colour of the upper lid without the shadow of brow and lashes, RGB."""
    lighter: NDArray[np.float32]
    """float32 [3]: by how much that is lighter than the skin above the eye."""
    plain: float
    """Share of that colour in the lid, 0.5..1: more where lashes and folds darken the skin above the eye."""

    def draw(
        self,
        picture: NDArray[np.uint8],
        sources: NDArray[np.float32],
        mix: NDArray[np.floating[Any]],
        out: NDArray[np.uint8],
    ) -> None:
        """Draw the eye where it has moved to, over a frame in which the head is drawn already.

        Args:
            picture: uint8 RGB, the portrait.
            sources: float32 [h, w, 2]: where the head's warp takes each pixel there from.
            mix: float [motions]; `GAZE_X`, `GAZE_Y` and `BLINK` count here.
            out: uint8 RGB [h, w, 3], that part of the frame.
        """
        gaze = np.asarray(mix[[Motion.GAZE_X, Motion.GAZE_Y]] * self.width, np.float64)
        blink = float(mix[Motion.BLINK])
        if not gaze.any() and blink <= 0.0:
            return
        shape = looked_up(self.shape, sources, self.rect)
        below, height, rise, follows, ball, room = np.moveaxis(shape, -1, 0)
        frame = out.astype(np.float32)
        if gaze.any():
            way = self.axes.turn(gaze).astype(np.float32)
            moved = sampled(picture, sources - follows[..., None] * way)
            frame += (moved - frame) * ball[..., None]
        if blink > 0.0:
            places = sources - np.array(self.rect[:2], np.float32)
            down = self.axes.down.astype(np.float32)
            upper, lower = blink * (height - rise), height - blink * rise  # the lids' edges
            known = smooth(height, 0.0, 0.06 * self.width) * smooth(below / room, -1.0, -0.6)
            # Taken from between the lashes and the end of the room, or from where it is without a blink
            share = np.clip((below + room) / (upper + room), 0.0, 1.0)
            lashes = self.margin * min(1.0, 3.0 * blink)
            taken = np.minimum(room * (share * (1.0 - lashes) - 1.0), below)
            texture = sampled(self.skin, places + (taken - below)[..., None] * down)
            # A lid bulges over the ball: darker towards its edge
            shade = 1.0 - 0.16 * blink * smooth(share, 0.5, 1.0)[..., None]
            skin: NDArray[Any] = texture * self.lighter
            skin = (skin + self.plain * (self.tone - skin)) * shade
            frame += (skin - frame) * (np.clip(0.5 - (below - upper), 0.0, 1.0) * known)[..., None]
            under = UNDER * self.width
            share = np.clip((below - lower) / (height + under - lower), 0.0, 1.0)
            taken = height + under * (0.15 + 0.85 * share)
            taken = np.maximum(taken, below)
            skin = sampled(self.skin, places + (taken - below)[..., None] * down).astype(np.float32)
            cover = np.clip(0.5 + (below - lower), 0.0, 1.0) * smooth(below, height + under, height) * known
            frame += (skin - frame) * (cover * min(1.0, 3.0 * blink))[..., None]
            line = LASH_LINE * self.width * (0.6 + 0.4 * blink)
            edge = np.exp(-(((below - upper) / line) ** 2)) * smooth(height, 0.0, 0.1 * self.width)
            frame += (self.lash - frame) * (0.85 * min(1.0, 2.0 * blink) * edge)[..., None]
        out[:] = np.clip(np.rint(frame), 0, 255)


def draw_eye(anatomy: Anatomy, eye: Eye, picture: NDArray[np.uint8]) -> DrawnEye | None:
    """An eye of a portrait; None where it is shut or too small to move.

    Args:
        picture: uint8 RGB [height, width, 3].
    """
    width = eye.width
    if (
        width < 6
        or float(np.max(curve_height(eye.lower, eye.upper[:, 0]) - eye.upper[:, 1])) < LEAST_OPEN * width
    ):
        return None
    room, margin = _lid_skin(anatomy, eye, picture)
    corners = [[eye.upper[0, 0], eye.upper[:, 1].min() - room], [eye.upper[-1, 0], eye.lower[:, 1].max()]]
    corners += [[corners[0][0], corners[1][1]], [corners[1][0], corners[0][1]]]
    outline = anatomy.axes.to_picture(np.array(corners))
    rect = Rect.around(outline, 0.3 * width, *picture.shape[1::-1])
    face = anatomy.axes.to_face(rect.pixels())
    x, y = face[..., 0], face[..., 1]
    upper, lower = curve_height(eye.upper, x), curve_height(eye.lower, x)
    left, right = eye.upper[0, 0], eye.upper[-1, 0]
    inside = smooth(x, left, left + 0.05 * width) * smooth(x, right, right - 0.05 * width)
    height = np.clip(lower - upper, 0.0, None) * inside
    ball = np.clip(np.minimum(y - upper, lower - y), 0.0, 1.0) * (inside > 0)
    # Still at the corners; the ball's top and bottom lie under the lids and move with its middle
    follows = smooth(x, left, left + 0.3 * width) * smooth(x, right, right - 0.3 * width)
    chord = np.interp(x, (left, right), (eye.upper[0, 1], eye.upper[-1, 1]))
    rise = np.clip(RISE * (lower - chord), 0.0, 0.5 * height) * inside
    # The fold over the lid is an arc
    skin = room * (0.35 + 0.65 * np.clip(1.0 - ((x - (left + right) / 2) / (0.5 * width)) ** 2, 0.0, None))
    shape = np.stack([y - upper, height, rise, follows, ball, skin], axis=-1).astype(np.float32)
    blurred = cv2.GaussianBlur(
        rect.cut(picture), (0, 0), max(0.5, 0.05 * width), sigmaY=max(0.4, 0.02 * width)
    )
    own = _mean(blurred[(inside > 0.9) & (y < upper - margin) & (y > upper - room)])
    beneath = blurred[(inside > 0.9) & (y > lower + 0.1 * width) & (y < lower + CHEEK * width)]
    tone, shadow = _lid_tone(own, _mean(_lighter_half(beneath)))
    return DrawnEye(
        rect,
        blurred,
        np.ascontiguousarray(shape),
        margin / room,
        width,
        head_fields(anatomy, anatomy.axes.to_picture(eye.centre[None])[None])[:, 0, 0],
        anatomy.axes,
        _lash_colour(picture, rect, np.abs(y - upper) < 0.05 * width, inside > 0.9),
        tone,
        np.asarray(tone / np.maximum(own, 1.0), np.float32),
        0.5 + 0.5 * shadow,
    )


def _mean(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colour of pixels [n, 3]; grey where there are none."""
    return np.asarray(pixels.mean(axis=0) if len(pixels) else np.full(3, 128.0), np.float32)


def _lighter_half(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of pixels [n, 3] those that are no lashes and no folds."""
    light = pixels.sum(axis=1, dtype=np.int64)
    return pixels[light >= np.median(light)] if len(pixels) else pixels


def _lid_tone(lid: NDArray[np.float32], under: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The lid's own colour, lightened towards that under the eye where it lies in shadow.

    Args:
        lid, under: mean colours, RGB [3].

    Returns:
        The colour, and the share of that under the eye in it.
    """
    shadow = float(np.clip(2.0 * (0.95 - lid.mean() / max(float(under.mean()), 1.0)), 0.0, 0.85))
    return np.asarray(lid * (1.0 - shadow) + 0.92 * under * shadow, np.float32), shadow


def _lid_skin(anatomy: Anatomy, eye: Eye, picture: NDArray[np.uint8]) -> tuple[float, float]:
    """Heights above the eye up to which skin is clean, and up to which lashes lie on it; pixels.

    From the lashes up it gets lighter. It ends where it gets dark again: at the brow or a rim of glasses.
    """
    width = eye.width
    least = (LEAST_SKIN + LASHES) * width
    most = max(min(ROOM * width, BELOW_BROW * float(eye.upper[:, 1].min() - eye.brow)), least)
    x = np.linspace(eye.upper[0, 0], eye.upper[-1, 0], 24)[3:21]
    above = np.arange(LASHES * width, most + 1.0)
    rows = np.stack(np.broadcast_arrays(x[None], curve_height(eye.upper, x)[None] - above[:, None]), axis=-1)
    light = sampled(picture, anatomy.axes.to_picture(rows).astype(np.float32)).mean(axis=2)
    # A rim is thin: its darkest quarter tells
    darkest = np.sort(light, axis=1)[:, : light.shape[1] // 4].mean(axis=1)
    lashes = int(darkest[above <= FOLD * width].argmin())
    dark = darkest < 0.72 * np.maximum.accumulate(np.where(np.arange(len(above)) < lashes, 0.0, darkest))
    room = max(float(above[int(dark.argmax())]) - 1.0, least) if dark.any() else most
    usual = np.median(light, axis=1)[above <= room]
    margin = float(above[int((usual >= CLEAN * usual.max()).argmax())])
    return room, min(margin, room - LEAST_SKIN * width)


def _lash_colour(
    picture: NDArray[np.uint8], rect: Rect, near: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Mean of the darkest fifth along the upper rim, RGB."""
    along = rect.cut(picture)[near & inside].astype(np.float32)
    if not len(along):
        return np.full(3, 40.0, np.float32)
    light = along.sum(axis=1)
    return np.asarray(along[light <= np.percentile(light, 20)].mean(axis=0), np.float32)
