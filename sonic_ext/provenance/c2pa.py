"""C2PA: this installation's certificate, signing, and reading a signature. Never touches the network.

    signing/root.pem   root certificate of this installation; its key was thrown away
    signing/chain.pem  leaf and root
    signing/key.pem    the leaf's key, 0600

$SONIC_C2PA_CERT and $SONIC_C2PA_KEY (PEM files: chain with the leaf first, and its key) take the place of the
certificate made here. $SONIC_C2PA_ANCHORS (PEM) names roots that are trusted when reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, BadOutput, MissingPart, Refused
from .metadata import TOOL
from .private import build_folder, home_errors, new_file, private_home

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from .ledger import Record
    from .store import Take

CERT_VARIABLE, KEY_VARIABLE = "SONIC_C2PA_CERT", "SONIC_C2PA_KEY"
ANCHORS_VARIABLE = "SONIC_C2PA_ANCHORS"
WATERMARK_ALGORITHM = "local.sonic.watermark.1"
"""Names our watermark in the soft binding. The reserved domain `local` collides with nobody's."""
CONSENT_LABEL = "local.sonic.consent"
TAKE_LABEL = "local.sonic.take"
YEARS = 10
"""How long the certificate made here lasts: without a timestamp authority a signature lasts no longer."""

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
_UNTRUSTED = "signingCredential.untrusted"
_TRUSTED = "signingCredential.trusted"


@dataclass(frozen=True)
class Identity:
    """Who signs."""

    chain: str
    """PEM certificates, leaf first."""
    key: str = field(repr=False)
    """PEM private key (PKCS #8)."""
    algorithm: str
    """C2PA's name of the signature algorithm, such as es256."""
    own: bool
    """Made by this installation, so unknown to everyone else."""


@dataclass(frozen=True)
class Signature:
    """What a file's C2PA manifest says, and whether it holds."""

    state: str
    """valid, altered or absent."""
    trust: str = ""
    """own (this installation's certificate), trusted (a root in $SONIC_C2PA_ANCHORS) or unknown."""
    signer: str = ""
    """Names in the certificate, and the tool that made the claim."""
    problems: tuple[str, ...] = ()
    """C2PA codes of what does not hold."""
    source_type: str = ""
    """digitalSourceType of the first action."""
    watermark: str = ""
    """Id in our soft binding, 16 hex digits, or "" where the manifest is not ours."""
    consent_sha256: str = ""
    """Digest of the consent record."""
    take: dict[str, Any] = field(default_factory=dict)
    """Engine, hashes of portrait and speech, time."""
    ingredients: tuple[str, ...] = ()
    """`title (relationship)` of each."""

    @property
    def trust_text(self) -> str:
        """What the trust in the signer amounts to, as a clause."""
        return {
            "own": "signed by this installation's own certificate: untrusted elsewhere",
            "trusted": "signed under a root that is trusted here",
            "unknown": "signed by a certificate that nobody here vouches for",
        }.get(self.trust, "")


def identity(home: Path | None = None) -> Identity:
    """The certificate to sign with: the user's own where set, else this installation's, made at first use.

    Raises:
        BadInput: the user's certificate or key cannot be used.
        Refused: the certificate has ended.
        MissingPart: the `cryptography` package is not installed.
    """
    cert, key = os.environ.get(CERT_VARIABLE, "").strip(), os.environ.get(KEY_VARIABLE, "").strip()
    if bool(cert) != bool(key):
        raise BadInput(
            f"Only one of {CERT_VARIABLE} and {KEY_VARIABLE} is set.",
            "Set both to PEM files, or neither to sign with this installation's own certificate.",
        )
    found = _given_identity(Path(cert), Path(key)) if cert else _own_identity(private_home(home))
    _require_current(found)
    return found


def sign(source: Path, target: Path, take: Take, record: Record, source_type: str, signer: Identity) -> None:
    """Write a signed copy of an MP4.

    Args:
        source: finished MP4, with all other marks.
        target: file to write; replaced where it exists.
        take: portrait and speech become ingredients; what they carry of C2PA themselves is kept.
        record: only its digest is written.
        source_type: digitalSourceType, full URI.
        signer: see `identity`.

    Raises:
        Refused: signing failed.
        BadOutput: `target` cannot be written.
        MissingPart: c2pa-python is not installed.
    """
    sdk = _sdk("c2pa")
    try:
        with (
            sdk.Context.from_dict(_OFFLINE) as context,
            _signer(sdk, signer) as key,
            sdk.Builder(_manifest(take, record, source_type), context) as builder,
        ):
            _add_ingredients(sdk, builder, take)
            with source.open("rb") as reading, target.open("w+b") as writing:
                builder.sign(key, "video/mp4", reading, writing)
    except (OSError, sdk.C2paError.Io) as error:
        raise BadOutput(
            f"The signed video could not be written to {target.parent}: {error}.", "Make room on the disk."
        ) from error
    except sdk.C2paError as error:
        raise Refused(
            f"The video could not be signed: {error}.",
            f"Check {CERT_VARIABLE} and {KEY_VARIABLE} where they are set.",
        ) from error


def read(path: Path, home: Path | None = None) -> Signature:
    """The signature of any file; a file without one, or of a kind that has none, gives `absent`.

    Raises:
        MissingPart: c2pa-python is not installed.
    """
    sdk = _sdk("c2pa")
    found = Signature("absent")
    for trust, anchors in _anchors(private_home(home)):
        report = _report(sdk, path, anchors)
        if report is None:
            return Signature("absent")
        if isinstance(report, str):
            return Signature("altered", problems=(report,))
        found = _signature(report, trust)
        if found.trust != "unknown":
            break
    return found


def proven(video: Path, record: Record, home: Path) -> Signature:
    """The signature of a video that was made under a consent record: what cannot be verified does not leave.

    Raises:
        Refused: it does not hold, or is another take's or record's.
        MissingPart: c2pa-python is not installed.
    """
    signature = read(video, home)
    said = (signature.state, signature.watermark, signature.consent_sha256)
    if said != ("valid", record.take, record.digest):
        found = ", ".join(signature.problems) or signature.state
        raise Refused(
            f"The signature on the video does not hold ({found}).",
            f"Where {CERT_VARIABLE} is set, check that its certificate suits C2PA.",
        )
    return signature


def _sdk(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = {"c2pa": "c2pa-python>=0.38,<0.39"}.get(name, "cryptography>=42")
        raise MissingPart(
            f"Signing needs the package {package.split('>')[0]}.", f'pip install "{package}"'
        ) from error


# Certificates


def _own_identity(home: Path) -> Identity:
    folder = home / "signing"
    with home_errors(home):
        if not folder.is_dir():
            build_folder(folder, _new_certificate)
        chain = (folder / "chain.pem").read_text(encoding="ascii")
        return Identity(chain, (folder / "key.pem").read_text(encoding="ascii"), "es256", own=True)


def _given_identity(cert: Path, key: Path) -> Identity:
    _sdk("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        chain = x509.load_pem_x509_certificates(cert.read_bytes())
        secret = serialization.load_pem_private_key(key.read_bytes(), password=None)
        pem = secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fits = chain[0].public_key() == secret.public_key()
        name = _algorithm(secret)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            f"The certificate {cert} or its key {key} cannot be used: {error}.",
            "Give PEM files: the chain with the leaf first, and an unencrypted EC, Ed25519 or RSA key.",
        ) from error
    if not fits:
        raise BadInput(f"The key {key} is not that of {cert}.", "The first certificate must be the signer's.")
    return Identity(cert.read_text(encoding="ascii"), pem.decode("ascii"), name, own=False)


def _algorithm(key: object) -> str:
    """C2PA's name for what a key signs with.

    Raises:
        ValueError: C2PA has none.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey):
        names = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
        if key.curve.name in names:
            return names[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError("C2PA has no algorithm for this kind of key")


def _require_current(signer: Identity) -> None:
    _sdk("cryptography")
    from cryptography import x509

    leaf = x509.load_pem_x509_certificate(signer.chain.encode())
    ends = _utc(leaf, "not_valid_after")
    if ends < datetime.now(timezone.utc):
        hint = "Move the folder signing away; a new one is made." if signer.own else f"Renew {CERT_VARIABLE}."
        raise Refused(f"The signing certificate ended on {ends:%Y-%m-%d}.", hint)


def _utc(certificate: x509.Certificate, name: str) -> datetime:
    """A date of a certificate; cryptography before 42 has it without a time zone only."""
    aware: datetime | None = getattr(certificate, f"{name}_utc", None)
    return aware or getattr(certificate, name).replace(tzinfo=timezone.utc)


def _new_certificate(folder: Path) -> None:
    """A root, a leaf under it, and the leaf's key. The root's key is not kept: it signs this once."""
    _sdk("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    mark = secrets.token_hex(4)
    root_name, leaf_name = f"Sonic installation {mark} root", f"Sonic installation {mark}"
    root = _certificate(root_name, root_key, root_name, root_key, authority=True)
    leaf = _certificate(leaf_name, leaf_key, root_name, root_key, authority=False)
    root_pem, leaf_pem = (cert.public_bytes(serialization.Encoding.PEM) for cert in (root, leaf))
    key_pem = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    new_file(folder / "root.pem", root_pem)
    new_file(folder / "chain.pem", leaf_pem + root_pem)
    new_file(folder / "key.pem", key_pem)


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    authority: bool,
) -> x509.Certificate:
    """A certificate as C2PA's profile asks for it (C2PA 2.x §14.5)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.now(timezone.utc)
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
        .add_extension(_key_usage(authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sonic (self-made certificate)")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_usage(authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


# Signing


@contextlib.contextmanager
def _signer(sdk: Any, signer: Identity) -> Iterator[Any]:
    info = sdk.C2paSignerInfo(signer.algorithm, signer.chain.encode(), signer.key.encode(), None)
    with sdk.Signer.from_info(info) as made:
        yield made


def _manifest(take: Take, record: Record, source_type: str) -> dict[str, Any]:
    agent = {"name": f"{TOOL} ({take.engine} engine)", "version": take.engine_version}
    actions = [
        {
            "action": "c2pa.created",
            "digitalSourceType": source_type,
            "softwareAgent": agent,
            "when": take.created.isoformat(timespec="seconds"),
            "parameters": {"ingredientIds": ["portrait", "speech"]},
        },
        {"action": "c2pa.placed", "parameters": {"ingredientIds": ["voice"]}},
        {"action": "c2pa.watermarked", "softwareAgent": agent},
    ]
    binding = {"alg": WATERMARK_ALGORITHM, "blocks": [{"scope": {}, "value": take.id}]}
    made = {
        "engine": take.engine,
        "version": take.engine_version,
        "created": take.created.isoformat(timespec="seconds"),
        "portrait_sha256": take.portrait_sha256,
        "portrait_pixel_sha256": take.portrait_pixel_sha256,
        "speech_sha256": take.audio_sha256,
    }
    return {
        "claim_generator_info": [{"name": TOOL, "version": take.engine_version}],
        "format": "video/mp4",
        "title": f"Talking head {take.id}",
        "assertions": [
            _created("c2pa.actions.v2", {"actions": actions, "allActionsIncluded": True}),
            _created("c2pa.soft-binding", binding),
            _created(TAKE_LABEL, made),
            # Stated by the operator, not by this tool: gathered, not created.
            {"label": CONSENT_LABEL, "data": {"record_sha256": record.digest}},
        ],
    }


def _created(label: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"label": label, "data": data, "created": True}


def _add_ingredients(sdk: Any, builder: Any, take: Take) -> None:
    """Titles are neutral: file names may be names of people."""
    for label, relationship, path in (
        ("portrait", "inputTo", take.portrait_file),
        ("speech", "inputTo", take.audio_file),
        ("voice", "componentOf", take.audio_file),
    ):
        media_type = _MEDIA_TYPES.get(path.suffix.lower(), _OTHER_TYPE)
        described = {"title": label, "label": label, "relationship": relationship, "format": media_type}
        with path.open("rb") as file:
            try:
                builder.add_ingredient(described, media_type, file)
            except sdk.C2paError:
                # Not what its name says, or cut short: it cannot carry a manifest of its own either.
                file.seek(0)
                builder.add_ingredient(described, _OTHER_TYPE, file)


# Reading


def _anchors(home: Path) -> Iterator[tuple[str, str]]:
    """Kinds of trust and PEM roots for each, the closest first; at least one."""
    own = home / "signing" / "root.pem"
    yield "own", own.read_text(encoding="ascii") if own.is_file() else ""
    given = os.environ.get(ANCHORS_VARIABLE, "").strip()
    if given:
        try:
            yield "trusted", Path(given).read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{ANCHORS_VARIABLE}={given} cannot be read: {error}.", "Give a file of PEM certificates."
            ) from error


def _report(sdk: Any, path: Path, anchors: str) -> dict[str, Any] | str | None:
    """The reader's report; None without a manifest; what is wrong where the manifest cannot be parsed."""
    settings = _OFFLINE | ({"trust": {"user_anchors": anchors}} if anchors else {})
    try:
        with path.open("rb") as file, sdk.Context.from_dict(settings) as context:
            reader = sdk.Reader.try_create(None, file, context=context)
            if reader is None:
                return None
            with reader:
                return dict(json.loads(reader.json()))
    except sdk.C2paError.NotSupported:
        return None
    except sdk.C2paError as error:
        return str(error)


def _signature(report: Mapping[str, Any], trust: str) -> Signature:
    active = report["manifests"].get(report.get("active_manifest"), {})
    checks = report.get("validation_results", {}).get("activeManifest", {})
    trusted = any(check["code"] == _TRUSTED for check in checks.get("success", ()))
    problems = sorted({check["code"] for check in checks.get("failure", ())} - {_UNTRUSTED})
    problems += _ingredient_problems(report)
    holds = report.get("validation_state") in ("Valid", "Trusted") and not problems
    data = {item["label"]: item["data"] for item in active.get("assertions", ())}
    actions = data.get("c2pa.actions.v2", {}).get("actions") or [{}]
    binding = data.get("c2pa.soft-binding", {})
    ours = binding.get("alg") == WATERMARK_ALGORITHM
    return Signature(
        state="valid" if holds else "altered",
        trust=trust if trusted else "unknown",
        signer=_signer_text(active),
        problems=tuple(problems),
        source_type=actions[0].get("digitalSourceType", ""),
        watermark=str(binding["blocks"][0]["value"]) if ours else "",
        consent_sha256=data.get(CONSENT_LABEL, {}).get("record_sha256", ""),
        take=dict(data.get(TAKE_LABEL, {})),
        ingredients=tuple(
            f"{i.get('title')} ({i.get('relationship')})" for i in active.get("ingredients", ())
        ),
    )


def _ingredient_problems(report: Mapping[str, Any]) -> list[str]:
    """Codes of ingredients whose manifests were changed inside this one."""
    deltas = report.get("validation_results", {}).get("ingredientDeltas") or ()
    codes = {check["code"] for delta in deltas for check in delta["validationDeltas"].get("failure", ())}
    return sorted(codes - {_UNTRUSTED})


def _signer_text(active: Mapping[str, Any]) -> str:
    info = active.get("signature_info", {})
    tools = [
        f"{tool.get('name')} {tool.get('version', '')}" for tool in active.get("claim_generator_info", ())
    ]
    names = [info.get("common_name"), info.get("issuer"), *tools]
    return ", ".join(name.strip() for name in names if name)
