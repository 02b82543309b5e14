"""Losses as TensorBoard reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def curves(folder: Path) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Writes losses of a step, by its number, into a folder; nothing where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda step, found: None
        return
    with SummaryWriter(str(folder)) as writer:

        def write(step: int, found: Mapping[str, float]) -> None:
            for name, value in found.items():
                writer.add_scalar(name, value, step)

        yield write
