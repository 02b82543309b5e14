"""What training adapters takes of a device's memory, forecast before anything is loaded.

Activations are fitted to counts of forward and backward passes of the published network on tensors without
contents, as in `benchmarks/footprint.py`; nothing of it was measured on a card. What an allocator rounds up
and libraries take stands in `RESERVE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ...engines.sonic import footprint
from .network import ADAPTERS

GB = 1e9
RESERVE = 1_200_000_000
"""Bytes for the device's libraries and what they work in."""
PER_WEIGHT = 4 + 4 + 8 + 4
"""Bytes of a number that is trained: itself, its gradient, AdamW's two, the running mean's, all float32."""
ACTIVATIONS = {(2, True): 68_000, (2, False): 410_000, (4, True): 136_000, (4, False): 810_000}
"""Bytes for each latent pixel of each frame, by bytes per number and whether activations are made again."""


@dataclass(frozen=True)
class TrainingMemory:
    """Of each device."""

    unet: Mapping[str, tuple[int, ...]]
    """Shapes in the UNet's file."""
    audio2token: Mapping[str, tuple[int, ...]]
    grid: tuple[int, int]
    """Latents of a frame, down and across."""
    frames: int
    """That go through the network together on one device."""
    itemsize: int
    """Bytes per number of what is held."""
    checkpointed: bool

    @property
    def held(self) -> int:
        """Weights that are not trained."""
        numbers = sum(prod(shape) for key, shape in self.unet.items() if ADAPTERS not in key)
        return numbers * self.itemsize

    @property
    def trained(self) -> int:
        """Weights that are, with gradients, the optimiser's state and the running mean."""
        own = sum(prod(shape) for key, shape in self.unet.items() if ADAPTERS in key)
        return PER_WEIGHT * (own + sum(prod(shape) for shape in self.audio2token.values()))

    @property
    def activations(self) -> int:
        """Of a forward and a backward pass."""
        width = self.unet["conv_in.weight"][0] / footprint.WIDTHS[0]
        each = ACTIVATIONS[self.itemsize, self.checkpointed]
        return round(each * self.grid[0] * self.grid[1] * self.frames * width)

    @property
    def total(self) -> int:
        """Bytes in all."""
        return RESERVE + self.held + self.trained + self.activations

    def text(self, free: int) -> str:
        """A line for the user, and a second one where that much is not free."""
        parts = (
            f"{self.held / GB:.1f} held weights",
            f"{self.trained / GB:.1f} adapters with gradients, optimiser and mean",
            f"{self.activations / GB:.1f} activations",
            f"{RESERVE / GB:.1f} libraries",
        )
        line = (
            f"Memory of each device: about {self.total / GB:.1f} GB ({', '.join(parts)}); forecast by "
            f"formula, not measured on a card. {free / GB:.1f} GB are free."
        )
        if self.total <= free:
            return line
        return f"{line}\nThat is not enough: use a smaller --batch, or --side, and leave checkpointing on."
