"""The small set of facial motions, each as a displacement field in the face's own axes.

Coordinates: u runs along the mouth (-1 left corner, 0 middle, 1 right corner), v down the face in half
mouth widths from the closed lips. Fields are products of smooth bumps, so they fade to exactly zero, and
the two that part the lips are equal beyond the corners: that is what lets the lips part without a tear.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ...media.geometry import smooth
from .anatomy import NOSE_RIDGE, Anatomy, Curve

JAW_DROP = 0.82
"""Way of the lower lip at jaw = 1, in `Anatomy.gape`s (about 20 mm of 25)."""
CHIN_SHARE = 0.72
"""Way of the chin as a share of the lower lip's: its flesh gives."""
NOSE_SLOPE = 1.0
"""Fall of the nose's sides, depth over distance: a turn by an angle strains the skin by their product."""
NOSE = 0.22
"""Reach of the nose around its ridge, eye distances."""
ROUNDED = 0.1
"""Radius to which it is rounded, eye distances."""
BLENDED = 0.02
"""Height over which the nose goes over into the rest of the face, eye distances."""
SMOOTHED = 0.35
"""Standard deviation over which the depth of that rest is smoothed, eye distances."""
NECK = 3.6
"""Half mouth widths below the chin within which the skin follows the jaw less and less."""
NECK_LENGTH = 0.7
"""Share of a distance below the chin that counts where the head's motion fades: a neck bends as a whole."""


class Motion(IntEnum):
    """Index of each motion in a mix of coefficients."""

    JAW = 0
    """Chin and cheeks down, 0..1."""
    GAP = 1
    """Lips apart, 0..1.4; as far as JAW, but for pressed and resting lips."""
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
    SWING = 14
    """Hair moved along the eye line, in eye distances."""
    TORSO_X = 15
    """Chest and shoulders moved along the eye line, in eye distances."""
    TORSO_Y = 16
    """Chest and shoulders moved down, in eye distances."""
    TONGUE = 17
    """Tip of the tongue raised, 0..1; moves nothing of the portrait."""
    BLINK = 18
    """Lids shut, 0..1; drawn by `eyes`."""
    GAZE_X = 19
    """Irises moved along the eye line, in eye widths; drawn by `eyes`."""
    GAZE_Y = 20
    """Irises moved down, in eye widths; drawn by `eyes`."""


def head_fields(anatomy: Anatomy, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Motions shared by every part of the head.

    Args:
        points: picture coordinates, float [rows, columns, 2].

    Returns:
        float64 [motions, rows, columns, 2] in picture pixels per unit of coefficient.
    """
    face = anatomy.axes.to_face(points)
    u, v = mouth_coordinates(anatomy, face)
    fields = _pose_fields(anatomy, face)
    for motion, (dx, dy) in _mouth_fields(anatomy, u, v).items():
        fields[motion] = np.stack([dx, dy], axis=-1) * anatomy.mouth
    # Shutting an open mouth takes half of the way with the jaw.
    fields[Motion.REST] = (
        -0.5 * gap_profile(anatomy)[1].max() * anatomy.mouth / (JAW_DROP * anatomy.gape) * fields[Motion.JAW]
    )
    fields[Motion.BROW, ..., 1] = _brow_field(anatomy, face)
    return anatomy.axes.turn(fields)


def lip_fields(anatomy: Anatomy, points: NDArray[np.float64], lower: bool) -> NDArray[np.float64]:
    """What is added to `head_fields` on one side of the lips, same shape and unit.

    On the lips the way follows the opening's shape; away from them it spreads, so that skin is stretched
    evenly. Past nose and chin nothing is added.
    """
    u, v = mouth_coordinates(anatomy, anatomy.axes.to_face(points))
    m, way = anatomy.mouth, JAW_DROP * anatomy.gape / anatomy.mouth
    # Lips are thickest in the middle
    away = np.abs(v) / (0.34 * np.sqrt(np.clip(1.0 - u * u, 0.0, None)) + 0.16)
    opening = parting(u)
    profile = opening + smooth(away, 0.2, 1.5) * (smooth(np.abs(u), 1.25, 0.0) - opening)
    jaw = CHIN_SHARE * _rise(anatomy, v)
    rest_gap = np.interp(u, *gap_profile(anatomy))
    fields = np.zeros((len(Motion), *points.shape))
    if lower:
        lip = smooth(v, anatomy.chin / m * 1.1, anatomy.lip_bottom / m * 0.4)
        fields[Motion.GAP, ..., 1] = way * (1.0 - jaw) * profile * lip
        fields[Motion.LOWER, ..., 1] = 0.17 * profile * lip
        fields[Motion.REST, ..., 1] = -rest_gap / 2 * lip
    else:
        lip = smooth(v, anatomy.nose / m, anatomy.lip_top / m * 0.7)
        fields[Motion.GAP, ..., 1] = -(way * jaw + 0.08 * lip) * profile
        fields[Motion.UPPER, ..., 1] = -0.15 * profile * lip
        fields[Motion.REST, ..., 1] = rest_gap / 2 * lip
    return anatomy.axes.turn(fields * m)


def parting(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape of parted lips: 1 in the middle, round towards the corners, 0 from just inside them on."""
    return np.clip(1.0 - (u / 0.96) ** 2, 0.0, None) ** 0.8


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


def gap_profile(anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far apart the lips stand in the portrait, over u, in half mouth widths."""
    u = np.asarray(np.linspace(-1.0, 1.0, 41), np.float64)
    x = np.where(u < 0, u * anatomy.left, u * anatomy.right)
    apart = curve_height(anatomy.lower_lip, x) - curve_height(anatomy.upper_lip, x)
    return u, np.maximum(apart, 0.0) / anatomy.mouth


def _rise(anatomy: Anatomy, v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the chin's way at height v: 0 at the nose, 1 from 0.6 of the way to the chin."""
    nose, chin = anatomy.nose / anatomy.mouth, anatomy.chin / anatomy.mouth
    return smooth(v, nose, 0.6 * chin)


def _mouth_fields(
    anatomy: Anatomy, u: NDArray[np.float64], v: NDArray[np.float64]
) -> dict[Motion, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    nothing = np.zeros_like(u)
    chin = anatomy.chin / anatomy.mouth
    way = JAW_DROP * CHIN_SHARE * anatomy.gape / anatomy.mouth
    neck = smooth(v, chin + NECK, chin + 0.1)
    wide = smooth(np.abs(u), 3.4, 0.5)
    near = smooth(np.abs(u), 2.1, 0.6) * smooth(np.abs(v), 1.7, 0.2)
    lips = smooth(np.abs(u), 1.4, 0.5) * smooth(np.abs(v), 1.0, 0.1)
    return {
        Motion.JAW: (nothing, way * _rise(anatomy, v) * neck * wide),
        Motion.ROUND: (-0.34 * u * near, 0.24 * v * lips),
        Motion.SPREAD: (0.15 * u * near, -0.05 * u * u * near),
        Motion.PRESS: (0.04 * u * near, -0.36 * v * lips),
    }


def _brow_field(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    lift = np.zeros(face.shape[:2])
    between = sum(float(eye.centre[0]) for eye in anatomy.eyes) / 2
    for eye in anatomy.eyes:
        middle = float(eye.upper[:, 0].mean())
        # What lies between the brows goes with both of them
        outwards = (face[..., 0] - middle) * np.sign(middle - between)
        across = smooth(outwards, 0.95 * eye.width, 0.2 * eye.width) * smooth(outwards, -2.2 * eye.width, 0.0)
        top = eye.brow - 0.75 * anatomy.unit
        bottom = float(eye.lower[:, 1].max()) + 0.08 * anatomy.unit
        height = smooth(face[..., 1], top, eye.brow) * smooth(face[..., 1], bottom, eye.brow)
        lift = np.maximum(lift, across * height)
    return -0.08 * anatomy.unit * lift


def _pose_fields(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Small rotations of the head about the neck, first order, with depth; fading around the head.

    What hangs on the head and what carries it, hair and shoulders, have motions of their own.
    """
    unit = anatomy.unit
    x, y = face[..., 0], face[..., 1]
    depth, head = _depth(anatomy, face), head_mask(anatomy, face)
    neck = anatomy.chin + 0.35 * unit
    hair = head * (1.0 - _inside(anatomy, face)) * smooth(y, -3.0 * unit, -1.5 * unit)
    torso = smooth(y, anatomy.chin + 0.4 * unit, anatomy.chin + 1.5 * unit)
    torso *= smooth(np.abs(x), 2.8 * unit, 1.2 * unit)
    nothing = np.zeros_like(x)
    fields = np.zeros((len(Motion), *face.shape))
    fields[Motion.YAW] = np.stack([(depth + 0.5 * unit) * head, nothing], axis=-1)
    fields[Motion.PITCH] = np.stack([nothing, (depth + 0.5 * unit) * head], axis=-1)
    fields[Motion.ROLL] = np.stack([-(y - neck) * head, x * head], axis=-1)
    fields[Motion.SHIFT_X] = np.stack([unit * head, nothing], axis=-1)
    fields[Motion.SHIFT_Y] = np.stack([nothing, unit * head], axis=-1)
    fields[Motion.SWING] = np.stack([unit * hair, nothing], axis=-1)
    fields[Motion.TORSO_X] = np.stack([unit * torso, nothing], axis=-1)
    fields[Motion.TORSO_Y] = np.stack([nothing, unit * torso], axis=-1)
    return fields


def _ellipse(anatomy: Anatomy, face: NDArray[np.float64], top: float, room: float) -> NDArray[np.float64]:
    """Distance from the middle of the ellipse around the face, 1 on it.

    Args:
        top: how far above the face's outline it begins, pixels.
        room: how much wider than the outline it is on each side, pixels.
    """
    low, high = anatomy.oval.min(axis=0), anatomy.oval.max(axis=0)
    centre = np.array([(low[0] + high[0]) / 2, (low[1] - top + high[1]) / 2])
    radii = np.array([(high[0] - low[0]) / 2 + room, (high[1] - low[1] + top) / 2])
    return np.asarray(np.linalg.norm((face - centre) / radii, axis=-1), np.float64)


def head_mask(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 on the head with its hair, fading to 0 on shoulders and background; slowly down the neck."""
    y = face[..., 1]
    below = np.maximum(y - anatomy.chin, 0.0)
    face = np.stack([face[..., 0], y - (1.0 - NECK_LENGTH) * below], axis=-1)
    return smooth(_ellipse(anatomy, face, 0.45 * anatomy.unit, 0.3 * anatomy.unit), 1.75, 0.85)


def _inside(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 on the face, fading to 0 on the hair around it."""
    return smooth(_ellipse(anatomy, face, 0.0, 0.0), 1.35, 0.95)


def _depth(anatomy: Anatomy, face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Depth towards the viewer in pixels, relative to the outline of the face.

    Cheeks fall off steeply towards the outline, where a warp would fold them: they are smoothed (kernel
    regression). Smoothed alike, a nose would lose half of its height. It is the smooth maximum of cones, one
    under each of its landmarks (McShane's Lipschitz extension): as high as they are, and no steeper than what
    its sides carry.
    """
    # The neck goes on from the chin: it would fold where the depth ends
    face = np.stack([face[..., 0], np.minimum(face[..., 1], anatomy.chin - 0.1 * anatomy.unit)], axis=-1)
    flat = (face.reshape(-1, 2) / anatomy.unit).astype(np.float32)
    points = (anatomy.depth_points / anatomy.unit).astype(np.float32)
    ridge = points[list(NOSE_RIDGE), :2]
    nose = np.linalg.norm(points[:, None, :2] - ridge, axis=-1).min(axis=1) < NOSE
    squares = (flat**2).sum(axis=1)[:, None] + (points[:, :2] ** 2).sum(axis=1) - 2.0 * flat @ points[:, :2].T
    squares = np.maximum(squares, 0.0)
    weight = np.exp(-0.5 * squares[:, ~nose] / SMOOTHED**2)
    # The small constant lets the depth return to the outline's level away from the face.
    rest = (weight @ points[~nose, 2]) / (weight.sum(axis=1) + 0.5)
    falls = NOSE_SLOPE * (np.sqrt(squares[:, nose] + ROUNDED**2) - ROUNDED)
    above = (points[nose, 2] - falls - rest[:, None]).astype(np.float64)
    depth = rest + BLENDED * np.log1p(np.exp(above / BLENDED).sum(axis=1))
    return np.asarray(anatomy.unit * depth, np.float64).reshape(face.shape[:-1])
