"""The recorded numbers of the published inference on this device, in every precision it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parity_cases as cases  # the tests' own; `networks` has put them into reach
import torch
from parity_numbers import Numbers

from .bench import Bench, named
from .runner import ROOT, Row

FOLDER = ROOT / "tests" / "data" / "parity"


@dataclass(frozen=True)
class Kind:
    """Cases of one kind."""

    name: str
    files: str
    run: Callable[[Numbers, Path], Iterator[cases.Check]]
    allowed: dict[str, float]
    """Numbers → largest difference as a share of the largest recorded value. tf32 is float32 with the card's
    short products in convolutions, which torch allows by default."""


def _allowed(fp32: float, tf32: float, fp16: float, bf16: float) -> dict[str, float]:
    return {"fp32": fp32, "tf32": tf32, "fp16": fp16, "bf16": bf16}


KINDS = (
    Kind("speech", "c_*_meta.json", cases.listening, _allowed(5e-5, 5e-3, 1e-2, 6e-2)),
    Kind("long speech", "c_audio_*.safetensors", cases.long_speech, _allowed(5e-5, 5e-3, 1e-2, 6e-2)),
    Kind("attention", "d_*_meta.json", cases.attention, _allowed(5e-5, 5e-3, 5e-3, 4e-2)),
    Kind("blocks", "e_*_meta.json", cases.blocks, _allowed(5e-5, 5e-3, 5e-3, 4e-2)),
    Kind("UNet", "f_*_meta.json", cases.unet, _allowed(1e-4, 1e-2, 1e-2, 8e-2)),
    Kind("portrait", "g_ref*.safetensors", cases.reference_latent, _allowed(5e-5, 5e-3, 1e-2, 8e-2)),
    Kind("loop", "g_loop_*.safetensors", cases.loop, _allowed(1e-4, 1e-2, 2e-2, 1.5e-1)),
    Kind("VAE", "h_*_meta.json", cases.vae, _allowed(1e-4, 1e-2, 1e-2, 8e-2)),
    Kind("RIFE", "i_*.safetensors", cases.rife, _allowed(5e-4, 5e-2, 0, 0)),
    # One level of 256 is rounding, in any numbers.
    Kind("whole run", "k_*_meta.json", cases.whole, _allowed(5e-3, 5e-2, 5e-2, 4e-1)),
)
SINGLE = {"RIFE"}
"""Kinds whose networks compute in float32 whatever the precision."""
DRY = {"UNet"}
"""Kinds that a dry run does in half precision, too; it does the smallest loop only."""


def measure(bench: Bench) -> Iterator[Row]:
    """Largest difference of each kind in each precision."""
    for name, dtype, short in _numbers(bench):
        numbers = Numbers(FOLDER, FOLDER, bench.device, dtype)
        for kind in KINDS:
            skipped = {each.name for each in KINDS} - DRY if bench.is_cpu else SINGLE
            files = sorted(FOLDER.glob(kind.files), key=lambda file: file.stat().st_size)
            files = files[:1] if bench.is_cpu else files
            if files and (dtype == torch.float32 or kind.name not in skipped):
                with torch.inference_mode(), short_products(short):
                    yield _row(kind, name, numbers, files)
    if not bench.is_cpu:
        yield {
            "note": "fp32 is without TF32; tf32 is what precision=fp32 gives: torch allows it in "
            "convolutions. Speech networks and RIFE compute in float32 in every precision."
        }


def _numbers(bench: Bench) -> Iterator[tuple[str, torch.dtype, bool]]:
    """Names, numbers, and whether convolutions may use the card's short products."""
    yield "fp32", torch.float32, False
    if not bench.is_cpu:
        yield "tf32", torch.float32, True
    others = (torch.bfloat16,) if bench.is_cpu else bench.dtypes
    yield from ((named(dtype), dtype, False) for dtype in others)


def _row(kind: Kind, name: str, numbers: Numbers, files: list[Path]) -> Row:
    checks = [check for file in files for check in kind.run(numbers, file)]
    errors = [(check.relative, check.what) for check in checks]
    worst, what = max(errors, key=lambda pair: (pair[0] != pair[0], pair[0]))  # not-a-number is the worst
    allowed = kind.allowed[name]
    found = {"numbers": name, "kind": kind.name, "checks": len(checks), "error": worst, "allowed": allowed}
    return {**found, "worst": what, "passed": worst <= allowed}


@contextmanager
def short_products(allowed: bool) -> Iterator[None]:
    """Whether float32 convolutions may use TF32 inside."""
    settings: Any = torch.backends.cudnn
    before, settings.allow_tf32 = settings.allow_tf32, allowed
    try:
        yield
    finally:
        settings.allow_tf32 = before
