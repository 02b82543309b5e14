"""The process that measures: reads orders, a section each, and writes its rows as lines of JSON."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

SHOWN = 6
"""Lines of a traceback that are kept."""


class LeftOut(Exception):
    """A section cannot be measured here; its text says why."""


def main() -> None:
    """Serve until the input ends: then whoever gave the orders is gone."""
    options = json.loads(sys.argv[1])
    say = _voice()
    sys.path.extend(options.get("carried", []))  # last: what the machine has itself comes first
    try:
        bench = _named(options["bench"])(options)
    except Exception as error:
        say({"end": "failed", "why": _text(error)})
        raise SystemExit(1) from error
    say({"card": bench.card})
    for order in _orders():
        try:
            for row in _named(order["target"])(bench):
                say({"row": row})
            bench.release()
            say({"end": "done"})
        except (ImportError, LeftOut) as error:
            say({"end": "left out", "why": str(error)})
        except (Exception, MemoryError) as error:
            say({"end": _kind(error), "why": _text(error)})
            raise SystemExit(1) from error


def _voice() -> Callable[[dict[str, Any]], None]:
    """What libraries print must not get between the lines: it goes to the error stream."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(line: dict[str, Any]) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    return say


def _orders() -> Iterator[dict[str, Any]]:
    """Orders as they come; the process ends with its input, in the middle of a section too."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield waiting.get()


def _named(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _kind(error: BaseException) -> str:
    if "torch" not in sys.modules:
        return "out of memory" if isinstance(error, MemoryError) else "failed"
    from sonic_ext.engines.runtime.devices import is_out_of_memory

    return "out of memory" if is_out_of_memory(error) else "failed"


def _text(error: BaseException) -> str:
    """The error, and where it happened."""
    places = traceback.extract_tb(error.__traceback__)[-SHOWN:]
    where = " ← ".join(f"{Path(each.filename).name}:{each.lineno}" for each in reversed(places))
    said = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {said} ({where})"


if __name__ == "__main__":
    main()
