"""Files that jobs need: brought into the private home under their SHA-256, deleted when no job needs them.

inputs/<sha256><suffix>     in the store; each is needed by a row of the queue
uploads/<id>/               on their way there, gone with the process that brings them
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import BadInput, Failed
from ..files.atomic import copy_to_disk, flush_to_disk, open_new, sync_folder
from ..files.digest import copy_hashing, sha256_of
from ..files.home import home_errors, private_folder, working_folder
from ..files.locks import held
from ..files.names import portable
from .spec import Input

FOLDER = "inputs"
"""Below the private home: what jobs need."""
STAGING = "uploads"
"""Below the private home: what is being brought."""
STEM_LENGTH, SUFFIX_LENGTH = 40, 12
"""Characters of a name; four bytes each are less than the 255 that a file system takes."""
MAX_BYTES = 8 << 30
"""Of one file: two hours of sound in the largest format are less."""


class Staging:
    """Files on their way into the store, in a private folder that goes away with the block that made it.

    Raises (every method):
        BadOutput: the file system keeps it from being written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._staged: dict[str, Path] = {}

    def copy(self, source: Path, problem: type[BadInput] = BadInput) -> Input:
        """Copy a file.

        Args:
            problem: what is raised where it cannot be read, or is no file of a size that anybody needs.
        """
        try:
            if not source.is_file() or source.stat().st_size > MAX_BYTES:
                there = "is no file" if not source.is_file() else f"is larger than {MAX_BYTES >> 30} GB"
                raise problem(f"{source} {there}.", "Give the file itself.")
            with source.open("rb") as reading:
                return self._staged_as(source.name, reading)
        except OSError as error:
            raise problem(
                f"{source} cannot be read: {error.strerror or error}.", "Look at its rights."
            ) from error

    def write(self, name: str, data: bytes) -> Input:
        """Write a file's bytes."""
        return self._staged_as(name, io.BytesIO(data))

    def path(self, staged: Input) -> Path:
        """Where a file lies until it is submitted, under its own name."""
        return self._staged[staged.stored_name]

    def store(self, into: Path, needed: Iterable[Input] | None = None) -> None:
        """Put files into the store, each whole or not at all; here they stay, for the block's next job.

        Args:
            needed: those that are staged of these; None for all.
        """
        private_folder(into)
        names = self._staged if needed is None else {each.stored_name for each in needed}
        for name in self._staged.keys() & names:
            path, target = self._staged[name], into / name
            if not _is_plain(target) or target.stat().st_size != path.stat().st_size:
                part = path.with_name(".part")
                _link(path, part)
                part.replace(target)
        sync_folder(into)

    def _staged_as(self, name: str, reading: BinaryIO) -> Input:
        name = _portable_name(name)
        folder = self.folder / str(len(self._staged))
        with home_errors(self.folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / name).unlink(missing_ok=True)
            with open_new(folder / name) as file:
                sha256, size = copy_hashing(reading, file), file.tell()
                flush_to_disk(file)
        staged = Input(sha256, name, size)
        self._staged.setdefault(staged.stored_name, folder / name)
        return staged


@contextlib.contextmanager
def staging(home: Path) -> Iterator[Staging]:
    """For the block that submits a job.

    Raises:
        BadOutput: the folder cannot be made.
    """
    with home_errors(home):
        remove_abandoned(home / STAGING)
    with working_folder(home, STAGING) as folder:
        yield Staging(folder)


def stored_path(home: Path, needed: Input) -> Path:
    """Where a file lies in the store.

    Raises:
        Failed: it is gone, or other bytes are there.
    """
    path = home / FOLDER / needed.stored_name
    with home_errors(home):
        if not _is_plain(path):
            raise Failed(f"{needed.name} is no longer in the private store.", "Submit the job again.")
        require_sha256(needed, sha256_of(path))
    return path


def require_sha256(needed: Input, sha256: str) -> None:
    """Refuse other bytes than those that were submitted.

    Raises:
        Failed: the hash is another file's.
    """
    if sha256 != needed.sha256:
        raise Failed(f"{needed.name} was changed in the private store.", "Submit the job again.")


def collect(home: Path, needed: set[str], names: Collection[str] | None = None) -> None:
    """Delete what no job needs; call it while nobody can submit one.

    Args:
        names: only among these; None for all that there are.
    """
    with home_errors(home):
        found = {path.name for path in (home / FOLDER).glob("*")} if names is None else set(names)
        for name in found - needed:
            (home / FOLDER / name).unlink(missing_ok=True)


def _portable_name(name: str) -> str:
    """The name, short, in a form that every file system takes."""
    fit = Path(portable(Path(name).name))
    return (fit.stem[:STEM_LENGTH].strip() or "file") + fit.suffix[:SUFFIX_LENGTH].rstrip()


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # no hard links on this file system
        with source.open("rb") as reading, open_new(target) as writing:
            copy_to_disk(reading, writing)


def remove_abandoned(parent: Path) -> None:
    """What processes left here that were killed."""
    for folder in {path.with_suffix("") for path in parent.glob("*")}:
        with held(folder) as gone:
            if gone:
                shutil.rmtree(folder, ignore_errors=True)
