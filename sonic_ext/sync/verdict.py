"""What a measurement of lip sync amounts to, in words."""

from __future__ import annotations

from enum import Enum
from typing import Any

from .offset import AGREED, SURE, TOLERANCE
from .report import SyncReport, TrackSync

CERTAIN, CONTRADICTION = 0.8, 2 * TOLERANCE
"""Confidence of offsets that can contradict each other, and seconds by which they then differ: more than two
that are right can."""

_ADVICE = "Use a stretch of at least two seconds in which one face, seen from the front, speaks."


class SyncVerdict(str, Enum):
    """The values are stored and parsed: they do not change."""

    IN_SYNC = "in sync"
    OUT_OF_SYNC = "out of sync"
    UNSURE = "unsure"
    NOT_MEASURED = "not measured"

    def __str__(self) -> str:
        return self.value

    @property
    def exit_code(self) -> int:
        """Of `sonic sync`."""
        return {SyncVerdict.IN_SYNC: 0, SyncVerdict.OUT_OF_SYNC: 9}.get(self, 10)

    @property
    def banner(self) -> str:
        """Kind of the page's banner."""
        return {SyncVerdict.IN_SYNC: "good", SyncVerdict.OUT_OF_SYNC: "warning"}.get(self, "note")


def verdict(found: TrackSync | None) -> SyncVerdict:
    """Of a face track; None is no track that could be measured."""
    if found is None or not found.measured:
        return SyncVerdict.NOT_MEASURED
    if found.confidence < SURE:
        return SyncVerdict.UNSURE
    return SyncVerdict.IN_SYNC if abs(found.offset) <= AGREED else SyncVerdict.OUT_OF_SYNC


def summary(found: TrackSync | None) -> str:
    """One sentence on a face track, of the catalogue; None is no track that could be measured."""
    said = verdict(found)
    if found is None or said is SyncVerdict.NOT_MEASURED:
        return "The lip sync could not be measured."
    milliseconds, sure = abs(round(found.offset * 1000)), f"{found.confidence:.2f}"
    side = "after" if found.offset >= 0 else "before"
    if said is SyncVerdict.UNSURE:
        return (
            f"The mouth may come {milliseconds} ms {side} the voice, which is not sure (confidence {sure})."
        )
    if said is SyncVerdict.IN_SYNC:
        return (
            f"Mouth and voice agree: the mouth comes {milliseconds} ms {side} the voice (confidence {sure})."
        )
    return f"The mouth comes {milliseconds} ms {side} the voice (confidence {sure})."


def reason(report: SyncReport) -> str:
    """Why nothing could be measured, one sentence; "" where something could or nobody knows."""
    if report.best is not None:
        return ""
    return next((track.note for track in report.tracks if track.note), "") or next(iter(report.warnings), "")


def hint(report: SyncReport) -> str:
    """What to do, one sentence or ""."""
    sure = verdict(report.best) in (SyncVerdict.IN_SYNC, SyncVerdict.OUT_OF_SYNC)
    return "" if sure else _ADVICE


def contradictions(report: SyncReport) -> tuple[TrackSync, ...]:
    """The tracks that are certain of their offset, where these differ by over `CONTRADICTION`; else none.

    Where none is certain, those that are sure: of many short shots, one is sure by chance.
    """
    least = CERTAIN if report.confidence >= CERTAIN else SURE
    certain = tuple(track for track in report.tracks if track.measured and track.confidence >= least)
    offsets = [track.offset for track in certain]
    return certain if certain and max(offsets) - min(offsets) > CONTRADICTION else ()


def verdict_values(report: SyncReport) -> dict[str, Any]:
    """What the report amounts to, plain JSON."""
    return {
        "verdict": str(verdict(report.best)),
        "summary": summary(report.best),
        "reason": reason(report),
        "hint": hint(report),
    }
