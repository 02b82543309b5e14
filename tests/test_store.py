"""The private store: takes survive a round trip, and nobody else reads them."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from made_takes import SPEECH, TAKE_ID, adopt_clip, some_portrait, some_speech

from sonic_ext.errors import BadAudio, BadInput, BadOutput, Refused
from sonic_ext.media.image import read_portrait
from sonic_ext.provenance import private
from sonic_ext.provenance.store import Store, Take
from sonic_ext.settings import Settings

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


def test_a_moved_store_is_read_where_it_is(store: Store, clip: Path, tmp_path: Path) -> None:
    take = adopt_clip(store, clip)
    store.home.rename(tmp_path / "家 home")
    moved = Store(tmp_path / "家 home").load(take.id)
    assert moved.master.read_bytes() == b"master"
    moved.require_unaltered()


@posix
def test_nobody_else_may_read(store: Store, clip: Path) -> None:
    take = adopt_clip(store, clip)
    folders = (store.home, store.folder, take.folder)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in take.folder.iterdir()} == {0o600}


def test_new_folders_are_empty_and_their_ids_fit_the_watermark(store: Store) -> None:
    opened = [store.open_folder() for _ in range(20)]
    assert len({take_id for take_id, _ in opened}) == 20
    for take_id, folder in opened:
        assert 0 < int(take_id, 16) < 1 << 64
        assert len(take_id) == 16
        assert not list(folder.iterdir())


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


@pytest.mark.parametrize("name", ["master", "portrait_file", "audio_file"])
def test_an_altered_file_is_refused(store: Store, clip: Path, name: str) -> None:
    take = adopt_clip(store, clip)
    take.require_unaltered()
    path: Path = getattr(take, name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match=path.name):
        take.require_unaltered()
    path.unlink()
    with pytest.raises(Refused, match=path.name):
        take.require_unaltered()


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


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": {"fps": 24}}'])
def test_a_damaged_take_is_told(store: Store, clip: Path, text: str) -> None:
    take = adopt_clip(store, clip)
    (take.folder / "take.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput):
        store.load(take.id)


def test_takes_expire(store: Store, clip: Path) -> None:
    old, fresh = adopt_clip(store, clip), adopt_clip(store, clip, take_id="f" * 16)
    abandoned, folder = store.open_folder()
    _age(old.folder, 7.1)
    _age(folder, 7.1)
    _age(fresh.folder, 6.9)
    assert set(store.expire(days=7)) == {old.id, abandoned}
    assert store.takes() == (fresh,)


def test_an_empty_store_has_nothing_to_expire(store: Store) -> None:
    assert store.expire() == ()
    assert store.takes() == ()
    assert not store.home.exists()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(BadOutput, match="private folder"):
        Store(tmp_path / "file" / "home").open_folder()


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
        private.build_folder(tmp_path / "made", fail)
    assert not list(tmp_path.iterdir())
    private.build_folder(tmp_path / "made", lambda folder: private.new_file(folder / "first", b"1"))
    private.build_folder(tmp_path / "made", lambda folder: private.new_file(folder / "second", b"2"))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_portrait_from_memory_is_kept_as_png(store: Store, clip: Path) -> None:
    take = adopt_clip(store, clip, portrait=some_portrait(5))
    kept = read_portrait(take.portrait_file)
    assert np.array_equal(kept.rgb, some_portrait(5).rgb)
    assert (kept.sha256, kept.pixel_sha256) == (take.portrait_sha256, take.portrait_pixel_sha256)
