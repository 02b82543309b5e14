"""Looks for a face where the detector alone does not do: any way up, faint, drawn, large, small.

The landmark network says of every place whether a face is there (`mesh.face_score`); what it is not convinced
of is not found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..progress import Stage, Tick
from . import centerface
from .detection import FaceDetection
from .geometry import Box
from .mesh import ROOM, MeshNetwork, bounds, square_around

Look: TypeAlias = tuple[NDArray[np.float32], float]
"""Points float32 [468, 3] in pixels of the picture, and the face score."""
SURE = 0.9
"""Face score from which a face is clear, see `mesh.face_score`."""
OTHERWISE, TURNED, HANDICAP = 60.0, 0.7, 0.25
"""A covered face is never clear. A look that finds it tilted by so many degrees more or less than the
detector does wins with this score, if it is better by so much; any other has to be clear."""
TILTS = (45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)
"""Degrees that are tried where a face is not clear at the detector's tilt; half a step beside one it is."""
SETTLED, MOST_LOOKS = 8.0, 4
"""Degrees by which a face may turn from one look to the next and count as found, and looks at most."""
DOUBTED = 0.3
"""Face score below which what the detector found is nothing."""
FAINT = 0.15
"""Heat of the detector from which the landmark network has a look."""
DRAWN = 0.6
"""Face score that convinces where the detector saw something, too."""
FAINT_LOOKS = 4
"""Faint detections that are looked at, the most certain first."""
GRID = (1.2, 0.8, 0.5)
"""Sides of the squares of the coarse grid, in short sides of the picture."""
STEP = 0.33
"""From one square to the next, in their sides."""


def roll_of(found: FaceDetection | None) -> float:
    """Degrees that the detector's eyes are tilted clockwise; it errs by half a turn where a head lies."""
    if found is None or found.points is None:
        return 0.0
    across = found.points[1] - found.points[0]
    return math.degrees(math.atan2(float(across[1]), float(across[0])))


def look_any_way_up(network: MeshNetwork, rgb: NDArray[np.uint8], near: Box, roll: float) -> Look:
    """Points float32 [468, 3] in pixels of the picture and the face score of the face at a box.

    The detector's tilt goes first. Where the face is not clear, others are tried, but have to convince. A
    face that is seen at a wrong tilt scores 0.6 at most.
    """
    first = _look(network, rgb, near, roll)
    if first[1] >= SURE:
        return first
    others = [_look(network, rgb, near, tilt) for tilt in (0.0, *TILTS) if tilt != roll]
    best = max(others, key=lambda look: look[1])
    return best if wins(best, first) else first


def wins(look: Look, over: tuple[Any, ...]) -> bool:
    """Whether a look at another tilt is to be believed rather than the one before, which was not clear.

    Args:
        look: the other one.
        over: the one before, which may have more to it.
    """
    away = abs(math.remainder(square_around(look[0])[2] - square_around(over[0])[2], 360))
    return look[1] >= (min(SURE, max(TURNED, over[1] + HANDICAP)) if away > OTHERWISE else SURE)


def is_face(network: MeshNetwork, rgb: NDArray[np.uint8], found: FaceDetection) -> bool:
    """Whether the landmark network thinks that what was detected may be one."""
    return _look(network, rgb, found.box, roll_of(found))[1] >= DOUBTED


def _look(network: MeshNetwork, rgb: NDArray[np.uint8], near: Box, roll: float) -> Look:
    """A rough look and one at what it found, where scores can be compared; more while the face turns."""
    points, score = network.find(rgb, near.centre, ROOM * max(near.width, near.height), roll)
    for _ in range(MOST_LOOKS):
        _, side, tilt = square_around(points)
        points, score = network.refine(rgb, points)
        _, new_side, new_tilt = square_around(points)
        if abs(math.remainder(new_tilt - tilt, 360)) < SETTLED and abs(new_side - side) < 0.1 * side:
            break
    return points, score


def unseen_faces(
    network: MeshNetwork, rgb: NDArray[np.uint8], tick: Tick | None = None
) -> list[FaceDetection]:
    """One face, or none, in a uint8 [height, width, 3] picture in which the detector is sure of none."""
    faint = sorted(_faint(rgb, tick), key=lambda face: face.score, reverse=True)
    for found in faint[:FAINT_LOOKS]:
        points, score = look_any_way_up(network, rgb, found.box, roll_of(found))
        if score >= DRAWN:
            return [replace(found, box=bounds(points), score=score)]
    for quarters in range(4):
        turned = np.ascontiguousarray(np.rot90(rgb, quarters))
        _wait(tick)
        if seen := _on_grid(network, turned):
            return [seen.turned(-quarters, turned.shape[1], turned.shape[0])]
    return []


def _faint(rgb: NDArray[np.uint8], tick: Tick | None) -> Iterator[FaceDetection]:
    """What the detector thinks possible in the picture, mirrored, on its side, upside down, and enlarged."""
    width = rgb.shape[1]
    sides = (centerface.SIDES[0], centerface.SIDES[-1])
    for side in sides:
        _wait(tick)
        yield from centerface.detect_at(rgb, side, FAINT)
    yield from on_their_sides(rgb, tick, FAINT)
    mirrored = np.ascontiguousarray(rgb[:, ::-1])
    for found in centerface.detect_at(mirrored, sides[0], FAINT):
        yield FaceDetection(
            found.box._replace(left=width - found.box.right, right=width - found.box.left), found.score
        )


def on_their_sides(
    rgb: NDArray[np.uint8], tick: Tick | None = None, threshold: float = centerface.THRESHOLD
) -> Iterator[FaceDetection]:
    """Faces, in the picture's own coordinates, that the detector sees when it is turned by quarters."""
    for quarters in (1, 3, 2):
        _wait(tick)
        turned = np.ascontiguousarray(np.rot90(rgb, quarters))
        for found in centerface.detect_at(turned, centerface.SIDES[0], threshold):
            yield found.turned(-quarters, turned.shape[1], turned.shape[0])


def _on_grid(network: MeshNetwork, rgb: NDArray[np.uint8]) -> FaceDetection | None:
    """The clearest face of a coarse grid of upright squares, if it is clear at a second look."""
    height, width = rgb.shape[:2]
    best: Look | None = None
    for share in GRID:
        side = share * min(height, width)
        for y in _middles(height, side):
            for x in _middles(width, side):
                look = network.find(rgb, (x, y), side, 0.0)
                if best is None or look[1] > best[1]:
                    best = look
    assert best is not None, "every picture has a middle"
    points, score = network.refine(rgb, best[0])
    return FaceDetection(bounds(points), score) if score >= SURE else None


def _middles(length: int, side: float) -> list[float]:
    """Of squares along a length, from edge to edge."""
    if side >= length:
        return [length / 2]
    count = math.ceil((length - side) / (STEP * side)) + 1
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, count)]


def _wait(tick: Tick | None) -> None:
    """Between two steps of some tenths of a second."""
    if tick is not None:
        tick(Stage.FINDING_FACE, len(centerface.SIDES), len(centerface.SIDES) + 1)
