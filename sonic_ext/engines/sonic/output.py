"""From final latents to the frames of the video, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ... import weights
from ...settings import Settings
from ..runtime.devices import catch_out_of_memory, release
from . import stream
from .budget import Budget
from .networks import Networks
from .stream import CHUNK, HostVaeDecoder, VaeDecoder
from .vaes import VaeChoice

if TYPE_CHECKING:
    from ...media.scene import HeadView, Scene
    from ...media.sides import Side


@dataclass
class Decoder:
    """Decodes a chunk of latents, in smaller pieces once memory has run out. `notes` grows while it works."""

    networks: Networks
    budget: Budget
    choice: VaeChoice
    chunk: int = CHUNK
    """Frames per call of the network."""
    notes: list[str] = field(default_factory=list)
    _vae: VaeDecoder | HostVaeDecoder | None = None
    _network: Any = None

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures [frames, 3, height, width] of 0 to 1 from latents [frames, 4, height / 8, width / 8].

        Raises:
            OutOfMemory: not even one frame can be decoded.
            BrokenNumbers: infinities or not-a-numbers, in float32 too.
        """
        while True:
            with catch_out_of_memory():
                return self._decode(latents)
            release(self.networks.hardware.device)
            self.unload()  # memory may have run out while it changed its precision
            if self.chunk > 1:
                self.chunk //= 2
                self.notes.append(f"Memory ran out while decoding; went on with {self.chunk} frames at once.")
                continue
            fallback = self.choice.fallback  # the WebUI's VAE, as the last resort
            if fallback is None:
                raise self.budget.refusal(self.networks.memory.free())
            self.choice = VaeChoice("host", fallback)
            self.notes.append(f"Memory ran out while decoding; {fallback.title} went on, frame by frame.")

    def unload(self) -> None:
        """Let go of the network."""
        self._vae = None
        network, self._network = self._network, None
        self.networks.memory.unload(network)

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        vae = self._vae = self._vae or self._load_decoder()
        before = vae.raised
        pictures = torch.cat([vae(part) for part in latents.split(self.chunk)])
        if vae.raised and not before:
            self.notes.append("The VAE overflowed in half precision and decodes in float32.")
        return pictures

    def _load_decoder(self) -> VaeDecoder | HostVaeDecoder:
        if self.choice.host is not None:
            return HostVaeDecoder(self.choice.host)
        working = self.budget.decoding(self.chunk)
        make = self.networks.vae if self.choice.temporal else self.networks.image_vae
        self._network = make(working=working)
        return VaeDecoder(self._network, self.choice.temporal)


def in_inference_mode(begin: Callable[[], Iterator[NDArray[np.uint8]]]) -> Iterator[NDArray[np.uint8]]:
    """Every step of an iterator in torch's inference mode, and nothing of what happens between them."""
    with torch.inference_mode():
        frames = begin()
    while True:
        with torch.inference_mode():
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


@dataclass
class FrameInterpolator:
    """RIFE where it is and where it fits, optical flow otherwise, and says so; a `stream.Between`."""

    networks: Networks
    notes: list[str]
    _between: stream.Between | None = None

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """See `stream.Between`."""
        self._between = self._between or self._best()
        if isinstance(self._between, stream.Rife):
            with catch_out_of_memory():
                return self._between(first, second)
            self._between = self._flow("Memory ran out while interpolating")
            release(self.networks.hardware.device)
        return self._between(first, second)

    def _best(self) -> stream.Between:
        if self.networks.has(weights.RIFE):
            return stream.Rife(self.networks.interpolator())
        return self._flow("RIFE's weights are not there (sonic weights fetch rife --accept-licences)")

    def _flow(self, why: str) -> stream.Between:
        self.notes.append(f"{why}: every second frame comes from optical flow.")
        return stream.OpticalFlow()


def _repeat_last(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The frames, and then the last one for as long as anybody asks."""
    last = None
    for frame in frames:
        last = frame
        yield frame
    while last is not None:
        yield last


@dataclass(frozen=True)
class Output:
    """The frames of one video."""

    latents: torch.Tensor
    """float32 [base frames, 4, height, width]."""
    count: int
    """Frames of the video."""
    scene: Scene
    view: HeadView
    settings: Settings
    decoder: Decoder
    between: FrameInterpolator

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """uint8 RGB [height, width, 3]; of them never more than a few exist."""
        from ...media.paste import Paste  # brings OpenCV
        from ...media.steady import Steady

        finish = stream.Finish(stream.times_for(self.settings.fps))
        if self.settings.motion_smoothing:
            steady = Steady(self.view.face.box, stream.STEADY_REACH)
            finish = replace(finish, between=self.between, steady=steady)
        frames = _repeat_last(in_inference_mode(lambda: finish.frames(self.decoder, self.latents)))
        if self.view.box is not None:
            rim = self.view.rim(self.scene.width, self.scene.height)
            frames = map(Paste(self.scene.picture, self.view.box, rim).into, frames)
        return islice(frames, self.count)


@dataclass(frozen=True)
class PairOutput:
    """The frames of one video with two heads, each drawn by itself."""

    outputs: Sequence[Output]
    sides: Sequence[Side]
    """Of the picture, one for each output."""

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """See `Output.frames`. On its face each is as drawn, on the line between both the picture is the
        portrait's own."""
        picture = self.outputs[0].scene.picture.astype(np.float32)
        height, width, _ = picture.shape
        shares = [side.share(width, height)[..., None].astype(np.float32) for side in self.sides]
        for drawn in zip(*(output.frames() for output in self.outputs), strict=True):
            both = picture.copy()
            for frame, share in zip(drawn, shares, strict=True):
                both += share * (frame - picture)
            yield np.clip(np.rint(both), 0, 255).astype(np.uint8)
