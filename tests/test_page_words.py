"""What the page says has its Chinese in the catalogue of the messages."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the page needs fastapi and uvicorn: install the extra `standalone`")

import sonic_ext
from sonic_ext import messages
from sonic_ext.app import page_words
from sonic_ext.app.page_files import FOLDER
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
    assert sorted(texts() - messages.read("zh").keys()) == []


def test_nothing_is_put_together_before_it_is_looked_up() -> None:
    for path in MODULES:
        assert not re.search(r"\bt\(\s*[`']", path.read_text(encoding="utf-8")), path.name


def test_names_in_both_languages_are_the_same() -> None:
    catalogue = messages.read("zh")
    for text in texts():
        names = sorted(re.findall(r"\{(\w+)\}", text))
        assert sorted(re.findall(r"\{(\w+)\}", catalogue[text])) == names, text


def test_what_the_api_sends_to_be_shown_has_its_chinese() -> None:
    shown = {str(stage) for stage in Stage} | {NOTICE} | set(headings().values()) | set(PRESETS)
    shown |= {spec.label for spec in describe().values()} | {spec.help for spec in describe().values()}
    assert sorted(shown - page_words.texts("zh").keys()) == []


def test_the_page_gets_what_it_says_and_little_else() -> None:
    """What a browser fetches before it shows anything in Chinese stays small."""
    served = page_words.texts("zh")
    assert sorted(texts() - served.keys()) == []
    assert {"ready", "to convert", "exported", "self", "intact"} <= served.keys()
    assert len(served) < len(messages.read("zh")) / 2
    of_nodes = {"node.js", "node.css", "gate.js", "comfyui.css"}  # fetched by ComfyUI's page alone
    files = [path for path in FOLDER.iterdir() if path.suffix in (".js", ".css", ".html")]
    files = [path for path in files if path.name not in of_nodes]
    sizes = [len(gzip.compress(path.read_bytes(), 9)) for path in files]
    assert sum(sizes) + len(page_words.texts_file("zh").packed or b"") < 100_000
