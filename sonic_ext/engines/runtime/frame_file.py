"""Tensors of one shape, one for each frame of a video, in a private file instead of in memory.

Plain reads and writes, no mapping: what was asked for is all that is in memory, and `flush` means the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BadOutput
from ...files.atomic import open_new
from ...files.home import home_errors


@dataclass(frozen=True)
class FrameFile:
    """A file of rows; whoever uses it has it alone.

    Raises (every method):
        BadOutput: the file system keeps the file from being used.
    """

    path: Path
    shape: tuple[int, ...]
    """Of a row."""
    dtype: torch.dtype = torch.float32

    @property
    def row_bytes(self) -> int:
        """Of one row."""
        return prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        """Rows that are whole; none where there is no file."""
        return self.path.stat().st_size // self.row_bytes if self.path.exists() else 0

    def create(self) -> None:
        """An empty file, in place of one of that name."""
        with home_errors(self.path.parent):
            self.path.unlink(missing_ok=True)
            open_new(self.path).close()

    def append(self, rows: torch.Tensor) -> None:
        """Rows [n, *shape] behind those that are there."""
        self.write(len(self), rows)

    def write(self, place: int, rows: torch.Tensor) -> None:
        """Rows [n, *shape], the first of which becomes number `place`."""
        with home_errors(self.path.parent), self.path.open("r+b") as file:
            file.seek(place * self.row_bytes)
            file.write(_bytes_of(rows.to("cpu", self.dtype).contiguous()))

    def index_select(self, dim: int, index: torch.Tensor) -> torch.Tensor:
        """Rows [n, *shape] by their numbers, int64 [n]; as a tensor's own, along the first dimension."""
        if dim != 0:
            raise ValueError(f"rows are selected along dimension 0, not {dim}")
        found = torch.empty(len(index), *self.shape, dtype=self.dtype)
        target, place = _bytes_of(found), 0
        with home_errors(self.path.parent), self.path.open("rb") as file:
            for run in _runs(index.numpy()):
                part = target[place : place + len(run) * self.row_bytes]
                file.seek(int(run[0]) * self.row_bytes)
                if file.readinto(part) != len(part):
                    raise BadOutput(
                        f"{self.path.name} of the private folder was cut short.",
                        "Make the video again; if it happens again, check the disk.",
                    )
                place += len(part)
        return found

    def flush(self) -> None:
        """Put what was written on the disk itself."""
        with home_errors(self.path.parent), self.path.open("r+b") as file:
            os.fsync(file.fileno())


def _bytes_of(rows: torch.Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    return memoryview(rows.flatten().view(torch.uint8).numpy()) if rows.numel() else memoryview(bytearray())


def _runs(index: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Numbers on end."""
    if len(index):
        yield from np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
