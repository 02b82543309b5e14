"""Works the jobs of a host off: in threads of this process, or in the caller's own.

    with Worker(host) as worker:
        job = worker.submit(spec, staged)
        job = worker.queue.wait(job.id)

A worker that is closed lets what it makes wait for the next process.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import Cancelled, DeviceLost, Failed, SonicError, WorkerLost, as_error
from ..progress import Progress, Stage, Step
from .exporting import settle
from .job import Job
from .making import Animate, carry_out
from .queue import Queue, lease_of
from .spec import JobSpec, Origin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..ports import Host
    from .inputs import Staging

MAX_WAITING = 64
"""Jobs that may wait at the same time in a lane, those of batches aside."""
STOP_SECONDS = 5.0
"""How long `close` waits for jobs to leave nothing half-written."""
RECOVER_EVERY = 60.0
"""Seconds after which whoever looks for a job first puts those of dead workers back in their place."""
RETRY_SECONDS = 5.0
"""After which a worker asks a queue again that could not be used: the disk full, the database locked."""
REPORT_EVERY = 0.25
"""Seconds between two reports to the queue of the same stage."""
SHARES = {Stage.DENOISING: 0.8, Stage.DRAWING: 0.98, Stage.DECODING: 0.98}
"""Long stages → the share of all work that is done at their end; what comes before takes seconds."""
_log = logging.getLogger(__name__)


class Worker:
    """Carries out what waits in a host's lane, in its order. Safe to use from several threads.

    Args:
        host: where videos are made; its `slots` say how many at a time.
        queue: that of the private home by default.
        hold: jobs of these origins that an earlier process left wait for `Queue.resume`.
        limit: jobs that may wait.
        threaded: work the lane off in threads of this process; without it, only what `run` and `adopt` get.
        batch: carry out only the jobs of this batch; "" for all of the lane.
        threads: that each video is encoded with; 0 leaves it to the encoder.
        animate: makes the takes; this process by default.
        replaced: another process takes this one's place when it has lost its graphics card, and its job with
            it; otherwise the job fails, so that its user knows.
    """

    def __init__(
        self,
        host: Host,
        queue: Queue | None = None,
        *,
        hold: tuple[Origin, ...] = (),
        limit: int = MAX_WAITING,
        threaded: bool = True,
        batch: str = "",
        threads: int = 0,
        animate: Animate | None = None,
        replaced: bool = False,
    ) -> None:
        self.host = host
        self.queue = queue or Queue()
        self.id = secrets.token_hex(8)
        self.device_lost = False
        """Its process has lost the graphics card: it begins no more jobs of its lane."""
        self._replaced = replaced
        self._limit = limit
        self._batch = batch
        self._threads_each = threads
        self._animate = animate
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._callers = 0  # threads of others in `run` and `adopt`
        self._unreported: list[Job] = []
        self._stopping = Closing()
        self._called = threading.Event()
        """A thread that waits for others is to look again."""
        self._lease = ExitStack()
        self._threaded = threaded
        self._hold = hold
        self._started = False
        self._recovered = float("-inf")

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Go on with what earlier processes left, and be ready for more. Called once or often.

        Raises:
            BadOutput: the file system keeps the queue from being used.
        """
        with self._lock:
            if not self._started:
                self.queue.recover()
                self._recovered = time.monotonic()
                settle(self.queue, self.host.configuration())
                if self._hold:
                    self.queue.hold(self.host.lane, self._hold)
                if not self._lease.enter_context(self.queue.alone(lease_of(self.id))):
                    raise Failed("The worker's lock is taken.", "Start again.")
                self._started = True
        self.wake()

    def submit(self, spec: JobSpec, staged: Staging | None = None) -> Job:
        """Put a job at the end of the line and return at once.

        Raises:
            Busy: too many jobs wait.
        """
        self.start()
        job = self.queue.submit(spec, staged, lane=self.host.lane, limit=self._limit)
        self.wake()
        return job

    def run(
        self,
        spec: JobSpec,
        staged: Staging | None = None,
        *,
        host: Host | None = None,
        observer: Progress | None = None,
    ) -> Job:
        """Submit a job and carry it out in this thread, past the line: for those who hold the turn already.

        Args:
            host: in place of the worker's own, such as one that takes no lock.
            observer: told of the steps, too, and may stop the work.

        Returns:
            The job, over.
        """
        self.start()
        with self._caller_at_work():
            job = self.queue.submit(spec, staged, lane=self.host.lane, worker=self.id)
            return self.carry_out(job, host or self.host, observer)

    def held(self) -> tuple[Job, ...]:
        """What an earlier process left and waits for somebody's word, newest first."""
        return tuple(job for job in self.queue.jobs(lane=self.host.lane, ended=False) if job.held)

    def resume_held(self) -> None:
        """Go on with all of that, in its order."""
        for job in self.held():
            self.queue.resume(job.id)
        self.wake()

    def resume(self, job_id: str) -> Job:
        """Go on with one of that; any other job stays as it is."""
        self.start()  # first: what it finds, it may hold
        job = self.queue.resume(job_id)
        self.wake()
        return job

    def discard_held(self) -> None:
        """Cancel all of that."""
        for job in self.held():
            self.queue.cancel(job.id)

    def adopt(self, job_id: str, observer: Progress | None = None, host: Host | None = None) -> Job | None:
        """Go on, in this thread, with a job that an earlier process left; None where another one has it.

        Args:
            observer, host: see `run`.
        """
        self.start()
        with self._caller_at_work():
            job = self.queue.adopt(job_id, self.id)
            return None if job is None else self.carry_out(job, host or self.host, observer)

    def carry_out(self, job: Job, host: Host, observer: Progress | None = None, awaited: bool = True) -> Job:
        """All of a claimed job; however it ends, the queue says so.

        Args:
            awaited: somebody waits in this thread for how it ends. Otherwise a job that fails after its video
                is made waits again, and the video is not made a second time.

        Returns:
            The job as it stands then: over, or waiting again: the worker is being closed, or see `awaited`.
        """
        report = JobProgress(self.queue, job, self._stopping, observer)
        try:
            carry_out(self.queue, job, host, report, self._threads_each, self._animate)
        except BaseException as problem:
            closed = self._stopping.is_set() and isinstance(problem, (Cancelled, KeyboardInterrupt))
            ending = not isinstance(problem, (Exception, KeyboardInterrupt))  # of the process
            error = as_error(problem) if isinstance(problem, Exception) else Cancelled()
            here = isinstance(error, DeviceLost) and self._animate is None
            self.device_lost = self.device_lost or here
            with self._report_later(job):
                if ending:
                    self.queue.requeue(job)
                elif isinstance(error, WorkerLost) and (self._replaced or not here):
                    self.queue.requeue(job, error if isinstance(error, DeviceLost) else None)
                elif closed and not report.stopped:
                    self.queue.release(job)
                elif not awaited and not isinstance(error, Cancelled) and self._is_made(job):
                    self.queue.requeue(job, error)
                else:
                    self.queue.fail(job, error)
            if not isinstance(problem, Exception):
                raise
        return self.queue.find(job.id)

    def wake(self) -> None:
        """See to it that as many threads as there are slots look for jobs. They end when nothing waits and no
        other worker has a job of the lane."""
        self._called.set()
        with self._lock:
            ready = self._threaded and self._started and not (self._stopping.is_set() or self.device_lost)
            while ready and len(self._threads) < self.host.slots:
                # no daemon: a thread cut off inside OpenCV takes the whole process down with it
                thread = threading.Thread(target=self._run_jobs, name="sonic-jobs")
                self._threads.add(thread)
                thread.start()

    def close(self, seconds: float = STOP_SECONDS) -> None:
        """Let what is being made wait for the next process, and take no more.

        Args:
            seconds: how long to wait for it to leave nothing half-written.
        """
        self._stopping.set()
        self._called.set()
        end = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._release_lease()

    def _run_jobs(self) -> None:
        while (job := self._next()) is not None:
            with contextlib.suppress(BaseException):  # the queue has it
                self.carry_out(job, self.host, awaited=False)
        self._release_lease()

    def _next(self) -> Job | None:
        """The next job; without one, the thread is no longer counted: `wake` starts another. A queue that
        cannot be used is asked until it can, and who dies with a job in hand leaves it to this worker."""
        while True:
            job, over = None, True
            with self._lock:
                try:
                    if not (self._stopping.is_set() or self.device_lost):
                        job = self._claim()
                        over = job is None and not self.queue.others_at_work(
                            self.id, self.host.lane, self._batch
                        )
                except SonicError as error:
                    _log.warning("Jobs wait until the queue can be used again: %s", error)
                    over = False
                finally:
                    if over:
                        self._threads.discard(threading.current_thread())
            if job is not None or over:
                return job
            self._called.wait(RETRY_SECONDS)
            self._called.clear()

    def _claim(self) -> Job | None:
        while self._unreported:
            self.queue.requeue(self._unreported[-1])
            self._unreported.pop()
        if time.monotonic() - self._recovered > RECOVER_EVERY:
            self.queue.recover()  # what another worker of the lane left that died since
            self._recovered = time.monotonic()
        return self.queue.claim(self.id, self.host.lane, self._batch)

    def _is_made(self, job: Job) -> bool:
        from ..provenance.store import Store

        with contextlib.suppress(SonicError):
            return Store(self.queue.home).holds(job.take_id)
        return False

    @contextlib.contextmanager
    def _report_later(self, job: Job) -> Iterator[None]:
        """Around what the queue is told of a job's end: where it cannot be, the job is not kept from others
        for as long as this process lives."""
        try:
            yield
        except SonicError:
            with self._lock:
                self._unreported.append(job)
            raise

    @contextlib.contextmanager
    def _caller_at_work(self) -> Iterator[None]:
        """In somebody else's thread, which `close` does not wait for."""
        with self._lock:
            self._callers += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers -= 1
            self._release_lease()

    def _release_lease(self) -> None:
        """Let the lease go once the worker is closed and nobody works under it any more."""
        with self._lock:
            if self._stopping.is_set() and not self._threads and not self._callers:
                with contextlib.suppress(OSError):
                    self._lease.close()


class Closing(threading.Event):
    """Set when a worker is closed, or when the interpreter ends: it waits for all threads, and would for all
    jobs of the lane."""

    def is_set(self) -> bool:
        """See the class."""
        return super().is_set() or not threading.main_thread().is_alive()


class JobProgress:
    """The `Progress` of a job that is carried out: the queue's, and somebody else's who looks on.

    Args:
        stopping: set when the worker is being closed.
        observer: told of every step, too.
    """

    def __init__(
        self, queue: Queue, job: Job, stopping: threading.Event, observer: Progress | None = None
    ) -> None:
        self.stopped = False
        """Somebody asked for the job's end."""
        self._queue = queue
        self._job = job
        self._stopping = stopping
        self._observer = observer
        self._step = Step(Stage.WAITING, 0, 1)
        self._share = 0.0
        self._floors: dict[Stage, float] = {}
        """Share when each stage first began; one that is gone on with, after another, is the same stage."""
        self._reported_at = float("-inf")
        self.task_id = job.task_id

    def report(self, step: Step) -> None:
        """Remember the step; the queue is told of each stage, and four times a second."""
        if self._observer is not None:
            self._observer.report(step)
        if step.stage != self._step.stage:
            self._reported_at = float("-inf")
        floor = self._floors.setdefault(step.stage, self._share)
        end = max(SHARES.get(step.stage, 0.0), floor)
        share = floor + (end - floor) * min(step.done / max(step.total, 1), 1.0)
        self._share, self._step = max(self._share, share), step
        self._write()

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Hand a frame of the stamped preview on to whoever looks on."""
        show = getattr(self._observer, "show", None)
        if show is not None:
            show(picture)

    def cancelled(self) -> bool:
        """By whoever may end the job, or because the worker is being closed."""
        self._write()
        self.stopped = self.stopped or (self._observer is not None and self._observer.cancelled())
        return self.stopped or self._stopping.is_set()

    def _write(self) -> None:
        now = time.monotonic()
        if now - self._reported_at < REPORT_EVERY:
            return
        self._reported_at = now
        with contextlib.suppress(SonicError):  # a full disk is found out where something must be kept
            self.stopped = self.stopped or self._queue.report(self._job, self._step, self._share).requested
