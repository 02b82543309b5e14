"""Tests of a WebUI that runs: `pytest tests/live --webui http://127.0.0.1:7860 [--auth user:password]`.

The WebUI is started by hand, with a checkpoint; any weights will do, the smaller the faster. What talks to
the API is skipped where it was started without `--api`, and without `--webui` every test here is. One that
was started with `--subpath` is named by the address below the proxy before it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chromium import launched
from client import Client
from patience import MILLISECONDS
from tab import log_in, open_tab


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is tested, and how much of it."""
    group = parser.getgroup("live")
    group.addoption("--webui", metavar="URL", help="address of a running WebUI")
    group.addoption("--auth", metavar="USER:PASSWORD", help="what it was given as --api-auth")
    group.addoption("--login", metavar="USER:PASSWORD", help="what it was given as --gradio-auth")
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
    return Client(url.rstrip("/"), request.config.getoption("--auth"), request.config.getoption("--login"))


@pytest.fixture(scope="session")
def browser(webui: Client) -> Iterator[Any]:
    """A fresh Chromium."""
    if not webui.has_page():
        pytest.skip("this WebUI has no page (--nowebui)")
    with launched() as chromium:
        yield chromium


@pytest.fixture
def api(webui: Client) -> Client:
    """The WebUI's API, for other programs than its page."""
    if not webui.has_api():
        pytest.skip("this WebUI was started without --api")
    return webui


@pytest.fixture
def window(browser: Any, webui: Client, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens the WebUI's page with the tab Sonic in windows of their own; no script of ours may fail there.

    Windows take the options of a playwright context, and `theme`.
    """
    broken: list[str] = []
    opened: list[Any] = []

    def open_window(theme: str = "light", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}} | options)
        context.route(
            re.compile("googleapis"), lambda route: route.abort()
        )  # gradio asks for its fonts there
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.set_default_navigation_timeout(MILLISECONDS)
        page.on("pageerror", lambda error: broken.append(f"{error}\n{error.stack}"))
        if webui.login:
            log_in(page, webui.login)
        page.goto(f"{webui.url}/?__theme={theme}")
        opened.append(page)
        open_tab(page)
        return page

    yield open_window
    folder = request.config.getoption("--shots")
    for number, page in enumerate(opened):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{request.node.name}-{number}.png", full_page=True)
        page.context.close()
    assert [text for text in broken if "sonic" in text.lower()] == []


@pytest.fixture
def page(window: Callable[..., Any]) -> Any:
    """One of them."""
    return window()
