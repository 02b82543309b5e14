"""Streams of sound cut into blocks of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


def rechunked(
    pieces: Iterable[NDArray[np.float32]], channels: int, total: int, size: int
) -> Iterator[NDArray[np.float32]]:
    """Sound in blocks of `size` samples, `total` in all: cut there, or filled with silence.

    Args:
        pieces: float32 [channels, samples] of any lengths; not read further than needed.

    Yields:
        float32 [channels, size], the last one shorter; new arrays.
    """
    block = np.zeros((channels, min(size, total)), np.float32)
    filled, left = 0, total
    for piece in _padded(pieces, channels, total, size):
        while piece.shape[1]:
            taken = piece[:, : block.shape[1] - filled]
            block[:, filled : filled + taken.shape[1]] = taken
            filled, piece = filled + taken.shape[1], piece[:, taken.shape[1] :]
            if filled == block.shape[1]:
                yield block
                left -= filled
                block, filled = np.zeros((channels, min(size, left)), np.float32), 0


def _padded(
    pieces: Iterable[NDArray[np.float32]], channels: int, total: int, size: int
) -> Iterator[NDArray[np.float32]]:
    """The pieces up to `total` samples, then silence up to there."""
    left = total
    for piece in pieces:
        yield piece[:, :left]
        left -= min(left, piece.shape[1])
        if not left:
            return
    while left:
        yield np.zeros((channels, min(left, size)), np.float32)
        left -= min(left, size)
