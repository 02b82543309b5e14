"""What this card reaches by itself: products, copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from .bench import Bench, named
from .runner import Row


def measure(bench: Bench) -> Iterator[Row]:
    """Operations per second of products, bytes per second of copies; random numbers."""
    side = bench.sizes.product
    for dtype in (*bench.dtypes, *(() if bench.is_cpu else (torch.float32,))):
        yield bench.tried({"product": f"{side}³ {named(dtype)}"}, partial(_product, bench, dtype))
    for name, moved, copy in _copies(bench):
        timing = bench.timed(copy, 10)
        yield {"copy": name, "GB/s": moved / timing.median / 1e9, **timing.row()}


def _product(bench: Bench, dtype: torch.dtype) -> Row:
    timing = bench.product_speed(dtype)
    return {"TFLOP/s": 2 * bench.sizes.product**3 / timing.median / 1e12, **timing.row()}


def _copies(bench: Bench) -> Iterator[tuple[str, int, Callable[[], torch.Tensor]]]:
    """Names, bytes that move in a copy, copies."""
    size = bench.sizes.copied
    here = torch.randint(0, 255, (size,), dtype=torch.uint8, device=bench.device)
    there = torch.empty_like(here)
    yield "on the device, read and written", 2 * size, lambda: there.copy_(here)
    if bench.is_cpu:
        return
    usual = here.cpu()
    yield "to the device", size, lambda: there.copy_(usual, non_blocking=True)
    pinned = usual.pin_memory()
    yield "to the device from pinned memory", size, lambda: there.copy_(pinned, non_blocking=True)
    yield "from the device to pinned memory", size, lambda: pinned.copy_(here, non_blocking=True)
