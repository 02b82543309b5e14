"""Streams of sound cut into blocks of one size, and what lies together in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


def runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def split(pieces: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Sound in blocks of `size` samples, the last one shorter.

    Args:
        pieces: float32 [channels, samples] of any lengths; not read further than needed.

    Yields:
        float32 [channels, size], new arrays.
    """
    parts, filled = [], 0
    for piece in pieces:
        while piece.shape[1]:
            taken = piece[:, : size - filled]
            parts.append(taken)
            filled, piece = filled + taken.shape[1], piece[:, taken.shape[1] :]
            if filled == size:
                yield _joined(parts)
                parts, filled = [], 0
    if parts:
        yield _joined(parts)


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """A new array, each channel's samples side by side, however the parts lie in memory."""
    whole = np.empty((len(parts[0]), sum(part.shape[1] for part in parts)), np.float32)
    return np.concatenate(parts, axis=1, out=whole)


def rechunked(
    pieces: Iterable[NDArray[np.float32]], channels: int, total: int, size: int
) -> Iterator[NDArray[np.float32]]:
    """Sound in blocks of `size` samples, `total` in all: cut there, or filled with silence.

    Args:
        pieces: float32 [channels, samples] of any lengths; not read further than needed.

    Yields:
        float32 [channels, size], the last one shorter; new arrays.
    """
    return split(_padded(pieces, channels, total, size), size)


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
