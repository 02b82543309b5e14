"""A measurement of lip sync as a picture: the sound, and for each face its mouth and its score by offset."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..provenance.labels import font
from ..text import visible
from .offset import SURE
from .report import SyncReport, TrackSync
from .sound import ROWS_PER_SECOND
from .verdict import summary

MOST_TRACKS = 6
"""Faces that are drawn; of more it is said how many there are."""
NARROW = 0.4
"""Seconds of offset to either side that are shown at least."""
MOST_DOTS = 160
"""Moments of a face whose best offset is drawn."""

LONGEST_NAME = 80
"""Letters of the name of a video that are shown."""

Colour = tuple[int, int, int]
Canvas = NDArray[np.uint8]
"""uint8 RGB [height, width, 3]."""

WIDTH = 1600
LEFT, RIGHT, TOP, BOTTOM = 190, 140, 118, 30
SOUND_HEIGHT, MOUTH_HEIGHT, MAP_HEIGHT = 120, 140, 300
GAP, HEAD, LINE = 18, 86, 34
"""Between what belongs together; above a track, with its title and its legend; of a line of text."""
PAPER, INK, SOFT, GRID, FRAME = (
    (255, 255, 255),
    (31, 41, 55),
    (107, 114, 128),
    (229, 231, 235),
    (203, 210, 219),
)
VOICE, VOICE_EDGE, MOUTH = (205, 217, 234), (120, 146, 184), (13, 124, 118)
BEST, MOMENT = (226, 82, 28), (250, 176, 60)
RAMP: tuple[Colour, ...] = (
    (247, 250, 253),
    (219, 232, 245),
    (171, 203, 228),
    (103, 160, 206),
    (48, 110, 173),
    (16, 62, 123),
    (8, 34, 78),
)
"""Colours of the score, least to most."""
BLANK: Colour = (243, 244, 246)
"""Where there is no score."""


def chart_png(report: SyncReport, name: str = "") -> bytes:
    """`chart` as a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(chart(report, name)).save(encoded, "PNG")
    return encoded.getvalue()


def chart(report: SyncReport, name: str = "") -> Canvas:
    """The report as a picture on white, uint8 RGB [height, `WIDTH`, 3].

    Args:
        name: of the video, for the line below the title; any text.
    """
    shown = report.tracks[:MOST_TRACKS]
    drawn = HEAD + MOUTH_HEIGHT + GAP + MAP_HEIGHT + LINE
    heights = [drawn if track.scores.size else 2 * LINE for track in shown]
    top = TOP + (LINE if report.warnings or not shown else 0)
    under = LINE if not any(track.scores.size for track in shown) else 0
    height = top + SOUND_HEIGHT + under + sum(heights) + BOTTOM
    canvas = np.full((height, WIDTH, 3), PAPER, np.uint8)
    seconds = max(report.seconds, len(report.loudness) / ROWS_PER_SECOND, 0.1)
    begin = min([0.0, *(track.start for track in shown)])  # the picture may begin before the sound
    times = _Axis(begin, seconds, LEFT, WIDTH - RIGHT)
    _title(canvas, report, name)
    sound = _Panel(canvas, times, _Axis(0.0, 1.0, top + SOUND_HEIGHT, top))
    _draw_sound(sound, report)
    if under:
        sound.time_labels()
    top += SOUND_HEIGHT + under
    for number, (track, size) in enumerate(zip(shown, heights, strict=True), 1):
        _draw_track(canvas, times, top, report, track, number)
        top += size
    return canvas


@dataclass(frozen=True)
class _Axis:
    """Values between two places in the picture; `begin` may lie right of or below `end`."""

    low: float
    high: float
    begin: int
    end: int

    def __call__(self, values: NDArray[Any] | float) -> NDArray[np.float64]:
        share = (np.asarray(values, np.float64) - self.low) / max(self.high - self.low, 1e-9)
        return self.begin + share * (self.end - self.begin)

    def pixels(self) -> NDArray[np.float64]:
        """The value in the middle of each pixel, by its place from the lesser one on."""
        first, last = sorted((self.begin, self.end))
        share = (np.arange(first, last) + 0.5 - self.begin) / (self.end - self.begin)
        return self.low + share * (self.high - self.low)

    def ticks(self, most: int) -> list[float]:
        """Round values, no more than about so many."""
        raw = (self.high - self.low) / max(most, 1)
        power = 10.0 ** math.floor(math.log10(max(raw, 1e-9)))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-6)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-6) + 1)]


@dataclass(frozen=True)
class _Panel:
    """A plot: a part of the canvas with two axes."""

    canvas: Canvas
    x: _Axis
    y: _Axis

    @property
    def top(self) -> int:
        return min(self.y.begin, self.y.end)

    @property
    def bottom(self) -> int:
        return max(self.y.begin, self.y.end)

    @property
    def inside(self) -> Canvas:
        return self.canvas[self.top : self.bottom, self.x.begin : self.x.end]

    def ruled(self) -> None:
        """A line up at every round time."""
        for time in self.x.ticks(12):
            place = int(np.clip(self.x(time), self.x.begin, self.x.end - 1))
            self.canvas[self.top : self.bottom, place] = GRID

    def framed(self) -> None:
        """A thin frame."""
        cv2.rectangle(self.canvas, (self.x.begin, self.top), (self.x.end - 1, self.bottom - 1), FRAME, 1)

    def time_labels(self) -> None:
        """Seconds below it."""
        ticks = self.x.ticks(12)
        digits = 0 if all(abs(tick - round(tick)) < 1e-6 for tick in ticks) else 1
        for tick in ticks:
            _write(
                self.canvas, (int(self.x(tick)), self.bottom + 24), f"{tick:.{digits}f}", 16, SOFT, "middle"
            )
        _write(self.canvas, (self.x.end + 14, self.bottom + 24), "seconds", 16, SOFT)

    def label(self, text: str, unit: str = "") -> None:
        """What is plotted, left of it."""
        middle = (self.top + self.bottom) // 2
        _write(self.canvas, (20, middle), text, 17, INK)
        if unit:
            _write(self.canvas, (20, middle + 22), unit, 14, SOFT)

    def area(self, times: NDArray[Any], values: NDArray[Any], fill: Colour, edge: Colour) -> None:
        """Filled from the bottom up to the values."""
        if len(times) < 2:
            return
        upper = np.stack([self.x(times), self.y(values)], axis=1)
        lower = [[upper[-1, 0], self.bottom - 1], [upper[0, 0], self.bottom - 1]]
        self._drawn(
            lambda inside, where: cv2.fillPoly(inside, [where], fill, cv2.LINE_AA, 4),
            np.concatenate([upper, lower]),
        )
        self.line(times, values, edge, 1)

    def line(self, times: NDArray[Any], values: NDArray[Any], colour: Colour, thickness: int) -> None:
        """Joined values; a gap where one is not finite."""
        good = np.isfinite(values)
        for run in np.split(np.arange(len(values)), np.flatnonzero(np.diff(good.astype(np.int8))) + 1):
            if len(run) > 1 and good[run[0]]:
                points = np.stack([self.x(times[run]), self.y(values[run])], axis=1)
                self._drawn(
                    lambda inside, where: cv2.polylines(
                        inside, [where], False, colour, thickness, cv2.LINE_AA, 4
                    ),
                    points,
                )

    def level(
        self, value: float, colour: Colour, thickness: int, dash: tuple[int, int], reach: tuple[int, int]
    ) -> None:
        """A dashed line across, between two places."""
        y = round(float(self.y(value))) - thickness // 2
        if self.top <= y < self.bottom:
            drawn, left = dash
            for start in range(reach[0], reach[1], drawn + left):
                self.canvas[y : min(y + thickness, self.bottom), start : min(start + drawn, reach[1])] = (
                    colour
                )

    def dots(self, times: NDArray[Any], values: NDArray[Any], colour: Colour) -> None:
        """A small dot at each, with a light rim."""

        def drawn(inside: Canvas, where: NDArray[np.int32]) -> None:
            for x, y in where.tolist():
                cv2.circle(inside, (x, y), 72, PAPER, -1, cv2.LINE_AA, 4)
                cv2.circle(inside, (x, y), 48, colour, -1, cv2.LINE_AA, 4)

        self._drawn(drawn, np.stack([self.x(times), self.y(values)], axis=1))

    def _drawn(
        self, draw: Callable[[Canvas, NDArray[np.int32]], object], points: NDArray[np.float64]
    ) -> None:
        """Draw at points of the canvas [n, 2], told in sixteenths of a pixel, on what lies inside only."""
        inside = np.ascontiguousarray(self.inside)
        draw(inside, np.rint((points - (self.x.begin, self.top)) * 16).astype(np.int32))
        self.inside[...] = inside


def _title(canvas: Canvas, report: SyncReport, name: str) -> None:
    _write(canvas, (LEFT, 50), summary(report.best), 30, INK)
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 21]}…{name[-20:]}"
    parts = [*([short] if name else ()), f"{report.seconds:.1f} s", f"{report.fps:.3g} frames/s"]
    if len(report.tracks) > MOST_TRACKS:
        parts.append(f"{len(report.tracks)} faces, the longest {MOST_TRACKS} below")
    _write(canvas, (LEFT, 86), " · ".join(parts), 18, SOFT, widest=WIDTH - LEFT - RIGHT)
    if report.warnings:
        _write(canvas, (LEFT, 120), report.warnings[0], 18, BEST, widest=WIDTH - LEFT - 20)
    elif not report.tracks:
        _write(canvas, (LEFT, 120), "No face was found.", 18, BEST)


def _draw_sound(panel: _Panel, report: SyncReport) -> None:
    panel.ruled()
    panel.area(*_envelope(report), VOICE, VOICE_EDGE)
    panel.framed()
    panel.label("Sound", "envelope")


def _envelope(report: SyncReport) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times and loudness 0..1; of a long sound the loudest of each pixel or so."""
    loud = np.nan_to_num(report.loudness.astype(np.float64)).clip(0, 1)
    together = max(1, len(loud) // (2 * (WIDTH - LEFT - RIGHT)))
    rows = len(loud) // together
    loudest = loud[: rows * together].reshape(rows, together).max(axis=1) if rows else loud
    return (np.arange(len(loudest)) + 0.5) * together / ROWS_PER_SECOND, loudest


def _draw_track(
    canvas: Canvas, times: _Axis, top: int, report: SyncReport, track: TrackSync, number: int
) -> None:
    """A face below `top`: its name, and where it could be scored its mouth and its score."""
    parts = [f"{track.start:.1f} to {track.end:.1f} s"]
    if track.measured and len(report.tracks) > 1:
        parts.append(summary(track))
    parts += [track.note] if track.note else []
    end = _write(canvas, (LEFT, top + 42), f"Face {number}", 22, INK)
    _write(canvas, (end + 24, top + 42), " · ".join(parts), 18, SOFT, widest=WIDTH - end - 44)
    if not track.scores.size:
        return
    _legend(canvas, top + 70, track)
    mouth = _Panel(canvas, times, _opening_axis(track, top + HEAD))
    mouth.ruled()
    mouth.area(*_envelope_on(report, mouth.y), VOICE, VOICE)
    mouth.line(track.motion.times, track.motion["gap"].astype(np.float64), MOUTH, 2)
    mouth.framed()
    mouth.label("Mouth", "opening")
    under, lags = top + HEAD + MOUTH_HEIGHT + GAP, report.lags
    low, high = _shown_lags(lags, track)
    score = _Panel(canvas, times, _Axis(low, high, under + MAP_HEIGHT, under))
    _draw_score(score, lags, track)
    score.time_labels()


def _shown_lags(lags: NDArray[np.float64], track: TrackSync) -> tuple[float, float]:
    """Least and greatest offset that is shown: all of them, or around zero and what is sure."""
    reach = float(np.abs(lags).max())
    if track.measured and track.confidence >= SURE:
        reach = min(reach, max(NARROW, abs(track.offset) + NARROW / 2))
    return max(float(lags.min()), -reach), min(float(lags.max()), reach)


def _opening_axis(track: TrackSync, top: int) -> _Axis:
    gap = track.motion["gap"].astype(np.float64)
    gap = gap[np.isfinite(gap)]
    low, high = np.percentile(gap, (0, 99.5)) if len(gap) else (0.0, 1.0)
    room = max(0.08 * (high - low), 1e-3)
    return _Axis(float(low - room), float(high + room), top + MOUTH_HEIGHT, top)


def _envelope_on(report: SyncReport, axis: _Axis) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The envelope as it fills another axis."""
    times, loud = _envelope(report)
    return times, axis.low + loud * (axis.high - axis.low)


def _draw_score(panel: _Panel, lags: NDArray[np.float64], track: TrackSync) -> None:
    scores = track.scores.astype(np.float64)
    finite = scores[np.isfinite(scores)]
    low, high = np.percentile(finite, (2, 99.8)) if len(finite) else (0.0, 1.0)
    colours = _coloured(np.linspace(0, 1, 256))
    level = _resampled(scores, track.times, lags, panel)
    scaled = ((np.nan_to_num(level) - low) / max(high - low, 1e-9)).clip(0, 1)
    ink = colours[np.rint(scaled * 255).astype(int)]
    panel.inside[...] = np.where(np.isfinite(level)[..., None], ink, BLANK)
    panel.level(0.0, SOFT, 1, (6, 6), (panel.x.begin, panel.x.end))
    rows = np.flatnonzero(np.isfinite(scores).all(axis=1))
    rows = rows[:: len(rows) // MOST_DOTS + 1]
    panel.dots(track.times[rows], lags[scores[rows].argmax(axis=1)], MOMENT)
    if track.measured:
        _mark_offset(panel, track)
    panel.framed()
    _label_offsets(panel)
    _colour_bar(panel, colours, low, high)


def _mark_offset(panel: _Panel, track: TrackSync) -> None:
    """A line at the offset for as long as the face is there, with the offset on a plate at its end."""
    colour = BEST if track.confidence >= SURE else SOFT
    begin, end = (
        int(np.clip(panel.x(time), panel.x.begin, panel.x.end)) for time in (track.start, track.end)
    )
    panel.level(track.offset, colour, 3, (16, 9), (begin, end))
    mask = _mask(f"{track.offset * 1000:+.0f} ms", 18)
    height, width = mask.shape[0] + 14, mask.shape[1] + 20
    y = int(np.clip(float(panel.y(track.offset)) - height - 8, panel.top + 4, panel.bottom - height - 4))
    x = max(panel.x.begin + 4, end - width - 10)
    plate = panel.canvas[y : y + height, x : x + width]
    plate[...] = colour
    _blend(plate, mask, 10, 7, PAPER)


def _label_offsets(panel: _Panel) -> None:
    panel.label("Offset", "ms")
    _write(panel.canvas, (20, panel.top + 16), "mouth late", 14, SOFT)
    _write(panel.canvas, (20, panel.bottom - 6), "mouth early", 14, SOFT)
    for tick in _Axis(panel.y.low * 1000, panel.y.high * 1000, panel.y.begin, panel.y.end).ticks(6):
        y = int(np.clip(panel.y(tick / 1000), panel.top, panel.bottom - 1))
        panel.canvas[y, panel.x.begin - 6 : panel.x.begin] = SOFT
        _write(panel.canvas, (panel.x.begin - 12, y + 6), f"{tick:+.0f}" if tick else "0", 16, SOFT, "right")


def _resampled(
    scores: NDArray[np.float64], times: NDArray[np.float64], lags: NDArray[np.float64], panel: _Panel
) -> NDArray[np.float64]:
    """Scores at each pixel of a panel, [height, width]; nan where no window is near."""
    at, lag = panel.x.pixels(), panel.y.pixels()
    if not len(times) or len(lags) < 2:
        return np.full((len(lag), len(at)), np.nan)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    place = np.interp(at, times, np.arange(len(times)))
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(times) - 1)
    share = (place - before)[:, None]
    wide = times[after] - times[before] > 2.5 * step
    nearest = np.where(
        wide[:, None],
        scores[np.rint(place).astype(int)],
        scores[before] * (1 - share) + scores[after] * share,
    )
    far = np.abs(times[np.rint(place).astype(int)] - at) > np.where(wide, 0.5 * step, 0.75 * step)
    nearest[far] = np.nan
    column = np.interp(lag, lags, np.arange(len(lags)))
    low = np.minimum(np.floor(column).astype(int), len(lags) - 2)
    part = column - low
    return np.asarray((nearest[:, low] * (1 - part) + nearest[:, low + 1] * part).T)


def _coloured(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours of shares 0..1, uint8 [n, 3]."""
    places = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(shares, places, [colour[index] for colour in RAMP]) for index in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _colour_bar(panel: _Panel, colours: NDArray[np.uint8], low: float, high: float) -> None:
    left, top, bottom = panel.x.end + 18, panel.top + 34, panel.bottom
    place = np.linspace(255, 0, bottom - top).astype(int)
    panel.canvas[top:bottom, left : left + 20] = colours[place][:, None]
    cv2.rectangle(panel.canvas, (left, top), (left + 19, bottom - 1), FRAME, 1)
    _write(panel.canvas, (left, panel.top + 18), "similarity", 15, SOFT)
    for value, y in ((high, top + 14), (low, bottom - 2)):
        _write(panel.canvas, (left + 28, y), f"{value:.2f}", 15, SOFT)


def _legend(canvas: Canvas, y: int, track: TrackSync) -> None:
    """What the colours of a track stand for, in a row."""
    x = LEFT
    for draw, text in _keys(track):
        draw(canvas[y - 15 : y + 6, x : x + 34])
        x = _write(canvas, (x + 42, y), text, 15, SOFT) + 28


def _keys(track: TrackSync) -> Iterator[tuple[Callable[[Canvas], None], str]]:
    """What draws a sample of 21 × 34 pixels, and its words."""

    def stripe(rows: slice, colour: Colour, *parts: slice) -> Callable[[Canvas], None]:
        def drawn(sample: Canvas) -> None:
            for part in parts or (slice(None),):
                sample[rows, part] = colour

        return drawn

    def dot(sample: Canvas) -> None:
        part = np.ascontiguousarray(sample)
        cv2.circle(part, (17, 10), 5, MOMENT, -1, cv2.LINE_AA)
        sample[...] = part

    yield stripe(slice(4, 18), VOICE), "sound"
    yield stripe(slice(9, 12), MOUTH), "opening of the mouth"
    if track.measured:
        colour = BEST if track.confidence >= SURE else SOFT
        yield stripe(slice(9, 12), colour, slice(0, 14), slice(20, 34)), "offset of the whole"
    yield dot, "best offset of a moment"
    yield stripe(slice(10, 11), SOFT, slice(0, 6), slice(12, 18), slice(24, 30)), "in sync"


# Text


def _write(
    canvas: Canvas,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: Colour,
    anchor: str = "left",
    widest: int = 0,
) -> int:
    """Write a line with its base at `place`, shortened to `widest` pixels; where it ends."""
    text = visible(text, 300)
    face = font(size)
    while widest and len(text) > 1 and face.getlength(text) > widest:
        text = text[: max(1, int(len(text) * 0.95) - 1)].rstrip("… ") + "…"
    length = math.ceil(face.getlength(text))
    x = place[0] - {"left": 0, "middle": length // 2, "right": length}[anchor]
    mask = np.zeros((2 * size, length + 4), np.uint8)
    picture = Image.fromarray(mask)
    ImageDraw.Draw(picture).text((1, round(1.4 * size)), text, fill=255, font=face, anchor="ls")
    _blend(canvas, np.asarray(picture), x - 1, place[1] - round(1.4 * size), colour)
    return x + length


def _mask(text: str, size: int) -> NDArray[np.uint8]:
    """Coverage of a text, cut to its ink."""
    face = font(size)
    picture = Image.new("L", (math.ceil(face.getlength(text)) + 4, 2 * size))
    ImageDraw.Draw(picture).text((2, round(1.4 * size)), text, fill=255, font=face, anchor="ls")
    left, top, right, bottom = picture.getbbox() or (0, 0, 1, 1)
    return np.asarray(picture)[top:bottom, left:right]


def _blend(canvas: Canvas, mask: NDArray[np.uint8], x: int, y: int, colour: Sequence[int]) -> None:
    """Put a colour on the canvas as far as the mask covers it; what lies outside is left out."""
    left, top = max(0, -x), max(0, -y)
    mask = mask[top : canvas.shape[0] - y, left : canvas.shape[1] - x]
    if not mask.size:
        return
    part = canvas[y + top : y + top + mask.shape[0], x + left : x + left + mask.shape[1]]
    share = mask[..., None].astype(np.float32) / 255
    part[...] = np.rint(part * (1 - share) + np.array(colour, np.float32) * share)
