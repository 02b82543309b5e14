"""The private home: where keys, the consent ledger and unexported videos lie, unread by others.

Folders are 0700 and files 0600 where the system knows such modes, and a home that others may enter is not
used; on Windows the user's profile has its own access list and the modes are without effect.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from ..errors import BadOutput
from ..files.locks import held, sweep
from .atomic import sync_folder
from .names import expanded

HOME_VARIABLE = "SONIC_HOME"
"""Environment variable that names the private home."""


def private_home(root: str | os.PathLike[str] | None = None) -> Path:
    """`root`, else $SONIC_HOME, else the user's data folder. Nothing is made.

    Raises:
        BadOutput: this user has no home folder, as in a container that runs under a bare number, and
            $SONIC_HOME names none that is not below it.
    """
    if root is not None:
        return Path(root)
    named = os.environ.get(HOME_VARIABLE, "").strip()
    try:
        home = expanded(named or platformdirs.user_data_dir("sonic-ext", appauthor=False))
    except RuntimeError:  # of newer platformdirs; older ones leave `~` as it is
        home = Path("~")
    if home.parts[:1] and home.parts[0].startswith("~"):
        raise BadOutput(
            "This user has no home folder, so there is no place for the private folder.",
            f"Set {HOME_VARIABLE} to a folder of your own.",
        )
    return home


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
    status = home.stat()
    if status.st_mode & 0o077:
        raise BadOutput(
            f"Other users of this computer may read the private folder {home} "
            f"(mode {stat.S_IMODE(status.st_mode):o}).",
            f"Close it: chmod 700 {shlex.quote(str(home))}. Where that has no effect, as on some network "
            f"drives, set {HOME_VARIABLE} to a folder on another drive.",
        )
    if os.geteuid() not in (0, status.st_uid):
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


def build_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make the private folder `path` with what `fill` writes into it: all of it, or nothing.

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


def sweep_builds(folder: Path) -> None:
    """Remove the locks of processes that were killed at the end of `build_folder` below `folder`."""
    sweep(folder, ".*.part")


def _fill(part: Path, path: Path, fill: Callable[[Path], None]) -> None:
    part.mkdir(mode=0o700)
    try:
        fill(part)
        part.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
