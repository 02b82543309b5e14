"""What the ledger's rows mean: consents, exports, revocations; generated pictures, and their sources.

Rows of the chain are of the kinds `consent`, `export`, `revoke` and `training`. Two tables beside it, sealed
row by row, remember generated pictures and the pictures that others were made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timezone
from functools import cached_property, lru_cache
from typing import Any

from ..errors import BadInput, ConsentRevoked, LooksRevoked, Tampered
from .chain import KEPT, Chain, Head, HeadCopy, LedgerRow, sealed_mac
from .consent import Basis, Consent, parsed_date
from .take import Take

SECOND_PERSON = ("face_2", "voice_2", "audio_2_sha256", "perceptual_hash_2")
"""What only the records of videos with two persons hold."""


@dataclass(frozen=True)
class Record:
    """One consent record, with what happened to it since."""

    id: str
    """16 hex digits."""
    time: datetime
    """When consent was given, UTC."""
    face: Basis
    voice: Basis
    purpose: str
    expires: date | None
    contact: str
    operator: str
    subject: str
    notice_version: str
    take: str
    """Id of the take, which is the watermark's payload in hex."""
    engine: str
    """Name and version of the engine."""
    label: str
    """Visible label: start, throughout or off."""
    label_reason: str
    """Why the label is off, else empty."""
    portrait_sha256: str
    portrait_pixel_sha256: str
    portrait_synthetic: bool
    """The portrait was known to be generated when consent was given."""
    audio_sha256: str
    video_sha256: str
    """SHA-256 of the master that consent was given for; the exported file's is `output_sha256`."""
    evidence_sha256: str
    """SHA-256 of the evidence, "" where none was given."""
    nonce: str
    """Random number, hex: what a video's manifest holds of portrait and speech is salted with it, see
    `c2pa.salted_sha256`."""
    digest: str
    """SHA-256 of the record as stored (it holds a random number, so it tells nothing by itself)."""
    seq: int
    """Number of the row in the ledger, from 1."""
    prev_hash: str
    hash: str
    exported_at: datetime | None = None
    """When a file was exported under this record; None: it never was."""
    output_sha256: str = ""
    """SHA-256 of the exported file."""
    output_name: str = ""
    """Name of the exported file, without its folder."""
    revoked_at: datetime | None = None
    """When exports of this portrait, or of one that it was made from, were stopped."""
    perceptual_hash: str = ""
    """Of the portrait, hex, see `media.perceptual`; "" in records of version 0.1."""
    alike: tuple[str, ...] = ()
    """Ids of revoked records, or numbers of revocations without one ("row 7"), whose portraits look like this
    one. They stop nothing by themselves: it was asked about, and `unlike_reason` is the answer."""
    unlike_reason: str = ""
    """Why this is none of those portraits, in the operator's words."""
    face_2: Basis | None = None
    """Of the second person, where the video shows two; as the following."""
    voice_2: Basis | None = None
    audio_2_sha256: str = ""
    """The same as `audio_sha256` where each person has a channel of one file."""
    perceptual_hash_2: str = ""

    @property
    def state(self) -> str:
        """`revoked`, `exported` or `not exported`."""
        if self.revoked_at is not None:
            return "revoked"
        return "exported" if self.exported_at is not None else "not exported"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, times in ISO 8601; those of a second person where there is one."""
        return dict(self._plain_values)

    @cached_property
    def _plain_values(self) -> dict[str, Any]:
        names = [each.name for each in fields(self) if self.face_2 or each.name not in SECOND_PERSON]
        return {name: _plain(getattr(self, name)) for name in names} | {"state": self.state}

    @property
    def looks(self) -> tuple[str, ...]:
        """Perceptual hash of each face that is shown; none in records of version 0.1."""
        return tuple(filter(None, (self.perceptual_hash, self.perceptual_hash_2)))


@dataclass(frozen=True)
class Revocation:
    """What a revocation stopped."""

    time: datetime
    """UTC."""
    hashes: tuple[str, ...]
    """File and pixel hashes of the portraits that will not be exported again, and of those made from them."""
    records: tuple[str, ...]
    """Ids of the records of these portraits."""
    takes: tuple[str, ...] = ()
    """Ids of the takes that were deleted."""


class Records(Chain):
    """The chain read as records, inside one transaction."""

    def __init__(
        self, db: sqlite3.Connection, key: bytes, head: Head | None, copies: tuple[HeadCopy, ...] = ()
    ) -> None:
        super().__init__(db, key, head, copies)
        self.remembered: list[str] = []
        self.children: list[tuple[str, str]] = []

    def require_all_written(self, written: Records) -> None:
        """Like `require_written`, and the tables beside the chain."""
        self.require_written(written)
        for pixel_sha256 in written.remembered:
            if not self.is_synthetic(pixel_sha256):
                raise Tampered(
                    f"Picture {pixel_sha256} is not in the consent ledger although it was written."
                )
        for pixel_sha256, parent in written.children:
            if pixel_sha256 not in self._children_of(parent):
                raise Tampered(
                    f"Picture {pixel_sha256} is not in the consent ledger although it was written."
                )

    def records(self) -> tuple[Record, ...]:
        revoked = self.revoked()
        with row_errors():
            exports = {row.values["record"]: row for row in self.rows("export")}
            return tuple(record_of(row, exports, revoked) for row in self.rows("consent"))

    def refuse_revoked(self, *hashes: str) -> None:
        revoked = self.revoked()
        for value in hashes:
            if value in revoked:
                raise ConsentRevoked(
                    f"The consent for this portrait was revoked on {revoked[value][:10]}.",
                    "It cannot be exported; use another portrait.",
                )

    def remember_synthetic(self, pixel_sha256: str, source: str) -> None:
        values = (_hex64(pixel_sha256), source, now_text())
        mac = sealed_mac(self.secret, "synthetic", *values)
        self.db.execute("INSERT OR REPLACE INTO synthetic VALUES (?, ?, ?, ?)", (*values, mac))
        self.remembered.append(pixel_sha256)

    def is_synthetic(self, pixel_sha256: str) -> bool:
        query = "SELECT pixel_hash, source, time, mac FROM synthetic WHERE pixel_hash = ?"
        row = self.db.execute(query, (pixel_sha256,)).fetchone()
        if row is None:
            return False
        *values, mac = map(str, row)
        return sealed_mac(self.secret, "synthetic", *values) == mac

    def revoked(self) -> dict[str, str]:
        """Hash of a portrait, or id of a take of it → time of the first revocation.

        What was made from a portrait goes with it.
        """
        revoked: dict[str, str] = {}
        with row_errors():
            for row in self.rows("revoke"):
                hashes, takes = set(row.values["hashes"]), row.values.get("takes", ())
                time = datetime.fromisoformat(row.values["time"]).isoformat()
                for value in (*hashes, *self.descendants(hashes), *takes):
                    revoked.setdefault(value, time)
        return revoked

    def revoked_lookalikes(self, *perceptual_hashes: str) -> tuple[str, ...]:
        with row_errors():
            revocations = [row for row in self.rows("revoke") if row.values.get("looks")]
        if not (revocations and any(perceptual_hashes)):
            return ()
        from ..media.perceptual import ALIKE, similarity

        own, records = [bytes.fromhex(each) for each in perceptual_hashes if each], self.records()
        found: dict[str, None] = {}
        with row_errors():
            for row in revocations:
                looks = list(map(bytes.fromhex, row.values["looks"]))
                if max(similarity(face, each) for face in own for each in looks) >= ALIKE:
                    hashes = set(row.values["hashes"])
                    ids = [record.id for record in records if hashes & hashes_of(record)]
                    found |= dict.fromkeys(ids or [f"row {row.seq}"])
        return tuple(found)

    def remember_made_from(self, pixel_sha256: str, parent: str, how: str) -> None:
        values = (_hex64(pixel_sha256), _hex64(parent), how, now_text())
        mac = sealed_mac(self.secret, "lineage", *values)
        self.db.execute("INSERT OR REPLACE INTO lineage VALUES (?, ?, ?, ?, ?)", (*values, mac))
        self.children.append((pixel_sha256, parent))

    def descendants(self, hashes: Iterable[str]) -> set[str]:
        """Pixel hashes of all pictures that were made from these, directly or over others."""
        found: set[str] = set()
        waiting = list(hashes)
        while waiting:
            new = self._children_of(waiting.pop()) - found
            found |= new
            waiting.extend(new)
        return found

    def _children_of(self, parent: str) -> set[str]:
        query = "SELECT pixel_hash, parent, how, time, mac FROM lineage WHERE parent = ?"
        rows = [tuple(map(str, row)) for row in self.db.execute(query, (parent,))]
        return {
            child for child, *rest, mac in rows if sealed_mac(self.secret, "lineage", child, *rest) == mac
        }


@contextlib.contextmanager
def row_errors() -> Iterator[None]:
    """Turn what is no row of this version, although its hash fits, into `Tampered`."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise Tampered(f"A row of the consent ledger cannot be understood ({error}).") from error


def now_text() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def consent_body(consent: Consent, take: Take, evidence: str) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(8),
        "nonce": secrets.token_hex(16),
        "time": now_text(),
        "face": str(consent.face),
        "voice": str(consent.voice),
        "purpose": consent.purpose,
        "expires": consent.expires.isoformat() if consent.expires else None,
        "contact": consent.contact,
        "operator": consent.operator,
        "subject": consent.subject,
        "notice_version": consent.notice_version,
        "take": take.id,
        "engine": f"{take.engine} {take.engine_version}",
        "label": take.settings.label,
        "label_reason": take.settings.label_off_reason if take.settings.label == "off" else "",
        "portrait_sha256": take.portrait_sha256,
        "portrait_pixel_sha256": take.portrait_pixel_sha256,
        "perceptual_hash": take.perceptual_hash,
        "audio_sha256": take.audio_sha256,
        "video_sha256": take.master_sha256,
        "evidence_sha256": evidence,
    } | _second_person(consent, take)


def _second_person(consent: Consent, take: Take) -> dict[str, str]:
    """What the row of a video with two persons holds besides."""
    if take.second is None:
        return {}
    values = consent.face_2, consent.voice_2, take.second.audio_sha256, take.second.perceptual_hash
    return dict(zip(SECOND_PERSON, map(str, values), strict=True))


def record_of(row: LedgerRow, exports: Mapping[str, LedgerRow], revoked: Mapping[str, str]) -> Record:
    """The record of a consent row. `exports`: record id → row; `revoked`: portrait hash → time."""
    values = row.values
    hashes = (values["portrait_sha256"], values["portrait_pixel_sha256"])
    times = [revoked[value] for value in hashes if value in revoked]
    return _record(row, exports.get(values["id"]), min(times, default=None))


@lru_cache(KEPT)
def _record(row: LedgerRow, export: LedgerRow | None, revoked: str | None) -> Record:
    """Of a consent row, the row of its export and the time of its portrait's revocation."""
    values, exported = row.values, export.values if export else {}
    return Record(
        **values
        | {
            "time": datetime.fromisoformat(values["time"]),
            "face": Basis(values["face"]),
            "voice": Basis(values["voice"]),
            "expires": parsed_date(values["expires"]),
            "alike": tuple(values.get("alike", ())),
        }
        | {name: Basis(values[name]) for name in ("face_2", "voice_2") if name in values},
        digest=hashlib.sha256(row.body.encode()).hexdigest(),
        seq=row.seq,
        prev_hash=row.prev,
        hash=row.hash,
        exported_at=datetime.fromisoformat(exported["time"]) if exported else None,
        output_sha256=exported.get("sha256", ""),
        output_name=exported.get("name", ""),
        revoked_at=datetime.fromisoformat(revoked) if revoked else None,
    )


def matching(records: tuple[Record, ...], text: str) -> tuple[Record, ...]:
    if len(text) < 4:
        return ()
    return tuple(record for record in records if record.id.startswith(text) or record.take == text)


def revoked_hashes(known: Sequence[Record | Take], target: str) -> set[str]:
    """File and pixel hashes that a revocation of `target` covers."""
    records = tuple(each for each in known if isinstance(each, Record))
    named = [*matching(records, target), *(each for each in known if each.id == target)]
    if len({each.portrait_pixel_sha256 for each in named}) > 1:
        raise BadInput(f"Several portraits match {target}.", "Give the whole id of one record.")
    hit = [*named, *(each for each in known if target in hashes_of(each))]
    return set().union(*map(hashes_of, hit)) or {_hex64(target)}


def hashes_of(portrait: Record | Take) -> set[str]:
    return {portrait.portrait_sha256, portrait.portrait_pixel_sha256}


def looks_revoked(alike: tuple[str, ...]) -> LooksRevoked:
    return LooksRevoked(
        f"The portrait looks like one whose consent was revoked: {', '.join(alike)}.",
        "If it is another one, say why in writing (unlike_reason); the reason is kept in the ledger.",
    )


def _hex64(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise BadInput(
            f"{value!r} is neither a known record nor the SHA-256 of a portrait.",
            "List the records with: sonic consent list",
        )
    return value


def _plain(value: Any) -> Any:
    convert = _TO_PLAIN.get(type(value))
    return value if convert is None else convert(value)


_TO_PLAIN: Mapping[type, Callable[[Any], str]] = {
    datetime: datetime.isoformat,
    date: date.isoformat,
    Basis: str,
}
