"""A1111: no memory manager; the Stable Diffusion model is moved out for a job and back at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..ports import HostVae, ImageEncoder, Result
from .devices import (
    bytes_of,
    chosen_checkpoint,
    device_name,
    drop_from_device,
    lasting,
    load_by_access,
    no_checkpoint,
    refusal,
    title_of,
)
from .modules import Module, webui


class A1111DeviceManager:
    """See `ports.DeviceManager` and `devices.WebUIDeviceManager`."""

    name = "a1111"

    def __init__(self) -> None:
        self._ours: list[Any] = []
        self._moved: list[Any] = []

    def run(self, task: Callable[[], Result]) -> Result:
        """Here: any thread will do."""
        return task()

    @contextmanager
    def visit(self) -> Iterator[None]:
        """See `WebUIDeviceManager.visit`."""
        try:
            yield
        finally:
            try:
                while self._ours:
                    drop_from_device(self._ours.pop())
            finally:
                self._bring_back()

    def device(self) -> str | None:
        """See `ports.DeviceManager.device`."""
        return device_name(_devices().device)

    def free_memory(self) -> int | None:
        """See `ports.DeviceManager.free_memory`."""
        import torch

        device = torch.device(device_name(_devices().device))
        if device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused + sum(bytes_of(model, device) for model in _loaded())

    def vae(self) -> HostVae:
        """See `ports.DeviceManager.vae`."""
        model = webui(Module.SD_MODELS).model_data.sd_model
        module = getattr(model, "first_stage_model", None)
        if module is None:
            return no_checkpoint()
        channels = getattr(model, "latent_channels", 4) or 4
        why = refusal(channels, float(getattr(model, "scale_factor", 0.0)))
        return HostVae(None, why) if why else HostVae(A1111Vae(model))

    def image_encoder(self) -> ImageEncoder | None:
        """See `ports.DeviceManager.image_encoder`: a WebUI has none of this kind."""
        return None

    def clear(self, needed: int) -> None:
        """See `ports.DeviceManager.clear`."""
        if _devices().device.type != "cpu":
            self._move_out()

    def load(self, network: Any, working: int) -> None:
        """See `ports.DeviceManager.load`."""
        self.clear(bytes_of(network) + working)
        self._ours.append(network)
        network.to(self.device())

    def unload(self, network: Any) -> None:
        """See `ports.DeviceManager.unload`."""
        self._ours = [each for each in self._ours if each is not network]
        drop_from_device(network)
        _devices().torch_gc()

    def ready_checkpoint(self) -> None:
        """See `WebUIDeviceManager.ready_checkpoint`."""
        info = chosen_checkpoint()
        self._bring_back()
        load_by_access(info)

    def _move_out(self) -> None:
        """The WebUI's models, once in a job; a model under --medvram or --lowvram in its own way."""
        models = webui(Module.SD_MODELS)
        for model in _loaded():
            if not any(model is moved for moved in self._moved):
                self._moved.append(model)
                with lasting():
                    models.send_model_to_cpu(model)

    def _bring_back(self) -> None:
        """The model in use to the device; others wait in main memory, as the WebUI lets them."""
        models = webui(Module.SD_MODELS)
        moved, self._moved = self._moved, []
        if moved:
            _devices().torch_gc()
        for model in moved:
            if model is models.model_data.sd_model:
                with lasting():
                    models.send_model_to_device(model)


class A1111Vae:
    """A `ports.Vae`: the network itself, so that the user's approximations (TAESD) have no part in it."""

    def __init__(self, model: Any) -> None:
        self.title = title_of(model)
        self._model = model
        self._module = model.first_stage_model

    def encode(self, pictures: Any) -> Any:
        """See `ports.Vae.encode`."""
        return self._run(lambda given: self._module.encode(given).mode(), pictures)

    def decode(self, latents: Any) -> Any:
        """See `ports.Vae.decode`."""
        return self._run(self._module.decode, latents)

    def _run(self, call: Callable[[Any], Any], given: Any) -> Any:
        """In the WebUI's numbers, or in float32 where those overflow; the numbers are left as they were."""
        import torch

        with lasting(), torch.autocast("cuda", enabled=False):
            self._move_in()
            kept = next(self._module.parameters()).dtype
            done = self._called(call, given)
            if kept != torch.float32 and not bool(torch.isfinite(done).all()):
                self._module.float()
                try:
                    done = self._called(call, given)
                finally:
                    self._module.to(kept)
            return done

    def _called(self, call: Callable[[Any], Any], given: Any) -> Any:
        dtype = next(self._module.parameters()).dtype
        return call(given.to(_devices().device, dtype)).float()

    def _move_in(self) -> None:
        """To the device; --medvram and --lowvram do that in their own way when they are called."""
        if not getattr(self._model, "lowvram", False):
            self._module.to(_devices().device)


def _devices() -> Any:
    return webui(Module.DEVICES)


def _loaded() -> list[Any]:
    """Models that the WebUI keeps, on the device or in main memory."""
    data = webui(Module.SD_MODELS).model_data
    kept = list(getattr(data, "loaded_sd_models", ()))
    if data.sd_model is not None and not any(data.sd_model is model for model in kept):
        kept.append(data.sd_model)
    return kept
