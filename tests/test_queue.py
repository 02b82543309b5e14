"""The queue: order, files, states, and a database that others wrote to."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from made_jobs import LANE, finished, killed, some_spec, stored_names, submitted
from patience import PATIENCE

from sonic_ext.errors import (
    BadInput,
    Busy,
    Cancelled,
    ConsentMissing,
    ConsentRevoked,
    Failed,
    NoFace,
    NotFound,
    SonicError,
    WrongTime,
    error_from,
    error_values,
)
from sonic_ext.jobs import (
    Origin,
    Queue,
    State,
    exporting,
)
from sonic_ext.jobs import database as databases
from sonic_ext.jobs import queue as queues
from sonic_ext.jobs.database import MIGRATIONS, NAME
from sonic_ext.jobs.inputs import staging
from sonic_ext.progress import Step
from sonic_ext.provenance.take import Take


class TestOrder:
    """First in, first out."""

    def test_as_submitted(self, queue: Queue) -> None:
        jobs = [submitted(queue, number) for number in range(4)]
        other = submitted(queue, 9, lane="another")
        assert [queue.position(job) for job in (*jobs, other)] == [1, 2, 3, 4, 1]
        assert queue.jobs(lane=LANE) == tuple(reversed(jobs))
        queue.cancel(jobs[1].id)
        assert [queue.position(job) for job in jobs] == [1, 0, 2, 3]
        assert queue.positions(LANE) == {job.id: queue.position(job) for job in jobs if job is not jobs[1]}
        claimed = [queue.claim("w", LANE) for _ in range(4)]
        assert [job and job.id for job in claimed] == [jobs[0].id, jobs[2].id, jobs[3].id, None]

    def test_nothing_is_claimed_twice(self, queue: Queue) -> None:
        jobs = [submitted(queue, number) for number in range(24)]
        got: list[list[str]] = [[] for _ in range(6)]

        def claim(number: int) -> None:
            while (job := Queue().claim(f"w{number}", LANE)) is not None:
                got[number].append(job.id)

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(chain.from_iterable(got)) == sorted(job.id for job in jobs)
        numbers = {job.id: number for number, job in enumerate(jobs)}
        for each in got:  # and each of them in its order
            assert [numbers[job_id] for job_id in each] == sorted(numbers[job_id] for job_id in each)

    def test_a_script_goes_past_the_line(self, queue: Queue) -> None:
        first, ours = submitted(queue), submitted(queue, 1, worker="script")
        assert queue.position(first) == 1
        claimed = queue.claim("w", LANE)
        assert claimed and claimed.id == first.id
        assert queue.claim("w", LANE) is None
        assert queue.find(ours.id).worker == "script"

    def test_the_line_has_an_end(self, queue: Queue) -> None:
        with staging(queue.home) as staged:
            queue.submit(some_spec(staged), staged, lane=LANE, limit=1)
            with pytest.raises(Busy):
                queue.submit(some_spec(staged, 1), staged, lane=LANE, limit=1)
            queue.submit(some_spec(staged, 1), staged, lane="another", limit=1)

    def test_the_oldest_are_forgotten(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queues, "MAX_ENDED", 2)
        jobs = [submitted(queue, number) for number in range(4)]
        for job in jobs:
            queue.cancel(job.id)
        newest = submitted(queue, 5)
        assert [job.id for job in queue.jobs()] == [newest.id, jobs[3].id, jobs[2].id]


class TestFiles:
    """What jobs need lies in the private home, and no longer than it is needed."""

    def test_stored_by_their_hash(self, queue: Queue) -> None:
        job = submitted(queue)
        path = queue.input(job.spec.audio)
        assert (path.name, path.read_bytes()) == (f"{job.spec.audio.sha256}.wav", b"0")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list((queue.home / "uploads").iterdir()) == []

    def test_gone_with_the_last_job_that_needs_them(self, queue: Queue) -> None:
        one, same, other = submitted(queue), submitted(queue), submitted(queue, 1)
        assert len(stored_names(queue.home)) == 3
        queue.cancel(other.id)
        assert len(stored_names(queue.home)) == 2
        queue.cancel(one.id)
        assert len(stored_names(queue.home)) == 2
        queue.cancel(same.id)
        assert stored_names(queue.home) == set()

    def test_nothing_is_left_of_a_refused_one(self, queue: Queue) -> None:
        with pytest.raises(Busy), staging(queue.home) as staged:
            queue.submit(some_spec(staged), staged, lane=LANE, limit=0)
        assert stored_names(queue.home) == set()
        assert list((queue.home / "uploads").iterdir()) == []

    def test_deleted_when_their_job_has_ended_and_not_before(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed between the two."""
        job = submitted(queue)

        def dies(home: Path, needed: set[str], names: Collection[str]) -> None:
            assert Queue().find(job.id).state is State.CANCELLED
            raise SystemExit

        monkeypatch.setattr(queues, "collect", dies)
        with pytest.raises(SystemExit):
            queue.cancel(job.id)
        assert len(stored_names(queue.home)) == 2
        monkeypatch.undo()
        Queue(queue.home).recover()
        assert stored_names(queue.home) == set()

    def test_left_by_a_kill_is_swept(self, queue: Queue) -> None:
        kept = submitted(queue)
        (queue.home / "inputs" / ("ab" * 32)).write_bytes(b"moved, and killed before the row")
        (queue.home / "uploads" / "0123456789abcdef").mkdir()
        queue.recover()
        assert stored_names(queue.home) == {each.stored_name for each in kept.spec.inputs}
        assert list((queue.home / "uploads").iterdir()) == []

    def test_several_jobs_of_one_block_share_them(self, queue: Queue) -> None:
        with staging(queue.home) as staged:
            first = queue.submit(some_spec(staged), staged, lane=LANE)
            queue.cancel(first.id)
            spec = some_spec(staged)
            assert staged.path(spec.audio).read_bytes() == b"0"
            second = queue.submit(spec, staged, lane=LANE)
        assert queue.input(second.spec.audio).read_bytes() == b"0"

    def test_without_hard_links(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        def unsupported(*_: object, **__: object) -> None:
            raise PermissionError("no links")

        monkeypatch.setattr("os.link", unsupported)
        job = submitted(queue)
        path = queue.input(job.spec.audio)
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"0", 0o600)

    @pytest.mark.parametrize("linked", [True, False])
    def test_other_bytes_are_not_used(self, queue: Queue, tmp_path: Path, linked: bool) -> None:
        job = submitted(queue)
        path, other = queue.input(job.spec.audio), tmp_path / "other"
        other.write_bytes(b"1")
        path.unlink()
        path.symlink_to(other) if linked else path.write_bytes(b"1")
        with pytest.raises(Failed, match=r"voice\.wav"):
            queue.input(job.spec.audio)

    def test_a_name_leads_nowhere(self, queue: Queue) -> None:
        with staging(queue.home) as staged:
            odd = staged.write("../../etc/passwd", b"x")
            assert staged.path(odd).parent.parent == staged.folder
        assert odd.name == "passwd"

    @pytest.mark.parametrize(
        ("name", "fitted"),
        [
            ("a\0b\nc.wav", "a_b_c.wav"),
            ("x" * 300 + ".wav", "x" * 40 + ".wav"),
            ("☃" * 300 + ".wav", "☃" * 40 + ".wav"),
            ("a." + "w" * 300, "a." + "w" * 11),
            ("half \ud800.wav", "half _.wav"),
            ("a:stream.wav", "a_stream.wav"),
            ("nul.wav", "_nul.wav"),
            ("", "file"),
            (" . ", "file"),
        ],
    )
    def test_any_name(self, queue: Queue, name: str, fitted: str) -> None:
        with staging(queue.home) as staged:
            spec = replace(some_spec(staged), audio=staged.write(name, b"0"))
            job = queue.submit(spec, staged, lane=LANE)
        assert job.spec.audio.name == fitted
        assert queue.input(job.spec.audio).read_bytes() == b"0"

    def test_many_jobs_make_none_slow(self, queue: Queue) -> None:
        """What every job does is looked up, and nothing is read from end to end."""
        submitted(queue)
        asked: list[str] = []
        connect = databases._connected

        def listening(path: Path) -> sqlite3.Connection:
            db = connect(path)
            db.set_trace_callback(asked.append)
            return db

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(databases, "_connected", listening)
            submitted(queue, 1, batch="a")
            job = queue.claim("w", LANE)
            assert job is not None
            queue.position(job)
            queue.begin(job)
            queue.report(job, Step("drawing frames", 1, 2), 0.5)
            queue.fail(job, Failed("It failed.", "Try again."))
            queue.find_by_take(job.take_id)
            queue.find_by_digest(job.spec.digest)
            exporting.settle(queue)
        with closing(sqlite3.connect(queue.home / "jobs" / NAME)) as db, db:
            for words in {each for each in asked if each.startswith(("SELECT", "UPDATE", "DELETE"))}:
                plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {words}")]
                wanted = ("jobs_unsettled", "subquery", "SUBQUERY")  # the latter is what was found
                scans = [s for s in plan if s.startswith("SCAN") and not any(each in s for each in wanted)]
                assert not scans, (words, scans)
        db.close()


class TestStates:
    """From waiting to what came of it."""

    def test_done(self, queue: Queue, take: Take) -> None:
        job = finished(queue, take)
        assert (job.state, job.progress, job.take, job.error) == (State.DONE, 1.0, take, None)
        assert job.result() == take
        assert job.created <= (job.began or job.created) <= (job.ended or job.created)
        assert queue.find_by_take(take.id) == job
        assert stored_names(queue.home) == set()

    def test_failed(self, queue: Queue) -> None:
        job = killed(queue, submitted(queue))
        queue.fail(job, ConsentMissing("No consent.", "Give one."))
        found = queue.find(job.id)
        assert (found.state, str(found.error)) == (State.FAILED, "No consent. Give one.")
        with pytest.raises(ConsentMissing):
            found.result()

    def test_what_nobody_foresaw(self, queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
        job = killed(queue, submitted(queue))
        queue.fail(job, ZeroDivisionError("private matters"))
        assert "private" not in str(queue.find(job.id).error)
        assert "private matters" in caplog.text

    def test_cancelled_while_it_waits(self, queue: Queue) -> None:
        job = submitted(queue)
        assert queue.cancel(job.id).state is State.CANCELLED
        assert queue.claim("w", LANE) is None
        assert queue.cancel(job.id).state is State.CANCELLED

    def test_cancelled_between_claim_and_turn(self, queue: Queue) -> None:
        submitted(queue)
        job = queue.claim("w", LANE)
        assert job is not None
        queue.cancel(job.id)
        with pytest.raises(Cancelled):
            queue.begin(job)

    def test_a_running_one_hears_of_it(self, queue: Queue) -> None:
        job = killed(queue, submitted(queue))
        assert not queue.report(job, Step("drawing frames", 1, 2, 3.0), 0.5).requested
        running = queue.find(job.id)
        assert (running.state, running.step, running.progress) == (
            State.RUNNING,
            Step("drawing frames", 1, 2, 3.0),
            0.5,
        )
        assert queue.cancel(job.id).state is State.RUNNING
        assert queue.report(job, Step("drawing frames", 2, 2), 0.6).requested

    def test_forgotten(self, queue: Queue, take: Take) -> None:
        waiting, done = submitted(queue), finished(queue, take)
        with pytest.raises(WrongTime):
            queue.forget(waiting.id)
        queue.forget(done.id)
        with pytest.raises(NotFound):
            queue.find(done.id)

    @pytest.mark.parametrize("kind", [NoFace, ConsentRevoked, Busy, SonicError])
    def test_errors_there_and_back(self, kind: type[SonicError]) -> None:
        error = error_from(error_values(kind("What.", "Do.")))
        assert (type(error), error.message, error.hint) == (kind, "What.", "Do.")
        assert type(error_from({"error": "Unknown", "detail": "a", "hint": "b"})) is SonicError


class TestDatabase:
    """The file."""

    def test_private(self, queue: Queue) -> None:
        submitted(queue)
        for path in (queue.home / "jobs").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_of_a_later_version(self, queue: Queue) -> None:
        submitted(queue)
        with closing(sqlite3.connect(queue.home / "jobs" / NAME)) as db, db:
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        db.close()
        with pytest.raises(BadInput, match="later version"):
            Queue().jobs()

    def test_damaged(self, queue: Queue) -> None:
        submitted(queue)
        (queue.home / "jobs" / NAME).write_bytes(b"this is no database" * 1000)
        for left in (queue.home / "jobs").glob("*-*"):
            left.unlink()
        with pytest.raises(Failed, match="cannot be read"):
            Queue().jobs()

    def test_a_job_of_a_later_version_is_in_nobodys_way(self, queue: Queue) -> None:
        newer, ours = submitted(queue), submitted(queue, 1)
        with closing(sqlite3.connect(queue.home / "jobs" / NAME)) as db, db:
            db.execute("UPDATE jobs SET spec = json_set(spec, '$.version', 99) WHERE id = ?", (newer.id,))
        db.close()
        claimed = queue.claim("w", LANE)
        assert claimed and claimed.id == ours.id
        assert [job.id for job in queue.jobs()] == [ours.id]

    @pytest.mark.parametrize(
        "damage",
        [
            "spec = 'no JSON'",
            "spec = '[]'",
            "state = 'waiting', spec = spec",
            """take = '{"a later": "version"}'""",
            "exported = '{\"a later\": 1}'",
            "created = 'then'",
            "spec = replace(spec, '\"seed\": 7', '\"seed\": 1e999')",
        ],
    )
    def test_a_damaged_job_is_in_nobodys_way(self, queue: Queue, damage: str) -> None:
        bad, ours = submitted(queue), submitted(queue, 1)
        with closing(sqlite3.connect(queue.home / "jobs" / NAME)) as db, db:
            db.execute(f"UPDATE jobs SET {damage} WHERE id = ?", (bad.id,))
        db.close()
        queue.hold(LANE, [Origin.PAGE])
        queue.recover()
        exporting.settle(queue)
        assert [job.id for job in queue.jobs()] == [ours.id]
        with pytest.raises(BadInput, match="damaged"):
            queue.find(bad.id)
        claimed = queue.claim("w", LANE)
        assert claimed and claimed.id == ours.id
        if "waiting" not in damage:
            queue.forget(bad.id)  # given up by `claim`

    @pytest.mark.parametrize("name", ["a home", "a#home", "a?home", "a%20home", "ein Zuhäuse ☃"])
    def test_wherever_the_home_lies(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).mkdir(mode=0o700)
        queue = Queue(tmp_path / name)
        job = submitted(queue)
        assert Queue(tmp_path / name).find(job.id) == job
        assert {path.name for path in tmp_path.glob("a*") if path.is_dir()} <= {name}
