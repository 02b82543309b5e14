"""What a long piece of work says of itself, and how it is asked to stop.

    tick = Ticker(progress)
    tick(Stage.DRAWING, 3, 250)          # progress.report(Step(…)); raises Cancelled where it says so

Stages are named, so that whoever shows them knows which take long.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from .errors import Cancelled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Stage(str, Enum):
    """What is being done. The values are shown to the user and are `stage` in the API: they do not change."""

    WAITING = "waiting for another video"
    INTERRUPTED = "interrupted; waiting to be continued"
    WAITING_FOR_JOB = "waiting for another job"
    WAITING_FOR_DEVICE = "waiting for another video on this device"
    STARTING = "starting"
    CHECKING = "checking"
    MAKING_PORTRAIT = "making the portrait"
    FINDING_FACE = "finding the face"
    FITTING_FACE = "fitting the face"
    LOOKING_AT_PORTRAIT = "looking at the portrait"
    READING_SPEECH = "reading the speech"
    CHECKING_SPEECH = "checking the speech"
    DENOISING = "denoising"
    DRAWING = "drawing frames"
    DECODING = "decoding frames"
    SIGNING = "signing"
    READING_MARKS = "reading the marks"
    FINDING_WATERMARK = "looking for the watermark"
    ASKING_HUB = "asking the Hub"
    ASKING_FOR = "asking for"
    """A part of the weights, which is the detail; so are the following four's."""
    FETCHING = "fetching"
    CONVERTING = "converting"
    LOADING = "loading"
    READING = "reading"
    """A file."""
    FOLLOWING_FACES = "following faces"
    PREPARING_CLIPS = "preparing clips"
    SPEAKING = "speaking recordings"
    TRAINING = "training"
    MEASURING = "measuring what was learned"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Step:
    """Where a long piece of work stands."""

    stage: Stage
    done: int
    """Units finished."""
    total: int
    """Units in all, at least 1."""
    seconds_left: float | None = None
    """Forecast for this stage; None until there is a basis for one."""
    detail: str = ""
    """What the stage is about, where it is about one thing of several: a file, a part."""

    @property
    def text(self) -> str:
        """Stage and detail, for the user: "drawing frames", "loading unet"."""
        return f"{self.stage} {self.detail}".rstrip()


class Progress(Protocol):
    """Shows steps and may ask the work to stop.

    One that also has `show(picture)` is given every frame of the stamped preview, marks included, uint8 RGB
    [height, width, 3], as soon as it is made; it must return at once, too.
    """

    def report(self, step: Step) -> None:
        """Show a step. Called often; must return at once."""

    def cancelled(self) -> bool:
        """True once the user asked to stop. Polled at least once a second."""


class Silent:
    """A `Progress` that shows nothing and never stops."""

    def report(self, step: Step) -> None:
        """Ignore the step."""

    def cancelled(self) -> bool:
        """Never."""
        return False


class Tick(Protocol):
    """`tick(stage, done, total, detail)`: reports and raises `Cancelled` when told to stop."""

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None: ...


class Ticker:
    """The `Tick` of a `Progress`: adds a forecast to the steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._current = ""
        self._began = 0.0
        self._from = 0
        """Units that were done when the stage began: of an earlier run, or of another head."""

    def __call__(self, stage: Stage, done: int, total: int, detail: str = "") -> None:
        """Report `done` of `total` units; raises `Cancelled` when told to stop."""
        now = time.monotonic()
        step = Step(stage, done, max(total, 1), detail=detail)
        if step.text != self._current:
            self._current, self._began, self._from = step.text, now, done
        own = done - self._from
        left = (now - self._began) / own * (total - done) if own > 0 else None
        self._progress.report(Step(stage, done, step.total, left, detail))
        if self._progress.cancelled():
            raise Cancelled

    def show(self, stamped: NDArray[np.uint8]) -> None:
        """Hand a stamped frame to a progress that has a picture beside its bar."""
        show = getattr(self._progress, "show", None)
        if show is not None:
            show(stamped)
