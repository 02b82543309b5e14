"""A take: a finished video in the private store, with all that was used to make it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import Refused
from ..files.digest import copy_hashed
from ..settings import Settings
from .chain import Head

FIRST_WATERMARK = "local.sonic.watermark.1"
"""The watermark of what does not say which one it has: there was no other."""
_PATHS = ("folder", "master", "preview", "portrait_file", "audio_file")


@dataclass(frozen=True)
class SecondSpeaker:
    """The second of two persons who speak in a video; both are in the one portrait."""

    perceptual_hash: str
    """Of their face in the portrait, hex."""
    audio_sha256: str
    """Of `audio_file`."""
    audio_file: Path
    """Copy of their speech in the private folder; the take's own where that has a channel for each."""


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
    preview_sha256: str
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
    mark_read: bool
    """The watermark could be read from the finished master; not so for black or very short videos."""
    mark_algorithm: str
    """Which watermark it is."""
    mark_odds: float
    """Upper bound on the probability that an unmarked video had given the id; 1.0 where it was not read."""
    ledger: Head
    """How far the consent ledger had come when the video was made."""

    @property
    def home(self) -> Path:
        """The private home that the take lies in."""
        return self.folder.parent.parent

    perceptual_hash: str
    """Of the portrait, hex, see `media.perceptual`; of the first speaker's face, where two speak."""
    second: SecondSpeaker | None = None
    """Whoever speaks with the second voice, where there is one."""

    @property
    def persons(self) -> int:
        """How many are shown speaking, each of whom consents."""
        return 1 if self.second is None else 2

    @property
    def looks(self) -> tuple[str, ...]:
        """Perceptual hash of each of their faces."""
        return (self.perceptual_hash, self.second.perceptual_hash) if self.second else (self.perceptual_hash,)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; paths by name, as all lie in the take's folder."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {name: values[name].name for name in _PATHS}
        values |= {"settings": self.settings.to_dict(), "warnings": list(self.warnings)}
        values |= {"ledger": dataclasses.asdict(self.ledger)}
        if self.second is not None:
            values["second"] = dataclasses.asdict(self.second) | {"audio_file": self.second.audio_file.name}
        return values | {"created": self.created.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: Path) -> Take:
        """The take that `to_dict` came from, now lying in `folder`."""
        paths = {name: folder / values[name] for name in _PATHS if name != "folder"}
        changed = {
            "folder": folder,
            "mark_algorithm": values.get("mark_algorithm", FIRST_WATERMARK),
            "settings": Settings.from_mapping(values["settings"]),
            "created": datetime.fromisoformat(values["created"]),
            "warnings": tuple(values["warnings"]),
            "ledger": Head(**values["ledger"]),
        }
        if second := values.get("second"):
            changed["second"] = SecondSpeaker(**second | {"audio_file": folder / second["audio_file"]})
        return cls(**{**values, **paths, **changed})

    def copied(self, folder: Path) -> Take:
        """The same take with copies of its files in `folder`: what was compared is what is used then.

        Raises:
            Refused: master, preview, portrait or speech is not what was made, is a link, or is gone.
        """
        pairs = (
            (self.master, self.master_sha256),
            (self.preview, self.preview_sha256),
            (self.portrait_file, self.portrait_sha256),
            (self.audio_file, self.audio_sha256),
            *self._second_speech,
        )
        for path, expected in pairs:
            if path.is_symlink() or not path.is_file() or copy_hashed(path, folder / path.name) != expected:
                raise altered(path.name, self.id)
        places = {name: folder / getattr(self, name).name for name in _PATHS if name != "folder"}
        second = self.second and dataclasses.replace(
            self.second, audio_file=folder / self.second.audio_file.name
        )
        return dataclasses.replace(self, **places, second=second)

    @property
    def files(self) -> tuple[Path, ...]:
        """Master, preview and what they were made of."""
        own = (self.master, self.preview, self.portrait_file, self.audio_file)
        return (*own, *(path for path, _ in self._second_speech))

    @property
    def _second_speech(self) -> tuple[tuple[Path, str], ...]:
        """The second voice's file and its SHA-256, if that is a file of its own."""
        second = self.second
        if second is None or second.audio_file == self.audio_file:
            return ()
        return ((second.audio_file, second.audio_sha256),)


def altered(name: str, take_id: str) -> Refused:
    """The error for a file of a take that is not what was sealed."""
    return Refused(
        f"{name} of take {take_id} was altered after the video was made, or came from elsewhere.",
        "Make the video again and export that.",
    )
