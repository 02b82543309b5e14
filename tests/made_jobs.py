"""Jobs of a queue that nobody has to wait for."""

from __future__ import annotations

from pathlib import Path

from sonic_ext.jobs import Job, JobSpec, Origin, Queue
from sonic_ext.jobs.inputs import Staging, staging
from sonic_ext.jobs.spec import Destination
from sonic_ext.provenance.take import Take
from sonic_ext.settings import Settings

LANE = "standalone"


def some_spec(staged: Staging, number: int = 0, export: Destination | None = None) -> JobSpec:
    """Two files that are no picture and no sound; another number is another request."""
    portrait, audio = staged.write("face.png", b"a face"), staged.write("voice.wav", b"%d" % number)
    return JobSpec(Origin.API, portrait, audio, Settings(), 7, "preview", {}, export)


def submitted(queue: Queue, number: int = 0, lane: str = LANE, **more: str) -> Job:
    """A job that waits."""
    with staging(queue.home) as staged:
        return queue.submit(some_spec(staged, number), staged, lane=lane, **more)


def killed(queue: Queue, job: Job) -> Job:
    """The job as a process leaves it that begins it and is killed: nobody holds that worker's lock."""
    claimed = queue.adopt(job.id, "gone")
    assert claimed is not None
    queue.begin(claimed)
    return claimed


def finished(queue: Queue, take: Take, lane: str = LANE) -> Job:
    """A job that has made a take, as if the page had asked for it."""
    with staging(queue.home) as staged:
        spec = some_spec(staged)
        spec = JobSpec(Origin.PAGE, spec.portrait, spec.audio, take.settings, take.seed, take.engine)
        job = queue.submit(spec, staged, lane=lane, worker="a worker")
    queue.begin(job)
    queue.record_take(job, take, synthetic=False)
    queue.finish(job)
    return queue.find(job.id)


def stored_names(home: Path) -> set[str]:
    """What lies in the store of inputs."""
    return {path.name for path in (home / "inputs").glob("*")}
