"""What goes over the wire: bodies of requests and answers, for pydantic 1 and 2 alike.

Settings and the WebUI's own parameters are checked where they are known; here they are only described. Their
type is `Any`, because pydantic 1 takes a list for a dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pydantic
from pydantic import BaseModel, Field, StrictStr

from ..engines import registry
from ..fields import Spec
from ..provenance.consent import NOTICE, Basis
from ..provenance.verdict import Verdict
from ..settings import Settings, describe
from ..sync.verdict import SyncVerdict
from . import form

_OLD = pydantic.VERSION.startswith("1.")

LONGEST_TEXT = 2000
"""Characters of a text that the consent record keeps."""


def setting_schemas(defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Setting → its JSON schema, with `null` where that is a value.

    Args:
        defaults: what a setting starts from where that is not the package's own default.
    """
    values = Settings().to_dict() | dict(defaults or {})
    made = {}
    for name, spec in describe().items():
        schema = _typed(spec)
        if spec.default is None:
            outer = {key: schema.pop(key) for key in ("title", "description", "x-group")}
            schema = outer | {"anyOf": [schema, {"type": "null"}]}
        made[name] = schema | {"default": values[name]}
    return made


def _typed(spec: Spec) -> dict[str, Any]:
    schema: dict[str, Any] = {"title": spec.label, "description": spec.help, "x-group": spec.group}
    if spec.length:
        sizes = {"minItems": spec.length, "maxItems": spec.length}
        return schema | {"type": "array", "items": {"type": "number"}} | sizes
    kinds = {bool: "boolean", str: "string", int: "integer"}
    schema["type"] = kinds.get(type(spec.default), "number")
    step = form.step_of(spec)
    ranges = {"minimum": spec.low, "maximum": spec.high, "x-step": step, "enum": list(spec.choices) or None}
    return schema | {key: value for key, value in ranges.items() if value is not None}


def _extra(**schema: Any) -> dict[str, Any]:
    """More of a field's JSON schema, as this pydantic takes it."""
    return schema if _OLD else {"json_schema_extra": schema}


def _settings() -> Any:
    """Without `null`, which OpenAPI 3.0 has no word for: leaving a setting out says the same."""
    properties = {name: _typed(spec) for name, spec in describe().items()}
    return Field(
        default_factory=dict,
        description="What differs from the defaults; see GET /sonic/v1/settings.",
        **_extra(type="object", properties=properties, additionalProperties=False),
    )


def _file(what: str, default: Any = None) -> Any:
    return Field(default, description=f"{what}: the file's bytes in base64, or a data URL.")


def _text(what: str) -> Any:
    return Field("", description=what, max_length=LONGEST_TEXT)


def _generated(what: str) -> Any:
    return Field(
        None,
        description=f"{what}: parameters as the WebUI's own API takes them; only inside a WebUI.",
        **_extra(
            type="object",
            properties={
                "prompt": {"type": "string"},
                "negative_prompt": {"type": "string"},
                "width": {"type": "integer"},
                "height": {"type": "integer"},
                "steps": {"type": "integer"},
                "seed": {"type": "integer"},
                "sampler_name": {"type": "string"},
                "cfg_scale": {"type": "number"},
            },
            additionalProperties=True,
        ),
    )


class SonicRequest(BaseModel):
    """Bodies of requests: fields that they do not know are refused."""

    if _OLD:

        class Config:
            extra = "forbid"

    else:
        model_config = {"extra": "forbid"}


_BASES = " or ".join((", ".join(list(Basis)[:-1]), list(Basis)[-1]))


class SonicConsent(SonicRequest):
    """What is stated before a video is let out; face and voice separately."""

    face: StrictStr = _text(f"Why this face may be shown: {_BASES}.")
    voice: StrictStr = _text(f"Why this voice may be used: {_BASES}.")
    purpose: StrictStr = _text("What the video is for.")
    expires: StrictStr = _text("Last day of the consent, YYYY-MM-DD; empty for no end.")
    contact: StrictStr = _text("Where it can be taken back.")
    operator: StrictStr = _text("Who exports.")
    subject: StrictStr = _text("Names of the persons; they stay on this computer.")
    evidence: StrictStr | None = _file("A signed form or the like, of which only the hash is kept")
    unlike_reason: StrictStr = _text(
        "Why the portrait is not the revoked one that it looks like; asked for only then (LooksRevoked)."
    )
    face_2: StrictStr = _text("The same as `face` of the second person, where two are shown.")
    voice_2: StrictStr = _text("The same as `voice` of the second person, where two are heard.")
    portrait_sha256: StrictStr = _text("SHA-256 of the portrait's file or pixels that this consent is for.")
    notice_version: StrictStr = _text("Version of the notice that was agreed to; empty for the present one.")


_SECOND = "What the second of two persons in the portrait says, by default the right one"


class GenerationRequest(SonicRequest):
    """A portrait that the WebUI makes."""

    txt2img: Any = _generated("A portrait from words")
    img2img: Any = _generated("A portrait from init_images[0], in base64")


class AnimationRequest(GenerationRequest):
    """A portrait, from one of three sources, and a voice."""

    portrait: StrictStr | None = _file("A picture with one clear face, or two")
    audio: StrictStr = _file("Speech, or a video with speech", ...)
    audio_2: StrictStr | None = _file(_SECOND)
    settings: Any = _settings()
    consent: SonicConsent | None = Field(
        None, description="Given here, the video is exported as soon as it is made."
    )


class BatchRequest(SonicRequest):
    """Many videos at once."""

    jobs: list[AnimationRequest] = Field(description="What POST /animations takes, 1 to 1000 times.")


class ExportRequest(SonicRequest):
    """Consent for the video of an animation."""

    consent: SonicConsent | None = Field(None, description=NOTICE)


class NothingRequest(SonicRequest):
    """A body that says nothing."""


class RevokeRequest(SonicRequest):
    """Why a consent is taken back."""

    reason: StrictStr = _text("Kept in the ledger.")


class FetchRequest(SonicRequest):
    """Which weights to bring, and under which licences."""

    parts: list[StrictStr] = Field(description="Names of parts, see GET /sonic/v1/weights.")
    accept: list[StrictStr] = Field(
        default_factory=list, description="Names of the licences that were read and are accepted."
    )


class BenchRequest(SonicRequest):
    """What is to be measured; by default everything for which there is time."""

    minutes: float = Field(10, description="That it may take, by forecast: 1 to 1440.")
    trades: list[StrictStr] = Field(
        default_factory=list, description="Only these, beside the published way; see GET /sonic/v1/bench."
    )
    settings: Any = _settings()
    portrait: StrictStr | None = _file("A picture with one clear face; the example that ships where none is")
    audio: StrictStr | None = _file("Speech; the example that ships where none is")


class PreflightRequest(SonicRequest):
    """What would be animated."""

    portrait: StrictStr = _file("A picture with one clear face, or two", ...)
    audio: StrictStr = _file("Speech, or a video with speech", ...)
    audio_2: StrictStr | None = _file(_SECOND)
    settings: Any = _settings()


class VerifyRequest(SonicRequest):
    """A video or a picture to look for marks in."""

    video: StrictStr = _file("Any video, or a PNG, JPEG, WebP, GIF or BMP picture", ...)


class SyncRequest(SonicRequest):
    """A video whose lip sync is to be measured."""

    video: StrictStr = _file("A video in which somebody speaks", ...)


class SonicReason(BaseModel):
    """What went wrong."""

    error: str = Field(description="Kind of the error, such as BadPortrait.")
    detail: str = Field(description="What happened, one sentence.")
    hint: str = Field(description="What to do about it.")


class SonicEntry(SonicReason):
    """What is wrong with an entry of a list."""

    index: int = Field(description="Place in the list, from 0.")


class SonicProblem(SonicReason):
    """Every answer that says no."""

    entries: list[SonicEntry] | None = Field(None, description="Of POST /batches: each that is wrong.")


class SonicFailure(SonicReason):
    """What ended an animation."""

    status: int = Field(description="HTTP status that the same error has as an answer.")


class SonicExport(BaseModel):
    """A video that passed the gate."""

    video: str = Field(description="Where to fetch it.")
    name: str = Field(description="Name of the file in the outputs folder.")
    sha256: str = Field(description="Of the file.")
    record: str = Field(description="Id of the consent record.")
    warnings: list[str] = Field(description="Sentences about the consent.")


class SonicTake(BaseModel):
    """What was made."""

    id: str = Field(description="Also the payload of the video's watermark.")
    engine: str
    seed: int
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    fps: int
    frames: int
    seconds: float = Field(description="Length of the video.")
    sync_offset: float | None = Field(description="Measured seconds that the mouth came after the sound.")
    persons: int = Field(description="How many speak in it; each of them consents.")


class SonicAnimation(BaseModel):
    """An animation as it stands."""

    id: str
    origin: str = Field(description="Who asked for it: api, page or script.")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    held: bool = Field(description="A restart interrupted it: it waits for POST …/resume.")
    position: int = Field(description="1 for the one whose turn comes next, 0 for one that does not wait.")
    progress: float = Field(description="Share of all work that is done, 0 to 1.")
    stage: str = Field(description="What is being done, in words.")
    stage_done: int = Field(description="Units of this stage that are done.")
    stage_total: int = Field(description="Units of this stage in all.")
    seconds_left: float | None = Field(description="Forecast for this stage.")
    created: str = Field(description="When it was asked for, ISO 8601, UTC.")
    began: str | None = Field(description="When its turn came.")
    ended: str | None
    warnings: list[str] = Field(description="Sentences for the user.")
    portrait_sha256: str | None = Field(description="Of the portrait's file, once the video is made.")
    portrait_synthetic: bool | None = Field(description="The portrait is known to have been generated here.")
    infotext: str = Field(description="Parameters of the portrait, where the WebUI made it.")
    take: SonicTake | None
    preview: str | None = Field(description="Where to fetch the stamped preview, once it is made.")
    poster: str | None = Field(description="Where to fetch a picture of it.")
    export: SonicExport | None = Field(description="The video, once it was let out.")
    error: SonicFailure | None = Field(description="Why it failed; when done, why it was not let out.")


class SonicAnimations(BaseModel):
    """Animations of this process, newest first."""

    animations: list[SonicAnimation]


class SonicCounts(BaseModel):
    """Animations of a batch in each state."""

    queued: int
    running: int
    done: int
    failed: int
    cancelled: int


class SonicBatchState(BaseModel):
    """A batch as it stands."""

    id: str
    created: str = Field(description="When it was asked for, ISO 8601, UTC.")
    total: int
    counts: SonicCounts
    ended: bool = Field(description="Nothing more will come.")
    progress: float = Field(description="Share of all work that is done, 0 to 1.")
    seconds_left: float | None = Field(description="Forecast for all of it, by what was done so far.")


class SonicBatch(SonicBatchState):
    """A batch with its animations."""

    animations: list[SonicAnimation] = Field(description="In the order of the request.")


class SonicBatches(BaseModel):
    """Batches of this host, newest first."""

    batches: list[SonicBatchState]


class SonicForgotten(BaseModel):
    """An animation, or a batch, that is remembered no longer."""

    id: str
    forgotten: Literal[True]


class SonicRecord(BaseModel):
    """A consent as the ledger keeps it."""

    id: str
    time: str = Field(description="When it was given, ISO 8601, UTC.")
    state: Literal["revoked", "exported", "not exported"]
    face: str = Field(description="Why this face may be shown.")
    voice: str = Field(description="Why this voice may be used.")
    purpose: str
    expires: str | None = Field(description="Last day of the consent; null for no end.")
    contact: str = Field(description="Where it can be taken back.")
    operator: str = Field(description="Who exported.")
    subject: str = Field(description="Names of the persons.")
    notice_version: str
    take: str = Field(description="Id of what was made, which is in the video's watermark.")
    engine: str
    label: str = Field(description="Visible label: start, throughout or off.")
    label_reason: str = Field(description="Why the label is off.")
    portrait_sha256: str
    portrait_synthetic: bool
    audio_sha256: str
    video_sha256: str = Field(description="Of the master that consent was given for.")
    evidence_sha256: str
    nonce: str = Field(description="What the hashes in the video's manifest are salted with.")
    exported_at: str | None
    output_sha256: str = Field(description="Of the exported file.")
    output_name: str = Field(description="Name of the exported file.")
    revoked_at: str | None
    alike: list[str] = Field(description="Revoked records whose portraits look like this one.")
    unlike_reason: str = Field(description="Why this is none of those portraits.")
    face_2: str | None = Field(None, description="As `face`, of the second person, where two are shown.")
    voice_2: str | None = Field(None, description="As `voice`, of the second person.")
    audio_2_sha256: str | None = Field(None, description="Of the second person's speech.")


class SonicRecords(BaseModel):
    """The consent ledger."""

    records: list[SonicRecord]


class SonicRevocation(BaseModel):
    """What a revocation stopped."""

    time: str = Field(description="ISO 8601, UTC.")
    records: list[str] = Field(description="Ids of the records of these portraits.")
    takes: list[str] = Field(description="Ids of the takes that were deleted from the private folder.")
    hashes: list[str] = Field(description="Of the portraits that will not be exported again.")


class SonicPreflight(BaseModel):
    """What a video will be and cost."""

    engine: str
    seconds: float = Field(description="Length of the video.")
    frames: int
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    fps: int
    face_box: list[int] = Field(description="left, top, right, bottom in pixels of the portrait.")
    face_box_2: list[int] | None = Field(None, description="Of the face with the second voice.")
    faces: int = Field(description="Faces that were seen in the portrait.")
    face_confidence: float
    yaw: float = Field(description="Turn of the head in degrees.")
    loudness: float | None = Field(description="LUFS; null below what the measure hears.")
    seconds_needed: float = Field(description="Forecast of the working time.")
    memory_needed: int = Field(description="Forecast of main memory, bytes.")
    device_memory_needed: int = Field(description="Forecast of the graphics card's memory, bytes.")
    warnings: list[str]
    picture: str = Field(description="The portrait with the face box on it, PNG as a data URL.")


class SonicVerification(BaseModel):
    """Which marks a video or a picture carries, and what they amount to."""

    sha256: str
    verdict: Verdict
    summary: str = Field(description="One sentence.")
    hint: str = Field(description="What to do about it, one sentence or nothing.")
    id: str = Field(description="Id of the take; empty without a mark that tells it.")
    signature: dict[str, Any] = Field(description="C2PA.")
    watermark: dict[str, Any]
    labels: dict[str, Any] = Field(description="Of a video's container; `sought` is false for a picture.")
    record: dict[str, Any] = Field(description="What this computer's consent ledger knows.")
    contradictions: list[str] = Field(description="Sentences on marks that deny each other.")
    notes: list[str] = Field(description="Sentences that have no part in the verdict.")


class SonicFaceSync(BaseModel):
    """One face through one shot."""

    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    box: list[float] = Field(description="left, top, right, bottom in pixels of the frame.")
    offset: float | None = Field(description="Seconds, positive: the mouth comes after the voice.")
    confidence: float = Field(description="Probability that the offset is right to within 40 ms.")
    note: str = Field(description="Why it could not be measured, one sentence or nothing.")
    times: list[float] = Field(description="Seconds: middles of the windows that were scored.")
    scores: list[list[float | None]] = Field(description="Of each window: similarity at each of `lags`.")


class SonicSync(BaseModel):
    """How far the mouth in a video is from the voice."""

    verdict: SyncVerdict
    summary: str = Field(description="One sentence.")
    reason: str = Field(description="Why it could not be measured, one sentence or nothing.")
    hint: str = Field(description="What to do about it, one sentence or nothing.")
    offset: float | None = Field(
        description="Seconds, positive: the mouth comes after the voice; null where it was not measured."
    )
    confidence: float = Field(description="Probability that the offset is right to within 40 ms.")
    seconds: float = Field(description="Length of the picture.")
    fps: float
    frames: int
    lags: list[float] = Field(description="Seconds: the offsets that were tried.")
    tracks: list[SonicFaceSync] = Field(description="Faces, the longest first.")
    warnings: list[str]
    chart: str = Field(description="Sound, mouth and score over offset and time, PNG as a data URL.")


if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[registry.names()]


class SonicEngine(BaseModel):
    """An engine."""

    name: EngineName
    ready: bool
    detail: str = Field(description="Why it is not ready.")
    hint: str = Field(description="What makes it ready.")


class SonicEngines(BaseModel):
    """What can draw."""

    engines: list[SonicEngine]
    auto: str = Field(description="The one that engine=auto takes now.")


class SonicObstacle(BaseModel):
    """Something that cannot be done here."""

    task: Literal["fetch", "convert"]
    detail: str = Field(description="Why.")
    hint: str = Field(description="What to do about it.")


class SonicWeights(BaseModel):
    """The sonic engine's model files."""

    ready: bool
    lent: str = Field(description="Whose VAE stands in for the only part that lacks; empty for none.")
    target: str = Field(description="Where fetched files go.")
    free_bytes: int | None = Field(description="Room there.")
    to_fetch_bytes: int = Field(description="What the engine still lacks, roughly.")
    obstacles: list[SonicObstacle] = Field(description="Why nothing can be fetched or converted here.")
    parts: list[dict[str, Any]] = Field(description="Name, need, size, licence, state and place of each.")


class SonicTrade(BaseModel):
    """A saving of the sonic engine, measured beside the published way; null where it was not measured."""

    name: str
    settings: dict[str, Any] = Field(description="What it changes.")
    seconds: float | None = Field(description="From the portrait to the last frame, loading included.")
    denoising: float | None = Field(description="Seconds of all steps of the network.")
    steps: int
    step_seconds: float | None = Field(description="Seconds of one step.")
    share_of_peak: float | None = Field(description="Of this device's speed, 0 to 1.")
    memory: int = Field(description="Peak of main memory, bytes.")
    device_memory: int = Field(description="Peak of the graphics card's memory, bytes; 0 without one.")
    psnr: float | None = Field(description="Decibels beside the published frames; null for the same.")
    ssim: float | None
    mouth: float | None = Field(description="Correlation of the mouth's opening with the published one.")
    amplitude: float | None = Field(description="Of the opening, as a share of the published one's.")
    sync: float | None = Field(description="How much the judge believes in the lip sync, 0 to 1.")
    offset: float | None = Field(description="Seconds by which it finds the mouth late.")
    error: str = Field(description="Kind of the error for which it could not be measured.")


class SonicBench(BaseModel):
    """What the sonic engine takes on this computer; to be shown to anybody."""

    form: int = Field(description="Of this answer.")
    date: str
    sonic: str = Field(description="Version.")
    torch: str = Field(description="Version.")
    device: str
    numbers: str = Field(description="Which the network computes with.")
    weights: dict[str, str] = Field(description="Part → its identity.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    frames: int
    peak: float = Field(description="Operations of a matrix product in a second.")
    settings: dict[str, Any]
    finished: bool
    trades: list[SonicTrade]
    recommended: str | None = Field(
        description="The fastest preset that keeps mouth and lip sync; null for none."
    )
    notes: list[str]


class SonicSamplers(BaseModel):
    """What a portrait can be made with."""

    samplers: list[str] | None = Field(description="Of the WebUI; null where there is none.")


class SonicTask(BaseModel):
    """Weights on their way, a portrait being made, a bench, or how that ended."""

    state: Literal["idle", "running", "done", "failed", "cancelled"]
    what: Literal["", "fetch", "convert", "portrait", "bench"]
    stage: str = Field(description="What is being done, in words.")
    detail: str = Field(description="Of which part or file; when done, what was done.")
    done: int = Field(description="Units of this stage that are done; bytes of a download.")
    total: int = Field(description="Units of this stage in all.")
    seconds_left: float | None = Field(description="Forecast for this stage.")
    error: SonicFailure | None = Field(description="Why it failed.")


class SonicNotice(BaseModel):
    """What an export is consent to."""

    version: str
    text: str
    bases: list[str] = Field(description="Legal values for face and voice.")


class SonicMessages(BaseModel):
    """A catalogue."""

    texts: dict[str, str]


class SonicSettings(BaseModel):
    """Everything that can be set."""

    settings: dict[str, Any] = Field(
        description="JSON schema of a request's settings; `x-step` is the distance between a slider's values."
    )
    presets: dict[str, dict[str, Any]] = Field(description="Named sets of settings.")
    groups: dict[str, str] = Field(description="`x-group` of a setting → heading of its section.")
    consent: SonicNotice
    languages: dict[str, str] = Field(
        description="Tags of Accept-Language that are heeded → what the language calls itself."
    )
