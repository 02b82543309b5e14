"""Fits the pattern to the picture it goes into, so that the reader finds the message and not the picture.

To a reader, what a portrait itself has at the pattern's waves is noise, and most of the noise there is. The
marker knows it: while only a head moves, the first frame tells 97 % of the mean of five seconds. So each wave
gets the amplitude with which, after the picture's own has been added, the reader measures what it should
(informed embedding, Miller, Cox and Bloom 2000; improved spread spectrum, Malvar and Florencio 2003). What
the reader does is linear but for its weights, which hardly depend on the mark: one system of linear
equations, solved in the sense of least squares, because what is dear to cancel may stay.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .detail import Real
from .lattice import sums_at
from .version2_carriers import Carrier
from .version2_pattern import HIGH

ROUNDS = 2
"""Solutions on end: the later ones take rounding and the reader's weights into account."""


def plain(
    amplitudes: NDArray[np.complex128],
    waves: NDArray[np.int64],
    strength: Real,
    most: Real | float,
    carrier: Carrier,
) -> Real:
    """Whole grey levels to add: the waves, times the strength [h, w], at most so much."""
    height, width = strength.shape
    spectrum = np.zeros((HIGH + 1, 2 * HIGH + 1), dtype=np.complex64)
    spectrum[waves[:, 1], waves[:, 0] + HIGH] = amplitudes
    down = _turns(carrier.places(height), np.arange(HIGH + 1))
    across = _turns(carrier.places(width), np.arange(-HIGH, HIGH + 1))
    pattern = ((down @ spectrum) @ across.T).real
    return np.asarray(np.rint(np.clip(strength * pattern, -most, most)), dtype=np.float32)


def fitted(
    image: Real,
    worth: Real | float,
    wanted: NDArray[np.complex128],
    waves: NDArray[np.int64],
    strength: Real,
    most: Real | float,
    carrier: Carrier,
) -> Real:
    """`plain`, with the amplitudes at which the reader measures the wanted ones in this image.

    Args:
        image: what the reader levels, [h, w], without a mark.
        worth: what the reader multiplies the levelled image with.
        wanted: amplitudes [N] of the waves [N, 2].
    """
    added = np.zeros_like(image)
    if not strength.any():
        return added
    weights = worth * carrier.weights(carrier.flat(image))
    system = _system(weights * strength * carrier.planes, waves, carrier)
    target = np.linalg.norm(system @ _parts(wanted)) / np.linalg.norm(_parts(wanted)) * wanted
    normal = system.T @ system
    thrift = carrier.thrift * float(np.trace(normal)) / len(normal)
    inverse = np.linalg.inv(normal + thrift * np.eye(len(normal)))
    found = np.zeros(len(normal))
    for _ in range(ROUNDS):
        seen = _lattice(worth * carrier.levelled(image + carrier.planes * added), HIGH, carrier)
        lacking = target - seen[waves[:, 1] + HIGH, waves[:, 0] + HIGH]
        found += inverse @ (system.T @ _parts(lacking) - thrift * found)
        added = plain(_complex(found), waves, strength, most, carrier)
    return added


def _system(weights: Real, waves: NDArray[np.int64], carrier: Carrier) -> NDArray[np.float64]:
    """What the reader measures per amplitude: [2 N, 2 N], real parts before imaginary ones.

    A wave c exp(i k x) under weights q, the mark's strength times what the reader makes of it, is measured at
    wave j as (c Q(j - k) + c* Q(j + k)) / 2, where Q is the spectrum of q.
    """
    spectrum, reach = _lattice(weights, 2 * HIGH, carrier), 2 * HIGH
    apart, both = waves[:, None] - waves, waves[:, None] + waves
    passed = carrier.passed(waves) / 2
    one = spectrum[apart[..., 1] + reach, apart[..., 0] + reach] * passed
    other = spectrum[both[..., 1] + reach, both[..., 0] + reach] * passed
    real, imaginary = one + other, 1j * (one - other)
    return np.block([[real.real, imaginary.real], [real.imag, imaginary.imag]])


def _lattice(image: Real, reach: int, carrier: Carrier) -> NDArray[np.complex128]:
    """Sums of the image times exp(-i k x) for the waves k up to `reach`, [2 * reach + 1, 2 * reach + 1]."""
    every = np.arange(-reach, reach + 1, dtype=np.float64)
    places = carrier.places(image.shape[1]), carrier.places(image.shape[0])
    return np.asarray(sums_at(image, places, (every, every)), dtype=np.complex128)


def _turns(places: NDArray[np.float64], waves: NDArray[np.int64]) -> NDArray[np.complex64]:
    return np.exp(2j * np.pi * np.outer(places, waves)).astype(np.complex64)


def _parts(values: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.concatenate([values.real, values.imag])


def _complex(parts: NDArray[np.float64]) -> NDArray[np.complex128]:
    real, imaginary = np.split(parts, 2)
    return np.asarray(real + 1j * imaginary, dtype=np.complex128)
