"""Forge, Neo, reForge and Classic: networks are registered with the WebUI's own memory manager."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ..ports import HostVae, Result
from .devices import (
    chosen_checkpoint,
    failed_checkpoint,
    load_by_access,
    no_checkpoint,
    refusal,
    title_of,
)
from .modules import Module, offers, webui
from .patchers import PatchedVae, PatcherDeviceManager


@dataclass(frozen=True)
class MemoryModules:
    """Where a branch keeps its memory manager."""

    manager: Module
    patcher: Module


BACKEND = MemoryModules(Module.FORGE_MEMORY, Module.FORGE_PATCHER)
"""Forge and Neo."""
LDM_PATCHED = MemoryModules(Module.LDM_MEMORY, Module.LDM_PATCHER)
"""reForge and Classic."""


class ForgeDeviceManager(PatcherDeviceManager):
    """See `ports.DeviceManager` and `devices.WebUIDeviceManager`."""

    name = "forge"

    def __init__(self) -> None:
        layout = BACKEND if offers(BACKEND.manager) else LDM_PATCHED
        super().__init__(lambda: webui(layout.manager), lambda: webui(layout.patcher))

    def run(self, task: Callable[[], Result]) -> Result:
        """On the main thread, where Forge runs everything that moves models."""
        return on_main_thread(task)

    def vae(self) -> HostVae:
        """See `ports.DeviceManager.vae`."""
        model = webui(Module.SD_MODELS).model_data.sd_model
        objects = getattr(model, "forge_objects", None)
        lent = getattr(objects, "vae", None)
        if lent is None:
            return no_checkpoint()
        why = refusal(*_latent_space(model, lent))
        return HostVae(None, why) if why else HostVae(PatchedVae(title_of(model), lent, self._manager))

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
