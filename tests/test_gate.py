"""The gate: a marked, signed file with a consent record comes out, or nothing does."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import sqlite3
import stat
import sys
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from made_takes import FPS, SIDE, adopt_clip, record_clip, some_portrait

from sonic_ext.errors import (
    BadOutput,
    ConsentExpired,
    ConsentRevoked,
    MissingPart,
    Refused,
    SonicError,
    Tampered,
)
from sonic_ext.media.video import probe
from sonic_ext.provenance import c2pa, gate, metadata
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import Exported, check_output, export
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store, Take
from sonic_ext.settings import Settings

AGREED = Consent(face="authorised", voice="synthetic", purpose="a test")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    record_clip(folder, Settings(), 10)
    return folder


@pytest.fixture
def home(sonic_home: Path) -> Path:
    return sonic_home


@pytest.fixture
def take(clip: Path, home: Path) -> Take:
    return adopt_clip(Store(home), clip, frames=10)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "out puts ‘视频’"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def states(home: Path) -> list[str]:
    return [record.state for record in Ledger(home).records()]


def test_a_take_passes(take: Take, outputs: Path, home: Path) -> None:
    before = names(take.folder)
    done = export(take, outputs / "hello.mp4", AGREED)
    assert isinstance(done, Exported)
    assert names(outputs) == ["hello.mp4"]
    assert names(take.folder) == before
    assert done.sha256 == hashlib.sha256(done.path.read_bytes()).hexdigest()
    assert (done.record.state, done.record.output_sha256) == ("exported", done.sha256)
    assert done.record == Ledger(home).show(done.record.id)
    assert done.signature.consent_sha256 == done.record.digest
    assert (done.signature.state, done.signature.trust) == ("valid", "own")
    assert len(done.warnings) == 2
    info = probe(done.path)
    assert (info.width, info.height, info.fps, info.frames) == (SIDE, SIDE, FPS, 10)
    assert metadata.read_source_type(done.path) == done.signature.source_type == metadata.COMPOSITE
    assert Ledger(home).check() == 2


def test_pictures_and_sound_are_copied_not_encoded_again(take: Take, outputs: Path) -> None:
    done = export(take, outputs / "hello.mp4", AGREED)
    master, out = take.master.read_bytes(), done.path.read_bytes()
    with take.master.open("rb") as file:
        start, end = next((start, end) for kind, start, end in metadata.top_boxes(file) if kind == b"mdat")
    assert master[start:end] in out


def test_a_known_synthetic_portrait_is_no_composite(take: Take, outputs: Path, home: Path) -> None:
    Ledger(home).remember_synthetic(take.portrait_pixel_sha256, "txt2img")
    done = export(take, outputs / "hello.mp4", AGREED)
    assert done.record.portrait_synthetic
    assert done.signature.source_type == metadata.TRAINED


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_exported_file_may_be_read_as_other_files(take: Take, outputs: Path) -> None:
    done = export(take, outputs / "hello.mp4", AGREED)
    plain = outputs / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(done.path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_names_that_look_like_options(take: Take, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(outputs)
    done = export(take, "-o '\"问.MP4", AGREED)
    assert names(outputs) == ["-o '\"问.MP4"]
    assert done.path.is_file()


def test_a_second_export_has_its_own_record(take: Take, outputs: Path, home: Path) -> None:
    first = export(take, outputs / "a.mp4", AGREED)
    second = export(take, outputs / "b.mp4", Consent(face="self", voice="self"))
    assert first.record.id != second.record.id
    assert states(home) == ["exported", "exported"]


# Refusals


def test_expired_consent(take: Take, outputs: Path, home: Path) -> None:
    with pytest.raises(ConsentExpired):
        export(take, outputs / "x.mp4", replace(AGREED, expires=date.today() - timedelta(days=1)))
    assert (names(outputs), states(home)) == ([], [])


def test_a_revoked_portrait(take: Take, clip: Path, outputs: Path, home: Path) -> None:
    done = export(take, outputs / "x.mp4", AGREED)
    Ledger(home).revoke(done.record.id)
    with pytest.raises(ConsentRevoked):
        export(take, outputs / "y.mp4", AGREED)
    same_portrait = adopt_clip(Store(home), clip, take_id="a" * 16, frames=10)
    with pytest.raises(ConsentRevoked):
        export(same_portrait, outputs / "y.mp4", AGREED)
    somebody_else = adopt_clip(Store(home), clip, take_id="b" * 16, portrait=some_portrait(1), frames=10)
    with pytest.raises(ConsentRevoked):
        export(replace(somebody_else, portrait_sha256=take.portrait_sha256), outputs / "y.mp4", AGREED)
    export(somebody_else, outputs / "z.mp4", AGREED)
    assert names(outputs) == ["x.mp4", "z.mp4"]


def test_revoked_while_being_signed(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = c2pa.sign

    def slow(*arguments: Any) -> None:
        real(*arguments)
        Ledger(home).revoke(take.portrait_sha256)

    monkeypatch.setattr(c2pa, "sign", slow)
    with pytest.raises(ConsentRevoked):
        export(take, outputs / "x.mp4", AGREED)
    assert (names(outputs), states(home)) == ([], ["revoked"])


def test_an_altered_ledger(take: Take, outputs: Path, home: Path) -> None:
    export(take, outputs / "x.mp4", AGREED)
    with closing(sqlite3.connect(home / "consent" / "ledger.sqlite3")) as db:
        db.execute("DROP TRIGGER events_no_delete")
        db.execute("DELETE FROM events WHERE seq = 2")
        db.commit()
    with pytest.raises(Tampered, match="trigger events_no_delete"):
        export(take, outputs / "y.mp4", AGREED)
    assert names(outputs) == ["x.mp4"]


def test_an_altered_master(take: Take, outputs: Path, home: Path) -> None:
    data = bytearray(take.master.read_bytes())
    data[-100] ^= 1
    take.master.write_bytes(data)
    with pytest.raises(Refused, match="altered after"):
        export(take, outputs / "x.mp4", AGREED)
    assert (names(outputs), states(home)) == ([], [])


def test_a_missing_package(take: Take, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingPart):
        export(take, outputs / "x.mp4", AGREED)
    assert names(outputs) == []


def test_a_signature_that_does_not_hold_does_not_leave(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = c2pa.sign

    def damaging(source: Path, target: Path, *rest: Any) -> None:
        real(source, target, *rest)
        data = bytearray(target.read_bytes())
        data[data.index(b"mdat") + 500] ^= 1
        target.write_bytes(data)

    monkeypatch.setattr(c2pa, "sign", damaging)
    with pytest.raises(Refused, match="does not hold"):
        export(take, outputs / "x.mp4", AGREED)
    assert (names(outputs), states(home)) == ([], ["not exported"])


# Places


def test_places_that_cannot_be_written_to(take: Take, outputs: Path, home: Path) -> None:
    (outputs / "file").write_text("in the way", encoding="utf-8")
    (outputs / "folder.mp4").mkdir()
    for name in ("missing/x.mp4", "file/x.mp4", "folder.mp4", "x.avi", "x", ""):
        with pytest.raises(BadOutput) as caught:
            export(take, outputs / name, AGREED)
        assert caught.value.hint
        with pytest.raises(BadOutput):
            check_output(outputs / name)
    assert names(outputs) == ["file", "folder.mp4"]
    assert states(home) == []


def test_an_existing_file_survives_unless_told(take: Take, outputs: Path, home: Path) -> None:
    there = outputs / "x.mp4"
    there.write_bytes(b"precious")
    with pytest.raises(BadOutput, match="exists already"):
        export(take, there, AGREED)
    assert there.read_bytes() == b"precious"
    assert states(home) == []
    done = export(take, there, AGREED, overwrite=True)
    assert probe(there).frames == 10
    assert names(outputs) == ["x.mp4"]
    assert done.record.state == "exported"


def test_a_read_only_folder(take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not stop root, so the system's answer is played."""
    real = Path.open

    def refuse(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if self.parent == outputs and "x" in mode:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadOutput, match="Permission denied"):
        export(take, outputs / "x.mp4", AGREED)
    assert (names(outputs), states(home)) == ([], ["not exported"])


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(take: Take, outputs: Path) -> None:
    outputs.chmod(0o500)
    with pytest.raises(BadOutput):
        export(take, outputs / "x.mp4", AGREED)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk(
    overwrite: bool, take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Any, target: Any) -> None:
        target.write(source.read(1000))
        raise OSError(errno.ENOSPC, "No space left on device")

    (outputs / "x.mp4").write_bytes(b"precious")
    name = "x.mp4" if overwrite else "y.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(gate, "_copy", full)
        with pytest.raises(BadOutput, match="No space left"):
            export(take, outputs / name, AGREED, overwrite=overwrite)
    assert names(outputs) == ["x.mp4"]
    assert (outputs / "x.mp4").read_bytes() == b"precious"
    assert states(home) == ["not exported"]
    assert export(take, outputs / name, AGREED, overwrite=overwrite).record.state == "exported"
    assert states(home) == ["not exported", "exported"]


@pytest.mark.parametrize(
    "stage", ["remux", "append_xmp", "sha256_of", "_copy", "_move", "sign", "read", "commit"]
)
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error"), SonicError("x")]
)
def test_nothing_is_left_wherever_it_stops(
    stage: str,
    error: BaseException,
    take: Take,
    outputs: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each step is carried out and then stopped, which leaves the most behind."""
    from sonic_ext.provenance.ledger import _Chain

    owner: Any = {"sign": c2pa, "read": c2pa, "commit": _Chain}.get(stage, gate)
    real = getattr(owner, stage)
    calls = []

    def stopped(*arguments: Any) -> Any:
        calls.append(stage)
        if stage != "commit":
            real(*arguments)
        elif len(calls) == 1:
            # The record's own commit; the export's is the second.
            return real(*arguments)
        raise error

    before = names(take.folder)
    with monkeypatch.context() as patch:
        patch.setattr(owner, stage, stopped)
        with pytest.raises((KeyboardInterrupt, SonicError, OSError)):
            export(take, outputs / "x.mp4", AGREED)
    assert calls
    assert names(outputs) == []
    assert names(take.folder) == before
    assert states(home) == ["not exported"]
    assert Ledger(home).check() == 1
    export(take, outputs / "x.mp4", AGREED)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames without links")
def test_file_systems_without_hard_links(take: Take, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*arguments: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", unsupported)
    done = export(take, outputs / "x.mp4", AGREED)
    assert done.sha256 == hashlib.sha256(done.path.read_bytes()).hexdigest()
    assert names(outputs) == ["x.mp4"]
    part, there = outputs / "part", outputs / "there.mp4"
    part.write_bytes(b"new")
    there.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        gate._move(part, there, overwrite=False)
    assert there.read_bytes() == b"precious"


def test_a_file_that_appears_meanwhile_survives(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = c2pa.sign

    def slow(*arguments: Any) -> None:
        real(*arguments)
        (outputs / "x.mp4").write_bytes(b"precious")

    monkeypatch.setattr(c2pa, "sign", slow)
    with pytest.raises(BadOutput, match="exists already"):
        export(take, outputs / "x.mp4", AGREED)
    assert (outputs / "x.mp4").read_bytes() == b"precious"
    assert names(outputs) == ["x.mp4"]
    assert states(home) == ["not exported"]


# Two processes


def _export_at_once(home: str, take_id: str, output: str, barrier: Any, answers: Any) -> None:
    os.environ["SONIC_HOME"] = home
    take = Store(home).load(take_id)
    barrier.wait()
    try:
        answers.put(export(take, output, AGREED).sha256)
    except SonicError as error:
        answers.put(type(error).__name__)


@pytest.mark.parametrize("same_name", [True, False])
def test_two_processes_at_once(same_name: bool, take: Take, clip: Path, outputs: Path, home: Path) -> None:
    other = adopt_clip(Store(home), clip, take_id="c" * 16, portrait=some_portrait(2), frames=10)
    places = [outputs / "x.mp4", outputs / ("x.mp4" if same_name else "y.mp4")]
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.SimpleQueue()
    workers = [
        context.Process(target=_export_at_once, args=(str(home), one.id, str(place), barrier, answers))
        for one, place in zip((take, other), places, strict=True)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    said = {answers.get(), answers.get()}
    written = {hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs.iterdir()}
    assert names(outputs) == sorted({place.name for place in places})
    assert said - {"BadOutput"} == written
    assert ("BadOutput" in said) == same_name
    ledger = Ledger(home)
    ledger.check()
    assert {record.output_sha256 for record in ledger.records()} - {""} == written
    assert json.loads((home / "consent" / "head.json").read_text())["count"] == ledger.check()
