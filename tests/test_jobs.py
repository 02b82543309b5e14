"""Jobs: specs, workers, exports, and what is left when a process ends in the middle."""

from __future__ import annotations

import json
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from made_jobs import LANE, finished, killed, some_spec, stored_names, submitted
from patience import PATIENCE, until
from spoken import one_minute

from sonic_ext import pipeline
from sonic_ext.errors import (
    BadAudio,
    BadInput,
    BadOutput,
    BadPortrait,
    BadSetting,
    ConsentExpired,
    ConsentMissing,
    ConsentRevoked,
    Failed,
    MissingPart,
    NoFace,
    NotFound,
    SonicError,
    WrongTime,
)
from sonic_ext.files.locks import held
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import (
    Destination,
    ExportedFile,
    Input,
    Job,
    JobSpec,
    Origin,
    PortraitRequest,
    Queue,
    State,
    Worker,
    exporting,
    making,
    submission,
)
from sonic_ext.jobs import queue as queues
from sonic_ext.jobs.database import NAME
from sonic_ext.jobs.inputs import Staging, staging
from sonic_ext.jobs.submission import require_same_weights, specified
from sonic_ext.jobs.worker import JobProgress
from sonic_ext.media.image import Portrait
from sonic_ext.ports import Host, MadePortrait
from sonic_ext.progress import Progress, Stage, Step
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take
from sonic_ext.settings import Settings

EXAMPLE = Path(__file__).parents[1] / "sonic_ext" / "assets" / "example"
QUICK = Settings(
    engine="preview",
    min_resolution=256,
    framing="crop",
    duration=0.4,
    duration_policy="trim",
    lip_sync_calibration=False,
)
AGREED = Consent(face="synthetic", voice="synthetic", purpose="a test")
ENDED = date(2020, 1, 1)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """An empty folder for exports."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


@pytest.fixture
def host(outputs: Path) -> Standalone:
    """One that makes one video at a time."""
    return Standalone(outputs)


@pytest.fixture
def worker(host: Standalone, sonic_home: Path) -> Iterator[Worker]:
    """Whose threads are gone at the end."""
    with Worker(host) as made:
        yield made
        made.close(PATIENCE)


def asked(
    host: Host,
    staged: Staging,
    *,
    audio: Path | None = None,
    export: Destination | None = None,
    **more: Any,
) -> JobSpec:
    """A job of ten frames."""
    return specified(
        host,
        staged,
        origin=Origin.API,
        portrait=more.pop("portrait", None) or staged.copy(EXAMPLE / "portrait.jpg"),
        audio=staged.copy(audio or EXAMPLE / "speech.wav"),
        settings=more.pop("settings", QUICK),
        export=export,
        **more,
    )


def begun(worker: Worker, **more: Any) -> Job:
    """Such a job, in the queue."""
    with staging(worker.queue.home) as staged:
        return worker.submit(asked(worker.host, staged, **more), staged)


class TestSpec:
    """What is asked for, as JSON."""

    def test_there_and_back(self, queue: Queue) -> None:
        consent = Consent(face="authorised", voice="self", expires=date(2030, 1, 2), contact="a@b.example")
        with staging(queue.home) as staged:
            evidence = staged.write("form.pdf", b"signed")
            to = Destination(consent, evidence, "ab" * 32, path="/somewhere/out.mp4", overwrite=True)
            one = some_spec(staged, export=to)
            words = PortraitRequest(
                "img2img", {"prompt": "a face", "steps": 5}, staged.write("source", b"start")
            )
            two = replace(one, origin=Origin.SCRIPT, portrait=words, weights={"unet": "ab"}, export=None)
        for spec in (one, two):
            text = json.dumps(spec.to_dict(), allow_nan=False)
            assert JobSpec.from_dict(json.loads(text)) == spec
        assert {each.name for each in one.inputs} == {"face.png", "voice.wav", "form.pdf"}
        assert {each.name for each in two.inputs} == {"source", "voice.wav"}

    @pytest.mark.parametrize("change", [{"version": 3}, {"version": None}, {"audio": None}, {"origin": "?"}])
    def test_what_cannot_be_read_is_said(self, queue: Queue, change: dict[str, Any]) -> None:
        with staging(queue.home) as staged:
            values = some_spec(staged).to_dict()
        with pytest.raises(BadInput, match="job"):
            JobSpec.from_dict(values | change)

    @pytest.mark.parametrize(
        "change",
        [{"sha256": "../../x"}, {"sha256": "AB" * 32}, {"name": "../a.wav"}, {"name": ""}, {"sha256": 7}],
    )
    def test_an_input_is_named_by_its_hash(self, queue: Queue, change: dict[str, Any]) -> None:
        with queue.staging() as staged:
            values = some_spec(staged).to_dict()
        with pytest.raises(BadInput, match="damaged"):
            JobSpec.from_dict(values | {"audio": values["audio"] | change})

    def test_the_digest_is_of_what_decides(self, queue: Queue) -> None:
        with staging(queue.home) as staged:
            spec = some_spec(staged)
            renamed = staged.write("other.wav", b"0")
            same = [
                replace(spec, origin=Origin.CLI),
                replace(spec, seed=8),
                replace(spec, audio=replace(renamed, name="other.wav")),
            ]
            other = [
                some_spec(staged, 1),
                replace(spec, settings=Settings(fps=50)),
                replace(spec, engine="sonic"),
                replace(spec, weights={"unet": "1:2"}),
                replace(spec, export=Destination(AGREED, folder="/out")),
                replace(spec, portrait=PortraitRequest("txt2img", {"prompt": "a face"})),
            ]
        assert {each.digest for each in same} == {spec.digest}
        assert len({each.digest for each in (spec, *other)}) == 1 + len(other)


class TestSubmission:
    """What is wrong is said at once."""

    def test_the_engine_and_the_seed_are_decided(self, host: Standalone, sonic_home: Path) -> None:
        with staging(sonic_home) as staged:
            spec = asked(host, staged, settings=replace(QUICK, engine="auto"))
            again = asked(host, staged, settings=replace(QUICK, engine="auto"))
        assert (spec.engine, spec.settings.engine, spec.settings.seed) == ("preview", "auto", -1)
        assert 0 <= spec.seed < 2**32
        assert spec.seed != again.seed
        assert spec.digest == again.digest

    @pytest.mark.parametrize(
        ("portrait", "audio", "settings", "error"),
        [
            (b"no picture", None, QUICK, BadPortrait),
            (None, b"no sound", QUICK, BadAudio),
            (None, None, replace(QUICK, duration=9.0, duration_policy="exact"), BadSetting),
            (None, None, replace(QUICK, engine="sonic"), MissingPart),
        ],
    )
    def test_refused(
        self,
        host: Standalone,
        sonic_home: Path,
        portrait: bytes | None,
        audio: bytes | None,
        settings: Settings,
        error: type[SonicError],
    ) -> None:
        with staging(sonic_home) as staged, pytest.raises(error):
            specified(
                host,
                staged,
                origin=Origin.API,
                portrait=staged.write("p.png", portrait or (EXAMPLE / "portrait.jpg").read_bytes()),
                audio=staged.write("a.wav", audio) if audio else staged.copy(EXAMPLE / "speech.wav"),
                settings=settings,
            )

    def test_a_picture_without_a_face(self, host: Standalone, sonic_home: Path) -> None:
        import io

        from PIL import Image

        grey = io.BytesIO()
        Image.new("RGB", (300, 300), "grey").save(grey, "PNG")
        with staging(sonic_home) as staged, pytest.raises(NoFace):
            asked(host, staged, portrait=staged.write("grey.png", grey.getvalue()))

    def test_consent(self, host: Standalone, sonic_home: Path) -> None:
        with staging(sonic_home) as staged:
            with pytest.raises(ConsentExpired):
                asked(host, staged, export=Destination(replace(AGREED, expires=ENDED), folder="/o"))
            with pytest.raises(ConsentMissing):
                asked(host, staged, export=Destination(AGREED, portrait_sha256="ab" * 32, folder="/o"))
            Ledger().revoke(staged.copy(EXAMPLE / "portrait.jpg").sha256)
            with pytest.raises(ConsentRevoked):
                asked(host, staged)

    def test_words_need_a_webui(self, host: Standalone, sonic_home: Path) -> None:
        with staging(sonic_home) as staged, pytest.raises(MissingPart, match="txt2img"):
            asked(host, staged, portrait=PortraitRequest("txt2img", {"prompt": "a face"}))


class TestAfterAKill:
    """What a process leaves that is gone."""

    def test_a_job_goes_back_to_its_place(self, queue: Queue) -> None:
        first, second = submitted(queue), submitted(queue, 1)
        killed(queue, first)
        queue.recover()
        assert [queue.position(job) for job in (first, second)] == [1, 2]
        found = queue.find(first.id)
        assert (found.state, found.worker, found.take_id) == (State.QUEUED, "", first.take_id)
        assert len(stored_names(queue.home)) == 3

    def test_a_living_worker_keeps_its_job(self, worker: Worker) -> None:
        submitted(worker.queue, worker=worker.id)
        worker.queue.recover()
        assert worker.queue.jobs()[0].worker == worker.id

    def test_what_another_process_leaves_goes_on_while_nothing_else_is_asked_for(
        self, host: Standalone, sonic_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sonic_ext.jobs.worker.RECOVER_EVERY", 0.0)
        monkeypatch.setattr("sonic_ext.jobs.worker.RETRY_SECONDS", 0.01)
        queue = Queue()
        with staging(queue.home) as staged:
            job = queue.submit(asked(host, staged), staged, lane=host.lane)
        with queue.alone(queues.lease_of("other")) as alive:
            assert alive and queue.claim("other", host.lane) is not None
            worker = Worker(host, queue)
            worker.start()
            assert not queue.find(job.id).state.ended
        with worker:
            assert queue.wait(job.id, PATIENCE).state is State.DONE

    @pytest.mark.parametrize("what", ["jobs/worker-{worker}", "jobs/export-{job}", "takes/{take}"])
    def test_who_only_looks_at_a_lock_is_in_nobodys_way(
        self, host: Standalone, outputs: Path, sonic_home: Path, what: str
    ) -> None:
        """Another process that starts takes it for a moment."""
        worker = Worker(host)
        with staging(sonic_home) as staged:
            spec = asked(host, staged, export=Destination(AGREED, folder=str(outputs)))
            job = worker.queue.submit(spec, staged, lane=host.lane)
        path = sonic_home / what.format(worker=worker.id, job=job.id, take=job.take_id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as looking:
            assert looking.enter_context(held(path))
            threading.Timer(0.5, looking.pop_all().close).start()
            with worker:
                done = worker.queue.wait(job.id, PATIENCE)
        assert (done.state, done.error) == (State.DONE, None)
        assert done.exported is not None

    def test_who_lost_a_job_cannot_end_it(self, queue: Queue, take: Take) -> None:
        lost = killed(queue, submitted(queue))
        queue.recover()
        again = queue.claim("other", LANE)
        assert again is not None
        queue.begin(again)
        assert queue.report(lost, Step("drawing frames", 1, 2), 0.1).requested
        with pytest.raises(WrongTime):
            queue.record_take(lost, take, None)
        with pytest.raises(WrongTime):
            queue.finish(lost)
        queue.fail(lost, Failed("Too late.", "Never mind."))
        assert queue.find(lost.id).state is State.RUNNING

    def test_who_lost_a_job_reports_nothing_more(self, queue: Queue) -> None:
        lost = killed(queue, submitted(queue))
        queue.recover()
        killed(queue, lost)  # by another
        with closing(sqlite3.connect(queue.home / "jobs" / NAME)) as db, db:
            db.execute("UPDATE jobs SET worker = 'another'")
        db.close()
        assert queue.report(lost, Step("drawing frames", 1, 2), 0.5).requested
        queue.release(lost)
        found = queue.find(lost.id)
        assert (found.state, found.step.stage) == (State.RUNNING, "starting")

    def test_who_lost_a_job_that_was_deleted(self, queue: Queue) -> None:
        lost = killed(queue, submitted(queue))
        queue.recover()
        queue.cancel(lost.id)
        queue.forget(lost.id)
        assert queue.report(lost, Step("drawing frames", 1, 2), 0.5).requested
        queue.release(lost)
        queue.fail(lost, Failed("Too late.", "Never mind."))

    def test_a_job_that_was_not_begun_keeps_its_attempts(self, queue: Queue) -> None:
        killed(queue, submitted(queue))
        queue.recover()
        claimed = queue.claim("w", LANE)
        assert claimed is not None
        queue.release(claimed)
        assert queue.find(claimed.id).attempts == 1

    def test_a_job_that_kills_is_given_up(self, queue: Queue) -> None:
        job = submitted(queue)
        for _ in range(queues.MAX_ATTEMPTS):
            assert queue.find(job.id).state is State.QUEUED
            killed(queue, job)
            queue.recover()
        found = queue.find(job.id)
        assert (found.state, type(found.error)) == (State.FAILED, Failed)
        assert stored_names(queue.home) == set()

    def test_one_that_gets_further_each_time_is_not(self, queue: Queue) -> None:
        job = submitted(queue)
        for attempt in range(2 * queues.MAX_ATTEMPTS):
            queue.report(killed(queue, job), Step("denoising", attempt, 9), 0.1 * (attempt + 1))
            queue.recover()
        assert queue.find(job.id).state is State.QUEUED

    def test_stopped_before_the_kill(self, queue: Queue) -> None:
        job = killed(queue, submitted(queue))
        queue.cancel(job.id)
        queue.recover()
        assert queue.find(job.id).state is State.CANCELLED

    def test_a_webui_asks(self, queue: Queue, outputs: Path) -> None:
        with staging(queue.home) as staged:
            page = replace(some_spec(staged), origin=Origin.PAGE)
            by_page = queue.submit(page, staged, lane=LANE)
        by_api = submitted(queue, 1)
        queue.recover()
        queue.hold(LANE, [Origin.PAGE, Origin.SCRIPT])
        assert [queue.position(queue.find(job.id)) for job in (by_page, by_api)] == [0, 1]
        claimed = queue.claim("w", LANE)
        assert claimed and claimed.id == by_api.id
        assert queue.claim("w", LANE) is None
        assert queue.find(by_page.id).held
        queue.resume(by_page.id)
        claimed = queue.claim("w", LANE)
        assert claimed and claimed.id == by_page.id

    def test_only_what_is_held_goes_on(self, queue: Queue) -> None:
        """Two pages may ask about the same job."""
        job = killed(queue, submitted(queue))
        step = queue.find(job.id).step
        assert queue.resume(job.id).step == step
        with pytest.raises(NotFound):
            queue.resume("0" * 32)

    def test_another_webui_is_not_asked_about(self, queue: Queue, worker: Worker) -> None:
        """What waits behind a job that is being made was not interrupted."""
        submitted(queue, worker=worker.id)
        waiting = submitted(queue, 1)
        queue.recover()
        queue.hold(LANE, [Origin.API])
        assert not queue.find(waiting.id).held

    def test_the_same_command_goes_on_with_it(self, queue: Queue) -> None:
        job = submitted(queue)
        killed(queue, job)
        queue.recover()
        (found,) = queue.find_by_digest(job.spec.digest)
        taken = queue.adopt(found.id, "again")
        assert taken and (taken.id, taken.worker) == (job.id, "again")
        assert queue.adopt(found.id, "a third") is None


class Painter:
    """Stands in for a WebUI's txt2img: paints the shipped portrait, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def samplers(self) -> Sequence[str]:
        """One."""
        return ["Euler"]

    def check(self, parameters: Mapping[str, Any], source: bytes | None) -> None:
        """Everything goes."""

    def make(
        self, parameters: Mapping[str, Any], source: bytes | None, progress: Progress
    ) -> Sequence[MadePortrait]:
        """The shipped portrait."""
        self.times += 1
        return [MadePortrait((EXAMPLE / "portrait.jpg").read_bytes(), "a portrait", True)]


class TestWorker:
    """Real videos, of ten frames."""

    def test_made_and_exported(self, worker: Worker, outputs: Path) -> None:
        job = begun(worker, export=Destination(AGREED, folder=str(outputs)))
        done = worker.queue.wait(job.id, PATIENCE)
        assert (done.state, done.error) == (State.DONE, None)
        assert done.exported is not None
        assert [path.name for path in outputs.iterdir()] == [done.exported.path.name]
        (record,) = Ledger().records(take=job.take_id)
        assert (record.id, record.purpose) == (done.exported.record, "a test")
        until(lambda: not stored_names(worker.queue.home))  # just after the end is on the disk
        assert Store().load(job.take_id).seed == job.spec.seed

    def test_one_after_the_other(self, worker: Worker) -> None:
        jobs = [begun(worker, settings=replace(QUICK, seed=number)) for number in range(3)]
        done = [worker.queue.wait(job.id, PATIENCE) for job in jobs]
        assert [job.state for job in done] == [State.DONE] * 3
        spans = [(job.began, job.ended) for job in done]
        assert all(before[1] <= after[0] for before, after in pairwise(spans))  # type: ignore[operator]

    def test_as_many_at_a_time_as_there_are_slots(self, outputs: Path, sonic_home: Path) -> None:
        both = threading.Barrier(2, timeout=PATIENCE)

        class Meeting(Standalone):
            def work(self, progress: Progress, task: Callable[[Progress], Any]) -> Any:
                return super().work(progress, lambda shown: (both.wait(), task(shown))[1])

        with Worker(Meeting(outputs, slots=2)) as worker:
            jobs = [begun(worker, settings=replace(QUICK, seed=number)) for number in range(2)]
            assert [worker.queue.wait(job.id, PATIENCE).state for job in jobs] == [State.DONE] * 2

    def test_refused_at_the_gate_is_done_all_the_same(self, worker: Worker, outputs: Path) -> None:
        (outputs / "there.mp4").write_bytes(b"somebody's")
        job = begun(worker, export=Destination(AGREED, path=str(outputs / "there.mp4")))
        done = worker.queue.wait(job.id, PATIENCE)
        assert (done.state, done.exported) == (State.DONE, None)
        assert done.error is not None and "exists already" in done.error.message
        assert (outputs / "there.mp4").read_bytes() == b"somebody's"

    def test_closed_and_opened_again(self, host: Standalone, sonic_home: Path, tmp_path: Path) -> None:
        minute = one_minute(tmp_path / "minute.wav")
        with Worker(host) as worker:
            job = begun(worker, audio=minute, settings=replace(QUICK, duration=None))
            until(lambda: worker.queue.find(job.id).state is State.RUNNING)
            worker.close(PATIENCE)
        left = Queue().find(job.id)
        assert (left.state, left.worker, left.attempts) == (State.QUEUED, "", 0)
        with Worker(host) as worker:
            until(lambda: worker.queue.find(job.id).state is State.RUNNING)
            worker.queue.cancel(job.id)
            assert worker.queue.wait(job.id, PATIENCE).state is State.CANCELLED
            worker.close(PATIENCE)
        assert Store().takes() == ()
        until(lambda: not stored_names(sonic_home))  # just after the end is on the disk

    def test_revoked_while_it_waits(self, host: Standalone, sonic_home: Path) -> None:
        with staging(sonic_home) as staged:
            spec = asked(host, staged)
            job = Queue().submit(spec, staged, lane=host.lane)
        Ledger().revoke(spec.portrait.sha256)  # type: ignore[union-attr]
        with Worker(host) as worker:
            done = worker.queue.wait(job.id, PATIENCE)
        assert (done.state, type(done.error)) == (State.FAILED, ConsentRevoked)
        assert Store().takes() == ()

    def test_consent_that_ends_while_it_waits(
        self, host: Standalone, outputs: Path, sonic_home: Path
    ) -> None:
        with staging(sonic_home) as staged:
            spec = asked(host, staged)
            ended = Destination(replace(AGREED, expires=ENDED), folder=str(outputs))
            job = Queue().submit(replace(spec, export=ended), staged, lane=host.lane)
        with Worker(host) as worker:
            done = worker.queue.wait(job.id, PATIENCE)
        assert (done.state, type(done.error)) == (State.FAILED, ConsentExpired)

    def test_sound_that_is_exchanged_while_it_is_made(
        self, host: Standalone, sonic_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        animate = pipeline.animate

        def exchanging(portrait: Portrait, audio: Path, *given: Any, **named: Any) -> Take:
            audio.write_bytes(Path(EXAMPLE / "speech.wav").read_bytes() + b"more")
            return animate(portrait, audio, *given, **named)

        monkeypatch.setattr(pipeline, "animate", exchanging)
        with Worker(host) as worker:
            done = worker.queue.wait(begun(worker).id, PATIENCE)
        assert (done.state, type(done.error)) == (State.FAILED, Failed)
        assert Store().takes() == ()

    def test_other_weights_than_it_was_submitted_with(
        self, host: Standalone, sonic_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = {"unet": "the one", "vae": "the other"}
        monkeypatch.setattr(submission, "weight_identities", lambda engine, settings, host: dict(found))
        with staging(sonic_home) as staged:
            spec = asked(host, staged)
        require_same_weights(spec, host)
        found["vae"] = "exchanged"
        with pytest.raises(BadInput, match="exchanged since the job was submitted: vae"):
            require_same_weights(spec, host)
        del found["vae"]
        with pytest.raises(MissingPart, match="not found here: vae"):
            require_same_weights(spec, host)

    def test_a_portrait_is_generated_once(self, host: Standalone, sonic_home: Path) -> None:
        painter = host.portraits = Painter()
        with Worker(host) as worker:
            with staging(sonic_home) as staged:
                spec = asked(host, staged, portrait=PortraitRequest("txt2img", {"prompt": "a face"}))
                job = worker.queue.submit(spec, staged, lane="elsewhere")
            claimed = killed(worker.queue, job)
            kept = making._make_portrait(worker.queue, claimed, host, Report())
            worker.queue.recover()
            assert worker.queue.input(kept).is_file()
            again = worker.adopt(job.id)
        assert again is not None
        assert (again.state, again.infotext, painter.times) == (State.DONE, "a portrait", 1)
        until(lambda: not stored_names(sonic_home))  # just after the end is on the disk

    def test_a_finished_take_is_not_made_again(
        self, worker: Worker, outputs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed between the take and the queue's row."""
        with staging(worker.queue.home) as staged:
            spec = asked(worker.host, staged, export=Destination(AGREED, folder=str(outputs)))
            job = worker.queue.submit(spec, staged, lane="elsewhere")
        claimed = worker.queue.claim("gone", "elsewhere")
        assert claimed is not None
        making._make_take(worker.queue, claimed, worker.host, Report(), threads=0, animate=None)
        made = Store().load(job.take_id)
        worker.queue.recover()
        again = worker.adopt(job.id)
        assert again is not None
        assert (again.state, again.take) == (State.DONE, made)
        assert Store().takes() == (made,)
        assert len(list(outputs.iterdir())) == 1

    def test_an_export_is_not_done_again(
        self, host: Standalone, outputs: Path, sonic_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed between the gate and the queue's row. No thread of the worker takes the job before us."""
        worker = Worker(host, threaded=False)

        def dies(self: Queue, job: Job, file: ExportedFile) -> None:
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(Queue, "record_export", dies)
            patch.setattr(Queue, "requeue", lambda self, job: None)
            with staging(worker.queue.home) as staged, pytest.raises(SystemExit):
                spec = asked(worker.host, staged, export=Destination(AGREED, folder=str(outputs)))
                worker.run(spec, staged)
        (job,) = worker.queue.jobs()
        assert (job.state, job.exported) == (State.RUNNING, None)
        worker.queue._requeue(worker.id)
        again = worker.adopt(job.id)
        assert again is not None and again.exported is not None
        (record,) = Ledger().records(take=job.take_id)
        assert (again.state, again.exported.record) == (State.DONE, record.id)
        assert [path.name for path in outputs.iterdir()] == [record.output_name]
        worker.close()


class TestWorkerThatEnds:
    """Closed, interrupted, or unable to say what came of a job."""

    @pytest.fixture
    def job(self, host: Standalone, sonic_home: Path) -> Job:
        """One that waits."""
        with staging(sonic_home) as staged:
            return Queue().submit(asked(host, staged), staged, lane=host.lane)

    def test_it_keeps_its_lease_while_a_caller_works(self, outputs: Path, sonic_home: Path) -> None:
        begun, end = threading.Event(), threading.Event()

        class Slow(Standalone):
            def work(self, progress: Progress, task: Callable[[Progress], Any]) -> Any:
                begun.set()
                assert end.wait(PATIENCE)
                return super().work(progress, task)

        worker, came = Worker(Slow(outputs)), []

        def run() -> None:
            with staging(sonic_home) as staged:
                came.append(worker.run(asked(worker.host, staged), staged))

        caller = threading.Thread(target=run)
        caller.start()
        assert begun.wait(PATIENCE)
        worker.close()
        Queue().recover()
        assert Queue().jobs()[0].worker == worker.id
        end.set()
        caller.join(PATIENCE)
        assert (came[0].state, came[0].worker) == (State.QUEUED, "")
        with Queue().alone(queues.lease_of(worker.id)) as free:
            assert free

    @pytest.mark.parametrize(
        ("problem", "state"), [(KeyboardInterrupt, State.CANCELLED), (SystemExit, State.QUEUED)]
    )
    def test_interrupted(
        self,
        job: Job,
        host: Standalone,
        problem: type[BaseException],
        state: State,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def ends(*_: object, **__: object) -> None:
            raise problem

        monkeypatch.setattr(pipeline, "animate", ends)
        with Worker(host, threaded=False) as worker, pytest.raises(problem):
            worker.adopt(job.id)
        assert Queue().find(job.id).state is state

    @pytest.mark.parametrize("broken", [("finish", "requeue"), ("claim",), ("record_take",), ("finish",)])
    def test_a_queue_that_cannot_be_written_for_a_while(
        self, job: Job, host: Standalone, broken: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = {name: getattr(Queue, name) for name in broken}
        left = set(broken)

        def full(name: str) -> Callable[..., Any]:
            def once(*given: Any, **named: Any) -> Any:
                if name in left:
                    left.remove(name)
                    raise BadOutput("The disk is full.", "Make room.")
                return real[name](*given, **named)

            return once

        for name in broken:
            monkeypatch.setattr(Queue, name, full(name))
        monkeypatch.setattr("sonic_ext.jobs.worker.RETRY_SECONDS", 0.01)
        with Worker(host) as worker:
            until(lambda: not left)
            assert worker.queue.wait(job.id, PATIENCE).state is State.DONE
            worker.close(PATIENCE)
        assert len(Store().takes()) == 1

    def test_without_a_line(self, job: Job, host: Standalone) -> None:
        """The command line's: what another command left is not in its way, and it may go on with its own."""
        with Worker(host, threaded=False) as worker:
            assert worker._threads == set()
            done = worker.adopt(job.id)
        assert done is not None and done.state is State.DONE

    def test_an_interpreter_that_ends_does_not_wait(self, job: Job, outputs: Path) -> None:
        """Nobody closed the worker."""
        script = f"""
import threading, time
from pathlib import Path
from sonic_ext.errors import Cancelled
from sonic_ext.files.locks import held
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Worker
begun = threading.Event()
class Endless(Standalone):
    def work(self, progress, task):
        begun.set()
        while not progress.cancelled():
            time.sleep(0.01)
        raise Cancelled
Worker(Endless(Path({str(outputs)!r}))).start()
begun.wait()
"""
        subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)
        found = Queue().find(job.id)
        assert (found.state, found.worker) == (State.QUEUED, "")


class Report:
    """A `Progress` for nobody."""

    def report(self, step: Step) -> None:
        """Ignored."""

    def cancelled(self) -> bool:
        """Never."""
        return False


class TestExport:
    """Later, by hand."""

    def test_once(self, queue: Queue, take: Take, outputs: Path) -> None:
        job = finished(queue, take)
        to = Destination(AGREED, folder=str(outputs))
        file = exporting.export(queue, job.id, to)
        assert queue.find(job.id).exported == file
        with pytest.raises(WrongTime):
            exporting.export(queue, job.id, to)
        assert len(list(outputs.iterdir())) == 1

    def test_not_before_it_is_done(self, queue: Queue, outputs: Path) -> None:
        job = submitted(queue)
        with pytest.raises(WrongTime):
            exporting.export(queue, job.id, Destination(AGREED, folder=str(outputs)))

    def test_a_refusal_leaves_it_as_it_was(self, queue: Queue, take: Take, outputs: Path) -> None:
        job = finished(queue, take)
        with pytest.raises(ConsentMissing):
            exporting.export(
                queue, job.id, Destination(AGREED, portrait_sha256="ab" * 32, folder=str(outputs))
            )
        assert queue.find(job.id) == job
        assert exporting.export(queue, job.id, Destination(AGREED, folder=str(outputs))).path.is_file()

    @pytest.mark.parametrize("ending", ["cancel", "fail", "stop", "wait"])
    def test_exported_before_it_ended_otherwise(
        self, queue: Queue, take: Take, outputs: Path, monkeypatch: pytest.MonkeyPatch, ending: str
    ) -> None:
        """Killed between the gate and the queue's row; then somebody cancels it, or it is given up."""
        job = killed(queue, submitted(queue))
        queue.record_take(job, take, None)
        with monkeypatch.context() as patch:
            patch.setattr(Queue, "record_export", lambda self, job, file: None)
            file = exporting.export(queue, job.id, Destination(AGREED, folder=str(outputs)))
        if ending == "stop":
            queue.cancel(job.id)
        elif ending == "fail":
            queue.fail(job, Failed("It failed.", "Try again."))
        queue.recover()
        if ending == "cancel":
            queue.cancel(job.id)
        assert queue.find(job.id).exported is None
        exporting.settle(queue)
        found = queue.find(job.id)
        assert (found.state, found.error, found.progress) == (State.DONE, None, 1.0)
        assert found.exported == replace(file, warnings=())
        assert stored_names(queue.home) == set()

    def test_a_start_outlives_an_export_by_hand(self, worker: Worker, take: Take, outputs: Path) -> None:
        """Another process is just exporting a job that is done."""
        job = finished(worker.queue, take)
        worker.queue.record_output(worker.queue.find(job.id), outputs / "x.mp4")
        with held(worker.queue.home / "jobs" / f"export-{job.id}") as mine:
            assert mine
            Worker(worker.host).start()
        assert worker.queue.find(job.id).exported is None

    def test_a_start_outlives_a_ledger_that_was_altered(
        self, queue: Queue, host: Standalone, take: Take, outputs: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = finished(queue, take)
        queue.record_output(job, outputs / "x.mp4")
        with closing(sqlite3.connect(queue.home / "consent" / "ledger.sqlite3")) as db, db:
            db.execute("DROP TABLE events")
        db.close()
        with Worker(host):
            pass
        assert "cannot be told" in caplog.text

    def test_exported_by_hand_meanwhile(self, queue: Queue, take: Take, outputs: Path) -> None:
        """By hand, while its worker was about to: that is no failure."""
        job = killed(queue, submitted(queue))
        queue.record_take(job, take, None)
        exporting.export(queue, job.id, Destination(AGREED, folder=str(outputs)))
        queue.finish(job, WrongTime("It was exported already.", "Fetch it."))
        found = queue.find(job.id)
        assert (found.state, found.error) == (State.DONE, None)

    def test_killed_before_the_queue_knew(
        self, queue: Queue, take: Take, outputs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = finished(queue, take)
        with monkeypatch.context() as patch:
            patch.setattr(Queue, "record_export", lambda self, job, file: None)
            file = exporting.export(queue, job.id, Destination(AGREED, folder=str(outputs)))
        assert queue.find(job.id).exported is None
        exporting.settle(queue)
        found = queue.find(job.id).exported
        assert found is not None
        assert (found.path, found.record, found.sha256) == (file.path, file.record, file.sha256)


class Elsewhere:
    """A queue on another machine: all that is said to it and by it goes through bytes."""

    def __init__(self, home: Path) -> None:
        self.home, self._real = home, Queue(home / "elsewhere")
        self.alone = self._real.alone

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            given, named = pickle.loads(pickle.dumps((given, named)))
            return pickle.loads(pickle.dumps(getattr(self._real, name)(*given, **named)))

        return call

    def staging(self) -> Any:
        return staging(self.home)

    def submit(self, spec: JobSpec, staged: Staging, **named: Any) -> Job:
        with self._real.staging() as there:
            for each in spec.inputs:
                there.write(each.name, staged.path(each).read_bytes())
            return self._real.submit(
                JobSpec.from_dict(json.loads(json.dumps(spec.to_dict()))), there, **named
            )

    def input(self, needed: Input) -> Path:
        path = self.home / needed.stored_name
        path.write_bytes(self._real.input(needed).read_bytes())
        return path


def test_the_queue_may_be_elsewhere(host: Standalone, sonic_home: Path) -> None:
    sonic_home.mkdir(mode=0o700, exist_ok=True)
    queue: Any = Elsewhere(sonic_home)
    with Worker(host, queue) as worker, queue.staging() as staged:
        to = Destination(AGREED, folder=str(host.outputs()))
        job = queue.wait(worker.submit(asked(host, staged, export=to), staged).id, PATIENCE)
    assert job.state is State.DONE and job.exported is not None
    assert job.exported.path.is_file()
    assert not (sonic_home / "jobs").exists() and not (sonic_home / "inputs").exists()


def test_a_stage_that_is_gone_on_with_goes_on_in_the_bar(
    sonic_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two heads are drawn one after the other, each with a network that is loaded first."""
    monkeypatch.setattr("sonic_ext.jobs.worker.REPORT_EVERY", 0.0)
    queue = Queue(sonic_home)
    job = killed(queue, submitted(queue))
    progress = JobProgress(queue, job, threading.Event())
    shares = []
    for stage, done, total in (
        (Stage.DENOISING, 0, 8),
        (Stage.DENOISING, 4, 8),
        (Stage.LOADING, 0, 1),
        (Stage.DENOISING, 4, 8),
        (Stage.DENOISING, 8, 8),
        (Stage.DECODING, 0, 2),
        (Stage.DECODING, 2, 2),
    ):
        progress.report(Step(stage, done, total))
        shares.append(queue.find(job.id).progress)
    assert shares == pytest.approx([0.0, 0.4, 0.4, 0.4, 0.8, 0.8, 0.98])
