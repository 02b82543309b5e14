"""Plots as SVG text, drawn here: dots of videos beside people's range, differences with their intervals.

Colours are those of the page's style sheet: `a` and `b` are the two folders. Everything that strangers wrote
is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from ..text import visible
from .metrics import Metric
from .statistics import MeanInterval

WIDTH, WIDE, EDGE = 360, 1120, 14
"""Units of a small plot and of one across the page, and the room at their sides."""
LANE, AXIS = 46, 22
"""Height of one folder's dots, and of the axis."""
RADIUS = 3.2
MOST_DOTS = 250
"""Videos of a folder that are shown as dots; more of them as an outline of how many there are."""
COLOURS = ("a", "b")
"""Classes of the folders."""
SPREAD = (0, 6, -6, 12, -12, 18)
"""Units up and down by which dots give way to each other."""


@dataclass(frozen=True, eq=False)
class Lane:
    """One folder's values of one metric."""

    names: Sequence[str]
    values: NDArray[np.float64]
    """[names]; nan where it was not measured."""
    interval: MeanInterval


class Axis:
    """From values to units of a plot, with ticks at round numbers.

    Args:
        values: what is to be seen; at least one that is finite.
        left, right: units between which it lies.
        factor: what is written at a tick is its value times this.
    """

    def __init__(self, values: Iterable[float], left: float, right: float, factor: float = 1.0) -> None:
        known = [value for value in values if math.isfinite(value)]
        low, high = min(known), max(known)
        room = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
        self._low, self._high = low - room, high + room
        self._left, self._right, self._factor = left, right, factor

    def __call__(self, value: float) -> float:
        """Units from the left."""
        share = (value - self._low) / (self._high - self._low)
        return self._left + share * (self._right - self._left)

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """Places and numbers, at multiples of 1, 2 or 5."""
        low, high = self._low * self._factor, self._high * self._factor
        step = round_step((high - low) / about)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(low / step - 1e-9)
        places = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
        return [(self(place / self._factor), number_text(place, digits)) for place in places]

    def drawn(self, top: float, bottom: float, about: int = 5) -> str:
        """Lines from top to bottom with their numbers below."""
        lines = [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 14}">{text}</text>'
            for x, text in self.ticks(about)
        ]
        return "".join(lines)


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(part * power for part in (1, 2, 5, 10) if part * power >= least * (1 - 1e-9))


def number_text(value: float, digits: int) -> str:
    """With a real minus, and no minus before zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def strip_plot(metric: Metric, lanes: Sequence[Lane]) -> str:
    """A metric of one or two folders: a dot for each video, mean and interval, people's range."""
    values = [value for lane in lanes for value in lane.values]
    marks = [*(metric.people or ()), *([metric.ideal] if metric.ideal is not None else [])]
    axis = Axis([*values, *marks], EDGE, WIDTH - EDGE, metric.shown)
    bottom = LANE * len(lanes) + 6
    parts = [axis.drawn(4, bottom)]
    if metric.people:
        left, right = map(axis, metric.people)
        parts.append(
            f'<rect class="people" x="{left:.1f}" y="4" width="{right - left:.1f}" height="{bottom - 4}">'
            f"<title>people: {_range_text(metric)}</title></rect>"
        )
    if metric.ideal is not None:
        x = axis(metric.ideal)
        parts.append(f'<line class="ideal" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{bottom}"/>')
    for number, lane in enumerate(lanes):
        middle = LANE * number + LANE / 2 - 2
        parts.append(f'<g class="{COLOURS[number]}">{_lane(metric, lane, axis, middle)}</g>')
    return svg(WIDTH, bottom + AXIS, "".join(parts), metric.label)


def _lane(metric: Metric, lane: Lane, axis: Axis, middle: float) -> str:
    known = np.flatnonzero(np.isfinite(lane.values))
    places = [(axis(float(lane.values[index])), int(index)) for index in known]
    if len(places) > MOST_DOTS:
        return _outline([x for x, _ in places], middle) + _mean_bar(lane.interval, axis, middle + 19)
    drawn, put = [], list[tuple[float, float]]()
    for x, index in sorted(places):
        near = [(a, b) for a, b in put[-len(SPREAD) * 4 :] if x - a < 2 * RADIUS]
        free = (y for y in SPREAD if all(math.hypot(x - a, y - b) >= 1.8 * RADIUS for a, b in near))
        y = next(free, SPREAD[index % len(SPREAD)])
        put.append((x, y))
        said = escape(f"{visible(lane.names[index])}: {metric.text(float(lane.values[index]))} {metric.unit}")
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{middle + y * 0.75:.1f}" r="{RADIUS}">'
            f"<title>{said.strip()}</title></circle>"
        )
    return "".join(drawn) + _mean_bar(lane.interval, axis, middle + 19)


def _outline(places: Sequence[float], middle: float) -> str:
    """How many there are at each place, mirrored."""
    counts, edges = np.histogram(places, bins=40)
    smooth = np.convolve(np.pad(counts, 1), (0.25, 0.5, 0.25), "same")[1:-1]
    heights = 16 * smooth / smooth.max()
    x = (edges[1:] + edges[:-1]) / 2
    upper = [f"{a:.1f},{middle - b:.1f}" for a, b in zip(x, heights, strict=True)]
    lower = [f"{a:.1f},{middle + b:.1f}" for a, b in zip(x[::-1], heights[::-1], strict=True)]
    return f'<polygon class="outline" points="{" ".join([*upper, *lower])}"/>'


def _mean_bar(interval: MeanInterval, axis: Axis, y: float) -> str:
    if not interval.count:
        return ""
    x = axis(interval.mean)
    bar = ""
    if math.isfinite(interval.low):
        left, right = axis(interval.low), axis(interval.high)
        bar = (
            f'<rect class="interval" x="{left:.1f}" y="{y - 2}" width="{max(right - left, 1):.1f}" '
            'height="4" rx="2"/>'
        )
    corners = f"{x - 4.5:.1f},{y} {x:.1f},{y - 4.5} {x + 4.5:.1f},{y} {x:.1f},{y + 4.5}"
    return f'{bar}<polygon class="mean" points="{corners}"/>'


def sync_plot(folders: Sequence[Sequence[tuple[str, float, float]]]) -> str:
    """Offsets beside how sure they are.

    Args:
        folders: of each its videos: name, offset in seconds, confidence; nan is left out.
    """
    width, height, left = WIDE, 270, 44
    known = [
        (number, name, offset, confidence)
        for number, videos in enumerate(folders)
        for name, offset, confidence in videos
        if math.isfinite(offset)
    ]
    axis = Axis([*(offset for _, _, offset, _ in known), -0.1, 0.1], left, width - EDGE, 1000.0)
    bottom = height - 38

    def up(confidence: float) -> float:
        return bottom - (bottom - 14) * confidence

    parts = [axis.drawn(8, bottom, 9)]
    for reach in (0.04, 0.02):
        x, right = axis(-reach), axis(reach)
        parts.append(f'<rect class="goal" x="{x:.1f}" y="8" width="{right - x:.1f}" height="{bottom - 8}"/>')
    for level in (0.0, 0.5, 1.0):
        kind, y = "ideal" if level == 0.5 else "grid", up(level)
        parts.append(
            f'<line class="{kind}" x1="{left}" x2="{width - EDGE}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="side" x="{left - 8}" y="{y + 4:.1f}">{level:g}</text>'
        )
    for number, name, offset, confidence in known:
        said = escape(f"{visible(name)}: {1000 * offset:+.0f} ms, confidence {confidence:.2f}")
        parts.append(
            f'<circle class="{COLOURS[number]}" cx="{axis(offset):.1f}" cy="{up(confidence):.1f}" r="4">'
            f"<title>{said}</title></circle>"
        )
    parts.append(
        f'<text class="axis" x="{(left + width - EDGE) / 2:.0f}" y="{height - 6}">'
        "← mouth early · offset in ms · mouth late →</text>"
        f'<text class="axis" transform="translate(12 {bottom / 2:.0f}) rotate(-90)">confidence</text>'
    )
    return svg(width, height, "".join(parts), "Offset and confidence of every video")


def forest_plot(
    rows: Sequence[tuple[str, float, float, float, bool]],
    caption: str = "← more in the second folder · more in the first →",
) -> str:
    """Differences of many figures on one scale.

    Args:
        rows: label, mean, low and high of its interval, whether it stands out.
        caption: below the scale.
    """
    width, left, step = WIDE, 190, 23
    axis = Axis([0.0, *(value for _, *three, _ in rows for value in three)], left, width - EDGE)
    bottom = step * len(rows) + 8
    zero = axis(0.0)
    parts = [
        axis.drawn(4, bottom, 8),
        f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="4" y2="{bottom}"/>',
    ]
    for number, (label, mean, low, high, certain) in enumerate(rows):
        y = step * (number + 0.5) + 6
        kind = "certain" if certain else "unsure"
        line = ""
        if math.isfinite(low):
            line = f'<line x1="{axis(low):.1f}" x2="{axis(high):.1f}" y1="{y}" y2="{y}"/>'
        parts.append(
            f'<text class="row" x="{left - 10}" y="{y + 4}">{escape(label)}</text>'
            f'<g class="{kind}">{line}<circle cx="{axis(mean):.1f}" cy="{y}" r="4.5"/></g>'
        )
    parts.append(
        f'<text class="axis" x="{(left + width - EDGE) / 2:.0f}" y="{bottom + 36}">{escape(caption)}</text>'
    )
    return svg(width, bottom + 42, "".join(parts), "Differences in pairs")


def svg(width: float, height: float, inside: str, label: str) -> str:
    """A picture of that many units, as wide as its place."""
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{inside}</svg>'


def standalone(drawing: str, style: str) -> str:
    """A picture of `svg` as a file of its own, with the styles that a page would have for it."""
    head, _, rest = drawing.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{rest}\n'


def _range_text(metric: Metric) -> str:
    low, high = metric.people or (math.nan, math.nan)
    return f"{metric.text(low)} to {metric.text(high)} {metric.unit}".strip()
