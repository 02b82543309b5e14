"""The queue's database: its tables, what makes each version out of the one before, and its errors."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..errors import BadInput, BadOutput, Failed
from ..files.atomic import new_file
from ..files.home import build_folder, home_errors
from ..files.sqlite import connected, is_kept_away, is_locked

FOLDER = "jobs"
"""Below the private home."""
NAME = "queue.sqlite3"
BUSY_SECONDS = 60.0
"""How long to wait for another process that writes to the queue."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs(
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            lane TEXT NOT NULL,
            batch TEXT NOT NULL,
            label TEXT NOT NULL,
            digest TEXT NOT NULL,
            spec TEXT NOT NULL,
            state TEXT NOT NULL,
            held INTEGER NOT NULL DEFAULT 0,
            worker TEXT NOT NULL DEFAULT '',
            stop INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            reached REAL NOT NULL DEFAULT 0,
            created TEXT NOT NULL,
            began TEXT,
            ended TEXT,
            take_id TEXT NOT NULL,
            portrait TEXT,
            infotext TEXT NOT NULL DEFAULT '',
            take TEXT,
            synthetic INTEGER,
            output TEXT,
            exported TEXT,
            error TEXT)""",
        "CREATE INDEX jobs_waiting ON jobs(state, lane, held, number)",
        "CREATE INDEX jobs_of_lane ON jobs(batch, lane, state, number)",
        "CREATE INDEX jobs_of_worker ON jobs(worker) WHERE worker != ''",
        "CREATE INDEX jobs_with_take ON jobs(take_id)",
        "CREATE INDEX jobs_unsettled ON jobs(number) WHERE output IS NOT NULL AND exported IS NULL",
        "CREATE INDEX jobs_asked ON jobs(digest)",
        "CREATE INDEX jobs_of_batch ON jobs(batch, number)",
        # A table of its own, so that a report does not write the whole row anew.
        """CREATE TABLE progress(
            id TEXT PRIMARY KEY REFERENCES jobs(id) ON DELETE CASCADE,
            stage TEXT NOT NULL, detail TEXT NOT NULL,
            done INTEGER NOT NULL, total INTEGER NOT NULL, seconds_left REAL,
            share REAL NOT NULL) WITHOUT ROWID""",
        # Which files the jobs need that have not ended.
        """CREATE TABLE inputs(
            id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, name TEXT NOT NULL,
            PRIMARY KEY(name, id)) WITHOUT ROWID""",
        "CREATE INDEX inputs_of_job ON inputs(id)",
        """CREATE TABLE batches(
            id TEXT PRIMARY KEY, created TEXT NOT NULL, request TEXT NOT NULL) WITHOUT ROWID""",
    ),
)
"""What makes each version of the database out of the one before. `PRAGMA user_version` says which it is."""


class Database:
    """Opened anew for each use: connections of SQLite belong to one thread and to no copy of a process.

    Raises (every method):
        BadOutput: the file system keeps it from being used, or others may read the private home.
        BadInput: a later version of this package wrote it.
        Failed: it is damaged.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._path = home / FOLDER / NAME
        self._ready = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection; what is read over it one statement at a time may change in between."""
        with home_errors(self._home), _errors(self._path):
            if not self._ready:
                self._bring_up()
            with contextlib.closing(_connected(self._path)) as db:
                yield db

    @contextlib.contextmanager
    def writing(self, lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside: all of it happens, or nothing.

        Args:
            lasting: it is on the disk when the block is left. Otherwise a power cut may undo it; a process
                that is killed does not.
        """
        with self.reading() as db:
            db.execute(f"PRAGMA synchronous = {'FULL' if lasting else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _bring_up(self) -> None:
        """Make it where there is none, and make an older version a present one."""
        build_folder(self._path.parent, lambda folder: _fill(folder / NAME))
        if not self._path.is_file():
            raise Failed(
                f"The queue of jobs is gone ({self._path}).",
                f"Delete the folder {self._path.parent} to begin an empty one.",
            )
        with contextlib.closing(_connected(self._path)) as db:
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise BadInput(
                    f"The queue of jobs was written by a later version of this extension (format {version}).",
                    "Update the extension.",
                )
            if version < len(MIGRATIONS):
                _migrate(db)
        self._ready = True


def _connected(path: Path) -> sqlite3.Connection:
    db = connected(path, BUSY_SECONDS, "foreign_keys = ON")
    db.row_factory = sqlite3.Row
    return db


def _fill(path: Path) -> None:
    new_file(path, b"")
    with contextlib.closing(_connected(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        _migrate(db)


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    version: int = db.execute("PRAGMA user_version").fetchone()[0]  # another process may have been first
    for statement in itertools.chain.from_iterable(MIGRATIONS[version:]):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a fault of the caller's, not of the file
    except sqlite3.Error as error:
        if is_locked(error):
            raise BadOutput(
                f"The queue of jobs cannot be used: {error}.",
                "Another program has it to itself: close that one, or try again in a moment.",
            ) from error
        if is_kept_away(error):
            raise BadOutput(
                f"The queue of jobs cannot be used: {error}.",
                "Make room or give yourself access to the private folder, then try again.",
            ) from error
        raise Failed(
            f"The queue of jobs cannot be read: {error}.",
            f"Move {path} away to begin an empty one; finished videos are not in it.",
        ) from error
