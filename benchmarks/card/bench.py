"""What a section is given: the device, its clock and its memory."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sonic_ext.engines.runtime.devices import catch_out_of_memory, computes_bf16, free_memory
from sonic_ext.engines.sonic.budget import MARGIN

from .networks import FULL, TINY, Sizes
from .runner import Row

REPEATS = 7
"""Calls that the clock is read for, after one that does not count."""
LEAST, PATIENCE = 3, 12.0
"""Calls in any case, and seconds after which there are no more than these."""
DRY_REPEATS = 2
"""Calls in a dry run."""
LIBRARIES = ("diffusers", "transformers", "numpy", "triton")
ASKED = "driver_version,clocks.max.sm,clocks.sm,power.limit,temperature.gpu"
"""Of nvidia-smi."""


@dataclass(frozen=True)
class Timing:
    """Seconds of several calls, and the memory that they took."""

    seconds: tuple[float, ...]
    allocated: int | None
    """Bytes at the peak, weights included; None on a processor."""
    reserved: int | None
    """The same with what the allocator holds unused."""
    out: Any
    """What the last call gave."""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    def row(self) -> Row:
        """Median and spread."""
        return {
            "s": self.median,
            "least": min(self.seconds),
            "most": max(self.seconds),
            "calls": len(self.seconds),
        }


@dataclass
class Bench:
    """A device to measure on."""

    device: str
    """cuda:0 or cpu."""
    sizes: Sizes
    limit: int | None
    """Bytes of the card that may be used, where it stands in for a smaller one."""
    card: Row = field(default_factory=dict)

    @property
    def is_cpu(self) -> bool:
        """A dry run."""
        return self.device == "cpu"

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """What large networks compute with here, the engine's own choice first."""
        if self.is_cpu:
            return (torch.float32,)
        halves = (torch.float16, torch.bfloat16)
        return halves if computes_bf16(self.device) else halves[:1]

    @property
    def memory(self) -> int:
        """Bytes of the device that may be used at most: what others left when it was opened."""
        found: int = self.card["free"]
        return min(self.limit or found, found)

    def free(self) -> int:
        """Bytes that may still be used, as the engine counts them."""
        return self.memory if self.is_cpu else min(free_memory(self.device), self.memory)

    def fits(self, needed: int) -> bool:
        """Whether so many bytes are within what the engine plans with."""
        return needed <= self.memory * MARGIN

    def finish(self) -> None:
        """Wait for the device."""
        if not self.is_cpu:
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Give back what nothing refers to."""
        gc.collect()
        if not self.is_cpu:
            torch.cuda.empty_cache()

    def allow(self, limit: int | None) -> None:
        """Keep torch from taking more than so many bytes; None for what the session may."""
        if not self.is_cpu:
            most = min(limit or self.memory, self.memory)
            torch.cuda.set_per_process_memory_fraction(min(1.0, most / self.card["memory"]), self.device)

    def timed(self, run: Callable[[], Any], repeats: int = REPEATS) -> Timing:
        """Calls after a first one that does not count; on a card by its own clock."""
        self.release()
        if not self.is_cpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        once = _by_clock if self.is_cpu else _by_events
        once(run)  # loads libraries and kernels
        seconds: list[float] = []
        repeats = DRY_REPEATS if self.is_cpu else repeats
        out: Any = None
        while len(seconds) < repeats and (len(seconds) < LEAST or sum(seconds) < PATIENCE):
            out = None  # or the memory of two would be counted
            took, out = once(run)
            seconds.append(took)
        if self.is_cpu:
            return Timing(tuple(seconds), None, None, out)
        peaks = torch.cuda.max_memory_allocated(self.device), torch.cuda.max_memory_reserved(self.device)
        return Timing(tuple(seconds), *peaks, out)

    def tried(self, names: Row, measure: Callable[[], Row]) -> Row:
        """The row of a measurement; one that says so where memory runs out, and the next goes on."""
        with catch_out_of_memory():
            return {**names, **measure()}
        self.release()
        return {**names, "result": "out of memory"}

    def product_speed(self, dtype: torch.dtype) -> Timing:
        """Of two random matrices."""
        side = self.sizes.product
        one, other = (torch.randn(side, side, device=self.device).to(dtype) for _ in range(2))
        return self.timed(lambda: one @ other, 10)

    def peak(self, dtype: torch.dtype) -> float:
        """Operations per second of such a product."""
        return 2 * self.sizes.product**3 / self.product_speed(dtype).median


def _by_events(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call by the card's own clock, and what it gave."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    out = run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000, out


def _by_clock(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    out = run()
    return time.perf_counter() - began, out


def checked(out: torch.Tensor) -> Row:
    """Whether a result is numbers, and not all the same: a check."""
    values = out.float()
    return {"passed": bool(torch.isfinite(values).all()) and float(values.std()) > 0}


def difference(got: torch.Tensor, want: torch.Tensor) -> float:
    """Norm of the difference, relative."""
    return float((got.float() - want.float()).norm() / want.float().norm())


def gigabytes(count: int | None) -> float | None:
    """For a table."""
    return None if count is None else round(count / 1e9, 3)


def named(dtype: torch.dtype) -> str:
    """fp16, bf16, fp32."""
    names = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
    return names[dtype]


def opened(options: Mapping[str, Any]) -> Bench:
    """The device that was asked for; without a card the processor, with tiny networks.

    Args:
        options: `device` (auto, cuda, cpu), `tiny`, `memory` (bytes, or None), `threads`.
    """
    found = torch.cuda.is_available()
    if options["device"] == "cuda" and not found:
        raise RuntimeError("no card was found that this torch can use")
    device = "cpu" if options["device"] == "cpu" or not found else "cuda:0"
    tiny = options["tiny"] or device == "cpu"
    if options.get("threads"):
        torch.set_num_threads(options["threads"])
    card = _processor() if device == "cpu" else _card(device)
    own = {"device": device, "tiny": tiny, "limit": options.get("memory"), **_libraries()}
    bench = Bench(device, TINY if tiny else FULL, options.get("memory"), {**card, **own})
    bench.allow(None)
    return bench


def _processor() -> Row:
    memory = _main_memory()
    return {"name": f"{platform.machine()} processor", "memory": memory, "free": memory}


def _main_memory() -> int:
    """Bytes of main memory; 0 where the system does not say."""
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _card(device: str) -> Row:
    found = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return {
        "name": found.name,
        "memory": total,
        "free": free,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        **_asked(),
    }


def _asked() -> Row:
    """Driver, clocks in MHz, power in W, temperature in °C; nothing where nvidia-smi is missing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    words = [tool, f"--query-gpu={ASKED}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    names = ("driver", "clock_most", "clock", "power", "temperature")
    return dict(zip(names, (part.strip() for part in done.stdout.split(",")), strict=False))


def _libraries() -> Row:
    found = {"torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
