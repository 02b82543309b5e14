"""What the next start does about an export that was killed. `faults/` kills; here the states are made."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sonic_ext.app.server import serve
from sonic_ext.cli.main import main
from sonic_ext.errors import BadOutput
from sonic_ext.files.digest import sha256_of
from sonic_ext.files.locks import held, lock_of
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.provenance import c2pa, gate, intents
from sonic_ext.provenance.chain import Chain
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import export
from sonic_ext.provenance.intents import FOLDER, Intent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.recovery import clear_up, recover
from sonic_ext.provenance.take import Take

AGREED = Consent(face="authorised", voice="synthetic", purpose="a test")
OLD = b"what was there before"
STEPS: dict[str, Any] = {
    "write": Intent,
    "copy_to_disk": gate,
    "move": Intent,
    "commit": Chain,
    "_open_to_others": Intent,
    "sync_folder": intents,
}
"""What an export does from the intent to its end: step → where it is found."""

Interrupt = Callable[..., Path]


class Killed(BaseException):
    """Nobody clears up after this one, as after a kill."""


@pytest.fixture
def home(sonic_home: Path) -> Path:
    return sonic_home


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "out puts ‘视频’"
    folder.mkdir()
    return folder


@pytest.fixture
def interrupted(take: Take, outputs: Path, home: Path) -> Interrupt:
    """Export, and die once `step` was carried out."""

    def export_until(step: str, *, overwrite: bool = False) -> Path:
        owner, calls = STEPS[step], []
        real = getattr(owner, step)
        # The record's own commit is the first; folders are synced for the intent (2), the move, the end.
        at = {"commit": 2, "sync_folder": 4}.get(step, 1)

        def last(*arguments: Any) -> None:
            real(*arguments)
            calls.append(step)
            if len(calls) == at:
                raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, step, last)
            patch.setattr(gate, "undo_failed_export", lambda *_: None)
            with pytest.raises(Killed):
                export(take, outputs / "x.mp4", AGREED, overwrite=overwrite)
        (intent,) = (home / FOLDER).glob("*.json")
        # What a killed process leaves besides: its folder, and its lock file without the lock.
        intent.with_suffix("").mkdir()
        (intent.with_suffix("") / "signed.mp4").write_bytes(b"half")
        lock_of(intent.with_suffix("")).write_bytes(b"")
        return intent

    return export_until


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def states(home: Path) -> list[str]:
    return [record.state for record in Ledger(home).records()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has hard links."""
    if not request.param:

        def unsupported(*_: Any, **__: Any) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr("os.link", unsupported)
    return bool(request.param)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("step", list(STEPS))
def test_whatever_was_begun_is_finished_or_undone(
    step: str, overwrite: bool, links: bool, interrupted: Interrupt, take: Take, outputs: Path, home: Path
) -> None:
    there, plain = outputs / "x.mp4", outputs / "plain"
    plain.write_bytes(b"")
    usual = mode(plain)
    plain.unlink()
    if overwrite:
        there.write_bytes(OLD)
        there.chmod(0o640)
        usual = mode(there)
    interrupted(step, overwrite=overwrite)
    recover(home)
    finished = step not in ("write", "copy_to_disk")
    assert names(outputs) == (["x.mp4"] if finished or overwrite else [])
    assert states(home) == (["exported"] if finished else ["not exported"])
    assert names(home / FOLDER) == []
    if finished:
        (record,) = Ledger(home).records()
        assert c2pa.read(there).consent_sha256 == record.digest
        assert mode(there) == usual
    elif overwrite:
        assert (there.read_bytes(), mode(there)) == (OLD, usual)
    assert Ledger(home).check() == (2 if finished else 1)
    recover(home)
    assert export(take, outputs / "again.mp4", AGREED).record.state == "exported"


@pytest.mark.parametrize("overwrite", [False, True])
def test_revoked_since(
    overwrite: bool, links: bool, interrupted: Interrupt, take: Take, outputs: Path, home: Path
) -> None:
    if overwrite:
        (outputs / "x.mp4").write_bytes(OLD)
    interrupted("move", overwrite=overwrite)
    Ledger(home).revoke(take.portrait_sha256)
    recover(home)
    assert names(outputs) == (["x.mp4"] if overwrite else [])
    assert not overwrite or (outputs / "x.mp4").read_bytes() == OLD
    assert states(home) == ["revoked"]
    assert Ledger(home).records()[0].exported_at is None


def test_revoked_after_the_row(interrupted: Interrupt, take: Take, outputs: Path, home: Path) -> None:
    """It was exported before."""
    interrupted("commit")
    Ledger(home).revoke(take.portrait_sha256)
    recover(home)
    assert names(outputs) == ["x.mp4"]
    assert Ledger(home).records()[0].exported_at is not None


@pytest.mark.parametrize("step", ["write", "copy_to_disk", "move"])
def test_a_file_of_somebody_else_survives(
    step: str, interrupted: Interrupt, outputs: Path, home: Path
) -> None:
    interrupted(step)
    (outputs / "x.mp4").unlink(missing_ok=True)
    (outputs / "x.mp4").write_bytes(b"somebody else's")
    recover(home)
    assert names(outputs) == ["x.mp4"]
    assert (outputs / "x.mp4").read_bytes() == b"somebody else's"
    assert states(home) == ["not exported"]


def test_an_empty_file_of_somebody_else_survives(interrupted: Interrupt, outputs: Path, home: Path) -> None:
    interrupted("copy_to_disk")
    (outputs / "x.mp4").write_bytes(b"")
    recover(home)
    assert names(outputs) == ["x.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames without links")
@pytest.mark.parametrize("links", [False], indirect=True)
def test_a_name_that_was_reserved_is_given_back(
    links: bool, interrupted: Interrupt, outputs: Path, home: Path
) -> None:
    """Without hard links the name is taken by an empty file first."""
    real = Path.replace

    def dies(self: Path, target: Path) -> Path:
        if target == outputs / "x.mp4":
            raise Killed
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        interrupted("move")
    assert (outputs / "x.mp4").read_bytes() == b""
    recover(home)
    assert (names(outputs), names(home / FOLDER)) == ([], [])


@pytest.mark.parametrize("links", [False], indirect=True)
def test_an_overwritten_file_that_was_set_aside_comes_back(
    links: bool, interrupted: Interrupt, outputs: Path, home: Path
) -> None:
    """Without hard links there is a moment in which the place is empty."""
    (outputs / "x.mp4").write_bytes(OLD)
    real = Path.replace

    def dies(self: Path, target: Path) -> Path:
        if target == outputs / "x.mp4":
            raise Killed
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        interrupted("move", overwrite=True)
    assert "x.mp4" not in names(outputs)
    recover(home)
    assert (names(outputs), (outputs / "x.mp4").read_bytes()) == (["x.mp4"], OLD)


def test_a_video_that_was_moved_away_after_its_row(interrupted: Interrupt, outputs: Path, home: Path) -> None:
    """An overwritten file does not come back for that."""
    (outputs / "x.mp4").write_bytes(OLD)
    interrupted("commit", overwrite=True)
    (outputs / "x.mp4").rename(outputs / "mine.mp4")
    recover(home)
    assert names(outputs) == ["mine.mp4"]
    assert states(home) == ["exported"]


def test_a_living_export_is_left_alone(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another start looks in at every step."""

    def disturbed(real: Any) -> Any:
        def step(*arguments: Any) -> Any:
            recover(home)
            return real(*arguments)

        return step

    for name, owner in STEPS.items():
        monkeypatch.setattr(owner, name, disturbed(getattr(owner, name)))
    assert export(take, outputs / "x.mp4", AGREED).record.state == "exported"
    assert (names(outputs), names(home / FOLDER)) == (["x.mp4"], [])


def test_two_starts_at_once(interrupted: Interrupt, outputs: Path, home: Path) -> None:
    """While one clears up, the other goes past it."""
    intent = interrupted("move")
    with held(intent.with_suffix("")) as mine:
        assert mine
        recover(home)
        assert states(home) == ["not exported"]
    recover(home)
    assert states(home) == ["exported"]


def test_an_old_take_can_still_be_exported(take: Take, outputs: Path) -> None:
    """Takes expire at a start, not under the hands of an export."""
    for path in (*take.folder.iterdir(), take.folder):
        os.utime(path, (0, 0))
    assert export(take, outputs / "x.mp4", AGREED).record.state == "exported"
    clear_up()
    assert not take.folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_an_overwritten_link_comes_back_as_one(interrupted: Interrupt, outputs: Path, home: Path) -> None:
    (outputs / "target").write_bytes(OLD)
    (outputs / "x.mp4").symlink_to("target")
    interrupted("move", overwrite=True)
    assert not (outputs / "x.mp4").is_symlink()
    Ledger(home).revoke(Ledger(home).records()[0].id)
    recover(home)
    assert names(outputs) == ["target", "x.mp4"]
    assert (outputs / "x.mp4").readlink() == Path("target")
    assert (outputs / "target").read_bytes() == OLD


def test_a_drive_that_is_unplugged(
    interrupted: Interrupt, outputs: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted("move")
    outputs.rename(outputs.with_name("unplugged"))
    with caplog.at_level(logging.WARNING):
        recover(home)
    assert "next start tries again" in caplog.text
    assert [path.suffix for path in (home / FOLDER).iterdir()] == [".json"]
    outputs.with_name("unplugged").rename(outputs)
    recover(home)
    assert (names(outputs), states(home), names(home / FOLDER)) == (["x.mp4"], ["exported"], [])


@pytest.mark.parametrize("text", ["", "{", '{"record": "1"}', "[]"])
def test_an_intent_that_was_not_written_to_its_end(
    text: str, interrupted: Interrupt, outputs: Path, home: Path
) -> None:
    """Nothing had been done then."""
    interrupted("write").write_text(text, encoding="utf-8")
    recover(home)
    assert (names(outputs), names(home / FOLDER), states(home)) == ([], [], ["not exported"])


def test_an_intent_lets_no_other_video_out(
    interrupted: Interrupt, take: Take, outputs: Path, home: Path
) -> None:
    """A row is written only for what is signed for the record, whatever an intent says."""
    intent = interrupted("move")
    (outputs / "x.mp4").write_bytes(take.master.read_bytes())
    told = json.loads(intent.read_text()) | {"sha256": sha256_of(take.master)}
    intent.write_text(json.dumps(told), encoding="utf-8")
    recover(home)
    assert (names(outputs), states(home)) == ([], ["not exported"])


def test_a_ledger_that_cannot_be_asked(
    interrupted: Interrupt, outputs: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted("move")
    key = home / "consent" / "key"
    secret = key.read_bytes()
    key.unlink()
    with caplog.at_level(logging.WARNING):
        recover(home)
    assert "incomplete" in caplog.text
    key.write_bytes(secret)
    recover(home)
    assert (names(outputs), states(home), names(home / FOLDER)) == (["x.mp4"], ["exported"], [])


def test_a_ledger_that_began_anew(interrupted: Interrupt, outputs: Path, home: Path) -> None:
    """It does not know the record: the video does not stay."""
    interrupted("move")
    shutil.rmtree(home / "consent")
    for copy in home.glob("ledger-head*"):
        copy.unlink()
    recover(home)
    assert (names(outputs), states(home), names(home / FOLDER)) == ([], [], [])


def test_clearing_up_that_fails_after_the_row_is_tried_again(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export is done, and said to be."""

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    (outputs / "x.mp4").write_bytes(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(Intent, "_open_to_others", lambda self: refuse(self.path, 0))
        assert export(take, outputs / "x.mp4", AGREED, overwrite=True).record.state == "exported"
    assert len(names(outputs)) == 2
    recover(home)
    assert (names(outputs), names(home / FOLDER)) == (["x.mp4"], [])


def test_an_interrupt_after_the_row_keeps_the_video(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the row and the end: taking the video back would make the row a lie."""

    def interrupt(self: Ledger) -> None:
        if len(list(self.folder.parent.glob(f"{FOLDER}/*.json"))) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_seal", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(take, outputs / "x.mp4", AGREED)
    assert (names(outputs), states(home), names(home / FOLDER)) == (["x.mp4"], ["exported"], [])


def test_an_overwritten_file_comes_back_if_the_row_cannot_be_written(
    take: Take, outputs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outputs / "x.mp4").write_bytes(OLD)
    real = Chain.commit

    def full(self: Chain) -> None:
        if (home / FOLDER).is_dir() and list((home / FOLDER).glob("*.json")):
            raise BadOutput("The disk is full.", "Make room.")
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "commit", full)
        with pytest.raises(BadOutput, match="disk is full"):
            export(take, outputs / "x.mp4", AGREED, overwrite=True)
    assert (names(outputs), (outputs / "x.mp4").read_bytes()) == (["x.mp4"], OLD)
    assert names(home / FOLDER) == []


# Starts


def test_the_same_command_again(interrupted: Interrupt, take: Take, outputs: Path) -> None:
    """What the killed one left at its place is not in the way."""
    intent = interrupted("copy_to_disk")
    intent.with_suffix(".reserved").write_bytes(b"")
    (outputs / "x.mp4").write_bytes(b"")
    words = ["export", take.id, "-o", str(outputs / "x.mp4"), "--json"]
    assert main([*words, "--consent-face", "authorised", "--consent-voice", "synthetic"]) == 0
    assert names(outputs) == ["x.mp4"]


def test_looking_into_the_ledger_is_a_start(
    interrupted: Interrupt, outputs: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted("move")
    assert main(["consent", "list", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert (record["state"], record["output_name"]) == ("exported", "x.mp4")


def test_revoking_undoes_what_was_interrupted(
    interrupted: Interrupt, take: Take, outputs: Path, home: Path
) -> None:
    """It comes first: what was on its way is not finished on the way to the revocation."""
    interrupted("move")
    assert main(["consent", "revoke", take.portrait_sha256]) == 0
    assert (names(outputs), names(home / FOLDER)) == ([], [])
    assert Ledger(home).records()[0].exported_at is None


def test_the_servers_start_is_one(interrupted: Interrupt, outputs: Path, home: Path) -> None:
    pytest.importorskip("fastapi", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
    pytest.importorskip("uvicorn", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
    interrupted("copy_to_disk")

    def stop(url: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(Standalone(outputs), "127.0.0.1", 0, opened=stop, page=False)
    assert names(outputs) == []


def test_the_lock_of_a_killed_builder_goes(home: Path) -> None:
    """Killed after it had made the folder; locks of others that lie there stay."""
    Ledger(home).check()
    (home / ".consent.part.lock").write_bytes(b"")
    (home / "sonic-cuda.lock").write_bytes(b"")
    recover(home)
    assert [name for name in names(home) if name.endswith(".lock")] == ["sonic-cuda.lock"]


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    recover(tmp_path / "none")
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read anything")
def test_a_home_that_cannot_be_read_keeps_nothing_from_starting(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / FOLDER).mkdir(parents=True)
    home.chmod(0)
    with caplog.at_level(logging.WARNING):
        recover(home)
    home.chmod(0o700)
    assert "not cleared up" in caplog.text
