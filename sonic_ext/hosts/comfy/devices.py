"""ComfyUI's memory, and the networks that nodes were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import BadWeights
from ...ports import HostVae, ImageEncoder, Result
from ..devices import CHANNELS, refusal
from ..modules import ComfyModule, comfyui
from ..patchers import PatchedVae, PatcherDeviceManager
from .values import NodeEngine

NO_VAE = HostVae(
    None,
    "No VAE is linked to the node Sonic Loader.",
    "Link MODEL and VAE of a Stable Diffusion 1.5 checkpoint to it, or use decoder=auto.",
)
LINK = "Link MODEL and VAE of a Stable Diffusion 1.5 checkpoint, or neither."
PIXELS = 8
"""Of a side, for each place of the latents."""
SIDE, WIDTH = 224, 1024
"""Pixels of the picture and width of the embedding, of OpenCLIP's ViT-H/14."""


class ComfyDeviceManager(PatcherDeviceManager):
    """See `ports.DeviceManager`. Work is done on the thread that asks: that of ComfyUI's queue.

    Args:
        given: what is linked to the nodes.
    """

    def __init__(self, given: NodeEngine | None = None) -> None:
        super().__init__(lambda: comfyui(ComfyModule.MEMORY), lambda: comfyui(ComfyModule.PATCHER))
        self._given = given or NodeEngine()

    def run(self, task: Callable[[], Result]) -> Result:
        """At once."""
        return task()

    def require_fitting(self) -> None:
        """Refuse what is linked and of another kind, whether this video would need it or not.

        Raises:
            BadWeights: the one or the other.
        """
        self.vae()
        self.image_encoder()

    def vae(self) -> HostVae:
        """See `ports.DeviceManager.vae`: the linked one, where VAE and MODEL speak these latents."""
        given = self._given
        if given.vae is None:
            return NO_VAE
        if given.model is None:
            raise BadWeights(
                "A VAE is linked to the node Sonic Loader without the MODEL of its checkpoint.", LINK
            )
        if other_latents := refusal(*_latents(given.model)):
            raise BadWeights(other_latents, LINK)
        if not _is_of_pictures(given.vae):
            raise BadWeights("The linked VAE is of another kind than Stable Diffusion 1.5's.", LINK)
        return HostVae(PatchedVae("the linked VAE", given.vae, self._manager))

    def image_encoder(self) -> ImageEncoder | None:
        """See `ports.DeviceManager.image_encoder`: the linked one."""
        encoder = self._given.clip_vision
        if encoder is None:
            return None
        weight = getattr(getattr(encoder.model, "visual_projection", None), "weight", None)
        width = 0 if weight is None else int(weight.shape[0])
        if (encoder.image_size, width) != (SIDE, WIDTH):
            raise BadWeights(
                "The linked CLIP vision model is of another kind than Stable Video Diffusion's.",
                "Link CLIP-ViT-H-14-laion2B-s32B-b79K, or none.",
            )
        return ComfyImageEncoder(encoder, self._manager)


def _latents(model: Any) -> tuple[int, float, float]:
    """Channels, scale and shift of the latents that a MODEL draws."""
    space = model.get_model_object("latent_format")
    shift = getattr(space, "shift_factor", None) or 0.0
    return int(space.latent_channels), float(space.scale_factor), float(shift)


def _is_of_pictures(vae: Any) -> bool:
    """Whether a VAE is built as Stable Diffusion 1.5's: not for videos, of no other size, no small stand-in.

    SDXL's is built the same way; how latents are scaled only their MODEL knows.
    """
    built = (vae.latent_channels, vae.latent_dim, vae.downscale_ratio)
    return built == (CHANNELS, 2, PIXELS) and hasattr(vae.first_stage_model, "encoder")


class ComfyImageEncoder:
    """A `ports.ImageEncoder`: ComfyUI's CLIP vision model, loaded by the manager before each call."""

    title = "the linked CLIP vision model"
    width = WIDTH

    def __init__(self, encoder: Any, manager: Any) -> None:
        self._encoder = encoder
        self._manager = manager

    def embed(self, pixels: Any) -> Any:
        """See `ports.ImageEncoder.embed`; preparing the picture is not left to ComfyUI, which crops it."""
        import torch

        encoder = self._encoder
        with torch.inference_mode():
            self._manager.load_models_gpu([encoder.patcher])
            return encoder.model(pixel_values=pixels.float().to(encoder.load_device))[2].float()
