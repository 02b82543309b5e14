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
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ..configuration import Configuration
from ..errors import BadInput, BadOutput, MissingPart, NotFound, Tampered
from ..files.atomic import new_file, remove_temporaries, replace_file
from ..files.home import build_folder, home_errors, private_home
from ..files.names import expanded
from ..text import whole
from .chain import OLDER_HINT, Head, HeadCopy, read_head
from .consent import Consent
from .database import VERSION, connect, database_errors, is_older, migrate, migrate_older, require_schema
from .records import (
    Record,
    Records,
    Revocation,
    consent_body,
    hashes_of,
    looks_revoked,
    matching,
    now_text,
    record_of,
    revoked_hashes,
)
from .take import Take

COPY_NAME = "ledger-head.json"
"""The copy that is always kept, in the private home."""

_log = logging.getLogger(__name__)


class Ledger:
    """The consent ledger. Safe to use from several threads and processes at once.

    Args:
        root: the private home; see `private_home`.
        configuration: names a further copy of the head, and trusted signers for those who hold a ledger; the
            environment's by default.

    Raises (every method):
        Tampered: rows, head, key or tables do not fit together, or something newer than the ledger is left.
        BadOutput: the file system or another process keeps the ledger from being used, or others may read
            the private home.
        BadInput: a newer version of this package wrote the ledger.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, configuration: Configuration | None = None
    ) -> None:
        self.configuration = configuration or Configuration.from_environment()
        self.home = private_home(root)
        self.folder = self.home / "consent"
        self._database = self.folder / "ledger.sqlite3"
        self._head = self.folder / "head.json"
        self._key = self.folder / "key"

    def record(self, consent: Consent, take: Take) -> Record:
        """Write that `consent` was given for `take`.

        Raises:
            ConsentExpired, ConsentRevoked: the consent does not hold.
            ConsentMissing: two persons are shown, and it speaks for one.
            Tampered: the ledger is older than the take.
            LooksRevoked: the portrait looks like one that was revoked, and `consent.unlike_reason` is empty.
        """
        consent.check()
        consent.require_each(take.persons)
        evidence = consent.evidence_sha256()
        with self._writing() as chain:
            chain.require_reached(take.ledger, f"take {take.id}")
            chain.refuse_revoked(take.portrait_sha256, take.portrait_pixel_sha256)
            alike = chain.revoked_lookalikes(*take.looks)
            if alike and not consent.unlike_reason.strip():
                raise looks_revoked(alike)
            body = consent_body(consent, take, evidence) | {
                "portrait_synthetic": chain.is_synthetic(take.portrait_pixel_sha256),
                "alike": list(alike),
                "unlike_reason": consent.unlike_reason.strip() if alike else "",
            }
            row = chain.append("consent", body)
        return record_of(row, {}, {})

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
            body = {
                "record": record.id,
                "sha256": output_sha256,
                "name": whole(output_name),
                "time": now_text(),
            }
            chain.append("export", body)
            yield

    def record_training(
        self, overlay_sha256: str, base: Mapping[str, str], basis: Mapping[str, str], data_sha256: str
    ) -> None:
        """Write that adapters were trained, as a new row; once for each file.

        Args:
            overlay_sha256: of the adapters' file.
            base: part → SHA-256 of the weights that they belong to.
            basis: on what legal basis faces and voices were learned from.
            data_sha256: of what was learned from.
        """
        with self._writing() as chain:
            if any(row.values["overlay_sha256"] == overlay_sha256 for row in chain.rows("training")):
                return
            body = {
                "overlay_sha256": overlay_sha256,
                "base": dict(base),
                "basis": {name: whole(text) for name, text in basis.items()},
                "data_sha256": data_sha256,
                "time": now_text(),
            }
            chain.append("training", body)

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
            hashes = revoked_hashes(known, target.strip().lower())
            covered = hashes | chain.descendants(hashes)
            hit = [each for each in known if covered & hashes_of(each)]
            time = now_text()
            row = {
                "hashes": sorted(hashes),
                "looks": sorted({look for each in hit for look in each.looks} - {""}),
                "takes": sorted(each.id for each in hit if not isinstance(each, Record)),
                "reason": whole(reason),
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

    def revoked_lookalikes(self, *perceptual_hashes: str) -> tuple[str, ...]:
        """What was revoked and looks like one of these faces (hex, see `media.perceptual`): see
        `Record.alike`."""
        with self._reading() as chain:
            return chain.revoked_lookalikes(*perceptual_hashes)

    def records(self, take: str = "") -> tuple[Record, ...]:
        """All records, oldest first; with `take`, those of that take."""
        with self._reading() as chain:
            return tuple(record for record in chain.records() if take in ("", record.take))

    def show(self, record_id: str) -> Record:
        """One record by its id or the beginning of it (4 digits at least), or by the id of its take.

        Raises:
            NotFound: no record begins so.
            BadInput: several do.
        """
        with self._reading() as chain:
            found = matching(chain.records(), record_id.strip().lower())
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(f"There is no consent record {record_id}.", "List them with: sonic consent list")
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
        return HKDF(SHA256(), 32, salt=None, info=purpose.encode()).derive(self._load_key())

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the chain, a sentence for each row; empty when it is whole."""
        try:
            with self._open() as chain:
                return (*chain.problems(), *chain.rollbacks())
        except Tampered as error:
            return (error.message,)

    def check(self) -> int:
        """Walk the whole chain, held against other processes; returns how many rows it has.

        Raises:
            Tampered: names the first rows that do not fit.
        """
        with self._open() as chain:
            chain.require_whole()
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
    def _writing(self) -> Iterator[Records]:
        """The whole chain, held against other processes; what is written is read back and sealed."""
        with self._open() as chain:
            chain.require_whole()
            yield chain
            chain.commit()
        self._verify_written(chain)
        self._seal()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Records]:
        """The chain as it is at one moment, after it was checked; nothing is kept, and others may write."""
        with self._open() if os.name == "nt" else self._snapshot() as chain:
            chain.require_whole()
            yield chain

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Records]:
        """The chain, whoever writes meanwhile.

        Heads are sealed after their rows are committed, so those that were read before the rows are of rows
        that are there. Windows lets nobody replace a file while it is read: there this is no way.
        """
        key = self._load_key()
        with database_errors(), contextlib.closing(connect(self._database)) as db:
            if is_older(db):
                with self._open():  # which migrates it
                    pass
            head, copies = self._read_head(key), self._copies(key)
            db.execute("BEGIN")
            require_schema(db, VERSION)
            yield Records(db, key, head, copies)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Records]:
        key = self._load_key()
        with database_errors(), contextlib.closing(connect(self._database)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                self._remove_temporaries()
                if migrate_older(db):
                    db.execute("COMMIT")
                    db.execute("BEGIN IMMEDIATE")
                    require_schema(db, VERSION)
                yield Records(db, key, self._read_head(key), self._copies(key))
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _remove_temporaries(self) -> None:
        """What a process left that was killed while it sealed; with the database held nobody seals."""
        for path in self._head_paths():
            with contextlib.suppress(OSError):  # the next one who opens it tries again
                remove_temporaries(path)

    def _load_key(self) -> bytes:
        """The key; of a new ledger where there is none yet."""
        with home_errors(self.home):
            if not self.folder.is_dir():
                for path in filter(Path.is_file, self._copy_paths()):
                    raise Tampered(
                        f"The consent ledger {self.folder} is gone; {path} tells that it had rows.",
                        OLDER_HINT,
                    )
                build_folder(self.folder, _new_ledger)
            for path in (self._key, self._head, self._database):
                if not path.is_file():
                    raise Tampered(f"The consent ledger is incomplete: {path} is missing.")
            return self._key.read_bytes()

    def _read_head(self, key: bytes) -> Head | None:
        """The head, or None where its seal does not fit; read before the rows, or while nobody may write."""
        with home_errors(self.home):
            return read_head(self._head.read_bytes(), key)

    def _copies(self, key: bytes) -> tuple[HeadCopy, ...]:
        """Copies of the head that can be read; one that is elsewhere may be out of reach, which is said."""
        found = []
        for path in self._copy_paths():
            try:
                found.append(HeadCopy(path, read_head(path.read_bytes(), key)))
            except OSError as error:
                if path.parent.is_dir() and isinstance(error, FileNotFoundError):
                    continue  # not written yet
                _log.warning("The copy of the consent ledger's head cannot be compared: %s", error)
        return tuple(found)

    def _head_paths(self) -> tuple[Path, ...]:
        return (self._head, *self._copy_paths())

    def _copy_paths(self) -> tuple[Path, ...]:
        named = self.configuration.ledger_head
        return (self.home / COPY_NAME, *([expanded(named)] if named else []))

    def _verify_written(self, written: Records) -> None:
        """Look for what was committed, over a new connection.

        Raises:
            Tampered: it is not there.
        """
        with database_errors(), contextlib.closing(connect(self._database)) as db:
            Records(db, written.secret, None).require_all_written(written)

    def _seal(self) -> None:
        """Write the heads for the rows that are committed; one that lags is caught up with next time."""
        try:
            with self._open() as chain:
                for path in self._head_paths():
                    with _log_failure(path):
                        replace_file(path, chain.head_bytes())
        except BadOutput as error:
            _log.warning("The head of the consent ledger was not sealed: %s", error)


def _new_ledger(folder: Path) -> None:
    """An empty ledger: key, database, head for no rows."""
    key = secrets.token_bytes(32)
    new_file(folder / "key", key)
    new_file(folder / "ledger.sqlite3", b"")
    with database_errors(), contextlib.closing(connect(folder / "ledger.sqlite3")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, 0)
        new_file(folder / "head.json", Records(db, key, None).head_bytes())


@contextlib.contextmanager
def _log_failure(path: Path) -> Iterator[None]:
    """A head that cannot be written lags, and the log says so."""
    try:
        yield
    except OSError as error:
        _log.warning("The head of the consent ledger was not sealed in %s: %s", path, error)
