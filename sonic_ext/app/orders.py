"""Requests of the API → checked settings, consent, private files and the work to be done with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadAudio, BadInput, ConsentMissing, Failed, MissingPart
from ..jobs import Job, Task
from ..settings import Settings
from . import schemas, uploads
from .exporting import export_from

if TYPE_CHECKING:
    from ..hosts import Host
    from ..media.image import Portrait
    from ..progress import Progress
    from ..provenance.consent import Consent
    from ..provenance.gate import Exported
    from ..provenance.take import Take

SOURCES = ("portrait", "txt2img", "img2img")
"""Where a portrait can come from; a request names one."""


@dataclass(frozen=True)
class Generation:
    """A portrait that the WebUI is to make."""

    source: str
    """txt2img or img2img."""
    parameters: Mapping[str, Any]
    """As the WebUI's own API takes them."""
    start: bytes | None
    """The picture file that img2img begins with."""

    @classmethod
    def read(cls, source: str, given: Any) -> Generation:
        """From a request.

        Raises:
            BadInput: no object, or img2img without one picture in base64.
        """
        rest = dict(_object(source, given))
        if source == "txt2img":
            return cls(source, rest, None)
        pictures = rest.pop("init_images", None)
        if not isinstance(pictures, list) or len(pictures) != 1 or not isinstance(pictures[0], str):
            raise BadInput("img2img needs one picture to begin with.", "Send it as init_images: [base64].")
        return cls(source, rest, uploads.decoded(pictures[0], "img2img.init_images[0]"))


@dataclass(frozen=True)
class Order:
    """What is needed besides a portrait."""

    host: Host
    folder: Path
    """Private; there as long as the job."""
    speech: Path
    settings: Settings

    def animate(self, portrait: Path, progress: Progress) -> Take:
        """Make the take; call it in turn."""
        from .. import pipeline
        from ..provenance.store import Store

        store = Store(configuration=self.host.configuration())
        return pipeline.animate(
            portrait, self.speech, self.settings, progress=progress, store=store, place=self.host.place
        )

    def generate(self, wanted: Generation, job: Job, progress: Progress) -> Take:
        """Have the WebUI make the portrait, then the take, in the same turn."""
        pictures = portraits_of(self.host, wanted.source).make(wanted.parameters, wanted.start, progress)
        if not pictures:
            raise Failed("The WebUI made no picture.", "Look for an error in the window that it runs in.")
        made = pictures[0]
        job.made_from(made.infotext)
        path = uploads.kept(self.folder, "generated.png", made.png)
        return self.animate(path, progress)


def portraits_of(host: Host, source: str) -> Any:
    """The WebUI's txt2img and img2img.

    Raises:
        MissingPart: there is no WebUI.
    """
    if host.portraits is None:
        raise MissingPart(f"{source} needs a WebUI, and none is around here.", "Send a portrait instead.")
    return host.portraits


def task_of(body: schemas.AnimationRequest, order: Order, job: Job) -> Task:
    """The work that a request asks for; whatever can be refused at once is.

    Raises:
        BadInput: no portrait or several, or one that cannot be read.
        Refused: the consent is for another portrait, or was taken back.
        MissingPart: only a WebUI can make the portrait.
    """
    source = _source(body)
    if source == "portrait":
        path, portrait = kept_portrait(order.folder, body.portrait or "")
        if body.consent is not None:
            _refuse_early(body.consent, portrait)
        return partial(order.animate, path)
    portraits_of(order.host, source)
    return partial(order.generate, Generation.read(source, getattr(body, source)), job)


def settings_of(host: Host, given: Any) -> Settings:
    """What the user chose in the WebUI, changed by what the request says.

    Raises:
        BadInput: no object.
        BadSetting: an unknown name, or a value that does not fit.
    """
    _require_text(_object("settings", given))
    return Settings.from_mapping({**host.defaults(), **given})


def consent_of(given: schemas.SonicConsent, folder: Path) -> Consent:
    """The consent as stated; its evidence lies in `folder` until it is used.

    Raises:
        ConsentMissing: no basis for face or voice, or another notice than the present one.
        ConsentExpired: it ended.
        BadInput: a part of it cannot be used.
    """
    from ..provenance.consent import NOTICE_VERSION, Consent

    values = {name: getattr(given, name) for name in type(given).__annotations__}
    evidence, version = values.pop("evidence"), values.pop("notice_version")
    del values["portrait_sha256"]
    _require_text(values)
    if version not in ("", NOTICE_VERSION):
        raise ConsentMissing(
            "The consent is to another notice than the present one.",
            "Show the notice of GET /sonic/v1/settings and send its version.",
        )
    if evidence:
        values["evidence"] = uploads.kept(folder, "evidence", uploads.decoded(evidence, "consent.evidence"))
    consent = Consent.from_mapping(values)
    consent.check()
    return consent


def let_out(host: Host, consent: Consent, portrait: str, take: Take) -> Exported:
    """Export a take to the host's folder.

    Args:
        portrait: SHA-256 of the portrait that the consent names; "" where it names none.

    Raises:
        ConsentMissing: it names another one.
        SonicError: as `pipeline.export`.
    """
    _require_meant(portrait, take.portrait_sha256, take.portrait_pixel_sha256)
    return export_from(host, take, consent)


def kept_portrait(folder: Path, text: str) -> tuple[Path, Portrait]:
    """The portrait as a private file, and as it reads.

    Raises:
        BadInput: not base64, or not a picture that can be used.
    """
    from ..media.image import read_portrait

    path = uploads.kept(folder, "portrait", uploads.decoded(text, "portrait"))
    return path, read_portrait(path)


def kept_speech(folder: Path, text: str) -> Path:
    """The speech as a private file.

    Raises:
        BadInput: not base64, or no sound in it.
    """
    from ..media.container import opened

    data = uploads.decoded(text, "audio")
    path = uploads.kept(folder, uploads.sound_name(data), data)
    with opened(path, BadAudio, "sound") as container:
        if not container.streams.audio:
            raise BadAudio(f"{path.name} is a file without sound.", "Give a file with speech in it.")
    return path


def _source(body: schemas.AnimationRequest) -> str:
    given = [name for name in SOURCES if getattr(body, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise BadInput(
            f"One portrait is needed, and the request has {found}.", f"Send one of {', '.join(SOURCES)}."
        )
    return given[0]


def _refuse_early(consent: schemas.SonicConsent, portrait: Portrait) -> None:
    """Before minutes of work for a video that would never be let out."""
    from ..provenance.ledger import Ledger

    _require_meant(consent.portrait_sha256, portrait.sha256, portrait.pixel_sha256)
    Ledger().refuse_revoked(portrait.sha256, portrait.pixel_sha256)


def _require_meant(named: str, *hashes: str) -> None:
    if named and named.strip().lower() not in hashes:
        raise ConsentMissing(
            "The consent is for another portrait.", f"The file of this one has SHA-256 {hashes[0]}."
        )


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{name} is not an object.", "The fields are described in /sonic/v1/openapi.json.")
    return value


def _require_text(values: Mapping[str, Any]) -> None:
    """JSON can hold half characters, which no file and no database can."""
    for name, value in values.items():
        try:
            f"{name}{value}".encode()
        except UnicodeEncodeError:
            raise BadInput(f"{name} holds characters that are none.", "Send whole characters.") from None
