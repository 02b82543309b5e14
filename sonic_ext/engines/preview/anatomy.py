"""Where the parts of one face are: axes, mouth, eyes, head, read off 468 landmarks.

Landmark numbers follow the MediaPipe Face Mesh topology. "Left" and "right" are the picture's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

UPPER_INNER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_OUTER_LIP, LOWER_OUTER_LIP, NOSE_BASE, CHIN = 0, 17, 2, 152
NOSE_RIDGE = (168, 6, 197, 195, 5, 4, 1, 19, 94)
MOUTH_CORNERS = (61, 291)
LEFT_UPPER_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133)
LEFT_LOWER_LID = (33, 7, 163, 144, 145, 153, 154, 155, 133)
RIGHT_UPPER_LID = (362, 398, 384, 385, 386, 387, 388, 466, 263)
RIGHT_LOWER_LID = (362, 382, 381, 380, 374, 373, 390, 249, 263)
LEFT_BROW, RIGHT_BROW = (46, 53, 52, 65, 55), (285, 295, 282, 283, 276)
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

Curve: TypeAlias = NDArray[np.float64]
"""float64 [n, 2]: points of a line in the face's own axes, sorted from left to right."""


@dataclass(frozen=True)
class Axes:
    """The face's own axes: x along the line of the eyes, y down the face, in pixels.

    A picture point p has face coordinates `(p - origin) @ [right, down]`.
    """

    origin: NDArray[np.float64]
    """float64 [2]: middle of the closed lips, in picture pixels."""
    right: NDArray[np.float64]
    """float64 [2]: unit vector from the left eye to the right eye."""

    @property
    def down(self) -> NDArray[np.float64]:
        """float64 [2]: unit vector from forehead to chin."""
        return np.array([-self.right[1], self.right[0]])

    def to_face(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Picture points [..., 2] → face coordinates [..., 2]."""
        moved = points - self.origin
        return np.stack([moved @ self.right, moved @ self.down], axis=-1)

    def to_picture(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Face coordinates [..., 2] → picture points [..., 2]."""
        return self.origin + points[..., :1] * self.right + points[..., 1:] * self.down

    def turn(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacements along the face's axes [..., 2] → along the picture's axes."""
        return vectors[..., :1] * self.right + vectors[..., 1:] * self.down


@dataclass(frozen=True)
class Eye:
    """One eye in face coordinates."""

    upper: Curve
    lower: Curve
    brow: float
    """Height of the brow, y in pixels (above the lid, so smaller)."""

    @property
    def width(self) -> float:
        """Corner to corner in pixels."""
        return float(self.upper[-1, 0] - self.upper[0, 0])

    @property
    def centre(self) -> NDArray[np.float64]:
        """float64 [2]: middle between both lids."""
        return (self.upper.mean(axis=0) + self.lower.mean(axis=0)) / 2


@dataclass(frozen=True)
class Anatomy:
    """What the motions need to know of one face. Lengths are pixels of the picture."""

    axes: Axes
    left: float
    """Distance from the middle of the mouth to its left corner."""
    right: float
    """Distance from the middle of the mouth to its right corner."""
    upper_lip: Curve
    """Lower rim of the upper lip, face coordinates."""
    lower_lip: Curve
    """Upper rim of the lower lip, face coordinates."""
    lip_top: float
    """Height of the upper lip's outer rim (negative: above the mouth)."""
    lip_bottom: float
    """Height of the lower lip's outer rim."""
    nose: float
    """Height of the nose's base (negative)."""
    chin: float
    """Height of the chin."""
    unit: float
    """Distance between the eyes: the unit of the head's motions."""
    eyes: tuple[Eye, Eye]
    oval: NDArray[np.float64]
    """float64 [36, 2]: outline of the face, face coordinates."""
    depth_points: NDArray[np.float64]
    """float64 [468, 3]: landmarks in face coordinates; z from the outline's mean towards the viewer."""

    @property
    def mouth(self) -> float:
        """Half the mouth's width: the unit of the mouth's motions."""
        return (self.left + self.right) / 2

    @property
    def gape(self) -> float:
        """The unit of the jaw's motion: half the mouth's width, less where a smile has drawn it wide."""
        return min(self.mouth, 0.42 * (self.chin - self.nose))


def read_anatomy(landmarks: NDArray[np.float32]) -> Anatomy:
    """Anatomy of a face.

    Args:
        landmarks: float [468, 3], x and y in pixels, z in pixels and negative towards the viewer.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    axes = _axes(points[:, :2])
    face = axes.to_face(points[:, :2])
    depth = points[list(FACE_OVAL), 2:].mean() - points[:, 2:]
    corners = face[list(MOUTH_CORNERS), 0]
    return Anatomy(
        axes=axes,
        left=max(1.0, -float(corners.min())),
        right=max(1.0, float(corners.max())),
        upper_lip=_curve(face, UPPER_INNER_LIP),
        lower_lip=_curve(face, LOWER_INNER_LIP),
        lip_top=float(face[UPPER_OUTER_LIP, 1]),
        lip_bottom=float(face[LOWER_OUTER_LIP, 1]),
        nose=float(face[NOSE_BASE, 1]),
        chin=float(face[CHIN, 1]),
        unit=float(np.linalg.norm(_eye_centres(points[:, :2])[1] - _eye_centres(points[:, :2])[0])),
        eyes=(
            _eye(face, LEFT_UPPER_LID, LEFT_LOWER_LID, LEFT_BROW),
            _eye(face, RIGHT_UPPER_LID, RIGHT_LOWER_LID, RIGHT_BROW),
        ),
        oval=face[list(FACE_OVAL)],
        depth_points=np.concatenate([face, depth], axis=1),
    )


def _eye_centres(points: NDArray[np.float64]) -> NDArray[np.float64]:
    pairs = (LEFT_UPPER_LID + LEFT_LOWER_LID, RIGHT_UPPER_LID + RIGHT_LOWER_LID)
    return np.stack([points[list(pair)].mean(axis=0) for pair in pairs])


def _axes(points: NDArray[np.float64]) -> Axes:
    left, right = _eye_centres(points)
    across = (right - left) / max(float(np.linalg.norm(right - left)), 1e-6)
    return Axes(origin=(points[13] + points[14]) / 2, right=across)


def _curve(face: NDArray[np.float64], numbers: tuple[int, ...]) -> Curve:
    line = face[list(numbers)]
    return line[np.argsort(line[:, 0], kind="stable")]


def _eye(
    face: NDArray[np.float64], upper: tuple[int, ...], lower: tuple[int, ...], brow: tuple[int, ...]
) -> Eye:
    return Eye(_curve(face, upper), _curve(face, lower), float(face[list(brow), 1].mean()))
