"""What both kinds of WebUI share when they lend their VAE and their memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from ..errors import MissingPart
from ..ports import DeviceManager, HostVae, Result
from .modules import Module, webui

CHANNELS, SCALE = 4, 0.18215
"""The latent space of Stable Diffusion 1 and 2, in which Stable Video Diffusion works."""


class WebUIDeviceManager(DeviceManager, Protocol):
    """A `DeviceManager` with what a host needs of it."""

    name: str

    def run(self, task: Callable[[], Result]) -> Result:
        """Run a task on the thread that the WebUI's models belong to; its errors are raised here."""

    def visit(self) -> AbstractContextManager[None]:
        """While inside, networks may be loaded; afterwards everything is as the WebUI left it."""

    def ready_checkpoint(self) -> None:
        """Make the chosen checkpoint ready for the next picture; call inside `Host.work`.

        Raises:
            MissingPart: there is none, or it cannot be loaded.
        """


def refusal(channels: int, scale: float, shift: float = 0.0) -> str:
    """Why a VAE cannot be borrowed; empty where it can."""
    if channels == CHANNELS and abs(scale - SCALE) < 1e-6 and abs(shift) < 1e-6:
        return ""
    return (
        f"The loaded checkpoint's VAE speaks another latent space ({channels} channels, scaled by {scale:g}; "
        f"{CHANNELS} and {SCALE} are needed, as in Stable Diffusion 1.5)."
    )


def no_checkpoint() -> HostVae:
    """Nothing is loaded, and looking must not load anything."""
    return HostVae(None, "No checkpoint is loaded in the WebUI, so there is no VAE to borrow.")


def title_of(model: Any) -> str:
    """The checkpoint's name as the WebUI shows it."""
    info = getattr(model, "sd_checkpoint_info", None)
    name = getattr(info, "name_for_extra", None) or getattr(info, "name", None) or "the loaded checkpoint"
    return f"the VAE of {name}"


def device_name(device: Any) -> str:
    """A device as torch names it, with its number."""
    import torch

    found = torch.device(device)
    if found.type == "cuda" and found.index is None:
        return f"cuda:{torch.cuda.current_device()}"
    return str(found)


def bytes_of(module: Any, device: Any = None) -> int:
    """Bytes of a module's weights, those on one device or all."""
    kept = (weight for weight in module.parameters() if device is None or weight.device == device)
    return sum(weight.numel() * weight.element_size() for weight in kept)


def drop_from_device(network: Any) -> None:
    """Free a network's memory, whoever still refers to it."""
    network.to("meta")


@contextmanager
def lasting() -> Iterator[None]:
    """What is moved inside stays usable everywhere.

    Weights that are moved in torch's inference mode could not be written to outside of it any more, and the
    WebUI writes to its own when the checkpoint changes.
    """
    import torch

    with torch.inference_mode(False), torch.no_grad():
        yield


def no_such_checkpoint() -> MissingPart:
    """The WebUI has no checkpoint at all."""
    return MissingPart(
        "The WebUI has no checkpoint.",
        "Put one into its folder models/Stable-diffusion, and refresh the list.",
    )


def failed_checkpoint(name: str, reason: str = "") -> MissingPart:
    """A checkpoint that is there and could not be loaded."""
    said = f": {reason}" if reason else ""
    return MissingPart(
        f"The checkpoint {name} could not be loaded{said}.",
        "Choose another one at the top of the WebUI, or read why in its console.",
    )


def chosen_checkpoint() -> Any:
    """What the WebUI is to load.

    Raises:
        MissingPart: nothing to choose from.
    """
    models = webui(Module.SD_MODELS)
    if not models.checkpoints_list:
        raise no_such_checkpoint()
    try:
        found = models.select_checkpoint()
    except FileNotFoundError as error:
        raise no_such_checkpoint() from error
    if found is None:
        raise no_such_checkpoint()
    return found


def load_by_access(info: Any) -> None:
    """Load the chosen checkpoint where asking for the model loads it, as in A1111 and reForge.

    Raises:
        MissingPart: it cannot be loaded.
    """
    shared, models = webui(Module.SHARED), webui(Module.SD_MODELS)
    try:
        shared.sd_model  # noqa: B018 - waits for the WebUI's own loading at its start
        models.reload_model_weights()  # nothing to do, unless another one was chosen or loading failed before
        loaded = models.model_data.sd_model
    except Exception as error:  # any: files are damaged in every way
        raise failed_checkpoint(info.title, str(error)) from error
    if loaded is None:
        raise failed_checkpoint(info.title)
