"""Text of strangers, made fit to be shown: what steers a terminal, forges a line or hides is written out."""

from __future__ import annotations

import unicodedata

SHOWN = 4000
"""Characters of one line that are shown."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula."""
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's general categories of what is never drawn: controls (line ends, escape codes), formats (turns of
direction, widths of zero), halves of characters, line and paragraph separators."""


def visible(text: str, limit: int = SHOWN) -> str:
    """The text in one line, with what cannot be seen as Python writes it: `\\n`, `\\x1b`, `\\u202e`.

    What is longer than `limit` is cut, and its length said.
    """
    if len(text) > limit:
        return f"{_written_out(text[:limit])}… ({len(text):,} characters)"
    return _written_out(text)


def table_cell(text: str) -> str:
    """The text in one line, for a table that spreadsheets read: never a formula."""
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA) else shown


def whole(text: str) -> str:
    """The text without halves of characters, which JSON and file names can carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def is_whole(text: str) -> bool:
    """Whether there is no half of a character in the text."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _written_out(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(_escape(letter) if unicodedata.category(letter) in UNSEEN else letter for letter in text)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def duration_text(seconds: float) -> str:
    """`0.8 s`, `12 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def bytes_text(count: float) -> str:
    """`163 kB`, `812 MB`, `1.4 GB` (powers of ten)."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{round(count / 1e6)} MB" if count >= 1e6 else f"{round(count / 1e3)} kB"
