"""The networks of one video, each loaded when its stage begins.

Each is dropped when its stage ends: CLIP, the VAE and the speech networks before the UNet comes, the UNet
before the decoder, for which the VAE is loaded again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from ... import weights
from ...errors import BadWeights
from ...nn import audio, clip, config, interpolate, vae, whisper
from ...nn.config import json_config
from ...nn.unet import UNet, UNetConfig, build_unet
from ...ports import DeviceManager, ImageEncoder
from ...progress import Tick
from ...weights import Part
from ...weights.overlays import PARTS, Overlay
from ..runtime.devices import Hardware
from ..runtime.memory import DeviceMemory
from . import footprint
from .speech import SpeechNetworks

Made = TypeVar("Made")


@dataclass(frozen=True)
class Networks:
    """Where the weights lie, and how their networks are built and filled.

    Raises (every method):
        BadWeights: a file does not fit; the first keys and shapes are named.
    """

    paths: Mapping[str, Path]
    """Part → safetensors file, of `weights.prepare`."""
    hardware: Hardware
    tick: Tick
    devices: DeviceManager | None = None
    """The WebUI's memory, where there is a WebUI."""
    overlay: Overlay | None = None
    """Adapters that take the place of the weights' own."""
    image_encoder: ImageEncoder | None = None
    """The host's, in place of ours."""

    @cached_property
    def memory(self) -> DeviceMemory:
        """The device's memory. Networks are loaded there when they are made, but for the UNet."""
        return DeviceMemory(self.hardware.device, self.devices)

    def has(self, part: Part) -> bool:
        """Whether an optional part is there."""
        return part.name in self.paths

    def speech(self) -> SpeechNetworks:
        """The speech networks, in float32."""
        whisper_config, encoder = self._whisper()
        token_shapes, bucket_shapes = self._shapes(weights.AUDIO2TOKEN), self._shapes(weights.AUDIO2BUCKET)
        tokens = self._read(weights.AUDIO2TOKEN, lambda: config.of_audio2token(token_shapes, whisper_config))
        buckets = self._read(
            weights.AUDIO2BUCKET,
            lambda: config.of_audio2bucket(bucket_shapes, whisper_config, self._clip_config()),
        )
        return SpeechNetworks(
            self.memory.load(encoder, footprint.whisper_activations(1.0)),
            self._load(audio.build_audio2token(tokens), weights.AUDIO2TOKEN, torch.float32),
            self._load(audio.build_audio2bucket(buckets), weights.AUDIO2BUCKET, torch.float32),
        )

    def _whisper(self) -> tuple[dict[str, Any], Any]:
        prefix = whisper.PREFIX
        shapes = {key.removeprefix(prefix): shape for key, shape in self._shapes(weights.WHISPER).items()}
        stated = json_config(self.paths[weights.WHISPER.name])
        whisper_config = self._read(weights.WHISPER, lambda: config.of_whisper(shapes, stated))
        network = whisper.build_whisper(whisper_config)
        return whisper_config, self._fill(network, weights.WHISPER, torch.float32, prefix=prefix)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """The embedding [n, width] of normalised pictures [n, 3, 224, 224], by the host's encoder or ours."""
        if self.image_encoder is not None:
            return self.image_encoder.embed(pixels).to(self.hardware.device, self.hardware.dtype)
        return clip.embed(self.clip(), pixels.to(self.hardware.device, self.hardware.dtype))

    def clip(self) -> Any:
        """The image encoder."""
        working = footprint.clip_activations(self.hardware.itemsize)
        return self._load(clip.build_clip(self._clip_config()), weights.IMAGE_ENCODER, working=working)

    def _clip_config(self) -> dict[str, Any]:
        if self.image_encoder is not None:
            return {"projection_dim": self.image_encoder.width}
        return self._configured(weights.IMAGE_ENCODER, config.of_clip)

    def vae(self, dtype: torch.dtype | None = None, working: int = 0) -> Any:
        """The temporal VAE, in the hardware's numbers unless stated otherwise; works in so many bytes."""
        settings = self._configured(weights.VAE, config.of_vae)
        return self._load(vae.build_vae(settings), weights.VAE, dtype, working)

    def image_vae(self, working: int = 0) -> Any:
        """The decoder for single pictures; works in so many bytes."""
        settings = self._read(weights.IMAGE_VAE, lambda: config.of_image_vae(self._shapes(weights.IMAGE_VAE)))
        return self._load(vae.build_image_vae(settings), weights.IMAGE_VAE, working=working)

    def unet(self, device: str | None = None) -> UNet:
        """The UNet with its audio adapters; `device` is where it rests, not loaded into the device yet."""
        return self._fill(build_unet(self.unet_config()), weights.UNET, device=device)

    def unet_config(self) -> UNetConfig:
        """The UNet's size, from its file's header."""
        return self._configured(weights.UNET, config.of_unet)

    def interpolator(self) -> Any:
        """RIFE, in float32: in half precision every second frame would be a little off."""
        return self._load(interpolate.build_interpolator(), weights.RIFE, torch.float32)

    def _shapes(self, part: Part) -> Mapping[str, tuple[int, ...]]:
        return weights.shapes(part, self.paths[part.name])

    def _configured(self, part: Part, of: Callable[[config.Shapes, Mapping[str, Any]], Made]) -> Made:
        """A part's configuration, from its shapes and what is stated beside its file."""
        return self._read(part, lambda: of(self._shapes(part), json_config(self.paths[part.name])))

    def _read(self, part: Part, read: Callable[[], Made]) -> Made:
        try:
            return read()
        except (LookupError, ValueError, ZeroDivisionError) as error:
            raise BadWeights(
                f"{self.paths[part.name]} is no {part.title}: {error} is missing or has an odd shape.",
                f"Fetch it again: {weights.fetch_command([part])}",
            ) from error

    def _load(self, network: Any, part: Part, dtype: torch.dtype | None = None, working: int = 0) -> Any:
        return self.memory.load(self._fill(network, part, dtype), working)

    def _fill(
        self,
        network: Any,
        part: Part,
        dtype: torch.dtype | None = None,
        prefix: str = "",
        device: str | None = None,
    ) -> Any:
        weights.fill(
            network,
            part,
            self.paths[part.name],
            dtype=dtype or self.hardware.dtype,
            device=device or self.memory.read_device,
            prefix=prefix,
            tick=self.tick,
        )
        if self.overlay is not None and part in PARTS:
            self.overlay.apply(network, part)
        return network
