"""Real certificates for tests, as strangers, studios and time-stamp authorities have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from sonic_ext.provenance.c2pa import Identity

DAY = timedelta(days=1)
NOW = datetime.now(timezone.utc)


@dataclass(frozen=True)
class Certified:
    """A certificate, those above it, and its key."""

    leaf: x509.Certificate
    issuers: tuple[x509.Certificate, ...]
    key: Any
    root_key: Any

    @property
    def root_pem(self) -> str:
        return pem(self.issuers[-1])

    @property
    def chain_pem(self) -> str:
        return "".join(map(pem, (self.leaf, *self.issuers)))

    @property
    def key_pem(self) -> str:
        # as openssl writes them; Ed25519 has no such form
        form = serialization.PrivateFormat.TraditionalOpenSSL
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            form = serialization.PrivateFormat.PKCS8
        encryption = serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()

    def identity(self, algorithm: str = "es256", own: bool = False) -> Identity:
        """To sign with, past the checks of `certificates.identity`."""
        encryption = serialization.NoEncryption()
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        return Identity(self.chain_pem, key.decode(), algorithm, own)

    def sign(self, manifest: Any, source: Path, target: Path, kind: str = "video/mp4") -> Path:
        """A copy of a file with a manifest, signed past this project's own code; `kind` is its media type."""
        import c2pa as sdk

        info = sdk.C2paSignerInfo("es256", self.chain_pem.encode(), self.identity().key.encode(), None)
        with (
            sdk.Signer.from_info(info) as signer,
            sdk.Builder(manifest) as builder,
            source.open("rb") as reading,
            target.open("w+b") as writing,
        ):
            builder.sign(signer, kind, reading, writing)
        return target


def certified(
    name: str = "Studio",
    *,
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 90 * DAY,
    root_begins: datetime = NOW - 3650 * DAY,
    root_ends: datetime = NOW + 3650 * DAY,
    usage: ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    make: Callable[[], Any] = lambda: ec.generate_private_key(ec.SECP256R1()),
    above: Certified | None = None,
    serial: int | None = None,
) -> Certified:
    """A root and a certificate under it as C2PA's profile asks for them (C2PA 2.x §14.5).

    Args:
        above: has the root already.
        serial: serial number of the certificate; a random one where None.
    """
    key, issuer = make(), f"{name} root"
    if above:
        root, root_key = above.issuers[-1], above.root_key
        issuer = str(root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    else:
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = _certificate(issuer, root_key, issuer, root_key, root_begins, root_ends, None)
    leaf = _certificate(name, key, issuer, root_key, begins, ends, usage, serial)
    return Certified(leaf, (root,), key, root_key)


def time_stamping(name: str = "Clock", **dates: Any) -> Certified:
    """A time-stamp authority."""
    return certified(name, usage=ExtendedKeyUsageOID.TIME_STAMPING, **dates)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _certificate(
    subject: str,
    key: Any,
    issuer: str,
    issuer_key: Any,
    begins: datetime,
    ends: datetime,
    usage: ObjectIdentifier | None,
    serial: int | None = None,
) -> x509.Certificate:
    """`usage` None makes an authority."""
    authority, public = usage is None, key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(_key_usage(authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if usage is not None:
        stamps = usage == ExtendedKeyUsageOID.TIME_STAMPING  # RFC 3161 §2.3: critical, and the only one
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=stamps)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{common.removesuffix(' root')} Ltd")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_usage(authority: bool) -> x509.KeyUsage:
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
