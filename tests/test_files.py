"""Files are written whole or not at all, and hashed."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from sonic_ext.errors import BadOutput
from sonic_ext.files.atomic import atomic_write, move_into_place, remove_temporaries, replace_file
from sonic_ext.files.digest import BLOCK, copy_hashed, sha256_of


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_write(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["a.txt"]


def test_what_fails_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as part:
        part.write_text("hal")
        raise KeyboardInterrupt
    assert (names(tmp_path), path.read_text()) == (["a.txt"], "before")


def test_what_failed_is_said_where_nothing_can_be_removed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that became read-only while the file was written."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.txt") as part:
        part.write_text("hal")
        monkeypatch.setattr(Path, "unlink", refuse)
        raise KeyboardInterrupt
    monkeypatch.undo()
    remove_temporaries(tmp_path / "a.txt")
    assert names(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_there_survives(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr("os.link", none)
    path = tmp_path / "a.txt"
    with atomic_write(path, overwrite=False) as part:
        part.write_text("first")
    with pytest.raises(BadOutput, match="exists already"), atomic_write(path, overwrite=False) as part:
        part.write_text("second")
    assert (names(tmp_path), path.read_text()) == (["a.txt"], "first")
    (tmp_path / "b.txt").write_text("third")
    move_into_place(tmp_path / "b.txt", path, overwrite=True)
    assert (names(tmp_path), path.read_text()) == (["a.txt"], "third")


@pytest.mark.skipif(os.name == "nt", reason="modes are without effect")
def test_a_private_file_is_private(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"1")
    replace_file(tmp_path / "a", b"2")
    assert ((tmp_path / "a").stat().st_mode & 0o777, (tmp_path / "a").read_bytes()) == (0o600, b"2")


def test_only_old_leftovers_go(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.0123abcd", tmp_path / ".a.0123abce"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    remove_temporaries(tmp_path / "a", older=3600)
    assert names(tmp_path) == [new.name]


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 5])
def test_a_digest_is_that_of_all_bytes(size: int, tmp_path: Path) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(data[:size])
    seen: list[tuple[int, int]] = []
    expected = hashlib.sha256(data[:size]).hexdigest()
    assert sha256_of(tmp_path / "a", lambda *step: seen.append(step)) == expected
    assert seen == [(min(end, size), size) for end in range(BLOCK, size + BLOCK, BLOCK)]
    assert copy_hashed(tmp_path / "a", tmp_path / "b") == expected == sha256_of(tmp_path / "b")
    with pytest.raises(FileExistsError):
        copy_hashed(tmp_path / "a", tmp_path / "b")
