"""The private home: where keys, the consent ledger and unexported videos lie, unread by others.

Folders are 0700 and files 0600 where the system knows such modes; on Windows the user's profile has its own
access list and the modes are without effect.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from ..errors import BadOutput

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
    """Turn a failing file system below `home` into `BadOutput`."""
    try:
        yield
    except OSError as error:
        raise BadOutput(
            f"The private folder {home} cannot be used: {error.strerror or error}.",
            f"Make room or give yourself access, or set {HOME_VARIABLE} to another folder.",
        ) from error


def private_folder(path: Path) -> Path:
    """Make a folder (and its parents) that only this user may enter."""
    if not path.parent.is_dir():
        private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def new_file(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, 0600, safely on disk when this returns."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write a private file whole or not at all."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        new_file(part, data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def build_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `path` with what `fill` writes into it: all of it, or nothing.

    Where another process makes the same folder at the same time, the first one stands.
    """
    private_folder(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    part.mkdir(mode=0o700)
    try:
        fill(part)
        part.rename(path)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
