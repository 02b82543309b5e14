"""Tests wait for states under the one patience of `patience.py`, and know no seconds of their own.

Sleeping for a state, a limit of ten seconds, or a clock that is read before and after: all fail where many
other programs want the same cores.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OWN_CLOCK = {
    "patience": "the only one that waits",
    "test_freeze": "prints how long a start takes",
    "test_sonic_device_benchmark": "gives the benchmark's own deadlines",
}
PAGE = {"webui_page"}
"""Servers for the tests of the page, which have waits of their own."""
SOURCES = [
    path
    for path in sorted((*HERE.glob("*.py"), *HERE.glob("faults/test_*.py")))
    if not path.stem.startswith("test_page") and path.stem not in PAGE
]
WAITS = ("wait", "join", "sleep", "wait_for", "wait_for_timeout")
LIMITS = ("timeout", "deadline")


def own_seconds(source: str) -> Iterator[str]:
    """Every line that reads a clock, sleeps, or has a number as its limit."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name == "time" for alias in node.names):
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            given = [keyword.value for keyword in node.keywords if keyword.arg in LIMITS]
            if isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
                given += node.args
            if any(isinstance(each, ast.Constant) and isinstance(each.value, (int, float)) for each in given):
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_has_seconds_of_its_own(path: Path) -> None:
    found = list(own_seconds(path.read_text(encoding="utf-8")))
    if path.stem in OWN_CLOCK:
        found = [each for each in found if not each.endswith("import time")]
    assert found == [], "wait for a state: patience.until, or an event, a thread or a process with PATIENCE"


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from time import monotonic",
        "threading.Event().wait(0.1)",
        "thread.join(10)",
        "subprocess.run(words, timeout=60)",
        "settings(deadline=500)",
        "await asyncio.wait_for(answer, 5.0)",
    ],
)
def test_what_counts_as_seconds_of_its_own(line: str) -> None:
    assert len(list(own_seconds(f"async def test():\n    {line}"))) == 1


@pytest.mark.parametrize(
    "line", ["event.wait()", "thread.join(PATIENCE)", "', '.join(words)", "settings(deadline=None)"]
)
def test_what_does_not(line: str) -> None:
    assert list(own_seconds(line)) == []
