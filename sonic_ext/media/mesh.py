"""Face Mesh: 468 points on a face, found afresh in any picture near a known place.

Kartynnik, Ablavatski, Grishchenko, Grundmann: "Real-time Facial Surface Geometry from Monocular Video
on Mobile GPUs", 2019. The network sees an upright 192 × 192 crop, half as large again as the face, and
answers with the points in the crop's pixels and one number: is this a face?

Points are numbered as in MediaPipe. x runs to the right, y down, z away from the viewer (the tip of the
nose is negative), all in pixels of the picture and about to the same scale.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Box
from .models import model_bytes, open_tflite

COUNT = 468
"""Points."""
SIDE = 192
"""Side of the network's input, in pixels."""
ROOM = 1.5
"""Side of the crop over the longer side of the face."""
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
"""Corners and lid centres of the eye to the left and the eye to the right in the picture."""
EYE_RIMS = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382),
)
"""Lids of the eye to the left and of the eye to the right, around them."""
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""Outline of the lips, around it."""
CHIN = 152
MOUTH = (61, 291)
"""Corners of the mouth, left and right in the picture."""
INNER_LIPS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402))
"""Upper and lower inner lip, one above the other: middle first, then outwards."""
LIP_RING = (61, 291, 0, 17, 13, 14, 78, 308)
"""Lip points that `lip_spread` watches."""
NUDGES = (
    *((0.06, 0.0, 1.0, 0.0), (-0.06, 0.0, 1.0, 0.0), (0.0, 0.06, 1.0, 0.0), (0.0, -0.06, 1.0, 0.0)),
    *((0.0, 0.0, 1.12, 0.0), (0.0, 0.0, 0.9, 0.0), (0.0, 0.0, 1.0, 8.0), (0.0, 0.0, 1.0, -8.0)),
)
"""Shift right and down in sides, growth, tilt in degrees."""
STRETCH = 1.35
"""How much wider or narrower a picture is made to tell whether it is squashed."""
RIGID = (
    *(10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 98, 327, 129, 358, 33, 133, 263, 362, 67, 297, 109, 338),
    *(103, 332, 54, 284, 21, 251, 162, 389, 127, 356, 234, 454, 93, 323, 116, 345, 50, 280, 101, 330),
)
"""Points that lips, jaw and lids hardly move: forehead, nose, eye corners, cheekbones."""


@dataclass(frozen=True)
class LipEvidence:
    """How well lips show, whatever the points say: those are guessed on a mask as well."""

    weight: float
    """By how much the logit of the face score falls once the lips are painted over with what surrounds them:
    7 to 16 for most faces, 2.3 and more under some beards, under 2.5 for masks, under 4 for hands."""
    contrast: float
    """Spread of grey within the lips over that of the face: 0.27 and more for lips, 0 for a plain plate."""


class StretchedLook(NamedTuple):
    """What is seen of a face in a picture that was made wider or narrower.

    By `STRETCH`, that lowers the logit of the face score by 4 to 17 either way where the picture has the
    right shape. One that was squashed to 75 % of its width gains 10 to 16 by being made wider, one at 130 %
    gains 3 to 17 by being made narrower.
    """

    picture: NDArray[np.uint8]
    """uint8 RGB: the part around the face, stretched."""
    own: NDArray[np.float32]
    """Points float32 [468, 3] in its pixels."""
    score: float
    """Face score."""
    points: NDArray[np.float32]
    """The points in pixels of the whole picture as it is."""


class MeshNetwork:
    """The network as loaded; one per thread."""

    def __init__(self) -> None:
        self._net, self._together = open_tflite("face_landmark.tflite")

    def __call__(self, crop: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Points float32 [468, 3] in pixels of the crop and the face score, for uint8 [192, 192, 3]."""
        points, logit = self._forward(crop)
        return points, face_score(logit)

    def _forward(self, crop: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Points and the logit of the face score."""
        self._net.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        names = ["conv2d_20", "conv2d_30"]
        outputs = self._net.forward(names) if self._together else [self._net.forward(name) for name in names]
        points = np.array(outputs[0], dtype=np.float32).reshape(COUNT, 3)
        return points, float(np.ravel(outputs[1])[0])

    def find(
        self, rgb: NDArray[np.uint8], centre: tuple[float, float], side: float, roll: float
    ) -> tuple[NDArray[np.float32], float]:
        """Points in pixels of the picture, looked for in a tilted square.

        Args:
            rgb: uint8 [height, width, 3].
            centre: x, y of the square.
            side: its side in pixels.
            roll: its tilt in degrees, clockwise.
        """
        crop, to_picture = _upright(rgb, centre, side, roll)
        points, score = self(crop)
        points[:, :2] = points[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        points[:, 2] *= side / SIDE
        return points, score

    def refine(
        self, rgb: NDArray[np.uint8], points: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float]:
        """Points once more, looked for in the square that rough points suggest."""
        return self.find(rgb, *square_around(points))

    def follow(
        self, frames: Iterable[NDArray[np.uint8]], points: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        """The points of a face in frame after frame.

        Args:
            frames: uint8 RGB [height, width, 3].
            points: where they are in the first of them, about.
        """
        for frame in frames:
            points, _ = self.refine(frame, points)
            yield points

    def lip_spread(self, rgb: NDArray[np.uint8], points: NDArray[np.float32]) -> float:
        """How far the lips wander when the face is looked at through slightly different squares.

        Standard deviation over `NUDGES`, mean of eight lip points, in eye distances. Lips that show keep
        their place (0.010 to 0.015, for small, blurred, dark or noisy faces as well); hidden ones are
        guessed anew each time (over 0.02).
        """
        (x, y), side, roll = square_around(points)
        looks = [
            self.find(rgb, (x + dx * side, y + dy * side), side * grown, roll + tilt)[0][list(LIP_RING), :2]
            for dx, dy, grown, tilt in NUDGES
        ]
        left, right = eye_centres(points)
        return float(np.std(looks, axis=0).mean() / max(np.hypot(*(right - left)), 1e-6))

    def lip_evidence(self, rgb: NDArray[np.uint8], points: NDArray[np.float32]) -> LipEvidence:
        """Whether there is a mouth where the points [468, 3], in pixels of the picture, say."""
        crop, _ = _upright(rgb, *square_around(points))
        own, logit = self._forward(crop)
        lips = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(lips, [np.rint(own[list(LIPS), :2]).astype(np.int32)], 1)
        left, right = eye_centres(own)
        rim = max(3, int(0.1 * np.hypot(*(right - left))) | 1)
        painted = cv2.inpaint(crop, cv2.dilate(lips, np.ones((rim, rim), np.uint8)), 3, cv2.INPAINT_TELEA)
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
        inside = cv2.erode(lips, np.ones((3, 3), np.uint8)) > 0
        own_range = np.ptp(np.percentile(grey[inside], (20, 80))) if inside.any() else 0.0
        whole_range = np.ptp(np.percentile(grey, (5, 95)))
        return LipEvidence(logit - self._forward(painted)[1], float(own_range / max(whole_range, 1e-6)))

    def stretched(self, rgb: NDArray[np.uint8], points: NDArray[np.float32], factor: float) -> StretchedLook:
        """A look at a face with the part of the picture around it made wider by a factor."""
        (x, y), side, _ = square_around(points)
        reach = 0.9 * side
        corner = max(0, int(x - reach)), max(0, int(y - reach)), 0
        part = rgb[corner[1] : int(y + reach) + 1, corner[0] : int(x + reach) + 1]
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        part = cv2.resize(part, (max(1, round(part.shape[1] * factor)), part.shape[0]), interpolation=how)
        own = ((points - corner) * (factor, 1, 1)).astype(np.float32)
        for _ in range(2):
            own, score = self.refine(part, own)
        return StretchedLook(part, own, score, (own / (factor, 1, 1) + corner).astype(np.float32))


def face_score(logit: float) -> float:
    """The network's "is this a face" as 0..1.

    Its plain logistic function says 1.00 to nearly everything; this one is centred where doubt begins.
    Portraits give logits of 37 to 60 (score 0.99), a covered mouth 4 to 34, a half-covered face -2 to 9
    (under 0.4), simple drawings 5 to 17, an empty room -10 (0.03).
    """
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, (logit - 12) / 6))))


def face_logit(score: float) -> float:
    """What `face_score` was made of."""
    inside = min(max(score, 1e-6), 1 - 1e-6)
    return 12 + 6 * math.log(inside / (1 - inside))


def square_around(points: NDArray[np.float32]) -> tuple[tuple[float, float], float, float]:
    """Centre, side and roll of the network's square for a face with these points."""
    left, right = eye_centres(points)
    roll = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
    turn = _rotation(-roll)
    level = points[:, :2] @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = ((low + high) / 2) @ turn
    return (float(x), float(y)), ROOM * float((high - low).max()), roll


def eye_centres(
    points: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """x, y of the eye to the left and of the eye to the right in the picture."""
    left, right = (points[list(eye), :2].mean(axis=0) for eye in EYES)
    return left, right


def bounds(points: NDArray[np.floating[Any]]) -> Box:
    """The box around the points: hairline to chin, ear to ear."""
    (left, top), (right, bottom) = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return Box(float(left), float(top), float(right), float(bottom))


def mouth_opening(points: NDArray[np.floating[Any]]) -> float:
    """Gap between the inner lips over the distance between the eyes, 0 or more.

    Measured across the three middle pairs of points, at right angles to the line between the eyes.
    """
    left, right = eye_centres(points)
    across = right - left
    distance = float(np.hypot(*across))
    down = np.array([-across[1], across[0]]) / max(distance, 1e-6)
    gaps = [float((points[low, :2] - points[high, :2]) @ down) for high, low in INNER_LIPS[:3]]
    return max(0.0, sum(gaps) / len(gaps) / max(distance, 1e-6))


@cache
def mean_face() -> NDArray[np.float32]:
    """float32 [468, 3], read-only: a face looking at the viewer, mirror-symmetric, unit the distance between
    the eyes, origin midway between them."""
    face: NDArray[np.float32] = np.load(io.BytesIO(model_bytes("mean_face.npy")))
    face.setflags(write=False)
    return face


def pose(points: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees.

    The rotation that carries the mean face's rigid points best onto these (Kabsch, with one scale).
    Yaw > 0: turned to the right of the picture; pitch > 0: looking down; roll > 0: tilted clockwise.
    """
    chosen = list(RIGID)
    rotation = fit_similarity(mean_face()[chosen].astype(np.float64), points[chosen].astype(np.float64))[1]
    # rotation = Rz(roll) · Ry(-yaw) · Rx(pitch), applied to column vectors.
    yaw = math.degrees(math.asin(max(-1.0, min(1.0, float(rotation[2, 0])))))
    pitch = math.degrees(math.atan2(rotation[2, 1], rotation[2, 2]))
    roll = math.degrees(math.atan2(rotation[1, 0], rotation[0, 0]))
    return yaw, pitch, roll


def breadth(points: NDArray[np.floating[Any]]) -> float:
    """How much wider than high the picture shows a face with these points [468, 3]; 1 is the mean face's.

    The rows of the affine map from the mean face have one length from wherever it is seen. 0.93 to 1.12 in
    200 portraits; the network believes about half of what a squashed picture shows it: 0.83 to 0.96 at 75 %
    of the width, 1.11 to 1.26 at 130 %.
    """
    face = np.hstack([mean_face().astype(np.float64), np.ones((COUNT, 1))])
    across, down = np.linalg.lstsq(face, points[:, :2].astype(np.float64), rcond=None)[0][:3].T
    return float(np.linalg.norm(across) / max(np.linalg.norm(down), 1e-6))


def fit_similarity(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, rotation [d, d] and shift [d] with least squared error of scale · rotation @ source + shift.

    Umeyama: "Least-squares estimation of transformation parameters between two point patterns", 1991.
    Both arrays are float [n, d].
    """
    middle_source, middle_target = source.mean(axis=0), target.mean(axis=0)
    a, b = source - middle_source, target - middle_target
    u, strengths, vt = np.linalg.svd(b.T @ a)
    signs = np.ones(len(strengths))
    signs[-1] = np.sign(np.linalg.det(u @ vt)) or 1.0
    rotation = (u * signs) @ vt
    scale = float((strengths * signs).sum() / max(float((a**2).sum()), 1e-12))
    return scale, rotation, middle_target - scale * rotation @ middle_source


def _rotation(degrees: float) -> NDArray[np.float64]:
    """[2, 2], turns clockwise on the screen (y runs down)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _upright(
    rgb: NDArray[np.uint8], centre: tuple[float, float], side: float, roll: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The tilted square as an upright uint8 [192, 192, 3], and the [2, 3] map from it back to the picture."""
    to_picture = np.empty((2, 3))
    to_picture[:, :2] = _rotation(roll) * (side / SIDE)
    to_picture[:, 2] = np.array(centre) - to_picture[:, :2] @ np.full(2, SIDE / 2 - 0.5)
    source, inner = _reduced(rgb, centre, side)
    crop = cv2.warpAffine(
        source,
        inner @ np.vstack([to_picture, [0, 0, 1]]),
        (SIDE, SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop, to_picture


def _reduced(
    rgb: NDArray[np.uint8], centre: tuple[float, float], side: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of a picture around a square, shrunk where sampling it would skip pixels.

    Returns it with the [2, 3] map from the picture's coordinates to its own.
    """
    factor = int(side / SIDE)
    if factor < 2:
        return rgb, np.eye(2, 3)
    height, width = rgb.shape[:2]
    reach = side * 0.75
    left, top = (max(0, int(value - reach)) for value in centre)
    right, bottom = min(width, int(centre[0] + reach) + 1), min(height, int(centre[1] + reach) + 1)
    part = rgb[top:bottom, left:right]
    if part.shape[0] < factor or part.shape[1] < factor:
        return rgb, np.eye(2, 3)
    size = part.shape[1] // factor, part.shape[0] // factor
    sx, sy = size[0] / part.shape[1], size[1] / part.shape[0]
    # Pixel centres lie at whole numbers: (x + 0.5) · s - 0.5.
    shift = ((0.5 - left) * sx - 0.5, (0.5 - top) * sy - 0.5)
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return small, np.array([[sx, 0, shift[0]], [0, sy, shift[1]]])
