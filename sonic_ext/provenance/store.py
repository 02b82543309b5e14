"""The private store: marked masters and stamped previews that no consent has let out yet.

    takes/<id>/master.mp4, preview.mp4, portrait.*, speech.*, take.json; speech_2.* of a second person

Folders are 0700 and files 0600 in the private home, which no route and no file server hands out
(`boundary.refuse_served`). Takes expire.

take.json carries HMAC-SHA-256 over all the rest of it, with a key derived from the ledger's: the hashes of
the four files, settings, engine, times, and how far the ledger had come. A take whose seal does not fit is
not loaded, and what is exported is compared with those hashes. Whoever can read the ledger's key can seal.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configuration import Configuration
from ..errors import BadAudio, BadInput, Refused, SonicError, WrongTime
from ..files.atomic import replace_file
from ..files.digest import copy_hashed, sha256_of
from ..files.home import home_errors, private_folder, private_home
from ..files.locks import held, sweep, wait_for_lock
from ..settings import Settings
from .ledger import Ledger
from .take import SecondSpeaker, Take, altered

if TYPE_CHECKING:
    from ..media.audio import Speech
    from ..media.image import Portrait
    from .watermark import Detection

FORMAT = 2
"""Of take.json; version 0.1 wrote the first, which had no number and no seal."""
MASTER_NAME = "master.mp4"
PREVIEW_NAME = "preview.mp4"
_TAKE_NAME = "take.json"
_TAKE_BYTES = 1 << 20
"""A take.json is a thousand times smaller."""
_ID = re.compile(r"[0-9a-f]{16}")
_COPIES_NAME = "copies"
"""A path in JSON on each line."""
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


@dataclass(frozen=True)
class Unusable:
    """A take in the store that cannot be loaded."""

    id: str
    error: SonicError
    """Why, and what to do."""
    modified: datetime
    """Last change of its files, UTC."""


@dataclass(frozen=True)
class TakeListing:
    """What the store holds, each oldest first."""

    takes: tuple[Take, ...]
    unusable: tuple[Unusable, ...]


class Store:
    """Takes in the private home.

    Args:
        root: the private home; see `files.home.private_home`.
        configuration: says how long takes wait; the environment's by default.

    Raises (every method):
        BadOutput: the file system keeps the store from being used, or others may read the private home.
        Tampered: the ledger's key, which the takes are sealed with, is gone.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, configuration: Configuration | None = None
    ) -> None:
        self.home = private_home(root)
        self.folder = self.home / "takes"
        self.ledger = Ledger(self.home, configuration)
        self.configuration = self.ledger.configuration

    def check(self) -> None:
        """Before minutes of work: whether a take can be sealed, and the ledger is no older than those here.

        Raises:
            Tampered: the consent ledger was altered, or is older than a take here.
            MissingPart: a package that sealing needs is not installed.
        """
        self._key()
        self.ledger.require_reached((take.ledger, f"take {take.id}") for take in self.takes())

    @contextlib.contextmanager
    def new_take(self, take_id: str = "") -> Iterator[tuple[str, Path]]:
        """An id (16 hex digits, never zero) and its empty folder, for a block that makes a take there.

        The folder goes away if the block fails, and at the next `expire` if its process is killed.

        Args:
            take_id: given to the take before, as a job does; a new one by default.

        Raises:
            WrongTime: there is a take of this id, or one is being made.
        """
        with contextlib.ExitStack() as stack:
            with home_errors(self.home):
                private_folder(self.folder)
                if take_id:
                    self._claim_folder(take_id, stack)
                else:
                    take_id = self._new_folder(stack)
            try:
                yield take_id, self.folder / take_id
            except BaseException:
                self.discard(take_id)
                raise

    def _new_folder(self, stack: contextlib.ExitStack) -> str:
        """Lock the folder of a new id until `stack` ends, and make it."""
        while True:
            take_id = f"{secrets.randbits(64) or 1:016x}"
            if stack.enter_context(held(self.folder / take_id)):
                with contextlib.suppress(FileExistsError):
                    (self.folder / take_id).mkdir(mode=0o700)
                    return take_id

    def _claim_folder(self, take_id: str, stack: contextlib.ExitStack) -> None:
        """Lock the folder of an id until `stack` ends, and make it, without what a killed process left."""
        folder = self._folder_of(take_id)
        if not stack.enter_context(wait_for_lock(folder)) or self.holds(take_id):
            raise WrongTime(f"Take {take_id} is there already, or being made.", "Export it, or wait.")
        self.discard(take_id)
        folder.mkdir(mode=0o700)

    def holds(self, take_id: str) -> bool:
        """Whether there is a finished take of this id."""
        return (self._folder_of(take_id) / _TAKE_NAME).is_file()

    def create(
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
        mark_algorithm: str,
        mark: Detection | None,
        perceptual_hash: str,
        second: tuple[Speech, str] | None = None,
    ) -> Take:
        """Make a take of the master and preview lying in the folder of `take_id`, and save it.

        Args:
            portrait, speech: what the video was made of; copied into the folder.
            size: width and height of the master in pixels.
            created: UTC.
            mark_algorithm: which watermark was put in.
            mark: the watermark as read from the master; None where it could not be read.
            perceptual_hash: of the portrait, hex.
            second: the second person's speech, and the perceptual hash of their face, where two speak.

        Raises:
            BadAudio: the sound file was changed while the video was made.
        """
        folder = self._folder_of(take_id)
        head = self.ledger.head()
        with home_errors(self.home):
            portrait_file = _save_portrait(portrait, folder)
            audio_file = _save_speech(speech, folder)
            other = second and _second_speaker(*second, speech, audio_file)
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
                preview_sha256=sha256_of(folder / PREVIEW_NAME),
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
                mark_read=mark is not None,
                mark_algorithm=mark_algorithm,
                mark_odds=mark.odds if mark else 1.0,
                ledger=head,
                perceptual_hash=perceptual_hash,
                second=other,
            )
        self.save(take)
        return take

    def save(self, take: Take) -> None:
        """Seal `take.json` and close the files of the take to other users."""
        values = take.to_dict()
        sealed = {"format": FORMAT, "mac": self._mac(values), "take": values}
        text = json.dumps(sealed, indent=1)
        with home_errors(self.home):
            replace_file(self._folder_of(take.id) / _TAKE_NAME, text.encode())
            for path in take.folder.iterdir():
                path.chmod(0o600)

    def load(self, take_id: str) -> Take:
        """The take with this id, as it was sealed.

        Raises:
            BadInput: there is none (any more), it is damaged, or a newer version of this package made it.
            ConsentRevoked: it was deleted because its portrait was revoked.
            Refused: it was altered, belongs elsewhere, or was made by version 0.1, which sealed nothing.
        """
        folder = self._folder_of(take_id)
        if not self.holds(take_id):
            if self.ledger.folder.is_dir():
                self.ledger.refuse_revoked(take_id)
            raise BadInput(f"There is no take {take_id}.", "It has expired or was discarded: make it again.")
        with home_errors(self.home), (folder / _TAKE_NAME).open("rb") as file:
            text = file.read(_TAKE_BYTES)
        try:
            return Take.from_dict(self._unseal(take_id, json.loads(text)), folder)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"Take {take_id} is damaged: {error}.", "Make the video again.") from error

    def listing(self) -> TakeListing:
        """All takes, and those that cannot be loaded with the reason."""
        takes, unusable = [], []
        for folder in self._folders():
            if not (folder / _TAKE_NAME).is_file():
                continue  # being made, or left by a process that was killed
            try:
                takes.append(self.load(folder.name))
            except (BadInput, Refused) as error:
                written = datetime.fromtimestamp(_modified_at(folder), timezone.utc)
                unusable.append(Unusable(folder.name, error, written))
        takes.sort(key=lambda take: take.created)
        unusable.sort(key=lambda each: each.modified)
        return TakeListing(tuple(takes), tuple(unusable))

    def takes(self) -> tuple[Take, ...]:
        """All takes that can be loaded, oldest first."""
        return self.listing().takes

    def portraits(self) -> dict[str, set[str]]:
        """Id of every take, also of one that cannot be read, and the hashes known of its portrait."""
        found: dict[str, set[str]] = {}
        for folder in self._folders():
            with home_errors(self.home), contextlib.suppress(FileNotFoundError):
                found[folder.name] = {sha256_of(path) for path in folder.glob("portrait.*")}
        for take in self.takes():
            found.setdefault(take.id, set()).update((take.portrait_sha256, take.portrait_pixel_sha256))
        return found

    def record_copy(self, take_id: str, copy: Path) -> None:
        """Remember a copy of the preview outside of the store, to be deleted with the take."""
        with (
            home_errors(self.home),
            (self._folder_of(take_id) / _COPIES_NAME).open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(str(copy)) + "\n")

    def discard(self, take_id: str) -> None:
        """Delete a take and the copies of its preview; one that is gone already is no error."""
        place = self._folder_of(take_id)
        with home_errors(self.home), contextlib.suppress(FileNotFoundError):
            if place.is_symlink() or not place.is_dir():
                place.unlink()  # not ours, and what a link leads to is not touched
            else:
                _delete_copies(place)
                # First what makes it a take: where deleting stops halfway, the rest is an unfinished one.
                (place / _TAKE_NAME).unlink(missing_ok=True)
                shutil.rmtree(place)

    def expire(self, days: float | None = None) -> tuple[str, ...]:
        """Delete takes that nothing was written to for `days`, and unfinished ones whose process is gone.

        Args:
            days: None for those of the configuration.

        Returns:
            Their ids.
        """
        limit = time.time() - (self.configuration.retention_days if days is None else days) * 86400
        with home_errors(self.home), contextlib.ExitStack() as stack:
            old = tuple(path.name for path in self._folders() if self._is_expired(path, limit, stack))
            for take_id in old:
                self.discard(take_id)
            sweep(self.folder)
        return old

    def _is_expired(self, folder: Path, limit: float, stack: contextlib.ExitStack) -> bool:
        """Whether a take may go; an unfinished one is then locked until `stack` ends."""
        if (folder / _TAKE_NAME).exists() or folder.is_symlink() or not folder.is_dir():
            return _modified_at(folder) < limit
        # Asked again with the lock: its process may have finished it meanwhile.
        return stack.enter_context(held(folder)) and not (folder / _TAKE_NAME).exists()

    def _folders(self) -> list[Path]:
        """What bears the name of a take; other files are not ours."""
        with home_errors(self.home):
            found = self.folder.iterdir() if self.folder.is_dir() else ()
            return sorted(path for path in found if _ID.fullmatch(path.name))

    def _unseal(self, take_id: str, sealed: Mapping[str, Any]) -> dict[str, Any]:
        """The values in a take.json, if this installation sealed them for this take."""
        version = sealed.get("format", 1)
        if version == 1:
            raise Refused(
                f"Nothing vouches for take {take_id}: version 0.1 made it, which did not seal its takes.",
                "Make the video again.",
            )
        if isinstance(version, int) and version > FORMAT:
            raise BadInput(
                f"Take {take_id} was made by a newer version of this extension.", "Update the extension."
            )
        values = dict(sealed["take"])
        mac = str(sealed.get("mac")).encode("utf-8", "replace")
        if not hmac.compare_digest(self._mac(values).encode(), mac) or values["id"] != take_id:
            raise altered(_TAKE_NAME, take_id)
        return values

    def _mac(self, values: Mapping[str, Any]) -> str:
        """HMAC-SHA-256, in hex, over the values as JSON with sorted keys and ASCII only."""
        text = json.dumps(values, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return hmac.new(self._key(), text.encode(), hashlib.sha256).hexdigest()

    def _key(self) -> bytes:
        return self.ledger.derived_key(f"sonic take {FORMAT}")

    def _folder_of(self, take_id: str) -> Path:
        if not _ID.fullmatch(take_id):
            raise BadInput(f"{take_id!r} is not the id of a take.", "An id has 16 digits, 0-9 and a-f.")
        return self.folder / take_id


def _save_portrait(portrait: Portrait, folder: Path) -> Path:
    """The bytes that the portrait was read from, under a name that tells their kind."""
    target = folder / f"portrait{_SUFFIXES.get(portrait.media_type, '.bin')}"
    target.write_bytes(portrait.data)
    return target


def _second_speaker(voice: Speech, looks: str, first: Speech, audio_file: Path) -> SecondSpeaker:
    """Whoever speaks with a voice, whose file is saved unless it is the first one's."""
    if voice.sha256 != first.sha256:
        audio_file = _save_speech(voice, audio_file.parent, "speech_2")
    return SecondSpeaker(looks, voice.sha256, audio_file)


def _save_speech(speech: Speech, folder: Path, stem: str = "speech") -> Path:
    target = folder / f"{stem}{speech.path.suffix.lower()}"
    if speech.data is not None:
        target.write_bytes(speech.data)
    elif copy_hashed(speech.path, target) != speech.sha256:
        raise BadAudio(f"{speech.path} was changed while the video was made.", "Make the video again.")
    return target


def _delete_copies(folder: Path) -> None:
    """Files that were noted and still are the preview, byte for byte; others are somebody else's by now."""
    preview, noted = folder / PREVIEW_NAME, folder / _COPIES_NAME
    if not (preview.is_file() and noted.is_file()):
        return
    digest = sha256_of(preview)
    for line in noted.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(OSError, ValueError, TypeError):
            copy = Path(json.loads(line))
            if sha256_of(copy) == digest:
                copy.unlink()


def _modified_at(folder: Path) -> float:
    """Seconds since the epoch; what is deleted meanwhile counts as old."""
    inside = () if folder.is_symlink() or not folder.is_dir() else folder.iterdir()
    try:
        return max(path.lstat().st_mtime for path in (folder, *inside))
    except FileNotFoundError:
        return 0.0
