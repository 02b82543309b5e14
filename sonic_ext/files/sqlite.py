"""A connection to an SQLite database that is there already, and rows out of it."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

AT_ONCE = 2048
"""Rows that `rows_of` reads in one step: some megabytes."""
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
    address = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(address, uri=True, timeout=seconds, isolation_level=None)
    try:
        for pragma in (*pragmas, "trusted_schema = OFF"):
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def rows_of(
    db: sqlite3.Connection, columns: Sequence[str], rest: str, values: Sequence[str] = ()
) -> Iterator[list[Any]]:
    """The rows of a query, many at each step; where one holds bytes, they come as hexadecimal text.

    At every step `sqlite3` lets other threads run, and where they compute it waits until it is let in again:
    600 rows, one at a time, took 0.3 s beside one such thread, and this way 15 ms.

    Args:
        columns: that are selected: names, or `expression AS name`.
        rest: of the query, `FROM … ORDER BY …`; for more than `AT_ONCE` rows inside a transaction.
        values: for its question marks.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    names = [column.rpartition(" ")[2] for column in columns]
    cells = ", ".join(f"CASE typeof({name}) WHEN 'blob' THEN hex({name}) ELSE {name} END" for name in names)
    query = f"SELECT {', '.join(columns)} {rest}"
    step = f"SELECT json_group_array(json_array({cells})) FROM ({query} LIMIT {AT_ONCE} OFFSET ?)"
    for start in itertools.count(0, AT_ONCE):
        (text,) = db.execute(step, (*values, start)).fetchone()
        try:
            rows = json.loads(text)
        except ValueError as error:  # a number that is none
            raise sqlite3.DatabaseError(f"a row cannot be read ({error})") from error
        yield from rows
        if len(rows) < AT_ONCE:
            return


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another process had the database to itself for longer than was waited."""
    return isinstance(error, sqlite3.OperationalError) and _LOCKED.search(str(error)) is not None


def is_kept_away(error: sqlite3.Error) -> bool:
    """Whether the file system keeps the database from being used: full, read-only, out of reach."""
    return isinstance(error, sqlite3.OperationalError) and _KEPT_AWAY.search(str(error)) is not None
