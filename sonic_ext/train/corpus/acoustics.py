"""Microphones, rooms, noise and codecs, drawn anew each time."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.signal import correlate, fftconvolve

from .sounds import RATE


def scaled(sound: NDArray[Any], power: float) -> NDArray[np.float32]:
    """The same sound with this mean power, float32."""
    present = float(np.mean(np.square(sound, dtype=np.float64)))
    return np.asarray(sound * np.sqrt(power / (present + 1e-20)), dtype=np.float32)


def filtered(sound: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """A random smooth equaliser, now and then with the band limits of a telephone or an mp3."""
    size = next_fast_len(len(sound), real=True)
    hertz = np.fft.rfftfreq(size, 1.0 / RATE)
    knots = np.linspace(0, RATE / 2, 9)
    decibels = np.interp(hertz, knots, rng.normal(0.0, 4.0, len(knots)))
    if rng.random() < 0.4:
        edge = rng.choice([3400.0, 3800.0, 4000.0, 5500.0, 7000.0])
        decibels = decibels - np.clip((hertz - edge) / 100.0, 0.0, 1.0) * 70.0
    if rng.random() < 0.3:
        edge = rng.uniform(80.0, 320.0)
        decibels = decibels - np.clip((edge - hertz) / edge, 0.0, 1.0) * 40.0
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, size) * 10.0 ** (decibels / 20.0), size)[: len(sound)])


def in_a_room(sound: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Reverberation by a decaying noise; the direct sound stays where it is."""
    length = int(RATE * rng.uniform(0.08, 0.4))
    tail = rng.normal(size=length) * np.exp(-6.9 * np.arange(length) / length)
    tail[: RATE // 500] = 0.0
    tail *= 10.0 ** (rng.uniform(-22.0, -6.0) / 20.0) / np.sqrt((tail**2).sum() + 1e-12)
    tail[0] = 1.0
    return np.asarray(fftconvolve(sound, tail)[: len(sound)])


def _hum(count: int, rng: np.random.Generator) -> NDArray[Any]:
    mains = rng.choice([50.0, 60.0]) * np.arange(count) / RATE
    loud = rng.exponential(size=8) / np.arange(1, 9)
    tones = [a * np.sin(2 * np.pi * (n * mains + rng.random())) for n, a in enumerate(loud, 1)]
    return np.asarray(np.sum(tones, axis=0))


def _rustle(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    size = next_fast_len(count, real=True)
    colour = (np.fft.rfftfreq(size, 1.0 / RATE) + 50.0) ** -rng.uniform(0.0, 1.2)
    return np.asarray(np.fft.irfft(np.fft.rfft(rng.normal(size=size)) * colour, size)[:count])


def noise(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Coloured noise, mains hum or both, of unit power, [count]."""
    share = rng.choice([0.0, 0.0, 0.5, 1.0])
    total = np.zeros(count)
    for part, kind in ((1.0 - share, _rustle), (share, _hum)):
        if part:
            sound = kind(count, rng)
            total += part * sound / (sound.std() + 1e-12)
    return np.asarray(total / (total.std() + 1e-12))


def recorded(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The same sound through another microphone in another room, float32 [samples]."""
    power = np.sqrt(np.mean(sound**2)) + 1e-9
    if rng.random() < 0.6:
        sound = filtered(sound, rng)
    if rng.random() < 0.4:
        sound = in_a_room(sound, rng)
    if rng.random() < 0.75:
        sound = sound + noise(len(sound), rng) * power * 10.0 ** (-rng.uniform(6.0, 55.0) / 20.0)
    gain = 10.0 ** (-rng.choice([0.0, rng.uniform(0.0, 30.0)]) / 20.0)
    return np.asarray(np.clip(sound * gain, -1.0, 1.0), dtype=np.float32)


CODECS = {
    "mp3": ("mp3", "libmp3lame", (16, 24, 32, 64)),
    "aac": ("adts", "aac", (16, 24, 32, 64)),
    "opus": ("ogg", "libopus", (8, 12, 24, 48)),
}
"""Container, encoder, kilobits a second."""
LONGEST_DELAY = 4000
"""Samples by which a codec may be late."""


def coded(sound: NDArray[np.float32], codec: str, kilobits: int) -> NDArray[np.float32]:
    """The same sound through a lossy codec and back, in its place to the sample, float32 [samples]."""
    container, encoder, _ = CODECS[codec]
    target = io.BytesIO()
    with av.open(target, "w", format=container) as writer:
        stream = writer.add_stream(encoder, rate=RATE, layout="mono")
        stream.bit_rate = kilobits * 1000
        frame = av.AudioFrame.from_ndarray((np.clip(sound, -1, 1) * 32767).astype("<i2")[None], "s16", "mono")
        frame.sample_rate = RATE
        for converted in av.AudioResampler(stream.format, "mono", RATE).resample(frame):
            writer.mux(stream.encode(converted))
        writer.mux(stream.encode(None))
    target.seek(0)
    back = av.AudioResampler("flt", "mono", RATE)
    with av.open(target, "r", format={"adts": "aac"}.get(container, container)) as reader:
        heard = [part.to_ndarray()[0] for frame in reader.decode(audio=0) for part in back.resample(frame)]
    decoded = np.pad(np.concatenate(heard), (0, LONGEST_DELAY + len(sound)))
    matches = correlate(decoded[: len(sound) + LONGEST_DELAY - 1], sound, mode="valid", method="fft")
    late = int(matches.argmax())
    return np.asarray(decoded[late : late + len(sound)], dtype=np.float32)


def through_any_codec(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The same sound through a codec and bit rate at random, float32 [samples]."""
    codec = str(rng.choice(list(CODECS)))
    return coded(sound, codec, int(rng.choice(CODECS[codec][2])))
