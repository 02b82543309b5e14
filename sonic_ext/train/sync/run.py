"""`sonic train sync` from top to bottom: recordings, training, confidence, the model and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import BadInput, BadOutput, MissingPart
from ...progress import Progress, Stage, Ticker
from ...sync import encoders
from ...sync.encoders import from_arrays
from ..corpus.mixtures import Backgrounds
from ..corpus.sounds import by_voice, recordings, seconds
from ..corpus.speech import TRAINING, make
from ..steps import writing
from .batches import filmed_clips
from .model import HeldOut, ModelOrigin, halves, metrics, split, with_confidence, write_model
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
    """Of real video that are long enough, likewise."""


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
        BadOutput: something else has that name; a file cannot be written.
        Failed: a loss was no number.
        Cancelled: somebody stopped it; what was learned is kept.
    """
    torch.set_num_threads(threads)
    tick = Ticker(progress)
    _check_output(output)
    state = output.with_suffix(".training")
    with writing(output):
        state.mkdir(parents=True, exist_ok=True)
        if corpus is None:
            corpus = state / f"voices-{recipe.seed}"
            spoken = 0.0
            for file in make(corpus, TRAINING, minutes, recipe.seed):
                spoken += seconds(file) / 60
                tick(Stage.SPEAKING, min(round(spoken), round(minutes)), round(minutes))
        tick(Stage.LOADING, 0, 1)
        known = by_voice(recordings(corpus))
        speakers, aside = split(known) if held_out is None else (known, by_voice(recordings(held_out)))
        if shared := sorted({*speakers} & {*aside}):
            raise BadInput(f"The voice {shared[0]} is in both folders.", "Hold out other voices.")
        sure, judged = (
            HeldOut(some, Backgrounds(aside, recipe.seed + 1, PIECES), recipe.seed) for some in halves(aside)
        )
        if not (sure.usable() and judged.usable()):
            raise BadInput(
                f"{held_out or corpus} has too few voices to keep some aside.",
                "Give several recordings of 4 s and more of at least four voices, named VOICE_NUMBER.wav.",
            )
        films = [*filmed_clips(clips)] if clips is not None else []
        *_, trained = train(Corpus(speakers, films), recipe, state, _shown(tick))
        tick(Stage.MEASURING, 0, 2)
        arrays = with_confidence(trained.model.arrays(), sure)
        tick(Stage.MEASURING, 1, 2)
        reached = metrics(from_arrays(arrays), judged)
        filmed = len({film.speaker for film in films})
        write_model(output, arrays, ModelOrigin(recipe, (*speakers,), len(films), filmed), reached)
        tick(Stage.MEASURING, 2, 2)
    return TrainedModel(output, output.with_suffix(".md"), reached, len(speakers), len(films))


def _check_output(output: Path) -> None:
    """Refuse to begin where something else would be replaced.

    Raises:
        BadOutput: a file of this name, or of its page's, is nothing that this command made.
    """
    if output.exists():
        try:
            encoders.load(output)
        except MissingPart:
            raise BadOutput(f"{output.name} exists and is no such model.", "Give another name.") from None
    elif output.with_suffix(".md").exists():
        name = output.with_suffix(".md").name
        raise BadOutput(f"{name} exists and is no model's page.", "Give another name.")


def _shown(tick: Ticker) -> Callable[[int, int, Mapping[str, float]], None]:
    def show(step: int, total: int, losses: Mapping[str, float]) -> None:
        tick(Stage.TRAINING, step, total)

    return show
