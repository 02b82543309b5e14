"""Tests of a ComfyUI that runs: `pytest tests/live/comfy --comfy http://127.0.0.1:8188 [--home DIR]`.

It is started by hand, with this repository below its `custom_nodes`; no checkpoint is needed. Its input
folder gets a few files whose names begin with `sonic-live`. `--home` is its private home, for tests that look
into that, `--link` a link to it in the input folder. Without `--comfy` every test here is skipped.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from canvas import open_comfy
from chromium import launched
from comfy_client import Comfy
from patience import MILLISECONDS
from spoken import MEDIA, one_second, write_wav

EXCUSED = ("comfy.org", "Comfy-Org", "Failed to load resource", "reading 'id'", "JobsApiError")
"""In what ComfyUI's own page says or asks for: release notes, models, files, a fault of its start; and
jobs, for which a page that is newer than its ComfyUI asks in vain."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is tested."""
    group = parser.getgroup("live")
    group.addoption("--comfy", metavar="URL", help="address of a running ComfyUI")
    group.addoption("--vue-nodes", action="store_true", help="its nodes as elements of the page")


@pytest.fixture(scope="session")
def comfy(request: pytest.FixtureRequest) -> Comfy:
    """The ComfyUI over HTTP."""
    url = request.config.getoption("--comfy", default=None)
    if not url:
        pytest.skip("no ComfyUI was named: --comfy URL")
    return Comfy(url.rstrip("/"))


@pytest.fixture(scope="session")
def home(request: pytest.FixtureRequest, comfy: Comfy) -> Path:
    """Its private home."""
    named = request.config.getoption("--home")
    if not named:
        pytest.skip("no private home was named: --home DIR")
    return Path(named).resolve()


@pytest.fixture(scope="session")
def voice(comfy: Comfy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second of speech in ComfyUI's input folder."""
    return comfy.put(one_second(tmp_path_factory.mktemp("voice") / "sonic-live-voice.wav"))


@pytest.fixture(scope="session")
def silence(comfy: Comfy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second without a sound."""
    return comfy.put(
        write_wav(tmp_path_factory.mktemp("silence") / "sonic-live-silence.wav", bytes(2 * 16000))
    )


@pytest.fixture(scope="session")
def pictures(comfy: Comfy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two faces, and a picture without one."""
    folder = tmp_path_factory.mktemp("pictures")
    named = {"one": "portrait_01.jpg", "other": "portrait_02.jpg", "nobody": "no_person.jpg"}
    return {
        name: comfy.put(Path(shutil.copy(MEDIA / file, folder / f"sonic-live-{file}")))
        for name, file in named.items()
    }


@pytest.fixture(scope="session")
def browser(comfy: Comfy) -> Iterator[Any]:
    """A fresh Chromium."""
    with launched() as chromium:
        yield chromium


@pytest.fixture
def window(browser: Any, comfy: Comfy, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens ComfyUI's page in windows of their own.

    No script of ours may fail there, and nothing of ours may be asked for elsewhere.
    """
    opened: list[Any] = []
    said: list[str] = []
    asked: list[str] = []

    def open_window(palette: str = "dark", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1700, "height": 1000}} | options)
        context.add_init_script(f"Object.assign(localStorage, {json.dumps(comfy.user())})")
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.set_default_navigation_timeout(MILLISECONDS)
        page.on("pageerror", lambda error: said.append(f"{error}\n{error.stack}"))
        page.on("console", lambda each: each.type == "error" and said.append(each.text))
        page.on("request", lambda each: asked.append(each.url))
        opened.append(page)
        open_comfy(page, comfy.url, palette, request.config.getoption("--vue-nodes"))
        return page

    yield open_window
    folder = request.config.getoption("--shots")
    for number, page in enumerate(opened):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{request.node.name}-{number}.png")
        page.context.close()
    assert [text for text in said if not any(each in text for each in EXCUSED)] == []
    elsewhere = [url for url in asked if not url.startswith((comfy.url, "blob:", "data:"))]
    assert [url for url in elsewhere if not any(each in url for each in EXCUSED)] == []


@pytest.fixture
def page(window: Callable[..., Any]) -> Any:
    """One of them."""
    return window()


@pytest.fixture(autouse=True)
def _nothing_is_left_under_way(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.config.getoption("--comfy", default=None):
        request.getfixturevalue("comfy").stop_all()


@pytest.fixture
def seed() -> int:
    """Another one each time: what was made with one before is not made again."""
    return random.randrange(2**31)
