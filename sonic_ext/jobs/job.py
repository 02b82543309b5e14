"""A job as it stands at one moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SonicError, WrongTime
from ..ports import Step
from .spec import Input, JobSpec, Origin

if TYPE_CHECKING:
    from ..provenance.store import Take


class State(str, Enum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class ExportedFile:
    """The video of a job, outside of the private store."""

    path: Path
    record: str
    """Id of the consent record."""
    sha256: str
    """Of the file."""
    warnings: tuple[str, ...] = ()
    """Sentences about the consent."""


@dataclass(frozen=True)
class Job:
    """One row of the queue."""

    id: str
    """32 hex digits that nobody guesses."""
    lane: str
    """Whose workers carry it out, see `ports.Host.lane`."""
    spec: JobSpec
    state: State
    held: bool
    """It waits until somebody says that it may go on: it was interrupted in a WebUI."""
    worker: str
    """Id of the worker that has it; "" where none has."""
    attempts: int
    """Times that a worker began it and got no further than the one before."""
    step: Step
    """The last that was reported."""
    progress: float
    """Share of all work that is done, 0 to 1; never falls within an attempt."""
    created: datetime
    """UTC."""
    began: datetime | None
    ended: datetime | None
    take_id: str
    """Of the take that it makes; given before the work begins."""
    portrait: Input | None
    """What the WebUI made, where it makes the portrait."""
    infotext: str
    """Parameters of that portrait in the WebUI's form."""
    take: Take | None
    """What was made, as it was then: its files may have expired since."""
    synthetic: bool | None
    """The take's portrait is known to be nobody's; None before there is one, or if the ledger cannot tell."""
    output: Path | None
    """Where its video is being exported, or was."""
    exported: ExportedFile | None
    error: SonicError | None
    """Why it failed; for a job that is done, why its video was not exported."""
    batch: str = ""
    """Id of the batch that it belongs to."""
    label: str = ""
    """Its name in the batch."""

    @property
    def origin(self) -> Origin:
        """Who asked."""
        return self.spec.origin

    @property
    def task_id(self) -> str:
        """Its name in a WebUI's list of tasks, by which the WebUI's page asks for its bar."""
        return f"task(sonic-{hashlib.sha256(self.id.encode()).hexdigest()[:16]})"

    def result(self) -> Take:
        """The take of a job that is over.

        Raises:
            SonicError: what ended it instead.
            WrongTime: it is not over.
        """
        if self.take is not None:
            return self.take
        raise self.error or WrongTime("The video is not finished.", "Wait until it is.")


@dataclass(frozen=True)
class Batch:
    """Jobs that were submitted together, as they stand at one moment."""

    id: str
    """32 hex digits."""
    created: datetime
    """UTC."""
    began: datetime | None
    """When the first of them did."""
    counts: Mapping[State, int]
    """State → jobs in it; without those that no job is in."""
    done: float
    """Jobs that are over, and shares of those that are being made."""

    @property
    def total(self) -> int:
        """All of its jobs."""
        return sum(self.counts.values())

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return all(state.ended for state in self.counts)

    def seconds_left(self) -> float | None:
        """Forecast by what was done so far; None until there is a basis for one, or when it is over."""
        if self.ended or self.began is None or not self.done:
            return None
        elapsed = (datetime.now(timezone.utc) - self.began).total_seconds()
        return elapsed / self.done * (self.total - self.done)
