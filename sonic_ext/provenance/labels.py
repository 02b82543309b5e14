"""Marks that people see: the AI label on the video and the stamp on previews.

Sizes follow GB 45438-2025 §5.4: text no lower than 5 % of the short side, shown for at least 2 s from the
first frame; top right by default, as EU practice has it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from io import BytesIO

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..settings import Settings

STAMP_TEXT = "PREVIEW · NOT FOR RELEASE"
SHOWN_SECONDS = 3.0
"""How long `label=start` shows, faded out over the last `FADE_SECONDS`."""
FADE_SECONDS = 0.5
TEXT_SHARE = 0.05
"""Least height of the text's ink, as a share of the short side."""
PREVIEW_SHORT_SIDE = 256
"""Largest short side of a preview in pixels."""

_MARGIN_SHARE = 0.02
_PLATE_OPACITY = 0.66
_ONE_LINE_SHARE = 0.5
_STAMP_DEGREES = 24
_FONT = "NotoSansCJKsc-Bold-label.otf"


class VisibleLabel:
    """The AI label, drawn on frames in place.

    Args:
        settings: `label` (start, throughout, off), `label_place` (a corner) and `label_text`.
        width, height: of the frames in pixels.
        fps: frame rate, to count the seconds.
    """

    def __init__(self, settings: Settings, width: int, height: int, fps: float) -> None:
        self._shown = _frames_shown(settings.label, fps)
        self._fade = max(1, round(FADE_SECONDS * fps))
        patch = render_label(width, height, settings.label_text)
        self.left, self.top = _corner(settings.label_place, (width, height), (patch.shape[1], patch.shape[0]))
        self.width, self.height = patch.shape[1], patch.shape[0]
        self._patch = patch
        self._whole = _Blend.of(patch, 1.0)

    def strength(self, index: int) -> float:
        """0 (not shown) to 1 (shown fully) in frame `index`, counted from 0."""
        return float(min(1.0, max(0.0, (self._shown - index) / self._fade)))

    def draw(self, rgb: np.ndarray, index: int) -> None:
        """Draw onto frame `index`, uint8 RGB [height, width, 3], in place."""
        strength = self.strength(index)
        if strength > 0:
            blend = self._whole if strength == 1 else _Blend.of(self._patch, strength)
            blend.onto(rgb[self.top : self.top + self.height, self.left : self.left + self.width])


class PreviewStamp:
    """Turns frames into a small, visibly stamped preview.

    Args:
        width, height: of the video's frames in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = preview_size(width, height)
        self._blend = _Blend.of(render_stamp(self.width, self.height), 1.0)

    def frame(self, rgb: np.ndarray) -> np.ndarray:
        """A stamped copy of a frame: uint8 RGB [self.height, self.width, 3]; `rgb` is left as it is."""
        small: np.ndarray = cv2.resize(rgb, (self.width, self.height), interpolation=cv2.INTER_AREA)
        self._blend.onto(small)
        return small


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the preview of a video: short side at most 256, both even, never enlarged."""
    scale = min(1.0, PREVIEW_SHORT_SIDE / min(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def render_label(width: int, height: int, text: str) -> np.ndarray:
    """The label for frames of this size: white text on a dark translucent plate, uint8 RGBA [h, w, 4].

    One line where the frame is wide enough for it to take half the width at most, otherwise as few as
    possible, broken at spaces; a word that is wider than the frame is broken anywhere.
    """
    least = math.ceil(TEXT_SHARE * min(width, height))
    font = _font_of_height(least)
    gap = pad = max(2, round(least * 0.5))
    widest = width - 2 * round(_MARGIN_SHARE * min(width, height)) - 2 * pad
    lines = _lines(text, font, width * _ONE_LINE_SHARE - 2 * pad, widest)
    return _on_plate(_stacked([_drawn(line, font) for line in lines], gap), pad)


def render_stamp(width: int, height: int) -> np.ndarray:
    """The preview stamp: the words tilted and tiled over the whole frame, uint8 RGBA [height, width, 4]."""
    size = max(10, round(min(width, height) * 0.07))
    word = _outlined(STAMP_TEXT, size)
    step_x, step_y = word.width + size, round(size * 3.2)
    side = math.ceil(math.hypot(width, height))
    sheet = Image.new("RGBA", (side, side))
    for row, top in enumerate(range(0, side, step_y)):
        for left in range(-(row % 2) * step_x // 2 - step_x // 4, side, step_x):
            sheet.alpha_composite(*_clipped(word, left, top))
    turned = sheet.rotate(_STAMP_DEGREES, resample=Image.Resampling.BICUBIC)
    left, top = (side - width) // 2, (side - height) // 2
    return np.asarray(turned.crop((left, top, left + width, top + height)))


@dataclass(frozen=True)
class _Blend:
    """`out = (in * keep + add) >> 8` in 16 bits: three passes over the patch, far below a millisecond."""

    keep: np.ndarray
    """uint16 [h, w, 1], 0..256."""
    add: np.ndarray
    """uint16 [h, w, 3], 0..65280 with `keep` taken into account."""

    @classmethod
    def of(cls, rgba: np.ndarray, strength: float) -> _Blend:
        alpha = np.rint(rgba[..., 3:].astype(np.float32) * (strength * 256 / 255)).astype(np.uint16)
        keep = np.ascontiguousarray(np.broadcast_to(256 - alpha, rgba[..., :3].shape))
        return cls(keep, rgba[..., :3].astype(np.uint16) * alpha)

    def onto(self, rgb: np.ndarray) -> None:
        mixed = rgb * self.keep
        mixed += self.add
        mixed >>= 8
        rgb[...] = mixed


def _frames_shown(label: str, fps: float) -> float:
    return {"off": 0.0, "start": math.ceil(SHOWN_SECONDS * fps), "throughout": math.inf}[label]


def _corner(place: str, frame: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """Left and top of a patch in a corner of the frame, inside a margin."""
    margin = round(_MARGIN_SHARE * min(frame))
    right, bottom = frame[0] - patch[0] - margin, frame[1] - patch[1] - margin
    return (right if "right" in place else margin), (bottom if "bottom" in place else margin)


@lru_cache(maxsize=1)
def _font_data() -> bytes:
    return (resources.files("sonic_ext") / "assets" / "fonts" / _FONT).read_bytes()


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(BytesIO(_font_data()), size)


def _font_of_height(least: int) -> ImageFont.FreeTypeFont:
    """The font at the smallest size at which capitals hold `least` rows of solid ink; Chinese is higher."""
    size = least
    while np.count_nonzero(_drawn("AI", _font(size)).max(axis=1) >= 128) < least:
        size += 1
    return _font(size)


def _lines(text: str, font: ImageFont.FreeTypeFont, one: float, widest: float) -> list[str]:
    """The text in one line of width `one` at most, else in the fewest lines of width `widest`, evenly."""
    words = [part for word in text.split() for part in _parts(word, font, widest)]
    if font.getlength(" ".join(words)) <= one:
        return [" ".join(words)]
    for count in range(min(2, len(words)), len(words)):
        lines = min(_broken(words, count), key=lambda lines: max(map(font.getlength, lines)))
        if max(map(font.getlength, lines)) <= widest:
            return lines
    return words


def _parts(word: str, font: ImageFont.FreeTypeFont, widest: float) -> Iterator[str]:
    """The word, in pieces that are no wider than `widest` or a single letter."""
    while word:
        fits = (end for end in range(len(word), 1, -1) if font.getlength(word[:end]) <= widest)
        end = next(fits, 1)
        yield word[:end]
        word = word[end:]


def _broken(words: list[str], count: int) -> Iterator[list[str]]:
    """Every way to set the words in `count` lines."""
    for cuts in itertools.combinations(range(1, len(words)), count - 1):
        ends = [0, *cuts, len(words)]
        yield [" ".join(words[start:end]) for start, end in itertools.pairwise(ends)]


def _drawn(text: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(picture).text((-left, -top), text, fill=255, font=font)
    return np.asarray(picture)


def _stacked(lines: list[np.ndarray], gap: int) -> np.ndarray:
    """Coverages under each other, centred, with empty rows between."""
    width = max(line.shape[1] for line in lines)
    rows: list[np.ndarray] = []
    for line in lines:
        spare = width - line.shape[1]
        rows += [np.pad(line, ((gap if rows else 0, 0), (spare // 2, spare - spare // 2)))]
    return np.concatenate(rows)


def _on_plate(coverage: np.ndarray, pad: int) -> np.ndarray:
    """White where covered, black and translucent elsewhere; uint8 RGBA with `pad` pixels around."""
    text = np.pad(coverage, pad).astype(np.float32) / 255
    alpha = text + (1 - text) * _PLATE_OPACITY
    white = np.rint(text / alpha * 255).astype(np.uint8)
    return np.dstack([white, white, white, np.rint(alpha * 255).astype(np.uint8)])


def _outlined(text: str, size: int) -> Image.Image:
    """Translucent white text with a dark outline, readable on light and dark."""
    font = _font(size)
    stroke = max(1, size // 10)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    word = Image.new("RGBA", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(word).text(
        (-left, -top), text, (255, 255, 255, 130), font, stroke_width=stroke, stroke_fill=(0, 0, 0, 90)
    )
    return word


def _clipped(word: Image.Image, left: int, top: int) -> tuple[Image.Image, tuple[int, int]]:
    """The part of `word` right of the left edge, and where it goes."""
    cut = max(0, -left)
    return word.crop((cut, 0, word.width, word.height)), (left + cut, top)
