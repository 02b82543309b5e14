"""Tests of a WebUI that runs: `pytest tests/live --webui http://127.0.0.1:7860 [--auth user:password]`.

The WebUI is started by hand, with `--api` and a checkpoint; any weights will do, the smaller the faster.
Without `--webui` every test here is skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chromium import launched
from client import Client
from tab import open_tab

MILLISECONDS = 600_000
"""That a step of the page may take: a checkpoint may have to be loaded, and a grid drawn, on a busy CPU."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is tested, and how much of it."""
    group = parser.getgroup("live")
    group.addoption("--webui", metavar="URL", help="address of a running WebUI")
    group.addoption("--auth", metavar="USER:PASSWORD", help="what it was given as --api-auth")
    group.addoption("--soak", type=int, default=0, metavar="N", help="N videos and N pictures in turn")
    for name, what in (
        ("home", "its private home, for the tests of the guard"),
        ("started-in", "the folder that it was started in"),
        ("uploads", "its $GRADIO_TEMP_DIR"),
    ):
        group.addoption(f"--{name}", type=Path, metavar="DIR", help=what)
    group.addoption(
        "--link", type=Path, action="append", default=[], metavar="LINK", help="leads to the home"
    )
    group.addoption("--shots", type=Path, metavar="DIR", help="keep screenshots there")


@pytest.fixture(scope="session")
def webui(request: pytest.FixtureRequest) -> Client:
    """The WebUI over HTTP."""
    url = request.config.getoption("--webui", default=None)
    if not url:
        pytest.skip("no WebUI was named: --webui URL")
    return Client(url.rstrip("/"), request.config.getoption("--auth"))


@pytest.fixture(scope="session")
def browser(webui: Client) -> Iterator[Any]:
    """A fresh Chromium."""
    if not webui.has_page():
        pytest.skip("this WebUI has no page (--nowebui)")
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Any, webui: Client, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The WebUI's page with the tab Sonic open. A script of ours that fails, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(MILLISECONDS)
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(webui.url)
    open_tab(page)
    yield page
    folder = request.config.getoption("--shots")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{request.node.name}.png", full_page=True)
    context.close()
    assert [text for text in broken if "sonic" in text.lower()] == []
