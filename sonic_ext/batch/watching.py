"""A folder in which a portrait and a voice of the same name appear, sooner or later."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..errors import BadInput
from .rows import PICTURES, SOUNDS, AnyRow, Defaults, WrongRow, couples, files_in, paired

EVERY = 1.0
"""Seconds between two looks, at least."""
Signs = tuple[tuple[str, int, int], ...]
"""Path, size and time of change of each file of a pair."""


class Folder:
    """Remembers what it has seen.

    Args:
        path: the folder that is watched.
        defaults: settings and consent of all rows.
    """

    def __init__(self, path: Path, defaults: Defaults) -> None:
        self._path, self._defaults = path, defaults
        self._seen: dict[str, Signs] = {}
        self._given: dict[str, Signs] = {}
        self._numbers: dict[str, int] = {}
        self._outputs: dict[str, str] = {}

    def look(self) -> tuple[AnyRow, ...]:
        """Pairs that are complete now and were not given before, or were changed since.

        A pair is complete when its files are what they were at the look before, and nobody writes to them as
        far as the system tells.

        Raises:
            BadInput: the folder cannot be read.
        """
        rows = []
        before, self._seen = self._seen, {}
        pairs = paired(files_in(self._path, PICTURES), files_in(self._path, SOUNDS))
        for stem, (faces, sounds) in pairs.items():
            if len(faces) != 1 or len(sounds) != 1:
                continue  # one of them is still to come, or nobody knows which one is meant
            signs = self._seen[stem] = _signs(faces[0], sounds[0])
            changed = signs != before.get(stem) or any(size == 0 for _, size, _ in signs)
            if changed or signs == self._given.get(stem) or any(map(being_written, (faces[0], sounds[0]))):
                continue
            self._given[stem] = signs
            rows.append(self._row(stem, faces[0], sounds[0]))
        return tuple(rows)

    def _row(self, stem: str, face: Path, sound: Path) -> AnyRow:
        (row,) = couples([(face, sound)], self._defaults)
        number = self._numbers.setdefault(stem, len(self._numbers) + 1)
        owner = self._outputs.setdefault(row.output.casefold(), stem)
        if owner != stem:
            error = BadInput(f"{owner} has the output {row.output} already.", "Rename one of them.")
            return WrongRow(number, str(face), str(sound), row.output, error)
        return replace(row, number=number)


def being_written(path: Path) -> bool:
    """Somebody has the file open for writing, as far as the system tells; False where it does not."""
    if sys.platform == "win32":
        try:
            with path.open("r+b"):
                return False
        except OSError:
            return True
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        # Linux gives a lease for reading only on a file that nobody has open for writing.
        with _without_notice():
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    except BlockingIOError:
        return True
    except OSError:  # another user's file, or a file system without leases
        return False
    finally:
        os.close(handle)


@contextlib.contextmanager
def _without_notice() -> Iterator[None]:
    """Who opens the file meanwhile has the holder of the lease sent SIGIO, which would end the process."""
    if sys.platform == "linux":
        former = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGIO, former)


def _signs(*paths: Path) -> Signs:
    signs = []
    for path in paths:
        with contextlib.suppress(OSError):
            facts = path.stat()
            signs.append((str(path), facts.st_size, facts.st_mtime_ns))
    return tuple(signs)
