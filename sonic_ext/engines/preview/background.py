"""Takes quiet, steady background out of log-mel rows: hiss, hum, rumble that nobody speaks over.

Speech rises and falls by far more than `RANGE` within a second and a half, a fan does not. The network
knows noise from speech most of the time; where there is nothing but noise, most is not enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...media.mel import BANDS, FLOOR_DB, loudness, overlapping

STRETCH = 150
"""Rows (10 ms) that must be steady together."""
RANGE = 8.0
"""Decibels between the loudest and the quietest moment of a steady stretch."""
LOUDEST = -38.0
"""Decibels of full scale. Louder steady sound is left alone: it may be somebody singing."""
STEADYING = 11
"""Rows over which loudness is averaged before it is called steady."""
EDGE, EDGE_DB = 8, 3.0
"""A stretch also takes its edges, this many rows, unless they are louder than it by so much."""
MARGIN = 2 * STRETCH + STEADYING + EDGE
"""Rows to either side on which the verdict about a row depends, at most."""
PART = 512


def _reached(starts: NDArray[np.float64], edge: int) -> NDArray[np.float64]:
    """The highest value of the stretches that reach each row when widened by `edge` rows, [rows].

    `starts` holds a value where a stretch of `STRETCH` rows starts and -inf elsewhere.
    """
    padded = np.pad(starts, (STRETCH - 1 + edge, edge), constant_values=-np.inf)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, STRETCH + 2 * edge).max(axis=1))


def background(loud: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which rows belong to a quiet, steady stretch, from their loudness in decibels; bool [rows]."""
    padded = np.pad(loud, STEADYING // 2, mode="edge")
    even = np.convolve(padded, np.ones(STEADYING) / STEADYING, mode="valid")
    if len(even) < STRETCH:
        return np.zeros(len(loud), dtype=bool)
    seen = np.lib.stride_tricks.sliding_window_view(even, STRETCH)
    highest, lowest = seen.max(axis=1), seen.min(axis=1)
    steady = (highest - lowest < RANGE) & (highest < LOUDEST)
    starts = np.full(len(loud), -np.inf)
    starts[: len(seen)] = np.where(steady, highest, -np.inf)
    return np.asarray((_reached(starts, 0) > -np.inf) | (loud < _reached(starts, EDGE) + EDGE_DB))


def muted(parts: Iterable[NDArray[np.float32]], rows: int) -> Iterator[NDArray[np.float32]]:
    """The same rows with digital silence in place of background, float32 [up to PART, BANDS].

    Args:
        parts: log-mel in decibels of full scale, arrays of any number of rows.
        rows: how many rows there are in all.
    """
    for start, window in overlapping(parts, rows, PART, MARGIN, FLOOR_DB):
        inner = slice(MARGIN, MARGIN + min(PART, rows - start))
        quiet = background(loudness(window))[inner, None]
        yield np.where(quiet, np.full(BANDS, FLOOR_DB, dtype=np.float32), window[inner])
