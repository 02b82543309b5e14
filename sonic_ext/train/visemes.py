"""Trains the viseme network on speech with known phoneme times.

    python -m sonic_ext.train.visemes CORPUS visemes.safetensors --without flite-rms

CORPUS is a folder of `corpus`, or of anybody's wav and phonemes.json files. Every recording is heard
several times, each time elsewhere and among something else (`corpus.mixtures`): speed and pitch, equaliser,
band limit, reverberation, noise, gain, babble of the other voices, music and songs are drawn anew. The same
seed gives the same network on the same machine. Needs torch; the result does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engines.preview.network import BLOCK, FORMAT, LOWEST_DB, inputs
from ..engines.preview.visemes import Viseme
from ..media import mel
from ..media.blocks import runs
from .corpus.mixtures import Backgrounds, MixtureShares, streams
from .corpus.sounds import Utterance, by_voice
from .phonemes import Phoneme, visemes
from .temporal import conv_stack, learning_rate, stack_arrays, stack_state

if TYPE_CHECKING:
    import torch

WIDTH = 96
TAPS = (5, 3, 3, 3, 3, 1)
DILATIONS = (1, 1, 2, 4, 8, 1)
"""Context of 17 rows (170 ms) to either side."""
SLOW_WIDTH = 48
SLOW_TAPS = (5, 5, 5, 1)
SLOW_DILATIONS = (1, 2, 4, 1)
"""Context of 14 blocks (1.1 s) to either side."""
CLOSED_WEIGHT = 2.0
"""A closure that is missed is seen more than one too many."""
GATE_WEIGHT = 0.5
"""Of the gate's own loss beside that of the visemes."""
SHORT_SILENCE = 10
"""Rows; a shorter silence between sounds is still speech to the gate."""
SEGMENT = 400
"""Rows of a training example, whole blocks."""
BORDER = 16
"""Rows at both ends of an example that are not judged: their context is cut off."""
GAP = 120
"""Rows of digital silence that stand between some streams, as before and after every sound that is read."""


@dataclass(frozen=True)
class Recipe:
    """How long and how hard to train."""

    copies: int = 6
    """Times that the corpus is augmented."""
    epochs: int = 3
    """Passes over each augmented copy."""
    batch: int = 16
    rate: float = 3e-3
    seed: int = 7
    mix: MixtureShares = field(default_factory=MixtureShares)


def labels(phonemes: Sequence[Phoneme], rows: int, fine: int = 5) -> NDArray[np.float32]:
    """Share of each viseme in every 10 ms, float32 [rows, classes]; silence where nothing is said."""
    line = np.full(rows * fine, int(Viseme.SILENCE))
    per_second = mel.ROWS_PER_SECOND * fine
    for phoneme in phonemes:
        at = phoneme.start
        for viseme, share in visemes(phoneme.name):
            until = at + share * (phoneme.end - phoneme.start)
            line[round(at * per_second) : round(until * per_second)] = int(viseme)
            at = until
    named = np.eye(len(Viseme), dtype=np.float32)[line]
    return np.asarray(named.reshape(rows, fine, -1).mean(axis=1))


def spoken(named: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The gate's labels: 1 in speech with its short silences, 0 in pauses, float32 [rows]."""
    said = 1.0 - named[:, Viseme.SILENCE]
    for start, end in runs(said < 0.5):
        if end - start < SHORT_SILENCE:
            said[start:end] = 1.0
    return np.asarray(said, dtype=np.float32)


def features(stream: Utterance) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Levelled log-mel [rows, BANDS] and labels with the gate's in the last column [rows, classes + 1]."""
    sound, phonemes = stream
    rows = len(sound) // mel.HOP
    named = labels(phonemes, rows)
    heard = np.concatenate(list(mel.levelled(mel.mel_rows([sound], rows))))
    return heard, np.concatenate([named, spoken(named)[:, None]], axis=1)


def examples(
    streams: Iterator[Utterance], rng: np.random.Generator
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Segments float16 [n, SEGMENT, BANDS] with labels [n, SEGMENT, classes + 1] of all streams in a row.

    The level is put wrong by some decibels, as it will be.
    """
    heard, named = [], []
    silence = np.full((GAP, mel.BANDS), LOWEST_DB, dtype=np.float16)
    nothing = np.zeros((GAP, len(Viseme) + 1), dtype=np.float16)
    nothing[:, Viseme.SILENCE] = 1.0
    for stream in streams:
        rows, wanted = features(stream)
        heard.append((rows + np.clip(rng.normal(0.0, 3.0), -8.0, 6.0)).astype(np.float16))
        named.append(wanted.astype(np.float16))
        if rng.random() < 0.3:
            heard.append(silence)
            named.append(nothing)
    x, y = np.concatenate(heard), np.concatenate(named)
    count = len(x) // SEGMENT
    return x[: count * SEGMENT].reshape(count, SEGMENT, -1), y[: count * SEGMENT].reshape(count, SEGMENT, -1)


def network() -> torch.nn.ModuleDict:
    """The layers of `engines.preview.network`, in torch; `scores` runs them."""
    import torch

    fine = [mel.BANDS] + [WIDTH] * (len(TAPS) - 1) + [len(Viseme) + 1]
    slow = [2 * mel.BANDS] + [SLOW_WIDTH] * (len(SLOW_TAPS) - 1) + [WIDTH]
    return torch.nn.ModuleDict(
        {
            "fine": conv_stack(fine, TAPS, DILATIONS),
            "slow": conv_stack(slow, SLOW_TAPS, SLOW_DILATIONS),
        }
    )


def scores(layers: torch.nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
    """Scores [batch, classes + 1, rows], the last the gate's, of `inputs` [batch, BANDS, rows].

    There are as many rows as fill whole blocks.
    """
    import torch

    parts = x.unflatten(2, (-1, BLOCK))
    far = torch.cat([parts.mean(dim=3), parts.amin(dim=3)], dim=1)
    start, *between, end = layers["slow"].children()
    far = start(far).relu()
    for layer in between:
        far = far + layer(far).relu()
    around = end(far).repeat_interleave(BLOCK, dim=2)

    first, *middle, last = layers["fine"].children()
    x = (first(x) + around).relu()
    for layer in middle:
        x = x + layer(x).relu()
    result: torch.Tensor = last(x)
    return result


def arrays(layers: torch.nn.ModuleDict) -> dict[str, NDArray[Any]]:
    """Weights as `engines.preview.network.from_arrays` takes them, in half precision."""
    return {**stack_arrays(layers["fine"], "fine"), **stack_arrays(layers["slow"], "slow")}


def fill(layers: torch.nn.ModuleDict, weights: Mapping[str, NDArray[Any]]) -> None:
    """Put what `arrays` gave into layers."""
    for stack in ("fine", "slow"):
        layers[stack].load_state_dict(stack_state(weights, stack))


class Trainer:
    """A network under training."""

    def __init__(self, recipe: Recipe, start: Mapping[str, NDArray[Any]] | None = None) -> None:
        import torch

        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.rng = np.random.default_rng(recipe.seed)
        self.layers = network()
        if start is not None:
            fill(self.layers, start)
        self.optimizer = torch.optim.AdamW(self.layers.parameters(), lr=recipe.rate, weight_decay=1e-3)
        self.importance = torch.ones(len(Viseme))
        self.importance[Viseme.CLOSED] = CLOSED_WEIGHT

    def step(self, heard: NDArray[np.float16], named: NDArray[np.float16], progress: float) -> float:
        """One batch, float16 [batch, SEGMENT, BANDS] and labels; returns the loss."""
        import torch

        x = torch.from_numpy(inputs(heard.astype(np.float32))).transpose(1, 2)
        y = torch.from_numpy(named.astype(np.float32)).transpose(1, 2)
        found = scores(self.layers, x)[:, :, BORDER:-BORDER]
        y = y[:, :, BORDER:-BORDER]
        speaks, silent = (torch.nn.functional.logsigmoid(s * found[:, -1:]) for s in (1.0, -1.0))
        likely = torch.log_softmax(found[:, :-1], dim=1) + speaks
        likely = torch.cat([torch.logaddexp(likely[:, :1], silent), likely[:, 1:]], dim=1)
        named_loss = -(likely * y[:, :-1] * self.importance[None, :, None]).sum(dim=1).mean()
        gate_loss = -(y[:, -1:] * speaks + (1.0 - y[:, -1:]) * silent).mean()
        loss = named_loss + GATE_WEIGHT * gate_loss
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress, self.recipe.rate)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    def epoch(self, heard: NDArray[np.float16], named: NDArray[np.float16], done: int) -> float:
        """Every segment once in random order; returns the mean loss."""
        total = self.recipe.copies * self.recipe.epochs
        batches = np.array_split(self.rng.permutation(len(heard)), max(1, len(heard) // self.recipe.batch))
        losses = [
            self.step(heard[chosen], named[chosen], (done + index / len(batches)) / total)
            for index, chosen in enumerate(batches)
        ]
        return float(np.mean(losses))


def train(
    speakers: Mapping[str, Sequence[Utterance]],
    recipe: Recipe,
    report: Callable[[str], None] = print,
    start: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Train on recordings by voice, from nothing or from weights; yields them after every copy of the corpus.

    The next copy is made while one is learned from.
    """
    trainer = Trainer(recipe, start)
    backgrounds = Backgrounds(speakers, recipe.seed)
    utterances = [utterance for lines in speakers.values() for utterance in lines]

    def copied(number: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        rng = np.random.default_rng([recipe.seed, number])
        return examples(streams(utterances, backgrounds, recipe.mix, rng), rng)

    done = 0
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(copied, 0)
        for copy in range(recipe.copies):
            heard, named = coming.result()
            if copy + 1 < recipe.copies:
                coming = ahead.submit(copied, copy + 1)
            for epoch in range(recipe.epochs):
                loss = trainer.epoch(heard, named, done)
                done += 1
                of = f"copy {copy + 1} of {recipe.copies}, epoch {epoch + 1} of {recipe.epochs}"
                report(f"{of}: loss {loss:.4f}")
            yield arrays(trainer.layers)


def main() -> None:
    """Command line; see the top of the file."""
    import torch
    from safetensors.numpy import load_file, save_file

    parser = argparse.ArgumentParser(description="Train the viseme network.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--without", action="append", default=[], help="voices kept aside (start of the file name)"
    )
    parser.add_argument("--copies", type=int, default=Recipe.copies)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--rate", type=float, default=Recipe.rate)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--start", type=Path, help="weights that are trained on")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    files = sorted(
        f for f in arguments.corpus.glob("*.wav") if not f.name.startswith(tuple(arguments.without))
    )
    recipe = Recipe(arguments.copies, arguments.epochs, rate=arguments.rate, seed=arguments.seed)
    start = load_file(arguments.start) if arguments.start else None
    for weights in train(by_voice(files), recipe, start=start):
        save_file(weights, arguments.output, metadata={"format": FORMAT, "recordings": str(len(files))})


if __name__ == "__main__":
    main()
