"""The stamp on previews: opaque tape across the eyes and, thinner, all over the rest of the picture.

A preview may be seen before anybody consented, so it must not be a clean video in disguise. Nothing shines
through the tape: no pixel is mixed from what lies behind it, not even along its edges. It stays where it is,
so that no frame shows what another one hides; only its texture moves. The mouth stays free: a preview is
looked at for the timing of the lips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..media.face import Face
from ..media.mesh import MOUTH, eye_centres
from ..media.scene import FaceRange
from ..settings import Settings
from .labels import VisibleLabel, font
from .watermark.version1_pattern import HALF_PERIOD, tick_of

STAMP_TEXT = "PREVIEW · NOT FOR RELEASE"
PREVIEW_SHORT_SIDE = 256
"""Largest short side of a preview in pixels."""

TILT = -9.0
"""Degrees, clockwise, from the line through the eyes to the tape."""
TO_BROW, TO_NOSE = 0.72, 0.56
"""How far the wide tape reaches from the line through the eyes, in distances between that and the mouth."""
NARROWEST = 0.07
"""Least width of the wide tape, in short sides of the picture, whatever the size of the face."""
THIN, GAP = 0.07, 0.13
"""Width of the thin tapes and of the gaps between tapes, in short sides."""
MOUTH_ROOM = 1.0, 0.9
"""Half axes of the oval about mouth and chin that thin tapes leave free; unit as `TO_NOSE`."""
LETTERS, CHORD = 0.62, 0.88
"""Most of a tape's width, and of its length in the picture, that words take."""
INK, PLATE, SHADE = 240, (22, 27, 36), (8, 10, 14)
"""Levels of letters; of the tape; of its texture, up and down from that. RGB."""
LINES = 0.028
"""Distance between the texture's lines, in short sides."""
CAPITALS = 0.74
"""Height of capitals over the size of the font."""
FINER = 3
"""Letters are drawn this many times too large, then shrunk."""
_ONE_LINE, _TWO_LINES = (STAMP_TEXT,), tuple(STAMP_TEXT.split(" · "))


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the preview of a video: short side at most 256, both even, never enlarged."""
    scale = min(1.0, PREVIEW_SHORT_SIDE / min(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


class PreviewStamp:
    """Turns frames into a small, visibly stamped preview, with the AI label on every frame.

    Args:
        settings: `label_place` and `label_text`; the label shows whatever `label` says.
        face: in the pixels of the video.
        face_range: what the label keeps off, in the pixels of the video.
        width, height: of the video's frames in pixels.
        fps: frames per second, the texture's clock.
        second: the other face, where two are animated. Each has tape of its own, on what of the picture is
            nearer to its eyes than to the other's.
    """

    def __init__(
        self,
        settings: Settings,
        face: Face,
        face_range: FaceRange,
        width: int,
        height: int,
        fps: float,
        second: Face | None = None,
    ) -> None:
        self.width, self.height = preview_size(width, height)
        self._fps = fps
        sx, sy = self.width / width, self.height / height
        throughout = replace(settings, label="throughout")
        self._label = VisibleLabel(throughout, self.width, self.height, fps, face_range.scaled(sx, sy))
        tape = _Tape(face.scaled(sx, sy), self.width, self.height)
        self._mask, letters, waves = tape.mask(), tape.letters(), tape.waves()
        if second is not None:
            other = _Tape(second.scaled(sx, sy), self.width, self.height)
            there = other.is_nearer_than(tape)
            self._mask = np.where(there, other.mask(), self._mask)
            letters, waves = np.where(there, other.letters(), letters), np.where(there, other.waves(), waves)
        # A piece of tape without words under the label: nothing shines through that, either.
        left, top, right, bottom = self._label.box.rounded()
        self._mask[top:bottom, left:right], letters[top:bottom, left:right] = 1, 0
        self._paints = [_painted(letters, waves - tick / HALF_PERIOD) for tick in range(HALF_PERIOD)]

    @property
    def covered(self) -> NDArray[np.bool_]:
        """What no frame shows, bool [self.height, self.width]."""
        return np.asarray(self._mask > 0)

    def frame(self, rgb: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """A stamped copy of frame `index`: uint8 RGB [self.height, self.width, 3]; `rgb` stays as it is."""
        small: NDArray[np.uint8] = cv2.resize(rgb, (self.width, self.height), interpolation=cv2.INTER_AREA)
        # The texture repeats after half a period of the watermark, so that its reader, who takes the
        # difference of frames that far apart, does not see it.
        cv2.copyTo(self._paints[tick_of(index, self._fps) % HALF_PERIOD], self._mask, small)
        self._label.draw(small, index)
        return small


def _painted(letters: NDArray[np.float32], turns: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The tape's colours, uint8 RGB [h, w, 3]: `letters` 0..1 [h, w] on a texture of `turns` [h, w]."""
    plate = (
        np.array(PLATE, np.float32)
        + np.array(SHADE, np.float32) * np.sin(np.float32(2 * np.pi) * turns)[..., None]
    )
    return np.asarray(np.rint(plate + letters[..., None] * (INK - plate)), dtype=np.uint8)


class _Tape:
    """Where the tape lies on a picture, and what is written on it.

    Drawn upright, u along the tape and v across it from the middle between the eyes, on a sheet that is
    `FINER` times as fine; turned into the picture from there.

    Args:
        face: in the picture's pixels.
        width, height: of the picture.
    """

    def __init__(self, face: Face, width: int, height: int) -> None:
        self._size, self._short = (width, height), min(width, height)
        left, right = eye_centres(face.landmarks)
        self._eyes = (left + right) / 2
        line = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
        # The words on a face that lies upside down are the right way up all the same.
        angle = math.radians((line + 90) % 180 - 90 + TILT)
        self._axes = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        self._mouth = self._across(face.landmarks[list(MOUTH), :2].mean(axis=0))
        corners = self._across(np.array([[0, 0], [width, 0], [0, height], [width, height]]))
        self._low, self._high = np.floor(corners.min(axis=0)) - 1, np.ceil(corners.max(axis=0)) + 1

    def is_nearer_than(self, other: _Tape) -> NDArray[np.bool_]:
        """Where the picture is nearer to this tape's eyes, bool [height, width]."""
        y, x = np.mgrid[0 : self._size[1], 0 : self._size[0]] + 0.5
        here = np.stack([x, y], axis=-1)
        own, others = (np.linalg.norm(here - tape._eyes, axis=-1) for tape in (self, other))
        return np.asarray(own < others)

    def mask(self) -> NDArray[np.uint8]:
        """1 where the tape lies, else 0: uint8 [height, width]."""
        sheet = self._sheet()
        pen = ImageDraw.Draw(sheet)
        for top, bottom in self._thin():
            pen.rectangle(self._corners(self._low[0], top, self._high[0], bottom), fill=1)
        unit = abs(self._mouth[1])
        (u, v), (along, across) = self._mouth * (1, 1.15), np.array(MOUTH_ROOM) * unit
        pen.ellipse(self._corners(u - along, v - across, u + along, v + across), fill=0)
        top, bottom = self._wide()
        pen.rectangle(self._corners(self._low[0], top, self._high[0], bottom), fill=1)
        return self._in_picture(sheet, 1, cv2.INTER_NEAREST)

    def letters(self) -> NDArray[np.float32]:
        """How much of each pixel is letters, float32 0..1 [height, width]; counts where the tape lies."""
        sheet = self._sheet()
        top, bottom = self._wide()
        lines = max((_ONE_LINE, _TWO_LINES), key=lambda lines: self._size_of(lines, bottom - top))
        self._write(sheet, lines, self._size_of(lines, bottom - top), top, bottom)
        for number, (top, bottom) in enumerate(self._thin(), 1):
            self._write(sheet, _ONE_LINE, LETTERS * (bottom - top) / CAPITALS, top, bottom, number * 0.37)
        fine = self._in_picture(sheet, FINER, cv2.INTER_LINEAR).astype(np.float32)
        return cv2.resize(fine, self._size, interpolation=cv2.INTER_AREA) / 255

    def waves(self) -> NDArray[np.float32]:
        """Turns of the texture, float [height, width]: fine wavy lines along the tape."""
        y, x = np.mgrid[0 : self._size[1], 0 : self._size[0]] + 0.5
        u, v = np.moveaxis(self._across(np.stack([x, y], axis=-1)) / (LINES * self._short), -1, 0)
        return (v + 0.5 * np.sin(u / 1.7) * np.cos(v / 2.3 + u / 5)).astype(np.float32)

    def _wide(self) -> tuple[float, float]:
        """v of both edges of the tape across the eyes; what is added to be readable, away from the mouth."""
        unit = abs(float(self._mouth[1]))
        near = TO_NOSE * unit
        far = max(TO_BROW * unit, NARROWEST * self._short - near)
        return (-far, near) if self._mouth[1] > 0 else (-near, far)

    def _thin(self) -> Iterator[tuple[float, float]]:
        """v of both edges of every other tape."""
        top, bottom = self._wide()
        gap, width = GAP * self._short, THIN * self._short
        while bottom + gap < self._high[1]:
            yield bottom + gap, (bottom := bottom + gap + width)
        while top - gap > self._low[1]:
            yield (top := top - gap - width), top + width

    def _size_of(self, lines: tuple[str, ...], width: float) -> float:
        """Largest font size in pixels at which lines fit a tape of that width, and into the picture."""
        longest = max(map(font(100).getlength, lines)) / 100
        return min(LETTERS * width / (len(lines) * CAPITALS), CHORD * self._chord() / longest)

    def _chord(self) -> float:
        """Length of the picture along the tape."""
        (along, across), _ = np.abs(self._axes)
        return float(min(self._size[0] / max(along, 1e-6), self._size[1] / max(across, 1e-6)))

    def _write(
        self,
        sheet: Image.Image,
        lines: tuple[str, ...],
        size: float,
        top: float,
        bottom: float,
        shift: float = 0.0,
    ) -> None:
        """Words along a tape, again and again where they are short; `shift` in their length."""
        letters, pen = font(max(1, round(size * FINER))), ImageDraw.Draw(sheet)
        every = max(map(letters.getlength, lines)) / FINER + 1.5 * size
        middle = self._across(np.array(self._size) / 2)[0]
        count = int((self._high[0] - self._low[0]) / every) + 1 if 2 * every < self._chord() or shift else 0
        pitch = (bottom - top) / len(lines)
        for number, line in enumerate(lines):
            ground = top + (number + 0.5) * pitch + CAPITALS * size / 2
            for place in range(-count, count + 1):
                at = self._on_sheet(middle + (place + shift % 1) * every, ground)
                pen.text(at, line, fill=255, font=letters, anchor="ms")

    def _across(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """u, v of points of the picture [..., 2]."""
        return np.asarray((points - self._eyes) @ self._axes.T)

    def _sheet(self) -> Image.Image:
        width, height = (self._high - self._low) * FINER
        return Image.new("L", (int(width), int(height)))

    def _on_sheet(self, u: float, v: float) -> tuple[float, float]:
        """In pixels of the sheet."""
        x, y = (np.array([u, v]) - self._low) * FINER
        return float(x), float(y)

    def _corners(self, left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
        return [self._on_sheet(left, top), self._on_sheet(right, bottom)]

    def _in_picture(self, sheet: Image.Image, finer: int, method: int) -> NDArray[np.uint8]:
        """The sheet turned into the picture: uint8 [height * finer, width * finer]."""
        # Middles of pixels: (i + 0.5) / finer in the picture, (j + 0.5) / FINER on the sheet.
        linear = self._axes * (FINER / finer)
        shift = (self._across(np.array([0.5, 0.5]) / finer) - self._low) * FINER - 0.5
        size = self._size[0] * finer, self._size[1] * finer
        matrix = np.column_stack([linear, shift])
        return cv2.warpAffine(np.asarray(sheet), matrix, size, flags=method | cv2.WARP_INVERSE_MAP)
