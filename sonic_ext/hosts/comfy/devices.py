"""ComfyUI's memory, and the networks that nodes were given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import BadWeights
from ...ports import HostVae, ImageEncoder, Result
from ..devices import refusal
from ..modules import ComfyModule, comfyui
from ..patchers import PatchedVae, PatcherDeviceManager
from .values import NodeEngine

NO_VAE = HostVae(None, "No VAE is linked to the node Sonic Loader.")
NO_MODEL = HostVae(None, "A VAE is linked to the node Sonic Loader without the MODEL of its checkpoint.")
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

    def vae(self) -> HostVae:
        """See `ports.DeviceManager.vae`: the linked one, where the linked MODEL speaks the same latents."""
        given = self._given
        if given.vae is None:
            return NO_VAE
        if given.model is None:
            return NO_MODEL
        space = given.model.get_model_object("latent_format")
        why = refusal(
            int(space.latent_channels),
            float(space.scale_factor),
            float(getattr(space, "shift_factor", None) or 0.0),
        )
        return HostVae(None, why) if why else HostVae(PatchedVae("the linked VAE", given.vae, self._manager))

    def image_encoder(self) -> ImageEncoder | None:
        """See `ports.DeviceManager.image_encoder`: the linked one.

        Raises:
            BadWeights: it is of another kind.
        """
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
