"""Rows in a hash chain, and its head: what makes a change of the ledger show.

Every row carries HMAC-SHA-256(key, number, kind, body, hash of the row before), so an edited, removed,
inserted or reordered row shows; the head, sealed with the key, shows rows cut off the end. What the rows mean
is told by `records`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Tampered
from ..files.sqlite import rows_of

GENESIS = "0" * 64
"""What stands for the hash of the row before the first."""
KEPT = 4096
"""Rows that are not computed or parsed again while they are the same: a page asks for all of them a lot."""
OLDER_HINT = (
    "Put back the newest copy of the private folder's consent folder. Where there is none, delete what tells "
    "of the newer one: revocations that only it knew of are then forgotten."
)


class LedgerRow(NamedTuple):
    """One row. A tuple, as the database has it: a list of all records reads them by the hundred."""

    seq: int
    kind: str
    body: str
    prev: str
    hash: str

    @property
    def values(self) -> dict[str, Any]:
        return dict(_parsed(self.body))


@dataclass(frozen=True)
class Head:
    """How far a ledger has come."""

    count: int
    """Rows."""
    hash: str
    """Of the last row; 64 zeros where there is none."""


@dataclass(frozen=True)
class HeadCopy:
    """A copy of the head outside of the ledger's folder, as found."""

    path: Path
    head: Head | None
    """None where its seal does not fit the key."""


class Chain:
    """The rows inside one transaction."""

    def __init__(
        self, db: sqlite3.Connection, key: bytes, head: Head | None, copies: tuple[HeadCopy, ...] = ()
    ) -> None:
        self.db = db
        self.secret = key
        self._head = head
        self._copies = copies
        self.appended: list[LedgerRow] = []
        self._walked: list[LedgerRow] | None = None
        """All rows, where they were walked and are few enough to be kept."""

    def rows(self, kind: str = "") -> Iterator[LedgerRow]:
        """Those of a kind, or all, in their order."""
        if self._walked is not None:
            return (row for row in self._walked if kind in ("", row.kind))
        # Forged rows may hold bytes or numbers; as text they fail the hash like any other forgery.
        chosen = "FROM events WHERE ? IN ('', kind) ORDER BY seq"
        found = rows_of(self.db, LedgerRow._fields, chosen, (kind,))
        return (LedgerRow(seq, *map(str, texts)) for seq, *texts in found)

    def head(self) -> Head:
        row = self.db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*(row or (0, GENESIS)))

    def reached(self, head: Head) -> bool:
        """Whether the ledger has come as far as `head`, on the same way."""
        query = "SELECT hash FROM events WHERE seq = ?"
        row = self.db.execute(query, (head.count,)).fetchone()
        return head == Head(0, GENESIS) or (row is not None and row[0] == head.hash)

    def problems(self) -> Iterator[str]:
        """Walk rows against their hashes, and the rows against the head."""
        if self._head is None:
            yield "The head of the consent ledger was altered."
        expected, prev, sealed = 1, GENESIS, self._head == Head(0, GENESIS)
        walked: list[LedgerRow] = []
        for row in self.rows():
            if len(walked) <= KEPT:
                walked.append(row)
            yield from _missing(expected, row.seq)
            after_gap = row.seq != expected
            if row.hash != self._hash(row) or not (after_gap or row.prev == prev):
                yield f"Row {row.seq} of the consent ledger was altered or moved."
            expected, prev = row.seq + 1, row.hash
            sealed = sealed or self._head == Head(row.seq, row.hash)
        if len(walked) <= KEPT:
            self._walked = walked
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
            raise Tampered(" ".join(rollbacks), OLDER_HINT)

    def require_reached(self, head: Head, witness: str) -> None:
        if not self.reached(head):
            raise Tampered(
                f"The consent ledger is older than {witness}: row {head.count} that was there is missing.",
                OLDER_HINT,
            )

    def require_written(self, written: Chain) -> None:
        """Raise `Tampered` unless all that was written through the other chain is here."""
        query = "SELECT seq, kind, body, prev, hash FROM events WHERE seq = ?"
        for row in written.appended:
            if self.db.execute(query, (row.seq,)).fetchone() != row:
                raise Tampered(f"Row {row.seq} is not in the consent ledger although it was written.")

    def append(self, kind: str, body: Mapping[str, Any]) -> LedgerRow:
        last = self.head()
        text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        row = LedgerRow(last.count + 1, kind, text, last.hash, "")
        row = row._replace(hash=self._hash(row))
        self.db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
        self.appended.append(row)
        self._walked = None
        return row

    def commit(self) -> None:
        self.db.execute("COMMIT")

    def head_bytes(self) -> bytes:
        head = self.head()
        mac = sealed_mac(self.secret, "head", str(head.count), head.hash)
        return json.dumps({"count": head.count, "hash": head.hash, "mac": mac}).encode()

    def _hash(self, row: LedgerRow) -> str:
        return _row_mac(self.secret, row.seq, row.kind, row.body, row.prev)


def read_head(data: bytes, key: bytes) -> Head | None:
    """A head out of a file; None where its seal does not fit the key."""
    try:
        values = json.loads(data)
        head = Head(int(values["count"]), str(values["hash"]))
        sealed = sealed_mac(key, "head", str(head.count), head.hash)
        return head if hmac.compare_digest(sealed, str(values["mac"])) else None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _missing(first: int, end: int) -> Iterator[str]:
    """A sentence on the rows `first` to `end` - 1, or nothing when `end` <= `first`."""
    if end - first == 1:
        yield f"Row {first} of the consent ledger is missing."
    elif end > first:
        yield f"Rows {first} to {end - 1} of the consent ledger are missing."


@lru_cache(KEPT)
def _parsed(body: str) -> Any:
    return json.loads(body)


@lru_cache(KEPT)
def _row_mac(key: bytes, seq: int, kind: str, body: str, prev: str) -> str:
    """A function of what was read and of nothing else: remembering it hides no change."""
    return sealed_mac(key, "row", str(seq), kind, body, prev)


def sealed_mac(key: bytes, *parts: str) -> str:
    """HMAC-SHA-256 of the parts as a JSON list, in hex."""
    # As json.dumps has it, in a third of the time
    text = f"[{', '.join(map(encode_basestring_ascii, parts))}]"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
