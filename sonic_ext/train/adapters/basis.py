"""On what legal basis faces and voices are learned from: a consent file beside them, or a statement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadInput, ConsentMissing
from ...files.digest import sha256_of
from ...provenance.consent import Consent

CONSENT_FILE = "consent.json"
"""In the folder of the videos: the fields of `Consent`, as `sonic export` takes them."""


@dataclass(frozen=True)
class LegalBasis:
    """What is written into an overlay and into the ledger."""

    kind: str
    """`consent file`, `statement`, or `miniature` for faces and voices that a miniature was trained on."""
    text: str
    """The statement, or the bases for face and voice. No names."""
    sha256: str = ""
    """Of the consent file."""

    def values(self) -> dict[str, str]:
        """For an overlay's metadata."""
        return {"kind": self.kind, "text": self.text, "sha256": self.sha256}


MINIATURE = LegalBasis("miniature", "faces and voices of a miniature: see its page")


def basis_of(folder: Path, stated: str = "") -> LegalBasis:
    """The basis for learning from the people in a folder.

    Args:
        folder: with the videos, and perhaps `CONSENT_FILE`.
        stated: what the operator states; counts before a file.

    Raises:
        ConsentMissing: neither file nor statement.
        ConsentExpired: the file's consent has ended.
        BadInput: the file cannot be read.
    """
    if stated.strip():
        return LegalBasis("statement", stated.strip())
    path = folder / CONSENT_FILE
    if not path.exists():
        raise ConsentMissing(
            f"{folder} has no {CONSENT_FILE}: nothing says that these people agreed to be learned from.",
            f"Put {CONSENT_FILE} there, as docs/training.md has it, or state the basis: --basis TEXT",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        consent = Consent.from_mapping(values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} cannot be read ({error}).", "Write the fields of a consent as JSON."
        ) from error
    consent.check()
    return LegalBasis("consent file", f"face {consent.face}, voice {consent.voice}", sha256_of(path))
