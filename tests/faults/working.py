"""Scenarios of the queue: jobs are submitted, made and exported, and their process is killed on the way.

All but the first make their videos of a clip that was recorded before: what is drawn is drawn by `animating`.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sqlite3
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

from animating import MEDIA, SETTINGS
from exporting import ELSEWHERE, NO_FILE, PRIVATE, TEMPORARY, faults_of, private_left, records, state
from instants import BUSY_SECONDS, in_a_copy
from made_takes import SIDE, record_clip
from trials import EXPIRED, NOTES, OUT_OF_ORDER, Scenario

from sonic_ext import pipeline
from sonic_ext.cli import main as cli
from sonic_ext.errors import BadOutput, SonicError
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Destination, Job, JobSpec, Origin, Queue, State, Worker, exporting
from sonic_ext.jobs.inputs import Staging, staging
from sonic_ext.jobs.submission import specified
from sonic_ext.media.audio import read_speech
from sonic_ext.media.image import read_portrait
from sonic_ext.provenance import certificates
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.recovery import clear_up
from sonic_ext.provenance.store import MASTER_NAME, PREVIEW_NAME, Store
from sonic_ext.provenance.take import Take
from sonic_ext.provenance.watermark import ALGORITHM
from sonic_ext.settings import Settings

AGREED = Consent(face="authorised", voice="synthetic", purpose="a test of faults")
WANTED = Settings.from_mapping(SETTINGS)
CLIP_FRAMES = 5
PATIENCE = 300.0
"""Seconds after which a job counts as stuck."""
UNNEEDED = "input that no job needs"
ENDINGS = "cancelled"
"""Note: how the job stood when `cancel` returned."""
TOLD = "submitted"
"""Note: a line for each job that `submit` returned."""
TROUBLE = "trouble"
"""Note: a traceback of the second process."""
GIVEN_UP = "given up"
"""Note: what the second process told its user."""
SPEECH = "short_en_flite_rms_2s3.wav"
POLL = 0.02


class Work(Scenario):
    """One job, in a thread of the worker, drawn by the preview engine."""

    name = "submit, render, export"
    jobs = 1
    settings = WANTED
    frames = 10
    drawn = True
    in_turn = True
    """One is made when the one before has ended."""
    reports: tuple[str, ...] = ()
    """How those names in `outputs` begin that are no videos'."""

    def prepare(self, place: Path) -> None:
        (place / "home").mkdir(mode=0o700)
        (place / "outputs").mkdir()
        certificates.identity(Store().home)
        Store().check()
        if not self.drawn:
            (place / "clip").mkdir()
            record_clip(place / "clip", WANTED, CLIP_FRAMES)

    def act(self, place: Path) -> None:
        with self.working(place) as worker:
            self.submit(worker, place, range(self.jobs))
            wait_for_all(worker)

    def resume(self, place: Path) -> None:
        clear_up()
        with self.working(place) as worker:
            there = {job.spec.settings.seed for job in worker.queue.jobs()}
            told = set(map(int, _lines(place / NOTES / TOLD)))
            if told - there:
                raise AssertionError(f"job {told - there} was submitted, and is not there")
            wait_for_all(worker)
            for job in worker.queue.jobs()[::-1]:
                self.ask_again(worker, job)
            self.submit(worker, place, set(range(self.jobs)) - there)
            wait_for_all(worker)

    def left(self, place: Path) -> dict[str, int]:
        home, found = place / "home", Counter[str]()
        rows = {record.output_sha256: record for record in records(place) if record.exported_at}
        for path in (place / "outputs").iterdir():
            if not path.name.startswith(self.reports):
                found[TEMPORARY] += path.name.startswith(".")
                found.update(state(path, rows))
        found[NO_FILE] = sum(not (place / "outputs" / row.output_name).is_file() for row in rows.values())
        needed = needed_inputs(home)
        takes = {path.parent.name for path in home.glob("takes/*/take.json")}
        inputs = {path.name for path in home.glob("inputs/*")}
        found[UNNEEDED] = len(inputs - needed)
        found[PRIVATE] = private_left(home, takes) - len(inputs)
        found[ELSEWHERE] = len(list((place / "tmp").iterdir()))
        return dict(found)

    def problems(self, place: Path) -> list[str]:
        jobs = Queue().jobs()[::-1]
        said = [f"ledger: {problem}" for problem in Ledger().problems()]
        asked = {job.spec.settings.seed: job for job in jobs if job.state is not State.FAILED}
        said += [] if len(asked) == self.jobs else [f"{len(asked)} of {self.jobs} were made or cancelled"]
        said += [f"job {number}: {what}" for number, job in asked.items() for what in self.wrong(job)]
        exported = [job.exported.path for job in jobs if job.exported]
        said += [f"{len(exported)} exports of {len(asked)}"] if len(exported) > len(asked) else []
        there = sorted((place / "outputs").glob("*.mp4"))
        said += [] if sorted(exported) == there else [f"{len(there)} videos for {len(exported)} exports"]
        made = {job.take_id for job in jobs if job.take}
        others = {take.id for take in Store().takes()} - made
        said += [f"take {take_id} is no job's" for take_id in others]
        said += ["inputs are left"] if list((place / "home").glob("inputs/*")) else []
        said += [OUT_OF_ORDER] if self.in_turn and not in_order(jobs) else []
        trouble = place / NOTES / TROUBLE
        return said + ([trouble.read_text()] if trouble.exists() else [])

    def outcome(self, place: Path) -> str:
        states = Counter(str(job.state) for job in Queue().jobs())
        return ", ".join(f"{count} {name}" for name, count in sorted(states.items()))

    def wrong(self, job: Job) -> list[str]:
        """What is not as it should be with a job after the next start."""
        rows = [record for record in Ledger().records(take=job.take_id) if record.exported_at]
        if job.state is not State.DONE or job.exported is None:
            return [f"{job.state}, {'not ' if job.exported is None else ''}exported: {job.error}"]
        if len(rows) != 1:
            return [f"exported {len(rows)} times"]
        takes = [] if Store().holds(job.take_id) else [EXPIRED]
        said = [] if job.error is None else [f"done, and yet {job.error}"]
        return [*takes, *said, *faults_of(job.exported.path, rows[0], self.frames)]

    def said(self, place: Path) -> list[str]:
        failed = [job.error for job in Queue().jobs() if job.error and job.state is not State.CANCELLED]
        return [f"{type(error).__name__}: {error}" for error in failed]

    def beside(self, place: Path) -> None:
        """It works off what waits and nobody has."""
        end = time.monotonic() + 10 * BUSY_SECONDS
        with suppress(SonicError), self.working(place) as worker:
            while any(not job.worker for job in worker.queue.jobs(ended=False)) and time.monotonic() < end:
                time.sleep(POLL)

    def submit(self, worker: Worker, place: Path, numbers: Iterable[int]) -> None:
        """Jobs of the same files; the number, as seed, tells them apart."""
        with staging(worker.queue.home) as staged:
            for number in numbers:
                worker.submit(self.specified(worker, staged, place, number), staged)
                tell(place / NOTES / TOLD, str(number))

    def ask_again(self, worker: Worker, job: Job) -> None:
        """As its user does who was told that it failed, or that it was made and could not be exported."""
        held = Store().holds(job.take_id)
        if job.state is State.DONE and job.exported is None and job.spec.export is not None and held:
            exporting.export(worker.queue, job.id, job.spec.export)
        elif job.state is State.FAILED or (job.state is State.DONE and not held and job.exported is None):
            with staging(worker.queue.home) as staged:
                for each, name in ((job.spec.portrait, "portrait_01.jpg"), (job.spec.audio, SPEECH)):
                    assert staged.copy(MEDIA / name) == each
                worker.submit(job.spec, staged)

    def specified(self, worker: Worker, staged: Staging, place: Path, number: int) -> JobSpec:
        """A job that is to be exported into `outputs`."""
        return specified(
            worker.host,
            staged,
            origin=Origin.API,
            portrait=staged.copy(MEDIA / "portrait_01.jpg"),
            audio=staged.copy(MEDIA / SPEECH),
            settings=replace(self.settings, seed=number),
            export=self.destination(place),
            look=False,
        )

    def destination(self, place: Path) -> Destination | None:
        """Where it goes as soon as it is made."""
        return Destination(AGREED, folder=str(place / "outputs"))

    @contextmanager
    def working(self, place: Path) -> Iterator[Worker]:
        """A worker of this process, closed afterwards."""
        if not self.drawn:
            pipeline.animate = recorded(place / "clip")
        with Worker(Standalone(place / "outputs")) as worker:
            yield worker
            worker.close(PATIENCE)


class InTheCallersThread(Work):
    """As the command line and the script do it."""

    name = "submit and carry out in one thread"
    frames = CLIP_FRAMES
    drawn = False

    def act(self, place: Path) -> None:
        with self.working(place) as worker, staging(worker.queue.home) as staged:
            worker.run(self.specified(worker, staged, place, 0), staged)


class Command(Work):
    """`sonic animate`, and the same command again."""

    name = "command, and the same again"
    frames = CLIP_FRAMES
    drawn = False

    def act(self, place: Path) -> None:
        self._command(place)

    def beside(self, place: Path) -> None:
        with suppress(SonicError):
            self._command(place)

    def resume(self, place: Path) -> None:
        clear_up()
        there = (place / "outputs" / "x.mp4").exists()
        with suppress(BadOutput) if there else nullcontext():  # it exists already
            self._command(place)

    def _command(self, place: Path) -> None:
        pipeline.animate = recorded(place / "clip")
        words = ["animate", MEDIA / "portrait_01.jpg", MEDIA / SPEECH]
        words += ["-o", place / "outputs" / "x.mp4", "--consent-face", "synthetic"]
        words += ["--consent-voice", "synthetic"]
        words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        run_command(words)


class Waiting(Work):
    """The second waits while the first is made."""

    name = "two jobs in order"
    jobs = 2
    frames = CLIP_FRAMES
    drawn = False


class Cancelled(Work):
    """Three jobs share their files, and the second is cancelled."""

    name = "three jobs, one cancelled"
    jobs = 3
    frames = CLIP_FRAMES
    drawn = False

    def act(self, place: Path) -> None:
        with self.working(place) as worker:
            self.submit(worker, place, range(self.jobs))
            tell(place / NOTES / ENDINGS, str(worker.queue.cancel(second(worker.queue).id).state))
            wait_for_all(worker)

    def problems(self, place: Path) -> list[str]:
        said = super().problems(place)
        job, told = second(Queue()), _lines(place / NOTES / ENDINGS)
        if told == [str(State.CANCELLED)] and job.state is not State.CANCELLED:
            said.append(f"it was cancelled, and is {job.state}")
        if told == [str(State.DONE)] and job.state is not State.DONE:
            said.append(f"it was done, and is {job.state}")
        return said

    def wrong(self, job: Job) -> list[str]:
        if job.id != second(Queue()).id or job.state is not State.CANCELLED:
            return super().wrong(job)
        out = [record for record in Ledger().records(take=job.take_id) if record.exported_at]
        return ["cancelled, and yet exported"] if out or job.exported else []


class KilledAgain(Work):
    """The process before was killed; now the one that goes on is killed, too."""

    jobs = 2
    frames = CLIP_FRAMES
    drawn = False

    def prepare(self, place: Path) -> None:
        in_a_copy(lambda: super(KilledAgain, self).prepare(place))
        in_a_copy(lambda: self._begin_and_die(place))

    def act(self, place: Path) -> None:
        with self.working(place) as worker:
            wait_for_all(worker)

    def _begin_and_die(self, place: Path) -> None:
        self.die()
        super().act(place)

    def die(self) -> None:
        """See to it that this process does not live past a certain point."""
        raise NotImplementedError


class KilledBehindTheGate(KilledAgain):
    name = "next start after a kill behind the gate"

    def die(self) -> None:
        Queue.record_export = dying  # type: ignore[method-assign]


class KilledWithATake(KilledAgain):
    name = "next start after a kill between take and queue"

    def die(self) -> None:
        Queue.record_take = dying  # type: ignore[method-assign]


class KilledHalfway(KilledAgain):
    name = "next start after a kill while it is made"

    def die(self) -> None:
        Store.create = dying  # type: ignore[method-assign,assignment]


class KilledAtTheGate(KilledAgain):
    """With the video in its place and the ledger without its row."""

    name = "next start after a kill inside the gate"

    def die(self) -> None:
        exporting_in_ledger = Ledger.exporting

        @contextmanager
        def moved(self: Ledger, *given: Any) -> Iterator[None]:
            with exporting_in_ledger(self, *given):
                yield
                dying()

        Ledger.exporting = moved  # type: ignore[method-assign,assignment]


class ByHand(Work):
    """A job that is done is exported by hand."""

    name = "export by hand"
    frames = CLIP_FRAMES
    drawn = False

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        super().act(place)

    def act(self, place: Path) -> None:
        self._export(place)

    def resume(self, place: Path) -> None:
        super().resume(place)
        job = Queue().jobs()[0]
        if job.exported is None:
            self._export(place)

    def destination(self, place: Path) -> Destination | None:
        return None

    def _export(self, place: Path) -> None:
        queue = Queue()
        to = Destination(AGREED, folder=str(place / "outputs"))
        exporting.export(queue, queue.jobs()[0].id, to)


class TwoProcesses(Work):
    """Another process works on the same queue; where the first one is killed, the other does all of it."""

    name = "two processes"
    jobs = 3
    frames = CLIP_FRAMES
    drawn = False
    in_turn = False

    def act(self, place: Path) -> None:
        first = os.getpid()
        other = os.fork()
        if not other:
            self._go_on(place, first)
        with self.working(place) as worker:
            self.submit(worker, place, range(self.jobs))
            wait_for_all(worker)
        os.waitpid(other, 0)

    def _go_on(self, place: Path, first: int) -> None:
        """The other process: ends when the first one is gone or done, and no job waits."""
        try:
            with self.working(place) as worker:
                while os.getppid() == first and len(_lines(place / NOTES / TOLD)) < self.jobs:
                    time.sleep(POLL)
                for job in worker.queue.jobs()[::-1]:
                    while not worker.queue.wait(job.id, 0.1).state.ended:
                        worker.queue.recover()
                        worker.wake()
        except SonicError as error:
            tell(place / NOTES / GIVEN_UP, str(error))
        except BaseException:
            tell(place / NOTES / TROUBLE, traceback.format_exc())
        os._exit(0)


WORKING = (
    Work,
    InTheCallersThread,
    Command,
    Waiting,
    Cancelled,
    KilledBehindTheGate,
    KilledWithATake,
    KilledHalfway,
    KilledAtTheGate,
    ByHand,
    TwoProcesses,
)


def wait_for_all(worker: Worker) -> None:
    """Until every job has ended."""
    for job in worker.queue.jobs()[::-1]:
        if not worker.queue.wait(job.id, PATIENCE).state.ended:
            raise AssertionError(f"a job is stuck: {worker.queue.find(job.id).state}")


def recorded(clip: Path) -> Callable[..., Take]:
    """In place of `pipeline.animate`: the take's files are those of a clip."""

    def animate(
        portrait: Any, audio: Any, settings: Settings, *, store: Store, seed: int, take_id: str, **_: Any
    ) -> Take:
        clear_up(store.home)
        store.check()
        with store.new_take(take_id) as (made, folder):
            for name in (MASTER_NAME, PREVIEW_NAME):
                shutil.copyfile(clip / name, folder / name)
            return store.create(
                made,
                portrait if not isinstance(portrait, Path) else read_portrait(portrait),
                audio if not isinstance(audio, Path) else read_speech(audio),
                settings=settings,
                engine="preview",
                engine_version="0",
                seed=seed,
                frames=CLIP_FRAMES,
                size=(SIDE, SIDE),
                warnings=(),
                sync_offset=None,
                created=datetime.now(timezone.utc),
                mark_algorithm=ALGORITHM,
                mark=None,
                perceptual_hash="",
            )

    return animate


def run_command(words: Iterable[object]) -> None:
    """`sonic …`.

    Raises:
        SonicError: what it told its user, in one line.
    """
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        code = cli.main([str(word) for word in words])
    if code:
        last = said.getvalue().strip().splitlines()[-1]
        raise (BadOutput if code == BadOutput.exit_code else SonicError)(last, f"It ended with {code}.")


def dying(*_: Any, **__: Any) -> None:
    """In place of the next step."""
    os.kill(os.getpid(), signal.SIGKILL)


def second(queue: Queue) -> Job:
    """The job that is cancelled."""
    return queue.jobs()[-2]


def in_order(jobs: tuple[Job, ...]) -> bool:
    """Whether each of those that were made began when the one before had ended."""
    made = [job for job in jobs if job.state is State.DONE and job.began and job.ended]
    return all(one.ended <= next_one.began for one, next_one in pairwise(made))  # type: ignore[operator]


def needed_inputs(home: Path) -> set[str]:
    """Read from a copy: looking must not mend anything."""
    if not (home / "jobs").is_dir():
        return set()
    with tempfile.TemporaryDirectory(dir=home.parent) as copy:
        shutil.copytree(home / "jobs", Path(copy) / "jobs")
        with closing(sqlite3.connect(Path(copy) / "jobs" / "queue.sqlite3")) as db:
            return {name for (name,) in db.execute("SELECT name FROM inputs")}


def tell(file: Path, line: str) -> None:
    """Add a line that is still there after a kill."""
    with file.open("a") as writing:
        writing.write(f"{line}\n")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
