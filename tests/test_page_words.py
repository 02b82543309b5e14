"""What the page says has its Chinese in the catalogue of the messages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import sonic_ext
from sonic_ext import messages
from sonic_ext.progress import Stage
from sonic_ext.provenance.consent import NOTICE
from sonic_ext.settings import PRESETS, describe, headings

MODULES = sorted((Path(sonic_ext.__file__).parent / "app" / "page").glob("*.js"))
SAID = re.compile(r'\bt\(\s*("(?:[^"\\]|\\.)*")')


def texts() -> set[str]:
    """Every text that a module hands to `t`."""
    return {json.loads(found) for path in MODULES for found in SAID.findall(path.read_text(encoding="utf-8"))}


def test_every_text_has_its_chinese() -> None:
    assert len(texts()) > 250
    assert sorted(texts() - messages.read().keys()) == []


def test_nothing_is_put_together_before_it_is_looked_up() -> None:
    for path in MODULES:
        assert not re.search(r"\bt\(\s*[`']", path.read_text(encoding="utf-8")), path.name


def test_names_in_both_languages_are_the_same() -> None:
    catalogue = messages.read()
    for text in texts():
        names = sorted(re.findall(r"\{(\w+)\}", text))
        assert sorted(re.findall(r"\{(\w+)\}", catalogue[text])) == names, text


def test_what_the_api_sends_to_be_shown_has_its_chinese() -> None:
    shown = {str(stage) for stage in Stage} | {NOTICE} | set(headings().values()) | set(PRESETS)
    shown |= {spec.label for spec in describe().values()} | {spec.help for spec in describe().values()}
    assert sorted(shown - messages.read().keys()) == []
