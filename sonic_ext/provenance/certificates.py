"""Who signs, and whom this computer trusts: certificates and trust lists. Never touches the network.

    signing/root.pem   root certificate of this installation; its key was thrown away
    signing/chain.pem  leaf and root
    signing/key.pem    the leaf's key, 0600

$SONIC_C2PA_CERT and $SONIC_C2PA_KEY (PEM files: chain with the leaf first, and its key) take the place of the
certificate made here. $SONIC_C2PA_ANCHORS names trust lists: PEM files, or folders of them, such as C2PA's
own list, that of its time-stamp authorities, and roots of one's own. $SONIC_C2PA_TSA is the address of a
time-stamp authority (RFC 3161) that is asked when a video is signed; there is none by default.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..configuration import ANCHORS_VARIABLE, CERT_VARIABLE, KEY_VARIABLE, STAMPS_VARIABLE, Configuration
from ..errors import BadInput, BadSetting, Failed, MissingPart, Refused
from ..files.atomic import new_file
from ..files.home import build_folder, home_errors, private_home
from ..files.names import expanded

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

FOLDER = "signing"
"""Below the private home: this installation's own certificate and its key."""
YEARS = 10
"""How long the certificate made here lasts: without a time stamp a signature lasts no longer."""
EARLIER = timedelta(days=1)
"""How long before it was made that certificate begins: a clock set back makes it none of the future."""
_LIST_NAMES = (".pem", ".crt", ".cer")


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
    stamps: str = ""
    """Address of the time-stamp authority to ask, "" for none."""


@dataclass(frozen=True)
class Trust:
    """Whom this computer trusts when it reads a signature."""

    anchors: str
    """PEM certificates: this installation's own root and the trust lists."""
    own: int | None
    """Serial number of this installation's own certificate, where it has made one."""
    given: int | None
    """Serial number of $SONIC_C2PA_CERT, where that is set."""
    given_issuers: str
    """PEM certificates above that one."""
    expired: dict[str, str]
    """Common names of listed authorities whose certificate has ended, and the day."""

    @classmethod
    def load(cls, home: Path, configuration: Configuration) -> Trust:
        """As the private home and the configuration have it.

        Raises:
            BadInput: a trust list or the certificate cannot be read.
        """
        made = home / FOLDER / "chain.pem"
        own = _certificates(made) if made.is_file() else []
        named = configuration.certificate
        given = _certificates(Path(named)) if named else []
        listed = [
            certificate for path in _list_files(configuration.anchors) for certificate in _authorities(path)
        ]
        return cls(
            anchors=_pem(*own[1:], *listed),
            own=own[0].serial_number if own else None,
            given=given[0].serial_number if given else None,
            given_issuers=_pem(*given[1:]),
            expired=dict(_expired(listed)),
        )


def identity(home: Path | None = None, configuration: Configuration | None = None) -> Identity:
    """The certificate to sign with: the user's own where set, else this installation's, made at first use.

    Raises:
        BadInput: the user's certificate or key cannot be used.
        BadSetting: the time-stamp authority has no address of the web.
        Refused: the certificate has ended, or has not begun yet.
        MissingPart: the `cryptography` package is not installed.
    """
    configuration = configuration or Configuration.from_environment()
    cert, key = configuration.certificate, configuration.key
    if bool(cert) != bool(key):
        raise BadInput(
            f"Only one of {CERT_VARIABLE} and {KEY_VARIABLE} is set.",
            "Set both to PEM files, or neither to sign with this installation's own certificate.",
        )
    stamps = _checked_address(configuration.time_stamps)
    found = (
        _given_identity(Path(cert), Path(key), stamps) if cert else _own_identity(private_home(home), stamps)
    )
    _require_current(found)
    return found


def package(name: str) -> Any:
    """The module `name` that signing needs.

    Raises:
        MissingPart: it is not installed.
        Failed: it looks for itself in the working folder, and that was deleted while this process ran.
    """
    try:
        return import_module(name)
    except ImportError as error:
        wanted = {"c2pa": "c2pa-python>=0.38,<0.39"}.get(name, "cryptography>=42")
        raise MissingPart(
            f"Signing needs the package {wanted.split('>')[0]}.", f'pip install "{wanted}"'
        ) from error
    except FileNotFoundError as error:
        raise Failed(
            "The working folder is gone: it was moved or deleted.", "Go to one that is there, then try again."
        ) from error


# Signing


def _checked_address(address: str) -> str:
    parts = urlsplit(address)
    if address and not (parts.scheme in ("http", "https") and parts.hostname):
        raise BadSetting(
            f"{STAMPS_VARIABLE}={address} is not the address of a time-stamp authority.",
            "Give one such as http://timestamp.example.com, or none to sign without time stamps.",
        )
    return address


def _own_identity(home: Path, stamps: str) -> Identity:
    folder = home / FOLDER
    with home_errors(home):
        if not folder.is_dir():
            build_folder(folder, _new_certificate)
        chain = (folder / "chain.pem").read_text(encoding="ascii")
        key = (folder / "key.pem").read_text(encoding="ascii")
    return Identity(chain, key, "es256", own=True, stamps=stamps)


def _given_identity(cert: Path, key: Path, stamps: str) -> Identity:
    package("cryptography")
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
    return Identity(cert.read_text(encoding="ascii"), pem.decode("ascii"), name, own=False, stamps=stamps)


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
    package("cryptography")
    from cryptography import x509

    leaf = x509.load_pem_x509_certificate(signer.chain.encode())
    begins, ends, now = (
        _utc(leaf, "not_valid_before"),
        _utc(leaf, "not_valid_after"),
        datetime.now(timezone.utc),
    )
    renewed = "move the folder signing away; a new one is made" if signer.own else f"renew {CERT_VARIABLE}"
    clock = f"The clock says {now:%Y-%m-%d %H:%M} UTC: where that is wrong, set it; where it is right, "
    if ends < now:
        raise Refused(f"The signing certificate ended on {ends:%Y-%m-%d}.", f"{clock}{renewed}.")
    if now < begins:
        raise Refused(f"The signing certificate begins only on {begins:%Y-%m-%d}.", f"{clock}{renewed}.")


def _utc(certificate: x509.Certificate, name: str) -> datetime:
    """A date of a certificate; cryptography before 42 has it without a time zone only."""
    aware: datetime | None = getattr(certificate, f"{name}_utc", None)
    return aware or getattr(certificate, name).replace(tzinfo=timezone.utc)


def _new_certificate(folder: Path) -> None:
    """A root, a leaf under it, and the leaf's key. The root's key is not kept: it signs this once."""
    package("cryptography")
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
        .not_valid_before(now - EARLIER)
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


# Trust lists


def _list_files(anchors: str) -> Iterator[Path]:
    """The files that `Configuration.anchors` names, as in $PATH; of a folder its PEM files."""
    for name in anchors.split(os.pathsep):
        path = expanded(name.strip())
        if not name.strip():
            continue
        if not path.is_dir():
            yield path
            continue
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _LIST_NAMES)
        if not files:
            raise BadInput(
                f"The folder {path} in {ANCHORS_VARIABLE} holds no trust list.",
                f"Put PEM files into it ({', '.join(_LIST_NAMES)}), or leave it out.",
            )
        yield from files


def _authorities(path: Path) -> list[x509.Certificate]:
    """The certificates of a trust list that may stand above a signer's."""
    from cryptography import x509

    def above(certificate: x509.Certificate) -> bool:
        try:
            return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            return False

    found = [certificate for certificate in _certificates(path) if above(certificate)]
    if not found:
        raise BadInput(
            f"{path} in {ANCHORS_VARIABLE} holds no certificate of an authority.",
            "Name the file with the root or intermediate certificate that stands above the signer's.",
        )
    return found


def _expired(listed: list[x509.Certificate]) -> Iterator[tuple[str, str]]:
    if not listed:
        return
    from cryptography.x509.oid import NameOID

    now = datetime.now(timezone.utc)
    for certificate in listed:
        ends = _utc(certificate, "not_valid_after")
        if ends < now:
            for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
                yield str(name.value), f"{ends:%Y-%m-%d}"


def _certificates(path: Path) -> list[x509.Certificate]:
    package("cryptography")
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} cannot be read as certificates: {error}.",
            f"{ANCHORS_VARIABLE} and {CERT_VARIABLE} name files of PEM certificates.",
        ) from error


def _pem(*certificates: x509.Certificate) -> str:
    if not certificates:
        return ""
    from cryptography.hazmat.primitives import serialization

    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)
