"""The animations of this process: waiting, running and ended. API, page and script share one register.

    register = Register()
    job = register.submit(host.work, lambda progress: pipeline.animate(portrait, speech, progress=progress))
    job.over.wait()                              # or look at job.status now and then
    take = job.result()

Jobs that are submitted run one after the other, in their order, in one thread that ends with the last of
them. Nothing is written down: what a finished job leaves is its take, in the private store.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any

from .errors import Busy, Cancelled, Failed, NotFound, SonicError, WrongTime
from .progress import Progress, Stage, Step

if TYPE_CHECKING:
    from .provenance.gate import Exported
    from .provenance.take import Take

KEPT = 200
"""Ended jobs that are remembered."""
WAITING = 64
"""Jobs that may wait at the same time."""
STOP_SECONDS = 2.0
"""How long `stop_all` waits for jobs to tidy up."""

IN_LINE = Step(Stage.WAITING, 0, 1)
"""What a job says before its turn comes."""
SHARES = {Stage.DENOISING: 0.8, Stage.DRAWING: 0.98}
"""Long stages → the share of all work that is done at their end; what comes before takes seconds."""

Task = Callable[[Progress], "Take"]
"""Makes a take; reports and may be stopped."""
Turn = Callable[[Progress, Task], "Take"]
"""`Host.work`: waits until nothing else is being made, then carries the task out."""

_log = logging.getLogger(__name__)


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
class Status:
    """A job at one moment."""

    state: State = State.QUEUED
    step: Step = IN_LINE
    """The last that was reported."""
    progress: float = 0.0
    """Share of all work that is done, 0 to 1; never falls."""
    take: Take | None = None
    """What was made."""
    synthetic: bool | None = None
    """The take's portrait is known to be nobody's; None before there is one, or if the ledger cannot tell."""
    infotext: str = ""
    """Parameters of the portrait in the WebUI's form, where it made the portrait."""
    error: SonicError | None = None
    """Why it failed; for a job that is done, why its video was not let out."""
    exported: Exported | None = None
    """The video that passed the gate."""
    began: datetime | None = None
    """UTC."""
    ended: datetime | None = None
    """UTC."""


class Job:
    """One animation; a `Progress` for whoever makes it. Safe to use from several threads."""

    def __init__(self, origin: str = "api", task_id: str = "") -> None:
        self.id = secrets.token_hex(16)
        """Nobody guesses it."""
        self.origin = origin
        """Who asked: api, page or script."""
        self.task_id = task_id
        """The WebUI's name for it, of the form `task(…)`, by which its page asks for the progress."""
        self.created = _now()
        """UTC."""
        self.over = threading.Event()
        """Set at the very end, when nothing of the work is left."""
        self._status = Status()
        self._floor = 0.0  # progress when the stage began
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._gate = threading.Lock()

    @property
    def status(self) -> Status:
        """As it stands now; what it says fits together."""
        return self._status

    def report(self, step: Step) -> None:
        """Remember the step."""
        with self._lock:
            before = self._status
            if step.stage != before.step.stage:
                self._floor = before.progress
            end = max(SHARES.get(step.stage, 0.0), self._floor)
            share = self._floor + (end - self._floor) * min(step.done / max(step.total, 1), 1.0)
            self._status = replace(before, step=step, progress=max(before.progress, share))

    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask the work to stop; a job that waits is cancelled from here on, one that ended stays as it is."""
        self._stop.set()
        with self._lock:
            if self._status.state is State.QUEUED:
                self._end(State.CANCELLED, error=Cancelled())

    def made_from(self, infotext: str) -> None:
        """Remember the parameters that the WebUI made the portrait with."""
        with self._lock:
            self._status = replace(self._status, infotext=infotext)

    def result(self) -> Take:
        """The take of a job that is over.

        Raises:
            SonicError: what ended it instead.
        """
        status = self._status
        if status.take is not None:
            return status.take
        error = status.error or WrongTime("The video is not finished.", "Wait until it is.")
        raise type(error)(error.message, error.hint)

    def export(self, let_out: Callable[[Take], Exported]) -> Exported:
        """Let the video out, once, and remember what came out.

        Raises:
            WrongTime: it is not finished, or out already.
            SonicError: what `let_out` raises; the job stays as it was.
        """
        with self._gate:
            if self._status.exported is not None:
                raise WrongTime("The video was exported already.", "Fetch it, or make another one.")
            if self._status.take is None:
                raise WrongTime("There is no finished video to export.", "Wait until its state is done.")
            made = let_out(self._status.take)
            with self._lock:
                self._status = replace(self._status, exported=made, error=None)
        return made

    def begin(self) -> None:
        """Its turn has come.

        Raises:
            Cancelled: but nobody wants it any more.
        """
        with self._lock:
            if self._status.state is not State.QUEUED:
                raise Cancelled
            step = Step(Stage.STARTING, 0, 1)
            self._status = replace(self._status, state=State.RUNNING, step=step, began=_now())

    def finish(self, take: Take, **more: Any) -> None:
        """The work was done; `more` are fields of `Status`."""
        with self._lock:
            self._end(State.DONE, take=take, progress=1.0, **more)

    def fail(self, problem: BaseException) -> None:
        """The work raised this."""
        error = as_error(problem)
        state = State.CANCELLED if isinstance(error, Cancelled) else State.FAILED
        with self._lock:
            if not self._status.state.ended:
                self._end(state, error=error)

    def _end(self, state: State, **more: Any) -> None:
        self._status = replace(self._status, state=state, ended=_now(), **more)


class _Both:
    """A job, and another progress that is told the same and may stop it, too."""

    def __init__(self, job: Job, along: Progress) -> None:
        self._job = job
        self._along = along
        self.task_id = getattr(along, "task_id", None) or job.task_id

    def report(self, step: Step) -> None:
        """To both."""
        self._job.report(step)
        self._along.report(step)

    def cancelled(self) -> bool:
        """By either."""
        return self._job.cancelled() or self._along.cancelled()


@dataclass(frozen=True)
class _Entry:
    """A job with what it has to do."""

    job: Job
    turn: Turn
    task: Task
    let_out: Callable[[Take], Exported] | None
    tidy: Callable[[], None]

    def carry_out(self) -> Take:
        """All of it; however it ends, the job says so and nothing is left."""
        try:
            take = self.turn(self.job, self._begun)
            more = {"synthetic": known_synthetic(take), **self._exported(take)}
        except BaseException as problem:
            self.tidy()
            self.job.fail(problem)
            raise
        else:
            self.tidy()
            self.job.finish(take, **more)
            return take
        finally:
            self.job.over.set()

    def drop(self) -> None:
        """Its turn will not come."""
        self.tidy()
        self.job.cancel()
        self.job.over.set()

    def _begun(self, progress: Progress) -> Take:
        self.job.begin()
        return self.task(progress)

    def _exported(self, take: Take) -> dict[str, Any]:
        """What came of letting the video out; one that the gate refused is finished all the same."""
        if self.let_out is None:
            return {}
        self.job.report(Step(Stage.SIGNING, 0, 1))
        try:
            return {"exported": self.let_out(take)}
        except SonicError as error:
            return {"error": as_error(error)}


class Register:
    """All jobs of this process. Safe to use from several threads.

    Args:
        kept: ended jobs to remember; the oldest are forgotten first.
        waiting: jobs that may wait at the same time.
    """

    def __init__(self, kept: int = KEPT, waiting: int = WAITING) -> None:
        self._kept = kept
        self._waiting = waiting
        self._jobs: dict[str, Job] = {}
        self._line: dict[str, _Entry] = {}
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(
        self,
        turn: Turn,
        task: Task,
        *,
        origin: str = "api",
        let_out: Callable[[Take], Exported] | None = None,
        tidy: Callable[[], None] = lambda: None,
        prepared: Job | None = None,
    ) -> Job:
        """Put a job at the end of the line and return at once.

        Args:
            turn: `Host.work`.
            task: makes the take.
            origin: who asks: api, page or script.
            let_out: exports the take as soon as there is one.
            tidy: called once when nothing of the job will run any more. It must not raise.
            prepared: a job made before, where the task has to know it.

        Raises:
            Busy: too many jobs wait; `tidy` was not called.
        """
        job = prepared or Job(origin)
        entry = _Entry(job, turn, task, let_out, tidy)
        with self._lock:
            if len(self._line) >= self._waiting:
                raise Busy(
                    f"Too many videos are waiting: {len(self._line)}.", "Try again when some are made."
                )
            self._add(job)
            self._line[job.id] = entry
            if self._worker is None:
                # no daemon: a thread cut off inside OpenCV takes the whole process down with it
                self._worker = threading.Thread(target=self._work_off, name="sonic-jobs")
                self._worker.start()
        return job

    def run(
        self,
        turn: Turn,
        task: Task,
        *,
        origin: str = "script",
        along: Progress | None = None,
        prepared: Job | None = None,
    ) -> Take:
        """Carry a job out in this thread, past the line: for those who wait or hold the turn themselves.

        Args:
            turn, task, origin, prepared: see `submit`.
            along: told of the steps, too, and may stop the work.

        Raises:
            SonicError: what the task raises.
        """
        job = prepared or Job(origin)
        with self._lock:
            self._add(job)
        told: Progress = job if along is None else _Both(job, along)
        return _Entry(job, lambda _, begun: turn(told, begun), task, None, lambda: None).carry_out()

    def jobs(self) -> tuple[Job, ...]:
        """Newest first."""
        with self._lock:
            return tuple(reversed(self._jobs.values()))

    def find(self, job_id: str) -> Job:
        """The job with this id.

        Raises:
            NotFound: there is none, or not any more.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(
                "There is no animation with this id.", f"The newest {self._kept} are remembered; list them."
            )
        return job

    def of_take(self, take_id: str) -> Job | None:
        """The job that made a take, if it is remembered."""
        made = (job for job in self.jobs() if job.status.take is not None)
        return next((job for job in made if job.result().id == take_id), None)

    def position(self, job: Job) -> int:
        """1 for the job whose turn comes next, 0 for one that does not wait."""
        with self._lock:
            waiting = [each for each in self._jobs.values() if each.status.state is State.QUEUED]
        return waiting.index(job) + 1 if job in waiting else 0

    def cancel(self, job: Job) -> None:
        """Ask a job to stop. One that waits is cancelled at once; one that ended stays as it is."""
        with self._lock:
            entry = self._line.pop(job.id, None)
        if entry is not None:
            entry.drop()
        else:
            job.cancel()

    def forget(self, job: Job) -> None:
        """Remember an ended job no longer. Its take stays in the private store.

        Raises:
            WrongTime: it has not ended.
        """
        if not job.status.state.ended:
            raise WrongTime("The animation has not ended.", "Cancel it first.")
        with self._lock:
            self._jobs.pop(job.id, None)

    def stop_all(self, seconds: float = STOP_SECONDS) -> None:
        """Cancel every job and give them `seconds` each to leave nothing half-written."""
        jobs = [job for job in self.jobs() if not job.over.is_set()]
        for job in jobs:
            self.cancel(job)
        for job in jobs:
            job.over.wait(seconds)

    def _add(self, job: Job) -> None:
        """With the lock held."""
        self._jobs[job.id] = job
        over = [each for each in self._jobs.values() if each.over.is_set()]
        for old in over[: max(0, len(over) - self._kept)]:
            del self._jobs[old.id]

    def _work_off(self) -> None:
        while (entry := self._next()) is not None:
            with contextlib.suppress(BaseException):  # the job has it
                entry.carry_out()

    def _next(self) -> _Entry | None:
        with self._lock:
            if not self._line:
                self._worker = None
                return None
            return self._line.pop(next(iter(self._line)))


def as_error(problem: BaseException) -> SonicError:
    """The problem in this package's own terms, without the frames that it came through and what they hold.

    What nobody foresaw goes to the log with its traceback.
    """
    if isinstance(problem, SonicError):
        return type(problem)(problem.message, problem.hint)
    _log.error("a job met an error that it does not know", exc_info=problem)
    return Failed(
        f"Something went wrong inside ({type(problem).__name__}).",
        "The window that it was started from shows the details; please report them.",
    )


def known_synthetic(take: Take) -> bool | None:
    """Whether the ledger knows the take's portrait as generated; None if it cannot be asked."""
    from .provenance.ledger import Ledger

    ledger = Ledger()
    if not ledger.folder.is_dir():
        return False
    try:
        return ledger.is_synthetic(take.portrait_pixel_sha256)
    except SonicError:
        return None


def _now() -> datetime:
    return datetime.now(timezone.utc)
