"""The page of an evaluation: one file, no script, nothing from elsewhere; light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from .. import __version__
from ..text import duration_text, visible
from .folder import EvaluatedVideo, Evaluation, FolderComparison
from .metrics import BY_NAME, METRICS, Group, Metric
from .plots import COLOURS, Lane, forest_plot, strip_plot, sync_plot
from .statistics import MeanInterval, PairedDifference

MOST_ROWS = 1000
"""Videos in the table, so that any browser opens the page; the CSV has all."""
TILES = ("sync_error", "closed", "score", "identity")
"""What stands on top."""
CERTAIN = 0.05
"""Adjusted probability below which a difference stands out."""
LEGEND = (
    ('<circle class="a" cx="13" cy="6" r="4"/>', "a video"),
    (
        '<g class="a"><rect class="interval" x="2" y="4" width="22" height="4" rx="2"/>'
        '<polygon class="mean" points="8,6 13,1 18,6 13,11"/></g>',
        "mean, with the interval that holds it in 95 % of cases",
    ),
    ('<rect class="people" width="26" height="12"/>', "people, in real clips"),
    ('<line class="ideal" x1="13" x2="13" y1="0" y2="12"/>', "what a perfect video has"),
)


def as_html(evaluations: Sequence[Evaluation], comparison: FolderComparison | None, written: str) -> bytes:
    """The page.

    Args:
        evaluations: the folder, and the one that it is compared with.
        comparison: of both.
        written: when, ISO 8601.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    names = [f'<span class="{kind}">{_folder(each)}</span>' for each, kind in _with_colours(evaluations)]
    body = "".join(
        [
            f"<header><h1>{' beside '.join(names)}</h1><p>{_facts(evaluations, written)}</p></header>",
            f'<div class="tiles">{"".join(_tile(BY_NAME[name], evaluations) for name in TILES)}</div>',
            _legend(),
            _failed(evaluations),
            _comparison(comparison) if comparison else "",
            _sync(evaluations),
            *(_group(group, evaluations, comparison) for group in Group),
            _table(evaluations),
            _rest(evaluations, comparison),
            "<p class='faint end'>How each figure is made, its unit, and what it does not say: "
            "docs/evaluation.md of sonic-ext.</p>",
        ]
    )
    title = escape(" beside ".join(visible(each.folder.name) for each in evaluations))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{style}</style></head><body>{body}</body></html>"
    ).encode("utf-8", "replace")


def _with_colours(evaluations: Sequence[Evaluation]) -> Iterable[tuple[Evaluation, str]]:
    return zip(evaluations, COLOURS, strict=False)


def _folder(evaluation: Evaluation) -> str:
    return escape(visible(evaluation.folder.name or str(evaluation.folder)))


def _facts(evaluations: Sequence[Evaluation], written: str) -> str:
    videos = [video for each in evaluations for video in each.videos]
    failed = sum(video.error is not None for video in videos)
    seconds = sum(video.figures.seconds for video in videos if video.figures)
    facts = [
        f"{len(videos) - failed} of {len(videos)} videos measured",
        f"{duration_text(seconds)} of picture",
        f"{written[:16].replace('T', ' ')} UTC",
        f"sonic-ext {__version__}",
    ]
    return escape(" · ".join(facts))


def _tile(metric: Metric, evaluations: Sequence[Evaluation]) -> str:
    lines = []
    for each, kind in _with_colours(evaluations):
        found = each.summary().get(metric.name)
        value = f"{metric.text(found.mean)} <i>{escape(metric.unit)}</i>" if found else "–"
        count = f"{found.count} of {len(each.videos)} videos" if found else "not measured"
        lines.append(f'<p><b class="{kind}">{value}</b><small>{count}</small></p>')
    return f'<div class="tile"><small>{escape(metric.label)}</small><div>{"".join(lines)}</div></div>'


def _legend() -> str:
    items = (
        f'<span><svg viewBox="0 0 26 12" aria-hidden="true">{mark}</svg>{text}</span>'
        for mark, text in LEGEND
    )
    return f'<div class="legend">{"".join(items)}</div>'


def _sync(evaluations: Sequence[Evaluation]) -> str:
    folders = [
        [
            (video.name, video.figures.offset, video.value("sync_confidence"))
            for video in each.videos
            if video.figures
        ]
        for each in evaluations
    ]
    if not any(math.isfinite(offset) for videos in folders for _, offset, _ in videos):
        return ""
    return (
        "<h2>Mouth against voice</h2><figure class='wide'><figcaption>Every video that an offset was "
        "measured of; shaded within 20 and 40 ms. Below the dashed line the network is not sure, and the "
        f"offset counts nowhere else.</figcaption>{sync_plot(folders)}</figure>"
    )


def _group(group: Group, evaluations: Sequence[Evaluation], comparison: FolderComparison | None) -> str:
    summaries = [each.summary() for each in evaluations]
    cards = [
        _card(metric, evaluations, [summary.get(metric.name) for summary in summaries], comparison)
        for metric in METRICS
        if metric.group is group and any(metric.name in summary for summary in summaries)
    ]
    return f'<h2>{escape(group.value)}</h2><div class="cards">{"".join(cards)}</div>' if cards else ""


def _card(
    metric: Metric,
    evaluations: Sequence[Evaluation],
    intervals: Sequence[MeanInterval | None],
    comparison: FolderComparison | None,
) -> str:
    lines = "".join(
        f'<p class="value {kind}">{_interval(metric, interval)}</p>'
        for interval, kind in zip(intervals, COLOURS, strict=False)
    )
    if comparison and metric.name in comparison.differences:
        lines += f'<p class="faint">{_difference(metric, comparison)}</p>'
    nothing = MeanInterval(0, math.nan, math.nan, math.nan)
    lanes = [
        Lane([video.name for video in each.videos], each.column(metric.name), interval or nothing)
        for each, interval in zip(evaluations, intervals, strict=True)
    ]
    return (
        f'<section class="card"><header><h3>{escape(metric.label)}</h3>'
        f"<span>{escape(metric.unit)}</span></header>"
        f'<p class="help">{escape(metric.help)}{_people(metric)}</p>'
        f"{lines}{strip_plot(metric, lanes)}</section>"
    )


def _people(metric: Metric) -> str:
    if metric.people is None:
        return ""
    low, high = map(metric.text, metric.people)
    return f' <span class="range">People: {low} to {high}.</span>'


def _interval(metric: Metric, found: MeanInterval | None) -> str:
    if found is None:
        return "<b>–</b> <i>not measured</i>"
    spread = (
        f" <i>{metric.text(found.low)} to {metric.text(found.high)}</i>" if math.isfinite(found.low) else ""
    )
    return f"<b>{metric.text(found.mean)}</b>{spread} <i>· {_count(found.count)}</i>"


def _count(videos: int) -> str:
    return f"{videos} video{'s' * (videos != 1)}"


def _difference(metric: Metric, comparison: FolderComparison) -> str:
    found = comparison.differences[metric.name]
    return f"Δ {_signed(metric, found.difference.mean)}{_spread(metric, found)} · {_probability(found.ranks)}"


def _spread(metric: Metric, found: PairedDifference) -> str:
    low, high = found.difference.low, found.difference.high
    return f" ({_signed(metric, low)} to {_signed(metric, high)})" if math.isfinite(low) else ""


def _signed(metric: Metric, value: float) -> str:
    text = metric.text(value)
    return f"+{text}" if value > 0 else text


def _probability(p: float) -> str:
    return "p &lt; 0.001" if p < 0.001 else f"p {p:.3f}"


def _comparison(comparison: FolderComparison) -> str:
    """All figures' differences in one picture and one table."""
    if not comparison.differences:
        return "<h2>Differences in pairs</h2><p>The folders have no measured video of the same name.</p>"
    rows: list[tuple[str, float, float, float, bool]] = []
    lines = []
    for name, found in comparison.differences.items():
        metric, certain = BY_NAME[name], comparison.adjusted[name] < CERTAIN
        three = found.difference.mean, found.difference.low, found.difference.high
        size = found.deviation
        if size > 0:
            mean, low, high = (value / size for value in three)
            rows.append((metric.label, mean, low, high, certain))
        cells = [
            escape(metric.label), found.difference.count, _signed(metric, three[0]) + _spread(metric, found),
            escape(metric.unit), f"{found.more} : {found.less}",
            *(_probability(p)[2:] for p in (found.sign, found.ranks, comparison.adjusted[name])),
        ]  # fmt: skip
        lines.append(
            f'<tr class="{"certain" if certain else ""}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        )
    heads = ("figure", "pairs", "difference", "unit", "more : less", "sign test", "signed ranks", "adjusted")
    plot = forest_plot(rows) if rows else ""
    return (
        "<h2>Differences in pairs</h2><figure class='wide'><figcaption>First folder less second, over "
        f"{len(comparison.names)} videos of the same name; in standard deviations of the videos. "
        "Filled: stands out among all of them (adjusted p below 0.05)."
        f"</figcaption>{plot}</figure><div class='wide'><table><tr>"
        f"{''.join(f'<th>{head}</th>' for head in heads)}</tr>{''.join(lines)}</table></div>"
    )


def _table(evaluations: Sequence[Evaluation]) -> str:
    found = [metric for metric in METRICS if any(metric.name in each.summary() for each in evaluations)]
    heads = "".join(
        f'<th title="{escape(metric.help)}">{escape(metric.label)}<br>{escape(metric.unit) or "&nbsp;"}</th>'
        for metric in found
    )
    videos = [
        (video, kind) for each, kind in _with_colours(evaluations) for video in each.videos if video.figures
    ]
    rows = "".join(_row(video, kind, found) for video, kind in videos[:MOST_ROWS])
    more = (
        f"<p class='faint'>{len(videos) - MOST_ROWS} more are in the CSV.</p>"
        if len(videos) > MOST_ROWS
        else ""
    )
    if not rows:
        return ""
    return (
        "<h2>Every video</h2><div class='wide'><table class='videos'>"
        f"<tr><th>video</th><th>s<br>&nbsp;</th>{heads}</tr>{rows}</table></div>"
        f"<p class='faint'>Green: within people's range.</p>{more}"
    )


def _row(video: EvaluatedVideo, kind: str, metrics: Sequence[Metric]) -> str:
    assert video.figures is not None
    name = escape(visible(video.name))
    cells = "".join(_cell(metric, video.value(metric.name)) for metric in metrics)
    return (
        f'<tr><td class="{kind}" title="{name}">{name}</td><td>{video.figures.seconds:.1f}</td>{cells}</tr>'
    )


def _cell(metric: Metric, value: float) -> str:
    inside = metric.people and metric.people[0] <= value <= metric.people[1]
    return f'<td class="inside">{metric.text(value)}</td>' if inside else f"<td>{metric.text(value)}</td>"


def _failed(evaluations: Sequence[Evaluation]) -> str:
    items = [
        f'<span class="bad">{escape(visible(video.name))}</span>: {escape(visible(str(video.error)))}'
        for each in evaluations
        for video in each.failed
    ]
    return _list("Failed", items)


def _rest(evaluations: Sequence[Evaluation], comparison: FolderComparison | None) -> str:
    """Videos without a partner, notes, and figures that no video has."""
    parts = []
    if comparison:
        for each, names in zip(evaluations, (comparison.only_first, comparison.only_second), strict=True):
            parts.append(_list(f"Only in {_folder(each)}", [escape(visible(name)) for name in names]))
    notes = [
        f"{escape(visible(video.name))}: {escape(visible(' '.join(video.figures.notes)))}"
        for each in evaluations
        for video in each.videos
        if video.figures and video.figures.notes
    ]
    known = {name for each in evaluations for name in each.summary()}
    lacking = [escape(metric.label) for metric in METRICS if metric.name not in known]
    parts += [_list("Notes", notes[:MOST_ROWS]), _list("Figures that no video has", lacking)]
    return "".join(parts)


def _list(title: str, items: Sequence[str]) -> str:
    inside = "".join(f"<li>{item}</li>" for item in items)
    return f"<h2>{title} ({len(items)})</h2><ul class='notes wide'>{inside}</ul>" if items else ""
