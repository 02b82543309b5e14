"""Where the networks run and in which numbers: asked of torch, decided once per video."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch

from ...errors import BadSetting

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "status_alloc_failed",
    "unable to find an engine",
    "unable to find a valid cudnn algorithm",
    "invalid buffer size",
)
"""How CUDA, cuDNN, cuBLAS, ROCm, Apple's GPU and the processor say that memory has run out."""
NO_CODE = ("no kernel image is available", "device kernel image is invalid", "invalid device function")
"""How CUDA and ROCm say that a library has no code for a card."""
WHEELS = "python -m pip install --upgrade torch --index-url https://download.pytorch.org/whl/"
NEWEST, OLDEST = "cu128", "cu126"
"""The builds of torch that know the newest cards, and the oldest."""
NARROW = ("fp8", "int8")
"""Precisions of 8 bits."""
PROBE = {"cpu": 1024, "other": 4096}
"""Side of the matrices that the speed is measured with; a card ends a small product before the next comes."""
PROBED = 0.03
"""Seconds that it is measured for."""


@dataclass(frozen=True)
class Hardware:
    """A device and the numbers that the large networks compute with on it."""

    device: str
    """As torch names it: cuda:0, mps, cpu."""
    dtype: torch.dtype
    """Of UNet, VAE and CLIP; the speech networks compute in float32 everywhere."""
    narrow: str = ""
    """fp8: the UNet's weights rest in 8 bits; int8: its matrices are multiplied in 8-bit integers."""
    title: str = "the processor"
    """For the user."""

    @property
    def is_cpu(self) -> bool:
        """Whether device memory and main memory are one."""
        return self.device == "cpu"

    @property
    def itemsize(self) -> int:
        """Bytes per number."""
        return self.dtype.itemsize

    @property
    def stored(self) -> int:
        """Bytes per number of the resting UNet."""
        return 1 if self.narrow == "fp8" else self.itemsize


def hardware(precision: str, device: str | None = None) -> Hardware:
    """The best device of this computer, and the numbers for a setting.

    Args:
        precision: auto, fp32, fp16, bf16, fp8 or int8.
        device: None picks CUDA or ROCm, else Apple's GPU, else the processor.

    Raises:
        BadSetting: the device cannot compute so.
    """
    chosen = device or best_device()
    on_cpu = chosen == "cpu"
    if precision == "fp16" and on_cpu:
        raise BadSetting(
            "precision=fp16 needs a graphics card; the processor has no such numbers.",
            "Use precision=auto, which is fp32 on a processor, or bf16.",
        )
    if precision == "bf16" and chosen.startswith("cuda") and not computes_bf16(chosen):
        raise BadSetting(f"{torch.cuda.get_device_name(chosen)} cannot compute in bf16.", "Use fp16.")
    if precision in NARROW and chosen == "mps":
        raise BadSetting("Apple's GPU knows no numbers of 8 bits.", "Use precision=fp16.")
    if precision == "int8" and chosen.startswith("cuda") and not multiplies_int8(chosen):
        raise BadSetting(
            f"{torch.cuda.get_device_name(chosen)} does not multiply 8-bit integers.", "Use precision=fp16."
        )
    usual = torch.float32 if on_cpu else torch.float16
    dtype = torch.float32 if precision == "fp32" else HALVES.get(precision, usual)
    return Hardware(chosen, dtype, precision if precision in NARROW else "", _title(chosen))


def multiplies_int8(device: str) -> bool:
    """Whether a card multiplies 8-bit integers by torch: NVIDIA's since Turing."""
    return not torch.version.hip and torch.cuda.get_device_capability(device) >= (7, 5)


def computes_bf16(device: str) -> bool:
    """Whether a card multiplies bfloat16 itself: `torch.cuda.is_bf16_supported` counts emulation as well."""
    if torch.version.hip:
        return torch.cuda.is_bf16_supported()
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _title(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return "the Apple GPU" if device == "mps" else "the processor"


def best_device() -> str:
    """CUDA or ROCm, else Apple's GPU, else the processor."""
    if torch.cuda.is_available():
        return f"cuda:{torch.cuda.current_device()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@dataclass(frozen=True)
class UnusableCard:
    """A card that the installed torch cannot compute on."""

    message: str
    """What it is, in one sentence."""
    hint: str
    """Which torch to install."""


@lru_cache(maxsize=8)
def unusable(device: str) -> UnusableCard | None:
    """Why a device is not to be used; None where it computes. Tried once with the smallest of sums.

    `torch.cuda.is_available` is true for every card that the driver knows, also for those that came after the
    torch, or that it has given up.
    """
    if not device.startswith("cuda"):
        return None
    try:
        float(torch.ones(1, device=device) + 1)
        return None
    except RuntimeError as error:
        if not any(words in str(error) for words in NO_CODE):
            return None  # is told where it is met with real work
    major, minor = torch.cuda.get_device_capability(device)
    known = [int(name[3:].rstrip("af")) for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    older = bool(known) and major * 10 + minor < min(known)
    wanted = f"{WHEELS}{OLDEST if older else NEWEST}"
    if torch.version.hip:
        wanted = "see https://pytorch.org/get-started/locally"
    return UnusableCard(
        f"{torch.cuda.get_device_name(device)} is not used: the installed torch {torch.__version__} has no "
        f"code for cards like it (compute capability {major}.{minor}).",
        f"Install a torch that has: {wanted} - or hide the card (CUDA_VISIBLE_DEVICES=-1).",
    )


def free_memory(device: str) -> int:
    """Bytes that may still be taken on a device, those that torch holds unused included."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    most = getattr(torch.mps, "recommended_max_memory", None) if device == "mps" else None
    if most is not None:
        return most() - torch.mps.current_allocated_memory()
    import psutil  # a card is asked without it

    return psutil.virtual_memory().available


def forget_peak(device: str) -> None:
    """Begin anew with what `peak_memory` tells."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> int:
    """Most bytes of a card that torch held at once since `forget_peak`; 0 where it does not count them."""
    return torch.cuda.max_memory_reserved(device) if device.startswith("cuda") else 0


def release(device: str) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


@contextmanager
def release_after(device: str) -> Iterator[None]:
    """Whatever happens inside, unused memory is given back at the end."""
    try:
        yield
    finally:
        release(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in the words of CUDA, ROCm, Apple's and the processor's allocators."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in NO_MEMORY)


@contextmanager
def catch_out_of_memory() -> Iterator[None]:
    """Memory that runs out inside ends the block quietly; every other error goes on.

    Whoever uses it gives memory back *after* the block: until then the error's frames hold it.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise


@lru_cache(maxsize=8)
def speed(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a matrix product, measured in a few hundredths of a second.

    Takes 100 to 200 MB of a card. Random numbers: on equal ones cards are faster than on any picture.
    """
    side = PROBE["cpu" if device == "cpu" else "other"]
    one = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    _products(one, 1)  # loads the libraries
    repeats = min(50, max(2, round(PROBED / _products(one, 1))))
    return repeats * 2 * side**3 / _products(one, repeats)


def _products(one: torch.Tensor, repeats: int) -> float:
    """Seconds of so many products."""
    began = time.perf_counter()
    for _ in range(repeats):
        last = one @ one
    float(last[0, 0])  # waits for the device
    return time.perf_counter() - began
