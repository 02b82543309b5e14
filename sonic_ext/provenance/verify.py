"""What a video's marks say: signature, watermark, labels and the consent record, each with its evidence."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadOutput, BadVideo, Tampered
from ..media.video import VideoInfo, probe, read_luma
from ..ports import Tick
from . import c2pa
from .ledger import Ledger, Record
from .metadata import AIGC_KEY, COMMENT_KEY, AigcLabel, read_aigc, read_source_type
from .private import sha256_of
from .watermark import detect

SEARCHED_SECONDS = 120.0
"""How much of a video is searched for the watermark."""

INTACT, ALTERED, LOST, UNMARKED = "intact", "altered", "metadata lost", "unmarked"


@dataclass(frozen=True)
class Mark:
    """The invisible watermark, or that there is none."""

    id: str = ""
    """16 hex digits, or "" where none was found."""
    odds: float = 1.0
    """Upper bound on the probability that a video without the mark would have given an id."""
    frames: int = 0
    """Frames that were looked at."""
    note: str = ""
    """Why the search ended early, where it did."""

    @property
    def text(self) -> str:
        """As a clause."""
        if self.id:
            return f"id {self.id} (odds of a false alarm below {self.odds:.0e}, {self.frames} frames)"
        return f"none found in {self.frames} frames" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Labels:
    """What the container says."""

    aigc: AigcLabel | None = None
    """The AIGC label, None where there is none."""
    source_type: str = ""
    """Digital source type in the XMP, "" where there is none."""
    comment: str = ""
    """The comment tag."""

    @property
    def ours(self) -> bool:
        """Whether this tool wrote any of it."""
        return bool(self.aigc and self.aigc.take) or "Sonic version:" in self.comment


@dataclass(frozen=True)
class Home:
    """What the consent ledger of this computer knows of the video."""

    records: tuple[Record, ...] = ()
    """Records of the video's take; the one named by the signature alone, where it names one."""
    same_file: bool = False
    """The file is byte for byte one that was exported here."""
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
    home: Home = field(default_factory=Home)

    @property
    def id(self) -> str:
        """Id of the take, from the strongest mark that tells it; "" without one."""
        signed = self.signature.watermark if self.signature.state == "valid" else ""
        label = self.labels.aigc.take if self.labels.aigc else ""
        return signed or self.watermark.id or label or self.signature.watermark

    @property
    def contradictions(self) -> tuple[str, ...]:
        """Sentences on marks that do not belong together."""
        signed = self.signature.state == "valid"
        ids = {self.watermark.id, self.signature.watermark} - {""}
        exported_here = [record for record in self.home.records if record.output_sha256]
        source = self.labels.source_type
        rules = (
            (signed and len(ids) > 1, "The watermark is that of another video."),
            (
                signed and bool(exported_here) and not self.home.same_file,
                "The file differs from the one that was exported here.",
            ),
            (
                signed and bool(self.signature.watermark) and source != self.signature.source_type,
                "XMP and signature tell different sources.",
            ),
        )
        return tuple(text for holds, text in rules if holds)

    @property
    def verdict(self) -> str:
        """intact, altered, metadata lost (the watermark is what remains) or unmarked (not by this tool)."""
        if self.signature.state == "altered" or self.contradictions:
            return ALTERED
        if self.signature.state == "valid" and self.signature.watermark:
            return INTACT
        if self.watermark.id:
            return LOST
        return ALTERED if self.labels.ours else UNMARKED

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.verdict == INTACT:
            said = "Says that this tool made it" if self.signature.trust == "unknown" else "Made by this tool"
            return f"{said}, id {self.id}, unchanged since it was {self.signature.trust_text}."
        if self.verdict == LOST:
            return f"Marked by this tool, id {self.watermark.id}, metadata lost."
        if self.verdict == UNMARKED:
            return self._unmarked_summary()
        known = f"Marked by this tool, id {self.id}, but" if self.id else "Signed, but"
        return f"{known} altered: {self._alteration()}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of consent records only id, state and times, no names."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "verdict": self.verdict,
            "summary": self.summary,
            "id": self.id,
            "signature": dataclasses.asdict(self.signature) | {"trust_text": self.signature.trust_text},
            "watermark": dataclasses.asdict(self.watermark),
            "labels": dataclasses.asdict(self.labels),
            "record": {
                "found": [_public(record) for record in self.home.records],
                "revoked": self.home.revoked,
                "same_file": self.home.same_file,
                "problem": self.home.problem,
            },
            "contradictions": list(self.contradictions),
        }

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Label and value of each piece of evidence; values may hold any text that the file holds."""
        aigc = self.labels.aigc
        return (
            ("Signature", self._signature_text()),
            ("Watermark", self.watermark.text),
            ("AIGC label", _aigc_text(aigc) if aigc else "none"),
            ("XMP source", self.labels.source_type or "none"),
            ("Comment", self.labels.comment or "none"),
            ("Consent record", self.home.text),
            ("SHA-256", self.sha256),
        )

    def text(self) -> str:
        """The summary and a line of evidence for each answer."""
        return "\n".join([self.summary, *(f"  {name + ':':<16}{value}" for name, value in self.rows)])

    def _signature_text(self) -> str:
        signature = self.signature
        if signature.state == "absent":
            return "absent"
        if signature.state == "altered":
            return f"altered ({', '.join(signature.problems) or 'it does not fit the file'})"
        return f"valid, {signature.trust_text} ({signature.signer})"

    def _unmarked_summary(self) -> str:
        if self.signature.state == "valid":
            return f"No mark of this tool; signed by {self.signature.signer}, unchanged since."
        if not self.watermark.frames:
            return f"No label or signature; the picture could not be searched: {self.watermark.note}"
        return "No mark of this tool was found."

    def _alteration(self) -> str:
        if self.contradictions:
            return " ".join(self.contradictions)
        if self.signature.state == "altered":
            return "the signature does not fit the file."
        return "its labels remain, but signature and watermark are gone."


def verify(
    path: str | os.PathLike[str], *, ledger: Ledger | None = None, tick: Tick | None = None
) -> Verification:
    """Look for every mark in a video file.

    Args:
        path: any video.
        ledger: where to look for the record; the user's own by default. None is made where there is none.
        tick: told of the search for the watermark; may stop it.

    Raises:
        BadVideo: not a video, or it cannot be read.
        MissingPart: c2pa-python is not installed.
    """
    path = Path(path)
    info = probe(path)
    ledger = ledger or Ledger()
    try:
        digest = sha256_of(path)
        source_type = read_source_type(path)
    except OSError as error:
        raise BadVideo(f"{path} cannot be read: {error.strerror or error}.", "Check the file.") from error
    tag = info.metadata.get(AIGC_KEY)
    labels = Labels(read_aigc(tag) if tag else None, source_type, info.metadata.get(COMMENT_KEY, ""))
    found = Verification(path, digest, c2pa.read(path, ledger.home), _mark(path, info, tick), labels)
    return dataclasses.replace(found, home=_ask(ledger, found))


def _mark(path: Path, info: VideoInfo, tick: Tick | None) -> Mark:
    """Search for the watermark; a picture that cannot be decoded to the end is searched as far as it goes."""
    fps = info.fps or 25.0
    count = max(1, min(info.frames, round(SEARCHED_SECONDS * fps)))
    seen = _Seen()
    try:
        found = detect(seen.counted(read_luma(path, count), count, tick), fps)
    except BadVideo as error:
        return Mark(frames=seen.frames, note=error.message)
    if found is None:
        return Mark(frames=seen.frames, note=_too_short(seen.frames / fps))
    return Mark(f"{found.payload:016x}", found.odds, found.frames)


class _Seen:
    """Counts frames on their way."""

    def __init__(self) -> None:
        self.frames = 0

    def counted(self, frames: Iterator[np.ndarray], total: int, tick: Tick | None) -> Iterator[np.ndarray]:
        for frame in frames:
            self.frames += 1
            if tick:
                tick("looking for the watermark", min(self.frames, total), total)
            yield frame


def _too_short(seconds: float) -> str:
    return "too short for the watermark to be read" if seconds < 2 else ""


def _ask(ledger: Ledger, found: Verification) -> Home:
    """Records for the video's id. Nothing is made where this computer has no ledger."""
    if not found.id or not ledger.folder.is_dir():
        return Home()
    try:
        records = ledger.records(take=found.id)
    except (Tampered, BadOutput) as error:
        return Home(problem=error.message)
    named = tuple(record for record in records if record.digest == found.signature.consent_sha256)
    same = any(record.output_sha256 == found.sha256 for record in records)
    return Home(named or records, same)


def _public(record: Record) -> dict[str, Any]:
    values = record.to_dict()
    names = ("id", "state", "time", "take", "engine", "exported_at", "revoked_at", "output_sha256")
    return {name: values[name] for name in names}


def _aigc_text(label: AigcLabel) -> str:
    fields = ", ".join(f"{name}={value}" for name, value in label.fields.items() if value)
    return fields + (f" (not as prescribed: {'; '.join(label.problems)})" if label.problems else "")
