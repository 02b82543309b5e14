"""What shows between parted lips: a dark cavity, teeth and tongue, in the portrait's own light.

Teeth that the portrait shows itself are kept: they are its own pixels, fixed to the head, and the rest is
drawn around them. A face without colour, of marble or in grey, has no red flesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...media.geometry import smooth
from .anatomy import Anatomy
from .fields import curve_height, gap_profile, mouth_coordinates
from .seam import OPEN
from .warp import Rect

SUPERSAMPLING = 3
TOOTH_EDGES = (0.17, 0.40, 0.58, 0.72, 0.84)
"""Distance of the gaps between teeth from the middle, in half mouth widths: incisors are the widest."""
CAVITY = np.array([0.135, 0.045, 0.042])
CHEEK = np.array([0.36, 0.14, 0.13])
TONGUE = np.array([0.60, 0.27, 0.26])
ENAMEL = np.array([0.93, 0.87, 0.78])
"""Shares of the light that each reflects, RGB."""
SHADOW = 0.10
"""How far lips throw their shadow on what lies behind them, in half mouth widths."""
RAISED = 0.45
"""Way of the tongue's tip, in half mouth widths."""


@dataclass(frozen=True)
class Interior:
    """Layers of a mouth's inside, float32, premultiplied RGBA in 0..255, size of one rectangle."""

    upper: NDArray[np.float32]
    """[h, w, 4]: upper teeth, fixed to the head."""
    lower: NDArray[np.float32]
    """[h, w, 4]: lower teeth, moving with the jaw."""
    tongue: NDArray[np.float32]
    """[h, w, 4]: its tip, moving with the jaw and raised by itself."""
    deep: NDArray[np.float32]
    """RGB [3] of the cavity far from the lips."""
    near: NDArray[np.float32]
    """RGB [3] of the flesh behind the lips."""
    unit: float
    """Half the mouth's width in pixels."""

    def draw(
        self,
        inside: NDArray[np.float32],
        head: NDArray[np.float64],
        jaw: NDArray[np.float64],
        tongue: NDArray[np.float64],
        rounding: float,
    ) -> NDArray[np.float32]:
        """The inside for one frame, float32 [h, w, 3].

        Args:
            inside: how much of each pixel lies between the lips, 0..1 [h, w].
            head, jaw, tongue: how far each has moved, pixels [2].
            rounding: rounded lips cover the teeth, 0..1.
        """
        reach = max(1, round(SHADOW * self.unit))
        drawn = np.zeros((*inside.shape, 3), np.float32)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            return drawn
        open_ = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        far = cv2.blur(inside[open_], (2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_CONSTANT)
        far = cv2.blur(far, (2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_CONSTANT)
        # The upper lip's shadow falls further, for light comes from above
        lit = np.zeros_like(far)
        fall = min(reach // 2, len(far))
        lit[fall:] = far[: len(far) - fall]
        depth = np.clip(2.0 * far - 1.0, 0.0, 1.0)[..., None]
        seen = self.near * (1.0 - depth) + self.deep * depth
        seen *= (0.35 + 0.65 * far)[..., None]
        shade = (0.34 + 0.66 * np.clip(1.25 * lit - 0.15, 0.0, 1.0))[..., None]
        bare = 1.0 - float(smooth(np.array(rounding), 0.3, 0.8))
        corner = np.array([columns[0], rows[0]])
        for layer, way, shown in (
            (self.tongue, tongue, 1.0),
            (self.lower, jaw, bare),
            (self.upper, head, bare),
        ):
            if shown > 0.0:
                moved = _shifted(layer, way - corner, far.shape)
                seen *= 1.0 - moved[..., 3:] * (shown / 255.0)
                seen += moved[..., :3] * (shade * shown)
        drawn[open_] = seen
        return drawn


def draw_interior(anatomy: Anatomy, picture: NDArray[np.uint8], rect: Rect) -> Interior:
    """Paint the inside of a mouth for the rectangle of the mouth.

    Args:
        picture: uint8 RGB [height, width, 3]; its sclera and skin tell the light, its lips how red flesh is.
    """
    fine = SUPERSAMPLING
    width, height = rect.size
    y, x = (np.indices((height * fine, width * fine), dtype=np.float64) + 0.5) / fine - 0.5
    u, v = mouth_coordinates(anatomy, anatomy.axes.to_face(np.stack([x + rect.left, y + rect.top], axis=-1)))
    light = scene_light(anatomy, picture)
    stone = _stone(anatomy, picture)
    cavity, cheek, tongue = (light * _paled(colour, stone) for colour in (CAVITY, CHEEK, TONGUE))
    enamel = ENAMEL * light
    if stone > 0:  # carved teeth are of the stone
        skin = _brightest(_inside(anatomy, anatomy.oval, picture)) / 255
        enamel = enamel * (1.0 - stone) + 0.85 * skin * stone
    lower, tip = (_reduced(each, rect.size) for each in (_lower_teeth(u, v, enamel), _tongue(u, v, tongue)))
    if gap_profile(anatomy)[1].max() > OPEN:
        upper = _own_teeth(anatomy, picture, rect)
    else:
        upper = _reduced(_upper_teeth(u, v, enamel), rect.size)
    deep, near = (np.asarray(255 * colour, np.float32) for colour in (cavity, cheek))
    return Interior(upper, lower, tip, deep, near, anatomy.mouth)


def scene_light(anatomy: Anatomy, picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colour and strength of the light on the mouth, RGB shares 0..1.

    The whites of the eyes tell it for any skin; small or shaded eyes read too dark, so the skin around the
    mouth sets the least that it can be.
    """
    whites = [_inside(anatomy, np.concatenate([eye.upper, eye.lower[::-1]]), picture) for eye in anatomy.eyes]
    bright = _brightest(np.concatenate(whites))
    skin = _brightest(_inside(anatomy, anatomy.oval, picture))
    strength = max(float(bright.mean()), 0.9 * float(skin.mean()))
    # Whites are often veined, and the iris is among them: little of their tint is the light's.
    tint = 0.8 + 0.2 * bright / max(float(bright.mean()), 1.0)
    return np.asarray(np.clip(tint * strength / 255, 0.12, 1.0))


def _brightest(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean colour of the brightest tenth, RGB."""
    luma = pixels @ [0.299, 0.587, 0.114]
    return np.asarray(pixels[luma >= np.percentile(luma, 90)].mean(axis=0))


def _inside(anatomy: Anatomy, outline: NDArray[np.float64], picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels [n, 3] inside an outline given in face coordinates; one at least."""
    mask = np.zeros(picture.shape[:2], dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(anatomy.axes.to_picture(outline)).astype(np.int32)], 255)
    inside = picture[mask > 0]
    return inside if len(inside) else picture.reshape(-1, 3)[:1]


def _stone(anatomy: Anatomy, picture: NDArray[np.uint8]) -> float:
    """0 for a face whose lips have colour .. 1 for one of marble or in grey."""
    top, bottom = np.array([[0.0, anatomy.lip_top / 2], [0.0, anatomy.lip_bottom / 2]])
    rims = np.concatenate([anatomy.upper_lip + top, anatomy.lower_lip[::-1] + bottom])
    lips = np.median(_inside(anatomy, rims, picture).astype(np.float64), axis=0)
    colour = float((lips[0] - lips[1:].min()) / max(lips.max(), 1.0))
    return float(smooth(np.array(colour), 0.20, 0.08))


def _paled(colour: NDArray[np.float64], stone: float) -> NDArray[np.float64]:
    return np.asarray(colour * (1.0 - stone) + colour.mean() * stone)


def _upper_teeth(
    u: NDArray[np.float64], v: NDArray[np.float64], enamel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Premultiplied RGBA of the upper row."""
    lateral = smooth(np.abs(u), 0.15, 0.19) * smooth(np.abs(u), 0.42, 0.38)
    edge = 0.135 - 0.12 * u * u - 0.014 * lateral - 0.020 * _between(u, 0.05)
    cover = smooth(v, edge + 0.02, edge - 0.02) * smooth(np.abs(u), 0.88, 0.62)
    # The arch turns away from the light at the sides
    shade = 1.0 - 0.72 * smooth(np.abs(u), 0.12, 0.80)
    return _layer(enamel, shade * (1.0 - 0.13 * _between(u, 0.025)), cover)


def _lower_teeth(
    u: NDArray[np.float64], v: NDArray[np.float64], enamel: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Premultiplied RGBA of the lower row, placed where a shut jaw has it."""
    top = 0.10 * u * u
    cover = smooth(v, top - 0.02, top + 0.02) * smooth(np.abs(u), 0.75, 0.5)
    shade = 0.62 * (1.0 - 0.6 * smooth(np.abs(u), 0.1, 0.7)) * (1.0 - 0.13 * _between(1.3 * u, 0.025))
    return _layer(enamel, shade, cover)


def _tongue(
    u: NDArray[np.float64], v: NDArray[np.float64], colour: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Premultiplied RGBA of the tongue lying behind the lower teeth of a shut jaw."""
    top = -0.22 + 0.42 * u * u
    body = smooth(v, top - 0.07, top + 0.07) * smooth(np.abs(u), 0.72, 0.40)
    furrow = 1.0 - 0.18 * smooth(np.abs(u), 0.10, 0.0)
    shade = furrow * (0.55 + 0.35 * smooth(v, top + 0.34, top + 0.05))
    return _layer(colour, shade, body)


def _own_teeth(anatomy: Anatomy, picture: NDArray[np.uint8], rect: Rect) -> NDArray[np.float32]:
    """Premultiplied RGBA of what the portrait shows between its lips, going on above the upper one's rim."""
    face = anatomy.axes.to_face(rect.pixels())
    x, y = face[..., 0], face[..., 1]
    u, _ = mouth_coordinates(anatomy, face)
    rim = 0.035 * anatomy.mouth
    upper, lower = curve_height(anatomy.upper_lip, x) + rim, curve_height(anatomy.lower_lip, x) - rim
    held = np.stack([x, np.clip(y, upper, np.maximum(upper, lower))], axis=-1)
    places = anatomy.axes.to_picture(held).astype(np.float32)
    pixels = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = smooth(lower - y, -0.5 * rim, rim) * smooth(np.abs(u), 0.96, 0.80) * (lower > upper)
    return np.concatenate([pixels * cover[..., None], 255.0 * cover[..., None]], axis=-1).astype(np.float32)


def _between(u: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """1 in the gaps between teeth, 0 on them."""
    gaps = np.zeros_like(u)
    for place in (0.0, *TOOTH_EDGES):
        gaps = np.maximum(gaps, smooth(np.abs(np.abs(u) - place), reach, 0.0))
    return gaps


def _layer(
    colour: NDArray[np.float64], shade: NDArray[np.float64], cover: NDArray[np.float64]
) -> NDArray[np.float64]:
    rgb = 255.0 * colour * shade[..., None] * cover[..., None]
    return np.concatenate([np.clip(rgb, 0.0, 255.0), 255.0 * cover[..., None]], axis=-1)


def _reduced(layer: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    return cv2.resize(layer.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _shifted(
    layer: NDArray[np.float32], way: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    matrix = np.array([[1.0, 0.0, way[0]], [0.0, 1.0, way[1]]])
    size = (shape[1], shape[0])
    return cv2.warpAffine(layer, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
