"""The ledger's database: its tables, what makes each version out of the one before, and its errors."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadInput, BadOutput, Tampered
from ..files.sqlite import connected, is_kept_away, is_locked, rows_of

BUSY_SECONDS = 30.0
"""How long to wait for another process that writes to the ledger."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # 1: to the letter as version 0.1 made it, with a user_version of 0.
    (
        "CREATE TABLE events(\n    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, "
        "prev TEXT NOT NULL, hash TEXT NOT NULL)",
        "CREATE TRIGGER events_no_update BEFORE UPDATE ON events\n"
        "    BEGIN SELECT RAISE(ABORT, 'the consent ledger is append-only'); END",
        "CREATE TRIGGER events_no_delete BEFORE DELETE ON events\n"
        "    BEGIN SELECT RAISE(ABORT, 'the consent ledger is append-only'); END",
        "CREATE TABLE synthetic(\n    pixel_hash TEXT PRIMARY KEY, source TEXT NOT NULL, "
        "time TEXT NOT NULL, mac TEXT NOT NULL)",
    ),
    # 2: INSERT OR REPLACE deletes a row without asking the trigger on DELETE.
    (
        "CREATE TRIGGER events_at_the_end BEFORE INSERT ON events "
        "WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events) "
        "BEGIN SELECT RAISE(ABORT, 'the consent ledger is append-only'); END",
    ),
    # 3: which picture was made from which.
    (
        "CREATE TABLE lineage(\n    pixel_hash TEXT NOT NULL, parent TEXT NOT NULL, how TEXT NOT NULL, "
        "time TEXT NOT NULL, mac TEXT NOT NULL, PRIMARY KEY(parent, pixel_hash))",
    ),
)
"""What makes each version of the database out of the one before. `PRAGMA user_version` says which it is."""
VERSION = len(MIGRATIONS)
"""Version of the database that this code writes."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a database that must exist, with explicit transactions."""
    return connected(path, BUSY_SECONDS, "synchronous = FULL")


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Take a database from `version` to `VERSION`; inside the transaction where there is one."""
    for statement in itertools.chain.from_iterable(MIGRATIONS[version:]):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def is_older(db: sqlite3.Connection) -> bool:
    """Whether an older version of this package wrote the database.

    Raises:
        BadInput: a newer version did.
        Tampered: no version did.
    """
    return _version(db) < VERSION


def _version(db: sqlite3.Connection) -> int:
    # Version 0.1 wrote no number.
    version: int = db.execute("PRAGMA user_version").fetchone()[0] or 1
    if version < 1:
        raise Tampered(f"The consent ledger has format {version}, which there never was.")
    if version > VERSION:
        raise BadInput(
            f"The consent ledger was written by a newer version of this extension (format {version}).",
            "Update the extension.",
        )
    return version


def migrate_older(db: sqlite3.Connection) -> bool:
    """Check the tables, and migrate those of an older version; whether there was anything to migrate.

    Raises:
        BadInput: a newer version wrote them.
        Tampered: they are not as their version makes them.
    """
    version = _version(db)
    require_schema(db, version)
    if version < VERSION:
        migrate(db, version)
    return version < VERSION


def require_schema(db: sqlite3.Connection, version: int) -> None:
    """Raise `Tampered` unless tables, triggers, indexes and views are those of `version`, to the letter."""
    different = _expected_schema(version) ^ _read_schema(db)
    if different:
        named = sorted({f"{kind} {name}" for kind, name, *_ in different})
        raise Tampered(f"The consent ledger has other tables or triggers than expected: {', '.join(named)}.")


def _read_schema(db: sqlite3.Connection) -> frozenset[tuple[str, str, str, str | None]]:
    """Kind, name, table and statement of all that the database holds."""
    return frozenset(map(tuple, rows_of(db, ("type", "name", "tbl_name", "sql"), "FROM sqlite_master")))


@functools.cache
def _expected_schema(version: int) -> frozenset[tuple[str, str, str, str | None]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for statement in itertools.chain.from_iterable(MIGRATIONS[:version]):
            db.execute(statement)
        return _read_schema(db)


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if is_locked(error):
            raise BadOutput(
                f"The consent ledger cannot be used: {error}.",
                "Another program has it to itself: close that one, or try again in a moment.",
            ) from error
        if is_kept_away(error):
            raise BadOutput(
                f"The consent ledger cannot be used: {error}.",
                "Make room or give yourself access to the private folder, then try again.",
            ) from error
        raise Tampered(f"The consent ledger cannot be read: {error}.") from error
    except UnicodeError as error:  # in the names of tables
        raise Tampered("The consent ledger cannot be read: its tables are damaged.") from error
