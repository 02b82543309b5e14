"""Tests in a real browser: which may run again, and what is said of one that fails.

Neither the browser nor gradio's page is ours, and on a busy machine one of them gives way now and then. So a
test that drives a browser (it takes the fixture `browser`, which gives it the mark of that name) runs again
when it fails, twice at most, and each time is told at the end. No other test may run again. What failed is
said in a sentence; the whole traceback, the windows' pictures and text and the server's log go to files.

`conftest.py` takes these hooks in.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from served import LOG

RERUNS = 2
"""How often a test of the browser may run again."""
MARK = "browser"
LINES, WIDTH = 4, 200
"""What of a failure's message is printed."""
MOMENT = 20_000
"""Milliseconds that a picture of a page may take."""


def pytest_configure(config: pytest.Config) -> None:
    """Tell of the mark."""
    config.addinivalue_line(
        "markers", f"{MARK}: drives a real browser; may run again, {RERUNS} times at most"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the tests of the browser, and no others, run again."""
    able = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        if item.get_closest_marker("flaky"):
            raise pytest.UsageError(f"{item.nodeid}: only tests of the browser may run again.")
        if MARK in getattr(item, "fixturenames", ()):
            item.add_marker(MARK)
            if able:
                item.add_marker(pytest.mark.flaky(reruns=RERUNS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A sentence in place of pages of HTML."""
    report = yield
    if report.failed and item.get_closest_marker(MARK):
        folder = Path(tempfile.mkdtemp(prefix=f"sonic-{_short_name(item.nodeid)}-"))
        _keep(folder, report, getattr(item, "funcargs", {}))
        report.longrepr = f"{_place(item, call)}{shortened(_message(call, report))}\nAll of it: {folder}"
        report.sections.clear()
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Which tests ran again, and why."""
    again = terminalreporter.getreports("rerun")
    counted = Counter(_short_name(report.nodeid) for report in again)
    if again:
        terminalreporter.section("tests that ran again")
    for report in again:
        terminalreporter.write_line(f"{report.nodeid}: {report.longrepr}")
    if again or terminalreporter.config.pluginmanager.hasplugin("rerunfailures"):
        terminalreporter.write_line(reruns_line(counted))


def reruns_line(counted: Counter[str]) -> str:
    """`reruns: 3 (test_a ×2, test_b)`."""
    named = (f"{name} ×{times}" if times > 1 else name for name, times in counted.items())
    return f"reruns: {counted.total()}" + (f" ({', '.join(named)})" if counted else "")


def shortened(message: str) -> str:
    """The first lines of a message, none of them long; of playwright's log the first line."""
    head, log, rest = message.partition("Call log:")
    lines = [" ".join(line.split()) for line in head.splitlines()]
    told = [line for line in lines if line][:LINES]
    if log:
        told += [line.strip() for line in rest.splitlines() if line.strip()][:1]
    return "\n".join(line if len(line) <= WIDTH else line[:WIDTH] + "…" for line in told)


def _message(call: pytest.CallInfo[None], report: pytest.TestReport) -> str:
    return call.excinfo.exconly() if call.excinfo else str(report.longrepr)


def _place(item: pytest.Item, call: pytest.CallInfo[None]) -> str:
    """The line of the test, or of what it calls beside it, where it failed."""
    here = item.path.parent
    entries = call.excinfo.traceback if call.excinfo else ()
    own = [entry for entry in entries if Path(entry.path).parent == here]
    return f"{Path(own[-1].path).name}:{own[-1].lineno + 1}: " if own else ""


def _keep(folder: Path, report: pytest.TestReport, used: dict[str, Any]) -> None:
    sections = "".join(f"\n---- {title}\n{text}" for title, text in report.sections)
    (folder / "failure.txt").write_text(f"{report.longreprtext}\n{sections}", encoding="utf-8")
    for number, page in enumerate(_pages(used.get("browser")), 1):
        with contextlib.suppress(Exception):  # the page may be what broke
            page.screenshot(path=folder / f"page{number}.png", full_page=True, timeout=MOMENT)
            (folder / f"page{number}.html").write_text(page.content(), encoding="utf-8")
    log = getattr(used.get("served"), "folder", folder) / LOG
    if log.is_file():
        shutil.copyfile(log, folder / "server.log")


def _pages(browser: Any) -> Iterable[Any]:
    return [page for context in getattr(browser, "contexts", ()) for page in context.pages]


def _short_name(nodeid: str) -> str:
    return re.sub(r"[^\w.=-]", "-", nodeid.rpartition("::")[2]).rstrip("-")
