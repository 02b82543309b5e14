"""Locks in the private home: one holder, freed by the end of its process, however it ends."""

from __future__ import annotations

import errno
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from sonic_ext.files.locks import held, lock_of, sweep


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_holder(tmp_path: Path) -> None:
    with held(tmp_path / "work") as mine:
        assert mine
        assert names(tmp_path) == ["work.lock"]
        with held(tmp_path / "work") as again, held(tmp_path / "other") as other:
            assert (again, other) == (False, True)
        assert names(tmp_path) == ["work.lock"]
    assert names(tmp_path) == []


def test_threads_keep_each_other_out(tmp_path: Path) -> None:
    """A counter that only the holder touches: read, given up, written."""
    count, path = 0, tmp_path / "work"

    def work() -> None:
        nonlocal count
        done = 0
        while done < 50:
            with held(path) as mine:
                if mine:
                    before = count
                    lock_of(path).exists()  # lets the other threads run
                    count = before + 1
                    done += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert count == 200
    assert names(tmp_path) == []


def _hold(path: str, held_now: Any, end: Any) -> None:
    with held(Path(path)) as mine:
        assert mine
        held_now.set()
        end.wait(PATIENCE)
        os._exit(1)  # as a kill: nothing is let go by Python


def test_the_end_of_a_process_frees_its_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held_now, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path / "work"), held_now, end))
    other.start()
    assert held_now.wait(PATIENCE)
    with held(tmp_path / "work") as mine:
        assert not mine
    sweep(tmp_path)
    assert names(tmp_path) == ["work.lock"]
    end.set()
    other.join(PATIENCE)
    assert names(tmp_path) == ["work.lock"]
    with held(tmp_path / "work") as mine:
        assert mine
    assert names(tmp_path) == []


def test_sweeping_removes_what_nobody_holds(tmp_path: Path) -> None:
    lock_of(tmp_path / "left").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    with held(tmp_path / "work"):
        sweep(tmp_path)
        assert names(tmp_path) == ["file", "work.lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete what is open")
def test_a_lock_on_a_deleted_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder before deleted it between the opening and the locking."""
    import fcntl

    real = fcntl.flock

    def late(handle: int, how: int) -> None:
        lock_of(tmp_path / "work").unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with held(tmp_path / "work") as mine:
        assert not mine


def test_a_folder_that_became_read_only_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file cannot be deleted; the lock is let go all the same."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch, held(tmp_path / "work") as mine:
        patch.setattr(Path, "unlink", refuse)
        assert mine
    assert names(tmp_path) == ["work.lock"]
    with held(tmp_path / "work") as again:
        assert again


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), held(tmp_path / "missing" / "work"):
        pass
