"""A connection to an SQLite database that is there already."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

_LOCKED = re.compile("locked|busy", re.IGNORECASE)
_KEPT_AWAY = re.compile("read-?only|full|disk I/O|unable to open", re.IGNORECASE)


def connected(path: Path, seconds: float, *pragmas: str) -> sqlite3.Connection:
    """With explicit transactions, and no trust in what its schema says. Closed again where it is no database.

    Args:
        seconds: how long to wait for another process that writes.
        pragmas: more of SQLite's settings, `name = value`.

    Raises:
        sqlite3.Error: it is not there, or no database.
    """
    address = f"{path.resolve().as_uri()}?mode=rw"
    db = sqlite3.connect(address, uri=True, timeout=seconds, isolation_level=None)
    try:
        for pragma in (*pragmas, "trusted_schema = OFF"):
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another process had the database to itself for longer than was waited."""
    return isinstance(error, sqlite3.OperationalError) and _LOCKED.search(str(error)) is not None


def is_kept_away(error: sqlite3.Error) -> bool:
    """Whether the file system keeps the database from being used: full, read-only, out of reach."""
    return isinstance(error, sqlite3.OperationalError) and _KEPT_AWAY.search(str(error)) is not None
