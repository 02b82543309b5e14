"""Which side of a picture belongs to which of two heads.

A line between the faces parts the picture, nearer to the smaller one. What an engine moves or draws of a head
fades out from the edge of its face up to the line, so that both sides are the portrait itself there and meet
without a seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPortrait
from .face import Face, box_of
from .geometry import smooth

FACE = 1.05
"""Where a side's motion begins to fade, as a share of the way from the middle of the face to its edge."""
MARGIN = 0.1
"""How far from the line nothing moves yet, likewise: more than the steps in which motion is sampled."""
FADE = 1.14
"""Over how much of that way the motion of one head alone fades: with less to fade in, it moves less."""
CLOSEST = 1.35
"""Distance of two faces, as a share of that at which they touch, below which their heads cannot move."""
CALM = 0.7
"""Share of the motion that must be left, or it is said."""


@dataclass(frozen=True)
class Side:
    """One half of a picture, and the face in it."""

    edge: NDArray[np.float64]
    """float64 [2]: a point of the line between the faces, pixels."""
    inwards: NDArray[np.float64]
    """float64 [2]: unit vector from the line to the face."""
    fade: tuple[float, float]
    """Pixels from the line between which motion sets in."""
    motion: float
    """Share of the head's motion for which there is room, 0 to 1."""

    def window(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is left of the motion at picture points [..., 2]: 1 on the face, 0 from the line on."""
        return smooth(self._depth(points), *self.fade)

    def share(self, width: int, height: int) -> NDArray[np.float64]:
        """`window` at every pixel of a picture, float64 [height, width]."""
        return self.window(_pixels(width, height))

    def mask(self, width: int, height: int) -> NDArray[np.uint8]:
        """1 on this side of a picture, else 0: uint8 [height, width]."""
        return (self._depth(_pixels(width, height)) > 0).astype(np.uint8)

    def toward_other(self, right: NDArray[np.float64]) -> float:
        """-1 to 1: how far to the right of the face, along its eyes' line, the other one is."""
        return float(-self.inwards @ right)

    def _depth(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray((points - self.edge) @ self.inwards, np.float64)


def _pixels(width: int, height: int) -> NDArray[np.float64]:
    """x, y of every pixel, [height, width, 2]."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y], axis=-1).astype(np.float64)


def sides_of(faces: tuple[Face, Face]) -> tuple[Side, Side]:
    """Each face's side of their picture.

    Raises:
        BadPortrait: they are too close together for the heads to move.
    """
    boxes = [box_of(face.landmarks) for face in faces]
    one, other = (np.array(box.centre) for box in boxes)
    apart = float(np.linalg.norm(other - one))
    along = (other - one) / max(apart, 1e-6)
    # Of the ellipses in the boxes: how far each reaches towards the other
    reach = [float(np.hypot(box.width / 2 * along[0], box.height / 2 * along[1])) for box in boxes]
    share = apart / sum(reach)
    if share < CLOSEST:
        raise BadPortrait(
            "The two faces are too close together to be moved each by itself.",
            "Use a picture with more room between the faces, or make a video of each person alone.",
        )
    edge = one + share * reach[0] * along
    fade, motion = share - FACE, min(1.0, (share - FACE - MARGIN) / FADE)
    return (
        Side(edge, -along, (MARGIN * reach[0], fade * reach[0]), motion),
        Side(edge, along, (MARGIN * reach[1], fade * reach[1]), motion),
    )


def calm_note(sides: tuple[Side, ...]) -> tuple[str, ...]:
    """A sentence where the heads have little room."""
    least = min((side.motion for side in sides), default=1.0)
    if least >= CALM:
        return ()
    return (f"The two faces are close together: the heads move {1 - least:.0%} less.",)
