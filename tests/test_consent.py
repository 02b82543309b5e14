"""Consent and its ledger: what is refused, what is remembered, and that no row changes unseen."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonic_ext.errors import (
    BadInput,
    BadOutput,
    BadSetting,
    ConsentExpired,
    ConsentMissing,
    ConsentRevoked,
    Tampered,
)
from sonic_ext.provenance import ledger as module
from sonic_ext.provenance.consent import Basis, Consent
from sonic_ext.provenance.ledger import Ledger, Record
from sonic_ext.provenance.store import Take
from sonic_ext.settings import Settings

TODAY = date.today()
AGREED = Consent(face="self", voice="synthetic")


def some_take(number: int = 0, **changes: Any) -> Take:
    """A take that was never drawn: the ledger reads its facts only."""
    file, pixels, sound, video = (hashlib.sha256(f"{name}{number}".encode()).hexdigest() for name in "pxav")
    folder, fitted = Path("nowhere"), Settings()
    take = Take(
        f"{number + 1:016x}", folder, folder, folder, "preview", "0.1.0", fitted, 7,
        file, pixels, sound, video,
        created=datetime.now(timezone.utc), width=256, height=256, fps=25, frames=25, seconds=1.0,
        framing="whole", warnings=(), sync_offset=None, portrait_file=folder, audio_file=folder,
    )  # fmt: skip
    return replace(take, **changes)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "home")


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Six rows: consent, export, consent, revoke, consent, consent."""
    first = ledger.record(AGREED, some_take(0))
    with ledger.exporting(first, "f" * 64, "out.mp4"):
        pass
    ledger.record(AGREED, some_take(1))
    ledger.revoke(first.id)
    ledger.record(AGREED, some_take(2))
    ledger.record(AGREED, some_take(3))
    return ledger


def tamper(ledger: Ledger, *statements: str) -> None:
    """Change the database as somebody with a database tool would, guards removed."""
    with closing(sqlite3.connect(ledger.folder / "ledger.sqlite3")) as db:
        db.execute("DROP TRIGGER IF EXISTS events_no_update")
        db.execute("DROP TRIGGER IF EXISTS events_no_delete")
        for statement in statements:
            db.execute(statement)
        db.commit()


# Consent


@pytest.mark.parametrize("basis", [*Basis, *map(str, Basis), " Self ", "authorized"])
def test_every_basis_is_taken_as_text(basis: str) -> None:
    consent = Consent(face=basis, voice=basis)
    assert consent.face in set(Basis)
    assert consent.face == consent.voice


@pytest.mark.parametrize("part", ["face", "voice"])
@pytest.mark.parametrize("basis", ["", None, "friend", "yes", "self, authorised"])
def test_face_and_voice_need_a_basis_each(part: str, basis: str) -> None:
    values: dict[str, Any] = {"face": "self", "voice": "self", part: basis}
    with pytest.raises(ConsentMissing, match=part) as caught:
        Consent(**values)
    assert caught.value.exit_code == 3
    assert all(str(legal) in caught.value.hint for legal in Basis)


def test_consent_lasts_to_the_end_of_its_last_day() -> None:
    consent = Consent(face="self", voice="self", expires=TODAY)
    consent.check()
    consent.check(today=TODAY)
    with pytest.raises(ConsentExpired, match=str(TODAY)):
        consent.check(today=TODAY + timedelta(days=1))


def test_text_is_accepted_for_every_field(tmp_path: Path) -> None:
    consent = Consent.from_mapping(
        {"face": "self", "voice": "estate", "expires": "2031-02-03", "evidence": str(tmp_path)}
    )
    assert (consent.expires, consent.evidence) == (date(2031, 2, 3), tmp_path)
    empty = Consent.from_mapping({"face": "self", "voice": "self", "expires": "", "evidence": ""})
    assert (empty.expires, empty.evidence) == (None, None)


@pytest.mark.parametrize("values", [{"expires": "tomorrow"}, {"expires": "2031-02-30"}, {"name": "x"}])
def test_other_text_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        Consent.from_mapping({"face": "self", "voice": "self", **values})


def test_evidence_that_cannot_be_read(tmp_path: Path, ledger: Ledger) -> None:
    consent = Consent(face="authorised", voice="self", evidence=tmp_path / "form.pdf")
    with pytest.raises(BadInput, match=r"form\.pdf"):
        ledger.record(consent, some_take())
    (tmp_path / "form.pdf").write_bytes(b"signed")
    assert ledger.record(consent, some_take()).evidence_sha256 == hashlib.sha256(b"signed").hexdigest()


def test_thin_consent_is_told() -> None:
    assert len(Consent(face="authorised", voice="self").warnings()) == 2
    assert Consent(face="self", voice="synthetic").warnings() == ()


# Records


def test_a_record_holds_all_that_was_said(ledger: Ledger, tmp_path: Path) -> None:
    form = tmp_path / "form.pdf"
    form.write_bytes(b"signed")
    stated = Consent(
        face="authorised",
        voice="estate",
        purpose="a greeting — 问候",
        expires=TODAY + timedelta(days=9),
        contact="rights@example.org",
        operator="O. Perator",
        subject="Ada Example",
        evidence=form,
    )
    off = Settings(label="off", label_off_reason="credits say it")
    take = some_take(settings=off)
    record = ledger.record(stated, take)
    assert (record.face, record.voice) == (Basis.AUTHORISED, Basis.ESTATE)
    assert (record.purpose, record.expires, record.contact) == (
        stated.purpose,
        stated.expires,
        stated.contact,
    )
    assert (record.operator, record.subject, record.notice_version) == ("O. Perator", "Ada Example", "1")
    assert (record.label, record.label_reason) == ("off", "credits say it")
    assert (record.portrait_sha256, record.audio_sha256) == (take.portrait_sha256, take.audio_sha256)
    assert (record.video_sha256, record.take, record.engine) == (
        take.master_sha256,
        take.id,
        "preview 0.1.0",
    )
    assert abs(record.time - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert ledger.show(record.id) == record
    assert json.loads(json.dumps(record.to_dict()))["state"] == "not exported"
    assert "Ada Example" in record.text()


def test_a_reason_counts_only_while_the_label_is_off(ledger: Ledger) -> None:
    left_over = Settings(label="start", label_off_reason="not needed any more")
    assert ledger.record(AGREED, some_take(settings=left_over)).label_reason == ""


def test_records_of_what_left_differ_from_those_of_what_did_not(ledger: Ledger) -> None:
    record = ledger.record(AGREED, some_take())
    with pytest.raises(ZeroDivisionError), ledger.exporting(record, "a" * 64, "out.mp4"):
        raise ZeroDivisionError
    assert ledger.show(record.id).state == "not exported"
    with ledger.exporting(record, "a" * 64, "out.mp4"):
        pass
    exported = ledger.show(record.id)
    assert (exported.state, exported.output_sha256, exported.output_name) == ("exported", "a" * 64, "out.mp4")
    assert ledger.check() == 2


def test_the_published_digest_tells_nothing_by_itself(ledger: Ledger) -> None:
    first, second = (ledger.record(AGREED, some_take()) for _ in range(2))
    assert first.digest != second.digest
    assert first.digest not in (first.hash, first.prev_hash)


def test_records_are_found_by_id_its_beginning_and_take(filled: Ledger) -> None:
    records = filled.records()
    assert [record.seq for record in records] == [1, 3, 5, 6]
    for record in records:
        assert filled.show(record.id.upper()) == filled.show(record.id[:10]) == record
        assert filled.show(record.take) == record
    assert filled.records(take=records[1].take) == (records[1],)
    filled.record(AGREED, some_take(3))
    with pytest.raises(BadInput, match="2 consent records"):
        filled.show(records[3].take)
    for unknown in ("", "abc", "zzzzzz"):
        with pytest.raises(BadInput, match="no consent record"):
            filled.show(unknown)


# Revoking


@pytest.mark.parametrize("name", ["id", "portrait_sha256", "portrait_pixel_sha256"])
def test_revoking_stops_the_portrait_by_file_and_by_pixels(ledger: Ledger, name: str) -> None:
    take = some_take()
    record = ledger.record(AGREED, take)
    other = ledger.record(AGREED, some_take(1))
    done = ledger.revoke(getattr(record, name), "asked by letter")
    assert set(done.hashes) == {take.portrait_sha256, take.portrait_pixel_sha256}
    assert done.records == (record.id,)
    saved_again = replace(take, portrait_sha256="0" * 64)
    same_file = replace(take, portrait_pixel_sha256="0" * 64)
    for again in (take, saved_again, same_file):
        with pytest.raises(ConsentRevoked, match="revoked on 20"):
            ledger.record(AGREED, again)
    assert ledger.show(record.id).state == "revoked"
    assert ledger.show(other.id).state == "not exported"
    ledger.record(AGREED, some_take(1))


def test_revoking_between_record_and_export_stops_it(ledger: Ledger) -> None:
    record = ledger.record(AGREED, some_take())
    ledger.revoke(record.id)
    with pytest.raises(ConsentRevoked), ledger.exporting(record, "a" * 64, "out.mp4"):
        pytest.fail("the file was moved")


def test_a_portrait_may_be_revoked_before_anybody_used_it(ledger: Ledger) -> None:
    take = some_take()
    assert ledger.revoke(take.portrait_pixel_sha256).records == ()
    with pytest.raises(ConsentRevoked):
        ledger.refuse_revoked(take.portrait_sha256, take.portrait_pixel_sha256)
    ledger.refuse_revoked("0" * 64)


@pytest.mark.parametrize("target", ["", "nobody", "12345678", "g" * 64])
def test_revoking_nothing(filled: Ledger, target: str) -> None:
    with pytest.raises(BadInput, match="neither"):
        filled.revoke(target)
    assert filled.check() == 6


# Generated portraits


def test_generated_portraits_are_remembered(ledger: Ledger) -> None:
    take = some_take()
    assert not ledger.is_synthetic(take.portrait_pixel_sha256)
    ledger.remember_synthetic(take.portrait_pixel_sha256, "txt2img")
    ledger.remember_synthetic(take.portrait_pixel_sha256, "img2img")
    assert ledger.is_synthetic(take.portrait_pixel_sha256)
    assert ledger.record(AGREED, take).portrait_synthetic
    assert not ledger.record(AGREED, some_take(1)).portrait_synthetic
    with pytest.raises(BadInput):
        ledger.remember_synthetic("not a hash", "txt2img")


def test_a_forged_memory_is_not_believed(ledger: Ledger) -> None:
    ledger.remember_synthetic("a" * 64, "txt2img")
    tamper(ledger, f"UPDATE synthetic SET pixel_hash = '{'b' * 64}'")
    assert not ledger.is_synthetic("b" * 64)


# The chain


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM events WHERE seq = 1", "Row 1 of the consent ledger is missing"),
        ("DELETE FROM events WHERE seq IN (2, 3)", "Rows 2 to 3 of the consent ledger are missing"),
        ("DELETE FROM events WHERE seq = 6", "Row 6 of the consent ledger is missing"),
        ("DELETE FROM events WHERE seq > 4", "Rows 5 to 6 of the consent ledger are missing"),
        ("DELETE FROM events", "Rows 1 to 6 of the consent ledger are missing"),
        ("UPDATE events SET body = replace(body, 'self', 'estate') WHERE seq = 3", "Row 3 .* altered"),
        ("UPDATE events SET kind = 'note' WHERE kind = 'revoke'", "Row 4 .* altered"),
        ("UPDATE events SET seq = seq + 10", "Rows 1 to 10"),
        ("UPDATE events SET hash = 'ff' WHERE seq = 6", "Row 6 .* altered"),
        ("UPDATE events SET body = x'00ff' WHERE seq = 2", "."),
        ("INSERT INTO events SELECT 7, kind, body, hash, hash FROM events WHERE seq = 6", "Row 7 .* altered"),
        ("INSERT INTO events VALUES (0, 'revoke', '{}', '', '')", "Row 0 .* altered"),
        ("INSERT INTO events VALUES (999999999999, 'revoke', '{}', '', '')", "Rows 7 to 99"),
        ("DROP TABLE events", "cannot be read"),
    ],
)
def test_tampering_shows_and_stops_everything(filled: Ledger, statement: str, said: str) -> None:
    record = filled.records()[1]
    assert filled.problems() == ()
    tamper(filled, statement)
    with pytest.raises(Tampered, match=said) as caught:
        filled.check()
    assert caught.value.exit_code == 3
    assert filled.problems()
    uses: list[Callable[[], object]] = [
        lambda: filled.record(AGREED, some_take(9)),
        lambda: filled.exporting(record, "a" * 64, "x").__enter__(),
        lambda: filled.revoke(record.id),
        lambda: filled.remember_synthetic("a" * 64, "txt2img"),
        filled.records,
    ]
    for use in uses:
        with pytest.raises(Tampered):
            use()


def test_swapped_rows_show(filled: Ledger) -> None:
    tamper(
        filled,
        "UPDATE events SET seq = -1 WHERE seq = 5",
        "UPDATE events SET seq = 5 WHERE seq = 6",
        "UPDATE events SET seq = 6 WHERE seq = -1",
    )
    assert [problem.split(" of ")[0] for problem in filled.problems()[:2]] == ["Row 5", "Row 6"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_character_goes_unseen(filled: Ledger, data: st.DataObject) -> None:
    original = (filled.folder / "ledger.sqlite3").read_bytes()
    seq = data.draw(st.integers(1, 6))
    column = data.draw(st.sampled_from(["kind", "body", "prev", "hash"]))
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db:
        text = db.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()[0]
        place = data.draw(st.integers(0, len(text) - 1))
        other = data.draw(st.characters(codec="ascii", min_codepoint=33).filter(lambda c: c != text[place]))
        db.execute("DROP TRIGGER events_no_update")
        changed = text[:place] + other + text[place + 1 :]
        db.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (changed, seq))
        db.commit()
    assert any(f"Row {seq} " in problem for problem in filled.problems())
    (filled.folder / "ledger.sqlite3").write_bytes(original)
    assert filled.check() == 6


@pytest.mark.parametrize("name", ["ledger.sqlite3", "head.json", "key"])
def test_a_missing_file_shows(filled: Ledger, name: str) -> None:
    (filled.folder / name).unlink()
    with pytest.raises(Tampered, match="missing"):
        filled.record(AGREED, some_take())
    assert filled.problems()
    assert not (filled.folder / name).exists()


@pytest.mark.parametrize("name", ["head.json", "key"])
def test_head_and_key_of_another_ledger_show(filled: Ledger, tmp_path: Path, name: str) -> None:
    other = Ledger(tmp_path / "other")
    other.record(AGREED, some_take())
    (filled.folder / name).write_bytes((other.folder / name).read_bytes())
    with pytest.raises(Tampered):
        filled.check()


@pytest.mark.parametrize("change", [{"count": 4}, {"hash": "0" * 64}, {"mac": "0" * 64}, {"count": "x"}])
def test_an_edited_head_shows(filled: Ledger, change: dict[str, object]) -> None:
    head = filled.folder / "head.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | change), encoding="utf-8")
    with pytest.raises(Tampered, match="head"):
        filled.check()


def test_a_database_put_back_to_an_older_copy_shows(filled: Ledger) -> None:
    database = filled.folder / "ledger.sqlite3"
    older = database.read_bytes()
    filled.record(AGREED, some_take(8))
    database.write_bytes(older)
    with pytest.raises(Tampered, match="Row 7 of the consent ledger is missing"):
        filled.check()


def test_a_file_that_is_no_database_shows(filled: Ledger) -> None:
    (filled.folder / "ledger.sqlite3").write_bytes(b"x" * 8192)
    with pytest.raises(Tampered, match="cannot be read"):
        filled.check()


def test_a_head_that_lags_after_a_crash_is_caught_up_with(
    filled: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "replace_file", crash)
        filled.record(AGREED, some_take(7))
    assert json.loads((filled.folder / "head.json").read_text())["count"] == 6
    assert filled.check() == 7
    filled.record(AGREED, some_take(8))
    assert json.loads((filled.folder / "head.json").read_text())["count"] == 8


def test_rows_cannot_be_changed_through_the_database(filled: Ledger) -> None:
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db:
        for statement in ("DELETE FROM events", "UPDATE events SET kind = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


def test_deleting_everything_starts_afresh(filled: Ledger) -> None:
    shutil.rmtree(filled.folder)
    assert filled.check() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_nobody_else_may_read(filled: Ledger) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in filled.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(filled.folder.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(BadOutput, match="private folder"):
        Ledger(tmp_path / "file" / "home").check()


def test_a_locked_ledger_is_told(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(BadOutput, match="locked"):
            filled.record(AGREED, some_take())
    assert filled.check() == 6


# Two processes


def _write_many(home: str, start: int, gate: Any) -> None:
    gate.wait()
    ledger = Ledger(home)
    for number in range(start, start + 15):
        record = ledger.record(AGREED, some_take(number))
        with ledger.exporting(record, f"{number:064x}", "out.mp4"):
            pass


def test_two_processes_write_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(2)
    home = str(tmp_path / "home")
    workers = [context.Process(target=_write_many, args=(home, start, gate)) for start in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    ledger = Ledger(home)
    assert ledger.check() == 60
    records = ledger.records()
    assert {record.output_sha256 for record in records} == {
        f"{number:064x}" for number in itertools.chain(range(15), range(100, 115))
    }
    assert all(isinstance(record, Record) and record.state == "exported" for record in records)
