"""Rows against the queue: what is done already, what is missing or was changed, what cannot be made.

A batch is what goes into one folder: the same command again finds its jobs by that folder.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadAudio, BadPortrait, SonicError
from ..files.digest import sha256_of
from ..jobs import Destination, Job, JobSpec, Origin, Queue, State
from ..jobs.exporting import export, settle
from ..jobs.inputs import Staging
from ..jobs.queue import POLL
from ..jobs.submission import specified
from ..provenance.gate import check_output
from ..provenance.recovery import recover
from ..provenance.store import Store
from .rows import AnyRow, Row, WrongRow

if TYPE_CHECKING:
    from ..ports import Host

LANE = "batch"
"""Of the jobs of all batches of the command line, see `ports.Host.lane`."""
BATCH_SECONDS = 2.0
"""How long one command waits for another to be done with the same folder: that may take hours."""
LEAVING_SECONDS = 30.0
"""How long workers of a command that was killed may take to let go of their jobs."""


@dataclass(frozen=True)
class Planned:
    """A row, and the job that makes its video."""

    row: AnyRow
    job_id: str = ""
    """"" for a wrong row, and for one that was only looked at and has none yet."""
    fresh: bool = False
    """Something has to be done for it now."""


def batch_id(folder: Path) -> str:
    """Of the batch whose videos go into a folder."""
    return hashlib.sha256(str(folder.resolve()).encode(errors="surrogatepass")).hexdigest()[:32]


def alone(queue: Queue, batch: str) -> AbstractContextManager[bool]:
    """Try to be the one command that makes a batch, while the block runs; yields whether it is."""
    return queue.alone(f"batch-{batch}", BATCH_SECONDS)


class Planner:
    """Finds or submits the jobs of rows.

    Args:
        host: where they will be carried out.
        folder: where the videos go.
        overwrite: files that are there may be replaced, whoever made them.
    """

    def __init__(self, queue: Queue, host: Host, folder: Path, overwrite: bool = False) -> None:
        self.batch = batch_id(folder)
        self._queue, self._host, self._folder, self._overwrite = queue, host, folder, overwrite
        self._jobs: dict[Path, list[Job]] = {}

    def begin(self, hold: bool) -> None:
        """Find out what earlier commands left.

        Args:
            hold: what waits of them waits on until a row asks for it, see `drop_others`.
        """
        recover(self._queue.home)
        self._queue.recover()
        settle(self._queue)
        end = time.monotonic() + LEAVING_SECONDS
        while self._at_work() and time.monotonic() < end:
            time.sleep(POLL)
            self._queue.recover()
        if hold:
            self._queue.hold(LANE, (Origin.BATCH,), self.batch)
        for job in self._queue.jobs(batch=self.batch):
            self._jobs.setdefault(_place(job), []).append(job)

    def place(self, row: AnyRow, submit: bool = True) -> Planned:
        """The job that makes the row's video: one that did, one that waits, or a new one.

        Args:
            submit: begin what is missing; otherwise only look.
        """
        if isinstance(row, WrongRow):
            return Planned(row)
        try:
            with self._queue.staging() as staged:
                return self._placed(row, staged, submit)
        except SonicError as error:
            return Planned(WrongRow(row.number, str(row.portrait), str(row.audio), row.output, error))

    def drop_others(self, planned: Iterable[Planned]) -> None:
        """Cancel what waits in the batch and that no row asks for any more."""
        kept = {each.job_id for each in planned}
        for job in self._queue.jobs(batch=self.batch, ended=False):
            if job.id not in kept:
                self._queue.cancel(job.id)

    def _placed(self, row: Row, staged: Staging, submit: bool) -> Planned:
        place = self._folder / row.output
        spec = self._spec(row, place, staged)
        earlier = [self._queue.find(job.id) for job in self._jobs.get(place, [])]
        for job in earlier:
            if not _same(job.spec, spec):
                continue
            if not job.state.ended and _may_replace(job.spec) >= self._overwrite:
                if submit and job.held:
                    self._queue.resume(job.id)
                return Planned(row, job.id, fresh=True)
            if job.state is State.DONE and job.exported is not None and _is_there(job):
                return Planned(row, job.id)
            if (
                job.state is State.DONE
                and job.exported is None
                and Store(self._queue.home).holds(job.take_id)
            ):
                if submit and spec.export is not None:  # it was made, and the gate said no
                    export(self._queue, job.id, spec.export, staged.path)
                return Planned(row, job.id, fresh=True)
        ours = place.is_file() and any(
            job.exported is not None and job.exported.sha256 == sha256_of(place) for job in earlier
        )
        check_output(place, self._overwrite or ours, self._queue.home)
        if not submit:
            return Planned(row, fresh=True)
        for job in earlier:
            if not job.state.ended:
                self._queue.cancel(job.id)
        if ours and spec.export is not None:
            spec = replace(spec, export=replace(spec.export, overwrite=True))
        job = self._queue.submit(spec, staged, lane=LANE, batch=self.batch, label=row.output)
        self._jobs.setdefault(place, []).insert(0, job)
        return Planned(row, job.id, fresh=True)

    def _spec(self, row: Row, place: Path, staged: Staging) -> JobSpec:
        return specified(
            self._host,
            staged,
            origin=Origin.BATCH,
            portrait=staged.copy(row.portrait, BadPortrait),
            audio=staged.copy(row.audio, BadAudio),
            settings=row.settings,
            export=Destination(
                replace(row.consent, evidence=None),
                staged.copy(row.consent.evidence) if row.consent.evidence else None,
                path=str(place),
                overwrite=self._overwrite,
            ),
            look=False,
        )

    def _at_work(self) -> bool:
        return any(job.worker for job in self._queue.jobs(batch=self.batch, ended=False))


def _place(job: Job) -> Path:
    return Path(job.spec.export.path if job.spec.export else "")


def _may_replace(spec: JobSpec) -> bool:
    return spec.export is not None and spec.export.overwrite


def _same(one: JobSpec, other: JobSpec) -> bool:
    """The same request, but for whether a file may be replaced by it."""
    return _digest(one) == _digest(other)


def _digest(spec: JobSpec) -> str:
    export = spec.export and replace(spec.export, overwrite=False)
    return replace(spec, export=export).digest


def _is_there(job: Job) -> bool:
    """The job's video lies where it was exported to, as it was."""
    exported = job.exported
    try:
        return exported is not None and sha256_of(exported.path) == exported.sha256
    except OSError:
        return False
