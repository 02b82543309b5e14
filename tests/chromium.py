"""Finds the Chromium that the page tests drive."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "SONIC_CHROMIUM"

HOW_TO_GET_ONE = (
    "no Chromium was found: install chromium, Chrome or Edge, "
    f"or run `python -m playwright install chromium`, or point {VARIABLE} at one"
)

FLAGS = (
    "--no-sandbox",  # there is none for root, as in most containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)

_NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)

_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)

_WINDOWS_PLACES = (
    "Google/Chrome/Application/chrome.exe",
    "Chromium/Application/chrome.exe",
    "Microsoft/Edge/Application/msedge.exe",
)


@contextmanager
def launched() -> Iterator[Any]:
    """A fresh headless Chromium with a profile of its own; without one, or playwright, tests are skipped."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the page tests need playwright: install the extra `test`"
    )
    with playwright.sync_playwright() as driver:
        program = find_chromium(driver.chromium.executable_path)
        if program is None:
            pytest.skip(HOW_TO_GET_ONE)
        chromium = driver.chromium.launch(executable_path=program, headless=True, args=[*FLAGS])
        yield chromium
        chromium.close()


def find_chromium(own: str = "") -> str | None:
    """$SONIC_CHROMIUM, else one in PATH or in the usual places, else playwright's `own`; None without any."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    candidates = (path for path in (*_candidates(), own) if path and Path(path).is_file())
    return next(candidates, None)


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, _NAMES))
    yield from _PLACES
    for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
        root = os.environ.get(variable)
        if root:
            yield from (str(Path(root) / place) for place in _WINDOWS_PLACES)
