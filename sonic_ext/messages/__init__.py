"""What errors, warnings, gate, verification and page say, in other languages as well: a catalogue for each.

    translated("zh", "out.mp3 does not end in .mp4.")     # "out.mp3 的后缀不是 .mp4。"
    with speaking("zh"):
        said(error.message)                               # Chinese where the catalogue has it, else as it was

The code writes English, and English is what is stored, logged and parsed. A key of a catalogue is such a
sentence, with `{names}` for what is filled in. So a message is found again whatever made it: this process, a
row of the queue, another version. The other language has the same names, in any order; what is filled in is
looked up, too. A new sentence needs a line in `zh.json`, nothing else: `tests/test_messages.py` says where
none is. Another language is another file: `languages` finds it, and the page's switch has it.
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
from pathlib import Path

FOLDER = Path(__file__).parent
"""Where the catalogues lie: `zh.json` …"""
ENGLISH = "en"
NAME, BETWEEN_SENTENCES, BETWEEN_REASONS = "(name)", "(between sentences)", "(between reasons)"
"""Keys of a catalogue for what is no sentence: what the language calls itself, and what parts sentences
and the reasons of a list."""
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
_spoken: ContextVar[str] = ContextVar("sonic_language", default=ENGLISH)


@dataclass(frozen=True)
class _Template:
    """One line of the catalogue."""

    pieces: tuple[str, ...]
    """The English around what is filled in: one more than there are names."""
    names: tuple[str, ...]
    translation: str

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


@cache
def languages() -> dict[str, str]:
    """Tag → what the language calls itself; English first."""
    tags = sorted(path.stem for path in FOLDER.glob("*.json"))
    return {ENGLISH: "English"} | {tag: read(tag)[NAME] for tag in tags}


def translated(language: str, text: str) -> str | None:
    """A message, or several sentences, in that language; None where its catalogue has none of it."""
    if language == ENGLISH or len(text) > LONGEST:
        return None
    return _translated(language, text, DEPTH)


def said(text: str) -> str:
    """The text in the language that is spoken here (`speaking`), English where it has no other."""
    return translated(_spoken.get(), text) or text


def joined(*sentences: str) -> str:
    """Sentences after each other in the language that is spoken here."""
    language = _spoken.get()
    between = " " if language == ENGLISH else read(language)[BETWEEN_SENTENCES]
    return between.join(filter(None, map(said, sentences)))


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Inside, `said` speaks this one of `languages`; in this thread, and what copies its context."""
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
    return next((tag for tag in languages() if named.lower().startswith(tag)), ENGLISH)


def of_header(accepted: str) -> str:
    """The language that a header Accept-Language likes best, of those there are."""
    best, language = 0.0, ENGLISH
    for each in accepted.split(","):
        name, _, options = each.partition(";")
        weight = re.fullmatch(r"\s*q=([0-9.]{1,5})\s*", options)
        try:
            liked = float(weight[1]) if weight else 1.0
        except ValueError:
            continue
        main = name.strip().lower().partition("-")[0]
        if main in languages() and liked > best:
            best, language = liked, main
    return language


@lru_cache(maxsize=512)
def _translated(language: str, text: str, depth: int) -> str | None:
    plain, templates = _catalogue(language)
    if text in plain:
        return plain[text]
    if depth < 1:
        return None
    # Sentence by sentence first: what is filled in could be the end of one and the beginning of the next.
    sentences = _SENTENCES.split(text, MOST)
    found = [_translated(language, each, depth - 1) for each in sentences] if len(sentences) > 1 else [None]
    between = read(language)[BETWEEN_SENTENCES]
    if all(found):
        return between.join(filter(None, found))
    for template in templates:
        values = template.values(text)
        if values is not None:
            return _filled(
                template.translation, {name: _part(language, value, depth) for name, value in values.items()}
            )
    if not any(found):
        return None
    return between.join(part or sentence for part, sentence in zip(found, sentences, strict=True))


def _part(language: str, value: str, depth: int) -> str:
    """What is filled in: a name, a number, a text of the catalogue or several; a word may be a name."""
    reasons = value.strip().split("; ")
    listed = [_translated(language, each, depth - 1) if " " in each else None for each in reasons]
    return read(language)[BETWEEN_REASONS].join(filter(None, listed)) if all(listed) else value


@cache
def _catalogue(language: str) -> tuple[dict[str, str], tuple[_Template, ...]]:
    """Texts without anything to fill in, and templates: those that say the most come first."""
    plain, templates = {}, []
    for english, translation in read(language).items():
        names = tuple(found[1] for found in _FIELD.finditer(english) if found[1])
        if names:
            pieces = _filled(english, dict.fromkeys(names, "\0")).split("\0")
            templates.append(_Template(tuple(pieces), names, translation))
        else:
            plain[_filled(english, {})] = _filled(translation, {})
    return plain, tuple(sorted(templates, key=lambda each: -sum(map(len, each.pieces))))


@cache
def read(language: str) -> Mapping[str, str]:
    """A catalogue as it is written: English → that language, `{names}` in both, literal braces doubled."""
    return dict(json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8")))


def _filled(template: str, values: Mapping[str, str]) -> str:
    """As `str.format`, where nothing but names is filled in."""
    return _FIELD.sub(lambda found: values[found[1]] if found[1] else found[0][0], template)
