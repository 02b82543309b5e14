"""From what somebody asks for to a job: whatever is wrong with it is said here, not at its turn."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .. import engines, weights
from ..engines import registry
from ..engines.registry import spec_of
from ..errors import BadInput, MissingPart
from ..settings import Settings
from .exporting import consent_of, require_portrait
from .inputs import Staging
from .spec import Destination, Input, JobSpec, Origin, PortraitRequest

if TYPE_CHECKING:
    from ..media.audio import Speech
    from ..media.image import Portrait
    from ..ports import Host, Portraits


def specified(
    host: Host,
    staged: Staging,
    *,
    origin: Origin,
    portrait: Input | PortraitRequest,
    audio: Input,
    settings: Settings,
    export: Destination | None = None,
    look: bool = True,
    audio_2: Input | None = None,
) -> JobSpec:
    """A job that can be done as far as can be told, its files staged.

    Args:
        host: where it will be carried out.
        look: also find the face and fit the picture, which takes a second.
        audio_2: the second person's voice, where two speak and each has a file.

    Raises:
        BadInput: picture or sound that cannot be used, a duration that does not fit, a parameter that the
            WebUI does not know.
        Refused: the consent has ended, was taken back or is for another portrait.
        MissingPart: engine, weights, or the WebUI that is to make the portrait.
    """
    from ..media.image import read_portrait
    from ..media.voices import read_voices
    from ..provenance.ledger import Ledger

    second = staged.path(audio_2) if audio_2 else None
    speech = read_voices(staged.path(audio), second, settings).fitted(settings)
    if export is not None:
        consent = consent_of(export, staged.path)
        consent.check()
        consent.require_each(len(speech.voices))
    picture = None
    if isinstance(portrait, Input):
        picture = read_portrait(staged.path(portrait))
        if export is not None:
            require_portrait(export.portrait_sha256, picture.sha256, picture.pixel_sha256)
        Ledger(configuration=host.configuration()).refuse_revoked(picture.sha256, picture.pixel_sha256)
    else:
        start = staged.path(portrait.start).read_bytes() if portrait.start else None
        portraits_of(host, portrait.source).check(portrait.parameters, start)
    engine = _engine(host, picture, speech, settings, look)
    seed = secrets.randbelow(2**32) if settings.seed == -1 else settings.seed
    identities = weight_identities(engine, settings, host)
    return JobSpec(origin, portrait, audio, settings, seed, engine, identities, export, audio_2)


def portraits_of(host: Host, source: str) -> Portraits:
    """The WebUI's txt2img and img2img.

    Raises:
        MissingPart: there is no WebUI.
    """
    if host.portraits is None:
        raise MissingPart(f"{source} needs a WebUI, and none is around here.", "Send a portrait instead.")
    return host.portraits


def search_of(host: Host) -> weights.Search:
    """Where the host's user keeps weights."""
    return weights.Search.default(configuration=host.configuration())


def weight_identities(engine: str, settings: Settings, host: Host) -> Mapping[str, str]:
    """What tells the files that an engine draws with from others, by part; empty for one without weights.

    Raises:
        MissingPart: the settings name weights that are not there.
    """
    identities = spec_of(engine).identities
    if identities is None:
        return {}
    found: Mapping[str, str] = identities(settings, search_of(host))
    return found


def require_same_weights(spec: JobSpec, host: Host) -> None:
    """Refuse to make with other weights what was submitted with these.

    Raises:
        BadInput: a file was exchanged since.
        MissingPart: a file is not found here.
    """
    now = weight_identities(spec.engine, spec.settings, host)
    if missing := [part for part in spec.weights if part not in now]:
        raise MissingPart(
            f"Weights of the job are not found here: {', '.join(missing)}.",
            "Name their folder in SONIC_MODELS, and submit the job again.",
        )
    changed = [part for part, identity in spec.weights.items() if now.get(part) != identity]
    if changed:
        raise BadInput(
            f"Weights were exchanged since the job was submitted: {', '.join(changed)}.", "Submit it again."
        )


def _engine(host: Host, picture: Portrait | None, speech: Speech, settings: Settings, look: bool) -> str:
    """The engine that will draw. Where engine=auto could mean minutes, the picture is always looked at."""
    from .. import pipeline

    chosen = engines.choose(
        settings.engine,
        devices=host.devices,
        settings=settings,
        search=search_of(host),
        faces=len(speech.voices),
    ).name
    slower = settings.engine == registry.AUTO and chosen != registry.ENGINES[-1].name
    if picture is None or not (look or slower):
        return chosen
    return pipeline.preflight(
        picture, speech, settings, devices=host.devices, configuration=host.configuration()
    ).engine
