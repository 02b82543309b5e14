"""Every error that this package raises on purpose.

    SonicError
    ├── BadInput            exit 2, HTTP 422    the caller can mend it
    │   ├── BadSetting
    │   ├── BadPortrait     unreadable picture, or a face that cannot be used
    │   │   └── NoFace
    │   ├── BadAudio
    │   ├── BadVideo
    │   ├── BadOutput       exists already, cannot be written
    │   ├── TooLarge        exit 2, HTTP 413    more bytes than are taken
    │   ├── NotFound        exit 2, HTTP 404    no such job, or no longer
    │   └── WrongTime       exit 2, HTTP 409    not finished yet, or done already
    ├── Refused             exit 3, HTTP 403    the gate says no
    │   ├── ConsentMissing
    │   ├── ConsentExpired
    │   ├── ConsentRevoked
    │   └── LooksRevoked    not refused for good: a written reason is asked for
    ├── Tampered            exit 3, HTTP 409    the consent ledger was altered
    ├── MissingPart         exit 4, HTTP 503    something has to be installed
    │   └── BadWeights      a model file that is damaged, foreign or unsafe
    ├── Failed              exit 1, HTTP 500    the work itself went wrong
    │   ├── OutOfMemory     nothing smaller was left to try
    │   ├── BrokenNumbers   a network gave infinities or not-a-numbers
    │   ├── WorkerLost      the process or computer that did it is gone
    │   │   └── DeviceLost  its graphics card failed: the process lives, and can use the card no more
    │   └── Busy            exit 1, HTTP 503    too much is waiting already
    └── Cancelled           exit 130, HTTP 409  told to stop

Each carries one sentence on what happened (`message`) and one on what to do (`hint`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cache

_log = logging.getLogger(__name__)
DEVICE_FAILED = ("CUDA error: ", "HIP error: ", "cuDNN error: ")
"""How torch begins what it says of a card that fails; memory that runs out is caught where it may."""


class SonicError(Exception):
    """Root of the tree; `str(error)` is message and hint together."""

    exit_code = 1
    http_status = 500
    default_hint = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        super().__init__(message, self.hint)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class BadInput(SonicError):
    """Input that cannot be used as it is."""

    exit_code = 2
    http_status = 422


class BadSetting(BadInput):
    """A setting with an unknown name or a value outside its range."""


class BadPortrait(BadInput):
    """A picture that cannot be read, or whose face cannot be animated."""


class NoFace(BadPortrait):
    """No face was found in the picture."""

    default_hint = "Use a picture with one clear face, or give the box by hand (face_box)."


class BadAudio(BadInput):
    """Sound that cannot be read or holds nothing to animate."""


class BadVideo(BadInput):
    """A video file, or a picture that is to be verified, that cannot be read."""


class BadOutput(BadInput):
    """A place that the result cannot be written to."""


class TooLarge(BadInput):
    """More bytes than are taken."""

    http_status = 413


class NotFound(BadInput):
    """Something was named that is not there, or not any more."""

    http_status = 404


class WrongTime(BadInput):
    """Asked for too early, or twice."""

    http_status = 409


class Refused(SonicError):
    """The gate refuses to let a video out."""

    exit_code = 3
    http_status = 403


class ConsentMissing(Refused):
    """No consent, or consent on a basis that is not known."""


class ConsentExpired(Refused):
    """The consent ended before today."""


class ConsentRevoked(Refused):
    """The consent for this portrait was taken back."""


class LooksRevoked(Refused):
    """The portrait looks like a revoked one; whoever exports has to say in writing that it is another."""


class Tampered(SonicError):
    """The consent ledger does not match its own hash chain."""

    exit_code = 3
    http_status = 409
    default_hint = "Restore the ledger from a backup; nothing is exported until its chain is whole."


class MissingPart(SonicError):
    """An optional part or a model file that is not installed; the hint brings it."""

    exit_code = 4
    http_status = 503


class BadWeights(MissingPart):
    """A model file that is there but cannot be used: cut short, of another model, or not safe to open."""


class Failed(SonicError):
    """The input was good and everything was there, and yet it could not be done."""


class OutOfMemory(Failed):
    """The device's memory does not hold the work, not even in the smallest pieces."""


class BrokenNumbers(Failed):
    """A network's output holds infinities or not-a-numbers."""


class WorkerLost(Failed):
    """The process or the computer that did the work is gone: it is done again by another."""


class DeviceLost(WorkerLost):
    """A graphics card failed: the process that used it gets the same error of every call from now on."""

    default_hint = (
        "Start the program again and ask for the video once more. Where it happens again, look at the card's "
        "driver and its temperature, or choose engine=preview."
    )


class Busy(Failed):
    """Too much is waiting already."""

    http_status = 503


class Cancelled(SonicError):
    """The caller asked to stop."""

    exit_code = 130
    http_status = 409

    def __init__(self, message: str = "Stopped as asked.", hint: str = "Nothing was exported.") -> None:
        super().__init__(message, hint)


def as_error(problem: BaseException) -> SonicError:
    """The problem in this package's own terms, without the frames that it came through and what they hold.

    What nobody foresaw goes to the log with its traceback.
    """
    if isinstance(problem, SonicError):
        return type(problem)(problem.message, problem.hint)
    if (lost := device_lost(problem)) is not None:
        _log.warning("%s: %s", lost.message, problem)
        return lost
    _log.error("an error that nobody foresaw", exc_info=problem)
    return Failed(
        f"Something went wrong inside ({type(problem).__name__}).",
        "The window that it was started from shows the details; please report them.",
    )


def device_lost(problem: BaseException) -> DeviceLost | None:
    """What torch raises of a card that failed, in this package's own terms; None for any other problem."""
    said = str(problem)
    if not (isinstance(problem, RuntimeError) and said.startswith(DEVICE_FAILED)):
        return None
    return DeviceLost(f"The graphics card failed ({said.splitlines()[0]}).")


def error_values(error: SonicError) -> dict[str, str]:
    """An error as plain JSON: its class, what happened, what to do."""
    return {"error": type(error).__name__, "detail": error.message, "hint": error.hint}


def error_from(values: Mapping[str, str]) -> SonicError:
    """The error that `error_values` came from; the root of the tree for a class that is no longer known."""
    return _class_named(values["error"])(values["detail"], values["hint"])


@cache
def _class_named(name: str) -> type[SonicError]:
    return next((each for each in tree() if each.__name__ == name), SonicError)


def tree(root: type[SonicError] = SonicError) -> Iterator[type[SonicError]]:
    """A class of errors and all below it."""
    yield root
    for each in root.__subclasses__():
        yield from tree(each)
