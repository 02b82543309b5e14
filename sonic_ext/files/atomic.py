"""Files that are there whole or not at all: a temporary name in the same folder, then one move."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from ..errors import BadOutput

BLOCK = 1 << 20
"""Bytes copied at a time."""
LONGEST_NAME = 255
"""Bytes of a name that file systems take."""
_TEMPORARY = "[0-9a-f]" * 8


def temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody else uses."""
    return path.with_name(f".{_stem(path.name)}.{secrets.token_hex(4)}")


def _stem(name: str) -> str:
    """The name, or its hash where with what is put around it there it would be too long for a file system."""
    data = os.fsencode(name)
    return name if len(data) <= LONGEST_NAME - 10 else hashlib.sha256(data).hexdigest()[:32]


def remove_temporaries(path: Path, older: float = 0.0) -> None:
    """Remove what killed processes left under `temporary_name(path)`.

    Args:
        older: seconds since the last write; 0 is for callers that write alone.
    """
    for left in path.parent.glob(f".{glob.escape(_stem(path.name))}.{_TEMPORARY}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime >= older:
                left.unlink()


@contextlib.contextmanager
def atomic_write(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """Yields a temporary name for the block to write; at its end that file becomes `path` in one step.

    After any exception, Ctrl-C included, nothing is left. Whether the bytes are on the disk by then is up to
    the block (`new_file` puts them there); the name is.

    Raises:
        BadOutput: `path` exists, and `overwrite` is not set.
        OSError: what the file system says.
    """
    part = temporary_name(path)
    try:
        yield part
        move_into_place(part, path, overwrite)
        sync_folder(path.parent)
    finally:
        discard(part)


def discard(part: Path) -> None:
    """Remove a file that did not become what it was to be, if it is there.

    Where that cannot be, as on a disk that became read-only meanwhile, whatever was raised before says more.
    """
    with contextlib.suppress(OSError):
        part.unlink()


def replace_file(path: Path, data: bytes) -> None:
    """Write a private file, 0600, safely on disk when this returns."""
    with atomic_write(path) as part:
        new_file(part, data)


def replace_files(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write files by name, each whole or not at all, while nobody else writes them; where they are.

    Raises:
        BadOutput: one of them cannot be written.
    """
    for name, data in files.items():
        try:
            remove_temporaries(folder / name)
            replace_file(folder / name, data)
        except OSError as error:
            raise BadOutput(
                f"{folder / name} cannot be written: {error.strerror or error}.", "Close it, or make room."
            ) from error
    return tuple(folder / name for name in files)


def new_file(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, 0600, safely on disk when this returns."""
    with open_new(path) as file:
        file.write(data)
        flush_to_disk(file)


def open_new(path: Path) -> BinaryIO:
    """Open a file for writing that must not exist yet, 0600."""
    return os.fdopen(
        os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600), "wb"
    )


def copy_to_disk(source: BinaryIO, target: BinaryIO) -> None:
    """Copy to the disk itself, so that a full disk shows here and not later."""
    shutil.copyfileobj(source, target, BLOCK)
    flush_to_disk(target)


def flush_to_disk(file: BinaryIO) -> None:
    """Put what was written to a file on the disk itself."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: what was made, renamed or deleted there stays so.

    Windows has no such call for folders, and some network drives do not answer it: there the names reach
    the disk in the system's own time.
    """
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_target(path: Path, overwrite: bool = False) -> None:
    """Raise `BadOutput` where a file cannot be put: it exists, its folder is missing or not writable, or the
    name is none, such as one that is too long."""
    folder, mode = path.parent, 0
    try:
        if not folder.is_dir():
            raise BadOutput(f"The folder {folder} does not exist.", "Make it, or choose another place.")
        with contextlib.suppress(FileNotFoundError):
            mode = path.stat().st_mode
    except OSError as error:
        raise BadOutput(
            f"{path} cannot be written: {error.strerror or error}.", "Choose another name or place."
        ) from error
    if stat.S_ISDIR(mode):
        raise BadOutput(f"{path} is a folder.", "Give the name of a file in it.")
    if mode and not overwrite:
        raise BadOutput(f"{path} exists already.", "Choose another name, or allow overwriting (--overwrite).")
    if not os.access(folder, os.W_OK):
        raise BadOutput(f"The folder {folder} cannot be written to.", "Choose another folder.")


def move_into_place(part: Path, path: Path, overwrite: bool = False) -> None:
    """Give a finished file its name in one step; an existing one survives unless `overwrite`.

    Raises:
        BadOutput: `path` exists, and `overwrite` is not set.
    """
    if overwrite:
        part.replace(path)
        return
    try:
        link_into_place(part, path, _checked_replace)
    except FileExistsError:
        raise BadOutput(f"{path} exists already.", "Choose another name, or allow overwriting.") from None
    part.unlink(missing_ok=True)


def flush_into_place(part: Path, path: Path, overwrite: bool = False) -> None:
    """The same of a file that others wrote: first its bytes are put on the disk itself, at last its name.

    Raises:
        BadOutput: `path` exists, and `overwrite` is not set.
        OSError: what the file system says.
    """
    with part.open("rb+") as file:
        flush_to_disk(file)
    move_into_place(part, path, overwrite)
    sync_folder(path.parent)


def link_into_place(part: Path, path: Path, without_links: Callable[[Path, Path], None]) -> None:
    """Give a finished file a name that nothing has yet; it may stay under `part` as well.

    Args:
        without_links: does it where the file system has no hard links (FAT, some network drives).

    Raises:
        FileExistsError: something has it, be it that another process made it right now. It survives.
    """
    if os.name == "nt":
        part.rename(path)
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        without_links(part, path)


def _checked_replace(part: Path, path: Path) -> None:
    """The check and the move are two steps here."""
    if path.exists():
        raise FileExistsError(path)
    part.replace(path)
