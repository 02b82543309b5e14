"""Small pieces of HTML in a WebUI's own page, as pure functions; every value is escaped."""

from __future__ import annotations

from html import escape as without_markup
from importlib import resources

from ..errors import Cancelled, SonicError
from ..messages import languages, translated
from ..text import visible


def style() -> str:
    """The page's style sheet as an element, so that it travels with the tab into any host."""
    css = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return f"<style>{css}</style>"


def escape(text: str) -> str:
    """The text as it may stand in an element or an attribute: neither markup nor anything unseen."""
    return without_markup(visible(text))


def spoken(text: str) -> str:
    """The text as an element may hold it, in every language whose catalogue has it.

    `javascript/sonic.js` tells the browser which one to show.
    """
    others = {tag: translated(tag, text) for tag in languages()}
    return _said("en", text, "") + "".join(
        _said(tag, said, " hidden") for tag, said in others.items() if said
    )


def _said(tag: str, text: str, hidden: str) -> str:
    return f'<span class="sonic-said" lang="{tag}"{hidden}>{escape(text)}</span>'


def banner(kind: str, message: str, hint: str = "") -> str:
    """A box with one sentence, and a second one on what to do. `kind`: error, warning, good, note."""
    role = "alert" if kind == "error" else "status"
    rest = f"<span>{spoken(hint)}</span>" if hint else ""
    said = f"<strong>{spoken(message)}</strong> {rest}"
    return f'<div class="sonic-banner sonic-{kind}" role="{role}">{said}</div>'


def error(problem: SonicError) -> str:
    """What happened and what to do."""
    kind = "note" if isinstance(problem, Cancelled) else "error"
    return banner(kind, problem.message, problem.hint)
