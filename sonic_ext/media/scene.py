"""What an engine animates: the picture at the size of the video, with the face in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadPortrait
from ..progress import Tick
from ..settings import Settings
from .face import Detect, Face, box_of, find_faces, quarters_of
from .geometry import Box, crop_square, video_size
from .image import Portrait, turned
from .mesh import EYE_RIMS, LIPS
from .paste import FEATHER

MAX_ASPECT = 4.0
"""Longest side over shortest of a picture that is kept whole."""
SIDEWAYS, UPWARDS, DOWNWARDS = 0.22, 0.06, 0.13
"""How far a face goes from its place, in widths and heights of its box: as the preview engine was measured to
do at motion_scale 1, rounded up. Half of the last is the jaw's."""
HELD = 0.99
"""Share of each of two faces that a square around both has to show."""
NARROWEST = 0.04
"""Share of its side in which a square fades out where the face takes all of it."""
FACE_COLOUR, CROP_COLOUR, POINT_COLOUR = (46, 204, 113), (255, 196, 0), (0, 200, 255)


@dataclass(frozen=True)
class FaceRange:
    """Where a face is in a video; pixels of its frames, inside them."""

    talking: Box
    """In its place, hairline to the chin of an open mouth, ear to ear."""
    moving: Box
    """In any frame."""
    second: FaceRange | None = None
    """Of the other face, where two are animated."""

    def scaled(self, sx: float, sy: float) -> FaceRange:
        """In a video resized by `sx`, `sy`."""
        second = self.second and self.second.scaled(sx, sy)
        return FaceRange(self.talking.scaled(sx, sy), self.moving.scaled(sx, sy), second)

    @property
    def each(self) -> tuple[FaceRange, ...]:
        """This one and the other."""
        return (self,) if self.second is None else (self, self.second)

    def moving_under(self, box: Box) -> float:
        """Square pixels of `moving` that a box covers, of both faces."""
        return sum(box.overlap(each.moving) for each in self.each)

    def talking_under(self, box: Box) -> float:
        """Square pixels of `talking` that a box covers, of both faces."""
        return sum(box.overlap(each.talking) for each in self.each)


@dataclass(frozen=True)
class Scene:
    """A picture and its face, ready for an engine."""

    picture: NDArray[np.uint8]
    """uint8 RGB [height, width, 3], read-only, at the size of the video."""
    face: Face
    """In the picture's pixels."""
    portrait: Portrait
    """Where it came from, upright."""
    whole: bool
    """True when the full portrait is kept, False for a square around the face."""
    crop: Box
    """The part of the portrait that the picture shows, in the portrait's pixels."""
    quarters: int = 0
    """Quarter turns anticlockwise that set `portrait` upright; its `rgb` is turned already."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user, those of the portrait included."""
    second: Face | None = None
    """The face that speaks with the second voice, where there are two; in the picture's pixels."""
    count: int = 1
    """Faces that were seen in the portrait."""

    @property
    def faces(self) -> tuple[Face, ...]:
        """Those that are animated, the first voice's first."""
        return (self.face,) if self.second is None else (self.face, self.second)

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.picture.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.picture.shape[0])

    def face_range(self, motion: float) -> FaceRange:
        """Where the face will be in the video, by its landmarks, not by a box that was given by hand.

        Args:
            motion: how strongly the head moves: `motion_scale`, times the engine's `head_motion`.
        """
        first, *others = (self._range_of(face, motion) for face in self.faces)
        return replace(first, second=others[0]) if others else first

    def _range_of(self, face: Face, motion: float) -> FaceRange:
        box, more = box_of(face.landmarks), max(1.0, motion)
        dx, up, down = SIDEWAYS * more * box.width, UPWARDS * more * box.height, DOWNWARDS * more * box.height
        talking = box._replace(bottom=box.bottom + DOWNWARDS / 2 * box.height)
        moving = Box(box.left - dx, box.top - up, box.right + dx, box.bottom + down)
        talking, moving = (each.clipped(self.width, self.height) for each in (talking, moving))
        return FaceRange(talking, moving)


def compose(
    portrait: Portrait,
    settings: Settings,
    multiple: int,
    tick: Tick | None = None,
    detect: Detect | None = None,
    wanted: int = 1,
) -> Scene:
    """Find the face, or two, set the picture upright, crop if asked, and resize to the video's size.

    Args:
        portrait: as read.
        settings: `framing`, `min_resolution`, `expand_ratio`, `face_box`, `face_box_2`, `mouth` and `eyes`
            count here.
        multiple: both sides become multiples of it.
        tick: called between the steps.
        detect: another source of face boxes than the built-in detector.
        wanted: faces that are animated, 1 or 2.

    Raises:
        NoFace, BadPortrait, BadSetting: see `find_faces`; a picture kept whole may not be longer than
            `MAX_ASPECT` times its short side.
        Cancelled: from `tick`.
    """
    found = find_faces(
        portrait.rgb,
        settings.face_box,
        settings.mouth,
        settings.eyes,
        tick,
        detect,
        settings.face_box_2,
        wanted,
    )
    faces, quarters = found.faces, _quarters(found.faces)
    if quarters:
        upright = [face.turned(quarters, portrait.width, portrait.height) for face in faces]
        given = settings.face_box, settings.face_box_2
        faces = tuple(
            face if box or detect else replace(face, box=box_of(face.landmarks))
            for face, box in zip(upright, given, strict=False)
        )
        portrait = turned(portrait, quarters)
    whole = settings.framing != "crop"
    crop = frame_of(portrait, faces, settings)
    left, top, right, bottom = crop.rounded()
    size = _size(right - left, bottom - top, settings, multiple, whole)
    picture = _resized(portrait.rgb[top:bottom, left:right], size)
    sx, sy = size[0] / (right - left), size[1] / (bottom - top)
    first, *others = (face.scaled(sx, sy, -left * sx, -top * sy) for face in faces)
    warnings = (*portrait.warnings, *found.notes)
    second = others[0] if others else None
    return Scene(picture, first, portrait, whole, crop, quarters, warnings, second, found.count)


def _quarters(faces: tuple[Face, ...]) -> int:
    """Quarter turns that set all of them upright."""
    turns = {0 if face.by_hand else quarters_of(face.roll) for face in faces}
    if len(turns) > 1:
        raise BadPortrait(
            "The two heads do not stand the same way up.", "Use a picture in which both are upright."
        )
    return turns.pop()


def frame_of(portrait: Portrait, faces: tuple[Face, ...], settings: Settings) -> Box:
    """The part of the portrait that the video shows, in whole pixels of the portrait.

    Raises:
        BadPortrait: no square holds both faces.
    """
    if settings.framing != "crop":
        return Box(0, 0, portrait.width, portrait.height)
    box = faces[0].box
    for face in faces[1:]:
        box = box.united(face.box).squared()
    crop = Box(*crop_square(box, settings.expand_ratio, portrait.width, portrait.height))
    if len(faces) > 1 and any(face.box.overlap(crop) < HELD * face.box.area for face in faces):
        raise BadPortrait(
            "No square in the picture holds both faces.", "Use framing=whole, which keeps the full picture."
        )
    return crop


def _size(width: int, height: int, settings: Settings, multiple: int, whole: bool) -> tuple[int, int]:
    if not whole:
        # The square may be a pixel off; the video is not.
        return video_size(1, 1, settings.min_resolution, multiple)
    aspect = max(width, height) / min(width, height)
    if aspect > MAX_ASPECT:
        raise BadPortrait(
            f"The picture is {aspect:.1f} times as long as it is wide; the limit is {MAX_ASPECT:g}.",
            "Use framing=crop, or crop the picture.",
        )
    return video_size(width, height, settings.min_resolution, multiple)


def _resized(rgb: NDArray[np.uint8], size: tuple[int, int], box: Box | None = None) -> NDArray[np.uint8]:
    """Lanczos resize of a box to (width, height); the pixels themselves when the size is right already."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    resized = np.array(picture.resize(size, Image.Resampling.LANCZOS, box=box), dtype=np.uint8)
    resized.setflags(write=False)
    return resized


def surroundings(scene: Scene, margin: int) -> tuple[NDArray[np.uint8], int, int]:
    """The scene's picture with more of its portrait around it, where there is more.

    Args:
        margin: on each side at most, pixels of the scene.

    Returns:
        uint8 RGB [height, width, 3] in the scene's scale, and where the scene's picture begins in it: x, y.
    """
    left, top, right, bottom = scene.crop
    sx, sy = _scale(scene)
    portrait = scene.portrait
    before = min(margin, int(left * sx)), min(margin, int(top * sy))
    after = (
        min(margin, int((portrait.width - right) * sx)),
        min(margin, int((portrait.height - bottom) * sy)),
    )
    if not any((*before, *after)):
        return scene.picture, 0, 0
    size = scene.width + before[0] + after[0], scene.height + before[1] + after[1]
    wide = Box(left - before[0] / sx, top - before[1] / sy, right + after[0] / sx, bottom + after[1] / sy)
    box = wide.clipped(portrait.width, portrait.height)  # of what rounding adds
    wider = _resized(portrait.rgb, size, box).copy()
    # The frame's own pixels, which were resized on their own
    wider[before[1] : before[1] + scene.height, before[0] : before[0] + scene.width] = scene.picture
    return wider, *before


@dataclass(frozen=True)
class HeadView:
    """The square that a network draws, and where it belongs."""

    picture: NDArray[np.uint8]
    """uint8 RGB [side, side, 3], read-only, of the portrait's own pixels."""
    face: Face
    """In its pixels."""
    box: Box | None
    """Its place in the scene's picture, in whole pixels; None when the scene is this square itself."""
    source: Box
    """What it shows of the portrait, in the portrait's pixels."""

    def rim(self, width: int, height: int) -> float:
        """Share of its side in which the square fades out at each border: where there is room, none of the
        face lies in it.

        Args:
            width, height: of the scene. At its edges nothing fades (`media.paste`), and no room is needed.
        """
        side, face, box = self.picture.shape[0], self.face.box, self.box
        if box is None:
            return FEATHER
        inside = (
            (box.left > 0, face.left),
            (box.top > 0, face.top),
            (box.right < width, side - face.right),
            (box.bottom < height, side - face.bottom),
        )
        room = min((room / side for fades, room in inside if fades), default=FEATHER)
        return min(FEATHER, max(NARROWEST, room))


def head_view(scene: Scene, side: int, ratio: float, tight: bool = False) -> HeadView:
    """The head of a scene as a square for a network.

    Of a scene that is kept whole it is what `framing=crop` would show with a rim around it in which it may
    fade out (`media.paste`), moved to the nearest pixels of the scene's picture so that what is drawn in the
    square fits back without a shift. Nothing beyond the portrait's edges is made up: there the square is
    smaller, and enlarged all the same.

    Args:
        scene: as composed.
        side: pixels of the square.
        ratio: room around the face in it, as a share of the face's sides.
        tight: `ratio` is all the room there is: the square fades out within it. A scene that is a square
            around the face already is not taken as it is, either.
    """
    size = side, side
    if not (scene.whole or tight) and (scene.width, scene.height) == size:
        return HeadView(scene.picture, scene.face, None, scene.crop)
    if scene.whole or tight:
        box = _head_box(scene, ratio if tight else _with_rim(ratio))
    else:
        box = Box(0, 0, scene.width, scene.height)
    source = _in_portrait(scene, box)
    pixels = _resized(scene.portrait.rgb, size, source)
    sx, sy = size[0] / box.width, size[1] / box.height
    return HeadView(pixels, scene.face.scaled(sx, sy, -box.left * sx, -box.top * sy), box, source)


def _head_box(scene: Scene, ratio: float) -> Box:
    """Whole pixels of the scene's picture, at least one."""
    portrait, (sx, sy) = scene.portrait, _scale(scene)
    x, y = scene.crop.left, scene.crop.top
    face = scene.face.box.scaled(1 / sx, 1 / sy).shifted(x, y)
    square = Box(*crop_square(face, ratio, portrait.width, portrait.height))
    shown = square.shifted(-x, -y).scaled(sx, sy)
    left, top, right, bottom = shown.clipped(scene.width, scene.height).rounded()
    return Box(left, top, max(right, left + 1), max(bottom, top + 1))


def _with_rim(ratio: float) -> float:
    """Room on each side of the face such that `ratio` of it lies inside the fading rim."""
    return ((1 + 2 * ratio) / (1 - 2 * FEATHER) - 1) / 2


def _in_portrait(scene: Scene, box: Box) -> Box:
    """A box of the scene's picture in the portrait's pixels."""
    sx, sy = _scale(scene)
    inside = box.scaled(1 / sx, 1 / sy).shifted(scene.crop.left, scene.crop.top)
    return inside.clipped(scene.portrait.width, scene.portrait.height)


def _scale(scene: Scene) -> tuple[float, float]:
    """The scene's pixels per pixel of the portrait."""
    return scene.width / scene.crop.width, scene.height / scene.crop.height


SMALLEST_DRAWING = 512
"""Short side in pixels below which the preflight picture is enlarged, so that its words can be read."""


def draw_preflight(
    portrait: Portrait, face: Face, crop: Box | None = None, *others: Face
) -> NDArray[np.uint8]:
    """The portrait with face box, lips, eyes and the video's frame drawn on it.

    Args:
        others: faces that speak, too; of two each has the number of its voice.

    Returns:
        uint8 RGB [height, width, 3], a new array; small portraits are enlarged by a whole number.
    """
    factor = max(1, -(-SMALLEST_DRAWING // min(portrait.width, portrait.height)))
    canvas = np.repeat(np.repeat(portrait.rgb, factor, axis=0), factor, axis=1)
    short = min(canvas.shape[:2])
    thick = max(1, round(short / 300))
    if crop is not None and crop.area < portrait.width * portrait.height:
        _draw_box(canvas, crop.scaled(factor, factor), CROP_COLOUR, thick)
    for number, each in enumerate((face, *others), 1):
        _draw_face(canvas, each.scaled(factor, factor), thick, number if others else 0)
    return canvas


def _draw_face(canvas: NDArray[np.uint8], face: Face, thick: int, number: int) -> None:
    """Box, lips and eyes; the number of its voice where it is not 0."""
    _draw_box(canvas, face.box, FACE_COLOUR, thick)
    fine = max(1, round(min(min(canvas.shape[:2]) / 500, face.box.height / 100)))
    for outline in (LIPS, *EYE_RIMS):
        points = np.rint(face.landmarks[list(outline), :2] * 16).astype(np.int32)
        cv2.polylines(canvas, [points], True, POINT_COLOUR, fine, cv2.LINE_AA, shift=4)
    _draw_label(canvas, face, thick, number)


def _draw_box(canvas: NDArray[np.uint8], box: Box, colour: tuple[int, int, int], thick: int) -> None:
    height, width = canvas.shape[:2]
    left, top, right, bottom = box.clipped(width - 1, height - 1).rounded()
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, thick, cv2.LINE_AA)


def _draw_label(canvas: NDArray[np.uint8], face: Face, thick: int, number: int) -> None:
    """A plate with a few words above the face box, or below it where there is no room above."""
    height, width = canvas.shape[:2]
    lines, font, scale = _label_lines(face, number), cv2.FONT_HERSHEY_SIMPLEX, min(height, width) / 1400
    pen = max(1, round(thick * 0.6))
    sizes = [cv2.getTextSize(line, font, scale, pen)[0] for line in lines]
    wide, high = max(size[0] for size in sizes), max(size[1] for size in sizes)
    pitch = round(high * 1.7)
    plate = pitch * len(lines) + high // 2
    left = int(max(0, min(face.box.left, width - wide - high)))
    above = face.box.top - plate - thick
    top = int(above if above >= 0 else min(face.box.bottom + thick, height - plate - 1))
    cv2.rectangle(canvas, (left, top), (left + wide + high, top + plate), FACE_COLOUR, cv2.FILLED)
    for number, line in enumerate(lines):
        place = (left + high // 2, top + pitch * (number + 1) - high // 4)
        cv2.putText(canvas, line, place, font, scale, (0, 0, 0), pen, cv2.LINE_AA)


def _label_lines(face: Face, number: int) -> list[str]:
    kind = "by hand" if face.by_hand else f"score {face.confidence:.2f}"
    turned = f", turned {abs(face.yaw):.0f} deg" if abs(face.yaw) >= 15 else ""
    which = f"face {number}," if number else "face"
    return [f"{which} {face.box.width:.0f} x {face.box.height:.0f} px", kind + turned]
