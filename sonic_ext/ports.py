"""The seams: what the pipeline asks of engines and hosts.

Annotations name types of higher rooms under TYPE_CHECKING only; nothing is imported at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .configuration import Configuration
    from .media.audio import Speech
    from .media.scene import Scene
    from .progress import Progress, Stage, Tick
    from .settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Forecast:
    """What a video will cost, roughly."""

    seconds: float
    """Working time."""
    memory: int
    """Peak main memory in bytes."""
    device_memory: int = 0
    """Peak memory of the graphics card in bytes; 0 where none is used."""
    denoising: float = 0.0
    """Floating-point operations of a diffusion network over all its steps; 0 where there is none."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user: what was picked, what may not fit."""


class Vae(Protocol):
    """A VAE of Stable Diffusion 1's latent space that a WebUI has loaded. Tensors are torch's, float32."""

    title: str
    """For the user: whose it is."""

    def encode(self, pictures: Any) -> Any:
        """The unscaled mean, [n, 4, height / 8, width / 8], of pictures [n, 3, height, width] in -1 to 1."""

    def decode(self, latents: Any) -> Any:
        """Pictures around -1 to 1 of unscaled latents [n, 4, height, width], each by itself."""


@dataclass(frozen=True)
class HostVae:
    """The VAE of a WebUI's loaded checkpoint, if it can be used."""

    vae: Vae | None
    reason: str = ""
    """Where there is none: a sentence that says why."""
    hint: str = "Load a Stable Diffusion 1.5 checkpoint, or use decoder=auto."
    """What helps."""


class ImageEncoder(Protocol):
    """A CLIP vision model that the host has loaded, of the kind that Stable Video Diffusion has."""

    title: str
    """For the user: whose it is."""
    width: int
    """Of what it gives."""

    def embed(self, pixels: Any) -> Any:
        """The projected embedding, float32 [n, width], of normalised pictures [n, 3, 224, 224]."""


class DeviceManager(Protocol):
    """The host's networks and memory; called inside `Host.work`, but for `device`, `free_memory`, `vae` and
    `image_encoder`."""

    def device(self) -> str | None:
        """As torch names it; None leaves the choice to the engine."""

    def free_memory(self) -> int | None:
        """Bytes of the device that a job may count on, the WebUI's own models moved out; None: not known."""

    def vae(self) -> HostVae:
        """The loaded checkpoint's VAE, if it speaks the latent space of Stable Diffusion 1.

        Raises:
            BadWeights: one was given for this video, and does not.
        """

    def image_encoder(self) -> ImageEncoder | None:
        """The image encoder that the host lends, where it has one.

        Raises:
            BadWeights: it is of another kind.
        """

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
    def stage(self) -> Stage:
        """What making its frames is called: drawing, or decoding."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user; drawing may add some."""

    def frames(self) -> Iterator[NDArray[np.uint8]]:
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
            scene: picture and face at the size of the video; two faces only where `EngineSpec.faces` says so.
            speech: the sound; longer or shorter than the video is allowed (silence follows). Of two faces
                `voices` has the voice of each.
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
        """What `count` frames will cost.

        Raises:
            BadPortrait: what can be told before `prepare` of faces that cannot be animated.
        """


@dataclass(frozen=True)
class MadePortrait:
    """A picture that the WebUI generated."""

    png: bytes
    """The picture as the WebUI would save it, infotext included."""
    infotext: str
    """Parameters in the WebUI's form."""
    synthetic: bool
    """Nobody's face: made from words alone, or from pictures that were; the ledger remembers its pixels."""


class WindowTaker(Protocol):
    """Computes windows of a video of another process."""

    def take(self, order: bytes) -> bytes:
        """One window, as its engine packs it."""


class WindowPool(Protocol):
    """Other processes, on other cards or computers, that compute windows of a video."""

    @property
    def numbers(self) -> str:
        """What the windows depend on besides weights and settings, the same of all processes."""

    def carry_out(self, recipe: bytes, orders: Iterable[bytes], poll: Callable[[], None]) -> Iterator[bytes]:
        """Have windows computed, some of them at once; one whose process is lost is computed by another.

        Args:
            recipe: what all have in common, as their engine packs it; for `EngineSpec.window_worker`.
            orders: read as far as they are needed.
            poll: called again and again; what it raises ends the call.

        Yields:
            What came of each, in the order of `orders`.
        """


class Portraits(Protocol):
    """The WebUI's own txt2img and img2img with the loaded checkpoint."""

    def samplers(self) -> Sequence[str]:
        """Names of samplers, in the WebUI's order."""

    def check(self, parameters: Mapping[str, Any], source: bytes | None) -> None:
        """Say at once what `make` would refuse.

        Raises:
            BadInput: as `make`.
            MissingPart: a checkpoint that there is not.
        """

    def make(
        self, parameters: Mapping[str, Any], source: bytes | None, progress: Progress
    ) -> Sequence[MadePortrait]:
        """Generate; call it inside `Host.work`.

        Args:
            parameters: as in the body of `/sdapi/v1/txt2img` or `img2img`: prompt, negative_prompt, width,
                height, steps, seed, sampler_name, cfg_scale, denoising_strength …
            source: picture file for img2img; None for txt2img.
            progress: asked whether to stop, told of steps.

        Raises:
            BadInput: a parameter that the WebUI does not know or take.
            MissingPart: no checkpoint is loaded or it cannot be.
            Cancelled: the user interrupted.
        """


class Host(Protocol):
    """What page, API and script ask of the place they run in."""

    name: str
    """standalone, a1111 or forge; shown to nobody, written to logs."""
    lane: str
    """Whose jobs it carries out: those that were submitted here, before a restart as well."""
    slots: int
    """Videos that are made at the same time, at least 1."""
    devices: DeviceManager | None
    """The WebUI's VAE and memory for `pipeline.animate`; None where there is no WebUI."""
    portraits: Portraits | None
    """None where there is no WebUI."""

    def outputs(self) -> Path:
        """Folder that exported videos go to; made if it is not there.

        Raises:
            BadOutput: it cannot be made or written to.
        """

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """Wait until nothing else is being made here, run the task, return what it returns.

        The task gets a progress that also reports to the WebUI (its bar, live preview) and heeds its
        Interrupt. A WebUI may run it on another thread; what it raises is raised here.

        Raises:
            Cancelled: `progress.cancelled()` became true while waiting.
        """

    def configuration(self) -> Configuration:
        """What the user set for this computer, in the WebUI or else in the environment."""

    def defaults(self) -> Mapping[str, Any]:
        """Settings that the user chose as defaults in the WebUI, by field name."""

    def credentials(self) -> Mapping[str, str]:
        """User → password of the API; empty for an open one."""
