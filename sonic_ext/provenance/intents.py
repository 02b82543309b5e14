"""What an export means to do, written down before it does it, so that the next start can finish or undo it.

    exports/<id>/           copies that are being tagged and signed
    exports/<id>.json       the intent: from before anything appears outside of the home until nothing is left
    exports/<id>.reserved   there where the empty file at the destination is this export's own
    exports/<id>.lock       held by the process that exports

A file's name and a row of the ledger lie in two places that cannot change as one. So they change in an order
of which every beginning can be told from the outside and has one right end:

    what is there                             what the next start does
    no intent                                 nothing: nothing left the home
    intent                                    undo: the temporary file goes, an overwritten file comes back
    intent, video in place                    finish: write the row; undo where the consent was revoked
    intent, video in place, row               finish: open the video to others, drop what was overwritten

Each step is on the disk before the next one begins: the intent, the bytes, the name, the row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import SonicError
from ..files.atomic import link_into_place, new_file, sync_folder
from ..files.digest import sha256_of

FOLDER = "exports"
"""Below the private home."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intent:
    """One export: which file goes where."""

    file: Path
    """Where the intent is written: `exports/<id>.json`."""
    record: str
    """Id of the consent record."""
    sha256: str
    """Of the signed video."""
    path: Path
    """Destination, absolute."""
    overwrite: bool
    """A file at `path` may be replaced."""
    mode: int | None
    """Permission bits of the file that was there; None: those that a new file gets."""

    @classmethod
    def create(cls, folder: Path, record: str, sha256: str, path: Path, overwrite: bool) -> Intent:
        """The intent of the export that works in `folder`, `exports/<id>`; not written yet."""
        mode = _mode(path) if overwrite and path.exists() else None
        return cls(intent_file(folder), record, sha256, path.absolute(), overwrite, mode)

    @property
    def part(self) -> Path:
        """The video beside its destination until it is moved there; 0600."""
        return self.path.with_name(f".{self.record}.part")

    @property
    def old(self) -> Path:
        """The overwritten file, until the row is written."""
        return self.path.with_name(f".{self.record}.old")

    @property
    def _reserved(self) -> Path:
        return self.file.with_suffix(".reserved")

    def write(self) -> None:
        """Put the intent on the disk."""
        told = dataclasses.asdict(self) | {"path": str(self.path)}
        del told["file"]
        new_file(self.file, json.dumps(told).encode())
        for folder in self.file.parents[:2]:  # the one above, as this one may be new
            sync_folder(folder)

    @classmethod
    def read(cls, file: Path) -> Intent | None:
        """The intent in `file`; None where there is none, or not all of it: nothing had been done then."""
        try:
            told = json.loads(file.read_bytes())
            return cls(**{**told, "path": Path(told["path"]), "file": file})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        """The export is finished or undone."""
        self._reserved.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)

    def move(self) -> None:
        """Give the finished `part` its name in one step; it may stay as a second name.

        Raises:
            FileExistsError: something is at `path`, be it that another process made it right now, and may not
                be overwritten. It survives.
        """
        if self.overwrite:
            self._set_aside()
            self.part.replace(self.path)
        else:
            link_into_place(self.part, self.path, self._fill_reserved)
        sync_folder(self.path.parent)

    def _set_aside(self) -> None:
        """Keep what is going to be overwritten: by a second name, or else by another."""
        with contextlib.suppress(FileNotFoundError):
            try:
                # A link is kept as one. Windows cannot be told, and does so anyway.
                os.link(self.path, self.old, follow_symlinks=os.name == "nt")
            except FileNotFoundError:
                raise
            except OSError:
                self.path.replace(self.old)

    def _fill_reserved(self, part: Path, path: Path) -> None:
        """Take the name first, then fill it."""
        new_file(self._reserved, b"")
        sync_folder(self._reserved.parent)
        try:
            path.open("xb").close()
        except FileExistsError:
            self._reserved.unlink()
            raise
        part.replace(path)

    def in_place(self) -> bool:
        """Whether the file at the destination is the video."""
        if self.path.is_symlink() or not self.path.is_file():
            return False
        return sha256_of(self.path) == self.sha256

    def finish(self, in_place: bool = True) -> None:
        """After the row: the video gets the mode of any file there, and what helped goes away."""
        self.part.unlink(missing_ok=True)
        if in_place:
            self._open_to_others()
        self.old.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        self.forget()

    def undo(self) -> None:
        """Without a row: what was put there goes away, and what was there before comes back."""
        ours = self.in_place() or self._is_reservation()
        if os.path.lexists(self.old):
            if ours or not os.path.lexists(self.path):
                self.old.replace(self.path)
            self.old.unlink(missing_ok=True)
        elif ours:
            self.path.unlink()
        self.part.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        self.forget()

    def _is_reservation(self) -> bool:
        return self._reserved.exists() and self.path.is_file() and not self.path.stat().st_size

    def _open_to_others(self) -> None:
        mode = self.mode
        if mode is None:
            # The umask and the folder's access list decide, so ask for an example.
            self.part.open("xb").close()
            mode = _mode(self.part)
            self.part.unlink()
        if mode != _mode(self.path):
            self.path.chmod(mode)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def intent_file(folder: Path) -> Path:
    """Where the intent of the export that works in `folder` is written."""
    return folder.with_suffix(".json")


def is_under_way(home: Path, path: Path) -> bool:
    """Whether an export to this place has begun and is neither finished nor undone."""
    intents = map(Intent.read, (home / FOLDER).glob("*.json"))
    return any(intent is not None and intent.path == path.absolute() for intent in intents)


@contextlib.contextmanager
def log_failures(intent: Intent) -> Iterator[None]:
    """Around clearing up: what fails goes to the log, and the intent stays for the next start."""
    try:
        yield
    except (OSError, SonicError) as error:
        _log.warning(
            "The export of %s left something that cannot be cleared up now (%s); the next start tries again.",
            intent.path,
            error,
        )
