"""Small pieces of HTML for the page, as pure functions; every value is escaped, what cannot be seen too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from html import escape as without_markup
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import Cancelled, SonicError
from ..files.names import expanded
from ..messages import chinese
from ..progress import Step
from ..text import bytes_text, duration_text, visible
from .facts import preflight_facts

if TYPE_CHECKING:
    from ..pipeline import Preflight
    from ..provenance.records import Record
    from ..provenance.store import Unusable
    from ..provenance.take import Take
    from ..provenance.verify import Verification
    from ..weights import Finding, Licence, Survey


def style() -> str:
    """The page's style sheet as an element, so that it travels with the tab into any host."""
    css = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return f"<style>{css}</style>"


def escape(text: str) -> str:
    """The text as it may stand in an element or an attribute: neither markup nor anything unseen."""
    return without_markup(visible(text))


def both(text: str) -> str:
    """The text as an element may hold it, and its Chinese where the catalogue has it.

    `tab.LANGUAGE` tells the browser which one to show.
    """
    other = chinese(text)
    if other is None:
        return escape(text)
    return (
        f'<span class="sonic-en">{escape(text)}</span>'
        f'<span class="sonic-zh" lang="zh-CN">{escape(other)}</span>'
    )


def banner(kind: str, message: str, hint: str = "") -> str:
    """A box with one sentence, and a second one on what to do. `kind`: error, warning, good, note."""
    role = "alert" if kind == "error" else "status"
    rest = f"<span>{both(hint)}</span>" if hint else ""
    said = f"<strong>{both(message)}</strong> {rest}"
    return f'<div class="sonic-banner sonic-{kind}" role="{role}">{said}</div>'


def error(problem: SonicError) -> str:
    """What happened and what to do."""
    kind = "note" if isinstance(problem, Cancelled) else "error"
    return banner(kind, problem.message, problem.hint)


def progress(step: Step, task: str = "") -> str:
    """A bar with stage, percentage and time left.

    Where a page has a bar of its own that can ask for `task`, `sonic.js` shows that one in the place of this.
    """
    percent = min(100, 100 * step.done // step.total)
    figures = f"{percent} %"
    if step.seconds_left is not None and step.done < step.total:
        figures += f" · about {duration_text(step.seconds_left)} left"
    words = f"<span>{escape(_sentence(step.text))}</span><span>{figures}</span>"
    named = f' data-task="{escape(task)}"' if task else ""
    return (
        f'<div class="sonic-progress"{named} role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><div class="sonic-progress-text">{words}</div>'
        f'<div class="sonic-track"><div style="width:{percent}%"></div></div></div>'
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values side by side."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="sonic-facts">{cells}</dl>'


def warnings(sentences: Iterable[str]) -> str:
    """A list of sentences, or nothing."""
    items = "".join(f"<li>{both(sentence)}</li>" for sentence in sentences)
    return f'<ul class="sonic-warnings">{items}</ul>' if items else ""


def preflight(found: Preflight) -> str:
    """What the video will be."""
    return facts(preflight_facts(found)) + warnings(found.warnings)


def take(made: Take, record: Record | None) -> str:
    """What a finished video is, and its consent record if it was exported."""
    pairs = (
        ("Made", local_time(made.created)),
        ("Length", duration_text(made.seconds)),
        ("Size", f"{made.width} × {made.height}"),
        ("Engine", made.engine),
        ("Seed", str(made.seed)),
    )
    kept = (("Exported as", record.output_name), ("Record", record.id)) if record else ()
    return facts((*pairs, *kept)) + warnings(made.warnings)


def unusable(listed: Iterable[Unusable]) -> str:
    """A line for each take that cannot be loaded: when it was last changed, and why not."""
    return warnings(f"{local_time(each.modified)}: {each.error}" for each in listed)


def verdict(found: Verification) -> str:
    """What the marks of a video amount to, and the evidence for it."""
    rows = "".join(f"<tr><th>{both(name)}</th><td>{both(value)}</td></tr>" for name, value in found.rows)
    said = banner(found.verdict.banner, found.summary, found.hint)
    return f"{said}{_record_table(rows)}"


def sync(values: Mapping[str, Any]) -> str:
    """A measurement of lip sync, as `sync.apart.measured_apart` gives it."""
    from ..sync.verdict import SyncVerdict

    told = banner(SyncVerdict(values["verdict"]).banner, values["summary"], values["hint"])
    notes = dict.fromkeys([*filter(None, [values["reason"]]), *values["warnings"]])
    picture = (
        f'<img class="sonic-chart" src="{without_markup(values["chart"])}" alt="{escape(values["summary"])}">'
    )
    return told + warnings(notes) + picture


def records(listed: Iterable[Record]) -> str:
    """The consent ledger as a table."""
    rows = "".join(_record_row(record) for record in listed)
    if not rows:
        return banner(
            "note", "No consent has been recorded yet.", "The first export writes the first record."
        )
    head = "".join(
        f"<th>{title}</th>" for title in ("Record", "Given", "Face", "Voice", "Purpose", "Until", "State")
    )
    return (
        '<div class="sonic-scroll"><table class="sonic-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def record(shown: Record) -> str:
    """Everything that one record holds; hashes folded away."""
    values = shown.to_dict() | {name: local_time(moment) for name, moment in _moments(shown)}
    filled = {name: value for name, value in values.items() if value not in ("", None, False)}
    hashes = {name: value for name, value in filled.items() if name in _CHAIN or name.endswith("sha256")}
    plain = {name: value for name, value in filled.items() if name not in hashes}
    return (
        f"{_name_table(plain)}"
        f'<details class="sonic-more"><summary>Hashes</summary>{_name_table(hashes)}</details>'
    )


def exports(folder: Path, limit: int = 12) -> str:
    """The newest exported videos with a link each."""
    videos = sorted(folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not videos:
        return banner("note", "Nothing has been exported yet.")
    items = "".join(_export_item(path) for path in videos[:limit])
    more = f"<p>and {len(videos) - limit} more in the folder</p>" if len(videos) > limit else ""
    return f'<ul class="sonic-exports">{items}</ul>{more}<p class="sonic-path">{escape(place(folder))}</p>'


def place(path: Path) -> str:
    """Where a file lies, as far as its reader needs it: from the working folder on, or from the user's home.

    Others may read the page, and the rest of the path names this computer's users and folders.
    """
    known = path
    with contextlib.suppress(FileNotFoundError):  # the working folder was deleted
        known = path.absolute()
        if known.is_relative_to(Path.cwd()):
            return str(known.relative_to(Path.cwd()))
    with contextlib.suppress(RuntimeError):  # this user has no home
        if known.is_relative_to(Path.home()):
            return str("~" / known.relative_to(Path.home()))
    return str(known)


def parts(found: Survey) -> str:
    """The weights as a table: state, size, licence, where each part was found and what is wrong with it."""
    heads = ("Part", "State", "Size", "Licence", "Where")
    rows = "".join(_part_row(finding, heads) for finding in found.findings)
    head = "".join(f"<th>{title}</th>" for title in heads)
    return (
        '<div class="sonic-scroll"><table class="sonic-table sonic-parts">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def licence(shown: Licence, titles: Iterable[str]) -> str:
    """The terms of some parts, with a link to their full text."""
    return (
        f'<div class="sonic-licence"><h3>{escape(shown.name)}</h3><p>{escape(shown.sentence)}</p>'
        f"<p>For: {escape(', '.join(titles))}.</p><p>{_link(shown.url, shown.url)}</p></div>"
    )


def models_folder(folder: Path) -> str:
    """Where fetched and converted files go."""
    return f'<p class="sonic-path">Files go to <code>{escape(str(folder))}</code></p>'


def local_time(moment: datetime) -> str:
    """`2026-03-01 14:05` on this computer's clock."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


_CHAIN = ("digest", "seq", "prev_hash", "hash")
"""Fields of a record that only tell its place in the chain."""


def _moments(shown: Record) -> list[tuple[str, datetime]]:
    named = {"time": shown.time, "exported_at": shown.exported_at, "revoked_at": shown.revoked_at}
    return [(name, moment) for name, moment in named.items() if moment is not None]


def _name_table(values: Mapping[str, object]) -> str:
    return _record_table(
        "".join(
            f"<tr><th>{escape(_sentence(name.replace('_', ' ')))}</th><td>{escape(str(value))}</td></tr>"
            for name, value in values.items()
        )
    )


def _record_table(rows: str) -> str:
    table = f'<table class="sonic-table sonic-record"><tbody>{rows}</tbody></table>'
    return f'<div class="sonic-scroll">{table}</div>'


def _record_row(shown: Record) -> str:
    until = shown.expires.isoformat() if shown.expires else "no end"
    cells = (
        f"<code>{escape(shown.id)}</code>",
        escape(local_time(shown.time)),
        escape(str(shown.face)),
        escape(str(shown.voice)),
        escape(shown.purpose or "not stated"),
        escape(until),
        f'<span class="sonic-state sonic-{shown.state.replace(" ", "-")}">{escape(shown.state)}</span>',
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _part_row(finding: Finding, heads: Iterable[str]) -> str:
    part = finding.part
    need = part.need if part.required else f"{part.need}; optional"
    state = finding.state.value
    cells = (
        f"<strong>{escape(part.title)}</strong><small>{escape(_sentence(need))}</small>",
        f'<span class="sonic-state sonic-{state.replace(" ", "-")}">{escape(state)}</span>',
        _part_size(finding),
        _link(part.licence.url, part.licence.name),
        _part_place(finding),
    )
    named = zip(heads, cells, strict=True)
    told = "".join(f'<td data-head="{escape(title)}">{cell}</td>' for title, cell in named)
    return f"<tr>{told}</tr>"


def _link(url: str, words: str) -> str:
    return f'<a href="{escape(url)}" target="_blank" rel="noreferrer">{escape(words)}</a>'


def _part_size(finding: Finding) -> str:
    if finding.place and finding.path is not None and finding.path.is_file():
        return bytes_text(finding.path.stat().st_size)
    return f"about {bytes_text(finding.part.about)}" if finding.part.about else "told by the Hub"


def _part_place(finding: Finding) -> str:
    said = []
    if finding.place and finding.path is not None:
        said.append(f"{escape(_sentence(finding.place))}<code>{escape(str(finding.path))}</code>")
    if finding.detail:
        said.append(f"<small>{escape(finding.detail)}</small>")
    if not said:
        said.append(f"<small>{escape(finding.part.repos[0])} on the Hub</small>")
    return "".join(said)


def _export_item(path: Path) -> str:
    facts_of = path.stat()
    made = local_time(datetime.fromtimestamp(facts_of.st_mtime, timezone.utc))
    link = f"file={quote(os.fsencode(expanded(place(path)).as_posix()))}"
    return (
        f'<li><a href="{escape(link)}" download="{escape(path.name)}">{escape(path.name)}</a>'
        f"<span>{made} · {bytes_text(facts_of.st_size)}</span></li>"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
