"""What the nodes do: look, choose, make, and say how a video stands. Only the host in here is ComfyUI's."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import Failed, NotFound
from ...files.home import private_home
from ...provenance.boundary import refuse_served
from .devices import ComfyDeviceManager
from .host import ComfyUI, folders, served
from .values import NodeEngine, NodeJob, NodeTake

if TYPE_CHECKING:
    from ...jobs import Job, JobSpec, Worker
    from ...provenance.store import Store

_given: set[str] = set()
"""Ids of the takes that nodes of this process were given."""
_lock = threading.Lock()


@cache
def worker() -> Worker:
    """The one of this process, for nodes, page and API.

    Raises:
        BadSetting: the private home lies where ComfyUI hands files out.
    """
    from ...jobs import Origin, Worker
    from ...provenance.recovery import clear_up

    host = ComfyUI()
    refuse_served(private_home(), served())
    clear_up(configuration=host.configuration())
    return Worker(host, hold=(Origin.PAGE, Origin.NODE))


def looked_at(job: NodeJob) -> str:
    """What the video will be, in a line; the engine that draws is not asked.

    Raises:
        SonicError: portrait, speech or settings cannot be used.
    """
    from ... import pipeline

    settings = job.settings.with_values({"engine": "preview"})
    found = pipeline.preflight(job.portrait, job.speech, settings, voice_2=job.second)
    size = f"{found.width} × {found.height}, {found.frames} frames, {found.seconds:.2f} s"
    return "\n".join((size, f"face {found.face_confidence:.0%}", *found.warnings))


def chosen_engine(engine: NodeEngine) -> str:
    """Name of the engine that the node's settings mean here.

    Raises:
        MissingPart: what it needs is not there; the hint brings it.
        BadWeights: what is linked to the node is of another kind than it takes.
    """
    from ... import engines
    from ...jobs.submission import search_of
    from ...settings import Settings

    host, settings = ComfyUI(engine), Settings.from_mapping(engine.settings)
    ComfyDeviceManager(engine).require_fitting()
    return engines.choose(
        settings.engine, devices=host.devices, settings=settings, search=search_of(host)
    ).name


def make(job: NodeJob, engine: NodeEngine) -> NodeTake:
    """The video of a job: one that is there already, one that was begun, or a new one.

    Raises:
        SonicError: it cannot be made, or was cancelled.
    """
    from ...jobs import Origin
    from ...jobs.submission import specified

    own, host = worker(), ComfyUI(engine, held=True)
    with own.queue.staging() as staged:
        spec = specified(
            host,
            staged,
            origin=Origin.NODE,
            portrait=staged.write(job.portrait.path.name, job.portrait.data),
            audio=staged.write("speech.wav", job.speech.data or b""),
            settings=job.settings,
            look=False,
            audio_2=staged.write("speech-2.wav", job.second.data or b"") if job.second else None,
        )
        earlier = None if engine.lends else _earlier(spec, host)
        done = earlier or own.run(spec, staged, host=host)
    return _taken(done)


def _earlier(spec: JobSpec, host: ComfyUI) -> Job | None:
    """A job that made the same video with this version, if that is still there; else one that a ComfyUI which
    ended left behind: it goes on where it stopped."""
    from ... import __version__

    takes = store()
    worker().start()
    found = worker().queue.find_by_digest(spec.digest)
    same = [job for job in found if job.lane == host.lane and job.spec.seed == spec.seed]
    for job in same:
        if job.take and job.take.engine_version == __version__ and takes.holds(job.take_id):
            return job
    begun = next((job for job in same if not job.state.ended), None)
    return worker().adopt(begun.id, host=host) if begun else None


def _taken(job: Job) -> NodeTake:
    if job.take is None:
        raise job.error or Failed("The video was not made.", "Run the workflow again.")
    with _lock:
        _given.add(job.take_id)
    return NodeTake(job.id, job.take_id)


def store() -> Store:
    """Where the takes lie."""
    from ...provenance.store import Store

    return Store(worker().queue.home, worker().host.configuration())


def expired_takes() -> list[str]:
    """Ids of the takes of this process that are no longer there."""
    takes = store()
    with _lock:
        return sorted(each for each in _given if not takes.holds(each))


def ledger_state() -> str:
    """Changes with every consent and revocation."""
    ledger = store().ledger
    return str(ledger.head()) if ledger.folder.is_dir() else ""


def described(take: NodeTake) -> dict[str, Any]:
    """What our page's script needs to show a video on its node."""
    return {"id": take.job}


def exported(take: NodeTake) -> dict[str, Any]:
    """What the node Export shows: the video where it was let out, else who it waits for.

    Raises:
        ConsentRevoked: the consent was taken back.
        NotFound: the video is gone.
    """
    job, takes = worker().queue.find(take.job), store()
    if job.take is None:
        raise gone()
    takes.ledger.refuse_revoked(job.take.portrait_sha256, job.take.portrait_pixel_sha256, job.take_id)
    # Of several videos in one node ComfyUI puts together what the first of them names: each names the same.
    shown: dict[str, Any] = {"sonic": [described(take)], "images": [], "animated": ()}
    if job.exported is None:
        if not takes.holds(job.take_id):
            raise gone()
        return shown | {"text": ["Waits for consent: press Consent and export."]}
    if not job.exported.path.is_file():
        raise NotFound(
            f"The exported video {job.exported.path.name} is not there any more.",
            "It was moved or deleted. Look for it, or make the video again with another seed.",
        )
    return shown | {"text": [f"Exported as {job.exported.path.name}."]} | _playable(job.exported.path)


def _playable(path: Path) -> dict[str, Any]:
    """As ComfyUI's own nodes name a file that they saved; nothing where it lies elsewhere."""
    try:
        place = path.parent.relative_to(folders().get_output_directory())
    except ValueError:
        return {}
    file = {"filename": path.name, "subfolder": place.as_posix(), "type": "output"}
    return {"images": [file], "animated": (True,)}


def gone() -> NotFound:
    """A take that is not in the private store any more."""
    return NotFound("The video is not there any more.", "It expired or was deleted. Run the workflow again.")
