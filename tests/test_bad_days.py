"""A card that fails, a process that stands still, a database that another program has.

`tests/faults/` has the same, and more, at random instants.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from made_jobs import LANE, finished, submitted
from patience import PATIENCE, until

from sonic_ext import pipeline
from sonic_ext.errors import BadOutput, DeviceLost, SonicError, WorkerLost, WrongTime, as_error
from sonic_ext.files.home import private_folder
from sonic_ext.files.locks import held
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Destination, Queue, State, Worker, exporting
from sonic_ext.jobs import database as queue_database
from sonic_ext.jobs import worker as workers
from sonic_ext.jobs.queue import lease_of
from sonic_ext.messages import translated
from sonic_ext.provenance import database as ledger_database
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.intents import Intent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.take import Take

AGREED = Consent(face="synthetic", voice="synthetic", purpose="a test")
CARD_FAILED = (
    "CUDA error: unspecified launch failure\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace …"
)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody else has it to himself while the block runs."""
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a database, or until he asks for it again."""
    for module in (queue_database, ledger_database):
        monkeypatch.setattr(module, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(workers, "RETRY_SECONDS", 0.01)


@pytest.fixture
def host(tmp_path: Path) -> Standalone:
    """One that makes one video at a time."""
    return Standalone(tmp_path)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take ids of what the card was asked to draw; it fails at each."""
    asked: list[str] = []

    def fail(*_: object, take_id: str, **__: object) -> None:
        asked.append(take_id)
        raise RuntimeError(CARD_FAILED)

    monkeypatch.setattr(pipeline, "animate", fail)
    monkeypatch.setattr("sonic_ext.media.image.read_portrait", lambda path: Seen(path.stem))
    return asked


class Seen:
    """As much of a portrait as a job looks at before it is drawn."""

    def __init__(self, sha256: str) -> None:
        self.sha256 = self.pixel_sha256 = sha256


class TestCard:
    """A process that has lost its graphics card gets the same error of every call."""

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            (CARD_FAILED, "CUDA error: unspecified launch failure"),
            ("HIP error: the operation cannot be performed", "HIP error: the operation cannot be performed"),
            ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ],
    )
    def test_it_is_said_in_one_line(self, said: str, told: str) -> None:
        error = as_error(RuntimeError(said))
        assert isinstance(error, DeviceLost)
        assert (
            error.message == f"The graphics card failed ({told})." and "Start the program again" in error.hint
        )
        assert translated("zh", error.message) and translated("zh", error.hint)

    @pytest.mark.parametrize("other", [RuntimeError("shapes differ"), ValueError(CARD_FAILED)])
    def test_other_errors_are_others(self, other: Exception) -> None:
        assert not isinstance(as_error(other), DeviceLost)

    def test_its_job_fails_and_the_next_waits(self, queue: Queue, host: Standalone, drawn: list[str]) -> None:
        one, two = submitted(queue, 1), submitted(queue, 2)
        with Worker(host) as worker:
            found = queue.wait(one.id, PATIENCE)
            until(lambda: not worker._threads)
            assert (found.state, type(found.error)) == (State.FAILED, DeviceLost)
            assert worker.device_lost and queue.find(two.id).state is State.QUEUED
            submitted(queue, 3)
            worker.wake()
            assert not worker._threads
        assert drawn == [one.take_id]

    def test_where_another_process_follows_the_job_waits_for_it(
        self, queue: Queue, host: Standalone, drawn: list[str]
    ) -> None:
        job = submitted(queue)
        for attempts in (1, 2):
            with Worker(host, replaced=True) as worker:
                until(lambda: worker.device_lost)
                worker.close(PATIENCE)
            found = queue.find(job.id)
            assert (found.state, found.worker, found.attempts) == (State.QUEUED, "", attempts)
        with Worker(host, replaced=True):
            found = queue.wait(job.id, PATIENCE)
        assert (found.state, type(found.error)) == (State.FAILED, DeviceLost)
        assert drawn == [job.take_id] * 3


class TestLostWorker:
    """Somebody else draws, and is lost."""

    @pytest.mark.usefixtures("drawn")
    def test_it_is_told_from_one_that_is_lost_whenever_it_comes_to_a_job(
        self, queue: Queue, host: Standalone
    ) -> None:
        def lose(*_: object, **__: object) -> NoReturn:
            raise WorkerLost("A worker was lost.", "It is made again by another.")

        job = submitted(queue)
        with Worker(host, animate=lose) as worker:
            until(lambda: (worker.wake(), queue.find(job.id))[1].state is State.FAILED)
        error = queue.find(job.id).error
        assert error is not None and "3 times at the same point" in error.message


class TestLockedDatabase:
    """Another program has one of them to itself for longer than anybody waits."""

    @pytest.mark.usefixtures("impatient")
    def test_it_is_said(self, queue: Queue) -> None:
        submitted(queue)
        Ledger().check()  # makes it
        with locked(queue.home / "jobs" / "queue.sqlite3"), pytest.raises(BadOutput) as caught:
            submitted(queue)
        self.says_so(caught.value)
        with locked(queue.home / "consent" / "ledger.sqlite3"), pytest.raises(BadOutput) as caught:
            Ledger().check()
        self.says_so(caught.value)

    def says_so(self, error: SonicError) -> None:
        assert "database is locked" in error.message and "Another program has it" in error.hint
        assert translated("zh", error.message) and translated("zh", error.hint)

    @pytest.mark.usefixtures("impatient")
    def test_jobs_go_on_by_themselves(
        self, queue: Queue, host: Standalone, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Worker(host) as worker:
            until(lambda: not worker._threads)
            job = submitted(queue)  # whose files are no picture and no sound
            with locked(queue.home / "jobs" / "queue.sqlite3"):
                worker.wake()
                until(lambda: "Jobs wait until the queue can be used again" in caplog.text)
            found = queue.wait(job.id, PATIENCE)
            worker.close(PATIENCE)
        assert found.state is State.FAILED and not isinstance(found.error, DeviceLost)


STANDS_STILL = """
import signal, sys, threading
from pathlib import Path
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Worker, worker
done = threading.Event()
def carry_out(queue, job, *_):
    queue.begin(job)
    signal.raise_signal(signal.SIGSTOP)  # to this thread: another would let it go on for a while
    with Path(sys.argv[1]).open("a") as made:
        made.write(job.id)
    queue.finish(job)
    done.set()
worker.carry_out = carry_out
with Worker(Standalone(Path())):
    done.wait()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_process_that_stands_still_keeps_its_job(queue: Queue, tmp_path: Path) -> None:
    """Another one takes what waits, and not what that one has; it goes on, and nothing is made twice."""
    one, two = submitted(queue, 1), submitted(queue, 2)
    log = tmp_path / "made"
    words = [sys.executable, "-c", STANDS_STILL, str(log)]
    with subprocess.Popen(words) as process, ExitStack() as stack:
        stack.callback(process.kill)  # or a test that fails would wait for it
        until(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT))
        queue.recover()
        assert queue.find(one.id).worker and queue.find(one.id).state is State.RUNNING
        with queue.alone(lease_of("another")):
            taken = queue.claim("another", LANE)
            assert taken is not None and taken.id == two.id
            assert queue.claim("another", LANE) is None
            process.send_signal(signal.SIGCONT)
            assert process.wait(PATIENCE) == 0
    assert queue.find(one.id).state is State.DONE
    assert log.read_text() == one.id


def test_an_export_that_another_process_finishes_is_not_done_again(
    queue: Queue, take: Take, tmp_path: Path
) -> None:
    """It was killed in the gate; whoever finds that stands still while it finishes or undoes it."""
    job = finished(queue, take)
    queue.record_output(job, tmp_path / "x.mp4")
    folder = private_folder(queue.home / "exports") / "0123456789abcdef"
    Intent.create(folder, "f" * 16, "0" * 64, tmp_path / "x.mp4", overwrite=False).write()
    to = Destination(AGREED, folder=str(tmp_path))
    with held(folder), pytest.raises(WrongTime, match="being exported already"):
        exporting.export(queue, job.id, to)
    assert list(tmp_path.glob("*.mp4")) == []
    exporting.export(queue, job.id, to)  # nobody is at it any more: it is undone, and done anew
    assert len(list(tmp_path.glob("*.mp4"))) == 1
