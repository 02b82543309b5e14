"""What errors, warnings, the gate and the verification say, in Chinese as well: one catalogue, `zh.json`.

    chinese("out.mp3 does not end in .mp4.")     # "out.mp3 的后缀不是 .mp4。"
    with speaking("zh"):
        said(error.message)                      # Chinese where the catalogue has it, else as it was

The code writes English, and English is what is stored, logged and parsed. A key of the catalogue is such a
sentence, with `{names}` for what is filled in. So a message is found again whatever made it: this process, a
row of the queue, another version. The Chinese has the same names, in any order; what is filled in is looked
up, too. A new sentence needs a line in `zh.json`, nothing else: `tests/test_messages.py` says where none is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

SAMPLES = {"en": "a", "zh": "中"}
"""The languages, each with a letter that only those can show that can show it."""
VARIABLE = "SONIC_LANGUAGE"
"""Environment variable: the command line's language, before that of the system."""
DEPTH = 4
"""How deep what is filled in is looked up."""
MOST = 20
"""Sentences of one text that are looked up one by one."""
LONGEST = 4000
"""Characters of a text that is looked up."""
_FIELD = re.compile(r"\{\{|\}\}|\{(\w+)\}")
_SENTENCES = re.compile(r"(?<=[.?!]) (?=[A-Z])")
_spoken: ContextVar[str] = ContextVar("sonic_language", default="en")


@dataclass(frozen=True)
class _Template:
    """One line of the catalogue."""

    pieces: tuple[str, ...]
    """The English around what is filled in: one more than there are names."""
    names: tuple[str, ...]
    chinese: str

    def values(self, text: str) -> dict[str, str] | None:
        """What was filled in to make this text; None for another text. In one pass, whoever wrote it."""
        first, *between, last = self.pieces
        end = len(text) - len(last)
        if not (text.startswith(first) and text.endswith(last) and len(first) <= end):
            return None
        values, at = [], len(first)
        for piece in between:
            found = text.find(piece, at, end)
            if found < 0:
                return None
            values.append(text[at:found])
            at = found + len(piece)
        return dict(zip(self.names, (*values, text[at:end]), strict=True))


def chinese(text: str) -> str | None:
    """The Chinese of a message, or of several sentences; None where the catalogue has none of it."""
    return _chinese(text, DEPTH) if len(text) <= LONGEST else None


def said(text: str) -> str:
    """The text in the language that is spoken here (`speaking`), English where it has no other."""
    return (chinese(text) or text) if _spoken.get() == "zh" else text


def joined(*sentences: str) -> str:
    """Sentences after each other in the language that is spoken here."""
    return ("" if _spoken.get() == "zh" else " ").join(filter(None, map(said, sentences)))


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Inside, `said` speaks this one of `SAMPLES`; in this thread, and what copies its context."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def of_environment(environment: Mapping[str, str] | None = None) -> str:
    """The language of a command line: $SONIC_LANGUAGE, else that of the locale."""
    given = os.environ if environment is None else environment
    names = (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG")
    named = next((value for name in names if (value := given.get(name, "").strip())), "")
    return "zh" if named.lower().startswith("zh") else "en"


def of_header(accepted: str) -> str:
    """The language that a header Accept-Language likes best, of those there are."""
    best, language = 0.0, "en"
    for each in accepted.split(","):
        name, _, options = each.partition(";")
        weight = re.fullmatch(r"\s*q=([0-9.]{1,5})\s*", options)
        try:
            liked = float(weight[1]) if weight else 1.0
        except ValueError:
            continue
        main = name.strip().lower().partition("-")[0]
        if main in SAMPLES and liked > best:
            best, language = liked, main
    return language


@lru_cache(maxsize=512)
def _chinese(text: str, depth: int) -> str | None:
    plain, templates = _catalogue()
    if text in plain:
        return plain[text]
    if depth < 1:
        return None
    # Sentence by sentence first: what is filled in could be the end of one and the beginning of the next.
    sentences = _SENTENCES.split(text, MOST)
    found = [_chinese(each, depth - 1) for each in sentences] if len(sentences) > 1 else [None]
    if all(found):
        return "".join(filter(None, found))
    for template in templates:
        values = template.values(text)
        if values is not None:
            return _filled(template.chinese, {name: _part(value, depth) for name, value in values.items()})
    if not any(found):
        return None
    return "".join(part or sentence for part, sentence in zip(found, sentences, strict=True))


def _part(value: str, depth: int) -> str:
    """What is filled in: a name, a number, a text of the catalogue or several; a word may be a name."""
    listed = [_chinese(each, depth - 1) if " " in each else None for each in value.strip().split("; ")]
    return "；".join(filter(None, listed)) if all(listed) else value


@cache
def _catalogue() -> tuple[dict[str, str], tuple[_Template, ...]]:
    """Texts without anything to fill in, and templates: those that say the most come first."""
    plain, templates = {}, []
    for english, translated in read().items():
        names = tuple(found[1] for found in _FIELD.finditer(english) if found[1])
        if names:
            pieces = _filled(english, dict.fromkeys(names, "\0")).split("\0")
            templates.append(_Template(tuple(pieces), names, translated))
        else:
            plain[_filled(english, {})] = _filled(translated, {})
    return plain, tuple(sorted(templates, key=lambda each: -sum(map(len, each.pieces))))


def read() -> dict[str, str]:
    """The catalogue as it is written: English → Chinese, `{names}` in both, literal braces doubled."""
    text = resources.files(__name__).joinpath("zh.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _filled(template: str, values: Mapping[str, str]) -> str:
    """As `str.format`, where nothing but names is filled in."""
    return _FIELD.sub(lambda found: values[found[1]] if found[1] else found[0][0], template)
