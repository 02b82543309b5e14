"""Rows of an SQLite database, many at each step."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.files import sqlite
from sonic_ext.files.sqlite import rows_of

Cell = str | int | float | None
CELLS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.characters(exclude_categories=["Cs"])),
)
COLUMNS = ("n", "a", "b")
REST = "FROM t ORDER BY n"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(filled([])) as made:
        yield made


def filled(rows: list[tuple[Cell | bytes, ...]]) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, a, b)")
    db.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, *row) for n, row in enumerate(rows)])
    return db


@given(st.lists(st.tuples(CELLS, CELLS), max_size=20), st.integers(1, 7))
def test_the_rows_are_those_that_sqlite_gives(rows: list[tuple[Cell, Cell]], at_once: int) -> None:
    with closing(filled(rows)) as db, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "AT_ONCE", at_once)
        found = [*map(tuple, rows_of(db, COLUMNS, REST))]
        plain = db.execute(f"SELECT {', '.join(COLUMNS)} {REST}").fetchall()
    assert [*map(_shown, found)] == [*map(_shown, plain)]


def _shown(row: tuple[Cell, ...]) -> list[str]:
    """With as many digits of a fraction as JSON is given."""
    return [f"{cell + 0.0:.12g}" if isinstance(cell, float) else repr(cell) for cell in row]


def test_bytes_come_as_hexadecimal_digits(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO t VALUES (1, ?, ?)", (b"\xff\x00", "ff00"))
    assert [*rows_of(db, COLUMNS, REST)] == [[1, "FF00", "ff00"]]


def test_what_is_asked_for_by_a_value(db: sqlite3.Connection) -> None:
    db.executemany("INSERT INTO t VALUES (?, ?, '')", [(n, "odd" if n % 2 else "even") for n in range(9)])
    chosen = "FROM t WHERE a = ? ORDER BY n DESC"
    assert [n for n, _ in rows_of(db, ("n", "a"), chosen, ("odd",))] == [7, 5, 3, 1]


def test_a_number_that_is_none_is_an_error_of_the_database(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO t VALUES (1, ?, NULL)", (float("inf"),))
    if sqlite3.sqlite_version_info >= (3, 42):  # writes 9e999, which is infinite again
        assert [*rows_of(db, COLUMNS, REST)] == [[1, float("inf"), None]]
    else:
        with pytest.raises(sqlite3.DatabaseError, match="cannot be read"):
            [*rows_of(db, COLUMNS, REST)]


def test_one_step_gives_many_rows(db: sqlite3.Connection) -> None:
    """At each step other threads may take over."""
    db.executemany("INSERT INTO t VALUES (?, 'a', 'b')", [(n,) for n in range(sqlite.AT_ONCE + 1)])
    steps = 0

    def stepped(_: sqlite3.Cursor, row: tuple[object, ...]) -> tuple[object, ...]:
        nonlocal steps
        steps += 1
        return row

    db.row_factory = stepped
    assert len([*rows_of(db, COLUMNS, REST)]) == sqlite.AT_ONCE + 1
    assert steps == 2
