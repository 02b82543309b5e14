"""`sonic doctor`: what bad days leave is found, mended where nothing is lost by it, and said."""

from __future__ import annotations

import errno
import json
import os
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_jobs import LANE, killed, some_spec, stored_names, submitted

from sonic_ext.cli.main import main
from sonic_ext.jobs import Destination, Queue, State
from sonic_ext.jobs.doctor import DoctorFinding, FindingState, examine
from sonic_ext.messages import translated
from sonic_ext.provenance import certificates
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import export
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take

AGREED = Consent(face="synthetic", voice="synthetic", purpose="a test")
FINE, MENDED, LEFT = FindingState.FINE, FindingState.MENDED, FindingState.LEFT


def found(queue: Queue, delete_damaged: bool = False) -> dict[str, DoctorFinding]:
    """By their names; where one is named twice, what is not fine."""
    findings = list(examine(queue, delete_damaged=delete_damaged))
    for each in findings:
        assert translated("zh", each.text), each.text
    return {each.name: each for each in sorted(findings, key=lambda each: each.state is not FINE)}


def test_without_a_home_there_is_nothing_to_mend(sonic_home: Path) -> None:
    (finding,) = examine(Queue())
    assert (finding.name, finding.state) == ("home", FINE)
    assert not sonic_home.exists()


def test_a_good_day(queue: Queue) -> None:
    submitted(queue)
    findings = found(queue)
    assert {each.state for each in findings.values()} == {FINE}
    assert set(findings) == {
        *("home", "room", "clock", "ledger", "certificate"),
        *("exports", "jobs", "files", "takes", "checkpoints"),
    }


def test_jobs_of_dead_workers_go_back_into_the_line(queue: Queue) -> None:
    job = killed(queue, submitted(queue))
    assert found(queue)["jobs"].state is MENDED
    assert queue.find(job.id).state is State.QUEUED and queue.find(job.id).worker == ""
    assert found(queue)["jobs"].state is FINE


def test_files_that_no_job_needs_go(queue: Queue) -> None:
    submitted(queue)
    kept = stored_names(queue.home)
    (queue.home / "inputs" / ("f" * 64 + ".png")).write_bytes(b"of nobody")
    assert found(queue)["files"].state is MENDED
    assert stored_names(queue.home) == kept


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_home_that_others_may_read_is_closed(queue: Queue) -> None:
    submitted(queue)
    queue.home.chmod(0o755)
    assert found(queue)["home"].state is MENDED
    assert queue.home.stat().st_mode & 0o777 == 0o700


def test_a_clock_that_went_back_is_said(queue: Queue) -> None:
    submitted(queue)
    later = queue.home.stat().st_mtime + 86400
    os.utime(queue.home / "jobs" / "queue.sqlite3", (later, later))
    finding = found(queue)["clock"]
    assert finding.state is LEFT and "future" in finding.text and finding.hint


def test_unfinished_takes_and_old_checkpoints_go(queue: Queue) -> None:
    submitted(queue)
    unfinished = queue.home / "takes" / ("a" * 16)
    unfinished.mkdir(parents=True)
    (unfinished / "master.mp4").write_bytes(b"half")
    checkpoints = queue.home / "drafts"
    checkpoints.mkdir()
    for name, days in (("old", 8), ("new", 1)):
        path = checkpoints / f"{name}.safetensors"
        path.write_bytes(b"x")
        os.utime(path, (queue.home.stat().st_mtime - days * 86400,) * 2)
    findings = found(queue)
    assert findings["takes"].state is findings["checkpoints"].state is MENDED
    assert not unfinished.exists()
    assert [path.name for path in checkpoints.iterdir()] == ["new.safetensors"]


def test_damaged_takes_are_left_until_somebody_says_so(queue: Queue) -> None:
    submitted(queue)
    damaged = queue.home / "takes" / ("b" * 16)
    damaged.mkdir(parents=True)
    (damaged / "take.json").write_text("{", encoding="utf-8")
    finding = found(queue)["takes"]
    assert finding.state is LEFT and damaged.name in finding.text and "--delete-damaged" in finding.hint
    assert damaged.is_dir()
    assert found(queue, delete_damaged=True)["takes"].state is MENDED
    assert not damaged.exists()


def test_a_ledger_that_was_altered_is_said(queue: Queue) -> None:
    submitted(queue)
    ledger = Store(queue.home).ledger
    Store(queue.home).check()  # makes it
    (ledger.folder / "head.json").write_text("{}", encoding="utf-8")
    finding = found(queue)["ledger"]
    assert finding.state is LEFT and finding.hint


def test_a_full_disk_is_said(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(queue)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    finding = found(queue)["room"]
    assert finding.state is LEFT and "Only 1 MB" in finding.text and translated("zh", finding.hint)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_home_that_cannot_be_written_is_said_and_the_rest_is_looked_at(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    submitted(queue)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("sonic_ext.jobs.doctor.new_file", refuse)
    findings = found(queue)
    assert findings["room"].state is LEFT and os.strerror(number) in findings["room"].text
    assert findings["room"].hint and findings["takes"].state is FINE


def test_a_certificate_of_another_time_is_said(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made while the clock was a year ahead."""
    submitted(queue)

    class Ahead(datetime):
        @classmethod
        def now(cls, zone: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(zone) + timedelta(days=365)

    with monkeypatch.context() as patch:
        patch.setattr(certificates, "datetime", Ahead)
        certificates.identity(queue.home)
    finding = found(queue)["certificate"]
    assert finding.state is LEFT and "begins only on" in finding.text and "signing" in finding.hint


def test_a_video_that_a_dead_process_exported_is_done(queue: Queue, take: Take, tmp_path: Path) -> None:
    """It was killed after the gate and before it could write that down."""
    to = Destination(AGREED, path=str(tmp_path / "x.mp4"))
    with queue.staging() as staged:
        job = killed(queue, queue.submit(some_spec(staged, export=to), staged, lane=LANE))
    queue.record_take(job, take, synthetic=False)
    queue.record_output(job, tmp_path / "x.mp4")
    export(take, tmp_path / "x.mp4", AGREED)
    finding = found(queue)["jobs"]
    assert finding.state is MENDED and "they are done" in finding.text
    assert queue.find(job.id).state is State.DONE and queue.find(job.id).exported is not None
    assert found(queue)["jobs"].state is FINE


def test_a_queue_that_is_damaged_is_said_and_the_rest_is_looked_at(queue: Queue) -> None:
    submitted(queue)
    for path in (queue.home / "jobs").glob("queue.sqlite3*"):
        path.write_bytes(b"no database")
    findings = found(Queue())
    assert findings["jobs"].state is LEFT and findings["takes"].state is FINE


def test_the_command_says_it_and_its_exit_code_tells(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted(queue)
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["findings"]
    assert {each["state"] for each in told} == {"fine"}
    damaged = queue.home / "takes" / ("b" * 16)
    damaged.mkdir(parents=True)
    (damaged / "take.json").write_text("{", encoding="utf-8")
    assert main(["doctor"]) == 8
    assert "left    takes" in capsys.readouterr().out
    assert main(["doctor", "--delete-damaged"]) == 0
