"""Points on a face whose mouth and eyes were placed by hand, in drawings above all.

The mean face is laid on what was placed, or the points that the network found are bent to it. In a drawing
the placed points say nothing of how the mouth curves and how large the eyes are: that is read off the
strokes between and around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .mesh import EYE_RIMS, INNER_LIPS, LIPS, MOUTH, eye_centres, fit_similarity, mean_face

STROKE = 12.0
"""ΔE in CIE Lab from which a pixel differs from the skin around it."""
MOUTH_REACH = 0.45
"""How far a drawn mouth bows away from the line between its corners, in its widths."""
EYE_REACH = 0.36
"""Half a drawn eye at most, in distances between the eyes."""
SMALLEST_LIFT = 0.05
"""Half the height of a drawn eye that still counts as open, in distances between the eyes."""

ROUND, NARROWED = 0.62, 0.25
"""A drawn eye higher than the first of its width is a cartoon's; what is left of the height of its lids."""


@dataclass(frozen=True)
class HandPoints:
    """Mouth corners and eye centres given by hand: float64 [2, 2] each, left in the picture first."""

    mouth: NDArray[np.float64] | None
    eyes: NDArray[np.float64] | None

    def __bool__(self) -> bool:
        return self.mouth is not None or self.eyes is not None


def fit_to(
    placed: HandPoints,
    base: NDArray[np.float32] | None,
    stand_ins: HandPoints,
    rgb: NDArray[np.uint8] | None = None,
) -> NDArray[np.float32]:
    """float32 [468, 3]: a face whose mouth corners and eye centres lie exactly where they were placed.

    Without `base` the mean face is laid on the points first: by an affine map when eyes and mouth are
    known (stand-ins fill in for missing ones), otherwise by a similarity. What remains is taken up by
    smooth displacements around each of the points, and the lips are as high as the mouth's width asks.
    With `rgb`, the picture, lips and lids then follow what is drawn there.
    """
    if base is not None:
        return _warp_to(base, placed).astype(np.float32)
    eyes = stand_ins.eyes if placed.eyes is None else placed.eyes
    mouth = stand_ins.mouth if placed.mouth is None else placed.mouth
    face = _warp_to(_laid(eyes, mouth), placed)
    if placed.mouth is not None:
        face = _with_lips_in_proportion(face)
    if rgb is not None:
        lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        if placed.mouth is not None:
            face = _along_the_drawn_mouth(face, lab)
        if placed.eyes is not None:
            face = _around_the_drawn_eyes(face, lab)
    return face.astype(np.float32)


def _laid(eyes: NDArray[np.float64] | None, mouth: NDArray[np.float64] | None) -> NDArray[np.float64]:
    face = mean_face().astype(np.float64)
    known = [(eyes_of(face), eyes), (mouth_of(face), mouth)]
    source = np.concatenate([own for own, target in known if target is not None])
    target = np.concatenate([target for _, target in known if target is not None])
    scale, rotation, shift = fit_similarity(source, target)
    flat = scale * rotation
    if len(source) == 4:
        ones = np.hstack([source, np.ones((4, 1))])
        solution = np.linalg.lstsq(ones, target, rcond=None)[0]
        flat, shift = solution[:2].T, solution[2]
    placed = np.empty_like(face)
    placed[:, :2] = face[:, :2] @ flat.T + shift
    placed[:, 2] = face[:, 2] * scale
    return placed


def eyes_of(face: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [2, 2]: the eyes' centres, left in the picture first."""
    return np.stack(eye_centres(face))


def mouth_of(face: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [2, 2]: the mouth's corners, likewise."""
    return np.asarray(face[list(MOUTH), :2])


def _warp_to(face: NDArray[np.floating[Any]], placed: HandPoints) -> NDArray[np.float64]:
    """Displaced smoothly so that the placed points are met; an eye moves as a whole."""
    bent = face.astype(np.float64)
    reach = 0.5 * float(np.hypot(*(eyes_of(bent)[1] - eyes_of(bent)[0])))
    # An eye's centre is the mean of several points that move by slightly different amounts:
    # a few rounds bring the rest to nothing.
    for _ in range(12):
        pairs = [(eyes_of(bent), placed.eyes), (mouth_of(bent), placed.mouth)]
        known = np.concatenate([own for own, target in pairs if target is not None])
        wanted = np.concatenate([target for _, target in pairs if target is not None])
        weights = np.linalg.solve(_kernel(known, known, reach), wanted - known)
        bent[:, :2] += _kernel(bent[:, :2], known, reach) @ weights
    return bent


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Gaussian bell of the distances, float64 [len(a), len(b)]."""
    square = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-square / (2 * reach**2)))


@dataclass(frozen=True)
class _Frame:
    """Coordinates of a mouth or an eye: u along it, v down the face, in halves of its width."""

    middle: NDArray[np.float64]
    along: NDArray[np.float64]
    """float64 [2]: half its width, from left to right."""

    @classmethod
    def between(cls, ends: NDArray[np.float64]) -> _Frame:
        return cls(ends.mean(axis=0), (ends[1] - ends[0]) / 2)

    @property
    def _axes(self) -> NDArray[np.float64]:
        return np.stack([self.along, [-self.along[1], self.along[0]]])

    def of(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """u and v [..., 2] of points of the picture."""
        return (points - self.middle) @ self._axes.T / (self.along @ self.along)

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of the picture at u and v [..., 2]."""
        return self.middle + places @ self._axes

    def sampled(self, lab: NDArray[np.float32], u: NDArray[np.float64], v: NDArray[np.float64]) -> Any:
        """Colours at each v (rows) and u (columns), float32 [rows, columns, 3], edges repeated."""
        places = self.at(np.stack(np.meshgrid(u, v), axis=-1)).astype(np.float32)
        return cv2.remap(lab, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _with_lips_in_proportion(face: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lips no higher for the mouth's width than those of the mean face are."""
    frame, mean, ring = _Frame.between(mouth_of(face)), mean_face().astype(np.float64), list(LIPS)
    own = frame.of(face[:, :2])
    height, wanted = np.ptp(own[ring, 1]), np.ptp(_Frame.between(mouth_of(mean)).of(mean[ring, :2])[:, 1])
    around = np.hypot(own[:, 0] / 1.2, own[:, 1] / max(0.6 * float(height), 0.3))
    near = np.exp(-(np.maximum(around - 1, 0) ** 2) / 0.1)
    own[:, 1] *= 1 + (min(1.0, float(wanted / max(height, 1e-6))) - 1) * near
    return _replaced(face, frame.at(own))


def _replaced(face: NDArray[np.float64], flat: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([flat, face[:, 2:]], axis=1)


def _along_the_drawn_mouth(face: NDArray[np.float64], lab: NDArray[np.float32]) -> NDArray[np.float64]:
    """The lips moved up and down so that they meet on the stroke between the corners, if there is one."""
    frame = _Frame.between(mouth_of(face))
    u, v = np.linspace(-1, 1, 65), np.linspace(-2 * MOUTH_REACH, 2 * MOUTH_REACH, 91)
    colours = frame.sampled(lab, u, v)
    strength = np.linalg.norm(colours - np.median(colours, axis=(0, 1)), axis=-1)
    path = _strongest_path(strength)
    drawn = strength[path, np.arange(len(u))]
    if np.mean(drawn > STROKE) < 0.8:
        return face
    line = np.convolve(np.pad(v[path], 3, mode="edge"), np.ones(7) / 7, mode="valid")
    line -= np.interp(u, (-1, 1), line[[0, -1]])
    own = frame.of(face[:, :2])
    seam = np.array([own[[high, low]].mean(axis=0) for high, low in INNER_LIPS])
    order = np.argsort(seam[:, 0])
    lips = np.interp(u, [-1, *seam[order, 0], 1], [0, *seam[order, 1], 0])
    shift = np.interp(own[:, 0], u, line - lips, left=0, right=0)
    # The skin above and below gives way less the farther it lies.
    away = np.abs(own[:, 1] - np.interp(own[:, 0], u, lips, left=0, right=0))
    own[:, 1] += shift * np.exp(-(np.maximum(away - 0.35, 0) ** 2) / 0.5)
    return _replaced(face, frame.at(own))


def _strongest_path(strength: NDArray[np.float64]) -> NDArray[np.intp]:
    """The row for each column of the smooth path from the middle row at the left to that at the right along
    which the strengths are greatest: dynamic programming."""
    rows, columns = strength.shape
    cost = 1 / (1 + strength)
    start = np.abs(np.arange(rows) - rows // 2) > 3
    total = np.where(start, np.inf, cost[:, 0])
    came = np.zeros((rows, columns), np.intp)
    steps = range(-4, 5)
    for column in range(1, columns):
        padded = np.pad(total, 4, constant_values=np.inf)
        options = np.stack([padded[4 + step : 4 + step + rows] + 0.004 * step**2 for step in steps])
        best = options.argmin(axis=0)
        came[:, column] = np.arange(rows) + best - 4
        total = options[best, np.arange(rows)] + cost[:, column]
    path = np.empty(columns, np.intp)
    path[-1] = int(np.where(start, np.inf, total).argmin())
    for column in range(columns - 1, 0, -1):
        path[column - 1] = came[path[column], column]
    return path


def _around_the_drawn_eyes(face: NDArray[np.float64], lab: NDArray[np.float32]) -> NDArray[np.float64]:
    """Lids moved to the rims of what is drawn around the eyes' centres, if both stand out from the skin.

    Eyes as high as those of a cartoon have no lids that could shut without dragging half the forehead along:
    there they are made so narrow that a blink does not show.
    """
    centres = eyes_of(face)
    apart = (centres[1] - centres[0]) / 2
    frames = [_Frame(centre, apart) for centre in centres]  # one unit: half the distance between the eyes
    sizes = [size for size in (_drawn_eye(frame, lab) for frame in frames) if size is not None]
    if len(sizes) < 2:
        return face
    wide, high = np.mean(sizes, axis=0)
    for frame, rim in zip(frames, EYE_RIMS, strict=True):
        own = frame.of(face[:, :2])
        had = np.maximum(np.ptp(own[list(rim)], axis=0) / 2, 1e-6)
        lids = had * (1, NARROWED) if high > ROUND * wide else np.array([wide, high])
        away = np.hypot(*(own / np.maximum(had, lids)).T)
        near = np.exp(-(np.maximum(away - 1, 0) ** 2) / 0.5)[:, None]
        face = _replaced(face, frame.at(own * (1 + (lids / had - 1) * near)))
    return face


def _drawn_eye(frame: _Frame, lab: NDArray[np.float32]) -> tuple[float, float] | None:
    """Half the width and half the height of what is drawn at an eye's centre; None if nothing is.

    Where it reaches as far as is looked, as large eyes do that touch the hair, it is that high.
    """
    reach = 2 * EYE_REACH
    places = np.linspace(-reach, reach, 97)
    colours = frame.sampled(lab, places, places)
    rim = np.concatenate([colours[[0, -1]].reshape(-1, 3), colours[:, [0, -1]].reshape(-1, 3)])
    differs = np.linalg.norm(colours - np.median(rim, axis=0), axis=-1) > STROKE
    # A white of the eye may be as white as the skin of a drawing in ink: what is enclosed belongs to it.
    closed = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    around = [each for each in contours if cv2.pointPolygonTest(each, (48.0, 48.0), False) >= 0]
    if not around:
        return None
    left, top, wide, high = cv2.boundingRect(max(around, key=cv2.contourArea))
    # Placed beside the middle, the nearer rim counts: lids are symmetric about the centre.
    across = min(48 - left, left + wide - 1 - 48) * 2 * reach / 96
    up = min(48 - top, top + high - 1 - 48) * 2 * reach / 96
    return None if up < 2 * SMALLEST_LIFT or across < 4 * SMALLEST_LIFT else (across, up)
