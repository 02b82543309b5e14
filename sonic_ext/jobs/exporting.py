"""A job's video through the gate: once, also where the process that lets it out is killed on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import chain, count, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConsentMissing, SonicError, WrongTime
from ..files.home import home_errors
from ..text import whole
from .job import ExportedFile, Job
from .spec import Destination, Input

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..provenance.consent import Consent
    from ..provenance.gate import Exported
    from ..provenance.records import Record
    from ..provenance.take import Take
    from .queue import Queue

_log = logging.getLogger(__name__)


def export(
    queue: Queue,
    job_id: str,
    destination: Destination,
    locate: Callable[[Input], Path] | None = None,
    configuration: Configuration | None = None,
) -> ExportedFile:
    """Let the video of a job out and write down that it is.

    The place is written to the queue before the gate opens, and a take belongs to one job. So whoever finds
    the job after a kill asks the ledger whether the video got there, and does not let it out again.

    Args:
        job_id: of a job with a take: one that is done, or one that the caller carries out.
        locate: tells where the evidence lies; by default in the store of inputs.
        configuration: who signs; the environment's by default.

    Raises:
        WrongTime: it was exported already, is being exported, or there is nothing to export yet.
        ConsentMissing: the consent names another portrait.
        SonicError: as `provenance.gate.export`.
    """
    from ..provenance import gate
    from ..provenance.store import Store

    with export_lock(queue, job_id):
        job = queue.find(job_id)
        if job.exported is not None:
            raise WrongTime("The video was exported already.", "Fetch it, or make another one.")
        if job.take is None:
            raise WrongTime("There is no finished video to export.", "Wait until its state is done.")
        if file := _find_finished_export(queue, job, configuration):
            queue.record_export(job, file)
            return file
        take, consent = job.take, consent_of(destination, locate or queue.input)
        require_portrait(destination.portrait_sha256, take.portrait_sha256, take.portrait_pixel_sha256)
        output = output_path(destination, take)
        queue.record_output(job, output)
        done = gate.export(
            Store(queue.home, configuration).load(take.id),
            output,
            consent,
            overwrite=destination.overwrite,
            configuration=configuration,
        )
        file = exported_file(done)
        queue.record_export(job, file)
        return file


def export_take(
    queue: Queue, take: Take, destination: Destination, configuration: Configuration | None = None
) -> ExportedFile:
    """Let a take out, be it once more; the job that made it, if it is remembered, is told.

    Raises:
        SonicError: as `export`.
    """
    from ..provenance import gate

    job = queue.find_by_take(take.id)
    if job is None or job.exported is not None:
        consent = consent_of(destination, queue.input)
        output = output_path(destination, take)
        done = gate.export(
            take, output, consent, overwrite=destination.overwrite, configuration=configuration
        )
        return exported_file(done)
    return export(queue, job.id, destination, configuration=configuration)


def settle(queue: Queue, configuration: Configuration | None = None) -> None:
    """Write down the exports whose process was killed before the queue knew, of jobs that no worker has.

    A ledger that cannot be read goes to the log; it stops whoever exports.
    """
    unsettled = queue.unrecorded_exports()
    if not unsettled:
        return
    from ..provenance.ledger import Ledger
    from ..provenance.recovery import recover

    recover(queue.home, configuration)
    try:
        records = Ledger(queue.home, configuration).records()
    except SonicError as error:
        _log.warning("What an interrupted process exported cannot be told: %s", error)
        return
    of_take = {take_id: list(found) for take_id, found in groupby(sorted(records, key=_take_of), _take_of)}
    for job in unsettled:
        if file := _export_in(job, of_take.get(job.take_id, ())):
            queue.record_export(job, file)


def consent_of(destination: Destination, locate: Callable[[Input], Path]) -> Consent:
    """The consent of a destination, with its evidence where that lies now."""
    if destination.evidence is None:
        return destination.consent
    return replace(destination.consent, evidence=locate(destination.evidence))


def require_portrait(named: str, *hashes: str) -> None:
    """Refuse a consent that names another portrait.

    Args:
        named: SHA-256 of a portrait; "" where none is named.
        hashes: of the portrait, its file's first.

    Raises:
        ConsentMissing: it is not one of them.
    """
    if named and named.strip().lower() not in hashes:
        raise ConsentMissing(
            "The consent is for another portrait.", f"The file of this one has SHA-256 {hashes[0]}."
        )


def output_path(destination: Destination, take: Take) -> Path:
    """The file that is named, or one in the folder that is not there yet: the same video may be let out
    twice in a second."""
    if destination.path:
        return Path(destination.path)
    folder = Path(destination.folder)
    stem = f"sonic-{datetime.now():%Y%m%d-%H%M%S}-{take.id[:6]}"
    names = (f"{stem}{number}.mp4" for number in chain([""], (f"-{n}" for n in count(2))))
    return next(path for path in map(folder.joinpath, names) if not path.exists())


def exported_file(done: Exported) -> ExportedFile:
    """What the queue remembers of an export."""
    return ExportedFile(done.path, done.record.id, done.sha256, done.warnings)


def _find_finished_export(queue: Queue, job: Job, configuration: Configuration | None) -> ExportedFile | None:
    """What an export of this job put where it said it would, before its process ended.

    Raises:
        WrongTime: another process finishes or undoes it right now, or that cannot be done yet.
    """
    from ..provenance.intents import is_under_way
    from ..provenance.ledger import Ledger
    from ..provenance.recovery import recover

    if job.output is None:
        return None
    recover(queue.home, configuration)
    under_way = is_under_way(queue.home, job.output)  # asked first: it ends when the ledger has its row
    file = _export_in(job, Ledger(queue.home, configuration).records(take=job.take_id))
    if file is None and under_way:
        raise WrongTime("The video is being exported already.", "Look again in a moment.")
    return file


def _export_in(job: Job, records: Iterable[Record]) -> ExportedFile | None:
    """The export of a job among the records of its take."""
    for record in records:
        if job.output and record.exported_at and record.output_name == whole(job.output.name):
            return ExportedFile(job.output, record.id, record.output_sha256)
    return None


def _take_of(record: Record) -> str:
    return record.take


@contextmanager
def export_lock(queue: Queue, job_id: str) -> Iterator[None]:
    """While the block runs, nobody else exports the job.

    Raises:
        WrongTime: somebody does, for longer than that takes.
    """
    with home_errors(queue.home), queue.alone(f"export-{job_id}") as mine:
        if not mine:
            raise WrongTime("The video is being exported already.", "Look again in a moment.")
        yield
