"""What the invisible watermark looks like: a keyed tile of waves, one tile per id.

The tile is TILE x TILE pixels and repeats over the frame. It is a sum of plane waves whose frequencies sit on
the tile's lattice (whole cycles per tile), between LOW and HIGH cycles: periods of 7.5 to 25.6 pixels, coarse
enough for a half-size copy and for a coarse quantiser, fine enough to hide. Each wave's phase is one QPSK
symbol. Some waves are the pilot, which the key alone fixes; the others carry two coded bits each, every coded
bit on two waves.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .codec import Code, stream
from .lattice import Lattice, spread

ALGORITHM = "local.sonic.watermark.1"
CODE = Code(6, (0o133, 0o171, 0o165))
"""Rate 1/3, constraint length 7, free distance 15: 354 coded bits."""
DOMAIN = b"sonic watermark 1\0"
TILE = 128
LOW, HIGH = 5, 17
CODEC_GRID = 16
"""Waves with both frequencies divisible by this repeat every 8 pixels, as block artefacts do: not used."""
COPIES = 2
"""How many real amplitudes carry each coded bit."""
SLOPE = 0.5
"""Amplitude falls as radius ** -SLOPE: coarse waves survive quantisers better, fine ones are seen less."""
UNIT = 24.0
"""Tile values per standard deviation of the pattern."""
CREST = 2.6
"""Peaks are cut at this many standard deviations."""

TICKS_PER_SECOND = 25
HALF_PERIOD = 20
"""Ticks between two turns of the sign: 0.8 s."""


def tick_of(index: int, fps: float) -> int:
    """The 1/25 s tick in which frame `index` is shown; the sign's clock runs in seconds, not in frames."""
    return int(index * TICKS_PER_SECOND / fps + 1e-6)


def sign_of(tick: int) -> int:
    """+1 or -1: the pattern's sign at a tick. It turns so that a still picture cancels for the reader."""
    return 1 - 2 * (tick // HALF_PERIOD % 2)


def waves() -> NDArray[np.int64]:
    """All frequencies in use, [N, 2] of (x, y) cycles per tile, by rising radius; one of each pair +-f."""
    y, x = np.mgrid[0 : HIGH + 1, -HIGH : HIGH + 1]
    square = x * x + y * y
    half = (y > 0) | (x > 0)
    grid = (x % CODEC_GRID == 0) & (y % CODEC_GRID == 0)
    keep = half & ~grid & (square >= LOW * LOW) & (square <= HIGH * HIGH)
    found = np.stack([x[keep], y[keep]], axis=1)
    return np.asarray(found[np.lexsort((found[:, 0], found[:, 1], square[keep]))], dtype=np.int64)


@lru_cache(maxsize=8)
def layout(key: bytes) -> Lattice:
    """The key's layout; the same for ever, whatever the machine."""
    every = waves()
    slots = COPIES * CODE.bits
    is_pilot = spread(len(every), len(every) - slots // 2)
    pilot, data = every[is_pilot], every[~is_pilot]
    rides = np.concatenate([_shuffle(key, ring) for ring in range(COPIES)])
    signs = 1.0 - 2.0 * (stream(key, "signs", slots, DOMAIN) & np.uint64(1)).astype(np.float64)
    quadrant = (stream(key, "pilot", len(pilot), DOMAIN) & np.uint64(3)).astype(np.float64)
    return Lattice(
        pilots=pilot,
        pilot_symbols=np.exp(0.5j * np.pi * (quadrant + 0.5)),
        data=data,
        bits=rides.reshape(-1, 2),
        signs=signs.reshape(-1, 2),
    )


def _shuffle(key: bytes, ring: int) -> NDArray[np.int64]:
    """A keyed order of all coded bits; one ring of neighbouring radii holds each bit once."""
    order = np.argsort(stream(key, f"ring {ring}", CODE.bits, DOMAIN), kind="stable")
    return np.asarray(order, dtype=np.int64)


def tile(payload: int, key: bytes) -> NDArray[np.int8]:
    """The pattern of one id: int8 [TILE, TILE], standard deviation about UNIT, peaks within CREST * UNIT."""
    plan = layout(key)
    spectrum = np.zeros((TILE, TILE), dtype=np.complex128)
    for places, symbols in (
        (plan.pilots, plan.pilot_symbols),
        (plan.data, plan.symbols(CODE.encode(payload, key))),
    ):
        spectrum[places[:, 1], places[:, 0] % TILE] = symbols * weight(places)
    pattern = np.fft.ifft2(spectrum).real
    pattern /= pattern.std()
    return np.asarray(np.round(np.clip(pattern, -CREST, CREST) * UNIT), dtype=np.int8)


def weight(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Relative amplitude [N] of waves [N, 2]."""
    radius = np.hypot(places[:, 0], places[:, 1])
    return np.asarray(1 / radius**SLOPE, dtype=np.float64)
