"""What shows between parted lips: cavity, teeth and tongue, drawn once in the portrait's own light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy
from .fields import mouth_coordinates, smooth
from .warp import Rect

SUPERSAMPLING = 3
TOOTH_EDGES = (0.17, 0.44, 0.66, 0.84, 0.97)
"""Distance of the gaps between teeth from the middle, in half mouth widths: incisors are the widest."""
CAVITY = np.array([0.20, 0.075, 0.070])
CHEEK = np.array([0.34, 0.15, 0.14])
TONGUE = np.array([0.62, 0.28, 0.27])
ENAMEL = np.array([0.96, 0.91, 0.83])
"""Linear shares of the light that each reflects, RGB."""


@dataclass(frozen=True)
class Interior:
    """Layers of a mouth's inside, float32, premultiplied RGBA or RGB in 0..255, size of one rectangle."""

    cavity: NDArray[np.float32]
    """RGB [h, w, 3]."""
    upper: NDArray[np.float32]
    """RGBA [h, w, 4]: upper teeth, fixed to the head."""
    lower: NDArray[np.float32]
    """RGBA [h, w, 4]: lower teeth and tongue, moving with the jaw."""

    def draw(self, head: NDArray[np.float64], jaw: NDArray[np.float64]) -> NDArray[np.float32]:
        """The inside for one frame, float32 [h, w, 3].

        Args:
            head, jaw: how far head and jaw have moved, pixels [2].
        """
        inside = _shifted(self.cavity, head)
        for layer, way in ((self.lower, jaw), (self.upper, head)):
            moved = _shifted(layer, way)
            inside = inside * (1.0 - moved[..., 3:] / 255.0) + moved[..., :3]
        return inside


def draw_interior(anatomy: Anatomy, picture: NDArray[np.uint8], rect: Rect) -> Interior:
    """Paint the inside of a mouth for the rectangle of the mouth.

    Args:
        picture: uint8 RGB [height, width, 3]; its sclera and skin tell the light.
    """
    fine = SUPERSAMPLING
    width, height = rect.size
    y, x = (np.indices((height * fine, width * fine), dtype=np.float64) + 0.5) / fine - 0.5
    points = np.stack([x + rect.left, y + rect.top], axis=-1)
    u, v = mouth_coordinates(anatomy, anatomy.axes.to_face(points))
    light = scene_light(anatomy, picture)
    depth = smooth(np.abs(u), 1.0, 0.45)[..., None]
    lit = (0.7 + 0.6 * smooth(v, -0.1, 0.7))[..., None]
    cavity = 255 * light * lit * (depth * CAVITY + (1.0 - depth) * CHEEK)
    layers = (cavity, _upper_teeth(u, v, light), _lower_mouth(u, v, light))
    return Interior(*(_reduced(layer, (width, height)) for layer in layers))


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


def _upper_teeth(
    u: NDArray[np.float64], v: NDArray[np.float64], light: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Premultiplied RGBA of the upper row."""
    arch = 1.0 - 0.10 * u * u
    edge = 0.21 * arch - 0.018 * _between(u)
    cover = smooth(v, edge + 0.025, edge - 0.015) * smooth(np.abs(u), 0.98, 0.82)
    # The lip throws its shadow on the upper part; the arch turns away from the light at the sides.
    shade = (0.72 + 0.28 * smooth(v, -0.22, 0.08)) * (1.0 - 0.6 * smooth(np.abs(u), 0.3, 0.95))
    return _layer(ENAMEL * light, shade * (1.0 - 0.16 * _between(u)), cover)


def _lower_mouth(
    u: NDArray[np.float64], v: NDArray[np.float64], light: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Premultiplied RGBA of tongue and lower row, placed where a shut jaw has them."""
    top = -0.03 + 0.08 * u * u
    teeth = smooth(v, top - 0.02, top + 0.02) * smooth(np.abs(u), 0.95, 0.75)
    shade = 0.50 * (1.0 - 0.5 * smooth(np.abs(u), 0.15, 0.9)) * (1.0 - 0.16 * _between(1.3 * u))
    row = _layer(ENAMEL * light, shade, teeth)
    rise = -0.13 + 0.30 * u * u
    body = smooth(v, rise - 0.06, rise + 0.10) * smooth(np.abs(u), 0.80, 0.45)
    tongue = _layer(TONGUE * light, 0.55 + 0.25 * smooth(v, rise + 0.20, rise), 0.85 * body)
    return np.asarray(tongue * (1.0 - row[..., 3:] / 255.0) + row)


def _between(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 in the gaps between teeth, 0 on them."""
    gaps = np.zeros_like(u)
    for place in (0.0, *TOOTH_EDGES):
        gaps = np.maximum(gaps, smooth(np.abs(np.abs(u) - place), 0.030, 0.0))
    return gaps


def _layer(
    colour: NDArray[np.float64], shade: NDArray[np.float64], cover: NDArray[np.float64]
) -> NDArray[np.float64]:
    rgb = 255.0 * colour * shade[..., None] * cover[..., None]
    return np.concatenate([np.clip(rgb, 0.0, 255.0), 255.0 * cover[..., None]], axis=-1)


def _reduced(layer: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    return cv2.resize(layer.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _shifted(layer: NDArray[np.float32], way: NDArray[np.float64]) -> NDArray[np.float32]:
    matrix = np.array([[1.0, 0.0, way[0]], [0.0, 1.0, way[1]]])
    size = (layer.shape[1], layer.shape[0])
    return cv2.warpAffine(layer, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
