"""The seams: what the pipeline asks of engines and hosts.

Annotations name types of higher rooms under TYPE_CHECKING only; nothing is imported at run time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from .media.audio import Speech
    from .media.scene import Scene
    from .progress import Tick
    from .settings import Settings


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


class Vae(Protocol):
    """A VAE of Stable Diffusion 1's latent space, lent by a WebUI. Tensors are torch's, float32."""

    title: str
    """For the user: whose it is."""

    def encode(self, pictures: Any) -> Any:
        """The unscaled mean, [n, 4, height / 8, width / 8], of pictures [n, 3, height, width] in -1 to 1."""

    def decode(self, latents: Any) -> Any:
        """Pictures around -1 to 1 of unscaled latents [n, 4, height, width], each by itself."""


@dataclass(frozen=True)
class Lent:
    """What a WebUI has to lend."""

    vae: Vae | None
    why: str = ""
    """Where there is none: a sentence that says why."""


class Place(Protocol):
    """The WebUI's VAE and memory; called inside `Host.work`, but for `device`, `free_memory` and `vae`."""

    def device(self) -> str | None:
        """As torch names it; None leaves the choice to the engine."""

    def free_memory(self) -> int | None:
        """Bytes of the device that a job may count on, the WebUI's own models moved out; None: not known."""

    def vae(self) -> Lent:
        """The loaded checkpoint's VAE, if it speaks the latent space of Stable Diffusion 1."""

    def clear(self, needed: int) -> None:
        """Move the WebUI's own models out, until so many bytes of the device are free or nothing is left."""

    def load(self, network: Any, working: int) -> None:
        """Bring a network that lies in main memory to the device, whole, with `working` bytes beside it.

        The WebUI's own models make room. What is raised when memory runs out all the same is torch's; the
        network must then be unloaded too.
        """

    def unload(self, network: Any) -> None:
        """Free the network's memory, and take it out of the WebUI's books. It cannot be used any more."""


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
    head_motion: float
    """How far its heads move at most, in ways of the preview engine's."""

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
