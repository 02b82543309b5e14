"""Sections that behave in every way there is, without torch: for tests of what runs the real ones."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any


class Bench:
    """As `card.bench.Bench` to the worker."""

    def __init__(self, card: dict[str, Any]) -> None:
        self.card = card
        self.released = 0

    def release(self) -> None:
        self.released += 1


def opened(options: Mapping[str, Any]) -> Bench:
    if options.get("broken"):
        raise RuntimeError("no driver")
    return Bench({"name": "A Card, 8 GB", "memory": 8 * 10**9, "device": "cuda:0", "process": os.getpid()})


def well(bench: Bench) -> Iterator[dict[str, Any]]:
    print("what libraries print", flush=True)
    yield {"rung": "one", "s": 0.5, "process": os.getpid(), "released": bench.released}
    yield {"rung": "two", "s": float("nan"), "process": os.getpid(), "released": bench.released}
    yield {"note": "A sentence."}


def hangs(_: Bench) -> Iterator[dict[str, Any]]:
    yield {"rung": "before"}
    threading.Event().wait()


def out_of_memory(_: Bench) -> Iterator[dict[str, Any]]:
    yield {"rung": "before"}
    raise MemoryError("a card would say CUDA out of memory")


def fails(_: Bench) -> Iterator[dict[str, Any]]:
    yield {"rung": "before"}
    raise RuntimeError("an illegal memory access was encountered")


def dies(_: Bench) -> Iterator[dict[str, Any]]:
    yield {"rung": "before"}
    os._exit(3)


def lacks(_: Bench) -> Iterator[dict[str, Any]]:
    import a_library_that_nobody_has

    yield {"never": a_library_that_nobody_has}


def wrong(_: Bench) -> Iterator[dict[str, Any]]:
    yield {"rung": "one", "passed": False}


if __name__ == "__main__":
    import device
    from card.runner import Section

    names = ("well", "hangs", "wrong")
    device.SECTIONS = tuple(Section(name, name, 3600, f"card_sections:{name}") for name in names)
    sys.exit(device.main([*sys.argv[1:], "--bench", "card_sections:opened"]))
