"""A connection to an SQLite database that is there already."""

from __future__ import annotations

import sqlite3
from pathlib import Path


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
