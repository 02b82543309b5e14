"""Small pieces of HTML in a WebUI's own page, as pure functions; every value is escaped."""

from __future__ import annotations

from html import escape as without_markup
from importlib import resources

from ..errors import Cancelled, SonicError
from ..messages import chinese
from ..text import visible


def style() -> str:
    """The page's style sheet as an element, so that it travels with the tab into any host."""
    css = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return f"<style>{css}</style>"


def escape(text: str) -> str:
    """The text as it may stand in an element or an attribute: neither markup nor anything unseen."""
    return without_markup(visible(text))


def both(text: str) -> str:
    """The text as an element may hold it, and its Chinese where the catalogue has it.

    `javascript/sonic.js` tells the browser which one to show.
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
