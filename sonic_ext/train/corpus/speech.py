"""Who says what: lines drawn by seed and number, spoken into a folder that can be continued at any time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..words import NUMBERS, words
from .sounds import Utterance, phonemes_of, save, seconds
from .synthesizers import Espeak, flite


@dataclass(frozen=True)
class Cast:
    """Voices that speak a corpus."""

    flite: dict[str, int]
    """Flite's voices and how often each is drawn."""
    espeak: dict[str, str]
    """eSpeak NG's voices and the language of their words."""
    variants: tuple[str, ...]
    """eSpeak NG's variants of a voice."""
    flite_share: float
    """Of all lines."""


TRAINING = Cast(
    flite={"slt": 3, "rms": 3, "awb": 3, "kal16": 1},
    espeak={
        "en-us": "en", "en-gb-x-rp": "en", "en-gb-scotland": "en", "de": "de", "fr": "fr", "es": "es",
        "it": "it", "pt-br": "pt", "ru": "ru", "ja": "ja", "cmn-latn-pinyin": "zh", "pl": "pl",
    },
    variants=("", "", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5"),
    flite_share=0.6,
)  # fmt: skip
HELD_OUT = Cast(
    flite={"kal": 1},
    espeak={
        "en-gb-x-gbclan": "en",
        "en-029": "en",
        "es-419": "es",
        "fr-be": "fr",
        "pt": "pt",
        "de": "de",
        "ru": "ru",
    },
    variants=("+m8", "+klatt2", "+klatt4", "+Andy", "+Annie", "+Gene", "+Michael", "+linda", "+steph"),
    flite_share=0.15,
)
"""Never trained on."""
UNSEEN = Cast(
    flite={"kal": 1},
    espeak=dict.fromkeys(("nl", "sv", "tr", "hu", "fi", "cs", "el", "hi", "ko", "vi", "uk", "ro"), NUMBERS),
    variants=("", "+f2", "+m3", "+Andy", "+Annie", "+Michael", "+linda"),
    flite_share=0.0,
)
"""Languages that are never trained on, saying numbers."""
CASTS = {"training": TRAINING, "held-out": HELD_OUT, "unseen": UNSEEN}


@dataclass(frozen=True)
class Line:
    """A sentence, who says it and how; the same line always sounds the same."""

    voice: str
    """Name of the synthesizer's voice, with its variant."""
    text: str
    by_flite: bool
    speed: float
    """Flite: how much slower than usual; eSpeak NG: words a minute."""
    pitch: float | None
    """Flite: mean in Hz, or the voice's own; eSpeak NG: 0..100."""
    span: int = 50
    """eSpeak NG: 0 monotonous .. 100."""

    @property
    def speaker(self) -> str:
        """What recordings are named after."""
        return f"{'flite' if self.by_flite else 'espeak'}-{self.voice}"


def sentence(vocabulary: tuple[str, ...], rng: random.Random) -> str:
    """Three to ten words with now and then a comma."""
    chosen = rng.choices(vocabulary, k=rng.randint(3, 10))
    spoken = [word + ("," if rng.random() < 0.12 else "") for word in chosen]
    return " ".join(spoken).rstrip(",") + rng.choice("..?")


def line(cast: Cast, seed: int, number: int) -> Line:
    """The line of this number, whatever was drawn before it."""
    rng = random.Random(f"{seed} {number}")
    if rng.random() < cast.flite_share:
        voice = rng.choices(list(cast.flite), list(cast.flite.values()))[0]
        pitch = rng.uniform(80, 230) if rng.random() < 0.5 else None
        return Line(voice, sentence(words()["en"], rng), True, rng.uniform(0.75, 1.35), pitch)
    voice = rng.choice(list(cast.espeak))
    text = sentence(words()[cast.espeak[voice]], rng)
    speed, pitch, span = rng.randint(110, 260), rng.randint(15, 85), rng.randint(20, 80)
    return Line(voice + rng.choice(cast.variants), text, False, speed, pitch, span)


def spoken(said: Line, espeak: Espeak) -> Utterance:
    """A line's sound and phonemes."""
    if said.by_flite:
        return flite(said.text, said.voice, said.speed, said.pitch)
    return espeak.speak(said.text, said.voice, int(said.speed), int(said.pitch or 50), said.span)


def make(folder: Path, cast: Cast, minutes: float, seed: int) -> Iterator[Path]:
    """Speak lines into `folder` until it holds `minutes`; those that are there already are left.

    Raises:
        MissingPart: a synthesizer is not installed.
        BadInput: a synthesizer has no such voice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    espeak = Espeak()
    number, length = 0, 0.0
    while length < minutes * 60:
        said = line(cast, seed, number)
        file = folder / f"{said.speaker}_{number:05d}.wav"
        if not phonemes_of(file).exists():
            save(folder, file.stem, spoken(said, espeak))
        length += seconds(file)
        number += 1
        yield file
