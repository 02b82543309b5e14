"""What the command line prints, and where: one JSON object or lines of text on stdout, the rest on stderr.

Whatever the lines were made of, each stays one line and steers no terminal: see `text.visible`. What people
read of errors, gate and verification is in the language of the environment (`messages`); JSON stays English.
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

from .. import messages
from ..errors import SonicError
from ..progress import Step
from ..text import duration_text, visible
from .interrupt import Interrupts, as_dict

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


def language() -> str:
    """The environment's, where stderr can show it."""
    wanted = messages.of_environment()
    try:
        messages.languages()[wanted].encode(getattr(sys.stderr, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return messages.ENGLISH
    return wanted


def spoken(error: SonicError) -> str:
    """What happened and what to do, in the language that is spoken here."""
    return messages.joined(error.message, error.hint)


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
            self.note(messages.said(f"Warning: {sentence}"))

    def error(self, error: SonicError, extra: dict[str, Any] | None = None) -> int:
        """Say what happened and what to do; the exit code."""
        self.note(f"sonic: {spoken(error)}")
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
        new_stage = step.text != self._stage
        last = step.done >= step.total and self._terminal
        self._stage = step.text
        self.say(step_text(step), at_once=new_stage or last)

    def say(self, text: str, at_once: bool = False) -> None:
        """Show a text if it is time to, or `at_once`."""
        now = time.monotonic()
        if at_once or now >= self._next:
            self._next = now + (DRAW_EVERY if self._terminal else LINE_EVERY)
            self._draw(text)

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


def with_progress(signals: Interrupts, work: Callable[[ProgressLine], Any]) -> Any:
    """What the work gives; meanwhile a line tells of its steps."""
    line = ProgressLine(lambda: signals.asked)
    try:
        return work(line)
    finally:
        line.close()


def step_text(step: Step) -> str:
    """`drawing frames  42 %  3 s left`."""
    parts = [step.text, f"{min(100, 100 * step.done // step.total)} %"]
    if step.seconds_left is not None and step.done < step.total:
        parts.append(f"{duration_text(step.seconds_left)} left")
    return visible("  ".join(parts))


def _say(stream: TextIO, *lines: str) -> None:
    try:
        stream.writelines(f"{line}\n" for line in lines)
        stream.flush()
    except BrokenPipeError:
        # `sonic consent list | head` is no error, not even when Python flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
