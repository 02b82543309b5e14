"""The private store: marked masters and stamped previews that no consent has let out yet.

    takes/<id>/master.mp4, preview.mp4, portrait.*, speech.*, take.json

Folders are 0700 and files 0600 in the private home, which no route and no file server hands out
(`boundary.refuse_served`). Takes expire.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadAudio, BadInput, Refused
from ..settings import Settings
from .private import home_errors, private_folder, private_home, replace_file, sha256_of

if TYPE_CHECKING:
    from ..media.audio import Speech
    from ..media.image import Portrait

MASTER_NAME = "master.mp4"
PREVIEW_NAME = "preview.mp4"
RETENTION_VARIABLE = "SONIC_RETENTION_DAYS"
"""Environment variable: days that a video waits for its export."""
DAYS = 7
"""The same where nobody says otherwise."""
_TAKE_NAME = "take.json"
_SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/mpo": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "image/gif": ".gif",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "image/jp2": ".jp2",
}
_PATHS = ("folder", "master", "preview", "portrait_file", "audio_file")


@dataclass(frozen=True)
class Take:
    """A marked master and a stamped preview in the private store; no consent yet."""

    id: str
    """16 hex digits: the watermark's payload."""
    folder: Path
    master: Path
    """Labelled and watermarked, not yet signed."""
    preview: Path
    """Small, visibly stamped; may be shown."""
    engine: str
    engine_version: str
    settings: Settings
    """As asked for; the seed that was used is `seed`."""
    seed: int
    """0 to 2**32 - 1."""
    portrait_sha256: str
    """Of `portrait_file`."""
    portrait_pixel_sha256: str
    audio_sha256: str
    """Of `audio_file`."""
    master_sha256: str
    created: datetime
    """UTC."""
    width: int
    height: int
    fps: int
    frames: int
    seconds: float
    """Length of the picture, `frames / fps`."""
    framing: str
    """whole or crop."""
    warnings: tuple[str, ...]
    sync_offset: float | None
    """Measured seconds that the mouth came after the sound; None where it was not measured."""
    portrait_file: Path
    """Copy of the portrait in the private folder; an ingredient at export."""
    audio_file: Path
    """Copy of the speech in the private folder; an ingredient at export."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; paths by name, as all lie in the take's folder."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {name: values[name].name for name in _PATHS}
        values |= {"settings": self.settings.to_dict(), "warnings": list(self.warnings)}
        return values | {"created": self.created.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: Path) -> Take:
        """The take that `to_dict` came from, now lying in `folder`."""
        paths = {name: folder / values[name] for name in _PATHS if name != "folder"}
        changed = {
            "folder": folder,
            "settings": Settings.from_mapping(values["settings"]),
            "created": datetime.fromisoformat(values["created"]),
            "warnings": tuple(values["warnings"]),
        }
        return cls(**{**values, **paths, **changed})

    def require_unaltered(self) -> None:
        """Compare master, portrait and speech with the hashes taken when they were made.

        Raises:
            Refused: one of them was altered or is gone.
        """
        pairs = (
            (self.master, self.master_sha256),
            (self.portrait_file, self.portrait_sha256),
            (self.audio_file, self.audio_sha256),
        )
        for path, expected in pairs:
            if not path.is_file() or sha256_of(path) != expected:
                raise Refused(
                    f"{path.name} of take {self.id} was altered after the video was made.",
                    "Make the video again and export that.",
                )


class Store:
    """Takes in the private home.

    Args:
        root: the private home; see `private.private_home`.

    Raises (every method):
        BadOutput: the file system keeps the store from being used.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.home = private_home(root)
        self.folder = self.home / "takes"

    def open_folder(self) -> tuple[str, Path]:
        """A new id (16 hex digits, never zero) and its empty folder."""
        with home_errors(self.home):
            private_folder(self.folder)
            while True:
                take_id = f"{secrets.randbits(64) or 1:016x}"
                try:
                    (self.folder / take_id).mkdir(mode=0o700)
                except FileExistsError:
                    continue
                return take_id, self.folder / take_id

    def adopt(
        self,
        take_id: str,
        portrait: Portrait,
        speech: Speech,
        *,
        settings: Settings,
        engine: str,
        engine_version: str,
        seed: int,
        frames: int,
        size: tuple[int, int],
        warnings: tuple[str, ...],
        sync_offset: float | None,
        created: datetime,
    ) -> Take:
        """Make a take of the master and preview lying in the folder of `take_id`, and save it.

        Args:
            portrait, speech: what the video was made of; copied into the folder.
            size: width and height of the master in pixels.
            created: UTC.

        Raises:
            BadAudio: the sound file was changed while the video was made.
        """
        folder = self._place(take_id)
        with home_errors(self.home):
            portrait_file = _keep_portrait(portrait, folder)
            audio_file = _keep_speech(speech, folder)
            take = Take(
                id=take_id,
                folder=folder,
                master=folder / MASTER_NAME,
                preview=folder / PREVIEW_NAME,
                engine=engine,
                engine_version=engine_version,
                settings=settings,
                seed=seed,
                portrait_sha256=portrait.sha256,
                portrait_pixel_sha256=portrait.pixel_sha256,
                audio_sha256=speech.sha256,
                master_sha256=sha256_of(folder / MASTER_NAME),
                created=created,
                width=size[0],
                height=size[1],
                fps=settings.fps,
                frames=frames,
                seconds=frames / settings.fps,
                framing=settings.framing,
                warnings=warnings,
                sync_offset=sync_offset,
                portrait_file=portrait_file,
                audio_file=audio_file,
            )
        self.save(take)
        return take

    def save(self, take: Take) -> None:
        """Write `take.json` and close the files of the take to other users."""
        text = json.dumps(take.to_dict(), ensure_ascii=False, indent=1)
        with home_errors(self.home):
            replace_file(self._place(take.id) / _TAKE_NAME, text.encode())
            for path in take.folder.iterdir():
                path.chmod(0o600)

    def load(self, take_id: str) -> Take:
        """The take with this id.

        Raises:
            BadInput: there is none (any more).
        """
        folder = self._place(take_id)
        if not (folder / _TAKE_NAME).is_file():
            raise BadInput(f"There is no take {take_id}.", "It has expired or was discarded: make it again.")
        with home_errors(self.home):
            text = (folder / _TAKE_NAME).read_text(encoding="utf-8")
        try:
            return Take.from_dict(json.loads(text), folder)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"Take {take_id} is damaged: {error}.", "Make the video again.") from error

    def takes(self) -> tuple[Take, ...]:
        """All takes, oldest first."""
        with home_errors(self.home):
            found = [path.parent.name for path in self.folder.glob(f"*/{_TAKE_NAME}")]
        return tuple(sorted(map(self.load, found), key=lambda take: take.created))

    def discard(self, take_id: str) -> None:
        """Delete a take; one that is gone already is no error."""
        with home_errors(self.home), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._place(take_id))

    def expire(self, days: float | None = None) -> tuple[str, ...]:
        """Delete takes, finished or not, that nothing was written to for `days`; returns their ids.

        None asks `retention`.
        """
        limit = time.time() - (retention() if days is None else days) * 86400
        with home_errors(self.home):
            folders = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
            old = tuple(folder.name for folder in folders if _last_written(folder) < limit)
        for take_id in old:
            self.discard(take_id)
        return old

    def _place(self, take_id: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{16}", take_id):
            raise BadInput(f"{take_id!r} is not the id of a take.", "An id has 16 digits, 0-9 and a-f.")
        return self.folder / take_id


def retention() -> float:
    """Days that a video waits for its export: $SONIC_RETENTION_DAYS where that is a number above 0."""
    try:
        days = float(os.environ.get(RETENTION_VARIABLE, ""))
    except ValueError:
        return DAYS
    return days if days > 0 else DAYS


def _keep_portrait(portrait: Portrait, folder: Path) -> Path:
    """The bytes that the portrait was read from, under a name that tells their kind."""
    target = folder / f"portrait{_SUFFIXES.get(portrait.media_type, '.bin')}"
    target.write_bytes(portrait.data)
    return target


def _keep_speech(speech: Speech, folder: Path) -> Path:
    target = folder / f"speech{speech.path.suffix.lower()}"
    shutil.copyfile(speech.path, target)
    if sha256_of(target) != speech.sha256:
        raise BadAudio(f"{speech.path} was changed while the video was made.", "Make the video again.")
    return target


def _last_written(folder: Path) -> float:
    """Seconds since the epoch; what is deleted meanwhile counts as old."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except FileNotFoundError:
        return 0.0
