"""The seams: what the pipeline asks of engines, hosts and progress displays.

Annotations name types of higher rooms under TYPE_CHECKING only; nothing is imported at run time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from .media.audio import Speech
    from .media.scene import Scene
    from .settings import Settings


@dataclass(frozen=True)
class Step:
    """Where a long piece of work stands."""

    stage: str
    """What is being done, in words for the user: "reading the speech", "drawing frames"."""
    done: int
    """Units finished."""
    total: int
    """Units in all, at least 1."""
    seconds_left: float | None = None
    """Forecast for this stage; None until there is a basis for one."""


class Progress(Protocol):
    """Shows steps and may ask the work to stop."""

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
    """`tick(stage, done, total)`: reports and raises `Cancelled` when told to stop."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Forecast:
    """What a video will cost, roughly."""

    seconds: float
    """Working time."""
    memory: int
    """Peak main memory in bytes."""
    device_memory: int = 0
    """Peak memory of the graphics card in bytes; 0 where none is used."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user: what was picked, what may not fit."""


class Animation(Protocol):
    """A prepared video whose frames have not been drawn yet. Close it when done with it."""

    @property
    def seed(self) -> int:
        """What the motion was drawn with."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user; drawing may add some."""

    def frames(self) -> Iterator[np.ndarray]:
        """Draw the frames in order, uint8 RGB [height, width, 3], as many as `prepare` was asked for.

        The array may be reused for the next frame: whoever keeps one copies it.
        """

    def forget(self) -> None:
        """The video is safe: delete what was kept to go on with it after a stop."""

    def close(self) -> None:
        """Give back the device and its memory. Frames that are being drawn elsewhere stop."""


class Engine(Protocol):
    """Turns a scene and speech into frames."""

    name: str
    """`preview` or `sonic`; written into marks and records."""
    size_multiple: int
    """Both sides of the picture must be multiples of it."""

    def prepare(
        self, scene: Scene, speech: Speech, settings: Settings, count: int, seed: int, tick: Tick
    ) -> Animation:
        """Read the speech, fit the face and return `count` frames at `settings.fps`, ready to draw.

        Args:
            scene: picture and face at the size of the video.
            speech: the sound; longer or shorter than the video is allowed (silence follows).
            settings: checked settings.
            count: frames to draw, at least 1.
            seed: 0 to 2**32 - 1; where `settings.seed` is -1, a run that was stopped goes on with its own.
            tick: called at least once a second, or once a call of a network that takes longer.

        Raises:
            BadPortrait: the face cannot be animated.
            MissingPart: weights or libraries.
            Failed: memory ran out, or a network gave no numbers.
            Cancelled: the user asked to stop.
        """

    def forecast(self, scene: Scene, settings: Settings, count: int) -> Forecast:
        """What `count` frames will cost."""
