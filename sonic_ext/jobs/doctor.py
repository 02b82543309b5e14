"""What bad days leave in the private home: looked for, mended where that loses nothing, and said.

    for finding in examine(Queue()):
        print(finding.state, finding.text)

Every start clears up by itself and says nothing of it (`provenance.recovery`, `Queue.recover`). Here the same
is done on purpose, counted, and followed by what no start decides: damaged takes, a home that others may
read, a certificate of another time.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from ..configuration import Configuration
from ..engines.runtime import expiry
from ..errors import SonicError
from ..files.atomic import new_file, remove_temporaries, temporary_name
from ..files.home import HOME_VARIABLE
from ..provenance.certificates import FOLDER as SIGNING
from ..provenance.certificates import identity
from ..provenance.intents import FOLDER as EXPORTS
from ..provenance.recovery import recover, sweep_revoked
from .exporting import settle
from .inputs import FOLDER as INPUTS
from .inputs import STAGING
from .queue import Queue

if TYPE_CHECKING:
    from ..provenance.store import Store

AHEAD = 300.0
"""Seconds that a file may be from the future before the clock is doubted."""
ROOM = 64 << 20
"""Bytes free below which the next video may not fit."""


class FindingState(str, Enum):
    """How something stands."""

    FINE = "fine"
    MENDED = "mended"
    LEFT = "left"
    """It needs somebody's decision; the text says which."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class DoctorFinding:
    """One thing that was looked at."""

    name: str
    """What it is: home, room, clock, ledger, certificate, exports, jobs, takes, files, checkpoints."""
    state: FindingState
    text: str
    """One sentence."""
    hint: str = ""
    """What to do about it, where it is left."""


Check = Callable[["Patient"], Iterator[DoctorFinding]]


@dataclass(frozen=True)
class Patient:
    """A private home."""

    queue: Queue
    configuration: Configuration
    delete_damaged: bool

    @property
    def home(self) -> Path:
        """The private home."""
        return self.queue.home

    @property
    def store(self) -> Store:
        """Its takes."""
        from ..provenance.store import Store

        return Store(self.home, self.configuration)

    def names(self, folder: str, pattern: str = "*") -> set[str]:
        """Names of what lies in a folder of the home."""
        return {path.name for path in (self.home / folder).glob(pattern)}


def examine(
    queue: Queue, configuration: Configuration | None = None, delete_damaged: bool = False
) -> Iterator[DoctorFinding]:
    """Look at everything in turn. Whatever keeps a check from being done is itself a finding.

    Args:
        queue: of the private home.
        configuration: the environment's by default.
        delete_damaged: delete takes that cannot be read or were altered; they cannot be exported.
    """
    patient = Patient(queue, configuration or Configuration.from_environment(), delete_damaged)
    if not patient.home.is_dir():
        yield DoctorFinding("home", FindingState.FINE, f"There is no private folder yet: {patient.home}.")
        return
    for check in CHECKS:
        name = check.__name__.lstrip("_")
        try:
            yield from check(patient)
        except SonicError as error:
            yield DoctorFinding(name, FindingState.LEFT, error.message, error.hint)
        except OSError as error:
            yield DoctorFinding(
                name,
                FindingState.LEFT,
                f"The private folder {patient.home} cannot be used: {error.strerror or error}.",
                f"Make room or give yourself access, or set {HOME_VARIABLE} to another folder.",
            )


def _home(patient: Patient) -> Iterator[DoctorFinding]:
    """Nobody else may enter it."""
    status = patient.home.stat()
    if os.name == "posix" and status.st_uid == os.geteuid() and status.st_mode & 0o077:
        patient.home.chmod(0o700)
        was = stat.S_IMODE(status.st_mode)
        yield _mended("home", f"Other users could read the private folder (mode {was:o}); it is closed now.")
        return
    yield _fine("home", f"The private folder is {patient.home}.")


def _room(patient: Patient) -> Iterator[DoctorFinding]:
    """It can be written to, and the next video has room."""
    probe = patient.home / "doctor"
    remove_temporaries(probe)
    written = temporary_name(probe)
    new_file(written, b"whether this can be written")
    written.unlink()
    free = shutil.disk_usage(patient.home).free
    if free < ROOM:
        yield DoctorFinding(
            "room",
            FindingState.LEFT,
            f"Only {free >> 20} MB are free where the private folder is.",
            "Make room, or no video can be made.",
        )
        return
    yield _fine("room", f"The private folder can be written to, and {free >> 20} MB are free there.")


def _clock(patient: Patient) -> Iterator[DoctorFinding]:
    """A clock that went back makes consents and certificates seem not to have begun."""
    ahead = [
        path
        for folder in ("takes", "jobs", "consent")
        for path in (patient.home / folder).glob("*")
        if _modified_at(path) > time.time() + AHEAD
    ]
    if ahead:
        yield DoctorFinding(
            "clock",
            FindingState.LEFT,
            f"Files of the private folder are from the future, such as {ahead[0].name}.",
            "The clock was set back: set it right.",
        )
        return
    yield _fine("clock", "No file is from the future.")


def _ledger(patient: Patient) -> Iterator[DoctorFinding]:
    """Every row of it, and that it is no older than the takes."""
    ledger = patient.store.ledger
    if not ledger.folder.is_dir():
        yield _fine("ledger", "No consent has been recorded yet.")
        return
    count = ledger.check()
    patient.store.check()
    yield _fine("ledger", f"The consent ledger is whole: {count} rows.")


def _certificate(patient: Patient) -> Iterator[DoctorFinding]:
    """One that was made while the clock was wrong cannot sign, or will end soon."""
    if not (patient.configuration.certificate or (patient.home / SIGNING).is_dir()):
        yield _fine("certificate", "A certificate is made when the first video is exported.")
        return
    identity(patient.home, patient.configuration)
    yield _fine("certificate", "The certificate can sign.")


def _exports(patient: Patient) -> Iterator[DoctorFinding]:
    """Those of processes that are gone are finished or undone."""
    before = _begun_exports(patient)
    recover(patient.home, patient.configuration)
    left = _begun_exports(patient)
    if left & before:
        yield DoctorFinding(
            "exports",
            FindingState.LEFT,
            f"{len(left & before)} exports are under way, or could not be finished or undone.",
            "Where the drive that they went to is unplugged, plug it in and try again.",
        )
    if before - left:
        yield _mended("exports", f"{len(before - left)} interrupted exports were finished or undone.")
    if not before:
        yield _fine("exports", "No export was interrupted.")


def _jobs(patient: Patient) -> Iterator[DoctorFinding]:
    """Those of dead workers go back into the line or are done, and what no job needs is deleted."""
    queue = patient.queue
    taken = {job.id for job in queue.jobs(ended=False) if job.worker}
    files = patient.names(INPUTS) | patient.names(STAGING)
    queue.recover()
    unrecorded = {job.id for job in queue.unrecorded_exports()}
    settle(queue, patient.configuration)
    recorded = unrecorded - {job.id for job in queue.unrecorded_exports()}
    back = [job for job in map(queue.find, taken - recorded) if not job.worker]
    if recorded:
        yield _mended(
            "jobs", f"{len(recorded)} videos were exported by processes that are gone: they are done."
        )
    if back:
        yield _mended("jobs", f"{len(back)} videos of processes that are gone wait again or are given up.")
    held = [job for job in queue.jobs(ended=False) if job.held]
    if held:
        yield DoctorFinding(
            "jobs",
            FindingState.LEFT,
            f"{len(held)} videos wait for somebody to say that they go on.",
            "Go on with them or delete them on the page they were asked for on.",
        )
    if not (recorded or back or held):
        yield _fine("jobs", f"{len(taken)} videos are being made, none was left behind.")
    gone = files - patient.names(INPUTS) - patient.names(STAGING)
    if gone:
        yield _mended("files", f"{len(gone)} files that no video needs any more were deleted.")
    else:
        yield _fine("files", "Every file belongs to a video.")


def _takes(patient: Patient) -> Iterator[DoctorFinding]:
    """Expired, unfinished and revoked ones go; damaged ones only where somebody says so."""
    store = patient.store
    gone = {*store.expire(), *sweep_revoked(store)}
    if gone:
        yield _mended("takes", f"{len(gone)} expired, unfinished or revoked videos were deleted.")
    listing = store.listing()
    if listing.unusable and patient.delete_damaged:
        for each in listing.unusable:
            store.discard(each.id)
        yield _mended("takes", f"{len(listing.unusable)} damaged videos were deleted.")
    elif listing.unusable:
        named = ", ".join(each.id for each in listing.unusable[:3])
        yield DoctorFinding(
            "takes",
            FindingState.LEFT,
            f"{len(listing.unusable)} videos cannot be used ({named}): {listing.unusable[0].error.message}",
            "They cannot be exported any more. Delete them with: sonic doctor --delete-damaged",
        )
    elif not gone:
        yield _fine("takes", f"{len(listing.takes)} videos can be exported.")


def _checkpoints(patient: Patient) -> Iterator[DoctorFinding]:
    """Latents of videos that nobody went on with."""
    gone = expiry.expire(patient.home)
    if gone:
        yield _mended("checkpoints", f"{gone} unfinished videos were older than a week and deleted.")
    else:
        left = len(patient.names(expiry.FOLDER))
        yield _fine("checkpoints", f"{left} unfinished videos of the sonic engine can go on.")


CHECKS: tuple[Check, ...] = (
    *(_home, _room, _clock, _ledger, _certificate),
    *(_exports, _jobs, _takes, _checkpoints),
)
"""In this order: what others depend on comes first."""


def _begun_exports(patient: Patient) -> set[str]:
    """Ids of those of which something lies in the private home."""
    return {name.partition(".")[0] for name in patient.names(EXPORTS)}


def _modified_at(path: Path) -> float:
    """Seconds since the epoch; 0 for what was deleted meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _fine(name: str, text: str) -> DoctorFinding:
    return DoctorFinding(name, FindingState.FINE, text)


def _mended(name: str, text: str) -> DoctorFinding:
    return DoctorFinding(name, FindingState.MENDED, text)
