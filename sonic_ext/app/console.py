"""What the command line prints, and where: one JSON object or lines of text on stdout, the rest on stderr.

Whatever the lines were made of, each stays one line and steers no terminal: see `text.visible`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from ..errors import SonicError
from ..progress import Step
from ..text import visible
from .interrupt import as_dict

LINE_EVERY = 10.0
"""Seconds between two lines of progress where the line cannot be redrawn."""
DRAW_EVERY = 0.1
"""Seconds between two drawings of the progress line on a terminal."""


def tolerate_any_text() -> None:
    """Print what the console's encoding lacks (Windows' cp1252) as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class Console:
    """Results, notes, errors and progress in one of two voices, human or JSON."""

    def __init__(self, json_wanted: bool) -> None:
        self.json_wanted = json_wanted

    def result(self, values: dict[str, Any], *lines: str) -> None:
        """The outcome of a command: `values` as JSON if wanted; `lines` for people."""
        _say(sys.stderr if self.json_wanted else sys.stdout, *map(visible, lines))
        if self.json_wanted:
            _say(sys.stdout, json.dumps(values, allow_nan=False, default=str))

    def note(self, *lines: str) -> None:
        """Lines for people, beside the outcome."""
        _say(sys.stderr, *map(visible, lines))

    def warnings(self, sentences: tuple[str, ...]) -> None:
        """One line each."""
        for sentence in sentences:
            self.note(f"Warning: {sentence}")

    def error(self, error: SonicError, extra: dict[str, Any] | None = None) -> int:
        """Say what happened and what to do; the exit code."""
        self.note(f"sonic: {error}")
        if self.json_wanted:
            _say(sys.stdout, json.dumps(as_dict(error) | (extra or {})))
        return error.exit_code


class ProgressLine:
    """A `Progress` for stderr: one line redrawn on a terminal, sparse lines elsewhere."""

    def __init__(self, cancelled: Callable[[], bool], stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._cancelled = cancelled
        self._terminal = self._stream.isatty()
        self._stage = ""
        self._next = 0.0
        self._drawn = 0

    def report(self, step: Step) -> None:
        """Show the step if it is time to."""
        now = time.monotonic()
        new_stage = step.text != self._stage
        last = step.done >= step.total and self._terminal
        if not new_stage and not last and now < self._next:
            return
        self._stage = step.text
        self._next = now + (DRAW_EVERY if self._terminal else LINE_EVERY)
        self._draw(step_text(step))

    def cancelled(self) -> bool:
        """True once a signal asked to stop."""
        return self._cancelled()

    def close(self) -> None:
        """Leave the terminal's line empty for what follows."""
        if self._terminal and self._drawn:
            self._put("\r" + " " * self._drawn + "\r")

    def _draw(self, text: str) -> None:
        if not self._terminal:
            self._put(text + "\n")
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        self._put("\r" + text.ljust(self._drawn))
        self._drawn = len(text)

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def step_text(step: Step) -> str:
    """`drawing frames  42 %  3 s left`."""
    parts = [step.text, f"{min(100, 100 * step.done // step.total)} %"]
    if step.seconds_left is not None and step.done < step.total:
        parts.append(f"{duration_text(step.seconds_left)} left")
    return visible("  ".join(parts))


def duration_text(seconds: float) -> str:
    """`0.8 s`, `12 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def bytes_text(count: float) -> str:
    """`163 kB`, `812 MB`, `1.4 GB` (powers of ten)."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{round(count / 1e6)} MB" if count >= 1e6 else f"{round(count / 1e3)} kB"


def _say(stream: TextIO, *lines: str) -> None:
    try:
        stream.writelines(f"{line}\n" for line in lines)
        stream.flush()
    except BrokenPipeError:
        # `sonic consent list | head` is no error, not even when Python flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
