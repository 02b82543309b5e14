"""What the rows of the queue's database mean: jobs and batches."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BadInput, SonicError, error_from
from ..files.sqlite import rows_of
from ..progress import Stage, Step
from .job import Batch, ExportedFile, Job, State
from .spec import Input, JobSpec

if TYPE_CHECKING:
    from ..provenance.take import Take

FROM = "FROM jobs LEFT JOIN progress USING (id)"
"""Where what makes a `Job` is selected from."""
WAITING = Step(Stage.WAITING, 0, 1)
"""What a job says before its turn comes."""
KEPT = 1024
"""Jobs that are not read again while what stands there is the same: pages ask for all of them a lot."""
_STAGES = {str(stage): stage for stage in Stage}
_log = logging.getLogger(__name__)


class JobRow(NamedTuple):
    """What is stored of a job. A tuple, because a list of all jobs reads them by the hundred."""

    id: str
    lane: str
    spec: str
    state: str
    held: int
    worker: str
    attempts: int
    stage: str | None
    """Where nothing was reported yet, None, as the five that follow."""
    detail: str
    done: int
    total: int
    seconds_left: float | None
    share: float
    created: str
    began: str | None
    ended: str | None
    take_id: str
    portrait: str | None
    infotext: str
    take: str | None
    synthetic: int | None
    output: str
    """Bytes of a path in hexadecimal digits; "" for none."""
    exported: str | None
    error: str | None
    batch: str
    label: str


def job_rows(db: sqlite3.Connection, rest: str, values: Sequence[str]) -> list[JobRow]:
    """The rows that the rest of a query selects; of many, inside a transaction."""
    columns = ["hex(output) AS output" if name == "output" else name for name in JobRow._fields]
    return [JobRow(*row) for row in rows_of(db, columns, f"{FROM} {rest}", values)]


def batch_of(batch: str, created: str, states: Sequence[sqlite3.Row]) -> Batch:
    """Of one row for each state that its jobs are in."""
    began = [row["began"] for row in states if row["began"]]
    done = sum(row["jobs"] if State(row["state"]).ended else row["share"] for row in states)
    return Batch(
        id=batch,
        created=datetime.fromisoformat(created),
        began=datetime.fromisoformat(min(began)) if began else None,
        counts={State(row["state"]): row["jobs"] for row in states},
        done=done,
    )


def readable_jobs(home: Path, rows: Sequence[JobRow]) -> tuple[Job, ...]:
    """All but those that cannot be read, which the log names."""
    jobs = []
    for row in rows:
        try:
            jobs.append(job_of(home, row))
        except SonicError as error:
            _log.warning("job %s is left out: %s", row.id, error)
    return tuple(jobs)


def job_of(home: Path, row: JobRow) -> Job:
    """The job of a row.

    Raises:
        BadInput: a later version wrote it, or it is damaged.
    """
    try:
        job = _job(home, row)
        # An error is of its own each time: it keeps whatever it is raised through
        return replace(job, error=error_from(json.loads(row.error))) if row.error else job
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise BadInput(f"The job {row.id} is damaged: {error!r}.", "Delete it.") from error


def _take(text: str, folder: Path) -> Take:
    from ..provenance.take import Take

    return Take.from_dict(json.loads(text), folder)


@lru_cache(KEPT)
def _job(home: Path, row: JobRow) -> Job:
    """The job but for its error."""
    step = WAITING
    if row.stage is not None:
        stage = _STAGES.get(row.stage, Stage.STARTING)  # a later version may have others
        step = Step(stage, row.done, row.total, row.seconds_left, row.detail)
    return Job(
        id=row.id,
        lane=row.lane,
        spec=JobSpec.from_dict(json.loads(row.spec)),
        state=State(row.state),
        held=bool(row.held),
        worker=row.worker,
        attempts=row.attempts,
        step=step,
        progress=row.share or 0.0,
        created=datetime.fromisoformat(row.created),
        began=datetime.fromisoformat(row.began) if row.began else None,
        ended=datetime.fromisoformat(row.ended) if row.ended else None,
        take_id=row.take_id,
        portrait=Input(**json.loads(row.portrait)) if row.portrait else None,
        infotext=row.infotext,
        take=_take(row.take, home / "takes" / row.take_id) if row.take else None,
        synthetic=None if row.synthetic is None else bool(row.synthetic),
        output=Path(os.fsdecode(bytes.fromhex(row.output))) if row.output else None,
        exported=_exported_file(json.loads(row.exported)) if row.exported else None,
        error=None,
        batch=row.batch,
        label=row.label,
    )


def origin_of(spec: str) -> str:
    """Who asked, as far as it can be read."""
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return str(json.loads(spec)["origin"])
    return ""


def _exported_file(values: Mapping[str, Any]) -> ExportedFile:
    return ExportedFile(**{**values, "path": Path(values["path"]), "warnings": tuple(values["warnings"])})
