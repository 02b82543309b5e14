"""The networks that are measured: published sizes or tiny ones, with random weights made on the device."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from sonic_ext import weights
from sonic_ext.engines.sonic.networks import Networks
from sonic_ext.engines.sonic.speech import SpeechNetworks
from sonic_ext.nn import audio, clip, interpolate, unet, vae, whisper
from sonic_ext.nn.build import COUNTER, fill

from .runner import ROOT

sys.path.append(str(ROOT / "tests"))  # tiny networks and recorded numbers are the tests' own
import tiny_sonic


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    unet: unet.UNetConfig
    vae: Mapping[str, Any]
    clip: Mapping[str, Any]
    whisper: Mapping[str, Any]
    token: Mapping[str, Any]
    bucket: Mapping[str, Any]
    sides: tuple[int, ...]
    """Pixels of the square that is drawn, the wanted one first; smaller ones where memory is short."""
    frames: int
    """Of a window."""
    seconds: float
    """Of the speech that becomes a video."""
    steps: int
    """Of its sampler."""
    product: int
    """Side of the matrices that the peak is measured with."""
    copied: int
    """Bytes that bandwidth is measured with."""

    @cached_property
    def unet_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the UNet's weights."""
        return {key: tuple(tensor.shape) for key, tensor in unet.build_unet(self.unet).state_dict().items()}


FULL = Sizes(
    unet.UNetConfig(),
    vae.CONFIG,
    clip.CONFIG,
    whisper.CONFIG,
    audio.TOKEN_CONFIG,
    audio.BUCKET_CONFIG,
    sides=(512, 384, 256),
    frames=25,
    seconds=2.0,
    steps=25,
    product=8192,
    copied=2**30,
)
TINY = Sizes(
    tiny_sonic.UNET,
    tiny_sonic.VAE,
    tiny_sonic.CLIP,
    tiny_sonic.WHISPER,
    tiny_sonic.TOKEN,
    tiny_sonic.BUCKET,
    sides=(64,),
    frames=3,
    seconds=0.48,
    steps=2,
    product=256,
    copied=2**20,
)


def filled(
    network: Any, dtype: torch.dtype, device: str, rest: str | None = None, slope: float = 0.25
) -> Any:
    """Random weights that keep what passes through a network about as loud as it was.

    Args:
        network: on the meta device.
        dtype: of its weights.
        device: where the random numbers are drawn: a card needs no time for them.
        rest: where the weights stay; the device by default.
        slope: of PReLU.
    """
    generator = torch.Generator(device).manual_seed(1)
    slopes = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.PReLU)}

    def drawn(key: str, shape: tuple[int, ...]) -> torch.Tensor:
        noise = torch.randn(shape, generator=generator, device=device)
        if len(shape) >= 2:
            return noise.mul_(noise[0].numel() ** -0.5)
        if key.endswith("weight"):
            return noise.mul_(0.05).add_(slope if key in slopes else 1.0)
        return noise.mul_(0.02)

    state = network.state_dict()
    made = {
        key: drawn(key, tuple(tensor.shape)).to(rest or device, dtype)
        for key, tensor in state.items()
        if not key.endswith(COUNTER)
    }
    return fill(network, made)


@dataclass(frozen=True)
class RandomNetworks(Networks):
    """The engine's networks without files; `making` adds up the seconds that their weights took."""

    sizes: Sizes = FULL
    making: list[float] = field(default_factory=list)

    def has(self, part: weights.Part) -> bool:
        """All parts are there."""
        return True

    def speech(self) -> SpeechNetworks:
        """See `Networks.speech`."""
        sizes = self.sizes
        return SpeechNetworks(
            self._made(whisper.build_whisper(sizes.whisper), torch.float32),
            self._made(audio.build_audio2token(sizes.token), torch.float32),
            self._made(audio.build_audio2bucket(sizes.bucket), torch.float32),
        )

    def clip(self) -> Any:
        """See `Networks.clip`."""
        return self._made(clip.build_clip(self.sizes.clip))

    def vae(self, dtype: torch.dtype | None = None, working: int = 0) -> Any:
        """See `Networks.vae`."""
        return self._made(vae.build_vae(self.sizes.vae), dtype)

    def unet(self, device: str | None = None) -> Any:
        """See `Networks.unet`."""
        return self._made(unet.build_unet(self.sizes.unet), rest=device)

    def unet_config(self) -> unet.UNetConfig:
        """See `Networks.unet_config`."""
        return self.sizes.unet

    def interpolator(self) -> Any:
        """See `Networks.interpolator`."""
        return self._made(interpolate.build_interpolator(), torch.float32)

    def _made(self, network: Any, dtype: torch.dtype | None = None, rest: str | None = None) -> Any:
        began = time.perf_counter()
        done = filled(network, dtype or self.hardware.dtype, self.hardware.device, rest)
        if not self.hardware.is_cpu:
            torch.cuda.synchronize(self.hardware.device)
        self.making.append(time.perf_counter() - began)
        return done
