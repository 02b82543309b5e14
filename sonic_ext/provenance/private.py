"""The private home: where keys, the consent ledger and unexported videos lie, unread by others.

Folders are 0700 and files 0600 where the system knows such modes, and a home that others may enter is not
used; on Windows the user's profile has its own access list and the modes are without effect.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import secrets
import shlex
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs

from ..errors import BadOutput
from .locks import held, sweep

HOME_VARIABLE = "SONIC_HOME"
"""Environment variable that names the private home."""


def private_home(root: str | os.PathLike[str] | None = None) -> Path:
    """`root`, else $SONIC_HOME, else the user's data folder. Nothing is made."""
    if root is not None:
        return Path(root)
    named = os.environ.get(HOME_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser()
    return Path(platformdirs.user_data_dir("sonic-ext", appauthor=False))


@contextlib.contextmanager
def home_errors(home: Path) -> Iterator[None]:
    """Around every use of the private home, or of a folder in it.

    Raises:
        BadOutput: others may read it, or the file system keeps it from being used.
    """
    try:
        _refuse_open(home)
        yield
    except OSError as error:
        raise BadOutput(
            f"The private folder {home} cannot be used: {error.strerror or error}.",
            f"Make room or give yourself access, or set {HOME_VARIABLE} to another folder.",
        ) from error


def _refuse_open(home: Path) -> None:
    """Raise `BadOutput` for a folder that other users may enter, where modes tell."""
    if os.name == "nt" or not home.is_dir():
        return
    found = home.stat()
    if found.st_mode & 0o077:
        raise BadOutput(
            f"Other users of this computer may read the private folder {home} "
            f"(mode {stat.S_IMODE(found.st_mode):o}).",
            f"Close it: chmod 700 {shlex.quote(str(home))}. Where that has no effect, as on some network "
            f"drives, set {HOME_VARIABLE} to a folder on another drive.",
        )
    if os.geteuid() not in (0, found.st_uid):
        raise BadOutput(
            f"The private folder {home} belongs to another user.",
            f"Set {HOME_VARIABLE} to a folder of your own.",
        )


def private_folder(path: Path) -> Path:
    """Make a folder (and its parents) that only this user may enter."""
    if not path.parent.is_dir():
        private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def working_folder(home: Path, kind: str) -> Iterator[Path]:
    """A new folder `kind/<id>` in the private home, locked while the block runs and gone afterwards.

    Raises:
        BadOutput: the file system keeps it from being made.
    """
    with contextlib.ExitStack() as stack:
        with home_errors(home):
            private_folder(home / kind)
            while not stack.enter_context(held(made := home / kind / secrets.token_hex(8))):
                pass
            made.mkdir(mode=0o700)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def new_file(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, 0600, safely on disk when this returns."""
    with open_new(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def open_new(path: Path) -> BinaryIO:
    """Open a file for writing that must not exist yet, 0600."""
    return os.fdopen(
        os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600), "wb"
    )


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


def remove_parts(path: Path) -> None:
    """Remove what killed processes left of `replace_file(path, …)`; for callers that write alone."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
        left.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write a private file whole or not at all, safely on disk when this returns."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        new_file(part, data)
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def build_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `path` with what `fill` writes into it: all of it, or nothing.

    Where another process makes the same folder at the same time, the first one stands. What a killed process
    left is removed.
    """
    private_folder(path.parent)
    part = path.with_name(f".{path.name}.part")
    while not path.is_dir():
        with held(part) as mine:
            if mine and not path.is_dir():
                shutil.rmtree(part, ignore_errors=True)
                _fill(part, path, fill)
        if not mine:
            time.sleep(0.01)


def sweep_builds(home: Path) -> None:
    """Remove the locks of processes that were killed at the end of `build_folder`."""
    sweep(home, ".*.part")


def _fill(part: Path, path: Path, fill: Callable[[Path], None]) -> None:
    part.mkdir(mode=0o700)
    try:
        fill(part)
        part.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
