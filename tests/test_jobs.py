"""The register of animations: order, states, stopping, what is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from sonic_ext import jobs
from sonic_ext.errors import BadInput, Busy, Cancelled, ConsentMissing, NotFound, WrongTime
from sonic_ext.jobs import Job, Register, State
from sonic_ext.progress import Progress, Step
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import Exported, export
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take


@pytest.fixture
def register() -> Iterator[Register]:
    """Whose thread is gone at the end."""
    made = Register()
    yield made
    made.stop_all(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "sonic-jobs":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def at_once(progress: Progress, task: jobs.Task) -> Take:
    """A `Turn` for which nobody waits."""
    return task(progress)


@dataclass
class Work:
    """A task that reports, then goes on when told or stops when asked."""

    take: Take
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, progress: Progress) -> Take:
        """Make it."""
        progress.report(Step("drawing frames", 1, 2, 3.0))
        self.begun.set()
        while not self.go_on.wait(0.01):
            if progress.cancelled():
                raise Cancelled
        return self.take


class Tidied:
    """Counts how often it was asked to tidy."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        """Count."""
        self.times += 1


def over(job: Job) -> Job:
    """The job at its end."""
    assert job.over.wait(PATIENCE)
    return job


def test_from_waiting_to_done(register: Register, take: Take) -> None:
    work, tidied = Work(take), Tidied()
    job = register.submit(at_once, work, tidy=tidied)
    assert work.begun.wait(PATIENCE)
    running = job.status
    assert (running.state, running.take, register.position(job)) == (State.RUNNING, None, 0)
    assert (running.step, running.progress) == (Step("drawing frames", 1, 2, 3.0), 0.49)
    assert tidied.times == 0
    work.go_on.set()
    done = over(job).status
    assert (done.state, done.progress, done.take, done.error) == (State.DONE, 1.0, take, None)
    assert (tidied.times, done.synthetic, job.result()) == (1, False, take)
    assert job.created <= (done.began or job.created) <= (done.ended or job.created)


def test_one_after_the_other_in_their_order(register: Register, take: Take) -> None:
    first, order = Work(take), []
    one = register.submit(at_once, first)
    assert first.begun.wait(PATIENCE)
    rest = [register.submit(at_once, lambda _, n=number: order.append(n) or take) for number in range(3)]
    assert [register.position(job) for job in (one, *rest)] == [0, 1, 2, 3]
    assert {job.status.step for job in rest} == {jobs.IN_LINE}
    assert register.jobs() == (*reversed(rest), one)
    first.go_on.set()
    assert [over(job).status.state for job in rest] == [State.DONE] * 3
    assert order == [0, 1, 2]


def test_a_waiting_job_is_cancelled_at_once(register: Register, take: Take) -> None:
    first, tidied = Work(take), Tidied()
    running = register.submit(at_once, first)
    waiting = register.submit(at_once, lambda _: pytest.fail("it was cancelled"), tidy=tidied)
    register.cancel(waiting)
    assert (waiting.status.state, tidied.times, waiting.over.is_set()) == (State.CANCELLED, 1, True)
    assert register.position(waiting) == 0
    first.go_on.set()
    assert over(running).status.state is State.DONE
    with pytest.raises(Cancelled):
        waiting.result()


def test_one_that_waits_for_the_host_is_cancelled_at_once(register: Register, take: Take) -> None:
    busy, asked = threading.Event(), threading.Event()

    def turn(progress: Progress, task: jobs.Task) -> Take:
        asked.set()
        assert busy.wait(PATIENCE)
        return task(progress)

    tidied = Tidied()
    job = register.submit(turn, lambda _: pytest.fail("it was cancelled"), tidy=tidied)
    assert asked.wait(PATIENCE)
    assert (job.status.state, register.position(job)) == (State.QUEUED, 1)
    register.cancel(job)
    assert (job.status.state, job.over.is_set(), tidied.times) == (State.CANCELLED, False, 0)
    busy.set()
    assert (over(job).status.state, tidied.times) == (State.CANCELLED, 1)


def test_a_running_job_is_asked_to_stop(register: Register, take: Take) -> None:
    work = Work(take)
    job = register.submit(at_once, work)
    assert work.begun.wait(PATIENCE)
    register.cancel(job)
    found = over(job).status
    assert (found.state, found.take) == (State.CANCELLED, None)
    assert isinstance(found.error, Cancelled)
    assert over(register.submit(at_once, lambda _: take)).status.state is State.DONE


def test_one_that_ended_stays_as_it_is(register: Register, take: Take) -> None:
    job = over(register.submit(at_once, lambda _: take))
    register.cancel(job)
    assert job.status.state is State.DONE


def test_errors_are_kept_without_what_they_came_through(register: Register, take: Take) -> None:
    def work(_: Progress) -> Take:
        raise BadInput("No.", "Yes.")

    job = over(register.submit(at_once, work))
    error = job.status.error
    assert (job.status.state, type(error), str(error)) == (State.FAILED, BadInput, "No. Yes.")
    assert error is not None and error.__traceback__ is None
    with pytest.raises(BadInput, match="No"):
        job.result()
    assert over(register.submit(at_once, lambda _: take)).status.state is State.DONE


def test_what_nobody_foresaw_is_an_error_too(register: Register, caplog: pytest.LogCaptureFixture) -> None:
    def work(_: Progress) -> Take:
        raise ZeroDivisionError("private matters")

    error = over(register.submit(at_once, work)).status.error
    assert error is not None and "ZeroDivisionError" in error.message
    assert "private matters" not in str(error)
    assert "private matters" in caplog.text


def test_progress_never_falls_and_heeds_the_long_stages() -> None:
    job = Job()
    told = [("reading", 1, 1), ("denoising", 0, 4), ("denoising", 2, 4), ("denoising", 4, 4)]
    told += [("drawing frames", 0, 2), ("drawing frames", 1, 2), ("reading", 0, 1), ("drawing frames", 2, 2)]
    seen = []
    for stage, done, total in told:
        job.report(Step(stage, done, total))
        seen.append(round(job.status.progress, 3))
    assert seen == [0, 0, 0.4, 0.8, 0.8, 0.89, 0.89, 0.98]


def test_export_once(register: Register, take: Take, tmp_path: Path) -> None:
    job = over(register.submit(at_once, lambda _: take))
    consent = Consent(face="synthetic", voice="synthetic")
    let_out: Callable[[Take], Exported] = lambda made: export(made, tmp_path / "out.mp4", consent)  # noqa: E731
    exported = job.export(let_out)
    assert job.status.exported is exported
    with pytest.raises(WrongTime, match="already"):
        job.export(let_out)


def test_no_export_before_the_end(register: Register, take: Take) -> None:
    work = Work(take)
    job = register.submit(at_once, work)
    with pytest.raises(WrongTime, match="no finished video"):
        job.export(lambda _: pytest.fail("there is nothing to let out"))
    with pytest.raises(WrongTime):
        job.result()
    with pytest.raises(WrongTime, match="Cancel"):
        register.forget(job)


def test_let_out_as_soon_as_it_is_made(register: Register, take: Take, tmp_path: Path) -> None:
    consent = Consent(face="synthetic", voice="synthetic")
    job = register.submit(
        at_once, lambda _: take, let_out=lambda made: export(made, tmp_path / "out.mp4", consent)
    )
    exported = over(job).status.exported
    assert exported is not None and exported.path.is_file()


def test_one_that_the_gate_refuses_is_done_all_the_same(register: Register, take: Take) -> None:
    def refuse(_: Take) -> Any:
        raise ConsentMissing("No.", "Ask.")

    status = over(register.submit(at_once, lambda _: take, let_out=refuse)).status
    assert (status.state, status.take, status.exported) == (State.DONE, take, None)
    assert isinstance(status.error, ConsentMissing)


def test_a_known_portrait_is_said_to_be_synthetic(register: Register, take: Take) -> None:
    Ledger().remember_synthetic(take.portrait_pixel_sha256, "txt2img")
    assert over(register.submit(at_once, lambda _: take)).status.synthetic is True


def test_a_damaged_ledger_tells_nothing_and_stops_nothing(register: Register, take: Take) -> None:
    ledger = Ledger()
    assert not ledger.is_synthetic(take.portrait_pixel_sha256)
    (ledger.folder / "key").unlink()
    status = over(register.submit(at_once, lambda _: take)).status
    assert (status.state, status.synthetic) == (State.DONE, None)


def test_only_the_newest_are_remembered(take: Take) -> None:
    register = Register(kept=2)
    made = [over(register.submit(at_once, lambda _: take)) for _ in range(4)]
    over(register.submit(at_once, lambda _: take))
    assert register.jobs()[1:] == (made[3], made[2])
    with pytest.raises(NotFound):
        register.find(made[0].id)


def test_a_running_job_is_never_dropped(take: Take) -> None:
    register, work = Register(kept=1), Work(take)
    running = register.submit(at_once, work)
    for _ in range(3):
        register.run(at_once, lambda _: take)
    assert register.find(running.id) is running
    register.stop_all(PATIENCE)


def test_the_line_has_an_end(take: Take) -> None:
    register, work, tidied = Register(waiting=1), Work(take), Tidied()
    register.submit(at_once, work)
    assert work.begun.wait(PATIENCE)
    register.submit(at_once, work)
    with pytest.raises(Busy, match="Too many"):
        register.submit(at_once, work, tidy=tidied)
    assert (tidied.times, len(register.jobs())) == (0, 2)
    register.stop_all(PATIENCE)


def test_forgotten_is_gone_but_its_take_stays(register: Register, take: Take) -> None:
    job = over(register.submit(at_once, lambda _: take))
    register.forget(job)
    assert register.jobs() == ()
    assert Store().load(take.id) == take


def test_those_whose_turn_it_is_go_past_the_line(register: Register, take: Take) -> None:
    work = Work(take)
    register.submit(at_once, work)
    assert register.run(at_once, lambda _: take) is take
    job = register.jobs()[0]
    assert (job.origin, job.status.state) == ("script", State.DONE)
    with pytest.raises(BadInput):
        register.run(at_once, _refuse)
    assert register.jobs()[0].status.state is State.FAILED


@dataclass
class Watcher:
    """A progress of somebody else, such as a browser tab."""

    stop: bool = False
    task_id: str = "task(1)"
    steps: list[Step] = field(default_factory=list)

    def report(self, step: Step) -> None:
        """Remember it."""
        self.steps.append(step)

    def cancelled(self) -> bool:
        """As told."""
        return self.stop


def test_another_progress_is_told_and_may_stop(register: Register, take: Take) -> None:
    def turn(progress: Progress, task: jobs.Task) -> Take:
        seen.append(getattr(progress, "task_id", None))
        return task(progress)

    def work(progress: Progress) -> Take:
        progress.report(Step("drawing frames", 1, 2))
        if progress.cancelled():
            raise Cancelled
        return take

    seen: list[object] = []
    watcher = Watcher()
    assert register.run(turn, work, origin="page", along=watcher) is take
    assert watcher.steps == [Step("drawing frames", 1, 2)] == [register.jobs()[0].status.step]
    assert seen == ["task(1)"]
    with pytest.raises(Cancelled):
        register.run(turn, work, along=Watcher(stop=True))
    assert register.jobs()[0].status.state is State.CANCELLED


def test_one_past_the_line_is_cancelled_from_outside(register: Register, take: Take) -> None:
    def turn(progress: Progress, task: jobs.Task) -> Take:
        register.cancel(register.jobs()[0])
        return task(progress)

    with pytest.raises(Cancelled):
        register.run(turn, lambda _: pytest.fail("it was cancelled"), along=Watcher())


def test_a_take_leads_to_its_job(register: Register, take: Take) -> None:
    job = over(register.submit(at_once, lambda _: take))
    over(register.submit(at_once, _refuse))
    assert register.of_take(take.id) is job
    assert register.of_take("0" * 16) is None


def _refuse(_: Progress) -> Take:
    raise BadInput("No.", "Yes.")


def test_all_are_stopped(take: Take) -> None:
    register = Register()
    made = [register.submit(at_once, Work(take)) for _ in range(3)]
    register.stop_all(PATIENCE)
    assert [job.status.state for job in made] == [State.CANCELLED] * 3
    assert all(job.over.is_set() for job in made)


def test_many_callers_at_once(register: Register, take: Take) -> None:
    def call() -> None:
        made.extend(register.submit(at_once, lambda _: take) for _ in range(5))

    made: list[Job] = []
    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert len({job.id for job in made}) == 40
    assert {over(job).status.state for job in made} == {State.DONE}
