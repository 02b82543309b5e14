"""Stands in for the measurement of lip sync, by name, in this process and in others."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patience import until

from sonic_ext.errors import BadAudio
from sonic_ext.processes import SIGN, Alive
from sonic_ext.sync.tracks import Watch


@dataclass(frozen=True)
class StandInTrack:
    """A face that could not be measured."""

    note: str


@dataclass(frozen=True)
class StandInReport:
    """What evaluation reads of a report."""

    offset: float
    confidence: float
    tracks: tuple[StandInTrack, ...] = ()
    warnings: tuple[str, ...] = ()


def measure(path: Path, watch: Watch) -> StandInReport:
    """Sure of 40 ms in folders called `late`, else of -20; not sure of what is called `unsure`."""
    if "silent" in path.name:
        raise BadAudio(f"{path.name} has no sound.", "Give one with sound.")
    if "still" in path.name:
        return StandInReport(
            math.nan, 0.0, (StandInTrack("The mouth does not move."),) * 2, ("One warning.",)
        )
    return StandInReport(0.04 if path.parent.name == "late" else -0.02, 0.3 if "unsure" in path.name else 0.9)


def wait(path: Path, watch: Watch) -> StandInReport:
    """Leave a sign of life beside the video and take forever."""
    path.with_suffix(".begun").touch()
    threading.Event().wait()
    raise AssertionError


def answer(order: dict[str, Any], alive: Alive) -> Any:
    """For `processes.Workers`."""
    print("what a library says on standard output")
    if order.get("slow"):  # and does not end before it was seen to be alive
        for _ in range(order["slow"]):
            began = os.times().elapsed
            until(lambda began=began: os.times().elapsed > began + SIGN)
            alive()
    if order.get("hang"):
        threading.Event().wait()
    if order.get("orphan"):  # its parent goes while it works
        try:
            while True:
                alive()
        except Exception as error:
            Path(order["orphan"]).write_text(f"damaged: {error}")
    if order.get("die"):
        os._exit(7)
    if order.get("refuse"):
        raise BadAudio("Nothing is heard.", "Speak up.")
    if order.get("break"):
        raise RuntimeError("inside")
    return {"twice": 2 * order["number"], "pid": os.getpid()}
