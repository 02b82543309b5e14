"""Forge, Neo, reForge and Classic: networks are registered with the WebUI's own memory manager."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..ports import HostVae, Result
from .devices import (
    bytes_of,
    chosen_checkpoint,
    device_name,
    drop_from_device,
    failed_checkpoint,
    lasting,
    load_by_access,
    no_checkpoint,
    refusal,
    title_of,
)
from .modules import Module, offers, webui


@dataclass(frozen=True)
class MemoryModules:
    """Where a branch keeps its memory manager."""

    manager: Module
    patcher: Module


BACKEND = MemoryModules(Module.FORGE_MEMORY, Module.FORGE_PATCHER)
"""Forge and Neo."""
LDM_PATCHED = MemoryModules(Module.LDM_MEMORY, Module.LDM_PATCHER)
"""reForge and Classic."""


class ForgeDeviceManager:
    """See `ports.DeviceManager` and `devices.WebUIDeviceManager`."""

    name = "forge"

    def __init__(self) -> None:
        self._layout = BACKEND if offers(BACKEND.manager) else LDM_PATCHED
        self._registered: list[Any] = []

    def run(self, task: Callable[[], Result]) -> Result:
        """On the main thread, where Forge runs everything that moves models."""
        return on_main_thread(task)

    @contextmanager
    def visit(self) -> Iterator[None]:
        """See `WebUIDeviceManager.visit`; the WebUI's own models come back when it needs them."""
        try:
            yield
        finally:
            while self._registered:
                self._release(self._registered.pop())

    @property
    def _manager(self) -> Any:
        return webui(self._layout.manager)

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

    def vae(self) -> HostVae:
        """See `ports.DeviceManager.vae`."""
        model = webui(Module.SD_MODELS).model_data.sd_model
        objects = getattr(model, "forge_objects", None)
        lent = getattr(objects, "vae", None)
        if lent is None:
            return no_checkpoint()
        why = refusal(*_latent_space(model, lent))
        return HostVae(None, why) if why else HostVae(ForgeVae(title_of(model), lent, self._manager))

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

    def ready_checkpoint(self) -> None:
        """See `WebUIDeviceManager.ready_checkpoint`."""
        info = chosen_checkpoint()
        models = webui(Module.SD_MODELS)
        if not hasattr(models, "forge_model_reload"):
            load_by_access(info)
            return
        data = models.model_data
        if not data.forge_loading_parameters:  # no page has been made yet
            webui(Module.FORGE_MAIN).refresh_model_loading_parameters()
        if data.sd_model is None:
            data.forge_hash = ""  # loading failed before: without this it would not be tried again
        try:
            loaded, _ = models.forge_model_reload()
        except Exception as error:  # any: files are damaged in every way
            data.forge_hash = ""
            raise failed_checkpoint(info.title, str(error)) from error
        if loaded is None:
            raise failed_checkpoint(info.title)

    def _patcher(self, network: Any) -> Any:
        """The network in the manager's terms, inside a holder: some branches write attributes into it."""
        import torch

        holder = torch.nn.Module()
        holder.network = network
        manager = self._manager
        kind = webui(self._layout.patcher).ModelPatcher
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


class ForgeVae:
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


def _latent_space(model: Any, vae: Any) -> tuple[int, float, float]:
    """Channels, scale and shift of the latents that the sampler works on."""
    import torch

    network = vae.first_stage_model
    channels = int(getattr(vae, "latent_channels", 4))
    if hasattr(network, "process_in"):
        none, one = network.process_in(torch.zeros(1)), network.process_in(torch.ones(1))
        return channels, float(one - none), float(-none / (one - none))
    latents = model.forge_objects.unet.model.model_config.latent_format
    channels = int(getattr(latents, "latent_channels", channels))
    return channels, float(latents.scale_factor), float(getattr(latents, "shift_factor", None) or 0.0)


def on_main_thread(task: Callable[[], Result]) -> Result:
    """Run a task on the WebUI's main thread and return or raise here what it returns or raises.

    Forge's own function loses what is raised, and waits for itself where it is called on that thread.
    """
    if threading.current_thread() is threading.main_thread() or not offers(Module.FORGE_THREAD):
        return task()
    box: Future[Result] = Future()
    webui(Module.FORGE_THREAD).run_and_wait_result(_settle, box, task)
    return box.result()


def _settle(box: Future[Result], task: Callable[[], Result]) -> None:
    try:
        box.set_result(task())
    except BaseException as error:  # Ctrl-C stops the job; pressed again, it ends the WebUI
        box.set_exception(error)
