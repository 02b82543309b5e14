"""Certificates, signing and reading, and the other marks in the container."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import av
import c2pa as sdk
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from made_takes import TAKE_ID, adopt_clip, record_clip

from sonic_ext.errors import BadInput, BadOutput, BadSetting, MissingPart, Refused
from sonic_ext.media.image import Portrait, read_portrait
from sonic_ext.media.video import probe, remux
from sonic_ext.provenance import c2pa, metadata
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.ledger import Ledger, Record
from sonic_ext.provenance.store import Store, Take
from sonic_ext.settings import Settings


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    record_clip(folder, Settings(), 5)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def take(clip: Path, home: Path) -> Take:
    return adopt_clip(Store(home), clip, frames=5)


@pytest.fixture
def record(take: Take, home: Path) -> Record:
    return Ledger(home).record(Consent(face="self", voice="self", subject="Ada Example"), take)


@pytest.fixture
def signed(take: Take, record: Record, home: Path, tmp_path: Path) -> Path:
    return _sign(take, record, home, tmp_path)


def _sign(take: Take, record: Record, home: Path, folder: Path) -> Path:
    target = folder / "signed.mp4"
    c2pa.sign(take.master, target, take, record, metadata.COMPOSITE, c2pa.identity(home))
    return target


def _manifest(path: Path) -> dict[str, Any]:
    with sdk.Reader(str(path)) as reader:
        report = json.loads(reader.json())
    return dict(report["manifests"][report["active_manifest"]])


def _pem(key: Any) -> bytes:
    private = serialization.PrivateFormat.TraditionalOpenSSL
    if isinstance(key, ed25519.Ed25519PrivateKey):
        private = serialization.PrivateFormat.PKCS8
    return bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))


def _given(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    make: Callable[[], Any] = lambda: ec.generate_private_key(ec.SECP384R1()),
    days: int = 30,
) -> Path:
    """A studio's own root, leaf and key; the environment names them. Returns the root."""
    folder.mkdir(exist_ok=True)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), make()
    now = datetime.now(timezone.utc)

    def certificate(subject: str, public: Any, ca: bool, ends: datetime) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(c2pa._name(subject))
            .issuer_name(c2pa._name("Studio root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=100))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(c2pa._key_usage(ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
            )
        )
        if not ca:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(root_key, hashes.SHA256())

    root = certificate("Studio root", root_key.public_key(), True, now + timedelta(days=99))
    leaf = certificate("Studio", key.public_key(), False, now + timedelta(days=days))
    pems = [cert.public_bytes(serialization.Encoding.PEM) for cert in (leaf, root)]
    (folder / "root.pem").write_bytes(pems[1])
    (folder / "chain.pem").write_bytes(pems[0] + pems[1])
    (folder / "key.pem").write_bytes(_pem(key))
    monkeypatch.setenv(c2pa.CERT_VARIABLE, str(folder / "chain.pem"))
    monkeypatch.setenv(c2pa.KEY_VARIABLE, str(folder / "key.pem"))
    return folder / "root.pem"


# Certificates


def test_the_certificate_is_made_once_and_kept_private(home: Path) -> None:
    made = c2pa.identity(home)
    assert c2pa.identity(home) == made
    assert made.own
    assert made.key not in repr(made)
    if sys.platform != "win32":
        files = [*(home / "signing").iterdir(), home / "signing"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600, 0o700}


def test_installations_do_not_share_certificates(tmp_path: Path) -> None:
    assert c2pa.identity(tmp_path / "a").chain != c2pa.identity(tmp_path / "b").chain


def test_the_leaf_is_what_the_profile_asks_for(home: Path) -> None:
    leaf, root = x509.load_pem_x509_certificates(c2pa.identity(home).chain.encode())
    leaf.verify_directly_issued_by(root)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == own.digest
    assert x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]) == (
        leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    )


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), "es256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ed25519.Ed25519PrivateKey.generate, "ed25519"),
        (lambda: rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_the_users_own_certificate_signs(
    make: Callable[[], Any],
    algorithm: str,
    take: Take,
    record: Record,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = _given(monkeypatch, tmp_path / "studio", make)
    assert c2pa.identity(home).algorithm == algorithm
    path = _sign(take, record, home, tmp_path)
    assert not (home / "signing").exists()
    found = c2pa.read(path, home)
    assert (found.state, found.trust) == ("valid", "unknown")
    monkeypatch.setenv(c2pa.ANCHORS_VARIABLE, str(root))
    found = c2pa.read(path, home)
    assert (found.state, found.trust) == ("valid", "trusted")
    assert "Studio" in found.signer


def test_a_key_without_a_certificate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(c2pa.KEY_VARIABLE, "key.pem")
    with pytest.raises(BadInput, match="Only one of"):
        c2pa.identity(home)


@pytest.mark.parametrize("trouble", ["missing", "text", "another key", "no algorithm", "encrypted"])
def test_a_certificate_that_cannot_be_used(
    trouble: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _given(monkeypatch, tmp_path / "studio")
    key = tmp_path / "studio" / "key.pem"
    if trouble == "missing":
        key.unlink()
    elif trouble == "text":
        key.write_text("not a key", encoding="utf-8")
    elif trouble == "another key":
        key.write_bytes(_pem(ec.generate_private_key(ec.SECP384R1())))
    elif trouble == "no algorithm":
        key.write_bytes(_pem(dsa.generate_private_key(1024)))
    else:
        secret = ec.generate_private_key(ec.SECP256R1())
        lock = serialization.BestAvailableEncryption(b"pass")
        key.write_bytes(
            secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        )
    with pytest.raises(BadInput, match=r"key\.pem"):
        c2pa.identity(home)


def test_a_certificate_that_ended(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _given(monkeypatch, tmp_path / "studio", days=-2)
    with pytest.raises(Refused, match="ended on"):
        c2pa.identity(home)


def test_anchors_that_cannot_be_read(signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(c2pa.ANCHORS_VARIABLE, str(tmp_path / "none.pem"))
    with pytest.raises(BadInput, match=r"none\.pem"):
        c2pa.read(signed, tmp_path / "another home")


@pytest.mark.parametrize("package", ["c2pa", "cryptography"])
def test_a_missing_package_is_named(package: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPart, match=package) as caught:
        c2pa.identity(home)
        c2pa.read(home / "any.mp4", home)
    assert caught.value.hint.startswith("pip install")


# Signing and reading


def test_what_is_signed_reads_valid_and_own(signed: Path, record: Record, home: Path) -> None:
    found = c2pa.read(signed, home)
    assert (found.state, found.trust, found.problems) == ("valid", "own", ())
    assert found.watermark == TAKE_ID
    assert found.consent_sha256 == record.digest
    assert found.source_type == metadata.COMPOSITE
    assert found.take["portrait_sha256"] == record.portrait_sha256
    assert "untrusted elsewhere" in found.trust_text


def test_elsewhere_the_signature_is_valid_and_unknown(signed: Path, tmp_path: Path) -> None:
    found = c2pa.read(signed, tmp_path / "another home")
    assert (found.state, found.trust) == ("valid", "unknown")
    assert not (tmp_path / "another home").exists()


def test_the_manifest_is_as_prescribed(signed: Path, record: Record) -> None:
    manifest = _manifest(signed)
    data = {item["label"]: item for item in manifest["assertions"]}
    created, placed, marked = data["c2pa.actions.v2"]["data"]["actions"]
    assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", metadata.COMPOSITE)
    assert (placed["action"], marked["action"]) == ("c2pa.placed", "c2pa.watermarked")
    assert data["c2pa.soft-binding"]["data"] == {
        "alg": c2pa.WATERMARK_ALGORITHM,
        "blocks": [{"scope": {}, "value": TAKE_ID}],
    }
    relations = [(item["title"], item["relationship"], item["label"]) for item in manifest["ingredients"]]
    assert [relation[:2] for relation in relations] == [
        ("portrait", "inputTo"),
        ("speech", "inputTo"),
        ("voice", "componentOf"),
    ]
    labels = [relation[2] for relation in relations]
    assert all(label.startswith("c2pa.ingredient.v3") for label in labels)
    inputs = [item["url"].rsplit("/", 1)[-1] for item in created["parameters"]["ingredients"]]
    outputs = [item["url"].rsplit("/", 1)[-1] for item in placed["parameters"]["ingredients"]]
    assert (inputs, outputs) == (labels[:2], labels[2:])
    assert data[c2pa.CONSENT_LABEL]["data"] == {"record_sha256": record.digest}


def test_consent_is_gathered_and_the_rest_created(signed: Path) -> None:
    with sdk.Reader(str(signed)) as reader:
        report = json.loads(reader.detailed_json())
    claim = next(iter(report["manifests"].values()))["claim"]
    created = " ".join(item["url"] for item in claim["created_assertions"])
    gathered = " ".join(item["url"] for item in claim["gathered_assertions"])
    assert c2pa.CONSENT_LABEL in gathered
    assert c2pa.CONSENT_LABEL not in created
    for label in ("c2pa.actions.v2", "c2pa.soft-binding", c2pa.TAKE_LABEL):
        assert label in created


def test_no_name_of_a_person_is_written(signed: Path) -> None:
    assert b"Ada Example" not in signed.read_bytes()


def test_a_portrait_keeps_its_own_c2pa(clip: Path, home: Path, tmp_path: Path, media: Path) -> None:
    portrait = _signed_portrait(media / "portrait_01.jpg", tmp_path, home)
    take = adopt_clip(Store(home), clip, portrait=portrait, frames=5)
    record = Ledger(home).record(Consent(face="self", voice="self"), take)
    path = _sign(take, record, home, tmp_path)
    assert c2pa.read(path, home).state == "valid"
    with sdk.Reader(str(path)) as reader:
        report = json.loads(reader.json())
    kept = _manifest(path)["ingredients"][0]["active_manifest"]
    assert len(report["manifests"]) == 2
    assert report["manifests"][kept]["title"] == "a photograph"


def _signed_portrait(source: Path, folder: Path, home: Path) -> Portrait:
    """A photograph from a camera that signs."""
    who = c2pa.identity(home)
    info = sdk.C2paSignerInfo(who.algorithm, who.chain.encode(), who.key.encode(), None)
    capture = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": capture}]}
    manifest = {
        "title": "a photograph",
        "claim_generator_info": [{"name": "camera", "version": "1"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": actions}],
    }
    with (
        sdk.Signer.from_info(info) as signer,
        sdk.Builder(manifest) as builder,
        source.open("rb") as reading,
        (folder / "camera.jpg").open("w+b") as writing,
    ):
        builder.sign(signer, "image/jpeg", reading, writing)
    return read_portrait(folder / "camera.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".bin", ""])
def test_ingredients_that_are_not_what_their_name_says(
    suffix: str, take: Take, record: Record, home: Path, tmp_path: Path
) -> None:
    named = take.folder / f"other{suffix}"
    take.portrait_file.rename(named)
    changed = Take.from_dict(take.to_dict() | {"portrait_file": named.name}, take.folder)
    path = _sign(changed, record, home, tmp_path)
    assert c2pa.read(path, home).state == "valid"
    assert [item["title"] for item in _manifest(path)["ingredients"]] == ["portrait", "speech", "voice"]


def test_files_without_a_signature(take: Take, home: Path, media: Path) -> None:
    for path in (take.master, media / "portrait_01.jpg", media / "LICENSES.md"):
        assert c2pa.read(path, home).state == "absent"


def test_a_full_disk_while_signing_is_told(take: Take, record: Record, home: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(BadOutput, match="could not be written"):
        c2pa.sign(take.master, full, take, record, metadata.TRAINED, c2pa.identity(home))


# Container


def test_tags_and_xmp_survive_signing(take: Take, record: Record, home: Path, tmp_path: Path) -> None:
    marked, signed = tmp_path / "marked.mp4", tmp_path / "out.mp4"
    remux(take.master, marked, metadata.tags(take))
    metadata.append_xmp(marked, take, metadata.TRAINED)
    c2pa.sign(marked, signed, take, record, metadata.TRAINED, c2pa.identity(home))
    tags = probe(signed).metadata
    assert json.loads(tags["AIGC"]) == {
        "Label": "1",
        "ContentProducer": "sonic_ext",
        "ProduceID": TAKE_ID,
        "ReservedCode1": "sonic_ext",
        "ContentPropagator": "sonic_ext",
        "PropagateID": TAKE_ID,
        "ReservedCode2": "",
    }
    assert tags["comment"].startswith("Sonic engine: preview")
    assert "Sonic seed: 7" in tags["comment"]
    assert metadata.read_source_type(signed) == metadata.TRAINED
    with signed.open("rb") as file:
        kinds = [kind for kind, _, _ in metadata.top_boxes(file)]
    assert kinds[0] == b"ftyp"
    assert kinds[-1] == b"uuid"
    assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_the_reason_for_no_label_is_not_published(clip: Path, home: Path) -> None:
    off = Settings(label="off", label_off_reason="a private matter", dynamic_scale=1.1)
    text = metadata.comment(adopt_clip(Store(home), clip, settings=off, frames=5))
    assert "private matter" not in text
    assert "Sonic label: off" in text
    assert "Sonic dynamic_scale: 1.1" in text


def test_a_registered_producer_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metadata.PRODUCER_VARIABLE, "001191110102MAC")
    assert json.loads(metadata.aigc_label(TAKE_ID))["ContentProducer"] == "001191110102MAC"
    for bad in ("two words", 'quo"te', "back\\slash", "名"):
        monkeypatch.setenv(metadata.PRODUCER_VARIABLE, bad)
        with pytest.raises(BadSetting, match="AIGC"):
            metadata.aigc_label(TAKE_ID)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"Label": 1}', "Label is not text"),
        ("{}", "missing"),
    ],
)
def test_broken_aigc_labels_are_told(text: str, problem: str) -> None:
    assert problem in " ".join(metadata.read_aigc(text).problems)


def test_good_aigc_labels_are_read() -> None:
    label = metadata.read_aigc(metadata.aigc_label(TAKE_ID))
    assert (label.problems, label.take) == ((), TAKE_ID)
    foreign = metadata.read_aigc(metadata.aigc_label(TAKE_ID).replace('1":"sonic_ext', '1":"'))
    assert (foreign.problems, foreign.take) == ((), "")


@pytest.mark.parametrize(
    ("framing", "synthetic", "expected"),
    [
        ("whole", False, metadata.COMPOSITE),
        ("whole", True, metadata.TRAINED),
        ("crop", False, metadata.TRAINED),
        ("crop", True, metadata.TRAINED),
    ],
)
def test_the_source_type_follows_framing_and_portrait(
    framing: str, synthetic: bool, expected: str, clip: Path, home: Path
) -> None:
    take = adopt_clip(Store(home), clip, settings=Settings(framing=framing), frames=5)
    assert metadata.digital_source_type(take, synthetic) == expected
    assert expected.startswith("http://cv.iptc.org/newscodes/digitalsourcetype/")


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"\0\0\0\1ftyp", b"\0\0\0\0uuid", b"\0\0\0\2ftyp" * 9, b"x" * 99]
)
def test_files_that_are_no_mp4_have_no_xmp(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(data)
    assert metadata.read_source_type(tmp_path / "odd") == ""


def test_the_marked_file_plays_to_the_end(signed: Path) -> None:
    with av.open(str(signed)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
