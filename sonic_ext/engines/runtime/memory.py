"""Where the networks of one video live: on the device itself, or in a WebUI, which is asked to clear some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...ports import DeviceManager
from .devices import free_memory, release_after


class DeviceMemory:
    """The device's memory as one video may use it.

    Args:
        device: as torch names it.
        devices: the WebUI's memory, where there is a WebUI.
    """

    def __init__(self, device: str, devices: DeviceManager | None = None) -> None:
        self._device = device
        self._devices = devices
        self._loaded: list[Any] = []

    @property
    def read_device(self) -> str:
        """Where weights are read to: a WebUI brings them to the device itself."""
        return "cpu" if self._devices else self._device

    def free(self) -> int:
        """Bytes of the device that the video may count on, the WebUI's own models moved out."""
        known = self._devices.free_memory() if self._devices else None
        return free_memory(self._device) if known is None else known

    def clear(self, needed: int) -> None:
        """Make room for something that is no network of its own."""
        if self._devices:
            self._devices.clear(needed)

    def load(self, network: Any, working: int = 0) -> Any:
        """The network, on the device until the `stage` is left.

        Args:
            network: filled.
            working: bytes that it works in, beside its weights.
        """
        if self._devices is None:
            return network.to(self._device)
        self._loaded.append(network)  # also where loading fails: part of it may lie there already
        self._devices.load(network, working)
        return network

    def unload(self, network: Any) -> None:
        """The network goes before its stage ends; nothing where it is not there."""
        kept = [each for each in self._loaded if each is not network]
        if self._devices and len(kept) < len(self._loaded):
            self._loaded = kept
            self._devices.unload(network)

    @contextmanager
    def stage(self) -> Iterator[None]:
        """What is loaded inside is unloaded at the end, whatever happens; unused memory is given back."""
        before = len(self._loaded)
        with release_after(self._device):
            try:
                yield
            finally:
                while self._devices and len(self._loaded) > before:
                    self._devices.unload(self._loaded.pop())
