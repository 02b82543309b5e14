"""What a video will cost, and how it fits into the memory that is free.

Bytes and operations come from `footprint`, which was fitted to counts of the published networks; networks of
another size are taken in proportion. Workspaces of the device's libraries are not counted there and stand in
`RESERVE`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ...errors import OutOfMemory
from ...settings import describe
from ..runtime.devices import Hardware
from . import footprint
from .long_run import held_frames
from .stream import CHUNK
from .windows import Plan

MEMORY_MODES = ("together", "branches", "offload")
"""Ways to run the UNet, from the most memory to the least; all give the same latents to rounding."""
MODE_TEXTS = {
    "together": "all branches in one batch",
    "branches": "one branch at a time",
    "offload": "the network moved in layer by layer",
}
CHUNKS = (CHUNK, 4, 2, 1)
"""Frames decoded at once. The first is the published number; fewer of them are decoded a little differently,
because the temporal layers see each piece by itself."""
RESERVE = 700_000_000
"""Bytes for the device's libraries and what they work in."""
MARGIN = 0.92
"""Share of the free memory that is planned with."""
PROCESS = 900_000_000
"""Bytes of main memory for Python, torch, the video encoder and the frames under way."""
PER_FRAME = 500_000
"""Bytes of main memory per base frame, of those that are held there: audio tokens and latents."""
EFFICIENCY = {"cpu": 0.45, "other": 0.4}
"""Share of a matrix product's speed that the networks reach; measured on two cores, assumed elsewhere."""
UNMEASURED = "Time and memory are computed for this card, not measured on one: `sonic bench` does that."
GB = 1e9


@dataclass(frozen=True)
class MemoryPlan:
    """How a video is made with the memory that there is."""

    mode: str
    """Of `MEMORY_MODES`: how the UNet runs."""
    chunk: int = CHUNKS[0]
    """Frames decoded at once."""
    note: str = ""
    """A sentence about what was picked and why; empty when it was asked for."""


@dataclass(frozen=True)
class Budget:
    """The costs of one video of the sonic engine."""

    hardware: Hardware
    shapes: Mapping[str, tuple[int, ...]]
    """Of the UNet's file."""
    side: int
    """Short side of what the network draws, in pixels."""
    plan: Plan
    steps: int
    calls: float = 3.0
    """Branches that a step computes on average."""
    aspect: float = 1.0
    """Long side of what the network draws, as a multiple of the short one."""
    heads: int = 1
    """That are drawn, one after the other."""

    def _size(self, side: int) -> tuple[int, int]:
        """Long and short side of what is drawn, in pixels."""
        return round(side * self.aspect), side

    @property
    def _elements(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def _width(self) -> float:
        """Channels as a share of the published network's."""
        return self.shapes["conv_in.weight"][0] / footprint.WIDTHS[0]

    def device_bytes(self, mode: str, chunk: int = CHUNKS[0], side: int | None = None) -> int:
        """Peak memory of the device in a memory mode of the UNet, the decoder included."""
        size = side or self.side
        return RESERVE + max(self._unet_bytes(mode, size), self._decoder_bytes(chunk, size))

    def working(self, mode: str) -> int:
        """Bytes of the device that the UNet needs in a memory mode beside weights that stay there."""
        layers = self._offloaded_at_once * self.hardware.stored if mode == "offload" else 0
        return RESERVE + layers + self._unet_working(mode, self.side)

    def decoding(self, chunk: int) -> int:
        """Bytes of the device that a decoder works in."""
        return RESERVE + self._decoder_working(chunk, self.side)

    def _unet_bytes(self, mode: str, side: int) -> int:
        elements = self._offloaded_at_once if mode == "offload" else self._elements
        return elements * self.hardware.stored + self._unet_working(mode, side)

    def _unet_working(self, mode: str, side: int) -> int:
        window, item = self.plan.window, self.hardware.itemsize
        return round(footprint.unet_activations(*self._size(side), window, mode, item) * self._width)

    @property
    def _offloaded_at_once(self) -> int:
        """Numbers of the layers that are on the device at once: one works while the next one comes."""
        sizes: Counter[str] = Counter()
        for key, shape in self.shapes.items():
            path = key.split(".")
            depth = 4 if path[0].endswith("_blocks") else 3 if path[0] == "mid_block" else 1
            sizes[".".join(path[:depth])] += prod(shape)
        return sum(size for _, size in sizes.most_common(2))

    def _decoder_bytes(self, chunk: int, side: int) -> int:
        return footprint.VAE * self.hardware.itemsize + self._decoder_working(chunk, side)

    def _decoder_working(self, chunk: int, side: int) -> int:
        working = footprint.vae_decode_activations(*self._size(side), chunk, self.hardware.itemsize)
        return round(working * min(1.0, self._width))

    def main_bytes(self, memory_plan: MemoryPlan) -> int:
        """Peak main memory."""
        waiting = self._elements * self.hardware.stored if memory_plan.mode == "offload" else 0
        own = self.device_bytes(memory_plan.mode, memory_plan.chunk) if self.hardware.is_cpu else 0
        held = min(self.plan.frames, held_frames(*self._size(self.side)))
        return PROCESS + waiting + own + self.heads * held * PER_FRAME

    @property
    def denoising_operations(self) -> float:
        """Operations of the UNet over all heads, steps and windows."""
        window = footprint.unet_operations(*self._size(self.side), self.plan.window)
        windows = self.plan.seen / self.plan.window
        each = self.calls * self.steps * windows * window * self._elements / footprint.UNET
        return self.heads * each

    @property
    def decoding_operations(self) -> float:
        """Operations of the decoder over all frames of all heads."""
        decoding = self.heads * self.plan.frames * footprint.vae_decode_operations(*self._size(self.side))
        return decoding * min(1.0, self._width**2)

    @property
    def caveat(self) -> str:
        """A sentence on what the forecast rests on; empty where that was measured."""
        return "" if self.hardware.is_cpu else UNMEASURED

    def seconds(self, speed: float) -> float:
        """Working time, given operations per second of a matrix product."""
        reached = EFFICIENCY["cpu" if self.hardware.is_cpu else "other"] * speed
        return (self.denoising_operations + self.decoding_operations) / reached

    def memory_plan(self, wanted: str, free: int) -> MemoryPlan:
        """How to use the memory.

        Args:
            wanted: auto, or one of `MEMORY_MODES`.
            free: bytes of the device.
        """
        if wanted != "auto":
            return MemoryPlan(wanted)
        available = free * MARGIN - RESERVE
        chunk = next(
            (each for each in CHUNKS if self._decoder_bytes(each, self.side) <= available), CHUNKS[-1]
        )
        if self.hardware.is_cpu:
            return MemoryPlan(
                "branches", chunk, f"Memory: {MODE_TEXTS['branches']}, the fastest way on a processor."
            )
        fitting = (each for each in MEMORY_MODES if self._unet_bytes(each, self.side) <= available)
        mode = next(fitting, MEMORY_MODES[-1])
        fewer = (
            ""
            if chunk == CHUNKS[0]
            else f", {chunk} frames decoded at once instead of {CHUNKS[0]} (not quite the same frames)"
        )
        return MemoryPlan(
            mode, chunk, f"Memory: {MODE_TEXTS[mode]}{fewer}, since {free / GB:.1f} GB are free."
        )

    def warning(self, memory_plan: MemoryPlan, free: int) -> str:
        """A sentence if the video is not expected to fit; empty otherwise."""
        need = self.device_bytes(memory_plan.mode, memory_plan.chunk)
        if need <= free:
            return ""
        return f"This needs about {need / GB:.1f} GB and {free / GB:.1f} GB are free. {self._advice(free)}"

    def refusal(self, free: int) -> OutOfMemory:
        """The error when nothing smaller is left to try."""
        long, short = self._size(self.side)
        what = f"Memory ran out at {long} × {short} on {self.hardware.title}."
        return OutOfMemory(what, self._advice(free))

    def _advice(self, free: int) -> str:
        spec = describe()["min_resolution"]
        low, high, step = (int(value or 0) for value in (spec.low, spec.high, spec.step))
        for side in range(min(high, self.side - step), low - 1, -step):
            if self.device_bytes(MEMORY_MODES[-1], CHUNKS[-1], side) <= free * MARGIN:
                return f"The largest resolution that fits is min_resolution={side}."
        return "Close other programs that use the memory, or use engine=preview."
