"""Looks for a face where the detector alone does not do: any way up, faint, drawn, large, small.

The landmark network says of every place whether a face is there (`mesh.face_score`); what it is not convinced
of is not found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..progress import Stage, Tick
from . import centerface
from .detection import FaceDetection
from .geometry import Box
from .mesh import ROOM, MeshNetwork, bounds, square_around

SURE = 0.9
"""Face score from which a face is clear, see `mesh.face_score`."""
OTHERWISE, TURNED, HANDICAP = 60.0, 0.7, 0.25
"""A covered face is never clear. A look that finds it tilted by so many degrees more or less than the detector
does wins with this score, if it is better by so much; any other has to be clear."""
TILTS = (45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)
"""Degrees that are tried where a face is not clear at the detector's tilt; half a step beside one it is."""
SETTLED, MOST_LOOKS = 8.0, 4
"""Degrees by which a face may turn from look to look, and how many looks it gets."""
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


def look_any_way_up(
    network: MeshNetwork, rgb: NDArray[np.uint8], near: Box, roll: float
) -> tuple[NDArray[np.float32], float]:
    """Points float32 [468, 3] in pixels of the picture and the face score of the face at a box.

    The detector's tilt goes first. Where the face is not clear, others are tried, but have to convince. A
    face that is seen at a wrong tilt scores 0.6 at most.
    """
    first = _look(network, rgb, near, roll)
    if first[1] >= SURE:
        return first
    others = [_look(network, rgb, near, tilt) for tilt in (0.0, *TILTS)]
    best = max(others, key=lambda look: look[1])
    away = abs(math.remainder(square_around(best[0])[2] - square_around(first[0])[2], 360))
    needed = min(SURE, max(TURNED, first[1] + HANDICAP)) if away > OTHERWISE else SURE
    return best if best[1] >= needed else first


def _look(
    network: MeshNetwork, rgb: NDArray[np.uint8], near: Box, roll: float
) -> tuple[NDArray[np.float32], float]:
    """A rough look and one at what it found, where scores can be compared; more while the face turns."""
    points, score = network.find(rgb, near.centre, ROOM * max(near.width, near.height), roll)
    for _ in range(MOST_LOOKS):
        before = square_around(points)[2]
        points, score = network.refine(rgb, points)
        if abs(math.remainder(square_around(points)[2] - before, 360)) < SETTLED:
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
        if found := _on_grid(network, turned):
            height, width = turned.shape[:2]
            return [replace(found, box=found.box.turned(-quarters, width, height))]
    return []


def _faint(rgb: NDArray[np.uint8], tick: Tick | None) -> Iterator[FaceDetection]:
    """What the detector thinks possible in the picture, mirrored, on its side, upside down, and enlarged."""
    width = rgb.shape[1]
    sides = (centerface.SIDES[0], centerface.SIDES[-1])
    for side in sides:
        _wait(tick)
        yield from centerface.detect_at(rgb, side, FAINT)
    mirrored = np.ascontiguousarray(rgb[:, ::-1])
    for found in centerface.detect_at(mirrored, sides[0], FAINT):
        yield FaceDetection(
            found.box._replace(left=width - found.box.right, right=width - found.box.left), found.score
        )
    for quarters in (1, 2, 3):
        _wait(tick)
        turned = np.ascontiguousarray(np.rot90(rgb, quarters))
        for found in centerface.detect_at(turned, sides[0], FAINT):
            yield FaceDetection(found.box.turned(-quarters, *turned.shape[1::-1]), found.score)


def _on_grid(network: MeshNetwork, rgb: NDArray[np.uint8]) -> FaceDetection | None:
    """The clearest face of a coarse grid of upright squares, if it is clear at a second look."""
    height, width = rgb.shape[:2]
    best, place = -1.0, rgb[:0]
    for share in GRID:
        side = share * min(height, width)
        for y in _middles(height, side):
            for x in _middles(width, side):
                points, score = network.find(rgb, (x, y), side, 0.0)
                if score > best:
                    best, place = score, points
    points, score = network.refine(rgb, place)
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
