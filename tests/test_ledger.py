"""The consent ledger: what is remembered, what is refused, and that no row changes unseen."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import multiprocessing
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_takes import undrawn_take
from patience import PATIENCE

from sonic_ext.configuration import Configuration
from sonic_ext.errors import (
    BadInput,
    BadOutput,
    ConsentRevoked,
    Tampered,
)
from sonic_ext.provenance import database
from sonic_ext.provenance import ledger as module
from sonic_ext.provenance.chain import Head, sealed_mac
from sonic_ext.provenance.consent import Basis, Consent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.records import Record
from sonic_ext.settings import Settings

TODAY = date.today()
AGREED = Consent(face="self", voice="synthetic")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "home")


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Six rows: consent, export, consent, revoke, consent, consent."""
    first = ledger.record(AGREED, undrawn_take(0))
    with ledger.exporting(first, "f" * 64, "out.mp4"):
        pass
    ledger.record(AGREED, undrawn_take(1))
    ledger.revoke(first.id)
    ledger.record(AGREED, undrawn_take(2))
    ledger.record(AGREED, undrawn_take(3))
    return ledger


def tamper(ledger: Ledger, *statements: str) -> None:
    """Change the database as somebody with a database tool would; the guards stand again afterwards."""
    with closing(sqlite3.connect(ledger.folder / "ledger.sqlite3")) as db, unguarded(db):
        for statement in statements:
            db.execute(statement)


@contextmanager
def unguarded(db: sqlite3.Connection) -> Iterator[None]:
    """Without the triggers, which stand again afterwards."""
    guards = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in guards:
        db.execute(sql)
    db.commit()


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
    take = undrawn_take(settings=off)
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
    assert record.to_dict()["subject"] == "Ada Example"


def test_a_reason_counts_only_while_the_label_is_off(ledger: Ledger) -> None:
    left_over = Settings(label="start", label_off_reason="not needed any more")
    assert ledger.record(AGREED, undrawn_take(settings=left_over)).label_reason == ""


def test_records_of_what_left_differ_from_those_of_what_did_not(ledger: Ledger) -> None:
    record = ledger.record(AGREED, undrawn_take())
    with pytest.raises(ZeroDivisionError), ledger.exporting(record, "a" * 64, "out.mp4"):
        raise ZeroDivisionError
    assert ledger.show(record.id).state == "not exported"
    with ledger.exporting(record, "a" * 64, "out.mp4"):
        pass
    exported = ledger.show(record.id)
    assert (exported.state, exported.output_sha256, exported.output_name) == ("exported", "a" * 64, "out.mp4")
    assert ledger.check() == 2


def test_the_published_digest_tells_nothing_by_itself(ledger: Ledger) -> None:
    first, second = (ledger.record(AGREED, undrawn_take()) for _ in range(2))
    assert first.digest != second.digest
    assert first.digest not in (first.hash, first.prev_hash)


def test_records_are_found_by_id_its_beginning_and_take(filled: Ledger) -> None:
    records = filled.records()
    assert [record.seq for record in records] == [1, 3, 5, 6]
    for record in records:
        assert filled.show(record.id.upper()) == filled.show(record.id[:10]) == record
        assert filled.show(record.take) == record
    assert filled.records(take=records[1].take) == (records[1],)
    filled.record(AGREED, undrawn_take(3))
    with pytest.raises(BadInput, match="2 consent records"):
        filled.show(records[3].take)
    for unknown in ("", "abc", "zzzzzz"):
        with pytest.raises(BadInput, match="no consent record"):
            filled.show(unknown)


# Revoking


@pytest.mark.parametrize("name", ["id", "portrait_sha256", "portrait_pixel_sha256"])
def test_revoking_stops_the_portrait_by_file_and_by_pixels(ledger: Ledger, name: str) -> None:
    take = undrawn_take()
    record = ledger.record(AGREED, take)
    other = ledger.record(AGREED, undrawn_take(1))
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
    ledger.record(AGREED, undrawn_take(1))


def test_revoking_between_record_and_export_stops_it(ledger: Ledger) -> None:
    record = ledger.record(AGREED, undrawn_take())
    ledger.revoke(record.id)
    with pytest.raises(ConsentRevoked), ledger.exporting(record, "a" * 64, "out.mp4"):
        pytest.fail("the file was moved")


def test_a_portrait_may_be_revoked_before_anybody_used_it(ledger: Ledger) -> None:
    take = undrawn_take()
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
    take = undrawn_take()
    assert not ledger.is_synthetic(take.portrait_pixel_sha256)
    ledger.remember_synthetic(take.portrait_pixel_sha256, "txt2img")
    ledger.remember_synthetic(take.portrait_pixel_sha256, "img2img")
    assert ledger.is_synthetic(take.portrait_pixel_sha256)
    assert ledger.record(AGREED, take).portrait_synthetic
    assert not ledger.record(AGREED, undrawn_take(1)).portrait_synthetic
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
        ("DROP TABLE synthetic", "table synthetic"),
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
        lambda: filled.record(AGREED, undrawn_take(9)),
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


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    seq=st.integers(1, 6),
    column=st.sampled_from(["kind", "body", "prev", "hash"]),
    place=st.integers(0, 10_000),
    letters=st.lists(st.characters(codec="ascii", min_codepoint=33), min_size=2, max_size=2, unique=True),
)
def test_no_changed_character_goes_unseen(
    filled: Ledger, seq: int, column: str, place: int, letters: list[str]
) -> None:
    """What is drawn does not depend on the rows, which are random: the example can be repeated."""
    original = (filled.folder / "ledger.sqlite3").read_bytes()
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db, unguarded(db):
        text = db.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()[0]
        place %= len(text)
        other = next(letter for letter in letters if letter != text[place])
        changed = text[:place] + other + text[place + 1 :]
        db.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (changed, seq))
    assert any(f"Row {seq} " in problem for problem in filled.problems())
    (filled.folder / "ledger.sqlite3").write_bytes(original)
    assert filled.check() == 6


@pytest.mark.parametrize("name", ["ledger.sqlite3", "head.json", "key"])
def test_a_missing_file_shows(filled: Ledger, name: str) -> None:
    (filled.folder / name).unlink()
    with pytest.raises(Tampered, match="missing"):
        filled.record(AGREED, undrawn_take())
    assert filled.problems()
    assert not (filled.folder / name).exists()


@pytest.mark.parametrize("name", ["head.json", "key"])
def test_head_and_key_of_another_ledger_show(filled: Ledger, tmp_path: Path, name: str) -> None:
    other = Ledger(tmp_path / "other")
    other.record(AGREED, undrawn_take())
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
    filled.record(AGREED, undrawn_take(8))
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
        filled.record(AGREED, undrawn_take(7))
    assert json.loads((filled.folder / "head.json").read_text())["count"] == 6
    assert filled.check() == 7
    filled.record(AGREED, undrawn_take(8))
    assert json.loads((filled.folder / "head.json").read_text())["count"] == 8


def test_what_a_kill_left_beside_the_heads_goes_when_the_ledger_is_next_held(
    filled: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere" / "head.json"
    elsewhere.parent.mkdir()
    monkeypatch.setenv("SONIC_LEDGER_HEAD", str(elsewhere))
    other = elsewhere.with_name(".other.json.0123abcd")
    left = [
        path.with_name(f".{path.name}.0123abcd")
        for path in (filled.folder / "head.json", filled.home / module.COPY_NAME, elsewhere)
    ]
    for path in (*left, other):
        path.write_bytes(b"{")
    Ledger(filled.home).records()  # somebody may be sealing
    assert all(path.exists() for path in left)
    assert Ledger(filled.home).check() == 6
    assert [path for path in left if path.exists()] == []
    assert other.exists()


def test_rows_cannot_be_changed_through_the_database(filled: Ledger) -> None:
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db:
        for statement in (
            "DELETE FROM events",
            "UPDATE events SET kind = 'x'",
            "INSERT OR REPLACE INTO events SELECT seq, 'x', body, prev, hash FROM events WHERE seq = 4",
            "INSERT INTO events VALUES (0, 'x', '', '', '')",
            "INSERT INTO events VALUES (NULL, 'x', '', '', '')",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


# Tables and triggers

EATER = (
    "CREATE TRIGGER eater AFTER INSERT ON events WHEN NEW.kind = 'revoke' "
    "BEGIN DELETE FROM events WHERE seq = NEW.seq; END"
)
"""Swallows revocations, once the trigger that forbids to delete is gone."""


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (EATER, "trigger eater"),
        ("DROP TRIGGER events_no_delete", "trigger events_no_delete"),
        ("CREATE TABLE more(x)", "table more"),
        ("CREATE VIEW revoked AS SELECT 1", "view revoked"),
        ("CREATE INDEX kinds ON events(kind)", "index kinds"),
        ("ALTER TABLE synthetic ADD COLUMN note TEXT", "table synthetic"),
        ("ALTER TABLE events RENAME TO old", "table events"),
        ("PRAGMA user_version = 1", "trigger events_at_the_end"),
        ("PRAGMA user_version = -1", "format -1"),
    ],
)
def test_other_tables_and_triggers_show(filled: Ledger, statement: str, named: str) -> None:
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db:
        db.execute(statement)
        db.commit()
    for use in (filled.check, lambda: filled.revoke("a" * 64)):
        with pytest.raises(Tampered, match=named):
            use()
    assert named in filled.problems()[0]


def test_a_guard_that_was_rewritten_shows(filled: Ledger) -> None:
    """SQLite lets the text of a trigger be changed in place."""
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'DELETE', 'UPDATE') WHERE type = 'trigger'")
        db.commit()
    with pytest.raises(Tampered, match="trigger events_no_delete"):
        filled.revoke("a" * 64)


def test_a_row_that_vanishes_while_it_is_written_is_never_called_written(
    filled: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading back holds alone: here nobody looks at the triggers."""
    record = filled.record(AGREED, undrawn_take(9))
    monkeypatch.setattr(database, "require_schema", lambda db, version: None)
    monkeypatch.setattr(module, "require_schema", lambda db, version: None)
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db:
        db.execute("DROP TRIGGER events_no_delete")
        db.execute(EATER.replace("= 'revoke'", "<> ''"))
        db.execute(
            "CREATE TRIGGER forgetful AFTER INSERT ON synthetic BEGIN DELETE FROM synthetic; END",
        )
        db.commit()
    for write in (
        lambda: filled.revoke("a" * 64),
        lambda: filled.record(AGREED, undrawn_take(8)),
        lambda: filled.remember_synthetic("a" * 64, "txt2img"),
    ):
        with pytest.raises(Tampered, match="although it was written"):
            write()
    with pytest.raises(Tampered, match=r"Row 8 .* although"), filled.exporting(record, "a" * 64, "out.mp4"):
        pass


# Versions


@pytest.fixture
def older_home(tmp_path: Path) -> Path:
    """A private home that version 0.1 wrote: two consents, an export, a revocation, a memory, a take."""
    home = tmp_path / "older"
    shutil.unpack_archive(Path(__file__).parent / "data" / "home_0_1.zip", home)
    home.chmod(0o700)
    return home


def test_the_ledger_of_version_0_1_opens_and_goes_on(older_home: Path) -> None:
    ledger = Ledger(older_home)
    assert ledger.check() == 4
    assert [record.state for record in ledger.records()] == ["revoked", "not exported"]
    assert ledger.is_synthetic("a" * 64)
    with pytest.raises(ConsentRevoked):
        ledger.record(AGREED, undrawn_take(0))
    ledger.revoke(undrawn_take(1).portrait_sha256)
    assert [record.state for record in Ledger(older_home).records()] == ["revoked", "revoked"]
    with closing(sqlite3.connect(older_home / "consent" / "ledger.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (database.VERSION,)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute("INSERT OR REPLACE INTO events SELECT seq, 'x', body, prev, hash FROM events")


def test_an_old_ledger_with_a_trigger_of_somebody_is_not_taken_over(older_home: Path) -> None:
    with closing(sqlite3.connect(older_home / "consent" / "ledger.sqlite3")) as db:
        db.execute(EATER)
        db.commit()
    with pytest.raises(Tampered, match="trigger eater"):
        Ledger(older_home).check()
    with closing(sqlite3.connect(older_home / "consent" / "ledger.sqlite3")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_migration_that_fails_leaves_the_old_ledger(
    older_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Ledger(older_home)._database.read_bytes()
    broken = (database.MIGRATIONS[0], (*database.MIGRATIONS[1], "CREATE TABLE events(x)"))
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", broken)
        with pytest.raises(Tampered, match="already exists"):
            Ledger(older_home).check()
    assert Ledger(older_home)._database.read_bytes() == before
    assert Ledger(older_home).check() == 4


def test_the_ledger_of_a_newer_version_is_left_alone(filled: Ledger) -> None:
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3")) as db:
        db.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    with pytest.raises(BadInput, match="newer version") as caught:
        filled.check()
    assert "Update" in caught.value.hint


# Older copies


def kept_copy(ledger: Ledger) -> Callable[[], None]:
    """Copies the ledger's folder; the answer puts the copy back in its place."""
    copy = ledger.home.parent / "copy of consent"
    shutil.copytree(ledger.folder, copy)

    def put_back() -> None:
        shutil.rmtree(ledger.folder)
        shutil.copytree(copy, ledger.folder)

    return put_back


def test_an_older_copy_of_the_folder_shows(filled: Ledger) -> None:
    take = undrawn_take(3)
    put_back = kept_copy(filled)
    filled.revoke(take.portrait_sha256)
    put_back()
    for use in (filled.check, lambda: filled.record(AGREED, take), lambda: filled.refuse_revoked("a" * 64)):
        with pytest.raises(Tampered, match=r"older than the copy of its head in .*ledger-head\.json: row 7"):
            use()
    assert "older" in filled.problems()[0]


def test_an_older_copy_that_went_on_by_itself_shows(filled: Ledger) -> None:
    """As many rows, but others: no count tells."""
    put_back = kept_copy(filled)
    filled.revoke(undrawn_take(3).portrait_sha256)
    newer = (filled.home / "ledger-head.json").read_bytes()
    put_back()
    (filled.home / "ledger-head.json").unlink()
    filled.revoke("a" * 64)
    (filled.home / "ledger-head.json").write_bytes(newer)
    with pytest.raises(Tampered, match="older than the copy"):
        filled.check()


def test_a_deleted_folder_shows_until_the_copy_of_its_head_goes_too(filled: Ledger) -> None:
    shutil.rmtree(filled.folder)
    with pytest.raises(Tampered, match="gone") as caught:
        filled.check()
    assert "delete what tells of the newer one" in caught.value.hint
    assert not filled.folder.exists()
    (filled.home / "ledger-head.json").unlink()
    assert filled.check() == 0


def test_the_copy_of_another_ledger_shows(filled: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other")
    other.revoke("a" * 64)
    shutil.rmtree(filled.folder)
    shutil.copytree(other.folder, filled.folder)
    with pytest.raises(Tampered, match="altered, or is another"):
        filled.check()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A place for a further copy of the head; its folder is there, the file is not."""
    place = tmp_path / "other disk" / "頭.json"
    place.parent.mkdir()
    return place


@pytest.fixture
def configured(filled: Ledger, elsewhere: Path) -> Ledger:
    """The filled ledger, with that place."""
    return Ledger(filled.home, Configuration(ledger_head=str(elsewhere)))


def test_an_older_copy_of_the_whole_home_shows_by_the_head_elsewhere(
    configured: Ledger, elsewhere: Path, tmp_path: Path
) -> None:
    shutil.copytree(configured.home, tmp_path / "older")
    configured.revoke(undrawn_take(3).portrait_sha256)
    assert json.loads(elsewhere.read_text())["count"] == 7
    older = Ledger(tmp_path / "older", configured.configuration)
    with pytest.raises(Tampered, match=r"older than the copy .*other disk"):
        older.record(AGREED, undrawn_take(3))
    with pytest.raises(Tampered, match="gone"):
        Ledger(tmp_path / "new", configured.configuration).check()


def test_a_head_elsewhere_that_is_out_of_reach_is_said_and_stops_nothing(
    configured: Ledger, elsewhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configured.revoke("a" * 64)
    elsewhere.parent.rename(elsewhere.parents[1] / "unplugged")
    assert configured.check() == 7
    assert "cannot be compared" in caplog.text
    configured.revoke("b" * 64)
    assert "was not sealed in" in caplog.text
    (elsewhere.parents[1] / "unplugged").rename(elsewhere.parent)
    assert configured.check() == 8
    configured.revoke("c" * 64)
    assert json.loads(elsewhere.read_text())["count"] == 9


def test_what_was_made_later_tells_that_the_ledger_is_older(filled: Ledger) -> None:
    put_back = kept_copy(filled)
    earlier = filled.head()
    filled.record(AGREED, undrawn_take(5))
    later = filled.head()
    assert (earlier.count, later.count) == (6, 7)
    filled.require_reached([(earlier, "take a"), (later, "take b")])
    put_back()
    (filled.home / "ledger-head.json").unlink()
    filled.require_reached([(earlier, "take a")])
    with pytest.raises(Tampered, match="older than take b: row 7"):
        filled.require_reached([(earlier, "take a"), (later, "take b")])
    with pytest.raises(Tampered, match="older than take"):
        filled.record(AGREED, undrawn_take(6, ledger=later))
    for forged in (Head(6, "0" * 64), Head(0, "1" * 64), Head(-1, ""), Head(99, "")):
        with pytest.raises(Tampered, match="older than"):
            filled.require_reached([(forged, "a forged take")])


# Keys


def test_derived_keys_differ_by_purpose_and_ledger(ledger: Ledger, tmp_path: Path) -> None:
    keys = [ledger.derived_key("a"), ledger.derived_key("b"), Ledger(tmp_path / "other").derived_key("a")]
    assert {len(key) for key in keys} == {32}
    assert len({*keys, (ledger.folder / "key").read_bytes()}) == 4
    assert Ledger(ledger.home).derived_key("a") == keys[0]


@given(st.lists(st.text()))
def test_a_seal_is_of_the_parts_as_a_json_list(parts: list[str]) -> None:
    expected = hmac.new(b"key", json.dumps(parts).encode(), hashlib.sha256).hexdigest()
    assert sealed_mac(b"key", *parts) == expected


def test_a_derived_key_is_that_of_rfc_5869(ledger: Ledger) -> None:
    """Step by step from HMAC, as section 2 of the RFC has it; for 32 bytes one round is enough."""
    secret = (Ledger(ledger.home).derived_key("x") and ledger.folder / "key").read_bytes()
    extracted = hmac.digest(bytes(32), secret, "sha256")
    assert ledger.derived_key("sonic test") == hmac.digest(extracted, b"sonic test\x01", "sha256")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_nobody_else_may_read(filled: Ledger) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in filled.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(filled.folder.stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(BadOutput, match="private folder"):
        Ledger(tmp_path / "file" / "home").check()


@pytest.mark.skipif(sys.platform == "win32", reason="There, who reads waits for who writes")
def test_who_reads_waits_for_nobody(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being written shows once it is committed, sealed or not."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    held = Ledger(filled.home)._writing()
    chain = held.__enter__()
    chain.append("training", {"overlay_sha256": "0" * 64})
    assert Ledger(filled.home).head().count == 6
    chain.commit()
    assert Ledger(filled.home).head().count == 7
    monkeypatch.setattr(chain, "commit", lambda: None)
    held.__exit__(None, None, None)
    assert Ledger(filled.home).check() == 7


def test_a_locked_ledger_is_told(filled: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(filled.folder / "ledger.sqlite3", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(BadOutput, match="locked"):
            filled.record(AGREED, undrawn_take())
    assert filled.check() == 6


# Two processes


def _write_many(home: str, start: int, gate: Any) -> None:
    gate.wait(PATIENCE)
    ledger = Ledger(home)
    for number in range(start, start + 15):
        record = ledger.record(AGREED, undrawn_take(number))
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
        worker.join(PATIENCE)
    assert [worker.exitcode for worker in workers] == [0, 0]
    ledger = Ledger(home)
    assert ledger.check() == 60
    records = ledger.records()
    assert {record.output_sha256 for record in records} == {
        f"{number:064x}" for number in itertools.chain(range(15), range(100, 115))
    }
    assert all(isinstance(record, Record) and record.state == "exported" for record in records)
