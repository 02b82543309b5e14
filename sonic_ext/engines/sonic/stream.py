"""From the last latents to frames: decode → steady → interpolate → 8 bits, a few frames at a time.

Every function takes and gives an iterator of chunks; nothing holds more than a chunk and what `Steady` looks
ahead, so pictures do not pile up with the length of the video. A chunk is float32 [frames, 3, height, width]
of 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BrokenNumbers
from ...nn.interpolate import Interpolator, padded
from ...nn.vae import CONFIG
from ...nn.vae import decode as vae_decode
from ...ports import Vae
from .windows import BASE_FPS

if TYPE_CHECKING:
    from ...media.steady import Steady

CHUNK = 8
"""Frames that the published inference decodes together."""
SCALE: float = CONFIG["scaling_factor"]
"""The sampler's latents are larger by it than the VAE's."""
STEADY_REACH = 3
"""Frames of 12.5 a second that the jitter filter looks ahead and back."""


class Decode(Protocol):
    """Turns the latents of a chunk into pictures."""

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures [frames, 3, 8 · height, 8 · width] of about 0 to 1, any device and precision.

        Args:
            latents: float32 [frames, 4, height, width] on the CPU, scaled as the sampler has them.
        """


class Between(Protocol):
    """Finds the frames half-way between others."""

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Middle frames of 0 to 1; all three are float32 [frames, 3, height, width] on one device."""


class VaeDecoder:
    """Decodes with a VAE on the device and in the precision of its weights; a `Decode`.

    Half precision overflows on some pictures. Then the VAE itself turns to float32 for good, and `raised`
    says so.

    Args:
        vae: diffusers' `AutoencoderKLTemporalDecoder`, or an image VAE of the same latent space.
        temporal: which of the two it is; a temporal one smooths over the chunk.
    """

    def __init__(self, vae: Any, temporal: bool = True) -> None:
        self._vae = vae
        self._temporal = temporal
        self.raised = False

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Decode`."""
        pictures = self._decoded(latents)
        weight = next(self._vae.decoder.parameters())
        if not bool(torch.isfinite(pictures).all()) and weight.dtype != torch.float32:
            self._vae.float()
            self.raised = True
            pictures = self._decoded(latents)
        return pictures * 0.5 + 0.5

    def _decoded(self, latents: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return next(vae_decode(self._vae, latents, len(latents), self._temporal)).float()


class HostVaeDecoder:
    """Decodes with a WebUI's VAE, in its numbers; a `Decode`."""

    raised = False

    def __init__(self, vae: Vae) -> None:
        self._vae = vae

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Decode`."""
        return self._vae.decode(latents / SCALE) * 0.5 + 0.5


def decoded(decode: Decode, latents: torch.Tensor, chunk: int = CHUNK) -> Iterator[torch.Tensor]:
    """Pictures of all latents, chunk after chunk; chunks know nothing of each other.

    Args:
        decode: of a chunk; what lies outside 0 to 1 is clamped here.
        latents: float32 [frames, 4, height, width], scaled, on the CPU.
        chunk: frames decoded together; the last ones may be fewer.

    Raises:
        BrokenNumbers: the decoder gave infinities or not-a-numbers.
    """
    for start in range(0, len(latents), chunk):
        part = latents[start : start + chunk]
        yield _checked(decode(part).float(), start).clamp(0, 1)


def _checked(pictures: torch.Tensor, start: int) -> torch.Tensor:
    if not bool(torch.isfinite(pictures).all()):
        raise BrokenNumbers(
            f"Decoding frames {start} to {start + len(pictures) - 1} gave numbers that are not finite.",
            "Use precision=fp32; if that fails too, the VAE's weights are damaged.",
        )
    return pictures


def interpolated(chunks: Iterable[torch.Tensor], between: Between, times: int) -> Iterator[torch.Tensor]:
    """Chunks with middle frames put between neighbours, also where one chunk ends and the next begins.

    Args:
        chunks: n frames in all.
        between: finds middle frames.
        times: 1 changes nothing, 2 gives 2n - 1 frames, 4 gives 4n - 3.

    Raises:
        ValueError: another `times`.
    """
    if times not in (1, 2, 4):
        raise ValueError(f"{times} times the frames: 1, 2 or 4 were expected")
    stream = iter(chunks)
    for _ in range(times.bit_length() - 1):
        stream = _doubled(stream, between)
    return stream


def _doubled(chunks: Iterator[torch.Tensor], between: Between) -> Iterator[torch.Tensor]:
    last: torch.Tensor | None = None
    for chunk in chunks:
        if last is None:
            yield chunk[:1]
            seen = chunk
        else:
            seen = torch.cat([last, chunk])
        last, size = chunk[-1:].clone(), len(chunk)
        del chunk
        if len(seen) > 1:
            # In pieces of the size that came, or what follows would have to hold ever longer chunks.
            yield from _interleave(between(seen[:-1], seen[1:]), seen[1:]).split(size)
        del seen


def _interleave(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Frames of both in turn, beginning with the first."""
    return torch.stack([first, second], dim=1).flatten(0, 1)


def repeated(chunks: Iterable[torch.Tensor], times: int) -> Iterator[torch.Tensor]:
    """Chunks in which every frame is shown `times` times: n frames become times · n."""
    for chunk in chunks:
        for frame in chunk.split(1):
            yield frame.expand(times, -1, -1, -1)


def steadied(chunks: Iterable[torch.Tensor], steady: Steady, chunk: int = CHUNK) -> Iterator[torch.Tensor]:
    """Chunks without the tremble of the whole head; before interpolation, which would slow it down.

    Args:
        chunks: all of one device.
        steady: made for the face's place in the frames, with a reach of `STEADY_REACH`.
        chunk: most frames in a chunk that comes out.
    """
    device = torch.device("cpu")

    def single() -> Iterator[NDArray[np.uint8]]:
        nonlocal device
        for part in chunks:
            device = part.device
            yield from _levels(part)

    frames = steady.frames(single())
    while part := list(islice(frames, chunk)):
        yield torch.from_numpy(np.stack(part)).to(device).permute(0, 3, 1, 2).float() / 255


def pictures(chunks: Iterable[torch.Tensor]) -> Iterator[NDArray[np.uint8]]:
    """Single frames, uint8 RGB [height, width, 3], rounded to the nearest level."""
    for chunk in chunks:
        yield from _levels(chunk)


def _levels(chunk: torch.Tensor) -> NDArray[np.uint8]:
    """uint8 [frames, height, width, 3] in memory of their own."""
    done: NDArray[np.uint8] = (
        (chunk * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    )
    return done


@dataclass(frozen=True)
class Finish:
    """What is done to decoded pictures."""

    times: int = 2
    """Frames per frame, see `times_for`."""
    between: Between | None = None
    """Interpolates; None shows every frame `times` times instead."""
    steady: Steady | None = None
    """Takes the tremble out; None leaves it."""
    chunk: int = CHUNK
    """Frames decoded together."""

    def frames(self, decode: Decode, latents: torch.Tensor) -> Iterator[NDArray[np.uint8]]:
        """Final latents in, frames out: decode → steady → interpolate → 8 bits.

        Args:
            decode: see `decoded`.
            latents: float32 [n, 4, height, width], scaled, on the CPU.

        Yields:
            `count(n)` arrays, uint8 RGB [8 · height, 8 · width, 3].

        Raises:
            BrokenNumbers: see `decoded`.
        """
        chunks = decoded(decode, latents, self.chunk)
        if self.steady is not None:
            chunks = steadied(chunks, self.steady, self.chunk)
        if self.between is None:
            return pictures(repeated(chunks, self.times))
        return pictures(interpolated(chunks, self.between, self.times))

    def count(self, frames: int) -> int:
        """How many frames come of `frames` latents, at least 1."""
        return self.times * frames - (0 if self.between is None else self.times - 1)


def times_for(fps: float) -> int:
    """How often 12.5 frames per second must be doubled up: 2 for 25, 4 for 50.

    Raises:
        ValueError: `fps` is no power of two times 12.5.
    """
    times = fps / BASE_FPS
    if times not in (1, 2, 4):
        raise ValueError(f"{fps:g} frames per second are not 1, 2 or 4 times {BASE_FPS:g}")
    return int(times)


class Rife:
    """RIFE on the device and in the precision of its weights; a `Between`.

    Args:
        network: filled, of `nn.interpolate`.
        batch: pairs in one call; bounds the memory.
    """

    def __init__(self, network: Interpolator, batch: int = 2) -> None:
        self._network = network
        self._batch = batch

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """See `Between`."""
        pairs = zip(first.split(self._batch), second.split(self._batch), strict=True)
        return torch.cat([self._middle(*pair) for pair in pairs])

    def _middle(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        weight = next(self._network.parameters())
        height, width = first.shape[-2:]
        grown = (padded(frame.to(weight.device, weight.dtype)) for frame in (first, second))
        with torch.no_grad():
            made = self._network(*grown).frame
        return made[..., :height, :width].to(first).clamp_(0, 1)


class OpticalFlow:
    """Middle frames without a network, on the CPU; a `Between`. See `media.flow`."""

    def __init__(self) -> None:
        from ...media.flow import FlowInterpolator  # brings OpenCV, which RIFE does without

        self._flow = FlowInterpolator()

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """See `Between`; values are those of 8-bit pictures."""
        pairs = zip(_levels(first), _levels(second), strict=True)
        middles = np.stack([self._flow.middle(*pair) for pair in pairs])
        return torch.from_numpy(middles).permute(0, 3, 1, 2).to(first) / 255
