"""Taking a consent back: the picture and what was made from it goes; a look-alike is asked about."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_takes import adopt_clip, some_portrait, undrawn_take
from patience import PATIENCE

from sonic_ext import pipeline
from sonic_ext.cli.commands import record_lines
from sonic_ext.errors import BadInput, ConsentRevoked, LooksRevoked
from sonic_ext.media.image import from_array
from sonic_ext.media.perceptual import BYTES
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.recovery import sweep_revoked
from sonic_ext.provenance.revocation import revoke
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take

AGREED = Consent(face="self", voice="self")
LOOKS = bytes(range(1, BYTES + 1)).hex()
OTHER_LOOKS = bytes((7 * i * i + 3 * i) % 251 for i in range(BYTES)).hex()
GRANDCHILD, CHILD = "c" * 64, "d" * 64


def looking(number: int, looks: str) -> Take:
    return undrawn_take(number, perceptual_hash=looks)


# What is the same, or was made from it


def test_what_was_made_from_it_is_refused(sonic_home: Path) -> None:
    ledger, take = Ledger(), undrawn_take()
    record = ledger.record(AGREED, take)
    ledger.remember_made_from(CHILD, [take.portrait_pixel_sha256], "img2img")
    ledger.remember_made_from(GRANDCHILD, [CHILD, "e" * 64], "img2img")
    done = ledger.revoke(record.id)
    assert {CHILD, GRANDCHILD} < set(done.hashes)
    with pytest.raises(ConsentRevoked):
        ledger.record(AGREED, undrawn_take(1, portrait_pixel_sha256=GRANDCHILD))
    ledger.record(AGREED, undrawn_take(2, portrait_pixel_sha256="e" * 64))


def test_what_is_made_from_it_later_is_refused_too(sonic_home: Path) -> None:
    ledger, take = Ledger(), undrawn_take()
    ledger.revoke(ledger.record(AGREED, take).id)
    ledger.remember_made_from(CHILD, [take.portrait_pixel_sha256], "frame")
    with pytest.raises(ConsentRevoked):
        ledger.refuse_revoked(CHILD)


def test_a_record_of_what_was_made_from_it_reads_revoked(sonic_home: Path) -> None:
    ledger, take = Ledger(), undrawn_take()
    first = ledger.record(AGREED, take)
    ledger.remember_made_from(CHILD, [take.portrait_pixel_sha256], "img2img")
    second = ledger.record(AGREED, undrawn_take(1, portrait_pixel_sha256=CHILD))
    assert ledger.revoke(first.id).records == (first.id, second.id)
    assert ledger.show(second.id).state == "revoked"


def test_a_circle_of_pictures_ends(sonic_home: Path) -> None:
    ledger = Ledger()
    ledger.remember_made_from(CHILD, [GRANDCHILD, CHILD], "img2img")
    ledger.remember_made_from(GRANDCHILD, [CHILD], "img2img")
    assert set(ledger.revoke(CHILD).hashes) == {CHILD, GRANDCHILD}


def test_a_forged_descent_counts_nothing(sonic_home: Path) -> None:
    import sqlite3
    from contextlib import closing

    ledger = Ledger()
    ledger.remember_made_from(CHILD, ["e" * 64], "img2img")
    with closing(sqlite3.connect(ledger.folder / "ledger.sqlite3")) as db:
        db.execute("UPDATE lineage SET parent = ?", ("f" * 64,))
        db.commit()
    assert ledger.revoke("f" * 64).hashes == ("f" * 64,)


def test_takes_of_it_are_deleted_and_others_stay(clip: Path) -> None:
    store = Store()
    gone = adopt_clip(store, clip, take_id="1" * 16, frames=2)
    child = from_array(some_portrait(5).rgb)
    made = adopt_clip(store, clip, take_id="2" * 16, portrait=child, frames=2)
    stays = adopt_clip(store, clip, take_id="3" * 16, portrait=some_portrait(1), frames=2)
    Ledger().remember_made_from(child.pixel_sha256, [gone.portrait_pixel_sha256], "img2img")
    assert revoke(gone.id).takes == (gone.id, made.id)
    assert [take.id for take in store.takes()] == [stays.id]
    assert not gone.folder.exists() and not made.folder.exists()


def test_a_take_that_cannot_be_read_goes_with_its_portrait(clip: Path) -> None:
    store = Store()
    take = adopt_clip(store, clip, frames=2)
    (take.folder / "take.json").write_text("{}")
    assert revoke(take.portrait_sha256).takes == (take.id,)
    assert not take.folder.exists()


def test_copies_of_the_preview_go_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    store = Store()
    take = adopt_clip(store, clip, frames=2)
    shown, replaced = tmp_path / "cache" / "preview.mp4", tmp_path / "cache" / "thesis.mp4"
    shown.parent.mkdir()
    shutil.copyfile(take.preview, shown)
    replaced.write_bytes(b"somebody else's by now")
    for path in (shown, replaced, tmp_path / "gone already"):
        store.record_copy(take.id, path)
    revoke(take.id)
    assert not shown.exists()
    assert replaced.read_bytes() == b"somebody else's by now"


def test_it_can_be_named_by_its_take_before_any_export(clip: Path) -> None:
    take = adopt_clip(Store(), clip, frames=2)
    done = revoke(take.id, "asked by mail")
    assert set(done.hashes) == {take.portrait_sha256, take.portrait_pixel_sha256}
    with pytest.raises(ConsentRevoked):
        Store().load(take.id)
    with pytest.raises(BadInput):
        revoke(take.id)  # it is gone


def _revoked_elsewhere(home: Path, target: str) -> None:
    revoke(target, store=Store(home))


def test_revoked_in_another_process_stops_this_one(clip: Path, tmp_path: Path, sonic_home: Path) -> None:
    take = adopt_clip(Store(), clip, frames=2)
    other = multiprocessing.get_context("spawn").Process(
        target=_revoked_elsewhere, args=(sonic_home, take.portrait_sha256)
    )
    other.start()
    other.join(PATIENCE)
    assert other.exitcode == 0
    with pytest.raises(ConsentRevoked):
        pipeline.export(take, tmp_path / "out.mp4", AGREED)
    assert not take.folder.exists()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_nothing_is_made_of_it_any_more(
    when: str, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sonic_ext.media.image import read_portrait

    portrait = media / "portrait_01.jpg"
    digest = read_portrait(portrait).sha256
    if when == "before":
        revoke(digest)
    else:
        adopt = Store.create

        def revoked_first(self: Store, *args: object, **named: object) -> Take:
            take = adopt(self, *args, **named)  # type: ignore[arg-type]
            Ledger().revoke(digest)
            return take

        monkeypatch.setattr(Store, "create", revoked_first)
    speech = media / "short_en_flite_rms_2s3.wav"
    with pytest.raises(ConsentRevoked):
        pipeline.animate(portrait, speech, {"engine": "preview", "min_resolution": 256, "framing": "crop"})
    assert Store().portraits() == {}


def test_what_could_not_be_deleted_is_swept_later(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    take = adopt_clip(store, clip, frames=2)
    Ledger().revoke(take.portrait_sha256)  # the files were in use: nothing was swept
    assert take.folder.exists()
    assert sweep_revoked(store) == (take.id,)


# What only looks like it


def test_a_look_alike_is_asked_about(sonic_home: Path) -> None:
    ledger = Ledger()
    record = ledger.record(AGREED, looking(0, LOOKS))
    ledger.revoke(record.id)
    alike = looking(1, LOOKS)
    ledger.refuse_revoked(alike.portrait_sha256, alike.portrait_pixel_sha256)
    with pytest.raises(LooksRevoked, match=record.id):
        ledger.record(AGREED, alike)
    with pytest.raises(LooksRevoked):
        ledger.record(replace(AGREED, unlike_reason="  "), alike)
    answered = replace(AGREED, unlike_reason="a photograph of my own, taken on 1 May")
    written = ledger.show(ledger.record(answered, alike).id)
    assert written.alike == (record.id,)
    assert written.unlike_reason == "a photograph of my own, taken on 1 May"
    assert not any("perceptual" in line for line in record_lines(written))


def test_a_look_alike_of_a_take_that_was_never_exported_names_the_row(clip: Path) -> None:
    store = Store()
    take = replace(adopt_clip(store, clip, frames=2), perceptual_hash=LOOKS)
    store.save(take)
    revoke(take.id)
    with pytest.raises(LooksRevoked, match="row 1"):
        Ledger().record(AGREED, looking(1, LOOKS))


def test_others_are_not_asked_about(sonic_home: Path) -> None:
    ledger = Ledger()
    ledger.revoke(ledger.record(AGREED, looking(0, LOOKS)).id)
    assert ledger.record(replace(AGREED, unlike_reason="left over"), looking(1, OTHER_LOOKS)).alike == ()
    plain = ledger.record(replace(AGREED, unlike_reason="left over"), looking(2, ""))
    assert (plain.alike, plain.unlike_reason) == ((), "")


def test_a_look_alike_is_never_deleted(clip: Path) -> None:
    store, ledger = Store(), Ledger()
    take = replace(adopt_clip(store, clip, portrait=some_portrait(4), frames=2), perceptual_hash=LOOKS)
    store.save(take)
    assert revoke(ledger.record(AGREED, looking(9, LOOKS)).id).takes == ()
    assert take.folder.exists()
