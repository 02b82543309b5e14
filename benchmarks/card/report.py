"""A record as tables: for a terminal, and as Markdown. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

Record = Mapping[str, Any]
LOST = {"done": "", "left out": "left out", "deadline": "not finished"}
"""Status → how a section is called that ended so."""


def text(record: Record) -> Iterator[str]:
    """Lines for a terminal."""
    yield heading(record)
    for section in record["sections"].values():
        yield f"\n{section['title']}{_ending(section)}  [{section['seconds']:.0f} s]"
        for heads, rows in tables(section["rows"]):
            cells = [heads, *rows]
            widths = [max(len(row[place]) for row in cells) for place in range(len(heads))]
            for row in cells:
                yield (
                    "  "
                    + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                )
        for note in notes(section["rows"]):
            yield f"  {note}"


def markdown(record: Record) -> Iterator[str]:
    """Lines of a chapter."""
    yield f"## {record['card']['name']}, {record['date']}"
    yield ""
    yield heading(record)
    for section in record["sections"].values():
        yield f"\n### {section['title']}{_ending(section)}"
        for heads, rows in tables(section["rows"]):
            yield ""
            yield from (f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))
        for note in notes(section["rows"]):
            yield f"\n{note}"


def heading(record: Record) -> str:
    """What was measured on."""
    card = record["card"]
    known = [
        card.get("name", "no card"),
        f"{card['memory'] / 1e9:.1f} GB" if card.get("memory") else "",
        f"driver {card['driver']}" if card.get("driver") else "",
        f"torch {card['torch']}" if card.get("torch") else "",
        f"limited to {card['limit'] / 1e9:.0f} GB" if card.get("limit") else "",
        "tiny networks: figures mean nothing" if card.get("tiny") else "",
        f"{record['seconds']:.0f} s in all",
    ]
    return ", ".join(part for part in known if part)


def tables(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Rows with the same columns next to each other, as heads and cells."""
    shown = (row for row in rows if "note" not in row)
    for heads, group in groupby(shown, key=lambda row: tuple(row)):
        yield list(heads), [[_cell(value) for value in row.values()] for row in group]


def notes(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The sentences among them."""
    return (row["note"] for row in rows if "note" in row)


def _ending(section: Mapping[str, Any]) -> str:
    failed = sum(row.get("passed") is False for row in section["rows"])
    said = LOST.get(section["status"], section["status"])
    parts = [": ".join(filter(None, (said, section["why"]))), f"{failed} checks failed" if failed else ""]
    shown = "; ".join(part for part in parts if part)
    return f" ({shown})" if shown else ""


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
