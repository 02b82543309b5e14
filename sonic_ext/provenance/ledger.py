"""The ledger that remembers consents, exports and revocations: one folder in the private home:

    consent/ledger.sqlite3   append-only rows in a hash chain (SQLite, WAL)
    consent/head.json        how many rows there are and the hash of the last, sealed with the key
    consent/key              32 secret bytes, 0600
    ledger-head.json         the head once more, outside of the folder; $SONIC_LEDGER_HEAD names a third place

Every row carries HMAC-SHA-256(key, number, kind, body, hash of the row before), so an edited, removed,
inserted or reordered row shows; the head shows rows cut off the end, and all three files must be there once
the folder is. Tables and triggers have to be the expected ones, so that none eats a row, and a row is read
back over a new connection before anybody is told that it was written. Rows are committed before the heads
are sealed, so after a crash a head may lag behind rows that prove themselves; it is never ahead of them
unless rows are gone.

An older copy of the folder is whole in itself. It is noticed where something newer is left: a copy of the
head, or a take or an exported file that was made later. What this cannot show: whoever may read the key may
forge, and whoever puts back an older copy of everything, or deletes everything, is not seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, BadOutput, ConsentRevoked, LooksRevoked, MissingPart, Tampered
from ..files.atomic import new_file, remove_temporaries, replace_file
from ..files.home import build_folder, home_errors, private_home
from .consent import Basis, Consent, parsed_date
from .database import VERSION, brought_up, connect, database_errors, migrate, require_schema

if TYPE_CHECKING:
    from .store import Take

HEAD_VARIABLE = "SONIC_LEDGER_HEAD"
"""Environment variable: a file, best on another disk, that keeps a copy of the ledger's head."""
COPY_NAME = "ledger-head.json"
"""The copy that is always kept, in the private home."""

_GENESIS = "0" * 64
_OLDER_HINT = (
    "Put back the newest copy of the private folder's consent folder. Where there is none, delete what tells "
    "of the newer one: revocations that only it knew of are then forgotten."
)
_log = logging.getLogger(__name__)


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

    @property
    def state(self) -> str:
        """`revoked`, `exported` or `not exported`."""
        if self.revoked_at is not None:
            return "revoked"
        return "exported" if self.exported_at is not None else "not exported"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, times in ISO 8601."""
        return {name: _plain(value) for name, value in vars(self).items()} | {"state": self.state}


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


@dataclass(frozen=True)
class _Row:
    seq: int
    kind: str
    body: str
    prev: str
    hash: str

    @property
    def values(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass(frozen=True)
class Head:
    """How far a ledger has come."""

    count: int
    """Rows."""
    hash: str
    """Of the last row; 64 zeros where there is none."""


@dataclass(frozen=True)
class _Copy:
    """A copy of the head outside of the ledger's folder, as found."""

    path: Path
    head: Head | None
    """None where its seal does not fit the key."""


class Ledger:
    """The consent ledger. Safe to use from several threads and processes at once.

    Args:
        root: the private home; see `private_home`.

    Raises (every method):
        Tampered: rows, head, key or tables do not fit together, or something newer than the ledger is left.
        BadOutput: the file system or another process keeps the ledger from being used, or others may read
            the private home.
        BadInput: a newer version of this package wrote the ledger.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.home = private_home(root)
        self.folder = self.home / "consent"
        self._database = self.folder / "ledger.sqlite3"
        self._head = self.folder / "head.json"
        self._key = self.folder / "key"

    def record(self, consent: Consent, take: Take) -> Record:
        """Write that `consent` was given for `take`.

        Raises:
            ConsentExpired, ConsentRevoked: the consent does not hold.
            Tampered: the ledger is older than the take.
            LooksRevoked: the portrait looks like one that was revoked, and `consent.unlike_reason` is empty.
        """
        consent.check()
        evidence = consent.evidence_sha256()
        with self._writing() as chain:
            chain.require_reached(take.ledger, f"take {take.id}")
            chain.refuse_revoked(take.portrait_sha256, take.portrait_pixel_sha256)
            alike = chain.revoked_alike(take.perceptual_hash)
            if alike and not consent.unlike_reason.strip():
                raise _looks_revoked(alike)
            body = _consent_body(consent, take, evidence) | {
                "portrait_synthetic": chain.is_synthetic(take.portrait_pixel_sha256),
                "alike": list(alike),
                "unlike_reason": consent.unlike_reason.strip() if alike else "",
            }
            row = chain.append("consent", body)
        return _record(row, {}, {})

    @contextlib.contextmanager
    def exporting(self, record: Record, output_sha256: str, output_name: str) -> Iterator[None]:
        """While the block moves the file into place, hold the ledger; then write that it was exported.

        The row is written only if the block ends without an error, so a record says `exported` for files
        that are there and no others. If writing fails the error comes out of the `with` statement.

        Raises:
            ConsentRevoked: the portrait was revoked since `record`.
        """
        with self._writing() as chain:
            chain.refuse_revoked(record.portrait_sha256, record.portrait_pixel_sha256)
            body = {"record": record.id, "sha256": output_sha256, "name": output_name, "time": _now()}
            chain.append("export", body)
            yield

    def revoke(self, target: str, reason: str = "", takes: Sequence[Take] = ()) -> Revocation:
        """Stop exports of a portrait, and of all that was made from it, for good, as a new row.

        Call it through `revocation.revoke`, which also deletes what lies in the private store.

        Args:
            target: id of a record (or its beginning) or of a take, or SHA-256 of a portrait's file or pixels.
                A hash that nothing here knows is accepted: it stops exports that have not happened yet.
            reason: kept in the row.
            takes: of the private store; they tell what the portraits look like that were never exported.

        Raises:
            BadInput: neither a known record or take nor a hash.
        """
        with self._writing() as chain:
            records = chain.records()
            known: tuple[Record | Take, ...] = (*records, *takes)
            hashes = _revoked_hashes(known, target.strip().lower())
            covered = hashes | chain.made_from(hashes)
            hit = [each for each in known if covered & _hashes_of(each)]
            time = _now()
            row = {
                "hashes": sorted(hashes),
                "looks": sorted({each.perceptual_hash for each in hit} - {""}),
                "takes": sorted(each.id for each in hit if not isinstance(each, Record)),
                "reason": reason,
                "time": time,
            }
            chain.append("revoke", row)
        ids = tuple(each.id for each in hit if isinstance(each, Record))
        return Revocation(datetime.fromisoformat(time), tuple(sorted(covered)), ids)

    def refuse_revoked(self, *hashes: str) -> None:
        """Raise `ConsentRevoked` if exports of a portrait were stopped, by its hashes or a take's id."""
        with self._reading() as chain:
            chain.refuse_revoked(*hashes)

    def revoked(self) -> frozenset[str]:
        """Hashes of all portraits whose exports were stopped, of those made from them, and ids of takes."""
        with self._reading() as chain:
            return frozenset(chain.revoked())

    def revoked_alike(self, perceptual_hash: str) -> tuple[str, ...]:
        """What was revoked and looks like this portrait (hex, see `media.perceptual`): see `Record.alike`."""
        with self._reading() as chain:
            return chain.revoked_alike(perceptual_hash)

    def records(self, take: str = "") -> tuple[Record, ...]:
        """All records, oldest first; with `take`, those of that take."""
        with self._reading() as chain:
            return tuple(record for record in chain.records() if take in ("", record.take))

    def show(self, record_id: str) -> Record:
        """One record by its id or the beginning of it (4 digits at least), or by the id of its take.

        Raises:
            BadInput: no record, or several, begin so.
        """
        with self._reading() as chain:
            found = _matching(chain.records(), record_id.strip().lower())
        if len(found) == 1:
            return found[0]
        if not found:
            raise BadInput(f"There is no consent record {record_id}.", "List them with: sonic consent list")
        raise BadInput(
            f"{len(found)} consent records match {record_id}.",
            f"Use one of {', '.join(record.id for record in found)}.",
        )

    def head(self) -> Head:
        """How far the ledger has come; `require_reached` recognises it later."""
        with self._reading() as chain:
            return chain.head()

    def require_reached(self, heads: Iterable[tuple[Head, str]]) -> None:
        """Compare the ledger with what it was when something else was made.

        Args:
            heads: of this ledger at an earlier time, each with words for what remembers it ("take 1f…").

        Raises:
            Tampered: the ledger does not hold one of the heads: an older copy was put back.
        """
        with self._reading() as chain:
            for head, witness in heads:
                chain.require_reached(head, witness)

    def derived_key(self, purpose: str) -> bytes:
        """32 secret bytes for one purpose: HKDF-SHA-256 (RFC 5869) of the ledger's key, made at first use.

        Raises:
            MissingPart: the `cryptography` package is not installed.
        """
        try:
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            package = "cryptography>=42"
            raise MissingPart("The private store needs cryptography.", f'pip install "{package}"') from error
        return HKDF(SHA256(), 32, salt=None, info=purpose.encode()).derive(self._made_secret())

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the chain, a sentence for each row; empty when it is whole."""
        try:
            with self._opened() as chain:
                return (*chain.problems(), *chain.rollbacks())
        except Tampered as error:
            return (error.message,)

    def check(self) -> int:
        """Walk the whole chain; returns how many rows it has.

        Raises:
            Tampered: names the first rows that do not fit.
        """
        with self._reading() as chain:
            return chain.head().count

    def remember_synthetic(self, pixel_sha256: str, source: str) -> None:
        """Remember a generated picture by its pixel hash, and what made it (`txt2img`, …)."""
        with self._writing() as chain:
            chain.remember_synthetic(pixel_sha256, source)

    def is_synthetic(self, pixel_sha256: str) -> bool:
        """Whether a picture with these pixels was remembered as generated."""
        with self._reading() as chain:
            return chain.is_synthetic(pixel_sha256)

    def remember_made_from(self, pixel_sha256: str, parents: Iterable[str], how: str) -> None:
        """Remember that a picture was made from others, all by their pixel hashes, and how (`img2img`, …)."""
        with self._writing() as chain:
            for parent in set(parents) - {pixel_sha256}:
                chain.remember_made_from(pixel_sha256, parent, how)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[_Chain]:
        """The whole chain, held against other processes; what is written is read back and sealed."""
        with self._reading() as chain:
            yield chain
            chain.commit()
        self._read_back(chain)
        self._seal()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_Chain]:
        """The chain, held against other processes, after it was checked; nothing is kept."""
        with self._opened() as chain:
            chain.require_whole()
            yield chain

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_Chain]:
        key = self._made_secret()
        with database_errors(), contextlib.closing(connect(self._database)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                if brought_up(db):
                    db.execute("COMMIT")
                    db.execute("BEGIN IMMEDIATE")
                    require_schema(db, VERSION)
                yield _Chain(db, key, self._sealed_head(key), self._copies(key))
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _made_secret(self) -> bytes:
        """The key; of a new ledger where there is none yet."""
        with home_errors(self.home):
            if not self.folder.is_dir():
                for path in filter(Path.is_file, self._copy_paths()):
                    raise Tampered(
                        f"The consent ledger {self.folder} is gone; {path} tells that it had rows.",
                        _OLDER_HINT,
                    )
                build_folder(self.folder, _new_ledger)
            for path in (self._key, self._head, self._database):
                if not path.is_file():
                    raise Tampered(f"The consent ledger is incomplete: {path} is missing.")
            return self._key.read_bytes()

    def _sealed_head(self, key: bytes) -> Head | None:
        """The head, or None where its seal does not fit; read while no other process may write it."""
        with home_errors(self.home):
            return _read_head(self._head.read_bytes(), key)

    def _copies(self, key: bytes) -> tuple[_Copy, ...]:
        """Copies of the head that can be read; one that is elsewhere may be out of reach, which is said."""
        found = []
        for path in self._copy_paths():
            try:
                found.append(_Copy(path, _read_head(path.read_bytes(), key)))
            except OSError as error:
                if path.parent.is_dir() and isinstance(error, FileNotFoundError):
                    continue  # not written yet
                _log.warning("The copy of the consent ledger's head cannot be compared: %s", error)
        return tuple(found)

    def _copy_paths(self) -> tuple[Path, ...]:
        named = os.environ.get(HEAD_VARIABLE, "").strip()
        return (self.home / COPY_NAME, *([Path(named).expanduser()] if named else []))

    def _read_back(self, written: _Chain) -> None:
        """Look for what was committed, over a new connection.

        Raises:
            Tampered: it is not there.
        """
        with database_errors(), contextlib.closing(connect(self._database)) as db:
            _Chain(db, written.secret, None).require_written(written)

    def _seal(self) -> None:
        """Write the heads for the rows that are committed; one that lags is caught up with next time."""
        try:
            with self._opened() as chain:
                for path in (self._head, *self._copy_paths()):
                    with _said(path):
                        remove_temporaries(path)
                        replace_file(path, chain.sealed())
        except BadOutput as error:
            _log.warning("The head of the consent ledger was not sealed: %s", error)


class _Chain:
    """The rows inside one transaction."""

    def __init__(
        self, db: sqlite3.Connection, key: bytes, head: Head | None, copies: tuple[_Copy, ...] = ()
    ) -> None:
        self._db = db
        self.secret = key
        self._head = head
        self._copies = copies
        self._appended: list[_Row] = []
        self._remembered: list[str] = []
        self._children: list[tuple[str, str]] = []

    def rows(self, kind: str = "") -> Iterator[_Row]:
        query = "SELECT seq, kind, body, prev, hash FROM events WHERE ? IN ('', kind) ORDER BY seq"
        found = self._db.execute(query, (kind,))
        # Forged rows may hold bytes or numbers; as text they fail the hash like any other forgery.
        return (_Row(seq, *map(str, texts)) for seq, *texts in found)

    def head(self) -> Head:
        row = self._db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*(row or (0, _GENESIS)))

    def reached(self, head: Head) -> bool:
        """Whether the ledger has come as far as `head`, on the same way."""
        query = "SELECT hash FROM events WHERE seq = ?"
        row = self._db.execute(query, (head.count,)).fetchone()
        return head == Head(0, _GENESIS) or (row is not None and row[0] == head.hash)

    def problems(self) -> Iterator[str]:
        """Walk rows against their hashes, and the rows against the head."""
        if self._head is None:
            yield "The head of the consent ledger was altered."
        expected, prev, sealed = 1, _GENESIS, self._head == Head(0, _GENESIS)
        for row in self.rows():
            yield from _missing(expected, row.seq)
            after_gap = row.seq != expected
            if row.hash != self._hash(row) or not (after_gap or row.prev == prev):
                yield f"Row {row.seq} of the consent ledger was altered or moved."
            expected, prev = row.seq + 1, row.hash
            sealed = sealed or self._head == Head(row.seq, row.hash)
        if self._head is not None:
            yield from _missing(expected, self._head.count + 1)
            if not sealed and expected > self._head.count:
                yield f"Row {self._head.count} of the consent ledger is not the one that was sealed."

    def rollbacks(self) -> Iterator[str]:
        """Compare the rows with the copies of the head."""
        for copy in self._copies:
            if copy.head is None:
                yield f"The copy of the head in {copy.path} was altered, or is another consent ledger's."
            elif not self.reached(copy.head):
                yield (
                    f"The consent ledger is older than the copy of its head in {copy.path}: "
                    f"row {copy.head.count} that was sealed there is not in it."
                )

    def require_whole(self) -> None:
        problems = list(self.problems())
        if problems:
            raise Tampered(" ".join(problems[:3]) + (" And more." if len(problems) > 3 else ""))
        rollbacks = list(self.rollbacks())
        if rollbacks:
            raise Tampered(" ".join(rollbacks), _OLDER_HINT)

    def require_reached(self, head: Head, witness: str) -> None:
        if not self.reached(head):
            raise Tampered(
                f"The consent ledger is older than {witness}: row {head.count} that was there is missing.",
                _OLDER_HINT,
            )

    def require_written(self, written: _Chain) -> None:
        """Raise `Tampered` unless all that was written through the other chain is here."""
        query = "SELECT seq, kind, body, prev, hash FROM events WHERE seq = ?"
        for row in written._appended:
            if self._db.execute(query, (row.seq,)).fetchone() != dataclasses.astuple(row):
                raise Tampered(f"Row {row.seq} is not in the consent ledger although it was written.")
        for pixel_sha256 in written._remembered:
            if not self.is_synthetic(pixel_sha256):
                raise Tampered(
                    f"Picture {pixel_sha256} is not in the consent ledger although it was written."
                )
        for pixel_sha256, parent in written._children:
            if pixel_sha256 not in self._children_of(parent):
                raise Tampered(
                    f"Picture {pixel_sha256} is not in the consent ledger although it was written."
                )

    def append(self, kind: str, body: Mapping[str, Any]) -> _Row:
        last = self.head()
        text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        row = _Row(last.count + 1, kind, text, last.hash, "")
        row = dataclasses.replace(row, hash=self._hash(row))
        self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", dataclasses.astuple(row))
        self._appended.append(row)
        return row

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def sealed(self) -> bytes:
        head = self.head()
        mac = _mac(self.secret, "head", str(head.count), head.hash)
        return json.dumps({"count": head.count, "hash": head.hash, "mac": mac}).encode()

    def records(self) -> tuple[Record, ...]:
        revoked = self.revoked()
        with _row_errors():
            exports = {row.values["record"]: row.values for row in self.rows("export")}
            return tuple(_record(row, exports, revoked) for row in self.rows("consent"))

    def refuse_revoked(self, *hashes: str) -> None:
        revoked = self.revoked()
        for value in hashes:
            if value in revoked:
                raise ConsentRevoked(
                    f"The consent for this portrait was revoked on {revoked[value][:10]}.",
                    "It cannot be exported; use another portrait.",
                )

    def remember_synthetic(self, pixel_sha256: str, source: str) -> None:
        values = (_hex64(pixel_sha256), source, _now())
        mac = _mac(self.secret, "synthetic", *values)
        self._db.execute("INSERT OR REPLACE INTO synthetic VALUES (?, ?, ?, ?)", (*values, mac))
        self._remembered.append(pixel_sha256)

    def is_synthetic(self, pixel_sha256: str) -> bool:
        query = "SELECT pixel_hash, source, time, mac FROM synthetic WHERE pixel_hash = ?"
        row = self._db.execute(query, (pixel_sha256,)).fetchone()
        if row is None:
            return False
        *values, mac = map(str, row)
        return _mac(self.secret, "synthetic", *values) == mac

    def revoked(self) -> dict[str, str]:
        """Hash of a portrait, or id of a take of it → time of the first revocation.

        What was made from a portrait goes with it.
        """
        revoked: dict[str, str] = {}
        with _row_errors():
            for row in self.rows("revoke"):
                hashes, takes = set(row.values["hashes"]), row.values.get("takes", ())
                time = datetime.fromisoformat(row.values["time"]).isoformat()
                for value in (*hashes, *self.made_from(hashes), *takes):
                    revoked.setdefault(value, time)
        return revoked

    def revoked_alike(self, perceptual_hash: str) -> tuple[str, ...]:
        with _row_errors():
            revocations = [row for row in self.rows("revoke") if row.values.get("looks")]
        if not (revocations and perceptual_hash):
            return ()
        from ..media.perceptual import ALIKE, similarity

        own, records = bytes.fromhex(perceptual_hash), self.records()
        found: dict[str, None] = {}
        with _row_errors():
            for row in revocations:
                looks = map(bytes.fromhex, row.values["looks"])
                if max(similarity(own, each) for each in looks) >= ALIKE:
                    hashes = set(row.values["hashes"])
                    ids = [record.id for record in records if hashes & _hashes_of(record)]
                    found |= dict.fromkeys(ids or [f"row {row.seq}"])
        return tuple(found)

    def remember_made_from(self, pixel_sha256: str, parent: str, how: str) -> None:
        values = (_hex64(pixel_sha256), _hex64(parent), how, _now())
        mac = _mac(self.secret, "lineage", *values)
        self._db.execute("INSERT OR REPLACE INTO lineage VALUES (?, ?, ?, ?, ?)", (*values, mac))
        self._children.append((pixel_sha256, parent))

    def made_from(self, hashes: Iterable[str]) -> set[str]:
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
        rows = [tuple(map(str, row)) for row in self._db.execute(query, (parent,))]
        return {child for child, *rest, mac in rows if _mac(self.secret, "lineage", child, *rest) == mac}

    def _hash(self, row: _Row) -> str:
        return _mac(self.secret, "row", str(row.seq), row.kind, row.body, row.prev)


def _new_ledger(folder: Path) -> None:
    """An empty ledger: key, database, head for no rows."""
    key = secrets.token_bytes(32)
    new_file(folder / "key", key)
    new_file(folder / "ledger.sqlite3", b"")
    with database_errors(), contextlib.closing(connect(folder / "ledger.sqlite3")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, 0)
        new_file(folder / "head.json", _Chain(db, key, None).sealed())


@contextlib.contextmanager
def _row_errors() -> Iterator[None]:
    """Turn what is no row of this version, although its hash fits, into `Tampered`."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise Tampered(f"A row of the consent ledger cannot be understood ({error}).") from error


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    """A head that cannot be written lags, and the log says so."""
    try:
        yield
    except OSError as error:
        _log.warning("The head of the consent ledger was not sealed in %s: %s", path, error)


def _read_head(data: bytes, key: bytes) -> Head | None:
    try:
        values = json.loads(data)
        head = Head(int(values["count"]), str(values["hash"]))
        sealed = _mac(key, "head", str(head.count), head.hash)
        return head if hmac.compare_digest(sealed, str(values["mac"])) else None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _missing(first: int, end: int) -> Iterator[str]:
    """A sentence on the rows `first` to `end` - 1, or nothing when `end` <= `first`."""
    if end - first == 1:
        yield f"Row {first} of the consent ledger is missing."
    elif end > first:
        yield f"Rows {first} to {end - 1} of the consent ledger are missing."


def _mac(key: bytes, *parts: str) -> str:
    text = json.dumps(parts, ensure_ascii=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _consent_body(consent: Consent, take: Take, evidence: str) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(8),
        "nonce": secrets.token_hex(16),
        "time": _now(),
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
    }


def _record(row: _Row, exports: Mapping[str, dict[str, Any]], revoked: Mapping[str, str]) -> Record:
    """The record of a consent row. `exports`: record id → export; `revoked`: portrait hash → time."""
    values = row.values
    exported = exports.get(values["id"], {})
    hashes = (values["portrait_sha256"], values["portrait_pixel_sha256"])
    times = [revoked[value] for value in hashes if value in revoked]
    return Record(
        **values
        | {
            "time": datetime.fromisoformat(values["time"]),
            "face": Basis(values["face"]),
            "voice": Basis(values["voice"]),
            "expires": parsed_date(values["expires"]),
            "alike": tuple(values.get("alike", ())),
        },
        digest=hashlib.sha256(row.body.encode()).hexdigest(),
        seq=row.seq,
        prev_hash=row.prev,
        hash=row.hash,
        exported_at=datetime.fromisoformat(exported["time"]) if exported else None,
        output_sha256=exported.get("sha256", ""),
        output_name=exported.get("name", ""),
        revoked_at=datetime.fromisoformat(min(times)) if times else None,
    )


def _matching(records: tuple[Record, ...], text: str) -> tuple[Record, ...]:
    if len(text) < 4:
        return ()
    return tuple(record for record in records if record.id.startswith(text) or record.take == text)


def _revoked_hashes(known: Sequence[Record | Take], target: str) -> set[str]:
    """File and pixel hashes that a revocation of `target` covers."""
    records = tuple(each for each in known if isinstance(each, Record))
    named = [*_matching(records, target), *(each for each in known if each.id == target)]
    if len({each.portrait_pixel_sha256 for each in named}) > 1:
        raise BadInput(f"Several portraits match {target}.", "Give the whole id of one record.")
    hit = [*named, *(each for each in known if target in _hashes_of(each))]
    return set().union(*map(_hashes_of, hit)) or {_hex64(target)}


def _hashes_of(portrait: Record | Take) -> set[str]:
    return {portrait.portrait_sha256, portrait.portrait_pixel_sha256}


def _looks_revoked(alike: tuple[str, ...]) -> LooksRevoked:
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
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, Enum) else value
