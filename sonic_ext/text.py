"""Text of strangers, made fit to be shown: what steers a terminal, forges a line or hides is written out."""

from __future__ import annotations

import unicodedata

SHOWN = 4000
"""Characters of one line that are shown."""
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's general categories of what is never drawn: controls (line ends, escape codes), formats (turns of
direction, widths of zero), halves of characters, line and paragraph separators."""


def visible(text: str, limit: int = SHOWN) -> str:
    """The text in one line, with what cannot be seen as Python writes it: `\\n`, `\\x1b`, `\\u202e`.

    What is longer than `limit` is cut, and its length said.
    """
    if len(text) > limit:
        return f"{_written_out(text[:limit])}… ({len(text):,} characters)"
    return _written_out(text)


def whole(text: str) -> str:
    """The text without halves of characters, which JSON and file names can carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _written_out(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(_escape(letter) if unicodedata.category(letter) in _UNSEEN else letter for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
