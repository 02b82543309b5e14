"""The private store: takes survive a round trip, and nobody else reads them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_takes import SPEECH, TAKE_ID, adopt_clip, some_portrait, some_speech

from sonic_ext.errors import BadAudio, BadInput, BadOutput, Refused, Tampered
from sonic_ext.files import atomic
from sonic_ext.files import home as home_files
from sonic_ext.files.locks import lock_of
from sonic_ext.media.image import read_portrait
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import FIRST_WATERMARK, Take
from sonic_ext.provenance.watermark import ALGORITHM, Detection
from sonic_ext.settings import Settings
from sonic_ext.weights.find import make_folder

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Files in place of videos: the store does not look into them."""
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "master.mp4").write_bytes(b"master")
    (folder / "preview.mp4").write_bytes(b"preview")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def _age(folder: Path, days: float) -> None:
    for path in (*folder.iterdir(), folder):
        then = path.stat().st_mtime - days * 86400
        os.utime(path, (then, then))


def test_a_take_comes_back_as_it_was(store: Store, clip: Path) -> None:
    settings = Settings(
        label="off", label_off_reason="a film, 'credits' say so", face_box=(1, 2, 3.5, 4), seed=0, fps=50
    )
    take = adopt_clip(store, clip, settings=settings)
    assert store.load(take.id) == take
    assert store.takes() == (take,)


@pytest.mark.parametrize("read", [True, False])
def test_a_take_tells_which_watermark_it_has(store: Store, clip: Path, read: bool) -> None:
    """Also where it could not be read."""
    found = Detection(
        payload=int(TAKE_ID, 16),
        scale=(1.0, 1.0),
        mirrored=False,
        signal=3.0,
        algorithm=ALGORITHM,
        odds=2.0**-45,
        frames=25,
    )
    take = adopt_clip(store, clip, mark=found if read else None)
    assert (take.mark_algorithm, take.mark_read) == (ALGORITHM, read)
    assert take.mark_odds == (2.0**-45 if read else 1.0)
    assert store.load(take.id) == take


def test_a_take_that_does_not_tell_its_watermark_has_the_first_one(store: Store, clip: Path) -> None:
    """It was made before there was another."""
    take = adopt_clip(store, clip)
    path = take.folder / "take.json"
    sealed = json.loads(path.read_text(encoding="utf-8"))
    del sealed["take"]["mark_algorithm"]
    path.write_text(json.dumps(sealed), encoding="utf-8")
    with pytest.raises(Refused, match="altered"):
        store.load(take.id)
    sealed["mac"] = store._mac(sealed["take"])
    path.write_text(json.dumps(sealed), encoding="utf-8")
    assert store.load(take.id) == dataclasses.replace(take, mark_algorithm=FIRST_WATERMARK)


def test_a_moved_store_is_read_where_it_is(store: Store, clip: Path, tmp_path: Path) -> None:
    take = adopt_clip(store, clip)
    store.home.rename(tmp_path / "家 home")
    moved = Store(tmp_path / "家 home").load(take.id)
    assert moved.master.read_bytes() == b"master"
    assert moved.copied(_folder(tmp_path)).master.read_bytes() == b"master"


@posix
def test_nobody_else_may_read(store: Store, clip: Path) -> None:
    take = adopt_clip(store, clip)
    folders = (store.home, store.folder, take.folder)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in take.folder.iterdir()} == {0o600}


def test_new_folders_are_empty_and_their_ids_fit_the_watermark(store: Store) -> None:
    with ExitStack() as stack:
        made = [stack.enter_context(store.new_take()) for _ in range(20)]
        assert len({take_id for take_id, _ in made}) == 20
        for take_id, folder in made:
            assert 0 < int(take_id, 16) < 1 << 64
            assert len(take_id) == 16
            assert not list(folder.iterdir())
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(take_id for take_id, _ in made)


def test_the_home_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SONIC_HOME", str(tmp_path / "elsewhere"))
    assert Store().home == tmp_path / "elsewhere"
    monkeypatch.delenv("SONIC_HOME")
    assert Store().home.name == "sonic-ext"
    assert not (tmp_path / "elsewhere").exists()


def test_portrait_and_speech_are_kept_as_they_were_read(store: Store, clip: Path, media: Path) -> None:
    portrait = read_portrait(media / "portrait_01.jpg")
    take = adopt_clip(store, clip, portrait=portrait)
    assert take.portrait_file.read_bytes() == (media / "portrait_01.jpg").read_bytes()
    assert take.portrait_file.suffix == ".jpg"
    assert take.audio_file.read_bytes() == SPEECH.read_bytes()


def test_speech_that_changed_meanwhile_is_refused(
    store: Store, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "speech.wav"
    changed.write_bytes(SPEECH.read_bytes() + b"\0\0")
    speech = type(some_speech())(**{**vars(some_speech()), "path": changed})
    monkeypatch.setattr("made_takes.some_speech", lambda: speech)
    with pytest.raises(BadAudio, match="changed while"):
        adopt_clip(store, clip)


FILES = pytest.mark.parametrize("name", ["master", "preview", "portrait_file", "audio_file"])


def _folder(parent: Path) -> Path:
    folder = parent / "copies"
    folder.mkdir()
    return folder


def test_copies_are_what_was_made(store: Store, clip: Path, tmp_path: Path) -> None:
    take, folder = adopt_clip(store, clip), _folder(tmp_path)
    copy = take.copied(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in take.folder.iterdir() if path.suffix != ".json"
    )
    assert copy.master == folder / "master.mp4" and copy.home == take.home == store.home
    take.master.write_bytes(b"changed afterwards")
    assert copy.master.read_bytes() == b"master"


@FILES
def test_an_altered_file_is_refused(store: Store, clip: Path, tmp_path: Path, name: str) -> None:
    take = adopt_clip(store, clip)
    path: Path = getattr(take, name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match=path.name):
        take.copied(_folder(tmp_path))
    path.unlink()
    with pytest.raises(Refused, match=path.name):
        take.copied(_folder(tmp_path / "copies"))


@posix
@FILES
def test_a_link_in_the_place_of_a_file_is_refused(
    store: Store, clip: Path, tmp_path: Path, name: str
) -> None:
    take = adopt_clip(store, clip)
    path: Path = getattr(take, name)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(Refused, match=path.name):
        take.copied(_folder(tmp_path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Refused, match=path.name):
        take.copied(_folder(tmp_path / "copies"))


# The seal


def _rewrite(take: Take, **changes: Any) -> None:
    """Edit take.json, its seal left as it is."""
    path = take.folder / "take.json"
    sealed = json.loads(path.read_text(encoding="utf-8"))
    sealed["take"] |= changes
    path.write_text(json.dumps(sealed), encoding="utf-8")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Take)])
def test_no_edited_field_is_believed(store: Store, clip: Path, name: str) -> None:
    take = adopt_clip(store, clip)
    others: dict[str, Any] = {
        "created": "2026-03-01T12:00:01+00:00",
        "settings": Settings(seed=-1, label="throughout").to_dict(),
        "ledger": {"count": 1, "hash": take.ledger.hash},
        "warnings": [],
        "second": {"perceptual_hash": "00", "audio_sha256": take.audio_sha256, "audio_file": "speech.wav"},
    }
    value: Any = take.to_dict()[name]
    if isinstance(value, bool):
        others[name] = not value
    elif isinstance(value, (int, float, str)):
        others.setdefault(name, value + type(value)(1))
    other = others[name]
    assert other != value
    _rewrite(take, **{name: other})
    with pytest.raises(Refused, match=r"take\.json of take .* altered"):
        store.load(take.id)
    _rewrite(take, **{name: value})
    assert store.load(take.id) == take


def test_a_foreign_clip_with_its_hash_written_in_is_refused(store: Store, clip: Path) -> None:
    """Version 0.1 let this out, signed."""
    take = adopt_clip(store, clip)
    take.master.write_bytes(b"a stranger")
    _rewrite(take, master_sha256=hashlib.sha256(b"a stranger").hexdigest())
    with pytest.raises(Refused, match="altered"):
        store.load(take.id)


def test_a_genuine_take_under_another_id_is_refused(store: Store, clip: Path) -> None:
    """The id is the watermark's and the record's: a copied folder is not another take."""
    take = adopt_clip(store, clip)
    shutil.copytree(take.folder, store.folder / ("a" * 16))
    with pytest.raises(Refused, match="altered"):
        store.load("a" * 16)
    assert store.takes() == (take,)


def test_a_take_of_another_home_is_refused(store: Store, clip: Path, tmp_path: Path) -> None:
    take = adopt_clip(Store(tmp_path / "theirs"), clip)
    store.folder.mkdir(parents=True, mode=0o700)
    store.home.chmod(0o700)
    shutil.copytree(take.folder, store.folder / take.id)
    with pytest.raises(Refused, match="came from elsewhere"):
        store.load(take.id)


@pytest.mark.parametrize("mac", ["", None, 7, "ä", "\ud800", "0" * 64])
def test_other_seals_do_not_fit(store: Store, clip: Path, mac: object) -> None:
    take = adopt_clip(store, clip)
    path = take.folder / "take.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"mac": mac}), encoding="utf-8")
    with pytest.raises(Refused, match="altered"):
        store.load(take.id)


def test_a_take_of_version_0_1_is_told_and_can_be_deleted(tmp_path: Path) -> None:
    home = tmp_path / "older"
    shutil.unpack_archive(Path(__file__).parent / "data" / "home_0_1.zip", home)
    home.chmod(0o700)
    store = Store(home)
    with pytest.raises(Refused, match=r"version 0\.1") as caught:
        store.load(TAKE_ID)
    assert "again" in caught.value.hint
    assert (store.takes(), [each.id for each in store.listing().unusable]) == ((), [TAKE_ID])
    store.check()
    store.discard(TAKE_ID)
    assert store.listing().unusable == ()


def test_leaving_the_seal_out_does_not_make_it_an_old_take_that_passes(store: Store, clip: Path) -> None:
    take = adopt_clip(store, clip)
    (take.folder / "take.json").write_text(json.dumps(take.to_dict()), encoding="utf-8")
    with pytest.raises(Refused, match="Nothing vouches"):
        store.load(take.id)


def _spoilt(take: Take, text: bytes) -> None:
    (take.folder / "take.json").write_bytes(text)


def test_a_bad_take_hides_no_other(store: Store, clip: Path) -> None:
    good = [adopt_clip(store, clip, take_id=f"{number:016x}") for number in (1, 2)]
    texts = {
        "damaged": (
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"format": 2}',
            b'{"format": "2"}',
        ),
        "newer version": (b'{"format": 3, "take": {}}',),
        "Nothing vouches": (b"{}",),
        "altered": (b'{"format": 2, "mac": "x", "take": {}}',),
    }
    told = {}
    for number, (words, text) in enumerate((key, text) for key, some in texts.items() for text in some):
        take = adopt_clip(store, clip, take_id=f"{number + 16:016x}")
        _spoilt(take, text)
        told[take.id] = words
    found = store.listing()
    assert found.takes == store.takes() == tuple(good)
    assert {each.id for each in found.unusable} == told.keys()
    for each in found.unusable:
        assert told[each.id] in each.error.message
        assert each.error.hint
        store.discard(each.id)
    assert store.listing().unusable == ()


def test_what_is_no_take_is_left_alone(store: Store, clip: Path) -> None:
    take = adopt_clip(store, clip)
    (store.folder / ".DS_Store").write_bytes(b"from a file manager")
    (store.folder / "notes").mkdir()
    for path in (store.folder / ".DS_Store", store.folder / "notes"):
        os.utime(path, (0, 0))
    assert store.takes() == (take,)
    assert store.expire(days=7) == ()
    assert sorted(path.name for path in store.folder.iterdir()) == [".DS_Store", take.id, "notes"]


@posix
def test_a_link_in_the_place_of_a_folder_goes_without_what_it_leads_to(
    store: Store, clip: Path, tmp_path: Path
) -> None:
    take = adopt_clip(store, clip)
    outside = tmp_path / "outside"
    take.folder.rename(outside)
    take.folder.symlink_to(outside)
    os.utime(take.folder, (0, 0), follow_symlinks=False)
    assert store.expire(days=7) == (take.id,)
    assert (outside / "master.mp4").read_bytes() == b"master"
    (store.folder / take.id).write_bytes(b"a file")
    os.utime(store.folder / take.id, (0, 0))
    assert store.expire(days=7) == (take.id,)


def test_a_ledger_that_is_older_than_a_take_is_noticed(store: Store, clip: Path, tmp_path: Path) -> None:
    """Also by takes other than the one in question, and before a new one is made."""
    early = adopt_clip(store, clip, take_id="a" * 16)
    shutil.copytree(store.ledger.folder, tmp_path / "copy")
    store.ledger.revoke(early.portrait_sha256)
    late = adopt_clip(store, clip, take_id="b" * 16)
    assert (early.ledger.count, late.ledger.count) == (0, 1)
    store.check()
    shutil.rmtree(store.ledger.folder)
    shutil.copytree(tmp_path / "copy", store.ledger.folder)
    (store.home / "ledger-head.json").unlink()
    with pytest.raises(Tampered, match=f"older than take {late.id}"):
        store.check()
    with pytest.raises(Tampered, match=f"older than take {late.id}"):
        store.ledger.record(Consent(face="self", voice="self"), late)


# Who may read


@posix
@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o704])
def test_a_home_that_others_may_read_is_refused_with_the_cure(
    store: Store, clip: Path, tmp_path: Path, mode: int
) -> None:
    take = adopt_clip(store, clip)
    store.home.chmod(mode)
    (tmp_path / "link").symlink_to(store.home)
    for home in (store.home, tmp_path / "link"):
        uses: list[Callable[[], object]] = [
            Store(home).takes,
            Store(home).check,
            Store(home).new_take().__enter__,
            Store(home).expire,
            lambda home=home: Store(home).load(take.id),  # type: ignore[misc]
            Ledger(home).check,
            lambda home=home: Ledger(home).revoke("a" * 64),  # type: ignore[misc]
        ]
        for use in uses:
            with pytest.raises(BadOutput, match=rf"Other users .* \(mode {mode:o}\)") as caught:
                use()
            assert f"chmod 700 {home}" in caught.value.hint
    store.home.chmod(0o700)
    assert store.takes() == (take,)


@posix
def test_a_home_of_another_user_is_refused(store: Store, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopt_clip(store, clip)
    monkeypatch.setattr("os.geteuid", lambda: store.home.stat().st_uid + 1)
    with pytest.raises(BadOutput, match="another user"):
        store.takes()


@posix
def test_fetching_weights_leaves_the_home_closed(sonic_home: Path) -> None:
    make_folder(sonic_home / "models" / "sonic")
    assert stat.S_IMODE(sonic_home.stat().st_mode) == 0o700
    assert Store().takes() == ()


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "0123", "0123456789ABCDEF", TAKE_ID + "0", "*"]
)
def test_ids_that_are_none(store: Store, name: str) -> None:
    with pytest.raises(BadInput, match="not the id"):
        store.load(name)
    with pytest.raises(BadInput, match="not the id"):
        store.discard(name)


def test_a_take_that_is_gone(store: Store, clip: Path) -> None:
    take = adopt_clip(store, clip)
    store.discard(take.id)
    store.discard(take.id)
    assert not take.folder.exists()
    with pytest.raises(BadInput, match="no take"):
        store.load(take.id)


def test_takes_expire(store: Store, clip: Path) -> None:
    old, fresh = adopt_clip(store, clip), adopt_clip(store, clip, take_id="f" * 16)
    _age(old.folder, 7.1)
    _age(fresh.folder, 6.9)
    assert store.expire(days=7) == (old.id,)
    assert store.takes() == (fresh,)


def test_an_unfinished_take_stays_as_long_as_its_process(store: Store, clip: Path) -> None:
    with store.new_take() as (take_id, folder):
        (folder / "master.mp4").write_bytes(b"half")
        assert store.expire() == ()
        adopt_clip(store, clip, take_id=take_id)
    assert store.expire() == ()
    assert [path.name for path in store.folder.iterdir()] == [take_id]


def test_an_unfinished_take_of_a_killed_process_goes_at_once(store: Store, clip: Path) -> None:
    """What a killed process leaves: its folder, and the file of the lock that the system took back."""
    adopt_clip(store, clip)
    left = store.folder / ("e" * 16)
    left.mkdir()
    (left / "master.mp4").write_bytes(b"half")
    for name in ("e", "d"):
        lock_of(store.folder / (name * 16)).write_bytes(b"")
    assert store.expire() == (left.name,)
    assert [path.name for path in store.folder.iterdir()] == [TAKE_ID]


def test_a_take_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.new_take() as (_, folder):
        (folder / "master.mp4").write_bytes(b"half")
        raise KeyboardInterrupt
    assert not list(store.folder.iterdir())


def test_what_is_left_of_deleting_a_take_goes_later(
    store: Store, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it deletes: no take is listed whose master is gone."""
    take = adopt_clip(store, clip)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        store.discard(take.id)
    assert take.master.exists()
    assert store.takes() == ()
    assert store.expire() == (take.id,)
    assert not list(store.folder.iterdir())


def test_an_empty_store_has_nothing_to_expire(store: Store) -> None:
    assert store.expire() == ()
    assert store.takes() == ()
    assert not store.home.exists()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(BadOutput, match="private folder"):
        Store(tmp_path / "file" / "home").new_take().__enter__()


def test_saving_leaves_nothing_half_written(
    store: Store, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = adopt_clip(store, clip)
    before = {path.name: path.read_bytes() for path in take.folder.iterdir()}

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadOutput, match="No space left"):
        store.save(Take.from_dict(take.to_dict() | {"seed": 8}, take.folder))
    assert {path.name: path.read_bytes() for path in take.folder.iterdir()} == before


def test_a_folder_is_built_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"")
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        home_files.build_folder(tmp_path / "made", fail)
    assert not list(tmp_path.iterdir())
    home_files.build_folder(tmp_path / "made", lambda folder: atomic.new_file(folder / "first", b"1"))
    home_files.build_folder(tmp_path / "made", lambda folder: atomic.new_file(folder / "second", b"2"))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_what_a_killed_builder_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".made.part").mkdir()
    (tmp_path / ".made.part" / "half").write_bytes(b"")
    lock_of(tmp_path / ".made.part").write_bytes(b"")
    home_files.build_folder(tmp_path / "made", lambda folder: atomic.new_file(folder / "whole", b"1"))
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "made",
        "made/whole",
    ]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    for name in (".a.json.0123abcd", ".a.json.bak", ".b.json.0123abcd"):
        (tmp_path / name).write_bytes(b"")
    atomic.remove_temporaries(tmp_path / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.bak", ".b.json.0123abcd"]


def test_a_portrait_from_memory_is_kept_as_png(store: Store, clip: Path) -> None:
    take = adopt_clip(store, clip, portrait=some_portrait(5))
    kept = read_portrait(take.portrait_file)
    assert np.array_equal(kept.rgb, some_portrait(5).rgb)
    assert (kept.sha256, kept.pixel_sha256) == (take.portrait_sha256, take.portrait_pixel_sha256)
