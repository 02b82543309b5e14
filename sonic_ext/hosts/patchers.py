"""Memory managers of ComfyUI's line: what is loaded is a `ModelPatcher` in the host's own books.

ComfyUI's, and those that Forge, Neo, reForge and Classic made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..ports import ImageEncoder
from .devices import bytes_of, device_name, drop_from_device, lasting


class PatcherDeviceManager:
    """The part of a `ports.DeviceManager` that all of them share.

    Args:
        manager: gives the host's module of memory management.
        patcher: gives the one that `ModelPatcher` stands in.
    """

    def __init__(self, manager: Callable[[], Any], patcher: Callable[[], Any]) -> None:
        self._module = manager
        self._patcher_module = patcher
        self._registered: list[Any] = []

    @contextmanager
    def visit(self) -> Iterator[None]:
        """While inside, networks may be loaded; the host's own models come back when it needs them."""
        try:
            yield
        finally:
            while self._registered:
                self._release(self._registered.pop())

    @property
    def _manager(self) -> Any:
        return self._module()

    def device(self) -> str | None:
        """See `ports.DeviceManager.device`."""
        return device_name(self._manager.get_torch_device())

    def free_memory(self) -> int | None:
        """See `ports.DeviceManager.free_memory`."""
        manager = self._manager
        device = manager.get_torch_device()
        if device.type == "cpu":
            return None
        patchers = [loaded.model for loaded in manager.current_loaded_models]
        models = [patcher.model for patcher in patchers if patcher is not None]  # reForge holds them weakly
        return int(manager.get_free_memory(device)) + sum(bytes_of(model, device) for model in models)

    def image_encoder(self) -> ImageEncoder | None:
        """See `ports.DeviceManager.image_encoder`."""
        return None

    def clear(self, needed: int) -> None:
        """See `ports.DeviceManager.clear`."""
        device = self._manager.get_torch_device()
        if device.type != "cpu":
            with lasting():
                self._manager.free_memory(needed, device)

    def load(self, network: Any, working: int) -> None:
        """See `ports.DeviceManager.load`."""
        manager = self._manager
        patcher = self._patcher(network)
        self._registered.append(patcher)
        manager.load_models_gpu([patcher], memory_required=working)
        # When memory is short the manager moves only what owns a `weight` and leaves the rest behind.
        patcher.model.to(patcher.load_device)

    def unload(self, network: Any) -> None:
        """See `ports.DeviceManager.unload`."""
        for patcher in [each for each in self._registered if each.model.network is network]:
            self._registered.remove(patcher)
            self._release(patcher)

    def _patcher(self, network: Any) -> Any:
        """The network in the manager's terms, inside a holder: some branches write attributes into it."""
        import torch

        holder = torch.nn.Module()
        holder.network = network
        manager = self._manager
        kind = self._patcher_module().ModelPatcher
        return kind(
            holder, load_device=manager.get_torch_device(), offload_device=manager.unet_offload_device()
        )

    def _release(self, patcher: Any) -> None:
        manager = self._manager
        try:
            _unload(manager, patcher)
        finally:
            drop_from_device(patcher.model)
            manager.soft_empty_cache()


class PatchedVae:
    """A `ports.Vae`: the network itself, loaded by the manager before each call."""

    def __init__(self, title: str, vae: Any, manager: Any) -> None:
        self.title = title
        self._vae = vae
        self._manager = manager

    def encode(self, pictures: Any) -> Any:
        """See `ports.Vae.encode`."""
        return self._run(self._mean, pictures, self._vae.memory_used_encode)

    def decode(self, latents: Any) -> Any:
        """See `ports.Vae.decode`."""
        return self._run(self._vae.first_stage_model.decode, latents, self._vae.memory_used_decode)

    def _mean(self, pictures: Any) -> Any:
        """Of the posterior; both generations of networks end in mean and logarithm of the variance."""
        network = self._vae.first_stage_model
        moments = network.encoder(pictures)
        if getattr(network, "quant_conv", None) is not None:
            moments = network.quant_conv(moments)
        return moments.chunk(2, dim=1)[0]

    def _run(self, call: Callable[[Any], Any], given: Any, memory: Callable[..., float]) -> Any:
        import torch

        vae = self._vae
        needed = len(given) * memory(given.shape, vae.vae_dtype)  # it reckons for one picture
        with torch.inference_mode():
            self._manager.load_models_gpu([vae.patcher], memory_required=needed)
            return call(given.to(vae.device, vae.vae_dtype)).float()


def _unload(manager: Any, patcher: Any) -> None:
    """Take a network out of the manager's list and off the card; reForge has no function for it."""
    if hasattr(manager, "unload_model_clones"):
        manager.unload_model_clones(patcher)
        return
    loaded = manager.current_loaded_models
    for each in [each for each in loaded if each.model is patcher]:
        loaded.remove(each)
        each.model_unload()
