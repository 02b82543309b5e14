"""`sonic train sync` from top to bottom: recordings, training, confidence, the model and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import BadInput
from ...progress import Progress, Stage, Ticker
from ...sync.encoders import from_arrays
from ..clips import read_shards
from ..corpus.mixtures import Backgrounds
from ..corpus.sounds import Utterance, by_voice, phonemes_of, seconds
from ..corpus.speech import TRAINING, make
from .model import HeldOut, metrics, split, with_confidence, write_model
from .training import Corpus, SyncRecipe, train

MINUTES = 60.0
"""Of recordings that are spoken where no corpus is given."""
PIECES = 12
"""Of music and songs that are played to measure on."""


@dataclass(frozen=True)
class TrainedModel:
    """What came of a training."""

    path: Path
    page: Path
    metrics: Mapping[str, float]
    voices: int
    """That it learned from."""
    clips: int
    """Of real video, likewise."""


def train_model(
    output: Path,
    recipe: SyncRecipe,
    *,
    corpus: Path | None = None,
    held_out: Path | None = None,
    clips: Path | None = None,
    minutes: float = MINUTES,
    threads: int = 1,
    progress: Progress,
) -> TrainedModel:
    """Train, and write the model to `output` and its page beside it. Called again, it goes on where it was.

    Args:
        output: NAME.safetensors. What going on needs is in NAME.training beside it; delete that when done.
        recipe: how to train.
        corpus: recordings with phoneme times (`corpus.sounds`); spoken anew by default.
        held_out: recordings of other voices, to measure on; by default every eighth voice of the corpus,
            which is then not learned from.
        clips: shards of `sonic train prepare`, learned from as well.
        minutes: of recordings that are spoken where no corpus is given.
        threads: of torch.
        progress: shows steps and may stop it.

    Raises:
        BadInput: a folder lacks recordings or voices, shards cannot be read, another recipe was begun.
        MissingPart: no torch; no synthesizer and no corpus.
        Failed: a loss was no number.
        Cancelled: somebody stopped it; what was learned is kept.
    """
    torch.set_num_threads(threads)
    tick = Ticker(progress)
    state = output.with_suffix(".training")
    state.mkdir(parents=True, exist_ok=True)
    if corpus is None:
        corpus = state / "voices"
        spoken = 0.0
        for file in make(corpus, TRAINING, minutes, recipe.seed):
            spoken += seconds(file) / 60
            tick(Stage.SPEAKING, min(round(spoken), round(minutes)), round(minutes))
    tick(Stage.LOADING, 0, 1)
    known = _recordings(corpus)
    talkers, aside = split(known) if held_out is None else (known, _recordings(held_out))
    if not aside:
        raise BadInput(
            f"{held_out or corpus} has too few voices to keep one aside.",
            "Give recordings of several voices, named VOICE_NUMBER.wav.",
        )
    films = [*read_shards(clips)] if clips is not None else []
    *_, trained = train(Corpus(talkers, films), recipe, state, _shown(tick))
    tick(Stage.MEASURING, 0, 2)
    others = HeldOut(aside, Backgrounds(aside, recipe.seed + 1, PIECES), recipe.seed)
    arrays = with_confidence(trained.model.arrays(), others)
    tick(Stage.MEASURING, 1, 2)
    # Confidence is measured on other windows than it was learned from.
    again = HeldOut(aside, others.backgrounds, recipe.seed + 1)
    reached = metrics(from_arrays(arrays), again)
    write_model(output, arrays, recipe, reached, [*talkers])
    tick(Stage.MEASURING, 2, 2)
    return TrainedModel(output, output.with_suffix(".md"), reached, len(talkers), len(films))


def _recordings(folder: Path) -> dict[str, list[Utterance]]:
    """Recordings of a folder by voice.

    Raises:
        BadInput: there are none.
    """
    files = [file for file in sorted(folder.glob("*.wav")) if phonemes_of(file).exists()]
    if not files:
        raise BadInput(
            f"{folder} has no recordings with phoneme times.",
            "NAME.wav and NAME.phonemes.json belong together; see docs/training.md.",
        )
    return by_voice(files)


def _shown(tick: Ticker) -> Callable[[int, int, Mapping[str, float]], None]:
    def show(step: int, total: int, losses: Mapping[str, float]) -> None:
        tick(Stage.TRAINING, step, total)

    return show
