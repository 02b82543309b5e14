"""From what was learned to a file that ships: how sure it is, how good it is, and the page that says so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...files.atomic import replace_file
from ...sync.encoders import FORMAT, SyncNetwork, from_arrays
from ...sync.offset import REASONS
from ..corpus.mixtures import Backgrounds, joined
from ..corpus.sounds import Utterance
from .batches import Passage, heard
from .scoring import (
    Pair,
    Trial,
    calibration_error,
    fit_confidence,
    heard_among,
    pairs_of,
    retrieved,
    scored,
    share_within,
    trials,
    trials_alone,
)
from .training import SyncRecipe

LINES = 3
"""Recordings of one voice that are heard one after the other."""
LEVELS: tuple[tuple[str, float | None], ...] = (
    ("clean", None),
    ("babble", 10.0),
    ("babble", 5.0),
    ("babble", 0.0),
    ("music", 5.0),
    ("music", 0.0),
)
"""What is heard beside a voice, and by how many decibels it is quieter."""
LENGTHS = (1.0, 2.0, 3.0, 4.0, 6.0, 9.0)
"""Seconds of the windows that confidence is learned from."""
OTHERS = 0.45
"""Share of the mouths there that say something else."""
CHOICES = 100


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Voices that nothing else was learned from."""

    speakers: Mapping[str, Sequence[Utterance]]
    backgrounds: Backgrounds
    seed: int = 1

    def lines(self, most: int) -> list[Utterance]:
        """Up to `most` utterances, each several recordings of one voice, in an order of their own."""
        rng = np.random.default_rng([self.seed, 1])
        made = [
            joined(lines[start : start + LINES], rng)
            for lines in self.speakers.values()
            for start in range(0, len(lines), LINES)
        ]
        return [made[number] for number in rng.permutation(len(made))[:most]]

    def usable(self) -> bool:
        """Whether anything can be measured on them."""
        return sum(heard(line) is not None for line in self.lines(len(self.speakers) * LINES)) >= 2

    def nobody(self, count: int, rng: np.random.Generator) -> list[Passage]:
        """Sound in which nobody speaks to whom the mouth could belong: music, babble, noise, with phonemes of
        somebody else for the mouth."""
        kinds = (self.backgrounds.music, self.backgrounds.babble, self.backgrounds.noise)
        found = []
        for number, line in enumerate(self.lines(count)):
            sound = kinds[number % len(kinds)](len(line[0]), rng)
            passage = heard((0.1 * sound, line[1]))
            if passage is not None:
                found.append(passage)
        return found


def split(
    speakers: Mapping[str, Sequence[Utterance]], every: int = 8
) -> tuple[dict[str, Sequence[Utterance]], dict[str, Sequence[Utterance]]]:
    """Voices to learn from, and every eighth one by name, two at least, which are kept aside."""
    names = sorted(speakers)
    aside = {*names[min(every // 2, len(names) - 2) :: every], *names[-1:]} if len(names) > 2 else set()
    learned = {name: speakers[name] for name in names if name not in aside}
    return learned, {name: speakers[name] for name in names if name in aside}


def halves(
    speakers: Mapping[str, Sequence[Utterance]],
) -> tuple[dict[str, Sequence[Utterance]], dict[str, Sequence[Utterance]]]:
    """Every other voice: those that confidence is learned from, and those that it is measured on."""
    names = sorted(speakers)
    one, other = ({name: speakers[name] for name in names[start::2]} for start in (0, 1))
    return one, other


def with_confidence(
    arrays: Mapping[str, NDArray[Any]], held_out: HeldOut, most: int = 60
) -> dict[str, NDArray[Any]]:
    """The arrays of a model, with `confidence` learned from voices that nothing else was."""
    plain = from_arrays({**arrays, "confidence": np.zeros(REASONS + 1, np.float32)})
    rng = np.random.default_rng([held_out.seed, 2])
    found: list[Trial] = []
    lines = held_out.lines(most)
    for kind, decibels in LEVELS:
        passages = heard_among(lines, held_out.backgrounds, kind, decibels, rng)
        pairs = [*pairs_of(passages, rng, OTHERS)]
        whole = scored(plain, pairs)
        for seconds in LENGTHS:
            # As parts of a longer video, and as clips of their own.
            found += [*trials(whole, seconds, plain.confidence), *trials_alone(plain, pairs, seconds)]
    strangers = [_unrelated(pair) for pair in pairs_of(held_out.nobody(most // 3, rng), rng)]
    found += [trial for seconds in LENGTHS for trial in trials_alone(plain, strangers, seconds)]
    return {**arrays, "confidence": fit_confidence(found)}


def _unrelated(pair: Pair) -> Pair:
    return Pair(pair.sound, pair.motion, None)


def metrics(
    network: SyncNetwork, held_out: HeldOut, most: int = 120, choices: int = CHOICES
) -> dict[str, float]:
    """What the network reaches on voices that nothing was learned from.

    By noise: share of 2 s windows, at least half of them spoken, within 40 ms, of 6 s windows within 20 ms;
    right 1 s clip among `choices`; expected calibration error; share of windows with another's mouth below a
    confidence of 0.5.
    What there are too few or too short recordings for is left out.
    """
    rng = np.random.default_rng([held_out.seed, 3])
    lines = held_out.lines(most)
    found: dict[str, float] = {}
    measured: list[Trial] = []
    clean: list[Passage] = []
    for kind, decibels in LEVELS:
        passages = heard_among(lines, held_out.backgrounds, kind, decibels, rng)
        pairs = [*pairs_of(passages, rng)]
        name = kind if decibels is None else f"{kind} {decibels:.0f} dB"
        whole = scored(network, pairs)
        short = [*trials(whole, 2.0, network.confidence)]
        found[f"{name}: 2 s within 40 ms"] = share_within(short, 0.040)
        found[f"{name}: 6 s within 20 ms"] = share_within([*trials(whole, 6.0, network.confidence)], 0.020)
        measured += short
        if decibels is None:
            clean = passages
            found[f"right 1 s clip among {choices}"] = retrieved(network, pairs, 1.0, choices)
    others = scored(network, pairs_of(clean, rng, 1.0))
    shuffled = [*trials(others, 2.0, network.confidence)]
    found["calibration error"] = calibration_error([*measured, *shuffled])
    sure = [trial.found.confidence if trial.found else 0.0 for trial in shuffled]
    found["another's mouth below 0.5"] = float(np.mean(np.array(sure) < 0.5)) if sure else math.nan
    return {name: value for name, value in found.items() if math.isfinite(value)}


@dataclass(frozen=True)
class ModelOrigin:
    """What a model was learned from."""

    recipe: SyncRecipe
    voices: tuple[str, ...]
    clips: int = 0
    """Of real video."""
    speakers: int = 0
    """In them."""


def write_model(
    path: Path, arrays: Mapping[str, NDArray[Any]], origin: ModelOrigin, reached: Mapping[str, float]
) -> None:
    """The weights, and beside them the model's page: where it comes from and what it reaches.

    Raises:
        OSError: they cannot be written; what was there before is left.
    """
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        "recipe": json.dumps(asdict(origin.recipe), sort_keys=True),
        "metrics": json.dumps({name: round(value, 4) for name, value in reached.items()}),
        "voices": json.dumps(sorted(origin.voices)),
        "clips": str(origin.clips),
    }
    replace_file(path, save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata))
    text = page(path.stem, from_arrays(arrays), origin, reached)
    replace_file(path.with_suffix(".md"), text.encode())


def page(name: str, network: SyncNetwork, origin: ModelOrigin, reached: Mapping[str, float]) -> str:
    """The model's page, Markdown."""
    (sound, mouth), recipe = network.parameters, origin.recipe
    levels = "".join(f", {_LEVEL_TEXTS[level]}" for level in recipe.levels if level != "frame")
    if origin.clips:
        about = f"{origin.clips:,} clips of {origin.speakers:,} real speakers"
        clips = f"- Also {about}, under terms of their own."
    else:
        clips = "- Licence: as the project. No picture of a real person was learned from."
    lines = [
        f"# {name}",
        "",
        "Says how far a mouth lies from a voice, in numpy, from log-mel at 50 rows a second and lengths of "
        f"the mouth's landmarks. Trained with `sonic train sync` by contrast of moments{levels}.",
        "",
        f"- {sound:,} parameters hear, {mouth:,} see; {recipe.copies * recipe.steps:,} batches of "
        f"{recipe.batch} stretches of 4 s, seed {recipe.seed}.",
        f"- {len(origin.voices)} voices, {_kinds(origin.voices)}, among babble, music and songs made from "
        "them; mouths drawn from phoneme times.",
        clips,
        "",
        "| on voices that nothing was learned from; windows at least half spoken | |",
        "| --- | --- |",
        *(f"| {what} | {value:.3f} |" for what, value in reached.items()),
        "",
    ]
    return "\n".join(lines)


_LEVEL_TEXTS = {
    "semantic": "of what is said in a second or two (voice, mouth, phonemes)",
    "style": "and of who says it",
}


def _kinds(voices: Sequence[str]) -> str:
    kinds = sorted({voice.split("-")[0] for voice in voices})
    return "spoken by " + ", ".join(kinds) if kinds else "none"
