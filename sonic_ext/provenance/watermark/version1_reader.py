"""Reads the invisible watermark: gathers what changes sign with it, finds scale and shift, decodes.

1. Each frame is compared with the one 0.8 s earlier. What stood still is gone, the pattern is doubled. The
   differences are cut to a few grey levels (motion makes large ones) and summed for each phase of the clock.
2. Sums are divided by their local size and taken to the frequency plane. For each trial scale the pilot's
   waves are looked up there; their agreement over all shifts, one inverse FFT, is the score.
3. At the best scales every wave is measured exactly, turned and weighted as the pilot's waves near it tell,
   and decoded. Only a message whose 48-bit MAC agrees is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from .lattice import Lattice, signal_of, sums_at
from .seam import Reading, luma_of
from .version1_pattern import (
    CODE,
    HALF_PERIOD,
    HIGH,
    LOW,
    TICKS_PER_SECOND,
    TILE,
    layout,
    sign_of,
    tick_of,
)

WINDOW = 1024
"""Longest side that is looked at; of larger frames the middle."""
SMALLEST = 64
"""Below this side no tile is left, even at half size."""
PHASES = 10
"""Sums kept, each for HALF_PERIOD / PHASES ticks of the sign's clock."""
EVERY_PHASE = 2
"""Turns so many sums apart are tried while searching."""
CUT = 6.0
"""Differences are cut at this many grey levels, after their local mean is taken off."""
LOCAL_MEAN = 25
LOCAL_POWER = 15
SCALES = (0.45, 2.2)
GRID = 64
"""Shifts tried per side of the tile while searching, twice that over two when reading."""
CANDIDATES = 4
LOOK_EVERY = 480
"""Ticks between two looks; after each the sums are halved, so that a cut in the video is forgotten."""
PROMISING = 40
"""Scales tried in earnest: those with the most power where waves should be."""
SURROUNDINGS, PEAK = 31, 6.0
"""Bins over which a spectrum is levelled, and power above its level that counts as this."""
RINGS = 6
REACH = 4.0
"""Waves this far apart on the lattice fare alike."""
PRIOR = 4.0
"""Weight of the ring's mean against the pilot's waves nearby."""

Complex: TypeAlias = NDArray["np.complexfloating[Any, Any]"]
Real: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class ScaleCandidate:
    """A guess at how the pattern lies in the frame."""

    score: float
    phase: int
    """Index of the sum at which the sign turns."""
    scale: tuple[float, float]


class ReaderV1:
    """Reads the first watermark; see `seam.Reader`."""

    STEPS = 1 + 2 * CANDIDATES + 1

    def __init__(self, fps: float, key: bytes) -> None:
        self._fps = fps
        self._key = key
        self._frames = 0
        self.tries = 0
        self._tick = -1
        self._next_look = LOOK_EVERY
        self._seen: list[NDArray[np.uint8]] = []
        self._sums: NDArray[np.float32] = np.zeros((0, 0, 0), dtype=np.float32)
        self._fresh = False

    def take(self, planes: NDArray[np.uint8]) -> None:
        """Gather the next frame."""
        if min(luma_of(planes).shape) < SMALLEST:
            return
        middle = _middle(luma_of(planes))
        if not self._sums.size:
            self._sums = np.zeros((PHASES, *middle.shape), dtype=np.float32)
        tick = tick_of(self._frames, self._fps)
        self._frames += 1
        for now in range(self._tick + 1, tick + 1):
            self._gather(middle, now)
        self._tick = tick

    def due(self) -> bool:
        """Whether enough is new for another look."""
        return self._tick + 1 >= self._next_look

    @staticmethod
    def looks(seconds: float) -> int:
        """How often a video of this length is looked at."""
        return 1 + int(seconds * TICKS_PER_SECOND / LOOK_EVERY)

    def look(self) -> Iterator[Reading | None]:
        """Search and decode what was gathered, as it is and mirrored."""
        self._next_look = max(self._next_look, self._tick) + LOOK_EVERY
        if self._fresh:
            yield from self._read()
        self._fresh = False
        if self._tick >= LOOK_EVERY:
            self._sums *= 0.5

    def _gather(self, frame: NDArray[np.uint8], tick: int) -> None:
        """Add the change since half a period ago to the sum of its phase."""
        place = tick % HALF_PERIOD
        if len(self._seen) < HALF_PERIOD:
            self._seen.append(frame.copy())
            return
        change = frame.astype(np.float32) - self._seen[place]
        change -= np.asarray(cv2.blur(change, (LOCAL_MEAN, LOCAL_MEAN)), dtype=np.float32)
        np.clip(change, -CUT, CUT, out=change)
        total = self._sums[place * PHASES // HALF_PERIOD]
        (np.add if sign_of(tick) > 0 else np.subtract)(total, change, out=total)
        self._seen[place] = frame.copy()
        self._fresh = True

    def _read(self) -> Iterator[Reading | None]:
        weighted = self._sums * _weights(self._sums)
        search = ScaleSearch(weighted, self._key)
        yield None
        for mirrored in (False, True):
            view = np.ascontiguousarray(weighted[:, :, ::-1]) if mirrored else weighted
            for place in search.places(mirrored):
                yield None
                self.tries += 1
                found = _decode_at(view, place, self._key)
                if found is not None:
                    payload, signal = found
                    yield Reading(payload, place.scale, mirrored, signal)
                    return


def _middle(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a frame, at most WINDOW on a side."""
    height, width = luma.shape
    top, left = max(0, height - WINDOW) // 2, max(0, width - WINDOW) // 2
    return luma[top : top + WINDOW, left : left + WINDOW]


def _weights(sums: Real) -> Real:
    """Trust in each pixel, float32 [h, w]: one over the local size of the sums; moving places are noisy."""
    power = np.asarray(cv2.blur(np.sum(sums * sums, axis=0), (LOCAL_POWER, LOCAL_POWER)), dtype=np.float32)
    return np.asarray(1.0 / np.sqrt(power + 0.1 * np.median(power) + 1e-3), dtype=np.float32)


def _turns() -> Real:
    """Signs that add up the sums when the pattern turns at phase p: float32 [PHASES (p), PHASES]."""
    phase, index = np.mgrid[0:PHASES, 0:PHASES]
    return np.where(index < phase, -1.0, 1.0).astype(np.float32)


class ScaleSearch:
    """Looks for the pilot's waves in the spectra of the sums at many scales."""

    def __init__(self, sums: Real, key: bytes) -> None:
        self._plan = layout(key)
        self._side = max(sums.shape[1:])
        self._size = 1 << int(np.ceil(np.log2(1.5 * self._side)))
        turned = np.tensordot(_turns()[::EVERY_PHASE], sums, 1)
        self._spectra = _spectra(turned, self._size)
        self._every = np.concatenate([self._plan.pilots, self._plan.data])
        self._flip: NDArray[np.float64] = np.ones(2)
        power = np.sum(self._spectra.real**2 + self._spectra.imag**2, axis=0)
        power /= np.asarray(cv2.blur(power, (SURROUNDINGS, SURROUNDINGS))) + 1e-12
        self._power = cv2.blur(np.minimum(power, PEAK), (3, 3))

    def places(self, mirrored: bool) -> list[ScaleCandidate]:
        """The CANDIDATES likeliest places, best first."""
        self._flip = np.array([-1.0 if mirrored else 1.0, 1.0])
        phases = range(len(self._spectra))
        scales = sorted(self._scales(), key=self._promise, reverse=True)[:PROMISING]
        found = [self._best((scale, scale), phases) for scale in scales]
        found.sort(key=lambda place: place.score, reverse=True)
        picked: list[ScaleCandidate] = []
        for place in found:
            if all(abs(place.scale[0] / other.scale[0] - 1) > 0.008 for other in picked):
                picked.append(place)
            if len(picked) == CANDIDATES:
                break
        return [self._refine(place) for place in picked]

    def _promise(self, scale: float) -> float:
        """Power at all waves for a scale, whatever their phases: quickly looked up."""
        waves = self._flip * self._every / (TILE * scale) * self._size
        x, y = np.rint(np.where(waves[:, :1] < 0, -waves, waves)).astype(np.intp).T
        return float(self._power[y % self._size, np.minimum(x, self._size // 2)].sum())

    def _step(self, scale: float) -> float:
        """Distance of scales at which the finest wave slips by 0.4 of a turn across the frame."""
        return 0.4 * scale * scale * TILE / (self._side * HIGH)

    def _scales(self) -> Iterator[float]:
        scale, last = SCALES
        while scale < last:
            yield scale
            scale += self._step(scale)

    def _refine(self, place: ScaleCandidate) -> ScaleCandidate:
        """Better scales, across and down apart, near a place."""
        coarse = self._step(place.scale[0])
        for finer, reach in ((0.5 * coarse, 2), (0.25 * coarse, 1)):
            across, down = place.scale
            moves = [finer * step for step in range(-reach, reach + 1)]
            near = [(across + i, down + j) for i in moves for j in moves]
            place = max((self._best(scale, [place.phase]) for scale in near), key=lambda found: found.score)
        return place

    def _best(self, scale: tuple[float, float], phases: Sequence[int]) -> ScaleCandidate:
        """The pilot's best agreement at a scale, over the phases and all shifts."""
        waves = self._flip * self._plan.pilots / (TILE * np.array(scale)) * self._size
        found = _sample(self._spectra[phases], waves) * self._plan.pilot_symbols.conj()
        found /= _smooth(np.abs(found)) + 1e-12
        peaks = np.abs(_shifts(found, self._plan.pilots, GRID)).max(axis=(1, 2))
        scores = peaks / np.sqrt(0.5 * np.sum(np.abs(found) ** 2, axis=1) + 1e-12)
        best = int(scores.argmax())
        return ScaleCandidate(float(scores[best]), phases[best], scale)


def _spectra(sums: Real, size: int) -> Complex:
    """Spectra of the sums about the frame's middle, complex64 [PHASES, size, size // 2 + 1]."""
    height, width = sums.shape[1:]
    down = np.exp(1j * np.pi * np.fft.fftfreq(size) * (height - 1))[:, None]
    across = np.exp(1j * np.pi * np.fft.rfftfreq(size) * (width - 1))[None]
    out = np.empty((len(sums), size, size // 2 + 1), dtype=np.complex64)
    for target, total in zip(out, sums, strict=True):
        target[...] = np.fft.rfft2(total, (size, size)) * down * across
    return out


def _sample(spectra: Complex, waves: NDArray[np.floating[Any]]) -> NDArray[np.complex128]:
    """Spectra [P, size, half] at fractional bins `waves` [K, 2] of (x, y), bilinear: complex [P, K]."""
    size = spectra.shape[1]
    mirrored = waves[:, 0] < 0
    x, y = np.where(mirrored[:, None], -waves, waves).T
    x = np.minimum(x, size // 2 - 1.001)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right_share, low_share = x - left, y - top
    top, below = top % size, (top + 1) % size
    high = spectra[:, top, left] * (1 - right_share) + spectra[:, top, left + 1] * right_share
    low = spectra[:, below, left] * (1 - right_share) + spectra[:, below, left + 1] * right_share
    found = high * (1 - low_share) + low * low_share
    return np.where(mirrored, found.conj(), found)


def _smooth(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean of 15 over the last axis (waves by rising radius), edges repeated."""
    return np.asarray(cv2.blur(sizes, (15, 1), borderType=cv2.BORDER_REPLICATE), dtype=np.float64)


def _shifts(found: NDArray[np.complex128], waves: NDArray[np.int64], grid: int) -> NDArray[np.float64]:
    """Agreement of wave amplitudes [P, K] at every shift of the tile: [P, grid, grid] of (y, x)."""
    plane = np.zeros((len(found), grid, grid), dtype=np.complex128)
    plane[:, waves[:, 1], waves[:, 0] % grid] = found
    return np.asarray(np.fft.ifft2(plane).real * grid * grid, dtype=np.float64)


def _decode_at(sums: Real, place: ScaleCandidate, key: bytes) -> tuple[int, float] | None:
    """The id read at a place and its signal, or None."""
    plan = layout(key)
    parts = _equalised(plan, *_aligned(plan, sums, place.scale))
    soft = np.bincount(plan.bits.ravel(), parts.ravel(), CODE.bits)
    payload = CODE.decode(soft.astype(np.float32), key)
    return None if payload is None else (payload, signal_of(plan, parts, CODE.encode(payload, key), RINGS))


def _aligned(plan: Lattice, sums: Real, scale: tuple[float, float]) -> tuple[Complex, Complex]:
    """Spectra on the lattice and half a step beside it, [HIGH + 1, 2 * HIGH + 1], the shift taken out."""
    on, off = (np.tensordot(_turns(), _measure(sums, scale, offset), 1) for offset in (0.0, 0.5))
    noise = np.sqrt(np.mean(np.abs(off) ** 2, axis=(1, 2), keepdims=True)) + 1e-12
    on, off = on / noise, off / noise
    pilot = _pick(on, plan.pilots) * plan.pilot_symbols.conj()
    agreement = _shifts(pilot / (np.abs(pilot) + 1e-12) ** 0.5, plan.pilots, 2 * TILE)
    phase, down, across = np.unravel_index(int(np.abs(agreement).argmax()), agreement.shape)
    y, x = np.mgrid[0 : HIGH + 1, -HIGH : HIGH + 1]
    turn = np.exp(1j * np.pi / TILE * (x * across + y * down)) * np.sign(agreement[phase, down, across])
    return on[phase] * turn, off[phase]


def _equalised(plan: Lattice, on: Complex, off: Complex) -> NDArray[np.float64]:
    """Soft values of every copy of every coded bit, [M, 2], weighted by signal over noise."""
    answer = _channel(plan, _pick(on, plan.pilots) * plan.pilot_symbols.conj())
    power = _ring_means(plan.data, plan.data, np.abs(_pick(off, plan.data)) ** 2)
    waves = _pick(on, plan.data) * answer.conj() / (power + 1e-12)
    return np.asarray(np.stack([waves.real, waves.imag], axis=1) * plan.signs, dtype=np.float64)


def _measure(sums: Real, scale: tuple[float, float], offset: float) -> Complex:
    """Exact spectra at the tile's lattice moved by `offset`: [PHASES, HIGH + 1, 2 * HIGH + 1] of (y, x)."""
    height, width = sums.shape[1:]
    across = (np.arange(-HIGH, HIGH + 1) + offset) / (TILE * scale[0])
    down = (np.arange(HIGH + 1) + offset) / (TILE * scale[1])
    x, y = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
    return sums_at(sums, (x, y), (across, down))


def _pick(lattice: Complex, waves: NDArray[np.int64]) -> Complex:
    """Amplitudes [..., N] of waves [N, 2] on measured lattices [..., HIGH + 1, 2 * HIGH + 1]."""
    return lattice[..., waves[:, 1], waves[:, 0] + HIGH]


def _channel(plan: Lattice, pilot: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """What became of each data wave, complex [M], from the pilot's waves near it.

    An encoder that follows a moving picture drags the pattern along: a filter, different for each wave.
    """
    places = np.concatenate([plan.pilots, -plan.pilots])
    values = np.concatenate([pilot, pilot.conj()])
    distance = np.sum((plan.data[:, None] - places[None]) ** 2, axis=2)
    near = np.exp(-0.5 * distance / REACH**2)
    ring = _ring_means(plan.data, plan.pilots, pilot.real)
    return np.asarray((near @ values + PRIOR * ring) / (near.sum(axis=1) + PRIOR), dtype=np.complex128)


def _ring_means(
    waves: NDArray[np.int64], known: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """For each of `waves` [N, 2] the mean value [K] of the `known` waves [K, 2] of similar radius: [N]."""
    edges = np.linspace(LOW, HIGH, RINGS + 1)[1:-1]
    ring = np.digitize(np.hypot(known[:, 0], known[:, 1]), edges)
    means = np.bincount(ring, values, RINGS) / np.bincount(ring, minlength=RINGS)
    return np.asarray(means[np.digitize(np.hypot(waves[:, 0], waves[:, 1]), edges)], dtype=np.float64)
