"""C2PA: signing, and reading a signature; who signs and who is trusted stands in `certificates`.

Reading never touches the network. Signing does only where a time-stamp authority is named.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import hmac
import json
import mmap
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configuration import (
    CERT_VARIABLE,
    HASHES_VARIABLE,
    KEY_VARIABLE,
    STAMPS_VARIABLE,
    Configuration,
)
from ..errors import BadOutput, BadSetting, BadVideo, MissingPart, Refused
from ..files.home import private_home
from ..media.boxes import check_bounds
from .certificates import Identity, Trust, package
from .labels import SHOWN_SECONDS
from .metadata import TOOL, take_id
from .take import FIRST_WATERMARK

if TYPE_CHECKING:
    from .ledger import Ledger
    from .records import Record
    from .take import Take

WATERMARK_LABEL = "local.sonic.watermark"
"""Names our watermark; the reserved domain `local` collides with nobody's. It is not on C2PA's list of
soft-binding algorithms, so no `c2pa.soft-binding` may name it (C2PA 2.2 §9.3.2), as version 0.1 did."""
CONSENT_LABEL = "local.sonic.consent"
TAKE_LABEL = "local.sonic.take"
LIBRARY = {"win32": "c2pa_c.dll", "darwin": "libc2pa_c.dylib"}.get(sys.platform, "libc2pa_c.so")
"""Of the SDK, in the folder `libs` of its package."""
LIBRARY_VARIABLE = "C2PA_LIBRARY_NAME"
"""Which library the SDK loads: a whole path, for a name alone is looked for in the working folder first."""
DRAWN = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
"""Digital source type of the visible label: drawn by an algorithm that learned from nothing."""

_OFFLINE: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
    "builder": {"thumbnail": {"enabled": False}},
    # Larger files are buffered on disk, not in memory.
    # Media data is hashed as a Merkle tree of pieces: else it is read into memory whole, once to sign.
    "core": {"backing_store_memory_threshold_in_mb": 1, "merkle_tree_chunk_size_in_kb": 1024},
}
_MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".flac": "audio/flac",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
}
_OTHER_TYPE = "application/octet-stream"

_TRUSTED, _UNTRUSTED = "signingCredential.trusted", "signingCredential.untrusted"
_SIGNED, _STAMPED, _STAMP_TRUSTED = "claimSignature.validated", "timeStamp.validated", "timeStamp.trusted"
_TIME = re.compile(r"signingCredential\.expired|claimSignature\.outsideValidity|timeStamp\..*")
"""Codes (C2PA 2.2 §15.2.2) on clocks and the validity of certificates: they accuse no file."""
_CREDENTIAL = re.compile(r"signingCredential\..*|cawg\..*")
"""Codes on who signed. `expired` also stands for a certificate that has not begun."""
_STORE = bytes.fromhex("63327061 0011 0010 8000 00AA00389B71")
"""Type of the box that a manifest store is (C2PA 2.2 §11.1.4.2), as it stands in every kind of file."""
_UNREAD = re.compile(r"algorithm\..*|general\.error")
"""Codes of a signature that this version of C2PA's library cannot check."""


@dataclass(frozen=True)
class TimeStamp:
    """What a time-stamp authority said about the signature (RFC 3161)."""

    time: str
    """ISO 8601."""
    authority: str
    """Common name of its certificate."""
    trusted: bool
    """Its root is on a trust list here; otherwise the time proves nothing."""


@dataclass(frozen=True)
class Signature:
    """What a file's C2PA manifest says, and whether it holds."""

    state: str
    """valid, untimely (whole, but its certificate is not valid at the time that counts), altered (file or
    manifest were changed), damaged (it cannot be read) or absent."""
    trust: str = ""
    """own (this installation's certificate), trusted (under a root of a trust list) or unknown."""
    signer: str = ""
    """Names in the certificate, and the tool that made the claim."""
    begins: str = ""
    """First second of the certificate, ISO 8601; "" where it cannot be read."""
    ends: str = ""
    """Its last one."""
    time_stamp: TimeStamp | None = None
    """None without one, or with one that is of another signature."""
    problems: tuple[str, ...] = ()
    """C2PA codes of what does not hold."""
    notes: tuple[str, ...] = ()
    """Sentences on what does not bear on the file."""
    source_type: str = ""
    """digitalSourceType of the first action."""
    watermark: str = ""
    """Id that our watermark should hold, 16 hex digits, or "" where the manifest is not ours."""
    readable: bool | None = None
    """Whether the signer read the watermark in the finished video; None: it does not say."""
    consent_sha256: str = ""
    """Digest of the consent record."""
    take: dict[str, Any] = field(default_factory=dict)
    """Engine, hashes of portrait and speech, time."""
    ingredients: tuple[str, ...] = ()
    """`title (relationship)` of each."""

    @property
    def holds(self) -> bool:
        """File and manifest are as they were when they were signed."""
        return self.state in ("valid", "untimely")

    @property
    def trust_text(self) -> str:
        """What the trust in the signer amounts to, as a clause."""
        return {
            "own": "signed by this installation: untrusted elsewhere, unless its root is known there",
            "trusted": "signed under a root that is trusted here",
            "unknown": "signed by somebody nobody here vouches for",
        }.get(self.trust, "")


def sign(
    source: Path,
    target: Path,
    take: Take,
    record: Record,
    source_type: str,
    signer: Identity,
    configuration: Configuration | None = None,
) -> tuple[str, ...]:
    """Write a signed copy of an MP4.

    Args:
        source: finished MP4, with all other marks.
        target: file to write; replaced where it exists.
        take: portrait and speech become ingredients; what they carry of C2PA themselves is kept.
        record: its digest is written, and its random number salts the hashes of portrait and speech.
        source_type: digitalSourceType, full URI.
        signer: see `certificates.identity`. Where its time-stamp authority does not answer within 30 s or
            answers wrongly, the file is signed without a time stamp.
        configuration: says how hashes are written; the environment's by default.

    Returns:
        Sentences on what was left out.

    Raises:
        Refused: signing failed.
        BadOutput: `target` cannot be written.
        BadSetting: $SONIC_C2PA_HASHES is neither salted nor plain.
        MissingPart: c2pa-python is not installed.
    """
    sdk = _sdk()
    hashes = (configuration or Configuration.from_environment()).hashes
    manifest = _manifest(take, record, source_type, hashes)
    try:
        try:
            _sign(sdk, source, target, take, manifest, signer)
        except sdk.C2paError.Signature as error:
            if not signer.stamps:
                raise
            _sign(sdk, source, target, take, manifest, dataclasses.replace(signer, stamps=""))
            return (
                f"The video was signed without a time stamp, because {signer.stamps} gave none ({error}): "
                f"its signature counts until the certificate ends. Check {STAMPS_VARIABLE}.",
            )
    except (OSError, sdk.C2paError.Io) as error:
        raise BadOutput(
            f"The signed video could not be written to {target.parent}: {error}.", "Make room on the disk."
        ) from error
    except sdk.C2paError as error:
        raise Refused(
            f"The video could not be signed: {error}.",
            f"Check {CERT_VARIABLE} and {KEY_VARIABLE} where they are set.",
        ) from error
    return ()


def read(path: Path, home: Path | None = None, configuration: Configuration | None = None) -> Signature:
    """The signature of any file; a file without one, or of a kind that has none, gives `absent`.

    Raises:
        BadInput: a trust list cannot be read.
        MissingPart: c2pa-python is not installed.
    """
    sdk = _sdk()
    trust = Trust.load(private_home(home), configuration or Configuration.from_environment())
    report = _report(sdk, path, trust.anchors)
    if report is None:
        return Signature("absent")
    if isinstance(report, str):
        return Signature("damaged", problems=(report,))
    who = "unknown"
    if report.trusted:
        who = "own" if report.serial in (trust.own, trust.given) else "trusted"
    elif report.serial is not None and report.serial == trust.given:
        # Those above $SONIC_C2PA_CERT vouch for that one, not for everybody below them.
        again = _report(sdk, path, trust.anchors + trust.given_issuers)
        if isinstance(again, _Report) and again.trusted:
            report, who = again, "own"
    return _signature(report, who, trust)


def read_proven(video: Path, record: Record, ledger: Ledger) -> Signature:
    """The signature of a video that was made under a consent record: what cannot be verified does not leave.

    Raises:
        Refused: it does not hold, or is another take's or record's.
        MissingPart: c2pa-python is not installed.
    """
    signature = read(video, ledger.home, ledger.configuration)
    said = (signature.state, signature.watermark, signature.consent_sha256)
    if said != ("valid", record.take, record.digest):
        found = ", ".join(signature.problems) or signature.state
        raise Refused(
            f"The signature on the video does not hold ({found}).",
            f"Where {CERT_VARIABLE} is set, check that its certificate suits C2PA.",
        )
    return signature


def salted_sha256(nonce: str, sha256: str) -> str:
    """The hash that a manifest holds in the place of `sha256`: HMAC-SHA-256 with the record's random number.

    Whoever has the record (`sonic consent show` tells its nonce) can prove by it what a video was made of;
    nobody else can tell from two videos that they were made of one portrait.

    Args:
        nonce: `Record.nonce`, hex.
        sha256: of a file or of pixels, hex.
    """
    return hmac.new(bytes.fromhex(nonce), bytes.fromhex(sha256), hashlib.sha256).hexdigest()


def _sdk() -> Any:
    """The SDK with the library of its own package.

    By itself it looks for one in the working folder first, where strangers' files may lie.

    Raises:
        MissingPart: it is not installed, or not whole.
        Failed: as `package`.
    """
    if "c2pa" in sys.modules or (found := find_spec("c2pa")) is None or found.origin is None:
        return package("c2pa")
    libraries = Path(found.origin).parent / "libs"
    library = next(libraries.glob(LIBRARY), libraries / "none")
    try:
        ctypes.CDLL(str(library))  # where that one does not load, none from elsewhere is taken
    except OSError as error:
        raise MissingPart(
            f"The library of c2pa-python does not load ({error}).",
            "Install it anew: pip install --force-reinstall c2pa-python",
        ) from error
    before = os.environ.get(LIBRARY_VARIABLE)
    os.environ[LIBRARY_VARIABLE] = str(library)
    try:
        return package("c2pa")
    finally:
        if before is None:
            os.environ.pop(LIBRARY_VARIABLE, None)
        else:
            os.environ[LIBRARY_VARIABLE] = before


# Signing


def _sign(
    sdk: Any, source: Path, target: Path, take: Take, manifest: Mapping[str, Any], signer: Identity
) -> None:
    with (
        sdk.Context.from_dict(_OFFLINE) as context,
        _signer(sdk, signer) as key,
        sdk.Builder(manifest, context) as builder,
    ):
        _add_ingredients(sdk, builder, take)
        with source.open("rb") as reading, target.open("w+b") as writing:
            builder.sign(key, "video/mp4", reading, writing)


@contextlib.contextmanager
def _signer(sdk: Any, signer: Identity) -> Iterator[Any]:
    stamps = signer.stamps.encode() or None
    info = sdk.C2paSignerInfo(signer.algorithm, signer.chain.encode(), signer.key.encode(), stamps)
    with sdk.Signer.from_info(info) as made:
        yield made


def _manifest(take: Take, record: Record, source_type: str, hashes: str) -> dict[str, Any]:
    watermark = {"alg": take.mark_algorithm, "value": take.id, "readable": take.mark_read}
    return {
        "claim_generator_info": [{"name": TOOL, "version": take.engine_version}],
        "format": "video/mp4",
        "title": f"Talking head {take.id}",
        "assertions": [
            _assertion(
                "c2pa.actions.v2", {"actions": _actions(take, source_type), "allActionsIncluded": True}
            ),
            _assertion(WATERMARK_LABEL, watermark),
            _assertion(TAKE_LABEL, _take_assertion(take, record, hashes)),
            # Stated by the operator, not by this tool: gathered, not created.
            {"label": CONSENT_LABEL, "data": {"record_sha256": record.digest}},
        ],
    }


def _assertion(label: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": label, "data": data, "created": True}


def _actions(take: Take, source_type: str) -> list[dict[str, Any]]:
    """All that was done: `allActionsIncluded` says that there was nothing else (C2PA 2.2 §18.14.3)."""
    agent = {"name": f"{TOOL} ({take.engine} engine)", "version": take.engine_version}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": source_type,
        "softwareAgent": agent,
        "when": take.created.isoformat(timespec="seconds"),
        "parameters": {"ingredientIds": ["portrait", *_speeches(take)]},
    }
    # A watermark that is no soft binding in C2PA's sense: 2.3 has the word, 2.4 ends `c2pa.watermarked`.
    watermarked = {"action": "c2pa.watermarked.unbound", "softwareAgent": agent}
    placed = {
        "action": "c2pa.placed",
        "description": "The speech as the sound, cut or filled with silence to the length of the picture",
        "parameters": {"ingredientIds": [name.replace("speech", "voice") for name in _speeches(take)]},
    }
    described = {
        "action": "c2pa.edited.metadata",
        "description": "Implicit label (GB 45438-2025), XMP digital source type and settings",
    }
    return [created, *_labelled(take, agent), watermarked, placed, described]


def _speeches(take: Take) -> dict[str, Path]:
    """Name of an ingredient → file, of each that holds speech."""
    files = {"speech": take.audio_file}
    if take.second is not None and take.second.audio_file != take.audio_file:
        files["speech_2"] = take.second.audio_file
    return files


def _labelled(take: Take, agent: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    settings = take.settings
    if settings.label == "off":
        return
    seconds = min(SHOWN_SECONDS, take.seconds) if settings.label == "start" else take.seconds
    shown = {"type": "temporal", "time": {"type": "npt", "start": "0", "end": f"{seconds:g}"}}
    yield {
        "action": "c2pa.addedText",
        "description": f"Visible label: {settings.label_text}",
        "digitalSourceType": DRAWN,
        "softwareAgent": agent,
        "changes": [{"region": [shown]}],
    }


def _take_assertion(take: Take, record: Record, hashes_form: str) -> dict[str, str]:
    hashes = {
        "portrait": take.portrait_sha256,
        "portrait_pixel": take.portrait_pixel_sha256,
        "speech": take.audio_sha256,
    }
    if take.second is not None:
        hashes["speech_2"] = take.second.audio_sha256
    form = hashes_form.lower() or "salted"
    if form == "plain":
        named = {f"{name}_sha256": value for name, value in hashes.items()}
    elif form == "salted":
        named = {f"{name}_salted": salted_sha256(record.nonce, value) for name, value in hashes.items()}
    else:
        raise BadSetting(f"{HASHES_VARIABLE}={form} is unknown.", "Use salted or plain.")
    when = take.created.isoformat(timespec="seconds")
    name = take.settings.to_dict().get("adapters", "")
    adapters = {"adapters": name} if name else {}
    adapters |= {"persons": str(take.persons)} if take.persons > 1 else {}
    return {"engine": take.engine, "version": take.engine_version, "created": when} | adapters | named


def ingredient_type(path: Path) -> str:
    """Media type by the file's name; one that would keep C2PA's reader for hours is bytes like any other."""
    try:
        check_bounds(path)
    except BadVideo:
        return _OTHER_TYPE
    return _MEDIA_TYPES.get(path.suffix.lower(), _OTHER_TYPE)


def _add_ingredients(sdk: Any, builder: Any, take: Take) -> None:
    """Titles are neutral: file names may be names of people. So is the instance's id, which would else be the
    one in a portrait's XMP: the same in all its videos."""
    speeches = _speeches(take)
    for label, relationship, path in (
        ("portrait", "inputTo", take.portrait_file),
        *((name, "inputTo", file) for name, file in speeches.items()),
        *((name.replace("speech", "voice"), "componentOf", file) for name, file in speeches.items()),
    ):
        media_type = ingredient_type(path)
        described = {"title": label, "label": label, "relationship": relationship, "format": media_type}
        described["instance_id"] = f"xmp.iid:{uuid.uuid4()}"
        with path.open("rb") as file:
            try:
                builder.add_ingredient(described, media_type, file)
            except sdk.C2paError:
                # Not what its name says, or cut short: it cannot carry a manifest of its own either.
                file.seek(0)
                builder.add_ingredient(described, _OTHER_TYPE, file)


# Reading


class _Report:
    """The reader's report. All in it but the codes was written by a stranger and may have any form."""

    def __init__(self, report: Mapping[str, Any], described: Mapping[str, Any]) -> None:
        name = report.get("active_manifest")
        self.manifest = _mapping(_mapping(report.get("manifests")).get(_text(name)))
        self.assertions = {
            item["label"]: _mapping(item.get("data"))
            for item in map(_mapping, _list(self.manifest.get("assertions")))
            if isinstance(item.get("label"), str)
        }
        results = _mapping(report.get("validation_results"))
        checks = _mapping(results.get("activeManifest"))
        self.passed = _codes(checks, "success")
        self.failed = _codes(checks, "failure")
        self.informed = _codes(checks, "informational")
        deltas = map(_mapping, _list(results.get("ingredientDeltas")))
        self.ingredients_failed = frozenset[str]().union(
            *(_codes(_mapping(delta.get("validationDeltas")), "failure") for delta in deltas)
        )
        found = (_mapping(one) for one in _list(described.get("manifests")))
        credential = next((_mapping(one.get("signature")) for one in found if one.get("label") == name), {})
        self.certificate = _mapping(credential.get("certificateInfo"))
        self.stamp = _mapping(credential.get("timeStampInfo"))

    @property
    def trusted(self) -> bool:
        return _TRUSTED in self.passed

    @property
    def serial(self) -> int | None:
        """Of the signer's certificate."""
        text = _text(self.certificate.get("serialNumber"))
        return int(text, 16) if re.fullmatch(r"[0-9a-fA-F]{1,64}", text) else None


def _report(sdk: Any, path: Path, anchors: str) -> _Report | str | None:
    """The reader's report; None without a manifest; what is wrong where the manifest cannot be parsed.

    Files that are cut short cannot be parsed either: of those without a manifest nothing is said.
    """
    settings = _OFFLINE | ({"trust": {"user_anchors": anchors}} if anchors else {})
    try:
        with path.open("rb") as file, sdk.Context.from_dict(settings) as context:
            reader = sdk.Reader.try_create(None, file, context=context)
            if reader is None:
                return None
            with reader:
                return _Report(json.loads(reader.json()), json.loads(reader.crjson()))
    except sdk.C2paError.NotSupported:
        return None
    except sdk.C2paError as error:
        return str(error) if has_manifest_store(path) else None


def has_manifest_store(path: Path) -> bool:
    """Whether a manifest store begins anywhere in a file."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_STORE) >= 0


def _signature(report: _Report, who: str, trust: Trust) -> Signature:
    actions = _list(report.assertions.get("c2pa.actions.v2", {}).get("actions"))
    watermark = _watermark(report.assertions)
    made = report.assertions.get(TAKE_LABEL, {})
    validity = _mapping(report.certificate.get("validity"))
    return Signature(
        state=_state(report),
        trust="unknown" if _broken_checks(report) else who,
        signer=_signer_text(report.manifest),
        begins=_text(validity.get("notBefore")),
        ends=_text(validity.get("notAfter")),
        time_stamp=_time_stamp(report),
        problems=tuple(sorted((report.failed | report.ingredients_failed) - {_UNTRUSTED})),
        notes=tuple(_notes(report, who, trust)),
        source_type=_text(_mapping(next(iter(actions), {})).get("digitalSourceType")),
        watermark=take_id(watermark.get("value")),
        readable=watermark["readable"] if isinstance(watermark.get("readable"), bool) else None,
        consent_sha256=_sha256(report.assertions.get(CONSENT_LABEL, {}).get("record_sha256")),
        take={name: value for name, value in made.items() if isinstance(value, str)},
        ingredients=tuple(
            f"{_text(one.get('title'))} ({_text(one.get('relationship'))})"
            for one in map(_mapping, _list(report.manifest.get("ingredients")))
        ),
    )


def _state(report: _Report) -> str:
    """What the codes accuse: the file, or only clocks and certificates."""
    accused = {
        code
        for code in report.failed | report.ingredients_failed
        if not (_TIME.fullmatch(code) or _CREDENTIAL.fullmatch(code))
    }
    if accused and all(map(_UNREAD.fullmatch, accused)):
        return "damaged"
    if accused or _SIGNED not in report.passed:
        return "altered"
    return "untimely" if any(map(_TIME.fullmatch, report.failed)) else "valid"


def _broken_checks(report: _Report) -> set[str]:
    """Codes that take from a certificate what its authority gave it, such as its revocation."""
    return {
        code
        for code in report.failed
        if code.startswith("signingCredential.") and code != _UNTRUSTED and not _TIME.fullmatch(code)
    }


def _time_stamp(report: _Report) -> TimeStamp | None:
    if _STAMPED not in report.passed:
        return None
    subject = _mapping(_mapping(report.stamp.get("certificateInfo")).get("subject"))
    time = _text(report.stamp.get("timestamp"))
    return TimeStamp(time, _text(subject.get("CN")), _STAMP_TRUSTED in report.passed)


def _notes(report: _Report, who: str, trust: Trust) -> Iterator[str]:
    issuer = _text(_mapping(report.certificate.get("issuer")).get("CN"))
    if who == "unknown" and issuer in trust.expired:
        yield f"A root named {issuer} is on a trust list here, and ended on {trust.expired[issuer]}."
    if unfit := _broken_checks(report):
        yield f"The certificate is not fit to sign with ({', '.join(sorted(unfit))})."
    if _STAMPED not in report.passed and any(code.startswith("timeStamp.") for code in report.informed):
        yield "It carries a time stamp that does not belong to this signature and is left out of account."


def _watermark(assertions: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the manifest says of our watermark; version 0.1 wrote it as a soft binding."""
    if WATERMARK_LABEL in assertions:
        return assertions[WATERMARK_LABEL]
    binding = assertions.get("c2pa.soft-binding", {})
    blocks = _list(binding.get("blocks")) if binding.get("alg") == FIRST_WATERMARK else []
    return _mapping(next(iter(blocks), {}))


def _signer_text(active: Mapping[str, Any]) -> str:
    info = _mapping(active.get("signature_info"))
    tools = [
        f"{_text(tool.get('name'))} {_text(tool.get('version'))}"
        for tool in map(_mapping, _list(active.get("claim_generator_info")))
    ]
    names = [_text(info.get("common_name")), _text(info.get("issuer")), *tools]
    return ", ".join(name.strip() for name in names if name.strip())


def _codes(checks: Mapping[str, Any], kind: str) -> frozenset[str]:
    return frozenset(_text(_mapping(check).get("code")) for check in _list(checks.get(kind)))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _sha256(value: object) -> str:
    text = _text(value)
    return text if re.fullmatch(r"[0-9a-f]{64}", text) else ""
