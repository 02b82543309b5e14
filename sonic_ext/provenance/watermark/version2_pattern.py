"""What the second watermark looks like: a keyed tile of waves for each id, in luma half as large.

In chroma the tile is TILE x TILE pixels of the picture and repeats over the frame. It is a sum of plane waves
whose frequencies sit on the tile's lattice (whole cycles per tile), with periods of 20 to 64 pixels: coarse
enough for chroma at half resolution, a third of the size and a coarse quantiser. Each wave's phase is a QPSK
symbol. PILOTS waves, stronger than the others, have phases that the key alone fixes: a reader finds them by
their power, whatever scale, stretch, turn and shift a picture has been through, and measures by them what
became of the others, which carry two coded bits each.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .codec import Code, stream
from .lattice import Lattice, spread

ALGORITHM = "local.sonic.watermark.2"
CODE = Code(11, (0o4767, 0o5723, 0o6265))
"""Rate 1/3, constraint length 12, free distance 24: 369 coded bits."""
TILE = 256
LOW, HIGH = 4, 13
BLOCK = 16
"""Waves that repeat every so many pixels look like a codec's blocks: not used."""
PILOTS = 48
PILOT_GAIN = 1.5
"""Amplitude of a pilot's wave over that of the others of its radius."""
SLOPE = 0.75
"""Amplitude falls as radius ** -SLOPE: coarse waves survive quantisers better, fine ones are seen less."""
DOMAIN = b"sonic watermark 2\0"


@lru_cache(maxsize=8)
def layout(key: bytes) -> Lattice:
    """The key's layout; the same for ever, whatever the machine."""
    slots = CODE.bits + CODE.bits % 2  # an odd one over is another copy of the first
    every = _waves()[: PILOTS + slots // 2]
    is_pilot = spread(len(every), PILOTS)
    rides = np.resize(np.argsort(stream(key, "bits", CODE.bits, DOMAIN), kind="stable"), slots)
    signs = 1.0 - 2.0 * (stream(key, "signs", slots, DOMAIN) & np.uint64(1)).astype(np.float64)
    quadrant = (stream(key, "pilots", PILOTS, DOMAIN) & np.uint64(3)).astype(np.float64)
    return Lattice(
        pilots=every[is_pilot],
        pilot_symbols=np.exp(0.5j * np.pi * (quadrant + 0.5)),
        data=every[~is_pilot],
        bits=rides.astype(np.int64).reshape(-1, 2),
        signs=signs.reshape(-1, 2),
    )


def _waves() -> NDArray[np.int64]:
    """Frequencies that may be used, [N, 2] cycles per tile (x, y), by rising radius; one of each pair +-f."""
    y, x = np.mgrid[0 : HIGH + 1, -HIGH : HIGH + 1]
    square = x * x + y * y
    half = (y > 0) | (x > 0)
    blocks = (x % (TILE // BLOCK) == 0) & (y % (TILE // BLOCK) == 0)
    keep = half & ~blocks & (square >= LOW * LOW) & (square <= HIGH * HIGH)
    found = np.stack([x[keep], y[keep]], axis=1)
    return np.asarray(found[np.lexsort((found[:, 0], found[:, 1], square[keep]))], dtype=np.int64)


def amplitudes(waves: NDArray[np.int64]) -> NDArray[np.float64]:
    """Relative amplitude [N] of data waves [N, 2]."""
    return np.asarray(np.hypot(waves[:, 0], waves[:, 1]) ** -SLOPE, dtype=np.float64)


@lru_cache(maxsize=8)
def written(payload: int, key: bytes) -> tuple[NDArray[np.int64], NDArray[np.complex128]]:
    """One id's waves, [N, 2] cycles per tile, and their amplitudes [N]: standard deviation 1 together."""
    plan = layout(key)
    waves = np.concatenate([plan.pilots, plan.data])
    symbols = np.concatenate([PILOT_GAIN * plan.pilot_symbols, plan.symbols(CODE.encode(payload, key))])
    found = symbols * amplitudes(waves)
    return waves, found / np.sqrt(np.sum(np.abs(found) ** 2) / 2)
