"""Consent: what an operator has to state, and what is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from made_takes import undrawn_take

from sonic_ext.errors import BadInput, BadSetting, ConsentExpired, ConsentMissing
from sonic_ext.provenance.consent import Basis, Consent
from sonic_ext.provenance.ledger import Ledger

TODAY = date.today()


@pytest.mark.parametrize("basis", [*Basis, *map(str, Basis), " Self ", "authorized"])
def test_every_basis_is_taken_as_text(basis: str) -> None:
    consent = Consent(face=basis, voice=basis)
    assert consent.face in set(Basis)
    assert consent.face == consent.voice


@pytest.mark.parametrize("part", ["face", "voice"])
@pytest.mark.parametrize("basis", ["", None, "friend", "yes", "self, authorised"])
def test_face_and_voice_need_a_basis_each(part: str, basis: str) -> None:
    values: dict[str, Any] = {"face": "self", "voice": "self", part: basis}
    with pytest.raises(ConsentMissing, match=part) as caught:
        Consent(**values)
    assert caught.value.exit_code == 3
    assert all(str(legal) in caught.value.hint for legal in Basis)


def test_consent_lasts_to_the_end_of_its_last_day() -> None:
    consent = Consent(face="self", voice="self", expires=TODAY)
    consent.check(today=TODAY)
    replace(consent, expires=date.today() + timedelta(days=1)).check()
    with pytest.raises(ConsentExpired, match=str(TODAY)):
        consent.check(today=TODAY + timedelta(days=1))


def test_text_is_accepted_for_every_field(tmp_path: Path) -> None:
    consent = Consent.from_mapping(
        {"face": "self", "voice": "estate", "expires": "2031-02-03", "evidence": str(tmp_path)}
    )
    assert (consent.expires, consent.evidence) == (date(2031, 2, 3), tmp_path)
    empty = Consent.from_mapping({"face": "self", "voice": "self", "expires": "", "evidence": ""})
    assert (empty.expires, empty.evidence) == (None, None)


@pytest.mark.parametrize("values", [{"expires": "tomorrow"}, {"expires": "2031-02-30"}, {"name": "x"}])
def test_other_text_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(BadSetting):
        Consent.from_mapping({"face": "self", "voice": "self", **values})


def test_empty_evidence_is_none(tmp_path: Path) -> None:
    """What a broken upload leaves; its hash would be that of nothing."""
    form = tmp_path / "form.pdf"
    form.touch()
    with pytest.raises(BadInput, match="is empty"):
        Consent(face="authorised", voice="self", evidence=form).check()
    with pytest.raises(BadInput, match="is empty"):
        Ledger().record(Consent(face="authorised", voice="self", evidence=form), undrawn_take())
    assert not Ledger().records()


def test_evidence_that_cannot_be_read(tmp_path: Path) -> None:
    consent = Consent(face="authorised", voice="self", evidence=tmp_path / "form.pdf")
    with pytest.raises(BadInput, match=r"form\.pdf"):
        Ledger().record(consent, undrawn_take())
    (tmp_path / "form.pdf").write_bytes(b"signed")
    assert Ledger().record(consent, undrawn_take()).evidence_sha256 == hashlib.sha256(b"signed").hexdigest()


def test_thin_consent_is_told() -> None:
    assert len(Consent(face="authorised", voice="self").warnings()) == 2
    assert Consent(face="self", voice="synthetic").warnings() == ()
