"""Works for `provenance.isolated`, in a module of their own because another process imports them."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import Any

from sonic_ext.errors import MissingPart
from sonic_ext.ports import Tick


def echo(tick: Tick, **given: Any) -> dict[str, Any]:
    """Its arguments, after three steps and some noise."""
    for done in (1, 2, 3):
        tick("counting", done, 3)
    print("a library that prints")
    os.write(1, b'{"found": "forged"}\n')
    return given | {"pid": os.getpid()}


def sleep(tick: Tick) -> dict[str, Any]:
    """Never ends."""
    tick("asleep", os.getpid(), 1 << 40)
    threading.Event().wait()
    return {}


def hold(tick: Tick) -> dict[str, Any]:
    """Never ends, and lets no other thread of its process run."""
    tick("holding", os.getpid(), 1 << 40)
    return {"found": bool(re.match("(a*)*b", "a" * 80))}


def crash(tick: Tick) -> dict[str, Any]:
    """Dies of a signal."""
    os.abort()


def swell(tick: Tick) -> dict[str, Any]:
    """Asks for far more memory than is allowed."""
    return {"size": len(bytearray(1 << 36))}


def refuse(tick: Tick) -> dict[str, Any]:
    """Raises an error of the tree."""
    raise MissingPart("Something is not there.", "Bring it.")


def fail(tick: Tick) -> dict[str, Any]:
    """Has a fault."""
    return {"found": sys.no_such_thing}  # type: ignore[attr-defined]


def chatter(tick: Tick) -> dict[str, Any]:
    """Answers with more than is taken."""
    return {"long": "x" * (9 << 20)}
