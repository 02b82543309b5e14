"""What the marks in a file say: signature, watermark, labels and consent record, each with its evidence."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..configuration import ANCHORS_VARIABLE, Configuration
from ..errors import BadPortrait, BadVideo, SonicError
from ..files.digest import sha256_of
from ..media.boxes import check_bounds
from ..media.container import SHOWN, check_file
from ..media.image import is_picture, read_animation
from ..media.video import probe, read_planes
from ..messages import joined, said
from ..progress import Tick
from ..text import visible
from . import c2pa, isolated
from .ledger import Ledger
from .metadata import (
    AIGC_KEY,
    COMMENT_KEY,
    PREVIEW_NOTE,
    AigcLabel,
    read_aigc,
    read_comment,
    read_source_type,
)
from .records import Record
from .verdict import Verdict
from .watermark import detect

SEARCHED_SECONDS = 120.0
"""How much of a video or an animation is searched for the watermark."""

SPEEDS = (1.0, 240.0)
"""Frames a second that are believed; a file that says less would have one frame searched for hours."""

SEARCH_SECONDS = 300.0
"""Processor time that the search for the watermark may take: enough for a minute of 4K without one."""

SECONDS, LEAST_SPEED = 600.0, 10e6
"""Seconds by the clock that a verification may take, and bytes of the file for each one more. Enough for slow
machines: it can be stopped at any time."""

READABLE_SECONDS = 2.0
"""Shortest video in which version 0.1's watermark is promised to be readable; the newest needs one frame."""


PUBLIC_FIELDS = ("id", "state", "time", "take", "engine", "exported_at", "revoked_at", "output_sha256")
"""What of a consent record an answer tells: no names."""


@dataclass(frozen=True)
class Mark:
    """The invisible watermark, or that there is none."""

    id: str = ""
    """16 hex digits, or "" where none was found."""
    algorithm: str = ""
    """Which watermark was found."""
    odds: float = 1.0
    """Upper bound on the probability that frames without the mark would have given an id."""
    frames: int = 0
    """Frames that were looked at."""
    note: str = ""
    """Why an id might not have been found although there is one."""

    @property
    def missing(self) -> bool:
        """None is in the picture, as far as a search can tell."""
        return not self.id and not self.note

    @property
    def text(self) -> str:
        """As a clause."""
        if self.id:
            return f"id {self.id} (odds of a false alarm below {self.odds:.0e}, {self._searched})"
        return f"none found in {self._searched}" + (f" ({self.note})" if self.note else "")

    @property
    def _searched(self) -> str:
        return "1 frame" if self.frames == 1 else f"{self.frames} frames"


@dataclass(frozen=True)
class Labels:
    """What the container says."""

    aigc: AigcLabel | None = None
    """The AIGC label, None where there is none."""
    source_type: str = ""
    """Digital source type in the XMP, "" where there is none."""
    comment: str = ""
    """The comment tag."""
    sought: bool = True
    """False where nobody looked: for those of a picture."""

    @property
    def ours(self) -> bool:
        """Whether this tool wrote any of it."""
        return bool(self.take) or "Sonic version:" in self.comment

    @property
    def take(self) -> str:
        """Id in an AIGC label of this tool, else ""."""
        return self.aigc.take if self.aigc else ""

    @property
    def preview(self) -> bool:
        """Whether it says that it is a stamped preview."""
        return self.ours and PREVIEW_NOTE in self.comment

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Name and value of each."""
        none = "none" if self.sought else "not looked for in pictures"
        aigc = none
        if self.aigc is not None:
            aigc = ", ".join(f"{name}={value}" for name, value in self.aigc.fields.items() if value)
            aigc += f" (not as prescribed: {'; '.join(self.aigc.problems)})" if self.aigc.problems else ""
        return (
            ("AIGC label", aigc),
            ("XMP source", self.source_type or none),
            ("Comment", self.comment or none),
        )


@dataclass(frozen=True)
class LedgerMatch:
    """What the consent ledger of this computer knows of the video."""

    records: tuple[Record, ...] = ()
    """Records of the video's take; the one named by the signature alone, where it names one."""
    same_file: bool = False
    """The file is byte for byte one that was exported here."""
    outdated: bool = False
    """A signature of this installation names a record that the ledger does not know."""
    problem: str = ""
    """Why the ledger could not be asked."""

    @property
    def revoked(self) -> bool:
        """Exports of this portrait were stopped."""
        return any(record.revoked_at for record in self.records)

    @property
    def text(self) -> str:
        """As a clause."""
        if self.problem:
            return self.problem
        if not self.records:
            return "not found on this computer"
        states = ", ".join(f"{record.id} ({record.state})" for record in self.records)
        same = (
            "this very file was exported here"
            if self.same_file
            else "this file differs from the exported one"
        )
        return f"{states}; {same}"


@dataclass(frozen=True)
class Verification:
    """Every answer, and what they amount to."""

    path: Path
    sha256: str
    signature: c2pa.Signature
    watermark: Mark
    labels: Labels
    home: LedgerMatch = field(default_factory=LedgerMatch)

    @property
    def verdict(self) -> Verdict:
        """The first that holds."""
        signature, ours = self.signature, self.signature.holds and bool(self.signature.watermark)
        vouched = signature.trust in ("own", "trusted") or self.home.same_file
        rules = (
            (signature.state in ("altered", "damaged"), Verdict.ALTERED),
            (bool(self.contradictions), Verdict.CONTRADICTION),
            (ours and signature.state == "untimely", Verdict.TIME),
            (ours and vouched, Verdict.INTACT),
            (ours, Verdict.UNKNOWN_SIGNER),
            (self.labels.preview and signature.state == "absent", Verdict.PREVIEW),
            (bool(self.watermark.id), Verdict.METADATA_LOST),
            (self.labels.ours, Verdict.LABELS_ONLY),
        )
        return next((verdict for holds, verdict in rules if holds), Verdict.UNMARKED)

    @property
    def contradictions(self) -> tuple[str, ...]:
        """Sentences on marks that deny each other."""
        signature, mark, label = self.signature, self.watermark, self.labels.take
        named = signature.watermark if signature.holds else ""
        # Version 0.1 did not say whether the mark was readable: only who is known here is believed.
        stranger = signature.state == "valid" and signature.trust == "unknown" and not self.home.same_file
        findable = signature.readable or (signature.readable is None and stranger)
        exported_here = [record for record in self.home.records if record.output_sha256]
        source = self.labels.source_type
        rules = (
            (
                named and mark.id and named != mark.id,
                f"The signature names the watermark {named}, the picture carries {mark.id}.",
            ),
            (
                named and mark.missing and findable,
                f"The signature names the watermark {named}, which is not in the picture.",
            ),
            (
                label and named and label != named,
                f"The AIGC label names the watermark {label}, the signature {named}.",
            ),
            (
                label and mark.id and label != mark.id,
                f"The AIGC label names the watermark {label}, the picture carries {mark.id}.",
            ),
            (
                label and mark.missing and not named and not self.labels.preview,
                f"The AIGC label names the watermark {label}, which is not in the picture.",
            ),
            (
                named and exported_here and not (self.home.same_file or self.home.outdated),
                "It is not the file that was exported here under this id.",
            ),
            (
                named and source and signature.source_type and source != signature.source_type,
                "XMP and signature tell different sources.",
            ),
        )
        return tuple(text for holds, text in rules if holds)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that have no part in the verdict."""
        signature = self.signature
        unread = bool(signature.holds and signature.watermark and not self.watermark.id)
        rules = (
            (
                unread and signature.readable is False,
                "The signer states that the watermark was not readable when the video was made.",
            ),
            (
                self.home.outdated,
                "This installation signed it, but its consent ledger does not know the record: the ledger is "
                "older than the file, or another one.",
            ),
            (self.home.revoked, "Its consent was revoked."),
        )
        return (*(text for holds, text in rules if holds), *signature.notes)

    @property
    def id(self) -> str:
        """Id of the take, from the strongest mark that tells it; "" without one."""
        signed = self.signature.watermark
        return (signed if self.signature.holds else "") or self.watermark.id or self.labels.take or signed

    @property
    def summary(self) -> str:
        """One sentence."""
        unknown = self.signature.trust == "unknown"
        named = f"Marked by this tool, id {self.id}" if self.id else "Signed"
        damaged = self.signature.state == "damaged"
        alteration = "its signature cannot be read" if damaged else "the signature does not fit the file"
        said = f"Says that this tool made it, id {self.id}"
        since = "exported here" if unknown and self.home.same_file else self.signature.trust_text
        signed = "exported here" if self.home.same_file else "signed"
        return {
            Verdict.ALTERED: f"{named}, but altered: {alteration}.",
            Verdict.CONTRADICTION: f"The marks contradict each other: {' '.join(self.contradictions)}",
            Verdict.TIME: f"{said}, unchanged since it was {signed}; but {self._untimely}.",
            Verdict.INTACT: f"Made by this tool, id {self.id}, unchanged since it was {since}.",
            Verdict.UNKNOWN_SIGNER: f"{said}, unchanged since it was {since}.",
            Verdict.PREVIEW: f"Says that it is a stamped preview by this tool{self._with_id}.",
            Verdict.METADATA_LOST: f"Marked by this tool, id {self.watermark.id}, metadata lost.",
            Verdict.LABELS_ONLY: f"Labelled as made by this tool{self._with_id}; nothing else shows it.",
            Verdict.UNMARKED: self._unmarked,
        }[self.verdict]

    @property
    def hint(self) -> str:
        """One sentence on what to do about it, or ""."""
        return {
            Verdict.TIME: self._cure,
            Verdict.UNKNOWN_SIGNER: "Ask whoever published it for their root certificate; where you trust "
            f"them, name its file in {ANCHORS_VARIABLE}.",
            Verdict.CONTRADICTION: "Do not rely on what any of the marks says.",
            Verdict.ALTERED: "Ask whoever published it for the file as it was exported.",
        }.get(self.verdict, "")

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Label and value of each piece of evidence; values may hold any text that the file holds."""
        return (
            ("Signature", self._signature_text()),
            ("Time stamp", self._time_stamp_text()),
            ("Watermark", self.watermark.text),
            *self.labels.rows,
            ("Consent record", self.home.text),
            ("SHA-256", self.sha256),
            *(("Note", note) for note in self.notes),
        )

    def lines(self) -> tuple[str, ...]:
        """The summary with what to do, and a line of evidence for each answer, whatever the file holds."""
        evidence = (f"  {said(name) + ':':<16}{said(value)}" for name, value in self.rows)
        return tuple(map(visible, (joined(self.summary, self.hint), *evidence)))

    def text(self) -> str:
        """The lines, under each other."""
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of consent records only id, state and times, no names."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "verdict": self.verdict.value,
            "summary": self.summary,
            "hint": self.hint,
            "id": self.id,
            "signature": dataclasses.asdict(self.signature) | {"trust_text": self.signature.trust_text},
            "watermark": dataclasses.asdict(self.watermark),
            "labels": dataclasses.asdict(self.labels),
            "record": {
                "found": [
                    {name: values[name] for name in PUBLIC_FIELDS}
                    for values in (record.to_dict() for record in self.home.records)
                ],
                "revoked": self.home.revoked,
                "same_file": self.home.same_file,
                "outdated": self.home.outdated,
                "problem": self.home.problem,
            },
            "contradictions": list(self.contradictions),
            "notes": list(self.notes),
        }

    def _signature_text(self) -> str:
        signature = self.signature
        if signature.state == "absent":
            return "absent"
        if not signature.holds:
            return f"{signature.state} ({', '.join(signature.problems) or 'it does not fit the file'})"
        # Who stands above a certificate is not looked at while it is not valid.
        known = signature.state == "valid" or signature.trust != "unknown"
        state = "valid" if signature.state == "valid" else "whole, the certificate not valid at this time"
        said = f"{state}, {signature.trust_text}" if known else state
        times = f"; certificate from {_time_text(signature.begins)} to {_time_text(signature.ends)}"
        return f"{said} ({signature.signer}{times if signature.ends else ''})"

    def _time_stamp_text(self) -> str:
        stamp = self.signature.time_stamp
        if stamp is None:
            return "none"
        trusted = "trusted here" if stamp.trusted else "not trusted here: nobody vouches for this authority"
        return f"{_time_text(stamp.time)} by {stamp.authority or 'an unnamed authority'} ({trusted})"

    @property
    def _with_id(self) -> str:
        return f", id {self.id}" if self.id else ""

    @property
    def _untimely(self) -> str:
        """Why the certificate is not valid at the time that counts."""
        signature, now = self.signature, datetime.now(timezone.utc).isoformat(timespec="minutes")
        stamp = signature.time_stamp
        if stamp and stamp.trusted:
            return f"it was signed on {_time_text(stamp.time)}, when its certificate was not valid"
        begins, ends, clock = _time_text(signature.begins), _time_text(signature.ends), _time_text(now)
        if signature.begins and clock < begins:
            return f"its certificate begins only on {begins}, and this computer's clock says {clock}"
        if signature.ends and clock > ends:
            return f"its certificate ended on {ends}, and this computer's clock says {clock}"
        return f"its certificate is not valid at the time of this computer's clock, {clock}"

    @property
    def _cure(self) -> str:
        """What helps against a time problem."""
        signature, stamp = self.signature, self.signature.time_stamp
        if stamp and stamp.trusted:
            return "Ask whoever published it for a file that was signed with a valid certificate."
        if stamp and _time_text(signature.begins) <= _time_text(stamp.time) <= _time_text(signature.ends):
            return (
                f"Its time stamp would settle it: where you trust the authority {stamp.authority}, name the "
                f"file of its root certificate in {ANCHORS_VARIABLE}."
            )
        return (
            "Set this computer's clock where it is wrong; where it is right, ask whoever published it "
            "for a file with a time stamp."
        )

    @property
    def _unmarked(self) -> str:
        if self.signature.state == "valid":
            return f"No mark of this tool; signed by {self.signature.signer}, unchanged since."
        if self.signature.state == "untimely":
            signer = self.signature.signer
            return f"No mark of this tool; signed by {signer}, unchanged since; but {self._untimely}."
        if not self.watermark.frames:
            return f"No label or signature; the picture could not be searched: {self.watermark.note}"
        return "No mark of this tool was found."


def verify(
    path: str | os.PathLike[str],
    *,
    ledger: Ledger | None = None,
    tick: Tick | None = None,
    configuration: Configuration | None = None,
) -> Verification:
    """Look for every mark in a file, in a process of its own that is ended when it takes too long.

    Args:
        path: any video, or a picture: a screenshot, an animation.
        ledger: where to look for the record; the user's own by default. None is made where there is none.
        tick: told of the search for the watermark; may stop it.
        configuration: whom to trust; the ledger's, or the environment's, by default.

    Raises:
        BadVideo: neither, or it cannot be read, or not within the bounds of time, memory and boxes.
        MissingPart: c2pa-python is not installed.
    """
    path = Path(path)
    ledger = ledger or Ledger(configuration=configuration)
    given = {
        "path": str(path),
        "home": str(ledger.home),
        "configuration": dataclasses.asdict(configuration or ledger.configuration),
    }
    seen = isolated.call(examine, given, name=path.name, seconds=time_limit(path), tick=tick)
    marks = isolated.from_values(Marks, seen)
    found = Verification(path, marks.sha256, marks.signature, marks.watermark, marks.labels)
    return dataclasses.replace(found, home=_look_up(ledger, found))


@dataclass(frozen=True)
class Marks:
    """What the file alone says."""

    sha256: str
    signature: c2pa.Signature
    watermark: Mark
    labels: Labels


def time_limit(path: Path) -> float:
    """Seconds that a file may take."""
    try:
        return SECONDS + path.stat().st_size / LEAST_SPEED
    except (OSError, ValueError):
        return SECONDS  # why it cannot be read is told by whoever reads it


def examine(path: str, home: str, configuration: dict[str, Any], tick: Tick) -> dict[str, Any]:
    """`Marks` of a file as JSON values; what `verify` runs elsewhere."""
    file = Path(path)
    check_file(file, BadVideo, SHOWN)
    try:
        check_bounds(file)  # first: even ffmpeg takes its time over millions of boxes
        shown = _picture(file) if is_picture(file) else _video(file)
        digest = sha256_of(file)
    except OSError as error:
        raise BadVideo(f"{file} cannot be read: {error.strerror or error}.", "Check the file.") from error
    signature = c2pa.read(file, Path(home), Configuration(**configuration))
    return dataclasses.asdict(Marks(digest, signature, _mark(shown, tick), shown.labels))


@dataclass(frozen=True)
class _SearchInput:
    """What of a file is searched for the watermark, and what its container says."""

    frames: Iterator[NDArray[np.uint8]]
    """I420, as `detect` takes them; decoded when asked for."""
    fps: float
    count: int
    """How many there are at most."""
    labels: Labels


def _video(path: Path) -> _SearchInput:
    info = probe(path, SHOWN)
    fps = _plausible_fps(info.fps)
    count = max(1, min(info.frames, round(SEARCHED_SECONDS * fps)))
    tag, comment = info.metadata.get(AIGC_KEY), info.metadata.get(COMMENT_KEY, "")
    labels = Labels(read_aigc(tag) if tag else None, read_source_type(path), read_comment(comment))
    return _SearchInput(read_planes(path, count), fps, count, labels)


def _picture(path: Path) -> _SearchInput:
    try:
        animation = read_animation(path)
    except BadPortrait as error:
        raise BadVideo(error.message, error.hint) from error
    fps = _plausible_fps(animation.fps)
    count = round(SEARCHED_SECONDS * fps) if animation.fps else 1
    return _SearchInput(map(_planes, islice(animation.frames, count)), fps, count, Labels(sought=False))


def _plausible_fps(fps: float) -> float:
    return fps if SPEEDS[0] <= fps <= SPEEDS[1] else 25.0


def _planes(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB as I420; like `read_planes` without the last row or column of an odd side."""
    height, width = (side // 2 * 2 for side in rgb.shape[:2])
    if not height or not width:
        return np.zeros((height * 3 // 2, width), np.uint8)
    planes: NDArray[np.uint8] = cv2.cvtColor(rgb[:height, :width], cv2.COLOR_RGB2YUV_I420)
    return planes


def _mark(shown: _SearchInput, tick: Tick) -> Mark:
    """Search for the watermark; what cannot be decoded to the end is searched as far as it goes."""
    seen = _FrameCounter()
    try:
        found = detect(seen.counted(shown.frames), shown.fps, count=shown.count, tick=tick)
    except BadVideo as error:
        return Mark(frames=seen.frames, note=error.message)
    if found is None:
        return Mark(frames=seen.frames, note=seen.note or _too_short(seen.frames / shown.fps))
    return Mark(f"{found.payload:016x}", found.algorithm, found.odds, found.frames)


class _FrameCounter:
    """Counts frames on their way, and lets none through when the time is over."""

    def __init__(self) -> None:
        self.frames = 0
        self.note = ""

    def counted(self, frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        end = time.process_time() + SEARCH_SECONDS
        for frame in frames:
            self.frames += 1
            yield frame
            if time.process_time() > end:
                self.note = f"the search was ended after {SEARCH_SECONDS:.0f} s"
                return


def _too_short(seconds: float) -> str:
    needed = f"a watermark of version 0.1 could be read only in {READABLE_SECONDS:.0f} s of video or more"
    return needed if seconds < READABLE_SECONDS else ""


def _look_up(ledger: Ledger, found: Verification) -> LedgerMatch:
    """Records for the video's id. Nothing is made where this computer has no ledger."""
    signature = found.signature
    signed_here = signature.holds and signature.trust == "own" and bool(signature.consent_sha256)
    if not found.id or not ledger.folder.is_dir():
        return LedgerMatch(outdated=signed_here)
    try:
        records = ledger.records(take=found.id)
    except SonicError as error:  # altered, older than its copies, a newer version's, or out of reach
        return LedgerMatch(problem=error.message)
    named = tuple(record for record in records if record.digest == signature.consent_sha256)
    same = any(record.output_sha256 == found.sha256 for record in records)
    return LedgerMatch(named or records, same, outdated=signed_here and not named)


def _time_text(time: str) -> str:
    """`2026-03-01 14:05 UTC` of an ISO time; other text as it is."""
    try:
        moment = datetime.fromisoformat(time).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return time
    return f"{moment:%Y-%m-%d %H:%M} UTC"
