"""Speech heard among other sounds, put together while training: phoneme times with everything.

`Backgrounds` plays what is beside a speaker; `streams` draws who speaks, where, among what and how loud.
Both take everything from seeds. What is labelled is the foreground alone: babble, music and the voice of a
song that plays beside a speaker are background; a song with nobody else is foreground, sung.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..phonemes import PAUSE, Phoneme
from .acoustics import filtered, in_a_room, noise, recorded, scaled, through_any_codec
from .music import piece
from .singing import song
from .sounds import RATE, Utterance, faster

PIECE_SECONDS = 24.0
"""Of music and songs that are played for a background; each is used many times, from other moments."""


def spoken_power(utterance: Utterance) -> float:
    """Mean power where something is said: what signal-to-noise ratios here are relative to."""
    sound, phonemes = utterance
    said = [sound[int(p.start * RATE) : int(p.end * RATE)] for p in phonemes if p.name != PAUSE]
    heard = np.concatenate([*said, np.zeros(0)])
    return float(np.mean(np.square(heard, dtype=np.float64))) if len(heard) else 1e-4


def over(utterance: Utterance, background: NDArray[Any], decibels: float) -> Utterance:
    """Speech with a background `decibels` quieter than it; `background` is [samples] of any level."""
    quiet = scaled(background, spoken_power(utterance) * 10.0 ** (-decibels / 10.0))
    return np.asarray(utterance[0] + quiet, dtype=np.float32), utterance[1]


class Backgrounds:
    """What is heard beside a speaker.

    Args:
        speakers: recordings by voice, for babble and the voices of songs.
        seed: of the music; other seeds, other pieces.
        pieces: how many pieces and how many songs there are; each is played when first wanted.
    """

    def __init__(self, speakers: Mapping[str, Sequence[Utterance]], seed: int, pieces: int = 60) -> None:
        self._speakers = speakers
        self._seed = seed
        self._pieces = pieces
        self._played: dict[tuple[str, int], NDArray[np.float16]] = {}

    def babble(
        self, count: int, rng: np.random.Generator, least: int = 6, most: int = 14
    ) -> NDArray[np.float32]:
        """`least` to `most` people talking at once, each without end, float32 [count] of unit power."""
        voices = list(self._speakers.values())
        often = np.array([len(lines) for lines in voices], dtype=np.float64)
        number = int(rng.integers(least, most + 1))
        total = np.zeros(count)
        for voice in rng.choice(len(voices), number, number > len(voices), often / often.sum()):
            total += self._talk(voices[voice], count, rng) * 10.0 ** (rng.normal(0.0, 2.5) / 20.0)
        if rng.random() < 0.4:
            total = in_a_room(total, rng)
        return scaled(total, 1.0)

    def _talk(self, lines: Sequence[Utterance], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """One voice without end, from the middle of a line, float32 [count] of unit power."""
        said: list[NDArray[Any]] = []
        skipped = int(rng.integers(0, RATE))
        while sum(map(len, said)) < count + skipped:
            sound = lines[int(rng.integers(len(lines)))][0]
            said += [sound, np.zeros(int(rng.uniform(0.0, 0.4) * RATE), dtype=np.float32)]
        return scaled(np.concatenate(said)[skipped : skipped + count], 1.0)

    def music(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A part of a piece without a voice, float32 [count] of unit power."""
        return self._part("music", count, rng)

    def song(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A part of a song, float32 [count] of unit power."""
        return self._part("song", count, rng)

    def noise(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Hiss, rumble, hum, float32 [count] of unit power."""
        return np.asarray(noise(count, rng), dtype=np.float32)

    def _part(self, kind: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        number = int(rng.integers(self._pieces))
        if (kind, number) not in self._played:
            self._played[kind, number] = scaled(self._play(kind, number), 0.01).astype(np.float16)
        played = self._played[kind, number].astype(np.float32)
        begin = int(rng.integers(len(played)))
        part = np.resize(np.roll(played, -begin), count)
        if rng.random() < 0.5:
            part = np.asarray(filtered(part, rng), dtype=np.float32)
        return scaled(part, 1.0)

    def _play(self, kind: str, number: int) -> NDArray[np.float32]:
        if kind == "music":
            return piece(self._seed * 100_003 + number, PIECE_SECONDS)
        rng = np.random.default_rng([self._seed, number, 78])
        voices = list(self._speakers)
        lines = self._speakers[voices[rng.integers(len(voices))]]
        chosen = [lines[int(rng.integers(len(lines)))] for _ in range(4)]
        return song(chosen, rng, rng.uniform(-4.0, 8.0))[0][: int(PIECE_SECONDS * RATE)]


@dataclass(frozen=True)
class MixtureShares:
    """How often speech is heard among what; the rest of it is heard alone or in noise."""

    babble: float = 0.34
    music: float = 0.24
    song: float = 0.06
    """A song that plays beside the speaker."""
    sung: float = 0.06
    """Lines that are sung, over music."""
    lowest: float = -3.0
    """Decibels by which speech is louder than babble, music or song, at least ..."""
    highest: float = 16.0
    """... and at most."""
    coded: float = 0.12
    """Streams that went through a lossy codec."""
    snippet: float = 0.4
    """Parts of a line in silence for every stream of speech."""
    nobody: float = 0.5
    """Streams without speech for every stream of speech."""


def joined(utterances: Sequence[Utterance], rng: np.random.Generator) -> Utterance:
    """Utterances one after the other, with pauses of 0 to 1.5 s before each."""
    sounds: list[NDArray[Any]] = []
    phonemes: list[Phoneme] = []
    at = 0.0
    for sound, spoken in utterances:
        pause = np.zeros(int(RATE * max(0.0, rng.uniform(-0.2, 1.5))), dtype=np.float32)
        shift = at + len(pause) / RATE
        phonemes += [Phoneme(p.name, p.start + shift, p.end + shift) for p in spoken]
        gain = 10.0 ** (rng.uniform(-5.0, 0.0) / 20.0)
        sounds += [pause, (sound * gain).astype(np.float32)]
        at = shift + len(sound) / RATE
    return np.concatenate(sounds), phonemes


def nobody(backgrounds: Backgrounds, rng: np.random.Generator, seconds: float = 4.0) -> Utterance:
    """Sound without a speaker, of any loudness, perhaps switched on and off; no phonemes."""
    count = int(seconds * RATE)
    kinds = (backgrounds.noise, backgrounds.music, backgrounds.babble)
    sound = kinds[rng.integers(len(kinds))](count, rng) * 10.0 ** (-rng.uniform(15.0, 75.0) / 20.0)
    if rng.random() < 0.5:
        start, end = np.sort(rng.integers(0, count, 2))
        sound[:start] = sound[end:] = 0.0
    return np.asarray(sound, dtype=np.float32), []


def snippet(utterance: Utterance, rng: np.random.Generator) -> Utterance:
    """A part of 0.15 to 0.6 s out of a line, with silence around it."""
    sound, phonemes = utterance
    length = int(RATE * rng.uniform(0.15, 0.6))
    start = int(rng.integers(max(1, len(sound) - length)))
    part = sound[start : start + length]
    before, after = (np.zeros(int(RATE * rng.uniform(0.0, 1.5)), dtype=np.float32) for _ in range(2))
    moved = (len(before) - start) / RATE
    low, high = len(before) / RATE, (len(before) + len(part)) / RATE
    clipped = [Phoneme(p.name, max(p.start + moved, low), min(p.end + moved, high)) for p in phonemes]
    return np.concatenate([before, part, after]), [p for p in clipped if p.end > p.start]


def among(
    utterance: Utterance, backgrounds: Backgrounds, mix: MixtureShares, rng: np.random.Generator
) -> Utterance:
    """A stream of speech as it is heard: alone, or among babble, music or a song."""
    draw = rng.random()
    for share, played in (
        (mix.babble, backgrounds.babble),
        (mix.music, backgrounds.music),
        (mix.song, backgrounds.song),
    ):
        if draw < share:
            return over(utterance, played(len(utterance[0]), rng), rng.uniform(mix.lowest, mix.highest))
        draw -= share
    return utterance


def streams(
    utterances: Sequence[Utterance], backgrounds: Backgrounds, mix: MixtureShares, rng: np.random.Generator
) -> Iterator[Utterance]:
    """The whole corpus once, four utterances to a stream, at other speeds, places and levels each time."""
    order = rng.permutation(len(utterances))
    for start in range(0, len(order), 4):
        chosen = [utterances[i] for i in order[start : start + 4]]
        speeds = np.where(rng.random(len(chosen)) < 0.6, rng.integers(54, 78, len(chosen)) / 64.0, 1.0)
        lines = [faster(u, r) for u, r in zip(chosen, speeds, strict=True)]
        if rng.random() < mix.sung:
            sound, phonemes = song(lines, rng, rng.uniform(-2.0, 20.0))
        else:
            sound, phonemes = among(joined(lines, rng), backgrounds, mix, rng)
        sound = recorded(sound, rng)
        yield (through_any_codec(sound, rng) if rng.random() < mix.coded else sound), phonemes
        if rng.random() < mix.snippet:
            yield snippet(lines[0], rng)
        if rng.random() < mix.nobody:
            yield nobody(backgrounds, rng)
