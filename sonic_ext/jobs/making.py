"""One job from its spec to its video, read from top to bottom.

Whatever was done before its process ended is found and not done again: the portrait that a WebUI made, the
steps of the sonic engine, the take, the export.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import Cancelled, Failed, SonicError, as_error
from ..progress import Progress, Stage, Step
from .exporting import consent_of, export, require_portrait
from .inputs import require_sha256
from .job import Job
from .queue import Queue
from .spec import Input, PortraitRequest
from .submission import portraits_of, require_same_weights

if TYPE_CHECKING:
    from ..media.image import Portrait
    from ..ports import Host
    from ..provenance.store import Store
    from ..provenance.take import Take
    from ..settings import Settings


class Animate(Protocol):
    """Makes a job's take, as `pipeline.animate` does: in this process, or somewhere else."""

    def __call__(
        self,
        portrait: Portrait,
        audio: Path,
        settings: Settings,
        *,
        progress: Progress,
        store: Store,
        engine: str,
        seed: int,
        take_id: str,
        voice_2: Path | None = None,
    ) -> Take: ...


def carry_out(
    queue: Queue,
    job: Job,
    host: Host,
    progress: Progress,
    threads: int = 0,
    animate: Animate | None = None,
) -> None:
    """Make the job's video and, where it says so, export it.

    Args:
        job: that this worker has claimed.
        progress: told of the steps, and asked whether to stop.
        threads: see `pipeline.animate`.
        animate: makes the take; this process by default.

    Raises:
        SonicError: what ended the job. A refusal at the gate does not: the video is made, and waits.
    """
    from ..provenance.store import Store

    store = Store(queue.home, host.configuration())
    if store.holds(job.take_id):
        queue.begin(job)
        take = store.load(job.take_id)
    else:
        take = host.work(progress, lambda shown: _make_take(queue, job, host, shown, threads, animate))
    queue.record_take(job, take, _known_synthetic(take, store))
    refusal = None
    if job.spec.export is not None and job.exported is None:
        progress.report(Step(Stage.SIGNING, 0, 1))
        if progress.cancelled():
            raise Cancelled
        try:
            export(queue, job.id, job.spec.export, configuration=host.configuration())
        except SonicError as error:
            refusal = as_error(error)
    queue.finish(job, refusal)


def _make_take(
    queue: Queue, job: Job, host: Host, progress: Progress, threads: int, animate: Animate | None
) -> Take:
    """The take, when the host's turn has come."""
    from .. import pipeline
    from ..media.image import read_portrait
    from ..provenance.store import Store

    queue.begin(job)
    spec, store = job.spec, Store(queue.home, host.configuration())
    require_same_weights(spec, host)
    if spec.export is not None:
        consent_of(spec.export, queue.input).check()
    given = _make_portrait(queue, job, host, progress)
    portrait = read_portrait(queue.input(given))
    require_sha256(given, portrait.sha256)
    if spec.export is not None:
        require_portrait(spec.export.portrait_sha256, portrait.sha256, portrait.pixel_sha256)
    store.ledger.refuse_revoked(portrait.sha256, portrait.pixel_sha256)
    animate = animate or partial(pipeline.animate, devices=host.devices, threads=threads)
    take = animate(
        portrait,
        queue.input(spec.audio),
        spec.settings,
        voice_2=queue.input(spec.audio_2) if spec.audio_2 else None,
        progress=progress,
        store=store,
        engine=spec.engine,
        seed=spec.seed,
        take_id=job.take_id,
    )
    try:
        require_sha256(spec.audio, take.audio_sha256)
        if spec.audio_2 and take.second:
            require_sha256(spec.audio_2, take.second.audio_sha256)
    except Failed:
        store.discard(take.id)
        raise
    return take


def _make_portrait(queue: Queue, job: Job, host: Host, progress: Progress) -> Input:
    """The picture that was sent, or what the WebUI makes of the job's words, once."""
    wanted = job.spec.portrait
    if not isinstance(wanted, PortraitRequest):
        return wanted
    if job.portrait is not None:
        return job.portrait
    start = queue.input(wanted.start).read_bytes() if wanted.start else None
    pictures = portraits_of(host, wanted.source).make(wanted.parameters, start, progress)
    if not pictures:
        raise Failed("The WebUI made no picture.", "Look for an error in the window that it runs in.")
    with queue.staging() as staged:
        return queue.save_portrait(job, pictures[0].png, staged, pictures[0].infotext)


def _known_synthetic(take: Take, store: Store) -> bool | None:
    """Whether the ledger knows the take's portrait as generated; None if it cannot be asked."""
    if not store.ledger.folder.is_dir():
        return False
    try:
        return store.ledger.is_synthetic(take.portrait_pixel_sha256)
    except SonicError:
        return None
