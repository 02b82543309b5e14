"""The small set of facial motions, each as a displacement field in the face's own axes.

Coordinates: u runs along the mouth (-1 left corner, 0 middle, 1 right corner), v down the face in half
mouth widths from the closed lips. Fields are products of smooth bumps, so they fade to exactly zero, and
the two that part the lips are equal beyond the corners: that is what lets the lips part without a tear.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy, Curve, Eye

JAW_DROP = 0.86
"""Way of the lower lip at jaw = 1, in half mouth widths (about 21 mm of 25)."""

LASH = 0.045
"""Thickness of the lash line that moves with the upper lid, in eye widths."""


class Motion(IntEnum):
    """Index of each motion in a mix of coefficients."""

    JAW = 0
    """Chin and cheeks down, 0..1."""
    GAP = 1
    """Lips apart, 0..1; equals JAW unless the lips are pressed together."""
    ROUND = 2
    """Corners inwards, lips forward, 0..1."""
    SPREAD = 3
    """Corners outwards, 0..1."""
    PRESS = 4
    """Lips thin and tight, 0..1."""
    UPPER = 5
    """Upper lip up, -1..1."""
    LOWER = 6
    """Lower lip down, -1..1; below zero it tucks under the upper teeth."""
    BROW = 7
    """Brows up, -1..1."""
    YAW = 8
    """Head turned, radians."""
    PITCH = 9
    """Head nodded, radians."""
    ROLL = 10
    """Head tilted, radians."""
    SHIFT_X = 11
    """Head moved along the eye line, in eye distances."""
    SHIFT_Y = 12
    """Head moved down, in eye distances."""
    REST = 13
    """Always 1: closes a mouth that the portrait shows open."""


def smooth(
    x: NDArray[np.float64], start: float | NDArray[np.float64], end: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """0 before `start`, 1 after `end`, a smooth cubic between; reversed when end < start."""
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def head_fields(anatomy: Anatomy, points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Motions shared by every part of the head.

    Args:
        points: picture coordinates, float [rows, columns, 2].
        size: width and height of the picture: nothing moves at its rim.

    Returns:
        float64 [motions, rows, columns, 2] in picture pixels per unit of coefficient.
    """
    face = anatomy.axes.to_face(points)
    fields = np.zeros((len(Motion), *points.shape))
    u, v = mouth_coordinates(anatomy, face)
    m = anatomy.mouth
    mouth_part = _mouth_fields(anatomy, u, v)
    for motion, (dx, dy) in mouth_part.items():
        fields[motion] = np.stack([dx * m, dy * m], axis=-1)
    # Shutting an open mouth takes half of the way with the jaw.
    fields[Motion.REST] = -0.5 * _gap_profile(anatomy)[1].max() / JAW_DROP * fields[Motion.JAW]
    fields[Motion.BROW, ..., 1] = _brow_field(anatomy, face)
    fields += _pose_fields(anatomy, face)
    still = _rim(points, size)[..., None]
    return anatomy.axes.turn(fields) * still


def lip_fields(anatomy: Anatomy, points: NDArray[np.float64], lower: bool) -> NDArray[np.float64]:
    """What is added to `head_fields` on one side of the lips, same shape and unit."""
    u, v = mouth_coordinates(anatomy, anatomy.axes.to_face(points))
    m = anatomy.mouth
    profile = parting(u)
    follow = _jaw_follow(anatomy, v)
    rest_gap = np.interp(u, *_gap_profile(anatomy))
    fields = np.zeros((len(Motion), *points.shape))
    if lower:
        fade = smooth(v, anatomy.chin / m * 0.85, anatomy.lip_bottom / m * 0.8)
        fields[Motion.GAP, ..., 1] = JAW_DROP * (1.0 - follow) * profile
        fields[Motion.LOWER, ..., 1] = 0.17 * profile * fade
        fields[Motion.REST, ..., 1] = -rest_gap / 2 * fade
    else:
        fade = smooth(v, anatomy.nose / m * 0.95, anatomy.lip_top / m * 0.8)
        fields[Motion.GAP, ..., 1] = -(JAW_DROP * follow + 0.09 * fade) * profile
        fields[Motion.UPPER, ..., 1] = -0.15 * profile * fade
        fields[Motion.REST, ..., 1] = rest_gap / 2 * fade
    return anatomy.axes.turn(fields * m)


def lid_shape(anatomy: Anatomy, eye: Eye, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a closing upper lid needs to know at each point of the resting face.

    The lid's skin is stretched evenly from the brow to the lash line: a point `below` the brow moves to
    `below * (1 + blink * stretch)`, which is inverted by a division.

    Returns:
        float64 [..., 3]: below (pixels under the brow), stretch (share), edge (lash line, pixels under
        the brow).
    """
    face = anatomy.axes.to_face(points)
    x, y = face[..., 0], face[..., 1]
    left, right = eye.upper[0, 0], eye.upper[-1, 0]
    inside = smooth(x, left, left + 0.12 * eye.width) * smooth(x, right, right - 0.12 * eye.width)
    upper, lower = curve_height(eye.upper, x), curve_height(eye.lower, x)
    room = np.maximum(upper - eye.brow, 0.15 * eye.width)
    way = np.clip(lower - upper, 0.0, None) * inside
    return np.stack([y - upper + room, way / room, room + LASH * eye.width], axis=-1)


def parting(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape of parted lips: 1 in the middle, 0 from just inside the corners on."""
    return np.clip(1.0 - (u / 0.96) ** 2, 0.0, None) ** 0.9


def mouth_coordinates(
    anatomy: Anatomy, face: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Face coordinates [..., 2] → (u, v); each half of the mouth has its own width (turned heads)."""
    x, y = face[..., 0], face[..., 1]
    side = np.where(x < 0, anatomy.left, anatomy.right)
    seam = (curve_height(anatomy.upper_lip, x) + curve_height(anatomy.lower_lip, x)) / 2
    return x / side, (y - seam) / anatomy.mouth


def curve_height(curve: Curve, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of a curve at x; level beyond its ends."""
    return np.interp(x, curve[:, 0], curve[:, 1])


def _gap_profile(anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far apart the lips stand in the portrait, over u, in half mouth widths."""
    u = np.asarray(np.linspace(-1.0, 1.0, 41), np.float64)
    x = np.where(u < 0, u * anatomy.left, u * anatomy.right)
    apart = curve_height(anatomy.lower_lip, x) - curve_height(anatomy.upper_lip, x)
    return u, np.maximum(apart, 0.0) / anatomy.mouth


def _jaw_follow(anatomy: Anatomy, v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the jaw's way that skin at height v takes: 0 at the nose, 1 at the chin, 0 on the neck."""
    nose, chin = anatomy.nose / anatomy.mouth, anatomy.chin / anatomy.mouth
    return smooth(v, nose, 0.8 * chin) * smooth(v, chin + 1.5, chin + 0.1)


def _mouth_fields(
    anatomy: Anatomy, u: NDArray[np.float64], v: NDArray[np.float64]
) -> dict[Motion, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    nothing = np.zeros_like(u)
    wide = smooth(np.abs(u), 2.5, 0.9)
    near = smooth(np.abs(u), 1.9, 0.7) * smooth(np.abs(v), 1.7, 0.2)
    lips = smooth(np.abs(u), 1.4, 0.5) * smooth(np.abs(v), 1.0, 0.1)
    return {
        Motion.JAW: (nothing, JAW_DROP * _jaw_follow(anatomy, v) * wide),
        Motion.ROUND: (-0.34 * u * near, 0.24 * v * lips),
        Motion.SPREAD: (0.15 * u * near, -0.05 * u * u * near),
        Motion.PRESS: (0.04 * u * near, -0.36 * v * lips),
    }


def _brow_field(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    lift = np.zeros(face.shape[:2])
    for eye in anatomy.eyes:
        middle = float(eye.upper[:, 0].mean())
        across = smooth(np.abs(face[..., 0] - middle), 0.95 * eye.width, 0.3 * eye.width)
        top = eye.brow - 0.75 * anatomy.unit
        lid = float(eye.upper[:, 1].min())
        height = smooth(face[..., 1], top, eye.brow) * smooth(face[..., 1], lid, eye.brow)
        lift = np.maximum(lift, across * height)
    return -0.09 * anatomy.unit * lift


def _pose_fields(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Small rotations of the head about the neck, first order, with depth; fading around the head."""
    unit = anatomy.unit
    x, y = face[..., 0], face[..., 1]
    depth, head = _depth(anatomy, face), head_mask(anatomy, face)
    neck = anatomy.chin + 0.9 * unit
    nothing = np.zeros_like(x)
    fields = np.zeros((len(Motion), *face.shape))
    fields[Motion.YAW] = np.stack([(depth + 0.5 * unit) * head, nothing], axis=-1)
    fields[Motion.PITCH] = np.stack([nothing, (depth + 0.5 * unit) * head], axis=-1)
    fields[Motion.ROLL] = np.stack([-(y - neck) * head, x * head], axis=-1)
    fields[Motion.SHIFT_X] = np.stack([unit * head, nothing], axis=-1)
    fields[Motion.SHIFT_Y] = np.stack([nothing, unit * head], axis=-1)
    return fields


def head_mask(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 on the head with its hair, fading to 0 on shoulders and background."""
    low, high = anatomy.oval.min(axis=0), anatomy.oval.max(axis=0)
    top = low[1] - 0.45 * anatomy.unit
    centre = np.array([(low[0] + high[0]) / 2, (top + high[1]) / 2])
    radii = np.array([(high[0] - low[0]) / 2 + 0.3 * anatomy.unit, (high[1] - top) / 2])
    return smooth(np.linalg.norm((face - centre) / radii, axis=-1), 1.6, 0.85)


def _depth(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Depth towards the viewer in pixels, relative to the outline of the face (kernel regression)."""
    points = anatomy.depth_points
    rim = np.array([np.hypot(*(anatomy.oval - p).T).min() for p in points[:, :2]])
    level = points[rim < 1e-6, 2].mean()
    z = points[:, 2] - level
    spread = 0.16 * anatomy.unit
    flat = (face.reshape(-1, 2) / spread).astype(np.float32)
    centres = (points[:, :2] / spread).astype(np.float32)
    squares = (flat**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2.0 * flat @ centres.T
    weight = np.exp(-0.5 * squares)
    # The small constant lets the depth return to the outline's level away from the face.
    return ((weight @ z) / (weight.sum(axis=1) + 0.5)).reshape(face.shape[:2])


def _rim(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """0 on the picture's rim, 1 well inside: nothing may be pulled in from outside the picture."""
    width, height = size
    x, y = points[..., 0], points[..., 1]
    nearest = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    return smooth(nearest, 0.0, 0.06 * min(width, height))
