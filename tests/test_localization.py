"""Every text of the page has its Chinese, in the form that WebUIs read."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sonic_ext.hosts import options
from sonic_ext.settings import describe

FILE = Path(__file__).parents[1] / "localizations" / "zh_CN.json"
NAMES = {
    *("Sonic", "Euler", "Euler a", "DPM++ 2M", "YYYY-MM-DD", "sonic", "yoloface", "insightface"),
    *(
        "fp32",
        "fp16",
        "bf16",
        "fp8",
        "int8",
        "MIT",
        "Apache 2.0",
        "CC BY-NC-SA 4.0",
        "Stability AI Community License",
    ),
}
"""Names are no words."""
OF_GRADIO_3 = {"Microphone", "Speech file"}
"""It has two components where gradio 4 has one."""


def _translations() -> dict[str, str]:
    """Fails where a text is translated twice."""

    def once(pairs: list[tuple[str, str]]) -> dict[str, str]:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)
        return dict(pairs)

    read: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"), object_pairs_hook=once)
    return read


class Words(HTMLParser):
    """Text nodes as a WebUI looks them up: trimmed, one by one, without style sheets and names of files."""

    SKIPPED = ("style", "code", "script")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Remember where we are."""
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave the element."""
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Keep what is read by people."""
        if data.strip() and not set(self._open) & {*self.SKIPPED}:
            self.found.append(data.strip())


def _in_html(text: str) -> list[str]:
    reader = Words()
    reader.feed(text)
    return reader.found


def _texts(blocks: Any) -> Iterator[str]:
    """What is shown of a built page."""
    for block in blocks.blocks.values():
        kind = type(block).__name__
        for name in ("label", "info", "placeholder"):
            yield str(getattr(block, name, None) or "")
        for choice in getattr(block, "choices", None) or ():
            yield str(choice[0] if isinstance(choice, tuple) else choice)
        if kind == "Button":
            yield str(block.value)
        if kind in ("HTML", "Markdown") and isinstance(block.value, str):
            yield from _in_html(block.value)


def _is_word(text: str) -> bool:
    """Numbers, paths, addresses and ranges are the same in every language."""
    same = text in NAMES or re.match(r"https:|[/\\]|[A-Z]:\\", text)
    return bool(re.search("[A-Za-z]{2}", text)) and not re.search("[\u4e00-\u9fff]", text) and not same


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Texts of the accordion and the buttons; the page in the tab speaks for itself."""
    pytest.importorskip("gradio", reason="a WebUI needs gradio: see requirements/gradio4.txt")
    from webui_standin import ui_components, webui

    from sonic_ext.app.compat import gr
    from sonic_ext.extension import registration, script

    with webui(tmp_path, monkeypatch), gr.Blocks(analytics_enabled=False) as accordion:
        monkeypatch.setitem(sys.modules, "modules.ui_components", ui_components())
        script.script_class(registration.held_host, registration.worker)().ui(False)
    texts = {text.strip() for text in _texts(accordion)} | {script.SEND_TOOLTIP, "Send to Sonic"}
    return {text for text in texts if _is_word(text)}


def _of_settings() -> set[str]:
    return {text for spec in describe().values() for text in (spec.label, spec.help)}


def _of_settings_page() -> set[str]:
    """A WebUI puts explanations in brackets."""
    wanted = {text for option in options.all_options() for text in (option.label, f"({option.info})")}
    choices = {choice for option in options.all_options() for choice in option.choices}
    return wanted | {choice for choice in choices if _is_word(choice)}


@pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries
def test_every_text_is_translated(shown: set[str]) -> None:
    assert len(shown) > 30
    wanted = shown | OF_GRADIO_3 | _of_settings() | _of_settings_page()
    assert sorted(wanted - _translations().keys()) == []
    assert sorted(_translations().keys() - wanted) == [], "nothing says these"


def test_translations_are_chinese_and_whole() -> None:
    for english, chinese in _translations().items():
        assert re.search("[\u4e00-\u9fff]", chinese), english
        names = set(re.findall(r"[a-z]+_[a-z_]+|(?<![a-z])\d+(?![a-z])", english))
        assert {name for name in names if name not in chinese} == set(), english
