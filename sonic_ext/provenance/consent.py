"""What the operator states before an export: on what ground a face and a voice are used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from ..errors import BadInput, BadSetting, ConsentExpired, ConsentMissing
from ..files.digest import sha256_of
from ..text import is_whole

NOTICE_VERSION = "1"
"""Version of `NOTICE`; written to every record."""

NOTICE = (
    "The video will show this face speaking with this voice and will be marked as AI generated. "
    "You state that the person shown and the person heard are yourself, agreed to it, are wholly synthetic, "
    "or that the person's estate agreed. Names stay on this computer. The record holds hashes of the "
    "portrait, the sound and the video, and can be revoked; revoking stops further exports of the portrait."
)
"""What is agreed to; front ends show it next to the consent boxes."""


SECOND = {"face_2": "second face", "voice_2": "second voice"}
"""What is stated of a second person, where a video shows two → what that is."""


class Basis(str, Enum):
    """On what ground a face or a voice may be used."""

    SELF = "self"
    """The operator's own face or voice."""
    AUTHORISED = "authorised"
    """The person agreed."""
    SYNTHETIC = "synthetic"
    """Nobody's: generated, or spoken by a synthesiser that imitates no one."""
    ESTATE = "estate"
    """The person is dead and the estate agreed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Consent:
    """What the operator states before an export. Text is accepted for every field.

    Raises:
        ConsentMissing: no basis, or one that is not in `Basis`.
        BadSetting: `expires` is not a date.
    """

    face: str = ""
    """Basis for the face; a `Basis` once built."""
    voice: str = ""
    """Basis for the voice; a `Basis` once built."""
    purpose: str = ""
    """What the video is for."""
    expires: date | None = None
    """Last day on which exports are allowed; None for no end."""
    contact: str = ""
    """Where consent can be revoked: an address or a telephone number."""
    operator: str = ""
    """Who exports."""
    subject: str = ""
    """Names of the persons shown and heard; kept in the ledger, never in a video."""
    evidence: Path | None = None
    """A signed form or the like; only its SHA-256 is kept."""
    unlike_reason: str = ""
    """Why the portrait is not the revoked one that it looks like; asked for only then (`LooksRevoked`)."""
    notice_version: str = NOTICE_VERSION
    """Version of the notice that was shown."""
    face_2: str = ""
    """Basis for the face of the second person, where two are shown; "" for none."""
    voice_2: str = ""
    """Basis for the voice of the second person, where two are heard; "" for none."""

    def __post_init__(self) -> None:
        for part in ("face", "voice"):
            object.__setattr__(self, part, _basis(part, getattr(self, part)))
        for name, part in SECOND.items():
            if str(getattr(self, name) or "").strip():
                object.__setattr__(self, name, _basis(part, getattr(self, name)))
        object.__setattr__(self, "expires", parsed_date(self.expires))
        for name in ("purpose", "contact", "operator", "subject", "unlike_reason"):
            if not is_whole(str(getattr(self, name))):
                raise BadInput(f"{name} holds characters that are none.", "Write whole characters.")
        evidence = Path(self.evidence) if self.evidence else None
        object.__setattr__(self, "evidence", evidence)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Consent:
        """Consent from names and text, as command lines and forms have them.

        Raises:
            BadSetting: a name that is not a field; otherwise as the class.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise BadSetting(f"Consent has no field {name!r}.", f"Fields: {', '.join(known)}.")
        return cls(**values)

    def to_dict(self) -> dict[str, str]:
        """Text for every field, as `from_mapping` takes it; without what is not said of a second person."""
        values = {name: getattr(self, name) for name in type(self).__dataclass_fields__}
        said = {name: "" if value is None else str(value) for name, value in values.items()}
        return {name: text for name, text in said.items() if text or name not in SECOND}

    def check(self, today: date | None = None) -> None:
        """Check the day and the evidence.

        Raises:
            ConsentExpired: `expires` lies before `today` (the local day by default).
            BadInput: the evidence cannot be read.
        """
        if self.expires is not None and self.expires < (today or date.today()):
            raise ConsentExpired(
                f"The consent ended on {self.expires}.", "Ask for a new consent and give its date."
            )
        self.evidence_sha256()

    def require_each(self, persons: int) -> None:
        """Refuse a consent that does not speak for everybody who is shown and heard.

        Args:
            persons: 1 or 2.

        Raises:
            ConsentMissing: face or voice of the second person are left out.
        """
        if persons > 1:
            for name, part in SECOND.items():
                _basis(part, getattr(self, name))

    def evidence_sha256(self) -> str:
        """SHA-256 of the evidence file, or "" where none is given.

        Raises:
            BadInput: it cannot be read, or is empty: the hash of nothing would stand for an agreement.
        """
        if self.evidence is None:
            return ""
        try:
            if self.evidence.stat().st_size == 0:
                raise BadInput(
                    f"The evidence {self.evidence} is empty.",
                    "Give a file, such as a scan of the signed form.",
                )
            return sha256_of(self.evidence)
        except OSError as error:
            raise BadInput(
                f"The evidence {self.evidence} cannot be read: {error.strerror or error}.",
                "Give a file, such as a scan of the signed form.",
            ) from error

    def warnings(self) -> tuple[str, ...]:
        """Sentences about consent that is accepted but thin."""
        asked = {self.face, self.voice, self.face_2, self.voice_2} & {Basis.AUTHORISED, Basis.ESTATE}
        rules = (
            (bool(asked) and self.evidence is None, "No evidence is given: keep the signed form at hand."),
            (bool(asked) and not self.contact.strip(), "No contact is given: nobody can ask to revoke."),
        )
        return tuple(text for holds, text in rules if holds)


def _basis(part: str, value: object) -> Basis:
    legal = ", ".join(map(str, Basis))
    text = str(value or "").strip().lower().replace("authorized", "authorised")
    if not text:
        raise ConsentMissing(f"Consent for the {part} is missing.", f"Say on what basis: {legal}.")
    try:
        return Basis(text)
    except ValueError:
        raise ConsentMissing(f"{text!r} is no basis for using a {part}.", f"Use one of {legal}.") from None


def parsed_date(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    text = str(value or "").strip()
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise BadSetting(f"expires={text!r} is not a date.", "Write it as 2027-12-31.") from None
