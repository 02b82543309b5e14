"""Where the networks of one video live: on the device itself, or in a WebUI, which is asked for room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...ports import Place
from .devices import free_memory, released_after


class Room:
    """The device's memory as one video may use it.

    Args:
        device: as torch names it.
        place: the WebUI's memory, where there is a WebUI.
    """

    def __init__(self, device: str, place: Place | None = None) -> None:
        self._device = device
        self._place = place
        self._brought: list[Any] = []

    @property
    def rest(self) -> str:
        """Where weights are read to: a WebUI brings them to the device itself."""
        return "cpu" if self._place else self._device

    def free(self) -> int:
        """Bytes of the device that the video may count on, the WebUI's own models moved out."""
        known = self._place.free_memory() if self._place else None
        return free_memory(self._device) if known is None else known

    def clear(self, needed: int) -> None:
        """Make room for something that is no network of its own."""
        if self._place:
            self._place.clear(needed)

    def brought(self, network: Any, working: int = 0) -> Any:
        """The network, on the device until the `stage` is left.

        Args:
            network: filled.
            working: bytes that it works in, beside its weights.
        """
        if self._place is None:
            return network.to(self._device)
        self._brought.append(network)  # also where loading fails: part of it may lie there already
        self._place.load(network, working)
        return network

    def left(self, network: Any) -> None:
        """The network goes before its stage ends; nothing where it is not there."""
        kept = [each for each in self._brought if each is not network]
        if self._place and len(kept) < len(self._brought):
            self._brought = kept
            self._place.unload(network)

    @contextmanager
    def stage(self) -> Iterator[None]:
        """What is brought inside leaves at the end, whatever happens; unused memory is given back."""
        before = len(self._brought)
        with released_after(self._device):
            try:
                yield
            finally:
                while self._place and len(self._brought) > before:
                    self._place.unload(self._brought.pop())
