"""The queue: what waits, what is being made and what came of it, in one SQLite database of the private home.

Jobs begin in the order in which they were submitted, one lane of them beside another (`ports.Host.lane`).
A worker that has a job holds a lock that the system gives back when its process ends, however it ends: that
is its lease. `recover` finds the jobs of workers that are gone and puts them back in their place.

    queued ── claim, begin ── running ── record_take ── record_export ── finish ── done
       │                         │ └──────────── release ── queued
       └───────── cancel ────────┴──── cancel, fail ── cancelled, failed
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import (
    BadInput,
    Busy,
    Cancelled,
    Failed,
    NotFound,
    SonicError,
    WrongTime,
    as_error,
    error_values,
)
from ..files.home import home_errors, private_home
from ..files.locks import SECONDS, held, sweep, wait_for_lock
from ..files.sqlite import rows_of
from ..progress import Stage, Step
from ..text import is_whole
from .database import FOLDER, Database
from .inputs import FOLDER as INPUTS
from .inputs import STAGING, Staging, collect, remove_abandoned, staging, stored_path
from .job import Batch, ExportedFile, Job, State
from .records import FROM, WAITING, batch_of, job_of, job_rows, origin_of, readable_jobs
from .spec import Input, JobSpec, Origin

if TYPE_CHECKING:
    from ..provenance.take import Take

MAX_ENDED = 200
"""Ended jobs of a lane that are remembered, besides those of batches."""
BATCH_DAYS = 90
"""Days that the jobs of a batch are remembered: what was made is not made again meanwhile."""
MAX_ATTEMPTS = 3
"""A job whose process died so often, and each time no further than before, is the likely cause of it."""
INTERRUPTED = Step(Stage.INTERRUPTED, 0, 1)
"""What one says that a restart found and that somebody has to let go on."""
STARTING = Step(Stage.STARTING, 0, 1)
POLL = 0.1
"""Seconds between two looks of `wait`."""


@dataclass(frozen=True)
class StopRequest:
    """Whether a running job is to stop."""

    requested: bool
    """Somebody asked for it, or the job is another worker's by now."""


class Queue:
    """All jobs of a private home. Safe to use from several threads and processes.

    Args:
        root: the private home; see `files.home.private_home`.

    Raises (every method):
        BadOutput: the file system keeps it from being used.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.home = private_home(root)
        """Where its user's takes and ledger lie, too; the queue's own files are reached by its methods."""
        self._database = Database(self.home)

    @contextlib.contextmanager
    def alone(self, name: str, seconds: float = SECONDS) -> Iterator[bool]:
        """Try to be the only one who holds a name, among all processes, while the block runs; yields whether
        it is. The system lets it go when the process ends, however it ends."""
        with contextlib.ExitStack() as stack:
            with self._database.reading():  # makes the folder that the lock is in
                mine = stack.enter_context(wait_for_lock(self.home / FOLDER / name, seconds))
            yield mine

    # submitting

    def staging(self) -> AbstractContextManager[Staging]:
        """A place for the files of jobs, for the block that submits them."""
        return staging(self.home)

    def submit(
        self,
        spec: JobSpec,
        staged: Staging | None = None,
        *,
        lane: str,
        limit: int | None = None,
        worker: str = "",
        batch: str = "",
        label: str = "",
    ) -> Job:
        """Put a job at the end of its lane. When this returns, the job and its files outlive any crash.

        Args:
            staged: where the files lie that the spec names; None where they are in the store already.
            lane: whose workers carry it out.
            limit: jobs that may wait in the lane.
            worker: one that takes it at once, past the others.
            batch, label: see `Job`.

        Raises:
            Busy: too many wait.
        """
        with self._database.writing() as db:
            if limit is not None:
                _require_room(db, lane, limit - 1, batches=False)
            self._store(staged, spec.inputs)
            if batch:
                _open_batch(db, batch, lane)
            job_id = _insert(db, spec, lane, worker, batch, label)
            self._prune(db, lane)
            return self._load(db, job_id)

    def submit_batch(
        self, specs: Sequence[JobSpec], staged: Staging, *, lane: str, limit: int | None = None
    ) -> Batch:
        """Put jobs that belong together at the end of their lane: all of them, or none.

        Args:
            limit: jobs that may wait in the lane, these included.

        Raises:
            Busy: more would.
        """
        batch = secrets.token_hex(16)
        with self._database.writing() as db:
            if limit is not None:
                _require_room(db, lane, limit - len(specs), batches=True)
            self._store(staged, itertools.chain.from_iterable(spec.inputs for spec in specs))
            _open_batch(db, batch, lane)
            for number, spec in enumerate(specs):
                _insert(db, spec, lane, "", batch, str(number))
        return self.batch(batch, lane)

    def _store(self, staged: Staging | None, inputs: Iterable[Input]) -> None:
        """Call it with the write lock held: then nobody collects what has no row yet."""
        if staged is not None:
            with home_errors(self.home):
                staged.store(self.home / INPUTS, inputs)

    # carrying out: for the worker that has the job

    def claim(self, worker: str, lane: str, batch: str = "") -> Job | None:
        """Take the oldest job that waits; None where none does.

        Args:
            worker: who takes it; it must hold its lease (`Worker`).
            batch: only jobs of this batch.
        """
        wanted = "state = 'queued' AND worker = '' AND held = 0 AND lane = ?"
        wanted += " AND batch = ?" if batch else ""
        chosen = (lane, batch) if batch else (lane,)
        with self._database.reading() as db:  # without the write lock
            if db.execute(f"SELECT 1 FROM jobs WHERE {wanted} LIMIT 1", chosen).fetchone() is None:
                return None
        while True:
            with self._database.writing() as db:
                row = db.execute(f"SELECT id FROM jobs WHERE {wanted} ORDER BY number LIMIT 1", chosen)
                found = row.fetchone()
                if found is None:
                    return None
                db.execute("UPDATE jobs SET worker = ? WHERE id = ?", (worker, found["id"]))
                try:
                    return self._load(db, found["id"])
                except SonicError as error:  # damaged, or a later version's
                    _end(db, found["id"], State.FAILED, error=error)

    def others_at_work(self, worker: str, lane: str, batch: str = "") -> bool:
        """Whether another worker has a job of the lane, or of the batch: one that dies leaves it."""
        wanted = "worker NOT IN ('', ?) AND lane = ? AND (? = '' OR batch = ?)"
        with self._database.reading() as db:
            found = db.execute(f"SELECT 1 FROM jobs WHERE {wanted} LIMIT 1", (worker, lane, batch, batch))
            return found.fetchone() is not None

    def begin(self, job: Job) -> None:
        """Its turn has come.

        Raises:
            Cancelled: but nobody wants it any more.
        """
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, began = ? "
                "WHERE id = ? AND worker = ? AND state = 'queued' AND stop = 0",
                (_now(), job.id, job.worker),
            )
            if not changed.rowcount:
                raise Cancelled
            _report(db, job.id, STARTING, 0.0)

    def report(self, job: Job, step: Step, share: float) -> StopRequest:
        """Write down where the work stands, and hear whether it is to go on.

        Args:
            share: of all work that is done, 0 to 1.
        """
        with self._database.writing(lasting=False) as db:
            row = db.execute("SELECT stop, worker FROM jobs WHERE id = ?", (job.id,)).fetchone()
            if row is None or row["worker"] != job.worker:
                return StopRequest(True)
            _report(db, job.id, step, share)
        return StopRequest(bool(row["stop"]))

    def save_portrait(self, job: Job, png: bytes, staged: Staging, infotext: str) -> Input:
        """Keep the portrait that the WebUI made, so that the job goes on with the same after a crash."""
        portrait = staged.write("generated.png", png)
        with self._database.writing() as db:
            self._require_own(db, job)
            with home_errors(self.home):
                staged.store(self.home / INPUTS)
            db.execute("INSERT OR IGNORE INTO inputs VALUES (?, ?)", (job.id, portrait.stored_name))
            values = json.dumps(portrait.__dict__)
            db.execute("UPDATE jobs SET portrait = ?, infotext = ? WHERE id = ?", (values, infotext, job.id))
        return portrait

    def record_take(self, job: Job, take: Take, synthetic: bool | None) -> None:
        """The take is safe in the private store."""
        with self._database.writing() as db:
            self._require_own(db, job)
            facts = json.dumps(take.to_dict())
            db.execute(
                "UPDATE jobs SET take = ?, take_id = ?, synthetic = ? WHERE id = ?",
                (facts, take.id, synthetic, job.id),
            )

    def record_output(self, job: Job, output: Path) -> None:
        """The next thing that happens is an export to this place.

        Raises:
            WrongTime: the job has been exported, or is another worker's.
        """
        path = str(output)  # on Linux names are bytes, and need not be text
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE jobs SET output = ? WHERE id = ? AND exported IS NULL AND worker = ?",
                (path if is_whole(path) else os.fsencode(path), job.id, job.worker),
            )
            if not changed.rowcount:
                raise WrongTime("The video was exported already.", "Fetch it, or make another one.")

    def record_export(self, job: Job, file: ExportedFile) -> None:
        """The video passed the gate. A job that no worker has is done by that, whatever became of it."""
        facts = {"path": str(file.path), "record": file.record, "sha256": file.sha256}
        with self._database.writing() as db:
            db.execute(
                "UPDATE jobs SET exported = ?, error = NULL WHERE id = ? AND exported IS NULL",
                (json.dumps(facts | {"warnings": file.warnings}), job.id),
            )
            row = db.execute("SELECT worker, state FROM jobs WHERE id = ?", (job.id,)).fetchone()
            over = row is None or row["worker"] or row["state"] == State.DONE
            freed = () if over else _end(db, job.id, State.DONE)
        self._collect(freed)

    def finish(self, job: Job, error: SonicError | None = None) -> None:
        """The video is made; `error` says why it was not exported, where it was to be."""
        with self._database.writing() as db:
            row = self._require_own(db, job)
            freed = _end(db, job.id, State.DONE, error=None if row["exported"] else error)
        self._collect(freed)

    def fail(self, job: Job, problem: BaseException) -> None:
        """The work raised this. A job that somebody else ended, or has, stays as it is."""
        error: SonicError | None = as_error(problem)
        state = State.CANCELLED if isinstance(error, Cancelled) else State.FAILED
        with contextlib.suppress(WrongTime):
            with self._database.writing() as db:
                row = self._require_own(db, job)
                if row["exported"]:
                    state, error = State.DONE, None  # it was too late for that
                freed = _end(db, job.id, state, error=error)
            self._collect(freed)

    def release(self, job: Job) -> None:
        """Let another worker, or this one at another time, go on with it: nobody asked for its end."""
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE jobs SET state = 'queued', worker = '', attempts = attempts - (state = 'running') "
                "WHERE id = ? AND worker = ? AND state IN ('queued', 'running')",
                (job.id, job.worker),
            )
            if changed.rowcount:
                _report(db, job.id, WAITING, 0.0)

    def requeue(self, job: Job, error: SonicError | None = None) -> None:
        """As `recover` does with those of a worker that is gone: its process ends, or could not write down
        what came of it.

        Args:
            error: what is said of a job that is given up, where it is known better.
        """
        self._requeue(job.worker, job.id, error)

    def _require_own(self, db: sqlite3.Connection, job: Job) -> sqlite3.Row:
        """Refuse a worker that has lost the job: another one may be at it.

        Raises:
            WrongTime: it has.
        """
        row: sqlite3.Row | None = db.execute(
            "SELECT worker, state, exported FROM jobs WHERE id = ?", (job.id,)
        ).fetchone()
        if row is None or row["worker"] != job.worker or State(row["state"]).ended:
            raise WrongTime("The job is no longer this worker's.", "List the jobs to see how it stands.")
        return row

    # asking

    def find(self, job_id: str) -> Job:
        """The job with this id, as it stands now.

        Raises:
            NotFound: there is none, or not any more.
        """
        with self._database.reading() as db:
            return self._load(db, job_id)

    def jobs(self, lane: str = "", batch: str = "", ended: bool = True) -> tuple[Job, ...]:
        """Newest first.

        Args:
            lane, batch: only of these; "" for all.
            ended: also those of which nothing more will come.
        """
        wanted = {"lane = ?": lane, "batch = ?": batch}
        words = [words for words, value in wanted.items() if value]
        words += [] if ended else ["state IN ('queued', 'running')"]
        where = f"WHERE {' AND '.join(words)}" if words else ""
        return self._found(f"{where} ORDER BY number DESC", *filter(None, wanted.values()))

    def find_by_digest(self, digest: str) -> tuple[Job, ...]:
        """Jobs of the same request (`JobSpec.digest`), newest first."""
        return self._found("WHERE digest = ? ORDER BY number DESC", digest)

    def batch(self, batch: str, lane: str) -> Batch:
        """A batch as it stands now.

        Raises:
            NotFound: there is none in this lane, or not any more.
        """
        for found in self.batches(lane, batch):
            return found
        raise NotFound("There is no batch with this id.", "List the batches.")

    def batches(self, lane: str, batch: str | None = None) -> tuple[Batch, ...]:
        """Those of a lane, newest first; with `batch`, that one alone."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT batches.id, batches.created, state, count(*) AS jobs, "
                f"sum(coalesce(share, 0)) AS share, min(began) AS began {FROM} "
                "JOIN batches ON batches.id = jobs.batch WHERE batches.request = ? "
                f"{'' if batch is None else 'AND jobs.batch = ? '}"
                "GROUP BY batches.id, state ORDER BY batches.created DESC, batches.id",
                (_request(lane),) if batch is None else (_request(lane), batch),
            ).fetchall()
        groups = itertools.groupby(rows, key=lambda row: (row["id"], row["created"]))
        return tuple(batch_of(batch, created, tuple(states)) for (batch, created), states in groups)

    def standing(self, batch: str) -> dict[str, tuple[State, float]]:
        """Id of each job of a batch → its state and the share of its work that is done; quick."""
        with self._database.reading() as db:
            db.execute("BEGIN")
            chosen = f"{FROM} WHERE batch = ? ORDER BY number"
            rows = [*rows_of(db, ("id", "state", "share"), chosen, (batch,))]
        return {id: (State(state), share or 0.0) for id, state, share in rows}

    def find_by_take(self, take_id: str) -> Job | None:
        """The job that made a take, if it is remembered."""
        return next(iter(self._found("WHERE take_id = ? AND take IS NOT NULL", take_id)), None)

    def unrecorded_exports(self) -> tuple[Job, ...]:
        """Jobs that no worker has and that may have been exported without the queue's knowing."""
        return self._found("WHERE output IS NOT NULL AND exported IS NULL AND worker = ''")

    def _found(self, rest: str, *values: str) -> tuple[Job, ...]:
        """The jobs that the rest of a query selects, but for damaged ones."""
        with self._database.reading() as db:
            db.execute("BEGIN")
            rows = job_rows(db, rest, values)
        return readable_jobs(self.home, rows)

    def position(self, job: Job) -> int:
        """1 for the job whose turn comes next, 0 for one that does not wait."""
        with self._database.reading() as db:
            count: int = db.execute(
                "SELECT count(*) FROM jobs AS mine JOIN jobs AS before ON before.lane = mine.lane "
                "AND before.number <= mine.number AND before.state = 'queued' AND before.held = 0 "
                "WHERE mine.id = ? AND mine.state = 'queued' AND mine.held = 0",
                (job.id,),
            ).fetchone()[0]
        return count

    def positions(self, lane: str) -> dict[str, int]:
        """The same for all jobs of a lane that wait, by their ids."""
        with self._database.reading() as db:
            db.execute("BEGIN")
            waiting = "FROM jobs WHERE lane = ? AND state = 'queued' AND held = 0 ORDER BY number"
            rows = [*rows_of(db, ("id",), waiting, (lane,))]
        return {id: place for place, (id,) in enumerate(rows, 1)}

    def input(self, needed: Input) -> Path:
        """Where a job's file lies.

        Raises:
            Failed: it is gone, or other bytes are there.
        """
        return stored_path(self.home, needed)

    def wait(self, job_id: str, seconds: float | None = None) -> Job:
        """The job when nothing more will come of it, or as it stands after so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            job = self.find(job_id)
            if job.state.ended or (end is not None and time.monotonic() >= end):
                return job
            time.sleep(POLL)

    # deciding

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop. One that waits is cancelled at once; one that ended stays as it is."""
        freed: Collection[str] = ()
        with self._database.writing() as db:
            state = self._state(db, job_id)
            if state is State.QUEUED:
                freed = _end(db, job_id, State.CANCELLED, error=Cancelled())
            elif state is State.RUNNING:
                db.execute("UPDATE jobs SET stop = 1 WHERE id = ?", (job_id,))
        self._collect(freed)
        return self.find(job_id)

    def resume(self, job_id: str) -> Job:
        """Let a job go on that a restart found and held; any other stays as it is."""
        with self._database.writing() as db:
            if db.execute("UPDATE jobs SET held = 0 WHERE id = ? AND held = 1", (job_id,)).rowcount:
                _report(db, job_id, WAITING, 0.0)
            return self._load(db, job_id)

    def adopt(self, job_id: str, worker: str) -> Job | None:
        """Take over a job that waits and that no worker has; None where one has it by now."""
        with self._database.writing() as db:
            changed = db.execute(
                "UPDATE jobs SET worker = ?, held = 0 WHERE id = ? AND state = 'queued' AND worker = ''",
                (worker, job_id),
            )
            return self._load(db, job_id) if changed.rowcount else None

    def forget(self, job_id: str) -> None:
        """Remember an ended job no longer. Its take stays in the private store.

        Raises:
            WrongTime: it has not ended.
        """
        with self._database.writing() as db:
            if not self._state(db, job_id).ended:
                raise WrongTime("The animation has not ended.", "Cancel it first.")
            db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
            db.execute("DELETE FROM batches WHERE id NOT IN (SELECT batch FROM jobs)")

    def recover(self) -> None:
        """Put the jobs of workers that are gone back in their place, and delete what no job needs."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT DISTINCT worker FROM jobs WHERE worker != '' AND state IN ('queued', 'running')"
            ).fetchall()
        for worker in [row["worker"] for row in rows]:
            with home_errors(self.home), held(self.home / FOLDER / lease_of(worker)) as gone:
                if gone:
                    self._requeue(worker)
        with home_errors(self.home):
            sweep(self.home / FOLDER)
        with self._database.writing() as db:
            limit = datetime.fromtimestamp(time.time() - BATCH_DAYS * 86400, timezone.utc).isoformat()
            db.execute("DELETE FROM jobs WHERE batch != '' AND ended < ?", (limit,))
            db.execute("DELETE FROM batches WHERE id NOT IN (SELECT batch FROM jobs)")
        with home_errors(self.home):
            remove_abandoned(self.home / STAGING)
        self._collect()

    def hold(self, lane: str, origins: Collection[Origin], batch: str = "") -> None:
        """Let the jobs of a lane that no worker has wait until somebody says `resume`; after `recover`.

        Where another process works the lane off they are not interrupted, and nothing happens.

        Args:
            batch: only those of this batch, whoever works; "" for all.
        """
        asked = {str(origin) for origin in origins}
        with self._database.writing() as db:
            busy = db.execute("SELECT 1 FROM jobs WHERE worker != '' AND lane = ?", (lane,)).fetchone()
            if busy and not batch:
                return
            rows = db.execute(
                "SELECT id, spec FROM jobs WHERE lane = ? AND state = 'queued' AND worker = '' "
                "AND (? = '' OR batch = ?)",
                (lane, batch, batch),
            ).fetchall()
            for row in rows:
                if origin_of(row["spec"]) in asked:
                    db.execute("UPDATE jobs SET held = 1 WHERE id = ?", (row["id"],))
                    _report(db, row["id"], INTERRUPTED, 0.0)

    def _requeue(self, worker: str, job_id: str = "", error: SonicError | None = None) -> None:
        with self._database.writing() as db:
            rows = db.execute(
                f"SELECT jobs.id, attempts, stop, reached, share {FROM} "
                "WHERE worker = ? AND state IN ('queued', 'running') AND ? IN ('', jobs.id)",
                (worker, job_id),
            ).fetchall()
            for row in rows:
                share = row["share"] or 0.0
                attempts = 1 if share > row["reached"] else row["attempts"]
                if row["stop"]:
                    _end(db, row["id"], State.CANCELLED, error=Cancelled())
                elif attempts >= MAX_ATTEMPTS:
                    _end(db, row["id"], State.FAILED, error=error or _crash_loop(attempts))
                else:
                    db.execute(
                        "UPDATE jobs SET state = 'queued', worker = '', attempts = ?, reached = ? "
                        "WHERE id = ?",
                        (attempts, max(share, row["reached"]), row["id"]),
                    )
                    _report(db, row["id"], WAITING, 0.0)

    def _load(self, db: sqlite3.Connection, job_id: str) -> Job:
        for row in job_rows(db, "WHERE jobs.id = ?", (job_id,)):
            return job_of(self.home, row)
        raise _not_found()

    def _state(self, db: sqlite3.Connection, job_id: str) -> State:
        """Also of a job that cannot be read."""
        row = db.execute("SELECT state FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise _not_found()
        try:
            return State(row["state"])
        except ValueError as error:
            raise BadInput(f"The job {job_id} is damaged: {error}.", "Update the extension.") from error

    def _collect(self, freed: Collection[str] | None = None) -> None:
        """Delete what no job needs, when that is on the disk: a kill before leaves a file too many, and
        never one too few. Where it cannot be done, the next start does it.

        Args:
            freed: look at these only; None for all that is in the store.
        """
        if freed is not None and not freed:
            return
        wanted = "" if freed is None else f"WHERE name IN ({', '.join('?' * len(freed))})"
        # With the write lock held nobody submits a job meanwhile that needs what is deleted.
        with contextlib.suppress(SonicError), self._database.writing(lasting=False) as db:
            rows = db.execute(f"SELECT DISTINCT name FROM inputs {wanted}", tuple(freed or ()))
            collect(self.home, {row["name"] for row in rows}, freed)

    def _prune(self, db: sqlite3.Connection, lane: str) -> None:
        db.execute(
            "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE lane = ? AND batch = '' "
            "AND state IN ('done', 'failed', 'cancelled') ORDER BY number DESC LIMIT -1 OFFSET ?)",
            (lane, MAX_ENDED),
        )


def lease_of(worker: str) -> str:
    """The name that a worker holds while it lives, see `Queue.alone`."""
    return f"worker-{worker}"


def _insert(db: sqlite3.Connection, spec: JobSpec, lane: str, worker: str, batch: str, label: str) -> str:
    """The id of a new job, whose files are in the store."""
    values = {
        "id": secrets.token_hex(16),
        "lane": lane,
        "batch": batch,
        "label": label,
        "digest": spec.digest,
        "spec": json.dumps(spec.to_dict()),
        "state": str(State.QUEUED),
        "worker": worker,
        "created": _now(),
        "take_id": f"{secrets.randbits(64) or 1:016x}",
    }
    db.execute(
        f"INSERT INTO jobs({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
        tuple(values.values()),
    )
    names = {each.stored_name for each in spec.inputs}
    db.executemany("INSERT INTO inputs VALUES (?, ?)", [(values["id"], name) for name in names])
    return values["id"]


def _require_room(db: sqlite3.Connection, lane: str, most: int, batches: bool) -> None:
    """Refuse more jobs where others wait already.

    Args:
        most: so many of them are let pass.
        batches: those of batches count, too.

    Raises:
        Busy: more wait.
    """
    waiting: int = db.execute(
        "SELECT count(*) FROM jobs WHERE lane = ? AND state = 'queued' AND held = 0"
        + ("" if batches else " AND batch = ''"),
        (lane,),
    ).fetchone()[0]
    if waiting > most:
        raise Busy(f"Too many videos are waiting: {waiting}.", "Try again when some are made.")


def _open_batch(db: sqlite3.Connection, batch: str, lane: str) -> None:
    db.execute("INSERT OR IGNORE INTO batches VALUES (?, ?, ?)", (batch, _now(), _request(lane)))


def _request(lane: str) -> str:
    """What a row of `batches` knows of who asked."""
    return json.dumps({"lane": lane})


def _end(
    db: sqlite3.Connection, job_id: str, state: State, error: SonicError | None = None
) -> Collection[str]:
    """Nothing more will come of a job. Returns the files that it does not need any more."""
    told = json.dumps(error_values(error)) if error else None
    db.execute(
        "UPDATE jobs SET state = ?, worker = '', held = 0, ended = ?, error = ? WHERE id = ?",
        (str(state), _now(), told, job_id),
    )
    if state is State.DONE:
        db.execute("UPDATE progress SET share = 1.0 WHERE id = ?", (job_id,))
    freed = [row["name"] for row in db.execute("SELECT name FROM inputs WHERE id = ?", (job_id,))]
    db.execute("DELETE FROM inputs WHERE id = ?", (job_id,))
    return freed


def _report(db: sqlite3.Connection, job_id: str, step: Step, share: float) -> None:
    db.execute(
        "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?, ?)",
        (job_id, str(step.stage), step.detail, step.done, step.total, step.seconds_left, share),
    )


def _not_found() -> NotFound:
    return NotFound(
        "There is no animation with this id.", f"The newest {MAX_ENDED} are remembered; list them."
    )


def _crash_loop(attempts: int) -> Failed:
    return Failed(
        f"The process that made this video ended {attempts} times at the same point.",
        "Look at the memory that is free and try a smaller resolution; a crash is worth a report.",
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()
