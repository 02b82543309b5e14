"""Certificates, signing and reading, and the other marks in the container."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import av
import c2pa as sdk
import pytest
from certificates import DAY, NOW, Certified, certified, pem, time_stamping
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from made_takes import TAKE_ID, adopt_clip, record_clip, some_portrait
from PIL import Image
from time_stamps import TimeStampAuthority

from sonic_ext.errors import BadInput, BadOutput, BadSetting, MissingPart, Refused
from sonic_ext.media.boxes import top_boxes
from sonic_ext.media.image import Portrait, read_portrait
from sonic_ext.media.video import probe, remux
from sonic_ext.provenance import c2pa, certificates, metadata
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.gate import export
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.records import Record
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import FIRST_WATERMARK, Take
from sonic_ext.provenance.watermark import ALGORITHM, ALGORITHMS
from sonic_ext.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


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
    c2pa.sign(take.master, target, take, record, metadata.COMPOSITE, certificates.identity(home))
    return target


def _manifest(path: Path) -> dict[str, Any]:
    with sdk.Reader(str(path)) as reader:
        report = json.loads(reader.json())
    return dict(report["manifests"][report["active_manifest"]])


def _given(monkeypatch: pytest.MonkeyPatch, folder: Path, who: Certified | None = None) -> Path:
    """A studio's own root, leaf and key; the environment names them. Returns the root."""
    who = who or certified()
    folder.mkdir(exist_ok=True)
    (folder / "root.pem").write_text(who.root_pem, encoding="ascii")
    (folder / "chain.pem").write_text(who.chain_pem, encoding="ascii")
    (folder / "key.pem").write_text(who.key_pem, encoding="ascii")
    monkeypatch.setenv(certificates.CERT_VARIABLE, str(folder / "chain.pem"))
    monkeypatch.setenv(certificates.KEY_VARIABLE, str(folder / "key.pem"))
    return folder / "root.pem"


# Certificates


def test_the_certificate_is_made_once_and_kept_private(home: Path) -> None:
    made = certificates.identity(home)
    assert certificates.identity(home) == made
    assert made.own
    assert made.key not in repr(made)
    if sys.platform != "win32":
        files = [*(home / "signing").iterdir(), home / "signing"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600, 0o700}


def test_installations_do_not_share_certificates(tmp_path: Path) -> None:
    assert certificates.identity(tmp_path / "a").chain != certificates.identity(tmp_path / "b").chain


def test_the_leaf_is_what_the_profile_asks_for(home: Path) -> None:
    leaf, root = x509.load_pem_x509_certificates(certificates.identity(home).chain.encode())
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
    root = _given(monkeypatch, tmp_path / "studio", certified(make=make))
    assert certificates.identity(home).algorithm == algorithm
    path = _sign(take, record, home, tmp_path)
    assert not (home / "signing").exists()
    found = c2pa.read(path, home)
    assert (found.state, found.trust) == ("valid", "own")
    assert "Studio" in found.signer
    monkeypatch.delenv(certificates.CERT_VARIABLE)
    assert c2pa.read(path, home).trust == "unknown"
    monkeypatch.setenv(certificates.ANCHORS_VARIABLE, str(root))
    found = c2pa.read(path, home)
    assert (found.state, found.trust) == ("valid", "trusted")


def test_a_key_without_a_certificate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(certificates.KEY_VARIABLE, "key.pem")
    with pytest.raises(BadInput, match="Only one of"):
        certificates.identity(home)


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
        key.write_text(certified().key_pem, encoding="ascii")
    elif trouble == "no algorithm":
        key.write_text(replace(certified(), key=dsa.generate_private_key(1024)).key_pem, encoding="ascii")
    else:
        secret = ec.generate_private_key(ec.SECP256R1())
        lock = serialization.BestAvailableEncryption(b"pass")
        key.write_bytes(
            secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        )
    with pytest.raises(BadInput, match=r"key\.pem"):
        certificates.identity(home)


@pytest.mark.parametrize(
    ("dates", "told"),
    [
        ({"begins": NOW - 9 * DAY, "ends": NOW - 2 * DAY}, "ended on"),
        ({"begins": NOW + 2 * DAY, "ends": NOW + 9 * DAY}, "begins only on"),
    ],
)
def test_a_certificate_that_is_not_valid_now(
    dates: dict[str, Any], told: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _given(monkeypatch, tmp_path / "studio", certified(**dates))
    with pytest.raises(Refused, match=told) as caught:
        certificates.identity(home)
    assert "clock" in caught.value.hint and certificates.CERT_VARIABLE in caught.value.hint


def test_the_own_certificate_begins_a_day_back(home: Path) -> None:
    """A clock that is set back by hours, or a time zone that was wrong, does not end the signatures."""
    for one in x509.load_pem_x509_certificates(certificates.identity(home).chain.encode()):
        age = datetime.now(timezone.utc) - certificates._utc(one, "not_valid_before")
        assert DAY <= age < DAY + timedelta(hours=1)


def test_an_installation_of_version_0_1_keeps_its_certificate(
    take: Take, record: Record, home: Path, tmp_path: Path
) -> None:
    """Its certificates began an hour before they were made."""
    old = certified(
        "Sonic installation", begins=NOW - timedelta(hours=1), root_begins=NOW - timedelta(hours=1)
    )
    (home / "signing").mkdir()
    for name, text in (("root", old.root_pem), ("chain", old.chain_pem), ("key", old.identity().key)):
        (home / "signing" / f"{name}.pem").write_text(text, encoding="ascii")
    path = _sign(take, record, home, tmp_path)
    assert c2pa.read(path, home).trust == "own"
    assert certificates.identity(home).chain == old.chain_pem


# Trust lists


def _signed_by(who: Certified, take: Take, record: Record, folder: Path, stamps: str = "") -> Path:
    target = folder / "by_somebody.mp4"
    signer = replace(who.identity(), stamps=stamps)
    assert c2pa.sign(take.master, target, take, record, metadata.COMPOSITE, signer) == ()
    return target


@pytest.mark.parametrize("form", ["file", "files", "folder", "bundle"])
def test_trust_lists_may_be_files_and_folders(
    form: str, take: Take, record: Record, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, other = certified("Studio"), certified("Another")
    path = _signed_by(who, take, record, tmp_path)
    lists = tmp_path / "信任 lists"
    lists.mkdir()
    (lists / "a.pem").write_text(other.root_pem, encoding="ascii")
    (lists / "notes.txt").write_text("no list", encoding="ascii")
    found = {
        "file": str(lists / "b.crt"),
        "files": os.pathsep.join(map(str, (lists / "a.pem", lists / "b.crt"))),
        "folder": str(lists),
        "bundle": str(lists / "a.pem"),
    }[form]
    monkeypatch.setenv(certificates.ANCHORS_VARIABLE, found)
    if form in ("folder", "bundle"):
        assert c2pa.read(path, home).trust == "unknown"
    if form == "bundle":
        bundle = f"# Another\n{other.root_pem}\n# Studio\n{who.root_pem}"
        (lists / "a.pem").write_text(bundle, encoding="ascii")
    else:
        (lists / "b.crt").write_text(who.root_pem, encoding="ascii")
    assert c2pa.read(path, home).trust == "trusted"


@pytest.mark.parametrize("trouble", ["missing", "text", "cut", "empty folder", "only a leaf"])
def test_a_trust_list_that_cannot_be_used_is_an_error(
    trouble: str, signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "list.pem"
    if trouble == "text":
        listed.write_text("not a certificate", encoding="ascii")
    elif trouble == "cut":
        listed.write_text(certified().root_pem.replace("\nM", "\n", 1), encoding="ascii")
    elif trouble == "empty folder":
        listed.mkdir()
    elif trouble == "only a leaf":
        listed.write_text(pem(certified().leaf), encoding="ascii")
    monkeypatch.setenv(certificates.ANCHORS_VARIABLE, str(listed))
    with pytest.raises(BadInput, match=r"list\.pem") as caught:
        c2pa.read(signed, tmp_path / "another home")
    assert caught.value.hint


def test_a_listed_root_that_ended_is_said(
    take: Take, record: Record, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = certified(root_ends=NOW - DAY)
    path = _signed_by(who, take, record, tmp_path)
    (tmp_path / "root.pem").write_text(who.root_pem, encoding="ascii")
    monkeypatch.setenv(certificates.ANCHORS_VARIABLE, str(tmp_path / "root.pem"))
    found = c2pa.read(path, home)
    assert (found.state, found.trust) == ("valid", "unknown")
    assert "Studio root is on a trust list here, and ended" in found.notes[0]


def test_who_shares_an_authority_with_this_installation_is_not_this_installation(
    take: Take, record: Record, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One authority, two customers; this computer signs as one of them and lists no authority."""
    ours = certified("Studio")
    theirs = certified("Rival", above=ours)
    _given(monkeypatch, tmp_path / "studio", ours)
    assert c2pa.read(_signed_by(ours, take, record, tmp_path), home).trust == "own"
    assert c2pa.read(_signed_by(theirs, take, record, tmp_path), home).trust == "unknown"


def test_a_name_is_no_proof(take: Take, record: Record, home: Path, tmp_path: Path) -> None:
    """A certificate that calls itself as ours does, down to its serial number."""
    own, root = x509.load_pem_x509_certificates(certificates.identity(home).chain.encode())
    names = [one.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value for one in (own, root)]
    forged = certified(str(names[0]), serial=own.serial_number)
    path = _signed_by(forged, take, record, tmp_path)
    found = c2pa.read(path, home)
    assert str(names[0]) in found.signer
    assert (found.state, found.trust) == ("valid", "unknown")


# Time stamps


def test_a_time_stamp_is_off_by_default(home: Path) -> None:
    assert certificates.identity(home).stamps == ""


@pytest.mark.parametrize("address", ["tsa.example.com", "file:///tsa", "http://"])
def test_an_address_that_is_none_of_the_web(
    address: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(certificates.STAMPS_VARIABLE, address)
    with pytest.raises(BadSetting, match="time-stamp authority"):
        certificates.identity(home)


def test_a_time_stamp_is_asked_for_kept_and_shown(
    take: Take, record: Record, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time_stamping("Clock")
    with TimeStampAuthority(clock).serving() as authority:
        monkeypatch.setenv(certificates.STAMPS_VARIABLE, authority.url)
        path = _sign(take, record, home, tmp_path)
        assert authority.asked == 1
        found = c2pa.read(path, home)
        assert authority.asked == 1, "reading stays off the network"
    assert (found.state, found.trust) == ("valid", "own")
    assert found.time_stamp is not None
    assert (found.time_stamp.authority, found.time_stamp.trusted) == ("Clock", False)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found.time_stamp.time)
    assert timedelta() <= age < timedelta(hours=1)
    (tmp_path / "clock.pem").write_text(clock.root_pem, encoding="ascii")
    monkeypatch.setenv(certificates.ANCHORS_VARIABLE, str(tmp_path / "clock.pem"))
    found = c2pa.read(path, home)
    assert found.time_stamp is not None
    assert (found.trust, found.time_stamp.trusted) == ("own", True)


@pytest.mark.parametrize("trouble", ["broken", "nobody"])
def test_without_the_authority_it_is_signed_all_the_same(
    trouble: str, take: Take, record: Record, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.mp4"
    with TimeStampAuthority(time_stamping(), broken=True).serving() as authority:
        address = authority.url if trouble == "broken" else "http://127.0.0.1:9/nobody"
        monkeypatch.setenv(certificates.STAMPS_VARIABLE, address)
        signer = certificates.identity(home)
        said = c2pa.sign(take.master, target, take, record, metadata.COMPOSITE, signer)
    assert len(said) == 1 and "without a time stamp" in said[0] and address in said[0]
    found = c2pa.read(target, home)
    assert (found.state, found.trust, found.time_stamp) == ("valid", "own", None)


def test_a_stamp_for_another_signature_is_left_out_of_account(
    take: Take, record: Record, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two differ in one byte of the token's imprint, which is not hashed by anything."""
    with TimeStampAuthority(time_stamping("Clock")).serving() as authority:
        monkeypatch.setenv(certificates.STAMPS_VARIABLE, authority.url)
        path = _sign(take, record, home, tmp_path)
    data = bytearray(path.read_bytes())
    start = data.index(bytes.fromhex("0609608648016503040201"), data.index(b"c2pa.signature"))
    start = data.index(bytes.fromhex("060b2a864886f70d0109100104"), start)  # the token's contents
    data[data.index(bytes.fromhex("0420"), start) + 5] ^= 0xFF
    path.write_bytes(data)
    found = c2pa.read(path, home)
    assert (found.state, found.trust, found.time_stamp) == ("valid", "own", None)
    assert any("does not belong" in note for note in found.notes)


@pytest.mark.parametrize("package", ["c2pa", "cryptography"])
def test_a_missing_package_is_named(package: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPart, match=package) as caught:
        certificates.identity(home)
        c2pa.read(home / "any.mp4", home)
    assert caught.value.hint.startswith("pip install")


# Signing and reading


def test_what_is_signed_reads_valid_and_own(signed: Path, record: Record, home: Path) -> None:
    found = c2pa.read(signed, home)
    assert (found.state, found.trust, found.problems) == ("valid", "own", ())
    assert found.watermark == TAKE_ID
    assert found.consent_sha256 == record.digest
    assert found.source_type == metadata.COMPOSITE
    assert found.take["portrait_salted"] == c2pa.salted_sha256(record.nonce, record.portrait_sha256)
    assert "untrusted elsewhere" in found.trust_text


def test_elsewhere_the_signature_is_valid_and_unknown(signed: Path, tmp_path: Path) -> None:
    found = c2pa.read(signed, tmp_path / "another home")
    assert (found.state, found.trust) == ("valid", "unknown")
    assert not (tmp_path / "another home").exists()


def test_the_manifest_is_as_prescribed(signed: Path, record: Record) -> None:
    manifest = _manifest(signed)
    data = {item["label"]: item for item in manifest["assertions"]}
    listed = data["c2pa.actions.v2"]["data"]
    assert listed["allActionsIncluded"] is True
    created, text, marked, placed, described = listed["actions"]
    assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", metadata.COMPOSITE)
    assert (placed["action"], described["action"]) == ("c2pa.placed", "c2pa.edited.metadata")
    assert (text["action"], text["digitalSourceType"]) == ("c2pa.addedText", c2pa.DRAWN)
    assert Settings().label_text in text["description"]
    assert text["changes"] == [{"region": [{"type": "temporal", "time": SHOWN}]}]
    # the watermark's algorithm is on no list of C2PA's, so it is no soft binding
    assert marked["action"] == "c2pa.watermarked.unbound"
    assert "c2pa.soft-binding" not in data
    assert data[c2pa.WATERMARK_LABEL]["data"] == {
        "alg": ALGORITHM,
        "value": TAKE_ID,
        "readable": False,
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


SHOWN = {"type": "npt", "start": "0", "end": "0.2"}
"""A label for three seconds in a video of five frames."""


@pytest.mark.parametrize(("label", "end"), [("throughout", "12"), ("start", "3"), ("off", None)])
def test_the_visible_label_is_an_action_of_its_own(
    label: str, end: str | None, take: Take, record: Record, home: Path, tmp_path: Path
) -> None:
    settings = Settings(label=label, label_off_reason="art" if label == "off" else "")
    path = _sign(replace(take, settings=settings, seconds=12.0), record, home, tmp_path)
    listed = next(item for item in _manifest(path)["assertions"] if item["label"] == "c2pa.actions.v2")
    texts = [one for one in listed["data"]["actions"] if one["action"] == "c2pa.addedText"]
    assert [one["changes"][0]["region"][0]["time"]["end"] for one in texts] == ([end] if end else [])


@pytest.mark.parametrize("readable", [True, False])
def test_whether_the_watermark_was_readable_is_stated(
    readable: bool, take: Take, record: Record, home: Path, tmp_path: Path
) -> None:
    path = _sign(replace(take, mark_read=readable), record, home, tmp_path)
    assert c2pa.read(path, home).readable is readable


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_watermark_that_the_take_has_is_named(
    algorithm: str, take: Take, record: Record, home: Path, tmp_path: Path
) -> None:
    """A take of an earlier version carries the watermark of its time."""
    path = _sign(replace(take, mark_algorithm=algorithm), record, home, tmp_path)
    data = {item["label"]: item["data"] for item in _manifest(path)["assertions"]}
    assert data[c2pa.WATERMARK_LABEL]["alg"] == algorithm
    assert c2pa.read(path, home).watermark == TAKE_ID


def test_what_version_0_1_wrote_is_read() -> None:
    """Its watermark was a soft binding; the file is the one that the README shows."""
    found = c2pa.read(ROOT / "tests" / "data" / "hello_0_1.mp4")
    assert (found.state, found.trust, found.readable) == ("valid", "unknown", None)
    assert found.watermark == metadata.take_id(found.watermark) != ""
    assert len(found.consent_sha256) == 64
    assert found.take["engine"] == "preview"


@pytest.mark.parametrize(
    "assertion",
    [
        (c2pa.WATERMARK_LABEL, {"value": "<b>not an id</b>", "readable": "yes"}),
        (c2pa.WATERMARK_LABEL, {"value": ["0123456789abcdef"]}),
        (c2pa.WATERMARK_LABEL, {"value": "0123456789ABCDEF"}),
        ("c2pa.soft-binding", {"alg": FIRST_WATERMARK, "blocks": []}),
        (c2pa.CONSENT_LABEL, {"record_sha256": 7}),
        (c2pa.CONSENT_LABEL, ["record_sha256"]),
        (c2pa.TAKE_LABEL, {"engine": {"deep": []}}),
    ],
)
def test_a_strangers_manifest_may_say_anything(
    assertion: tuple[str, Any], take: Take, home: Path, tmp_path: Path
) -> None:
    label, data = assertion
    path = _foreign(take.master, tmp_path / "odd.mp4", certified("Stranger"), label, data)
    found = c2pa.read(path, home)
    assert (found.state, found.trust) == ("valid", "unknown")
    assert (found.watermark, found.readable, found.consent_sha256, found.take) == ("", None, "", {})


def _foreign(source: Path, target: Path, who: Certified, label: str, data: Any) -> Path:
    """A video signed by another tool that writes one assertion under a name of ours."""
    made = {"action": "c2pa.created", "digitalSourceType": metadata.TRAINED}
    manifest = {
        "title": "odd",
        "claim_generator_info": [{"name": "another tool", "version": "1"}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [made]}},
            {"label": label, "data": data},
        ],
    }
    return who.sign(manifest, source, target)


# Hashes


def test_two_videos_of_one_person_share_no_hash(home: Path, tmp_path: Path) -> None:
    """Two exports of one portrait and one speech; what they share is the installation's certificate."""
    portrait = _with_xmp(some_portrait())
    files = [_exported(home, tmp_path / name, portrait, name) for name in ("0" * 15 + "1", "f" * 16)]
    first, second = ([*_strings(sdk.Reader(str(file)))] for file in files)
    hashes = [{text for text in texts if _looks_random(text)} for texts in (first, second)]
    assert len(hashes[0]) > 15
    common = hashes[0] & hashes[1]
    leaf = x509.load_pem_x509_certificates(certificates.identity(home).chain.encode())[0]
    assert {int(text, 16) for text in common} == {leaf.serial_number}
    data = [file.read_bytes() for file in files]
    record = Ledger(home).records()[0]
    for value in (record.portrait_sha256, record.portrait_pixel_sha256, record.audio_sha256):
        for form in (value.encode(), bytes.fromhex(value), base64.b64encode(bytes.fromhex(value))):
            assert not any(form in one for one in data)
    assert not any(b"SECRET" in one for one in data)


def test_the_holder_of_the_record_can_prove_the_portrait(
    signed: Path, record: Record, take: Take, home: Path
) -> None:
    made = c2pa.read(signed, home).take
    kept = Ledger(home).show(record.id)
    for name, value in (
        ("portrait_salted", hashlib.sha256(take.portrait_file.read_bytes()).hexdigest()),
        ("portrait_pixel_salted", take.portrait_pixel_sha256),
        ("speech_salted", hashlib.sha256(take.audio_file.read_bytes()).hexdigest()),
    ):
        assert made[name] == c2pa.salted_sha256(kept.nonce, value)
        assert made[name] != c2pa.salted_sha256("00" * 16, value)


def test_plain_hashes_are_a_choice(
    take: Take, record: Record, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(c2pa.HASHES_VARIABLE, "plain")
    made = c2pa.read(_sign(take, record, home, tmp_path), home).take
    assert (made["portrait_sha256"], made["speech_sha256"]) == (take.portrait_sha256, take.audio_sha256)
    assert "portrait_salted" not in made
    monkeypatch.setenv(c2pa.HASHES_VARIABLE, "peppered")
    with pytest.raises(BadSetting, match="peppered"):
        _sign(take, record, home, tmp_path)


def _exported(home: Path, folder: Path, portrait: Portrait, take_id: str) -> Path:
    folder.mkdir()
    record_clip(folder, Settings(), 5, take_id)
    by_hand = Settings(face_box=(10.25, 12.5, 50.75, 60.0))
    take = adopt_clip(Store(home), folder, take_id=take_id, portrait=portrait, settings=by_hand, frames=5)
    return export(take, folder / "out.mp4", Consent(face="self", voice="self")).path


def _with_xmp(portrait: Portrait) -> Portrait:
    """The same as a JPEG that was in an editor, which gave it an id."""
    rdf = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" '
        'xmpMM:DocumentID="xmp.did:SECRET" xmpMM:InstanceID="xmp.iid:SECRET"/></rdf:RDF></x:xmpmeta>'
    )
    body = b"http://ns.adobe.com/xap/1.0/\0" + rdf.encode()
    picture = io.BytesIO()
    Image.fromarray(portrait.rgb).save(picture, "JPEG")
    data = picture.getvalue()
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    return replace(portrait, data=data, media_type="image/jpeg", sha256=hashlib.sha256(data).hexdigest())


def _strings(reader: Any) -> Iterator[str]:
    """Every text in a manifest store, and lists of bytes as hex."""
    with reader:
        waiting = [json.loads(reader.detailed_json()), json.loads(reader.crjson())]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list) and len(value) > 15 and all(isinstance(one, int) for one in value):
            yield bytes(value).hex()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            yield value


def _looks_random(text: str) -> bool:
    """Hashes, ids and the like: long, of hex digits or base64; the box types of C2PA are constants."""
    if text in ("2P7D1hsOSDySl1goh37EgQ==", "d8fec3d61b0e483c92975828877ec481"):
        return False
    text = text.removeprefix("b64'").rstrip("'").removeprefix("xmp.iid:").replace("-", "")
    return bool(re.fullmatch(r"[0-9a-f]{16,}", text) or re.fullmatch(r"[A-Za-z0-9+/]{22,}={0,2}", text))


def test_consent_is_gathered_and_the_rest_created(signed: Path) -> None:
    with sdk.Reader(str(signed)) as reader:
        report = json.loads(reader.detailed_json())
    claim = next(iter(report["manifests"].values()))["claim"]
    created = " ".join(item["url"] for item in claim["created_assertions"])
    gathered = " ".join(item["url"] for item in claim["gathered_assertions"])
    assert c2pa.CONSENT_LABEL in gathered
    assert c2pa.CONSENT_LABEL not in created
    for label in ("c2pa.actions.v2", c2pa.WATERMARK_LABEL, c2pa.TAKE_LABEL):
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
    who = certificates.identity(home)
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
        c2pa.sign(take.master, full, take, record, metadata.TRAINED, certificates.identity(home))


# Container


def test_tags_and_xmp_survive_signing(take: Take, record: Record, home: Path, tmp_path: Path) -> None:
    marked, signed = tmp_path / "marked.mp4", tmp_path / "out.mp4"
    remux(take.master, marked, metadata.tags(take))
    metadata.append_xmp(marked, take, metadata.TRAINED)
    c2pa.sign(marked, signed, take, record, metadata.TRAINED, certificates.identity(home))
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
        kinds = [kind for kind, _, _ in top_boxes(file)]
    assert kinds[0] == b"ftyp"
    assert kinds[-1] == b"uuid"
    assert kinds.index(b"moov") < kinds.index(b"mdat")


def test_the_reason_for_no_label_is_not_published(clip: Path, home: Path) -> None:
    off = Settings(label="off", label_off_reason="a private matter", dynamic_scale=1.1)
    text = metadata.comment(adopt_clip(Store(home), clip, settings=off, frames=5))
    assert "private matter" not in text
    assert "Sonic label: off" in text
    assert "Sonic dynamic_scale: 1.1" in text


def test_places_given_by_hand_are_not_published(clip: Path, home: Path) -> None:
    """They are numbers of the portrait: the same in all its videos."""
    by_hand = Settings(face_box=(1, 2, 33, 44), mouth=(9, 30, 21, 30), eyes=(9, 9, 21, 9))
    text = metadata.comment(adopt_clip(Store(home), clip, settings=by_hand, frames=5))
    assert not re.search(r"face_box|mouth|eyes|33", text)


def test_a_registered_producer_may_be_named() -> None:
    label = json.loads(metadata.aigc_label(TAKE_ID, "001191110102MAC"))
    assert label["ContentProducer"] == "001191110102MAC"
    for bad in ("two words", 'quo"te', "back\\slash", "名"):
        with pytest.raises(BadSetting, match="AIGC"):
            metadata.aigc_label(TAKE_ID, bad)


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
    "id", ["", "0123", TAKE_ID.upper(), TAKE_ID + "0", "<b>bold</b>!!!!", "0x23456789abcdef"]
)
def test_an_id_counts_only_in_its_form(id: str) -> None:
    label = metadata.read_aigc(metadata.aigc_label(TAKE_ID).replace(TAKE_ID, id))
    assert (label.problems, label.take) == ((), "")
    assert label.fields["ProduceID"] == id


@pytest.mark.parametrize(
    ("framing", "synthetic", "expected"),
    [
        ("whole", False, metadata.COMPOSITE),
        ("whole", True, metadata.TRAINED),
        ("crop", False, metadata.TRAINED),
        ("crop", True, metadata.TRAINED),
        ("published", False, metadata.COMPOSITE),  # with the preview engine
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
