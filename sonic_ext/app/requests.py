"""Requests of the API → jobs: settings, files and consent as the caller stated them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BadAudio, BadInput, ConsentMissing, SonicError
from ..jobs import Destination, Input, JobSpec, Origin, PortraitRequest
from ..jobs.inputs import Staging
from ..jobs.submission import portraits_of, specified
from ..settings import Settings
from ..text import is_whole
from . import schemas, uploads
from .routing import BadEntries

if TYPE_CHECKING:
    from ..ports import Host

GENERATED = ("txt2img", "img2img")
SOURCES = ("portrait", *GENERATED)
"""Where a portrait can come from; a request names one."""
MOST_ENTRIES = 1000
"""Jobs of one batch."""


def specs_of(host: Host, body: schemas.BatchRequest, staged: Staging) -> list[JobSpec]:
    """The jobs that a request asks for, if all of them can be done as far as can be told quickly.

    Raises:
        BadInput: none or too many.
        BadEntries: some of them cannot be used.
    """
    if not 1 <= len(body.jobs) <= MOST_ENTRIES:
        raise BadInput(
            f"The batch has {len(body.jobs)} jobs.", f"Send 1 to {MOST_ENTRIES} of them under jobs."
        )
    specs: list[JobSpec] = []
    errors: dict[int, SonicError] = {}
    for number, entry in enumerate(body.jobs):
        try:
            specs.append(spec_of(host, entry, staged, look=False))
        except SonicError as error:
            errors[number] = error
    if errors:
        raise BadEntries(errors, len(body.jobs))
    return specs


def spec_of(
    host: Host,
    body: schemas.AnimationRequest,
    staged: Staging,
    origin: Origin = Origin.API,
    look: bool = True,
) -> JobSpec:
    """The job that a request asks for; whatever is wrong with it is said.

    Args:
        origin: who asks.
        look: also find the face, which takes a second.

    Raises:
        BadInput: no portrait or several, or something that cannot be used.
        Refused: the consent is for another portrait, or was taken back.
        MissingPart: engine or weights, or the WebUI that is to make the portrait.
    """
    settings = settings_of(host, body.settings)
    audio = staged_speech(staged, body.audio)
    audio_2 = staged_speech(staged, body.audio_2, "audio_2") if body.audio_2 else None
    source = named_source(body, SOURCES)
    portrait: Input | PortraitRequest
    if source == "portrait":
        portrait = staged_portrait(staged, body.portrait or "")
    else:
        portraits_of(host, source)
        portrait = generation(source, getattr(body, source), staged)
    export = destination(host, body.consent, staged) if body.consent is not None else None
    return specified(
        host,
        staged,
        origin=origin,
        portrait=portrait,
        audio=audio,
        settings=settings,
        export=export,
        look=look,
        audio_2=audio_2,
    )


def generation(source: str, given: Any, staged: Staging) -> PortraitRequest:
    """The portrait that the WebUI is asked to make.

    Raises:
        BadInput: no object, or img2img without one picture in base64.
    """
    rest = dict(_object(source, given))
    if source == "txt2img":
        return PortraitRequest(source, rest)
    pictures = rest.pop("init_images", None)
    if not isinstance(pictures, list) or len(pictures) != 1 or not isinstance(pictures[0], str):
        raise BadInput("img2img needs one picture to begin with.", "Send it as init_images: [base64].")
    start = staged.write("source", uploads.decoded(pictures[0], "img2img.init_images[0]"))
    return PortraitRequest(source, rest, start)


def settings_of(host: Host, given: Any) -> Settings:
    """What the user chose in the WebUI, changed by what the request says.

    Raises:
        BadInput: no object.
        BadSetting: an unknown name, or a value that does not fit.
    """
    _require_text(_object("settings", given))
    return Settings.from_mapping({**host.defaults(), **given})


def destination(host: Host, given: schemas.SonicConsent, staged: Staging) -> Destination:
    """Export into the host's folder under the consent as stated.

    Raises:
        ConsentMissing: no basis for face or voice, or another notice than the present one.
        ConsentExpired: it ended.
        BadInput: a part of it cannot be used.
    """
    from ..provenance.consent import NOTICE_VERSION, Consent

    values = {name: getattr(given, name) for name in type(given).__annotations__}
    evidence, version = values.pop("evidence"), values.pop("notice_version")
    portrait = values.pop("portrait_sha256")
    _require_text(values)
    if version not in ("", NOTICE_VERSION):
        raise ConsentMissing(
            "The consent is to another notice than the present one.",
            "Show the notice of GET /sonic/v1/settings and send its version.",
        )
    file = staged.write("evidence", uploads.decoded(evidence, "consent.evidence")) if evidence else None
    consent = Consent.from_mapping(values)
    consent.check()
    return Destination(consent, file, portrait, folder=str(host.outputs()))


def staged_portrait(staged: Staging, text: str) -> Input:
    """The portrait as a private file.

    Raises:
        BadInput: not base64.
    """
    return staged.write("portrait", uploads.decoded(text, "portrait"))


def staged_speech(staged: Staging, text: str, field: str = "audio") -> Input:
    """The speech of a field of a request as a private file.

    Raises:
        BadInput: not base64, or no sound in it.
    """
    from ..media.container import opened

    data = uploads.decoded(text, field)
    audio = staged.write(uploads.sound_name(data), data)
    with opened(staged.path(audio), BadAudio, "sound") as container:
        if not container.streams.audio:
            raise BadAudio(f"{audio.name} is a file without sound.", "Give a file with speech in it.")
    return audio


def named_source(body: schemas.SonicRequest, known: Sequence[str]) -> str:
    """The one of the `known` sources of a portrait that a request has.

    Raises:
        BadInput: none, or several.
    """
    given = [name for name in known if getattr(body, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise BadInput(
            f"One portrait is needed, and the request has {found}.", f"Send one of {', '.join(known)}."
        )
    return given[0]


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{name} is not an object.", "The fields are described in /sonic/v1/openapi.json.")
    return value


def _require_text(values: Mapping[str, Any]) -> None:
    """JSON can hold half characters, which no file and no database can."""
    for name, value in values.items():
        if not is_whole(f"{name}{value}"):
            raise BadInput(f"{name} holds characters that are none.", "Send whole characters.")
