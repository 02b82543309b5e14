"""What a job is asked to do, as data: it can be written down, sent and read again by another process.

    {"version": 1, "origin": "api", "portrait": {"sha256": …, "name": …, "size": …}, "generate": null,
     "audio": {…}, "settings": {…}, "seed": 7, "engine": "preview", "weights": {}, "export": null}

Files are named by their SHA-256 and lie in the private store (`inputs`); no path of a caller is in it but the
place that a video is to be exported to.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..provenance.consent import Consent
from ..settings import Settings

VERSION = 2
"""Of the JSON. A reader refuses later ones. What was there before two voices were is still written as 1."""
_LATER = ("face_box_2", "voices")
"""Settings that the digest counts only where they are not at their defaults: without them it is as it was."""
_SHA256 = re.compile("[0-9a-f]{64}")


class Origin(str, Enum):
    """Who asked."""

    API = "api"
    PAGE = "page"
    SCRIPT = "script"
    CLI = "cli"
    BATCH = "batch"
    NODE = "node"
    """A workflow of ComfyUI."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Input:
    """A file in the private store of inputs."""

    sha256: str
    """Of its bytes, hex."""
    name: str
    """As its owner calls it, without folders; the suffix tells its kind."""
    size: int
    """Bytes."""

    def __post_init__(self) -> None:
        """The names become those of files, and a spec may come from elsewhere.

        Raises:
            BadInput: it is no file's.
        """
        if not (_SHA256.fullmatch(self.sha256) and self.name and not set(self.name) & set("/\\\0")):
            raise BadInput("The job is damaged: an input's hash or name is none.", "Submit it again.")

    @property
    def stored_name(self) -> str:
        """Name in the store: decoders are told the kind by the suffix."""
        suffix = Path(self.name).suffix.lower()
        return self.sha256 + (suffix if suffix[1:].isalnum() else "")


@dataclass(frozen=True)
class PortraitRequest:
    """A portrait that the WebUI makes first."""

    source: str
    """txt2img or img2img."""
    parameters: Mapping[str, Any]
    """As the WebUI's own API takes them; plain JSON."""
    start: Input | None = None
    """The picture that img2img begins with."""


@dataclass(frozen=True)
class Destination:
    """Where and under which consent the video is exported as soon as it is made."""

    consent: Consent
    """Its evidence, if any, is `evidence`; the path is filled in when it is used."""
    evidence: Input | None = None
    portrait_sha256: str = ""
    """The consent is for this portrait alone, by file or pixels; "" where it names none."""
    folder: str = ""
    """Absolute; the video gets a free name there."""
    path: str = ""
    """Absolute; the very file, instead of `folder`."""
    overwrite: bool = False
    """A file at `path` may be replaced."""


@dataclass(frozen=True)
class JobSpec:
    """One video: inputs, settings and what is to be done with the result."""

    origin: Origin
    portrait: Input | PortraitRequest
    audio: Input
    settings: Settings
    """As asked for."""
    seed: int
    """The one that is used, 0 to 2**32 - 1, drawn when the job is submitted where the settings say -1."""
    engine: str
    """The one that draws: what engine=auto meant when the job was submitted."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Part of the engine → identity of its file (`weights.identity`)."""
    export: Destination | None = None
    """None leaves the video in the private store."""
    audio_2: Input | None = None
    """The second person's voice, where that has a file of its own."""

    @property
    def inputs(self) -> Iterator[Input]:
        """Every file that the job needs."""
        yield self.audio
        if self.audio_2 is not None:
            yield self.audio_2
        if isinstance(self.portrait, Input):
            yield self.portrait
        elif self.portrait.start is not None:
            yield self.portrait.start
        if self.export is not None and self.export.evidence is not None:
            yield self.export.evidence

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides over the result: the same for the same request, whoever asks."""
        values = self.to_dict()
        del values["origin"], values["seed"]
        defaults = Settings.specs()
        for name in _LATER:
            if getattr(self.settings, name) == defaults[name].default:
                del values["settings"][name]
        for each in _inputs_in(values):
            del each["name"]
        text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        generated, export = isinstance(self.portrait, PortraitRequest), None
        if self.export is not None:
            consent = self.export.consent.to_dict()
            del consent["evidence"]  # a path; the file is an input of the job
            export = asdict(self.export) | {"consent": consent}
        portrait = asdict(self.portrait)
        second = {} if self.audio_2 is None else {"audio_2": asdict(self.audio_2)}
        return {
            "version": VERSION if second else 1,
            "origin": str(self.origin),
            "portrait": None if generated else portrait,
            "generate": portrait if generated else None,
            "audio": asdict(self.audio),
            "settings": self.settings.to_dict(),
            "seed": self.seed,
            "engine": self.engine,
            "weights": dict(self.weights),
            "export": export,
            **second,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobSpec:
        """The spec that `to_dict` came from.

        Raises:
            BadInput: written by a later version, or damaged.
        """
        version = values.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise BadInput(
                f"The job was written by another version of this extension (format {version}).",
                "Update the extension, or submit the job again.",
            )
        try:
            generate, export = values["generate"], values["export"]
            return cls(
                origin=Origin(values["origin"]),
                portrait=_portrait_request(generate) if generate else Input(**values["portrait"]),
                audio=Input(**values["audio"]),
                settings=_settings(json.dumps(values["settings"])),
                seed=int(values["seed"]),
                engine=str(values["engine"]),
                weights=dict(values["weights"]),
                export=_destination(export) if export else None,
                audio_2=Input(**values["audio_2"]) if values.get("audio_2") else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"The job is damaged: {error}.", "Submit it again.") from error


@lru_cache(maxsize=64)
def _settings(text: str) -> Settings:
    """Read once for all jobs that have the same: most of the time that a spec takes to be read."""
    return Settings.from_mapping(json.loads(text))


def _portrait_request(values: Mapping[str, Any]) -> PortraitRequest:
    start = values["start"]
    return PortraitRequest(values["source"], dict(values["parameters"]), Input(**start) if start else None)


def _destination(values: Mapping[str, Any]) -> Destination:
    evidence = values["evidence"]
    consent = Consent.from_mapping(values["consent"])
    return Destination(**{**values, "consent": consent, "evidence": Input(**evidence) if evidence else None})


def _inputs_in(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The files that a spec's plain values name."""
    generate, export = values["generate"] or {}, values["export"] or {}
    yield from filter(
        None,
        (
            values["portrait"],
            values["audio"],
            values.get("audio_2"),
            generate.get("start"),
            export.get("evidence"),
        ),
    )
