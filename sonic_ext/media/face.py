"""The face to animate: its box, 468 points, and whether it can be used.

CenterFace says where faces are, Face Mesh where their points lie. What a caller gives by hand wins:
a box says which face, mouth corners and eye centres say where those parts are, on a drawing for instance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadPortrait, BadSetting, NoFace
from ..progress import Stage, Tick
from . import centerface, search
from .detection import FaceDetection, turned_points
from .geometry import Box
from .mesh import (
    CHIN,
    EYES,
    LIPS,
    ROOM,
    STRETCH,
    LipEvidence,
    MeshNetwork,
    StretchedLook,
    bounds,
    breadth,
    face_logit,
    mean_face,
    mouth_opening,
    pose,
)
from .placing import HandPoints, eyes_of, fit_to, mouth_of
from .search import SURE

__all__ = [
    "Detect",
    "Face",
    "FoundFaces",
    "LandmarkTracker",
    "box_of",
    "find_boxes",
    "find_face",
    "find_faces",
    "mouth_opening",
]

Detect = Callable[[NDArray[np.uint8]], list[FaceDetection]]
"""Faces in a uint8 [height, width, 3] picture, in any order."""
MIN_FACE = 48
"""Smallest usable face: the longer side of its box, in pixels."""
MIN_BOX = 16
"""Smallest box by hand, each side in pixels."""
WARN_YAW, MAX_YAW = 25.0, 50.0
"""Degrees turned to the side: from the first on a warning, beyond the second a refusal."""
WARN_PITCH, MAX_PITCH = 25.0, 45.0
"""Degrees up or down, likewise."""
WARN_ROLL, MAX_ROLL = 35.0, 52.0
"""Degrees tilted, likewise; what is tilted by quarter turns more lies on its side and is set upright."""
MAX_LEANING = 25.0
"""Degrees beside a quarter turn up to which a picture is set upright."""
MIN_SCORE = 0.4
"""Face score: below `SURE` a warning, below this a refusal, see `mesh.face_score`."""
CLEAR_LIPS, GUESSED_LIPS, UNSURE_LIPS, MAX_SPREAD = 0.016, 0.0195, 0.03, 0.06
"""Spread of the lips in eye distances. Up to the first they show; above the third a warning, above the
fourth a refusal; between, `mesh.LipEvidence` counts. A dense beard reaches 0.018, masks begin at 0.02."""
NO_LIPS, MIN_LIP_WEIGHT, WARN_LIP_WEIGHT = 1.0, 3.0, 4.2
"""`mesh.LipEvidence.weight`. Below the first a refusal, as below the second above `GUESSED_LIPS` and below
the third above `UNSURE_LIPS`; a warning below the third above `CLEAR_LIPS`."""
MIN_LIP_CONTRAST = 0.03
"""`mesh.LipEvidence.contrast` below which there are no lips."""
BREADTH, NARROW, WIDE = 60.0, 9.0, 11.0
"""Logits that a face score gains by the picture being made wider or narrower from which it is squashed, see
`mesh.StretchedLook`, and how many of them the face's own `mesh.breadth` beyond 1 is worth."""
COUNTED = 12
"""Detected faces, the largest first, that are told."""
CANDIDATES = 3
"""Detected faces, the largest first, that are looked at until one is clear."""
SAME = 0.5
"""Share of the smaller of two boxes from which both hold one face where they overlap."""
BY_HAND = "place mouth and eyes by hand (settings mouth and eyes)"


@dataclass(frozen=True)
class Face:
    """A face in a picture; everything in that picture's pixels."""

    box: Box
    """Hairline to chin, ear to ear; as given when it was given."""
    landmarks: NDArray[np.float32]
    """float32 [468, 3], MediaPipe Face Mesh numbering; z negative towards the viewer."""
    confidence: float
    """0 to 1: the network's own "this is a face" (`mesh.face_score`); 1.0 when mouth or eyes were
    placed by hand."""
    yaw: float
    """Degrees turned, positive to the right of the picture. A fit of the mean face, see `mesh.pose`."""
    pitch: float
    """Degrees, positive looking down."""
    roll: float
    """Degrees tilted, positive clockwise."""
    by_hand: bool = False
    """Mouth or eyes were placed by hand."""
    lip_spread: float = 0.0
    """How unsure the lips are, in eye distances, see `MeshNetwork.lip_spread`; 0 when placed by hand."""

    def scaled(self, sx: float, sy: float, dx: float = 0.0, dy: float = 0.0) -> Face:
        """In the coordinates of a picture resized by `sx`, `sy` and then moved by `dx`, `dy`."""
        factors = np.array([sx, sy, math.sqrt(abs(sx * sy))])
        landmarks = (self.landmarks * factors + (dx, dy, 0.0)).astype(np.float32)
        return replace(self, box=self.box.scaled(sx, sy).shifted(dx, dy), landmarks=landmarks)

    def turned(self, quarters: int, width: int, height: int) -> Face:
        """In the coordinates of a picture of this size that was turned anticlockwise by quarters."""
        landmarks, box = self.landmarks.copy(), self.box.turned(quarters, width, height)
        landmarks[:, :2] = turned_points(landmarks[:, :2], quarters, width, height)
        roll = math.remainder(self.roll - 90 * quarters, 360)
        return replace(self, box=box, landmarks=landmarks, roll=roll)


@dataclass(frozen=True)
class FoundFaces:
    """The faces of a picture that are to be animated."""

    faces: tuple[Face, ...]
    """One, or two: whoever speaks with the first voice, then whoever speaks with the second."""
    notes: tuple[str, ...]
    """Sentences for the user."""
    count: int
    """Faces that were seen in the picture, these included."""


class LandmarkTracker:
    """Finds the points in frame after frame near a face that is known; one per thread."""

    def __init__(self) -> None:
        self._network = MeshNetwork()

    def track(
        self, rgb: NDArray[np.uint8], near: Face | Box | NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float]:
        """Points float32 [468, 3] in pixels of the frame, and the face score 0..1.

        Args:
            rgb: uint8 [height, width, 3].
            near: the same face in this or another frame, its points (one pass, the faster way) or its box
                (two passes). Only the place is taken from it; the points are found in the pixels.
        """
        if not isinstance(near, Box):
            return self._network.refine(rgb, near.landmarks if isinstance(near, Face) else near)
        rough, _ = self._network.find(rgb, near.centre, ROOM * max(near.width, near.height), 0.0)
        return self._network.refine(rgb, rough)


def find_boxes(rgb: NDArray[np.uint8]) -> list[tuple[Box, float]]:
    """Faces in a uint8 [height, width, 3] picture as (box in pixels, score 0..1), largest first."""
    return [(found.box, found.score) for found in centerface.detect(rgb)]


def find_face(
    rgb: NDArray[np.uint8],
    box: Sequence[float] | None = None,
    mouth: Sequence[float] | None = None,
    eyes: Sequence[float] | None = None,
    tick: Tick | None = None,
    detect: Detect | None = None,
) -> tuple[Face, tuple[str, ...]]:
    """The face to animate, and sentences for the user.

    Args:
        rgb: uint8 [height, width, 3].
        box: left, top, right, bottom in pixels; wins over what is detected.
        mouth: x, y of both mouth corners; the points are fitted to them.
        eyes: x, y of both eye centres; likewise.
        tick: called between the steps.
        detect: another source of boxes than the built-in detector. The largest is taken, and becomes the
            face's box; the points are found in it as ever.

    Raises:
        NoFace: none was found and neither box nor points were given.
        BadPortrait: the face is under `MIN_FACE` pixels, or turned beyond `MAX_YAW` or `MAX_PITCH`.
        BadSetting: a box or point lies outside the picture, or they contradict each other.
        Cancelled: from `tick`.
    """
    found = find_faces(rgb, box, mouth, eyes, tick, detect)
    return found.faces[0], found.notes


def find_faces(
    rgb: NDArray[np.uint8],
    box: Sequence[float] | None = None,
    mouth: Sequence[float] | None = None,
    eyes: Sequence[float] | None = None,
    tick: Tick | None = None,
    detect: Detect | None = None,
    second: Sequence[float] | None = None,
    wanted: int = 1,
) -> FoundFaces:
    """One face as `find_face` finds it, or two.

    Of two, the left one is the first unless a box, mouth or eyes say which one is; those that no box names
    are the largest.

    Args:
        second: the box of the second face; wins over what is detected.
        wanted: 1 or 2.

    Raises:
        NoFace: one was found, and two are wanted. Otherwise as `find_face`.
        BadSetting: both boxes hold one face.
    """
    if wanted == 1:
        return _find_one(rgb, box, mouth, eyes, tick, detect)
    return _find_two(rgb, (box, second), (mouth, eyes), tick, detect)


def _find_one(
    rgb: NDArray[np.uint8],
    box: Sequence[float] | None,
    mouth: Sequence[float] | None,
    eyes: Sequence[float] | None,
    tick: Tick | None,
    detect: Detect | None,
) -> FoundFaces:
    given = _checked_box(box, rgb)
    placed = HandPoints(_checked_pair("mouth", mouth, rgb), _checked_pair("eyes", eyes, rgb))
    found = centerface.detect(rgb, tick) if detect is None else _detect(rgb, detect, tick)
    network = MeshNetwork()
    if detect is None and not (found or given or placed):
        found = search.unseen_faces(network, rgb, tick)
    chosen = _choose(found, given, placed)
    if tick is not None:
        tick(Stage.FINDING_FACE, len(centerface.SIDES), len(centerface.SIDES) + 1)
    if placed:
        near = chosen[0] if chosen else None
        face, notes = _by_hand(network, rgb, near, given, placed)
    else:
        face, near, notes = _by_network(network, rgb, chosen, given, tick)
    # The detector sees faces in leaves and jewellery, too: those are not worth a sentence.
    count = sum(each is near or search.is_face(network, rgb, each) for each in found[:COUNTED])
    if count > 1 and given is None and not placed:
        which = "the largest is" if near is found[0] else "the clearest is"
        more = f"{count} faces were found; {which} animated. For another, give its box (face_box)."
        notes.insert(0, more)
    if detect is not None and given is None and near is not None:
        face = replace(face, box=near.box)
    return FoundFaces((face,), tuple(notes), max(count, 1))


def _find_two(
    rgb: NDArray[np.uint8],
    boxes: tuple[Sequence[float] | None, Sequence[float] | None],
    points: tuple[Sequence[float] | None, Sequence[float] | None],
    tick: Tick | None,
    detect: Detect | None,
) -> FoundFaces:
    first, second = (_checked_box(box, rgb) for box in boxes)
    if first and second and _is_same(first, second):
        raise _one_face_twice()
    found = centerface.detect(rgb, tick) if detect is None else _detect(rgb, detect, tick)

    look = partial(_look, rgb, tick, detect is None)
    placed = first is not None or any(each is not None for each in points)
    by_hand = [look(found, boxes[0], *points)] if placed else []
    by_hand += [look(found, boxes[1])] if second else []
    network = MeshNetwork()
    clear = [each for each in found[:COUNTED] if search.is_face(network, rgb, each)]
    others = [each for each in clear if not any(_is_same(each.box, face.box) for face, _ in by_hand)]
    count = len(by_hand) + len(others)
    if count < 2:
        raise NoFace(
            "One face was found in the picture, and there are two voices.",
            "Use a picture in which both faces show, give the box of the other one by hand (face_box, "
            "face_box_2), or leave the second voice out.",
        )
    seen = by_hand + [look([each]) for each in others[: 2 - len(by_hand)]]
    if not by_hand:
        height, width = rgb.shape[:2]
        quarters = quarters_of(seen[0][0].roll)  # left and right of heads that lie on their sides, too
        seen.sort(key=lambda each: each[0].box.turned(quarters, width, height).centre[0])
    elif not placed:
        seen.reverse()
    faces = tuple(face for face, _ in seen)
    if _is_same(*(box_of(face.landmarks) for face in faces)):
        raise _one_face_twice()
    notes = [note for _, own in seen for note in own]
    if count > 2 and len(by_hand) < 2:
        more = (
            f"{count} faces were found; the largest speak. "
            "For others, give their boxes (face_box, face_box_2)."
        )
        notes.insert(0, more)
    return FoundFaces(faces, tuple(dict.fromkeys(notes)), count)


def _look(
    rgb: NDArray[np.uint8],
    tick: Tick | None,
    built_in: bool,
    found: list[FaceDetection],
    box: Sequence[float] | None = None,
    mouth: Sequence[float] | None = None,
    eyes: Sequence[float] | None = None,
) -> tuple[Face, tuple[str, ...]]:
    """`find_face` among what was detected already, by the built-in detector or another."""
    face, notes = find_face(rgb, box, mouth, eyes, tick, lambda _: found)
    return (replace(face, box=box_of(face.landmarks)) if built_in and box is None else face), notes


def _is_same(one: Box, other: Box) -> bool:
    """Whether two boxes hold one face."""
    return one.overlap(other) > SAME * min(one.area, other.area)


def _one_face_twice() -> BadSetting:
    return BadSetting(
        "face_box and face_box_2 hold the same face.",
        "Give each person's own box, or none: then the left one speaks with the first voice.",
    )


def _detect(rgb: NDArray[np.uint8], detect: Detect, tick: Tick | None) -> list[FaceDetection]:
    """Boxes inside the picture, largest first; what has no area there is no face."""
    if tick is not None:
        tick(Stage.FINDING_FACE, 0, len(centerface.SIDES) + 1)
    height, width = rgb.shape[:2]
    inside = (replace(face, box=face.box.clipped(width, height)) for face in detect(rgb))
    return sorted((face for face in inside if face.box.area), key=lambda face: face.box.area, reverse=True)


# What was given by hand


def _checked_box(box: Sequence[float] | None, rgb: NDArray[np.uint8]) -> Box | None:
    if box is None:
        return None
    height, width = rgb.shape[:2]
    whole = Box(*(float(value) for value in box))
    inside = whole.clipped(width, height)
    if min(whole.width, whole.height) < MIN_BOX or min(inside.width, inside.height) < MIN_BOX:
        raise BadSetting(
            f"The face box {_numbers(whole)} holds no part of the picture that could be a face.",
            f"Give left, top, right, bottom within 0, 0, {width}, {height}, at least {MIN_BOX} pixels apart.",
        )
    return inside


def _checked_pair(
    name: str, values: Sequence[float] | None, rgb: NDArray[np.uint8]
) -> NDArray[np.float64] | None:
    if values is None:
        return None
    height, width = rgb.shape[:2]
    pair = np.array(values, dtype=np.float64).reshape(2, 2)
    if (pair < 0).any() or (pair > (width, height)).any():
        raise BadSetting(
            f"{name}={_numbers(values)} lies outside the picture.", f"It is {width} × {height} pixels."
        )
    if np.hypot(*(pair[1] - pair[0])) < 4:
        raise BadSetting(f"The two points of {name} are less than 4 pixels apart.", "Give one for each side.")
    return pair[np.argsort(pair[:, 0], kind="stable")]


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


# Which face


def _choose(found: list[FaceDetection], given: Box | None, placed: HandPoints) -> list[FaceDetection]:
    """The detections to go by, the first one first; none where there is none that is meant by hand."""
    if given is not None:
        inside = [face for face in found if face.box.overlap(given) > 0.5 * min(face.box.area, given.area)]
        return sorted(inside, key=lambda face: face.box.overlap(given), reverse=True)[:1]
    if placed:
        points = np.concatenate([pair for pair in (placed.mouth, placed.eyes) if pair is not None])
        return [face for face in found if _encloses(face.box.expanded(0.15), points)][:1]
    if not found:
        raise NoFace(
            "No face was found in the picture.",
            "Use a picture with one clear face. If there is one, give its box by hand (face_box); "
            f"in a drawing, {BY_HAND}.",
        )
    return [face for face in found[:CANDIDATES] if face.box.area > 0.1 * found[0].box.area]


def _encloses(box: Box, points: NDArray[np.float64]) -> bool:
    low, high = points.min(axis=0), points.max(axis=0)
    return bool(box.left <= low[0] and high[0] <= box.right and box.top <= low[1] and high[1] <= box.bottom)


# Points found by the network


def _by_network(
    network: MeshNetwork,
    rgb: NDArray[np.uint8],
    candidates: list[FaceDetection],
    given: Box | None,
    tick: Tick | None,
) -> tuple[Face, FaceDetection | None, list[str]]:
    """The first clear face, or the clearest, and the detection that led to it."""
    best: tuple[NDArray[np.float32], float, FaceDetection | None] | None = None
    first: list[FaceDetection | None] = [*candidates] or [None]
    for number, found in enumerate(itertools.chain(first, search.on_their_sides(rgb, tick))):
        near = found.box if found is not None else given
        assert near is not None, "a detection or a box by hand is there, or NoFace was raised"
        seen = search.look_any_way_up(network, rgb, near, search.roll_of(found))
        if best is None or (seen[1] > best[1] if number < len(first) else search.wins(seen, best)):
            best = (*seen, found)
        if best[1] >= SURE or given is not None:
            break
    assert best is not None, "there is one candidate at least"
    landmarks, score, found = best
    if given is not None and score < MIN_SCORE:
        face = _face(_in_box(given), given, score)
        _check_size(face)
        guessed = (
            f"No face is recognised in the box (face score {score:.2f}): mouth and eyes are guessed from "
        )
        return face, found, [f"{guessed}the box alone. Better, {BY_HAND}."]
    look, warnings = _unsquashed(network, rgb, landmarks)
    face = _face(look.points if warnings else landmarks, given, look.score if warnings else score)
    _check_size(face)
    aligned = abs(math.remainder(face.roll - search.roll_of(found), 360)) < WARN_ROLL
    warnings += _check_turn(face, found if aligned else None)
    warnings += _check_edges(face, rgb, given)
    face = replace(face, lip_spread=network.lip_spread(look.picture, look.own))
    return face, found, warnings + _check_clear(face, network.lip_evidence(look.picture, look.own), given)


def _unsquashed(
    network: MeshNetwork, rgb: NDArray[np.uint8], landmarks: NDArray[np.float32]
) -> tuple[StretchedLook, list[str]]:
    """A look at the face in its right shape, and a sentence if the picture's is wrong."""
    plain = network.stretched(rgb, landmarks, 1.0)
    wide = BREADTH * ((breadth(landmarks) + breadth(plain.points)) / 2 - 1)  # from look to look it wanders
    for factor, least, how in ((STRETCH, NARROW + wide, "narrow"), (1 / STRETCH, WIDE - wide, "wide")):
        other = network.stretched(rgb, landmarks, factor)
        if other.score >= SURE and face_logit(other.score) - face_logit(plain.score) > least:
            said = f"The face looks too {how}: the picture seems squashed. Give it back its aspect ratio."
            return other, [said]
    return plain, []


def _face(
    landmarks: NDArray[np.floating[Any]], given: Box | None, score: float, by_hand: bool = False
) -> Face:
    box = given if given is not None else box_of(landmarks)
    yaw, pitch, roll = pose(landmarks)
    return Face(box, landmarks.astype(np.float32), score, yaw, pitch, roll, by_hand)


HAIRLINE = 0.1
"""The topmost points lie on the forehead, this part of the points' height below the hairline."""


def box_of(landmarks: NDArray[np.floating[Any]]) -> Box:
    """Hairline to chin, ear to ear of points [468, 3]."""
    box = bounds(landmarks)
    return box._replace(top=box.top - HAIRLINE * box.height)


def _in_box(box: Box) -> NDArray[np.float64]:
    """The mean face, float64 [468, 3], filling a box from hairline to chin."""
    face = mean_face().astype(np.float64)
    own = box_of(face)
    sx, sy = box.width / own.width, box.height / own.height
    return (face - (own.left, own.top, 0)) * (sx, sy, math.sqrt(sx * sy)) + (box.left, box.top, 0)


def _check_size(face: Face) -> None:
    size = max(face.box.width, face.box.height)
    if size < MIN_FACE:
        raise BadPortrait(
            f"The face is only {size:.0f} pixels high; the least is {MIN_FACE}.",
            "Use a larger picture, or one taken closer.",
        )


def _check_turn(face: Face, found: FaceDetection | None) -> list[str]:
    yaw = max(abs(face.yaw), _profile_turn(found) if face.confidence < SURE else 0.0)
    pitch, where = abs(face.pitch), "down" if face.pitch > 0 else "up"
    if yaw > MAX_YAW:
        raise BadPortrait(
            f"The face is turned about {yaw:.0f}° to the side; the limit is {MAX_YAW:.0f}°.",
            "Use a picture in which both eyes and the whole mouth show.",
        )
    if pitch > MAX_PITCH:
        raise BadPortrait(
            f"The face looks about {pitch:.0f}° {where}; the limit is {MAX_PITCH:.0f}°.",
            "Use a picture taken at the height of the face.",
        )
    warnings = _check_roll(face.roll)
    if yaw > WARN_YAW:
        warnings.append(f"The face is turned about {yaw:.0f}° to the side; up to {WARN_YAW:.0f}° looks best.")
    if pitch > WARN_PITCH:
        warnings.append(f"The face looks about {pitch:.0f}° {where}; up to {WARN_PITCH:.0f}° looks best.")
    return warnings


def quarters_of(roll: float) -> int:
    """Quarter turns anticlockwise, 0 to 3, that set a head upright which is tilted by `roll` degrees."""
    return 0 if abs(roll) <= MAX_ROLL else round(roll / 90) % 4


def _check_roll(roll: float) -> list[str]:
    quarters = quarters_of(roll)
    if quarters == 0:
        tilted = f"The head is tilted by {abs(roll):.0f}°; an upright picture looks better."
        return [tilted] if abs(roll) > WARN_ROLL else []
    if abs(math.remainder(roll, 90)) > MAX_LEANING:
        raise BadPortrait(
            f"The head is tilted by about {abs(roll):.0f}°; the limit is {MAX_ROLL:.0f}°.",
            f"Turn the picture upright: by {abs(roll):.0f}° {'anti' * (roll > 0)}clockwise.",
        )
    how = "is upside down" if quarters == 2 else "lies on its side"
    return [f"The picture {how}; it is set upright for the video."]


def _check_clear(face: Face, lips: LipEvidence, given: Box | None) -> list[str]:
    """Warn of a face or mouth that does not show well; refuse it at the limits unless its box was given."""
    score, spread = face.confidence, face.lip_spread
    if given is None and (score < MIN_SCORE or spread > MAX_SPREAD):
        raise BadPortrait(
            f"The face is too hidden or too unlike a photograph (face score {score:.2f}, least "
            f"{MIN_SCORE}; spread of the lips {spread:.3f}, most {MAX_SPREAD}).",
            f"Use a picture in which the whole face shows; in a drawing, {BY_HAND}.",
        )
    least = WARN_LIP_WEIGHT if spread > UNSURE_LIPS else MIN_LIP_WEIGHT if spread > GUESSED_LIPS else NO_LIPS
    if lips.contrast < MIN_LIP_CONTRAST or lips.weight < least:
        hint = f"Use a picture in which the lips show; in a drawing, {BY_HAND}."
        if given is None:
            raise BadPortrait("The mouth is covered or does not show.", hint)
        return [f"The mouth seems covered and is guessed. {hint}"]
    warnings = []
    if score < SURE:
        warnings.append(
            f"Part of the face seems hidden, or this is a drawing or sculpture (face score {score:.2f}, "
            f"clear from {SURE}): mouth and eyes may be misplaced. Check them in the preview, or {BY_HAND}."
        )
    if spread > UNSURE_LIPS or (spread > CLEAR_LIPS and lips.weight < WARN_LIP_WEIGHT):
        warnings.append(
            f"The mouth seems covered or unclear (spread of the lips {spread:.3f}, clear up to {CLEAR_LIPS})."
        )
    return warnings


def _check_edges(face: Face, rgb: NDArray[np.uint8], given: Box | None) -> list[str]:
    """Whether the picture's edge cuts the mouth or the chin off."""
    points = face.landmarks[:, :2]
    margin = 0.03 * float(np.hypot(*(points[EYES[1][0]] - points[EYES[0][0]])))
    last = np.array(rgb.shape[1::-1]) - 1
    lips, chin = points[list(LIPS)], points[CHIN]
    if (lips < margin).any() or (lips > last - margin).any():
        sentence = "The mouth is cut off by the edge of the picture, or all but."
        if given is None:
            raise BadPortrait(
                sentence, "Use a picture that shows the whole face with some room below the chin."
            )
        return [sentence]
    if (chin < 0).any() or (chin > last).any():
        return ["The chin is cut off by the edge of the picture; it cannot move there."]
    return []


def _profile_turn(found: FaceDetection | None) -> float:
    """Degrees turned by the detector's five points, for faces that the mesh is unsure of.

    The nose tip leaves the middle between the eyes by half the eye distance at about 45°.
    """
    if found is None or found.points is None:
        return 0.0
    left, right, nose = found.points[:3].astype(np.float64)
    across = right - left
    distance = float(across @ across)
    beside = float((nose - (left + right) / 2) @ across) / max(distance, 1e-6)
    return math.degrees(math.atan2(abs(beside), 0.5))


# Points placed by hand


def _by_hand(
    network: MeshNetwork,
    rgb: NDArray[np.uint8],
    found: FaceDetection | None,
    given: Box | None,
    placed: HandPoints,
) -> tuple[Face, list[str]]:
    _check_upright(placed)
    base, stand_ins = _base(network, rgb, found, given), _stand_ins(found, given)
    face = _face(fit_to(placed, base, stand_ins, rgb), given, 1.0, by_hand=True)
    _check_size(face)
    warnings = []
    if base is None and stand_ins.mouth is None and (placed.mouth is None or placed.eyes is None):
        guessed, from_what = ("mouth", "eyes") if placed.mouth is None else ("eyes", "mouth")
        warnings.append(f"Where the {guessed} should be is guessed from the {from_what}; place both by hand.")
    return face, warnings


def _check_upright(placed: HandPoints) -> None:
    if placed.mouth is None or placed.eyes is None:
        return
    across = placed.eyes[1] - placed.eyes[0]
    down = placed.mouth.mean(axis=0) - placed.eyes.mean(axis=0)
    if across[0] * down[1] - across[1] * down[0] < 0.2 * float(across @ across):
        raise BadSetting(
            "The mouth placed by hand does not lie below the eyes.",
            "Give mouth corners and eye centres of one upright face (tilted by less than 90°).",
        )


def _base(
    network: MeshNetwork, rgb: NDArray[np.uint8], found: FaceDetection | None, given: Box | None
) -> NDArray[np.float32] | None:
    """The points that the network is sure of, to be bent by hand; None when it is not."""
    near = found.box if found is not None else given
    if near is None:
        return None
    landmarks, score = search.look_any_way_up(network, rgb, near, search.roll_of(found))
    return landmarks if score >= SURE else None


def _stand_ins(found: FaceDetection | None, given: Box | None) -> HandPoints:
    """Mouth and eyes as roughly known without the hand: by the detector, or by the box alone."""
    if found is not None and found.points is not None:
        points = found.points.astype(np.float64)
        return HandPoints(points[3:5], points[:2])
    near = given if given is not None else found.box if found is not None else None
    if near is not None:
        face = _in_box(near)
        return HandPoints(mouth_of(face), eyes_of(face))
    return HandPoints(None, None)
