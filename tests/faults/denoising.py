"""A job of the sonic engine, with networks of a few channels on a card that may fail."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import tiny_sonic
import torch
from exporting import PRIVATE
from faults import CARD, LOST_CARD
from torch.nn.modules.module import register_module_forward_pre_hook
from trials import NOTES
from working import WANTED, Work

from sonic_ext.engines.sonic import engine  # noqa: F401  (loaded before the first copy of this process)
from sonic_ext.engines.sonic.libraries import broken
from sonic_ext.jobs import Worker

if reason := broken():
    raise ImportError(reason)
FAILED = (
    "CUDA error: unspecified launch failure\n"
    "Search for `cudaErrorLaunchFailure' in "
    "https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information.\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below "
    "might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
"""As torch says it of a card that a process has lost; so it does at every later call of that process."""


class Denoise(Work):
    name = "sonic engine, tiny networks"
    has = frozenset({CARD})
    ways = ("time", "call")  # its lines are torch's for the most part, and telling them apart takes minutes
    settings = replace(WANTED, engine="sonic", inference_steps=3, duration=0.2)
    frames = 5

    def prepare(self, place: Path) -> None:
        super().prepare(place)
        tiny_sonic.write(place / "models")

    def left(self, place: Path) -> dict[str, int]:
        """What the engine keeps to go on from is no rest until the video is made, see `problems`; nor is the
        file of the device's lock."""
        found = Counter(super().left(place))
        found[PRIVATE] -= len(checkpoints(place)) + len(list((place / "home").glob("sonic-*.lock")))
        return dict(found)

    def problems(self, place: Path) -> list[str]:
        return [*super().problems(place), *(f"{path.name} is left" for path in checkpoints(place))]

    @contextmanager
    def working(self, place: Path) -> Iterator[Worker]:
        os.environ["SONIC_MODELS"] = str(place / "models")
        lost = place / NOTES / LOST_CARD

        def look(*_: object) -> None:
            if lost.exists() and lost.read_text() == str(os.getpid()):
                raise torch.AcceleratorError(FAILED)

        torch.set_num_threads(1)
        hook = register_module_forward_pre_hook(look)
        try:
            with super().working(place) as worker:
                yield worker
        finally:
            hook.remove()


def checkpoints(place: Path) -> list[Path]:
    """What lies there to go on from."""
    return [path for path in (place / "home").glob("drafts/*") if path.is_file()]
