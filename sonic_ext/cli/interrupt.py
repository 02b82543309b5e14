"""Ctrl-C and SIGTERM, answered with one line and exit code 130 whenever they come."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import Cancelled
from ..messages import joined

EXIT_CODE = Cancelled.exit_code


class Interrupts:
    """What a signal does at the moment.

    Three manners, because what must be tidied differs: while modules load there is nothing to tidy, and a
    KeyboardInterrupt inside an import is turned into misleading errors, so the process ends at once;
    inside a command KeyboardInterrupt unwinds; inside `polite()` the first signal only sets a flag that
    the work polls, and the second unwinds.
    """

    def __init__(self, json_wanted: bool) -> None:
        self.asked = False
        """A signal came."""
        self._manner = "leave"
        self._json = json_wanted

    def unwind(self) -> None:
        """From here on a signal raises KeyboardInterrupt."""
        self._manner = "unwind"

    @contextmanager
    def polite(self) -> Iterator[None]:
        """Inside, the first signal does nothing but set `asked`."""
        self._manner = "polite"
        try:
            yield
        finally:
            self._manner = "unwind"

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Inside, a signal ends the process at once: for imports that hold nothing open."""
        before, self._manner = self._manner, "leave"
        try:
            yield
        finally:
            self._manner = before

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self._manner == "leave":
            self._leave()
        first, self.asked = not self.asked, True
        if self._manner == "polite" and first:
            return
        self._manner = "tidying"
        for each in _signals():
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    def _leave(self) -> None:
        os.write(2, f"{joined('Stopped as asked.', 'Nothing was exported.')}\n".encode())
        if self._json:
            os.write(1, json.dumps(as_dict(Cancelled())).encode() + b"\n")
        os._exit(EXIT_CODE)


def as_dict(error: Any) -> dict[str, Any]:
    """An error of this package as the JSON object that the command line prints."""
    return {
        "error": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


@contextmanager
def interrupts(json_wanted: bool) -> Iterator[Interrupts]:
    """Handle signals until the end of the block, then put the former handlers back."""
    state = Interrupts(json_wanted)
    former = {each: signal.signal(each, state.handle) for each in _signals()}
    try:
        yield state
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def _signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
