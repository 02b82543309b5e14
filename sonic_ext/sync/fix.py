"""Brings mouth and voice of a video together: its sound is moved, its picture untouched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused
from ..files.home import private_home
from ..media.shift import check_shift, shift_sound
from ..provenance.boundary import private, refuse_inside
from ..provenance.c2pa import has_manifest_store
from .offset import AGREED
from .report import SyncReport
from .verdict import SyncVerdict, contradictions, verdict


@dataclass(frozen=True)
class SyncFix:
    """What came of it."""

    path: Path | None
    """The video that was written; None where there was no need or no right to."""
    shift: float
    """Seconds that the sound comes later (< 0: earlier); 0 where nothing was written."""
    notes: tuple[str, ...]
    """Sentences for the user: why nothing was written, or what the copy has lost and kept."""


def check_fix(source: Path, target: Path, overwrite: bool = False) -> None:
    """Refuse what `fix_sync` could not do whatever is measured; for asking before the work.

    Raises:
        Refused: `source` lies in the private folder; its videos leave it through the gate alone.
        BadVideo: `source` cannot be read, or is of a kind that is not written.
        BadOutput: `target` exists, cannot be written, is of another kind, or lies in the private folder.
    """
    if private().reaches(source):
        raise Refused(
            f"{source} lies in the private folder, which videos leave only with a consent.",
            "Export it first: sonic export TAKE -o OUT.mp4 …",
        )
    check_shift(source, target, overwrite)
    refuse_inside(target, private_home())


def fix_sync(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    report: SyncReport,
    *,
    unsure: bool = False,
    overwrite: bool = False,
) -> SyncFix:
    """Write a copy of a video in which mouth and voice agree, if they do not yet.

    Watermark and labels in the picture stay, and so do the container's tags and XMP; a C2PA signature would
    not fit the new file and is left out, which is said.

    Args:
        source: the video that was measured.
        target: of the same kind, see `media.shift`.
        report: what was measured.
        unsure: go by an offset also where its confidence is under `offset.SURE`, or where faces differ.
        overwrite: whether a file at `target` may be replaced.

    Raises:
        SonicError: as `check_fix` and `media.shift.shift_sound`; nothing is written then.
    """
    source, target = Path(source), Path(target)
    check_fix(source, target, overwrite)
    if note := _reason_against(report, unsure):
        return SyncFix(None, 0.0, (note,))
    signed = has_manifest_store(source)  # before: the target may be the same file
    shift_sound(source, target, report.offset, overwrite)
    return SyncFix(target, report.offset, tuple(_notes(source, report.offset, signed)))


def _reason_against(report: SyncReport, unsure: bool) -> str:
    """Why nothing is to be written, or ""."""
    said = verdict(report.best)
    if said is SyncVerdict.NOT_MEASURED:
        return "Nothing was written: there is no offset to go by."
    if not unsure and said is SyncVerdict.UNSURE:
        return "Nothing was written: the offset is not sure. --unsure goes by it all the same."
    if not unsure and contradictions(report):
        return "Nothing was written: faces or shots differ. --unsure goes by the surest of them."
    if abs(report.offset) <= AGREED:
        return "Nothing was written: mouth and voice agree to within 20 ms."
    return ""


def _notes(source: Path, shift: float, signed: bool) -> list[str]:
    side = "later" if shift > 0 else "earlier"
    notes = [f"The sound comes {abs(round(shift * 1000))} ms {side} now; the picture is the same to the bit."]
    if signed:
        notes.append(
            f"The signature of {source.name} does not fit the copy and is left out; keep the signed file."
        )
    return [*notes, "Watermark, labels and tags are kept, where there are any."]
