"""The conditioning, made once per video from the portrait and the speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BrokenNumbers
from ...media.geometry import mask_box
from ...nn.vae import encode_mean
from ...ports import Vae
from ...progress import Stage, Tick
from . import footprint
from .conditioning import buckets, mask_levels
from .denoise import Conditioning
from .long_run import LongRun
from .networks import Networks
from .picture import clip_pixels, draw_mask, mask_values, reference
from .speech import SpeechConditioning, frames_heard, heard_steps, silence, states_of
from .windows import RATE

if TYPE_CHECKING:
    from ...media.audio import Speech
    from ...media.scene import HeadView


@dataclass(frozen=True)
class Prepared:
    """The conditioning of a video, on the network's device."""

    conditioning: Conditioning
    notes: tuple[str, ...] = ()
    """Sentences for the user."""


def prepare_conditioning(
    networks: Networks,
    view: HeadView,
    speech: Speech,
    frames: int,
    tick: Tick,
    host_vae: Vae | None = None,
    long_run: LongRun | None = None,
) -> Prepared:
    """Run the image encoder, the speech networks and the VAE's encoder, once each.

    Args:
        networks: of this video.
        view: the head as the network draws it.
        speech: the sound; silence follows it to the end of the frames.
        frames: base frames.
        tick: called between the networks.
        host_vae: the WebUI's VAE, where it encodes.
        long_run: keeps the audio tokens; None holds them in memory.

    Raises:
        BrokenNumbers: the VAE makes no numbers of the portrait, not even in float32.
    """
    hardware, memory, picture = networks.hardware, networks.memory, view.picture
    with torch.no_grad():  # tensors of inference mode could not be trained with
        tick(Stage.LOOKING_AT_PORTRAIT, 0, 2)
        with memory.stage():
            portrait = networks.embed(clip_pixels(picture))
        tick(Stage.LOOKING_AT_PORTRAIT, 1, 2)
        with memory.stage():
            if host_vae is not None:
                latent, notes = _encode_with_host(host_vae, picture)
            else:
                latent, notes = _encode_portrait(networks, picture)
        with memory.stage():
            spoken = _heard(networks, speech, portrait.float(), frames, tick, long_run)
        grid = (picture.shape[0] // 8, picture.shape[1] // 8)
        levels = mask_levels(_mask(view), grid)  # on the CPU: not every device knows bicubic
        conditioning = Conditioning(
            latent.to(hardware.device, hardware.dtype),
            portrait[:, None].to(hardware.dtype),
            spoken.tokens,
            spoken.silence.to(hardware.dtype),
            spoken.buckets.cpu(),
            {size: level.to(hardware.device) for size, level in levels.items()},
        )
        return Prepared(conditioning, notes)


def _heard(
    networks: Networks,
    speech: Speech,
    portrait: torch.Tensor,
    frames: int,
    tick: Tick,
    long_run: LongRun | None,
) -> SpeechConditioning:
    """What the speech networks make of the sound, block by block; tokens in the network's numbers, not on its
    device."""
    listening, dtype = networks.speech(), networks.hardware.dtype
    steps = heard_steps(round(speech.length * RATE), frames)
    states = states_of(listening.whisper, speech.blocks(RATE), steps)
    nothing = silence(listening)
    kept: list[torch.Tensor] = []
    file = None if long_run is None else long_run.tokens(nothing.shape[1:], dtype)
    keep = kept.append if file is None else file.append
    raw: list[torch.Tensor] = []
    tick(Stage.READING_SPEECH, 0, frames)
    for tokens, moved in frames_heard(listening, states, steps, portrait, frames):
        keep(tokens.to("cpu", dtype))
        raw.append(moved)
        tick(Stage.READING_SPEECH, sum(map(len, raw)), frames)
    found = torch.cat(kept) if file is None else file
    return SpeechConditioning(found, nothing, buckets(torch.cat(raw)))


def _encode_portrait(networks: Networks, picture: NDArray[np.uint8]) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The portrait's latent, [1, 4, height, width]; in float32 where half precision overflows."""
    pixels = reference(picture).to(networks.hardware.device)
    height, width = picture.shape[:2]
    mean = _mean(networks.vae(working=_working(width, height, networks.hardware.itemsize)), pixels)
    if mean.isfinite().all():
        return mean, ()
    mean = _mean(networks.vae(torch.float32, _working(width, height, 4)), pixels)
    if not mean.isfinite().all():
        raise BrokenNumbers(
            "The VAE makes no numbers of this portrait, not even in float32.",
            "Check its file: sonic weights check vae",
        )
    return mean, ("The VAE overflowed in half precision and encoded the portrait in float32.",)


def _working(width: int, height: int, itemsize: int) -> int:
    return footprint.vae_encode_activations(width, height, itemsize)


def _encode_with_host(vae: Vae, picture: NDArray[np.uint8]) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The same from the WebUI's VAE, in whatever numbers it computes with."""
    mean = vae.encode(reference(picture))
    if not mean.isfinite().all():
        raise BrokenNumbers(
            f"The borrowed VAE ({vae.title}) makes no numbers of this portrait.",
            "Take another checkpoint or VAE, start the WebUI with --no-half-vae or ComfyUI with --fp32-vae, "
            "or use decoder=temporal.",
        )
    return mean, ()


def _mean(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    return encode_mean(vae, pixels.to(next(vae.parameters()).dtype))


def _mask(view: HeadView) -> torch.Tensor:
    """Drawn at the size of the portrait's own pixels and shrunk with them, as published."""
    left, top, right, bottom = view.source.rounded()
    height, width = view.picture.shape[:2]
    sx, sy = (right - left) / width, (bottom - top) / height
    box = mask_box(view.face.box.scaled(sx, sy), right - left, bottom - top)
    return mask_values(draw_mask(box, (right - left, bottom - top), (width, height)))
