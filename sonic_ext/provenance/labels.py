"""The AI label that people see on the video.

Sizes follow GB 45438-2025 §5.4: text no lower than 5 % of the short side, shown for at least 2 s from the
first frame; top right where the face leaves it free, as EU practice has it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from io import BytesIO
from typing import Any
from unicodedata import east_asian_width

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..media.geometry import Box
from ..media.scene import FaceRange
from ..settings import Settings

SHOWN_SECONDS = 3.0
"""How long `label=start` shows, faded out over the last `FADE_SECONDS`."""
FADE_SECONDS = 0.5
TEXT_SHARE = 0.05
"""Least height of the text's ink, as a share of the short side."""
CORNERS = ("top_right", "top_left", "bottom_right", "bottom_left")
"""In the order in which they are tried."""

_MARGIN_SHARE = 0.02
_PLATE_OPACITY = 0.66
_ONE_LINE_SHARE = 0.5
_ROOMY, _TIGHT = 0.5, 0.15
"""Room around the text and between its lines, in least heights."""
_MOST_LINES = 4
"""In a label that has to find its place; more are as wide and only higher."""
_FONT = "NotoSansCJKsc-Bold-label.otf"


@dataclass(frozen=True)
class LabelLayout:
    """A label as it is drawn, and where."""

    patch: NDArray[np.uint8]
    """uint8 RGBA [height, width, 4]."""
    left: int
    """Pixels of the frame."""
    top: int

    @property
    def box(self) -> Box:
        """What it covers, in pixels of the frame."""
        height, width = self.patch.shape[:2]
        return Box(self.left, self.top, self.left + width, self.top + height)


class VisibleLabel:
    """The AI label, drawn on frames in place.

    Args:
        settings: `label` (start, throughout, off), `label_place` and `label_text`.
        width, height: of the frames in pixels.
        fps: frame rate, to count the seconds.
        face_range: what `label_place=auto` keeps off where it can.
    """

    def __init__(
        self, settings: Settings, width: int, height: int, fps: float, face_range: FaceRange
    ) -> None:
        self._shown = _frames_shown(settings.label, fps)
        self._fade = max(1, round(FADE_SECONDS * fps))
        self._layout = lay_out(settings.label_text, settings.label_place, width, height, face_range)
        self._whole = _Blend.of(self._layout.patch, 1.0)

    @property
    def box(self) -> Box:
        """What it covers, in pixels of the frame."""
        return self._layout.box

    def strength(self, index: int) -> float:
        """0 (not shown) to 1 (shown fully) in frame `index`, counted from 0."""
        return float(min(1.0, max(0.0, (self._shown - index) / self._fade)))

    def draw(self, rgb: NDArray[np.uint8], index: int) -> None:
        """Draw onto frame `index`, uint8 RGB [height, width, 3], in place."""
        strength = self.strength(index)
        if strength > 0:
            blend = self._whole if strength == 1 else _Blend.of(self._layout.patch, strength)
            left, top, right, bottom = self.box.rounded()
            blend.onto(rgb[top:bottom, left:right])


def lay_out(text: str, place: str, width: int, height: int, face_range: FaceRange) -> LabelLayout:
    """The label for frames of this size: white text on a dark translucent plate.

    In a corner that is asked for it has one line where that takes half the width at most, otherwise as few
    as possible. `auto` takes the first of these that keeps off the face: a corner; a corner with the text in
    other lines or with less room around it; a strip along the top or bottom edge. Where none does, that
    which covers least of the talking face. The text is never lower than `TEXT_SHARE`.

    Args:
        text: broken at spaces; a word that is wider than the frame is broken anywhere.
        place: `auto` or one of `CORNERS`.
        face_range: in pixels of the frames.
    """
    tried = []
    for layout in _layouts(text, place, width, height):
        if place != "auto" or not face_range.moving_under(layout.box):
            return layout
        tried.append(layout)
    return min(tried, key=lambda layout: face_range.talking_under(layout.box))


def label_warnings(settings: Settings, width: int, height: int, face_range: FaceRange) -> tuple[str, ...]:
    """A sentence for the user where the label found no place beside the face."""
    if settings.label == "off" or settings.label_place != "auto":
        return ()
    label = lay_out(settings.label_text, settings.label_place, width, height, face_range).box
    shares = (label.overlap(each.talking) / max(each.talking.area, 1.0) for each in face_range.each)
    covered = max(shares)
    if not covered:
        return ()
    return (
        f"The face leaves no room for the label, which covers {max(1, round(100 * covered))} % of it, at the "
        f"{'forehead' if label.top == 0 else 'edge'}. framing=whole, or more expand_ratio, makes room.",
    )


def _layouts(text: str, place: str, width: int, height: int) -> Iterator[LabelLayout]:
    """Every layout that may be taken, the best first; of a corner that is asked for, the first is the one."""
    short = min(width, height)
    least, margin = math.ceil(TEXT_SHARE * short), round(_MARGIN_SHARE * short)
    roomy, tight = _Typeface.roomy(least), _Typeface.tight(least)
    for patch in _patches(text, (roomy, tight), width, margin):
        left, top = width - patch.shape[1] - margin, height - patch.shape[0] - margin
        for corner in CORNERS if place == "auto" else (place,):
            yield LabelLayout(
                patch, left if "right" in corner else margin, top if "bottom" in corner else margin
            )
    strip = tight.patch(_fewest_lines(text, tight, width - 2 * tight.room), width)
    yield LabelLayout(strip, 0, 0)
    yield LabelLayout(strip, 0, height - strip.shape[0])


def _patches(text: str, types: Iterable[_Typeface], width: int, margin: int) -> Iterator[NDArray[np.uint8]]:
    """The label for a corner: as usual, then in every other number of lines, larger type first."""
    for number, type_ in enumerate(types):
        widest = width - 2 * margin - 2 * type_.room
        if number == 0:
            half = width * _ONE_LINE_SHARE - 2 * type_.room
            yield type_.patch(_fewest_lines(text, type_, widest, half))
        words = _words(text, type_, widest)
        for count in range(1, min(_MOST_LINES, len(words)) + 1):
            lines = _evenly(words, count, type_)
            if max(map(type_.length, lines)) <= widest:
                yield type_.patch(lines)


@dataclass(frozen=True)
class _Typeface:
    """The label's letters, and the room around them."""

    latin: ImageFont.FreeTypeFont
    chinese: ImageFont.FreeTypeFont
    """Japanese, too."""
    room: int
    """Pixels around the text and between its lines."""

    @classmethod
    def roomy(cls, least: int) -> _Typeface:
        """Capitals hold `least` rows of ink; Chinese, in the same size of type, is higher."""
        both = font(_size_for("AI", least))
        return cls(both, both, max(2, round(_ROOMY * least)))

    @classmethod
    def tight(cls, least: int) -> _Typeface:
        """Chinese holds `least` rows as well, no more."""
        latin, chinese = (font(_size_for(letters, least)) for letters in ("AI", "生成"))
        return cls(latin, chinese, max(2, round(_TIGHT * least)))

    def length(self, text: str) -> float:
        """Pixels that a line takes."""
        return sum(font.getlength(run) for run, font in self._runs(text))

    def patch(self, lines: Sequence[str], width: int = 0) -> NDArray[np.uint8]:
        """The label, uint8 RGBA, at least `width` pixels wide."""
        text = _stacked([self._drawn(line) for line in lines], self.room)
        spare = max(0, width - text.shape[1] - 2 * self.room)
        return _on_plate(np.pad(text, ((0, 0), (spare // 2, spare - spare // 2))), self.room)

    def _runs(self, text: str) -> Iterator[tuple[str, ImageFont.FreeTypeFont]]:
        """The line in pieces of one font."""
        for wide, letters in itertools.groupby(text, lambda each: east_asian_width(each) in "WF"):
            yield "".join(letters), self.chinese if wide else self.latin

    def _drawn(self, line: str) -> NDArray[np.uint8]:
        """Coverage of a line, uint8, cut to its ink."""
        picture = Image.new("L", (math.ceil(self.length(line)) + 2 * self.room, round(4 * self.latin.size)))
        pen, at = ImageDraw.Draw(picture), float(self.room)
        for run, font in self._runs(line):
            pen.text((at, 2.5 * self.latin.size), run, fill=255, font=font, anchor="ls")
            at += font.getlength(run)
        left, top, right, bottom = picture.getbbox() or (0, 0, 1, 1)
        return np.asarray(picture)[top:bottom, left:right]


@dataclass(frozen=True)
class _Blend:
    """`out = (in * keep + add) >> 8` in 16 bits: three passes over the patch, far below a millisecond."""

    keep: NDArray[np.uint16]
    """uint16 [h, w, 1], 0..256."""
    add: NDArray[np.uint16]
    """uint16 [h, w, 3], 0..65280 with `keep` taken into account."""

    @classmethod
    def of(cls, rgba: NDArray[np.uint8], strength: float) -> _Blend:
        alpha = np.rint(rgba[..., 3:].astype(np.float32) * (strength * 256 / 255)).astype(np.uint16)
        keep = np.ascontiguousarray(np.broadcast_to(256 - alpha, rgba[..., :3].shape))
        return cls(keep, rgba[..., :3].astype(np.uint16) * alpha)

    def onto(self, rgb: NDArray[np.uint8]) -> None:
        mixed = rgb * self.keep
        mixed += self.add
        mixed >>= 8
        rgb[...] = mixed


def _frames_shown(label: str, fps: float) -> float:
    return {"off": 0.0, "start": math.ceil(SHOWN_SECONDS * fps), "throughout": math.inf}[label]


@lru_cache(maxsize=1)
def _font_data() -> bytes:
    return (resources.files("sonic_ext") / "assets" / "fonts" / _FONT).read_bytes()


def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of labels and stamps at a size in pixels."""
    return ImageFont.truetype(BytesIO(_font_data()), size)


@lru_cache(maxsize=64)
def _size_for(letters: str, least: int) -> int:
    """The smallest size of the font, in pixels, at which such letters hold `least` rows of solid ink."""
    return next(size for size in itertools.count(least // 2) if _ink(letters, font(size)) >= least)


def _ink(letters: str, face: ImageFont.FreeTypeFont) -> int:
    """Rows with ink in them."""
    mask = face.getmask(letters)
    return int(np.count_nonzero(np.reshape(mask, mask.size[::-1]).max(axis=1) >= 128))


def _fewest_lines(text: str, type_: _Typeface, widest: float, one: float = math.inf) -> list[str]:
    """The text in one line where that takes `one` at most, else in the fewest lines of width `widest`."""
    words = _words(text, type_, widest)
    if type_.length(" ".join(words)) <= min(one, widest):
        return [" ".join(words)]
    for count in range(min(2, len(words)), len(words)):
        lines = _evenly(words, count, type_)
        if max(map(type_.length, lines)) <= widest:
            return lines
    return words


def _evenly(words: list[str], count: int, type_: _Typeface) -> list[str]:
    """The words in so many lines, the longest as short as can be."""
    ways = (
        [" ".join(words[start:end]) for start, end in itertools.pairwise([0, *cuts, len(words)])]
        for cuts in itertools.combinations(range(1, len(words)), count - 1)
    )
    return min(ways, key=lambda lines: max(map(type_.length, lines)))


def _words(text: str, type_: _Typeface, widest: float) -> list[str]:
    """The words; one that is wider than `widest` in pieces that are not, or of a single letter."""
    return [part for word in text.split() for part in _parts(word, type_, widest)]


def _parts(word: str, type_: _Typeface, widest: float) -> Iterator[str]:
    while word:
        fits = (end for end in range(len(word), 1, -1) if type_.length(word[:end]) <= widest)
        end = next(fits, 1)
        yield word[:end]
        word = word[end:]


def _stacked(lines: list[NDArray[np.uint8]], gap: int) -> NDArray[np.uint8]:
    """Coverages under each other, centred, with empty rows between."""
    width = max(line.shape[1] for line in lines)
    rows: list[NDArray[Any]] = []
    for line in lines:
        spare = width - line.shape[1]
        rows += [np.pad(line, ((gap if rows else 0, 0), (spare // 2, spare - spare // 2)))]
    return np.concatenate(rows)


def _on_plate(coverage: NDArray[np.uint8], pad: int) -> NDArray[np.uint8]:
    """White where covered, black and translucent elsewhere; uint8 RGBA with `pad` pixels around."""
    text = np.pad(coverage, pad).astype(np.float32) / 255
    alpha = text + (1 - text) * _PLATE_OPACITY
    white = np.rint(text / alpha * 255).astype(np.uint8)
    return np.dstack([white, white, white, np.rint(alpha * 255).astype(np.uint8)])
