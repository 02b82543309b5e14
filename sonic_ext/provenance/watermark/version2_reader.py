"""Reads the second watermark: averages the frames, finds how the pattern lies in them, decodes.

1. Frames are summed, chroma (U and V together) and luma. Each sum is levelled by its local mean and size.
   These are the views.
2. Of all trials of scale, stretch, turn and mirroring those with most power at the pilot's waves in the
   views' spectra are looked at in earnest: how well the waves' phases agree at the best shift is the score.
   The best trials are made finer by small steps of the map's four numbers.
3. At the best trials the views are drawn in the pattern's own measure and every wave is measured exactly. The
   pilot's phases tell the shift and how much each view is worth. Only a message whose 48-bit MAC agrees is
   reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from .detail import Real, smaller
from .lattice import Lattice, signal_of, sums_at
from .seam import Planes, Reading, chroma_of, luma_of
from .version2_carriers import CHROMA, LUMA, Carrier
from .version2_pattern import CODE, HIGH, LOW, PILOT_GAIN, TILE, amplitudes, layout
from .version2_strength import strengths

WINDOW = 1024
"""Longest side that is looked at; of larger frames the middle."""
SMALLEST = 64
"""Below this side nothing can be read."""
RATE = 12.5
"""Frames a second that are summed: neighbours hardly differ."""
FIRST_LOOK, LOOK_EVERY = 1.0, 5.0
"""Seconds of video before the first look, and between later ones."""
KEPT = 0.8
"""What is left of the sums after a look at LOOK_EVERY or later: a cut in the video is forgotten."""

SCALES = (0.3, 2.3)
STRETCH = 0.36
"""Largest difference of the scales across and down, as a logarithm."""
TURN = np.radians(6.5)
STEP = 0.9
"""Bins of the spectrum between neighbouring trials at the finest wave."""
PROMISING = 800
"""Trials whose phases are looked at: those with the most power."""
CANDIDATES = 6
WORTH = 70.0
"""Score from which a place is worth decoding: of 60 clips without a mark six had one."""
SHIFTS = 32
"""Shifts tried per side of the tile while searching."""
REFINED = (0.5, 0.25, 0.12, 0.06)
"""Steps of the finer search, each a share of the one between trials."""
MOVES = np.array(
    [
        sign * np.array(move, dtype=np.float64)
        for move in (
            [[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 1]],
            [[1, 0], [0, 1]], [[0, -1], [1, 0]], [[1, 0], [0, -1]], [[0, 1], [1, 0]],
        )
        for sign in (-1, 1)
    ]
)  # fmt: skip
PEAK = 8.0
"""Power above this many times its surroundings counts as this: pictures have lines of their own."""
SURROUNDINGS = 31
RINGS = 4

_EVERY = np.arange(-HIGH, HIGH + 1)
DAMPING = 0.1
"""Against amplifying noise where less than a tile is left."""

Complex: TypeAlias = NDArray["np.complexfloating[Any, Any]"]
Matrix: TypeAlias = NDArray[np.float64]
"""[2, 2]: takes the pattern's pixels, from the middle of the frame, to the frame's."""


@dataclass(frozen=True)
class View:
    """One levelled picture in which the pattern may be."""

    image: Real
    carrier: Carrier


class ReaderV2:
    """Reads the second watermark; see `seam.Reader`."""

    STEPS = 2 + CANDIDATES

    def __init__(self, fps: float, key: bytes) -> None:
        self._fps, self._key = fps, key
        self.tries = 0
        self._frames = 0
        self._next_sample = 0.0
        self._next_look = FIRST_LOOK
        self._fresh = False
        self._sums: _Sums | None = None

    def take(self, planes: Planes) -> None:
        """Gather one more frame."""
        seconds = self._frames / self._fps
        self._frames += 1
        if min(luma_of(planes).shape) < SMALLEST or seconds + 1e-6 < self._next_sample:
            return
        self._next_sample = max(self._next_sample + 1 / RATE, seconds)
        if self._sums is None:
            self._sums = _Sums(*luma_of(planes).shape)
        self._sums.add(planes)
        self._fresh = True

    def due(self) -> bool:
        """Whether enough is new for another look."""
        return self._frames / self._fps + 1e-6 >= self._next_look

    @staticmethod
    def looks(seconds: float) -> int:
        """How often a video of this length is looked at, the last time at its end."""
        return 1 + (seconds >= FIRST_LOOK) + int(seconds / LOOK_EVERY)

    def look(self) -> Iterator[Reading | None]:
        """Search what was gathered, in small steps: None after each, what was read last."""
        seconds = self._frames / self._fps
        late = self._next_look >= LOOK_EVERY
        self._next_look = max(self._next_look, seconds) // LOOK_EVERY * LOOK_EVERY + LOOK_EVERY
        if self._sums is None or not self._fresh:
            return
        self._fresh = False
        views = self._sums.views()
        if views:
            yield from self._search(views)
        if late:
            self._sums.forget()

    def _search(self, views: Sequence[View]) -> Iterator[Reading | None]:
        yield None
        plan = layout(self._key)
        search = AffineSearch(views, plan)
        yield None
        for place in search.places():
            yield None
            for payload, signal, turned in _readings(views, place, plan, self._key):
                self.tries += 1
                if payload is not None:
                    across, down = np.hypot(*turned[:, 0]), np.hypot(*turned[:, 1])
                    mirrored = bool(np.linalg.det(turned) < 0)
                    yield Reading(payload, (float(across), float(down)), mirrored, signal)
                    return


class _Sums:
    """What is kept of the frames."""

    def __init__(self, height: int, width: int) -> None:
        tall, wide = min(height, WINDOW), min(width, WINDOW)
        top, left = (height - tall) // 4 * 2, (width - wide) // 4 * 2
        self._part = np.s_[top : top + tall, left : left + wide]
        self._half = np.s_[top // 2 : (top + tall) // 2, left // 2 : (left + wide) // 2]
        self.shape = (tall, wide)
        self._luma = np.zeros(self.shape, dtype=np.float32)
        self._chroma = np.zeros((tall // 2, wide // 2), dtype=np.float32)
        self._count = 0.0

    def add(self, planes: Planes) -> None:
        first, second = chroma_of(planes)
        self._chroma += np.add(first[self._half], second[self._half], dtype=np.float32)
        self._luma += luma_of(planes)[self._part]
        self._count += 1

    def forget(self) -> None:
        for total in (self._luma, self._chroma):
            total *= np.float32(KEPT)
        self._count *= KEPT

    def views(self) -> list[View]:
        """Chroma and luma; what is empty is left out."""
        luma = self._luma / np.float32(self._count)
        worth = cv2.resize(strengths(smaller(luma)).luma, luma.shape[::-1])
        found = [
            View(CHROMA.levelled(self._chroma / np.float32(self._count)), CHROMA),
            View(worth * LUMA.levelled(luma), LUMA),
        ]
        return [view for view in found if float(np.std(view.image)) > 1e-3]


class AffineSearch:
    """Looks for the pilot's waves in the views' spectra."""

    def __init__(self, views: Sequence[View], plan: Lattice) -> None:
        self._plan = plan
        side = max(max(view.image.shape) * view.carrier.pixel for view in views)
        self._size = 1 << int(np.ceil(np.log2(1.5 * side)))
        self._step = STEP * TILE / (HIGH * self._size)
        self._views = views
        self._finer = [view.carrier.finer for view in views]
        self._spectra = [_spectrum(view, self._size // view.carrier.pixel) for view in views]
        self._powers = [each.real**2 + each.imag**2 for each in self._spectra]
        weight = amplitudes(plan.pilots)
        self._symbols = plan.pilot_symbols.conj() * weight / np.sqrt(np.sum(weight**2) / 2)

    def places(self) -> list[Matrix]:
        """The likeliest places, best first, made finer."""
        trials = self._trials()
        power = np.concatenate([self._power(part) for part in _chunks(trials, 4096)])
        trials = trials[np.argsort(-power, kind="stable")[:PROMISING]]
        scores = np.concatenate([self.scores(part) for part in _chunks(trials, 100)])
        started = self._distinct(trials[np.argsort(-scores, kind="stable")], CANDIDATES)
        refined = np.stack([self._refined(place) for place in started])
        scores = self.scores(refined)
        order = np.argsort(-scores, kind="stable")
        return self._distinct(refined[order[scores[order] > WORTH]], CANDIDATES)

    def scores(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """How well the pilot's phases agree at the best shift, for places [N, 2, 2]: [N]."""
        found = self._sampled(*self._waves(places))
        waves = self._plan.pilots
        best = np.zeros(len(places))
        for one in (found, found.conj()):  # as it is, and upside down
            plane = np.zeros((*one.shape[:2], SHIFTS, SHIFTS), dtype=np.complex64)
            plane[..., waves[:, 1], waves[:, 0] % SHIFTS] = one * self._symbols
            agreement = np.fft.ifft2(plane).real.max(axis=(2, 3)) * SHIFTS**2
            best = np.maximum(best, np.sum(np.maximum(agreement, 0) ** 2, axis=0))
        return best

    def _trials(self) -> NDArray[np.float64]:
        """Maps to try, [N, 2, 2]."""
        trials = []
        scale = SCALES[0]
        while scale < SCALES[1]:
            step = self._step * scale
            trials.append(scale * _turned(np.arange(-TURN, TURN + step, step)))
            uneven = np.exp(np.arange(-STRETCH, STRETCH + step, step) / 2)
            trials.append(scale * np.stack([uneven, 1 / uneven], axis=1)[:, :, None] * np.eye(2))
            scale *= 1 + step
        plain = np.concatenate(trials)
        return np.concatenate([plain, plain * np.array([-1.0, 1.0])])

    def _distinct(self, places: NDArray[np.float64], count: int) -> list[Matrix]:
        """The first `count` places that lie a step or more apart."""
        picked: list[Matrix] = []
        for place in places:
            apart = [np.abs(inverse(place) - inverse(other)).max() for other in picked]
            if min(apart, default=np.inf) > self._step:
                picked.append(place)
            if len(picked) == count:
                break
        return picked

    def _refined(self, place: Matrix) -> Matrix:
        """A better place nearby: along and across each axis, in steps that get smaller."""
        best = float(self.scores(place[None])[0])
        size = abs(float(np.linalg.det(place)))
        for finer in REFINED:
            while True:
                trials = place + finer * self._step * size * MOVES
                scores = self.scores(trials)
                if scores.max() <= best + 1e-9:
                    break
                best, place = float(scores.max()), trials[int(scores.argmax())]
        return place

    def _waves(self, places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the pilot's waves are in the spectra, in bins: x and y, [N, K] each."""
        x, y = np.moveaxis(self._plan.pilots @ inverse(places), 2, 0) * (self._size / TILE)
        return x, y

    def _power(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power at the pilot's waves, whatever their phases: quickly looked up. [N]."""
        x, y = self._waves(places)
        found = [
            _nearest(power, x * finer, y * finer).sum(axis=1)
            for power, finer in zip(self._powers, self._finer, strict=True)
        ]
        return np.asarray(np.sum(found, axis=0), dtype=np.float64)

    def _sampled(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.complex64]:
        """The views' spectra at these waves, between bins, bilinear: [views, N, K]."""
        found = [
            _between(each, x * finer, y * finer)
            for each, finer in zip(self._spectra, self._finer, strict=True)
        ]
        return np.stack(found).astype(np.complex64)


def _chunks(places: NDArray[np.float64], size: int) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _nearest(
    spectrum: NDArray[Any], x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]
) -> NDArray[Any]:
    """Values of a real picture's spectrum [size, size // 2 + 1] at the nearest bins; 0 beyond it."""
    half = len(spectrum) // 2
    flip = np.where(x < 0, -1, 1)
    column, row = (np.rint(each * flip).astype(np.intp) for each in (x, y))
    inside = (column < half) & (np.abs(row) < half)
    found = spectrum[row * inside, column * inside] * inside
    return np.where(flip < 0, found.conj(), found)


def _between(spectrum: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[Any]:
    """`_nearest`, bilinear."""
    left, top = np.floor(x), np.floor(y)
    right, low = x - left, y - top
    upper = _nearest(spectrum, left, top) * (1 - right) + _nearest(spectrum, left + 1, top) * right
    lower = _nearest(spectrum, left, top + 1) * (1 - right) + _nearest(spectrum, left + 1, top + 1) * right
    return upper * (1 - low) + lower * low


def inverse(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of matrices [..., 2, 2]. LAPACK, called for each of thousands, has its threads wait for each other: on
    a busy machine that takes a thousand times as long."""
    a, b, c, d = (places[..., row, column] for row in (0, 1) for column in (0, 1))
    adjugate = np.stack([d, -b, -c, a], axis=-1).reshape(places.shape)
    return np.asarray(adjugate / (a * d - b * c)[..., None, None])


def _turned(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations, [N, 2, 2]."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)


def _spectrum(view: View, size: int) -> NDArray[np.complex64]:
    """A view's spectrum about its middle over the level around, large values cut: [size, size // 2 + 1]."""
    height, width = view.image.shape
    spectrum = np.fft.rfft2(view.image, (size, size))
    spectrum *= np.exp(1j * np.pi * np.fft.fftfreq(size) * (height - 1))[:, None]
    spectrum *= np.exp(1j * np.pi * np.fft.rfftfreq(size) * (width - 1))
    found = spectrum.astype(np.complex64)
    power = found.real**2 + found.imag**2
    level = cv2.blur(power, (SURROUNDINGS, SURROUNDINGS)) + 1e-9
    return found / np.sqrt(np.maximum(level, power / PEAK))


def _readings(
    views: Sequence[View], place: Matrix, plan: Lattice, key: bytes
) -> Iterator[tuple[int | None, float, Matrix]]:
    """What the views say at a place and at the same place upside down."""
    measured = [_measured(view, place) for view in views]
    finer = [view.carrier.finer for view in views]
    for turned in (1, -1):
        parts = _combined(plan, finer, [(on.conj() if turned < 0 else on, off) for on, off in measured])
        soft = np.bincount(plan.bits.ravel(), parts.ravel(), CODE.bits)
        payload = CODE.decode(soft.astype(np.float32), key)
        signal = 0.0 if payload is None else signal_of(plan, parts, CODE.encode(payload, key), RINGS)
        yield payload, signal, turned * place


def _measured(view: View, place: Matrix) -> tuple[Complex, Complex]:
    """The view's amplitudes on the lattice and half a step beside it, [HIGH + 1, 2 * HIGH + 1] of (y, x)."""
    height, width = view.image.shape
    corners = np.array([[x, y] for x in (-width, width) for y in (-height, height)]) / 2 * view.carrier.pixel
    reach = np.abs(corners @ inverse(place).T).max(axis=0)
    wide, tall = (int(np.clip(2 * np.ceil(side), 8, 4 * WINDOW)) // view.carrier.pixel for side in reach)
    # Pixel centres: the frame's point p is at p / pixel - 0.5 of the view, from its corner.
    to_view = place.copy()
    shift = np.array([width, height]) / 2 - 0.5 - to_view @ (np.array([wide, tall]) / 2 - 0.5)
    drawn = cv2.warpAffine(
        view.image,
        np.hstack([to_view, shift[:, None]]),
        (wide, tall),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    tiles = view.carrier.pixel * view.carrier.finer / TILE
    x = (np.arange(wide) - (wide - 1) / 2) * tiles
    y = (np.arange(tall) - (tall - 1) / 2) * tiles
    on, off = (
        _apart(y) @ sums_at(drawn, (x, y), (_EVERY + offset, _EVERY + offset)) @ _apart(x)
        for offset in (0.0, 0.5)
    )
    return on[HIGH:], off[HIGH:]


def _apart(places: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Takes apart neighbouring waves, which no whole number of tiles mixes: [2 * HIGH + 1, 2 * HIGH + 1].

    places: the pixels along one side, in tiles.
    """
    overlap = np.cos(2 * np.pi * np.outer(np.arange(_EVERY.size), places)).mean(axis=1)
    apart = np.abs(_EVERY[:, None] - _EVERY)
    return np.asarray(np.linalg.inv(overlap[apart] + DAMPING * np.eye(_EVERY.size)))


def _combined(
    plan: Lattice, finer: Sequence[int], measured: Sequence[tuple[Complex, Complex]]
) -> NDArray[np.float64]:
    """Soft values of every copy of every coded bit, [M, 2], all views together, by what each is worth."""
    ring = _rings(plan.data)
    pilot_ring = _rings(plan.pilots)
    scale = PILOT_GAIN * amplitudes(plan.pilots)
    pilots, noises = [], []
    for on, off in measured:
        power = np.abs(off) ** 2
        noise = np.array([_ring_mean(power, each) for each in range(RINGS)]) + 1e-12
        pilots.append(_pick(on, plan.pilots) * plan.pilot_symbols.conj() / scale)
        noises.append(noise)
    shift = _shift(plan, finer, pilots, [noise[pilot_ring] for noise in noises])
    total = np.zeros(len(plan.data), dtype=np.complex128)
    for (on, _off), pilot, noise, times in zip(measured, pilots, noises, finer, strict=True):
        moved, known_moved = (
            np.exp(2j * np.pi * (waves @ shift) * times / TILE) for waves in (plan.data, plan.pilots)
        )
        known = (pilot * known_moved).real
        counts = np.bincount(pilot_ring, minlength=RINGS)
        gain = (np.bincount(pilot_ring, known, RINGS) + 3 * known.mean()) / (counts + 3)
        total += gain[ring] * amplitudes(plan.data) * _pick(on, plan.data) * moved / noise[ring]
    return np.asarray(np.stack([total.real, total.imag], axis=1) * plan.signs, dtype=np.float64)


def _shift(
    plan: Lattice,
    finer: Sequence[int],
    pilots: Sequence[Complex],
    noises: Sequence[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """The shift in the tile, pixels (x, y), at which the pilot's phases agree best."""
    grid = TILE
    scale = PILOT_GAIN * amplitudes(plan.pilots)
    total = np.zeros((grid, grid))
    for times, pilot, noise in zip(finer, pilots, noises, strict=True):
        plane = np.zeros((grid, grid), dtype=np.complex128)
        plane[plan.pilots[:, 1], plan.pilots[:, 0] % grid] = pilot * scale**2 / noise
        worth = float(np.sqrt(np.sum(np.abs(pilot * scale**2 / noise) ** 2))) + 1e-12
        agreement = np.maximum(np.fft.ifft2(plane).real / worth, 0) ** 2
        total += np.tile(agreement[::times, ::times], (times, times))
    down, across = np.unravel_index(int(total.argmax()), total.shape)
    return np.array([across, down], dtype=np.float64)


def _rings(waves: NDArray[np.int64]) -> NDArray[np.intp]:
    """Which of RINGS ranges of radii each of `waves` [..., 2] is in."""
    return np.digitize(np.hypot(waves[..., 0], waves[..., 1]), np.linspace(LOW, HIGH, RINGS + 1)[1:-1])


_LATTICE = np.stack(np.meshgrid(_EVERY, _EVERY[HIGH:]), axis=-1)
_RADIUS = np.hypot(_LATTICE[..., 0], _LATTICE[..., 1])
_LATTICE_RING = np.where((_RADIUS >= LOW) & (_RADIUS <= HIGH), _rings(_LATTICE), -1)


def _ring_mean(power: NDArray[np.float64], ring: int) -> float:
    return float(power[ring == _LATTICE_RING].mean())


def _pick(lattice: Complex, waves: NDArray[np.int64]) -> Complex:
    return lattice[waves[:, 1], waves[:, 0] + HIGH]
