"""The gate: a marked, signed file with a consent record comes out, or nothing does."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import socket
import sqlite3
import stat
import sys
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import time_stamping
from made_takes import FPS, SIDE, adopt_clip, record_clip, some_portrait
from patience import PATIENCE
from time_stamps import TimeStampAuthority

from sonic_ext.errors import (
    BadInput,
    BadOutput,
    BadSetting,
    ConsentExpired,
    ConsentRevoked,
    MissingPart,
    Refused,
    SonicError,
    Tampered,
)
from sonic_ext.media.boxes import top_boxes
from sonic_ext.media.video import probe
from sonic_ext.provenance import c2pa, certificates, gate, metadata
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import Exported, check_output, export
from sonic_ext.provenance.intents import Intent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take
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
    assert names(home / "exports") == []
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
        start, end = next((start, end) for kind, start, end in top_boxes(file) if kind == b"mdat")
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_until_it_is_recorded_nobody_else_may_read_it(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at before each step of the way out, whatever lies in the output folder by then."""
    from sonic_ext.provenance.chain import Chain

    seen = []

    def looking(real: Any) -> Any:
        def looked(*arguments: Any) -> Any:
            seen.extend(stat.S_IMODE(path.stat().st_mode) for path in outputs.iterdir())
            return real(*arguments)

        return looked

    steps: tuple[tuple[Any, str], ...] = (
        (gate, "copy_to_disk"),
        (Intent, "move"),
        (Chain, "commit"),
        (Intent, "finish"),
    )
    for owner, name in steps:
        monkeypatch.setattr(owner, name, looking(getattr(owner, name)))
    export(take, outputs / "x.mp4", AGREED)
    assert len(seen) >= 4
    assert set(seen) == {0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_an_overwritten_file_keeps_its_mode(take: Take, outputs: Path) -> None:
    there = outputs / "x.mp4"
    there.write_bytes(b"private")
    there.chmod(0o600)
    export(take, there, AGREED, overwrite=True)
    assert stat.S_IMODE(there.stat().st_mode) == 0o600


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


def test_without_its_time_stamp_the_video_comes_out_and_it_is_said(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(certificates.STAMPS_VARIABLE, "http://127.0.0.1:9/nobody")
    done = export(take, outputs / "hello.mp4", Consent(face="self", voice="self", contact="a@example.com"))
    assert any("without a time stamp" in warning for warning in done.warnings)
    assert (done.signature.state, done.signature.time_stamp) == ("valid", None)
    assert states(home) == ["exported"]


def test_a_time_stamp_comes_with_the_video(
    take: Take, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TimeStampAuthority(time_stamping("Clock", serial=0xC0FFEE)).serving() as authority:
        monkeypatch.setenv(certificates.STAMPS_VARIABLE, authority.url)
        done = export(take, outputs / "hello.mp4", AGREED)
    assert done.signature.time_stamp is not None
    assert done.signature.time_stamp.authority == "Clock"
    assert not any("time stamp" in warning for warning in done.warnings)


def test_the_network_is_left_alone_by_default(
    take: Take, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even Python's own code opens a connection; the C2PA library is told of no address."""
    told: list[str] = []
    real = c2pa._signer

    def watched(sdk: Any, signer: certificates.Identity) -> Any:
        told.append(signer.stamps)
        return real(sdk, signer)

    monkeypatch.setattr(c2pa, "_signer", watched)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    export(take, outputs / "hello.mp4", AGREED)
    assert told == [""]


# Refusals


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        (certificates.ANCHORS_VARIABLE, "no such list.pem", BadInput),
        (certificates.STAMPS_VARIABLE, "nowhere", BadSetting),
    ],
)
def test_a_setting_of_the_signature_is_refused_before_anything_is_recorded(
    variable: str,
    value: str,
    error: type[SonicError],
    take: Take,
    outputs: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(error, match=value):
        export(take, outputs / "hello.mp4", AGREED)
    assert (names(outputs), states(home)) == ([], [])


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


# A take cannot vouch for itself


def _edited(take: Take, **changes: Any) -> None:
    """As an attacker would who can write to the store but not read the key."""
    path = take.folder / "take.json"
    sealed = json.loads(path.read_text(encoding="utf-8"))
    sealed["take"] |= changes
    path.write_text(json.dumps(sealed), encoding="utf-8")


def test_a_revoked_portrait_is_not_let_out_under_other_hashes(take: Take, outputs: Path, home: Path) -> None:
    Ledger(home).revoke(take.portrait_sha256)
    other = some_portrait(1)
    take.portrait_file.write_bytes(other.data)
    hashes = {"portrait_sha256": other.sha256, "portrait_pixel_sha256": other.pixel_sha256}
    _edited(take, **hashes)
    with pytest.raises(Refused, match=r"take\.json .* altered"):
        export(Store(home).load(take.id), outputs / "x.mp4", AGREED)
    with pytest.raises(Refused, match=r"take\.json .* altered"):
        export(replace(take, **hashes), outputs / "x.mp4", AGREED)
    with pytest.raises(ConsentRevoked):
        export(take, outputs / "x.mp4", AGREED)
    assert (names(outputs), states(home)) == ([], [])


def test_a_strangers_footage_is_not_signed_as_ours(take: Take, clip: Path, outputs: Path, home: Path) -> None:
    foreign = _foreign(take)
    take.master.write_bytes(foreign)
    _edited(take, master_sha256=hashlib.sha256(foreign).hexdigest())
    with pytest.raises(Refused, match=r"take\.json .* altered"):
        export(Store(home).load(take.id), outputs / "x.mp4", AGREED)
    assert (names(outputs), states(home)) == ([], [])


def test_a_take_that_was_changed_in_memory_is_refused(take: Take, outputs: Path) -> None:
    for changes in ({"label": "off", "label_off_reason": "x"}, {"label": "throughout"}):
        with pytest.raises(Refused, match="not the one that was sealed"):
            export(replace(take, settings=Settings(**changes)), outputs / "x.mp4", AGREED)
    assert names(outputs) == []


def _foreign(take: Take) -> bytes:
    """Another MP4 that can be tagged and signed."""
    folder = take.folder.parent / "foreign"
    folder.mkdir()
    record_clip(folder, Settings(label="throughout"), 12, "f" * 16)
    data = (folder / "master.mp4").read_bytes()
    shutil.rmtree(folder)
    return data


@pytest.mark.parametrize("step", ["record", "remux", "sign"])
def test_files_that_are_swapped_after_the_check_do_not_get_in(
    step: str, take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was compared is what is tagged and signed: the store's own files may change meanwhile."""
    foreign, master = _foreign(take), take.master.read_bytes()
    owner: Any = {"record": Ledger, "remux": gate, "sign": c2pa}[step]
    real = getattr(owner, step)

    def swapping(*arguments: Any, **named: Any) -> Any:
        take.master.write_bytes(foreign)
        take.portrait_file.write_bytes(some_portrait(5).data)
        return real(*arguments, **named)

    monkeypatch.setattr(owner, step, swapping)
    signed: list[str] = []
    sign = c2pa.sign

    def seeing(source: Path, target: Path, copy: Take, *rest: Any) -> Any:
        made = sign(source, target, copy, *rest)
        signed.append(hashlib.sha256(copy.portrait_file.read_bytes()).hexdigest())
        return made

    monkeypatch.setattr(c2pa, "sign", seeing)
    done = export(take, outputs / "x.mp4", AGREED)
    with io.BytesIO(master) as file:
        start, end = next((start, end) for kind, start, end in top_boxes(file) if kind == b"mdat")
    assert master[start:end] in done.path.read_bytes()
    assert probe(done.path).frames == 10
    assert done.record.video_sha256 == hashlib.sha256(master).hexdigest()
    assert signed == [take.portrait_sha256]


def test_a_take_of_version_0_1_is_refused(outputs: Path, home: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(Path(__file__).parent / "data" / "home_0_1.zip", home)
    home.chmod(0o700)
    with pytest.raises(Refused, match=r"version 0\.1"):
        export(Store(home).load("0123456789abcdef"), outputs / "x.mp4", AGREED)
    assert names(outputs) == []


def test_an_older_copy_of_the_ledger_lets_nothing_out(
    take: Take, clip: Path, outputs: Path, home: Path, tmp_path: Path
) -> None:
    """A take that was made after the revocation tells that the ledger was put back."""
    shutil.copytree(home / "consent", tmp_path / "copy")
    Ledger(home).revoke(take.portrait_sha256)
    adopt_clip(Store(home), clip, take_id="d" * 16, portrait=some_portrait(1), frames=10)
    shutil.rmtree(home / "consent")
    shutil.copytree(tmp_path / "copy", home / "consent")
    with pytest.raises(Tampered, match="older than the copy of its head"):
        export(take, outputs / "x.mp4", AGREED)
    (home / "ledger-head.json").unlink()
    with pytest.raises(Tampered, match="older than take dddd"):
        export(take, outputs / "x.mp4", AGREED)
    assert names(outputs) == []


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


def test_nothing_is_exported_into_the_private_folder(take: Take, outputs: Path, home: Path) -> None:
    (outputs / "way in").symlink_to(home)
    places = (
        home / "x.mp4",
        take.folder / "x.mp4",
        take.master,
        outputs / ".." / outputs.name / "way in" / "takes" / "x.mp4",
    )
    for place in places:
        with pytest.raises(BadOutput, match="private folder"):
            check_output(place, overwrite=True)
        with pytest.raises(BadOutput, match="private folder"):
            export(take, place, AGREED, overwrite=True)
    assert sorted(path.name for path in home.rglob("*.mp4")) == ["master.mp4", "preview.mp4"]
    assert states(home) == []


def test_a_take_is_not_exported_over_itself(take: Take, outputs: Path, home: Path) -> None:
    """Other names of its files are found whatever leads to them."""
    for number, file in enumerate((take.master, take.preview, take.portrait_file, take.audio_file)):
        os.link(file, outputs / f"hard {number}.mp4")
        (outputs / f"soft {number}.mp4").symlink_to(file)
    before = take.master.read_bytes()
    for place in sorted(outputs.iterdir()):
        with pytest.raises(BadOutput, match=r"of the take itself|private folder"):
            export(take, place, AGREED, overwrite=True)
    assert take.master.read_bytes() == before
    assert len(names(outputs)) == 8
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
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT and Path(path).parent == outputs:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
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
        patch.setattr(gate, "copy_to_disk", full)
        with pytest.raises(BadOutput, match="No space left"):
            export(take, outputs / name, AGREED, overwrite=overwrite)
    assert names(outputs) == ["x.mp4"]
    assert (outputs / "x.mp4").read_bytes() == b"precious"
    assert states(home) == ["not exported"]
    assert export(take, outputs / name, AGREED, overwrite=overwrite).record.state == "exported"
    assert states(home) == ["not exported", "exported"]


@pytest.mark.parametrize(
    "stage", ["remux", "append_xmp", "sha256_of", "write", "copy_to_disk", "move", "sign", "read", "commit"]
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
    from sonic_ext.provenance.chain import Chain

    owners: dict[str, Any] = {"sign": c2pa, "read": c2pa, "commit": Chain, "write": Intent, "move": Intent}
    owner = owners.get(stage, gate)
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
    assert (names(take.folder), names(home / "exports")) == (before, [])
    assert states(home) == ["not exported"]
    assert Ledger(home).check() == 1
    export(take, outputs / "x.mp4", AGREED)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames without links")
def test_file_systems_without_hard_links(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", unsupported)
    done = export(take, outputs / "x.mp4", AGREED)
    assert done.sha256 == hashlib.sha256(done.path.read_bytes()).hexdigest()
    assert names(outputs) == ["x.mp4"]
    there = outputs / "there.mp4"
    there.write_bytes(b"precious")
    intent = Intent(home / "exports" / "1.json", "1" * 16, "", there, overwrite=False, mode=None)
    intent.part.write_bytes(b"new")
    with pytest.raises(FileExistsError):
        intent.move()
    assert there.read_bytes() == b"precious"
    assert names(home / "exports") == []
    done = export(take, there, AGREED, overwrite=True)
    assert done.sha256 == hashlib.sha256(there.read_bytes()).hexdigest()
    assert names(outputs) == [intent.part.name, "there.mp4", "x.mp4"]


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
    barrier.wait(PATIENCE)
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
        worker.join(PATIENCE)
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
