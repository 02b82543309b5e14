"""A server as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parents[1]
INTERRUPT = signal.SIGINT if os.name != "nt" else signal.SIGTERM
LOG = "log"
"""Name of the file that takes what the server writes to stderr."""


@contextmanager
def served(
    folder: Path,
    *words: str | Path,
    announces: Callable[[str], bool] = bool,
    tidy: bool = True,
    **places: str,
) -> Iterator[str]:
    """Run Python with these words in `folder`; gives the line of stdout that announces the server.

    Args:
        announces: whether a line is that one.
        tidy: ask it to end, and look for tracebacks in its log; False kills it.
        places: of its environment, besides this one's.
    """
    log = folder / LOG
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            env=_environment(places),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        try:
            line = next(filter(announces, process.stdout), "")
            if not line:
                pytest.fail(f"The server did not start: {_last_line(log)} All of it: {log}", pytrace=False)
            yield line
        finally:
            if tidy:
                process.send_signal(INTERRUPT)
            else:
                process.kill()
            _end(process)
            process.stdout.close()
    if tidy and "Traceback" in log.read_text():
        pytest.fail(f"The server's log holds a traceback: {_last_line(log)} All of it: {log}", pytrace=False)


def _environment(places: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, **places}


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"The server did not end within {PATIENCE:.0f} s.", pytrace=False)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "it said nothing.")
