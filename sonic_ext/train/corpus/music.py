"""Music that code plays: pieces without a voice, drawn from a seed.

A piece has a key, a tempo, a few chords and some of: chords held or struck, an arpeggio, a bass, a melody,
drums; each on an instrument drawn at random. Notes are read from tables of one period whose harmonics end
below half the sampling rate; a note is bright when struck and duller as it rings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .acoustics import filtered, in_a_room, scaled
from .sounds import RATE

PERIOD = 4096
"""Points of a table."""
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9))
"""Major, minor, Dorian, pentatonic; semitones above the key."""
VOWELS = (
    (730.0, 1090.0, 2440.0),
    (270.0, 2290.0, 3010.0),
    (300.0, 870.0, 2240.0),
    (530.0, 1840.0, 2480.0),
    (570.0, 840.0, 2410.0),
)
"""Formants of a, i, u, e, o after Peterson & Barney, 1952."""
HIGHEST = 7400.0
"""Harmonics end here, Hz."""


@dataclass(frozen=True)
class Instrument:
    """A timbre and how its notes begin and end."""

    fall: float
    """Harmonic n has the amplitude n ** -fall."""
    odd: float
    """Amplitude of the even harmonics beside the odd ones, 0..1."""
    formants: tuple[float, ...]
    """Hz around which harmonics are raised; three of them sing a vowel."""
    attack: float
    """Seconds."""
    ring: float
    """Seconds in which a held note falls by 8.7 dB; large for those that do not fall."""
    vibrato: float
    """Semitones to either side."""
    voices: int
    """Detuned copies."""


@dataclass(frozen=True)
class Note:
    """Times in seconds, height in semitones above 440 Hz, loudness as an amplitude."""

    start: float
    length: float
    height: float
    loud: float


def any_instrument(rng: np.random.Generator, held: bool) -> Instrument:
    """A timbre at random; `held` notes do not fall."""
    return Instrument(
        fall=rng.uniform(0.5, 2.2),
        odd=rng.choice([1.0, 1.0, 0.1, rng.random()]),
        formants=(
            VOWELS[rng.integers(len(VOWELS))]
            if held and rng.random() < 0.25
            else (rng.uniform(300.0, 2500.0),)[: int(rng.integers(2))]
        ),
        attack=rng.uniform(0.02, 0.4) if held else rng.uniform(0.002, 0.02),
        ring=20.0 if held else rng.uniform(0.08, 1.5),
        vibrato=rng.choice([0.0, rng.uniform(0.05, 0.5)]) if held else 0.0,
        voices=int(rng.choice([1, 2, 3])) if held else 1,
    )


def period(instrument: Instrument, hertz: float, dullness: float) -> NDArray[np.float32]:
    """One period of a note, float32 [PERIOD], peak near 1; `dullness` adds to the fall of the harmonics."""
    count = max(1, min(int(HIGHEST / hertz), PERIOD // 2 - 1))
    n = np.arange(1, count + 1)
    loud = n ** -(instrument.fall + dullness) * np.where(n % 2, 1.0, instrument.odd)
    if instrument.formants:
        away = (n * hertz - np.array(instrument.formants)[:, None]) / (80.0 + 0.06 * n * hertz)
        floor = 0.3 / len(instrument.formants) ** 2
        loud = loud * (floor + np.exp(-(away**2)).sum(axis=0))
    spectrum = np.zeros(PERIOD // 2 + 1, dtype=np.complex64)
    spectrum[1 : count + 1] = loud * np.exp(1j * 2.4 * n**2)
    wave = np.fft.irfft(spectrum)
    return np.asarray(wave / np.abs(wave).max(), dtype=np.float32)


def played(
    instrument: Instrument, notes: Iterator[Note], count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The sound of some notes, float32 [count]."""
    sound = np.zeros(count, dtype=np.float32)
    for note in notes:
        begin = int(note.start * RATE)
        size = min(int((note.length + 0.08) * RATE), count - begin)
        if size <= 0:
            continue
        hertz = 440.0 * 2.0 ** (note.height / 12.0)
        time = np.arange(size, dtype=np.float32) / RATE
        bright, dull = period(instrument, hertz, 0.0), period(instrument, hertz, 1.0)
        struck = np.exp(-time / min(instrument.ring, 2.0))
        total = np.zeros(size, dtype=np.float32)
        for voice in range(instrument.voices):
            cents = rng.normal(0.0, 8.0) if voice else 0.0
            swing = instrument.vibrato * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * time)
            steps = hertz * 2.0 ** (cents / 1200.0) / RATE * PERIOD * np.exp2(swing / 12.0)
            at = (rng.random() * PERIOD + np.cumsum(steps, dtype=np.float64)).astype(np.int64) % PERIOD
            total += dull[at] + (bright[at] - dull[at]) * struck
        shape = np.minimum(time / instrument.attack, 1.0) * np.exp(-time / instrument.ring)
        shape *= np.clip((size / RATE - time) / 0.08, 0.0, 1.0)
        sound[begin : begin + size] += note.loud * shape * total
    return sound


def drums(beat: float, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Bass drum, snare and hats in a pattern of two bars of eighths, float32 [count]."""
    sound = np.zeros(count, dtype=np.float32)
    time = np.arange(int(0.3 * RATE)) / RATE
    hiss = rng.normal(size=len(time))
    kick = np.sin(2 * np.pi * (rng.uniform(40, 60) * time - 6.0 * np.exp(-time * 30.0))) * np.exp(
        -time * 12.0
    )
    snare = (0.5 * hiss + 0.5 * np.sin(2 * np.pi * rng.uniform(150, 250) * time)) * np.exp(-time * 18.0)
    hat = np.diff(hiss, prepend=0.0) * np.exp(-time * rng.uniform(25.0, 80.0)) * 0.3
    usual = ((0, 4), (2, 6), tuple(range(8)))
    for hit, places in zip((kick, snare, hat), usual, strict=True):
        pattern = (rng.random(16) < 0.12) | np.isin(np.arange(16) % 8, places)
        pattern &= rng.random(16) < 0.93
        for number in range(int(count / RATE / (beat / 2)) + 1):
            begin = int(number * beat / 2 * RATE)
            if pattern[number % 16] and begin < count:
                size = min(len(hit), count - begin)
                sound[begin : begin + size] += (hit * rng.uniform(0.6, 1.0))[:size]
    return sound


@dataclass(frozen=True)
class Score:
    """What a piece is built on."""

    beat: float
    """Seconds."""
    key: int
    """Semitones above 440 Hz."""
    scale: tuple[int, ...]
    roots: tuple[int, ...]
    """Degrees of the scale, one for each bar of four beats, over and over."""

    def height(self, degree: int) -> float:
        """Semitones above 440 Hz of a degree of the scale, of any octave."""
        octave, step = divmod(degree, len(self.scale))
        return self.key + 12 * octave + self.scale[step]


def any_score(rng: np.random.Generator) -> Score:
    """Tempo, key, scale and chords at random."""
    scale = SCALES[rng.integers(len(SCALES))]
    roots = tuple(int(r) for r in rng.integers(0, len(scale), int(rng.choice([2, 4, 4, 4]))))
    return Score(60.0 / rng.uniform(56.0, 170.0), int(rng.integers(-24, -11)), scale, roots)


def _chords(score: Score, seconds: float, rng: np.random.Generator) -> Iterator[Note]:
    spread = rng.choice([0, len(score.scale)])
    broken = rng.random() < 0.4
    for bar in range(int(seconds / score.beat / 4) + 1):
        root = score.roots[bar % len(score.roots)]
        for stroke in range(4) if broken else (0,):
            length = score.beat * (0.5 if broken else 4.0)
            for step in (0, 2, 4, 6)[: 3 + int(rng.random() < 0.3)]:
                start = (bar * 4 + stroke) * score.beat
                yield Note(start, length, score.height(root + step + spread), rng.uniform(0.2, 0.35))


def _arpeggio(score: Score, seconds: float, rng: np.random.Generator) -> Iterator[Note]:
    step = score.beat / rng.choice([2, 3, 4])
    order = rng.permutation(np.array([0, 2, 4, 7, 9, 4, 2, 7])) + int(rng.choice([0, 7]))
    for number in range(int(seconds / step) + 1):
        root = score.roots[int(number * step / score.beat / 4) % len(score.roots)]
        if rng.random() < 0.9:
            yield Note(
                number * step,
                step * 1.3,
                score.height(root + int(order[number % 8])),
                rng.uniform(0.4, 0.7),
            )


def _bass(score: Score, seconds: float, rng: np.random.Generator) -> Iterator[Note]:
    step = score.beat * rng.choice([0.5, 1.0, 2.0])
    for number in range(int(seconds / step) + 1):
        root = score.roots[int(number * step / score.beat / 4) % len(score.roots)]
        yield Note(
            number * step, step * rng.uniform(0.5, 1.0), score.height(root) - 12, rng.uniform(0.6, 0.9)
        )


def melody(score: Score, seconds: float, rng: np.random.Generator) -> Iterator[Note]:
    """A walk along the scale with rests, an octave above the key."""
    at, degree = 0.0, len(score.scale) + int(rng.integers(0, 7))
    while at < seconds:
        length = score.beat * rng.choice([0.5, 0.5, 1.0, 1.0, 2.0])
        degree = int(np.clip(degree + rng.choice([-2, -1, -1, 0, 1, 1, 2]), 3, 2 * len(score.scale) + 2))
        if rng.random() < 0.82:
            yield Note(at, length * rng.uniform(0.7, 1.05), score.height(degree), rng.uniform(0.5, 0.8))
        at += length


def accompaniment(score: Score, seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A piece's layers, some of them left out, float32 [samples] of unit power."""
    count = int(seconds * RATE)
    parts: list[NDArray[np.float32]] = []
    layers = (
        (_chords, True, 0.75),
        (_arpeggio, False, 0.5),
        (_bass, rng.random() < 0.4, 0.6),
        (melody, rng.random() < 0.6, 0.5),
    )
    for notes, held, often in layers:
        if rng.random() < often:
            sound = played(any_instrument(rng, held), notes(score, seconds, rng), count, rng)
            parts.append(scaled(sound, 10.0 ** (rng.uniform(-9.0, 0.0) / 10.0)))
    if rng.random() < 0.5 or not parts:
        parts.append(scaled(drums(score.beat, count, rng), 10.0 ** (rng.uniform(-9.0, 2.0) / 10.0)))
    mixed = np.sum(parts, axis=0)
    if rng.random() < 0.5:
        mixed = filtered(mixed, rng)
    if rng.random() < 0.5:
        mixed = in_a_room(mixed, rng)
    return scaled(mixed, 1.0)


def piece(seed: int, seconds: float) -> NDArray[np.float32]:
    """Music without a voice, float32 [samples] of unit power; the same seed gives the same piece."""
    rng = np.random.default_rng([seed, 77])
    return accompaniment(any_score(rng), seconds, rng)
