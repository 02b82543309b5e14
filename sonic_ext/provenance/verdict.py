"""What the marks of a video can amount to. `Verification.verdict` decides which it is."""

from __future__ import annotations

from enum import Enum


class Verdict(str, Enum):
    """In the order in which they are decided: the first one that holds."""

    exit_code: int
    """Of `sonic verify`."""
    banner: str
    """How a page shows it: good, note, warning or error."""
    meaning: str
    """One clause."""

    def __new__(cls, value: str, exit_code: int, banner: str, meaning: str) -> Verdict:
        made = str.__new__(cls, value)
        made._value_ = value
        made.exit_code, made.banner, made.meaning = exit_code, banner, meaning
        return made

    ALTERED = (
        "altered",
        3,
        "error",
        "file or signature were changed after it was signed",
    )
    CONTRADICTION = (
        "contradiction",
        3,
        "error",
        "a mark says what another one, the picture or this computer's ledger denies",
    )
    TIME = (
        "time problem",
        7,
        "warning",
        "nothing was changed, but the signer's certificate is not valid at the time that counts: it has "
        "ended or not begun, or a clock is wrong",
    )
    INTACT = (
        "intact",
        0,
        "good",
        "as it was when it was signed, by this installation or under a root that is trusted here",
    )
    UNKNOWN_SIGNER = (
        "unknown signer",
        6,
        "warning",
        "nothing was changed, but it was signed by somebody nobody here vouches for",
    )
    PREVIEW = (
        "preview",
        5,
        "note",
        "says that it is a stamped preview of this tool; those are not signed",
    )
    METADATA_LOST = (
        "metadata lost",
        5,
        "warning",
        "the watermark is in the picture, the signature is gone",
    )
    LABELS_ONLY = (
        "labels only",
        5,
        "warning",
        "labels name this tool, and nothing bears them out",
    )
    UNMARKED = (
        "unmarked",
        5,
        "note",
        "no mark of this tool",
    )

    def __str__(self) -> str:
        return self.value
