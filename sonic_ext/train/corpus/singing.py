"""Spoken lines sung: a vocoder keeps the mouth's part of the spectrum and gives it another pitch and rhythm.

The spectral envelope of each 5 ms (the cepstrum's first coefficients) shapes a buzz at the melody's pitch, or
noise where the phoneme has no voice. Vowels are held for a note each. Phoneme times follow.
"""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from ..phonemes import PAUSE, Phoneme, is_vowel
from .acoustics import scaled
from .music import Score, accompaniment, any_score, melody
from .sounds import RATE, Utterance

HOP, WINDOW, FFT = 80, 480, 512
LIFTER = 28
"""Cepstral coefficients kept: 1.75 ms, below the period of a high voice."""
UNVOICED = "ptkfsʃθhxçɕʂcqʈχħ"
BUZZ = 2048
"""Points of a period of the buzz."""


def envelopes(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth magnitude spectra every `HOP` samples, float32 [FFT // 2 + 1, frames]."""
    spectra = np.abs(librosa.stft(sound, n_fft=FFT, hop_length=HOP, win_length=WINDOW))
    cepstrum = np.fft.irfft(np.log(spectra + 1e-5), axis=0)
    cepstrum[LIFTER : FFT - LIFTER + 1] = 0.0
    return np.asarray(np.exp(np.fft.rfft(cepstrum, axis=0).real), dtype=np.float32)


def shaped(excitation: NDArray[np.float32], spectra: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter by a spectrum for every `HOP` samples, float32 [frames * HOP]; as long as `excitation`."""
    own = librosa.stft(excitation, n_fft=FFT, hop_length=HOP, win_length=WINDOW)[:, : spectra.shape[1]]
    filtered = librosa.istft(own * spectra, hop_length=HOP, win_length=WINDOW, length=len(excitation))
    return np.asarray(filtered, dtype=np.float32)


def _warped(phonemes: list[Phoneme], score: Score, rng: np.random.Generator) -> list[Phoneme]:
    """The same phonemes in the rhythm of a song."""
    moved: list[Phoneme] = []
    at = phonemes[0].start
    for phoneme in phonemes:
        length = phoneme.end - phoneme.start
        if is_vowel(phoneme.name):
            length = max(length, score.beat * float(rng.choice([0.25, 0.5, 0.5, 1.0, 2.0])))
        elif phoneme.name == PAUSE:
            length += score.beat * float(rng.choice([0.0, 0.5, 1.0]))
        moved.append(Phoneme(phoneme.name, at, at + length))
        at += length
    return moved


def _pitch(
    sung: list[Phoneme], score: Score, lift: float, frames: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Hz every `HOP` samples: a note of a melody for each vowel, with glides and vibrato."""
    notes = [note.height for note in melody(score, 60.0, rng)] or [0.0]
    heights = np.full(frames, notes[0])
    vowels = [p for p in sung if is_vowel(p.name)]
    for number, vowel in enumerate(vowels):
        heights[max(0, int((vowel.start - 0.05) * RATE / HOP)) :] = notes[number % len(notes)]
    glide = np.hanning(int(rng.uniform(8, 26)) + 2)
    heights = np.convolve(np.pad(heights, len(glide), mode="edge"), glide / glide.sum(), mode="same")
    heights = heights[len(glide) : len(glide) + frames]
    swing = rng.uniform(0.0, 0.5) * np.sin(2 * np.pi * rng.uniform(4.8, 6.4) * np.arange(frames) * HOP / RATE)
    return np.asarray(440.0 * 2.0 ** ((heights + swing + lift) / 12.0))


def sung(utterance: Utterance, score: Score, rng: np.random.Generator) -> Utterance:
    """A line sung to a melody of `score`; as loud as it was spoken."""
    sound, phonemes = utterance
    if len(phonemes) < 2:
        return utterance
    moved = _warped(phonemes, score, rng)
    frames = int(moved[-1].end * RATE / HOP)
    time = np.arange(frames) * HOP / RATE
    was = np.interp(time, [0.0] + [p.end for p in moved], [0.0] + [p.end for p in phonemes])
    spoken = envelopes(sound)
    spectra = spoken[:, np.clip(np.round(was * RATE / HOP).astype(int), 0, spoken.shape[1] - 1)]
    voiced = np.ones(frames)
    for phoneme in moved:
        if phoneme.name[0] in UNVOICED or phoneme.name == PAUSE:
            voiced[int(phoneme.start * RATE / HOP) : int(phoneme.end * RATE / HOP)] = 0.0
    lift = 12.0 * float(rng.choice([-1, 0, 0])) - 12.0
    hertz = np.repeat(_pitch(moved, score, lift, frames, rng), HOP)
    harmonics = max(1, int(7400.0 / hertz.max()))
    table = np.fft.irfft(np.pad(np.ones(harmonics), (1, BUZZ // 2 - harmonics))) * BUZZ
    buzz = table[(np.cumsum(hertz) / RATE * BUZZ).astype(np.int64) % BUZZ] / np.sqrt(2.0 * harmonics)
    open_share = np.repeat(voiced, HOP)
    breath = rng.normal(size=len(buzz)) * (1.0 - open_share + rng.uniform(0.0, 0.15))
    heard = shaped(np.asarray(buzz * open_share + breath, dtype=np.float32), spectra)
    return scaled(heard, float(np.mean(np.square(sound, dtype=np.float64)))), moved


def song(lines: list[Utterance], rng: np.random.Generator, decibels: float) -> Utterance:
    """Lines sung one after the other over music that is so much quieter, with phoneme times."""
    score = any_score(rng)
    sounds, phonemes, at = [], [], 0.0
    for line in lines:
        rest = score.beat * float(rng.choice([0.0, 1.0, 2.0, 4.0]))
        sound, moved = sung(line, score, rng)
        phonemes += [Phoneme(p.name, p.start + at + rest, p.end + at + rest) for p in moved]
        sounds += [np.zeros(int(rest * RATE), dtype=np.float32), scaled(sound, 0.01)]
        at = sum(map(len, sounds)) / RATE
    voice = np.concatenate(sounds)
    played = accompaniment(score, len(voice) / RATE + 0.1, rng)[: len(voice)]
    return np.asarray(voice + scaled(played, 0.01 * 10.0 ** (-decibels / 10.0)), dtype=np.float32), phonemes
