"""Waves on a tile's lattice: what both watermarks' patterns are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Lattice:
    """Where a key puts what. K pilot waves, M data waves."""

    pilots: NDArray[np.int64]
    """[K, 2] cycles per tile of each pilot's wave, (x, y), in the upper half plane."""
    pilot_symbols: NDArray[np.complex128]
    """[K] unit phasors."""
    data: NDArray[np.int64]
    """[M, 2] cycles per tile of each data wave."""
    bits: NDArray[np.int64]
    """[M, 2] which coded bit rides on the real and on the imaginary part."""
    signs: NDArray[np.float64]
    """[M, 2] of +-1, the key's scrambling of those bits."""

    def symbols(self, coded: NDArray[np.int8]) -> NDArray[np.complex128]:
        """Unit phasors [M] for coded signs [bits]."""
        parts = coded[self.bits] * self.signs
        return np.asarray((parts[:, 0] + 1j * parts[:, 1]) / np.sqrt(2), dtype=np.complex128)


def sums_at(
    images: NDArray[np.float32],
    places: tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]],
    waves: tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]],
) -> NDArray[np.complex64]:
    """Sums of images [..., h, w] times exp(-2 pi i (fx x + fy y)) for every pair of waves: [..., FY, FX].

    places: of the pixels, x [w] and y [h]; waves: frequencies across [FX] and down [FY], in cycles per unit.
    """
    (x, y), (across, down) = places, waves
    # Real and imaginary part side by side: BLAS takes whole arrays only.
    turns = (2 * np.pi * np.outer(x, across)).astype(np.float32)
    rows = images.reshape(-1, len(x)) @ np.hstack([np.cos(turns), -np.sin(turns)])
    half = (rows[:, : len(across)] + 1j * rows[:, len(across) :]).astype(np.complex64)
    to_y = np.exp(-2j * np.pi * np.outer(down, y)).astype(np.complex64)
    return np.asarray(to_y @ half.reshape(*images.shape[:-1], -1), dtype=np.complex64)


def spread(length: int, chosen: int) -> NDArray[np.bool_]:
    """`chosen` of `length` places at even distances: bool [length]."""
    steps = np.arange(length + 1) * chosen // length
    return np.asarray(steps[1:] > steps[:-1], dtype=np.bool_)


def signal_of(plan: Lattice, parts: NDArray[np.float64], coded: NDArray[np.int8], rings: int) -> float:
    """Amplitude over noise of a coded bit, all its copies together, knowing what was sent.

    parts: soft values [M, 2] in the order of `plan.data`; coded: signs; rings: how many ranges of radii are
    weighted apart.
    """
    known = parts * coded[plan.bits]
    power = 0.0
    for ring in np.array_split(known, rings):
        power += ring.size * max(0.0, float(ring.mean())) ** 2 / (float(ring.var()) + 1e-12)
    return float(np.sqrt(power / coded.size))
