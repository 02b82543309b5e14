"""Trains the viseme network on speech with known phoneme times.

    python -m sonic_ext.train.visemes CORPUS visemes.safetensors --without flite-rms

CORPUS is a folder of `corpus`, or of anybody's wav and phonemes.json files. Every recording is heard
several times, each time through another microphone, room and noise: speed and pitch, equaliser,
band limit, reverberation, noise, hum and gain are drawn anew. The same seed gives the same network on
the same machine. Needs torch; the result does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engines.preview import mel
from ..engines.preview.network import inputs
from ..engines.preview.visemes import Viseme
from .corpus import RATE, Utterance, fast_size, load, resampled
from .phonemes import Phoneme, visemes

if TYPE_CHECKING:
    import torch

WIDTH = 88
TAPS = (5, 3, 3, 3, 3, 1)
DILATIONS = (1, 1, 2, 4, 8, 1)
"""Context of 17 rows (170 ms) to either side."""
CLOSED_WEIGHT = 2.0
"""A closure that is missed is seen more than one too many."""
SEGMENT = 200
"""Rows of a training example."""
NOISES = 0.3
"""Streams without speech for every stream of speech."""


@dataclass(frozen=True)
class Recipe:
    """How long and how hard to train."""

    copies: int = 5
    """Times that the corpus is augmented."""
    epochs: int = 3
    """Passes over each augmented copy."""
    batch: int = 32
    rate: float = 3e-3
    seed: int = 7


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


def faster(utterance: Utterance, ratio: float) -> Utterance:
    """Play faster: pitch, formants and speed rise together by `ratio`."""
    sound, phonemes = utterance
    moved = [Phoneme(p.name, p.start / ratio, p.end / ratio) for p in phonemes]
    return resampled(sound, RATE * ratio), moved


def _filtered(sound: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
    """A random smooth equaliser, now and then with the band limits of a telephone or an mp3."""
    size = fast_size(len(sound))
    hertz = np.fft.rfftfreq(size, 1.0 / RATE)
    knots = np.linspace(0, RATE / 2, 9)
    decibels = np.interp(hertz, knots, chance.normal(0.0, 4.0, len(knots)))
    if chance.random() < 0.4:
        edge = chance.choice([3400.0, 3800.0, 4000.0, 5500.0, 7000.0])
        decibels = decibels - np.clip((hertz - edge) / 100.0, 0.0, 1.0) * 70.0
    if chance.random() < 0.3:
        edge = chance.uniform(80.0, 320.0)
        decibels = decibels - np.clip((edge - hertz) / edge, 0.0, 1.0) * 40.0
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, size) * 10.0 ** (decibels / 20.0), size)[: len(sound)])


def _in_a_room(sound: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
    """Reverberation by a decaying noise; the direct sound stays where it is."""
    length = int(RATE * chance.uniform(0.08, 0.4))
    tail = chance.normal(size=length) * np.exp(-6.9 * np.arange(length) / length)
    tail[: RATE // 500] = 0.0
    tail *= 10.0 ** (chance.uniform(-22.0, -6.0) / 20.0) / np.sqrt((tail**2).sum() + 1e-12)
    tail[0] = 1.0
    size = fast_size(len(sound) + length)
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[: len(sound)])


def _hum(count: int, chance: np.random.Generator) -> NDArray[Any]:
    mains = chance.choice([50.0, 60.0]) * np.arange(count) / RATE
    loud = chance.exponential(size=8) / np.arange(1, 9)
    tones = [a * np.sin(2 * np.pi * (n * mains + chance.random())) for n, a in enumerate(loud, 1)]
    return np.asarray(np.sum(tones, axis=0))


def _rustle(count: int, chance: np.random.Generator) -> NDArray[np.float64]:
    size = fast_size(count)
    colour = (np.fft.rfftfreq(size, 1.0 / RATE) + 50.0) ** -chance.uniform(0.0, 1.2)
    return np.asarray(np.fft.irfft(np.fft.rfft(chance.normal(size=size)) * colour, size)[:count])


def noise(count: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """Coloured noise, mains hum or both, of unit power, [count]."""
    share = chance.choice([0.0, 0.0, 0.5, 1.0])
    total = np.zeros(count)
    for part, kind in ((1.0 - share, _rustle), (share, _hum)):
        if part:
            sound = kind(count, chance)
            total += part * sound / (sound.std() + 1e-12)
    return np.asarray(total / (total.std() + 1e-12))


def recorded(sound: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.float32]:
    """The same sound through another microphone in another room, float32 [samples]."""
    power = np.sqrt(np.mean(sound**2)) + 1e-9
    if chance.random() < 0.6:
        sound = _filtered(sound, chance)
    if chance.random() < 0.4:
        sound = _in_a_room(sound, chance)
    if chance.random() < 0.75:
        sound = sound + noise(len(sound), chance) * power * 10.0 ** (-chance.uniform(6.0, 55.0) / 20.0)
    gain = 10.0 ** (-chance.choice([0.0, chance.uniform(0.0, 30.0)]) / 20.0)
    return np.asarray(np.clip(sound * gain, -1.0, 1.0), dtype=np.float32)


def joined(utterances: Sequence[Utterance], chance: np.random.Generator) -> Utterance:
    """Utterances one after the other, with pauses of 0 to 1.5 s before each."""
    sounds: list[NDArray[Any]] = []
    phonemes: list[Phoneme] = []
    at = 0.0
    for sound, spoken in utterances:
        pause = np.zeros(int(RATE * max(0.0, chance.uniform(-0.2, 1.5))), dtype=np.float32)
        shift = at + len(pause) / RATE
        phonemes += [Phoneme(p.name, p.start + shift, p.end + shift) for p in spoken]
        gain = 10.0 ** (chance.uniform(-5.0, 0.0) / 20.0)
        sounds += [pause, (sound * gain).astype(np.float32)]
        at = shift + len(sound) / RATE
    return np.concatenate(sounds), phonemes


def without_speech(chance: np.random.Generator, seconds: int = 4) -> NDArray[np.float32]:
    """Noise of any loudness, perhaps switched on and off, float32 [samples]."""
    sound = noise(seconds * RATE, chance) * 10.0 ** (-chance.uniform(20.0, 75.0) / 20.0)
    if chance.random() < 0.6:
        start, end = np.sort(chance.integers(0, len(sound), 2))
        sound[:start] = sound[end:] = 0.0
    return np.asarray(sound, dtype=np.float32)


def streams(utterances: Sequence[Utterance], chance: np.random.Generator) -> Iterator[Utterance]:
    """The whole corpus once, in streams of a few utterances, augmented; between them, noise alone."""
    order = chance.permutation(len(utterances))
    for start in range(0, len(order), 4):
        chosen = [utterances[i] for i in order[start : start + 4]]
        speeds = np.where(chance.random(len(chosen)) < 0.6, chance.integers(54, 78, len(chosen)) / 64.0, 1.0)
        sound, phonemes = joined([faster(u, r) for u, r in zip(chosen, speeds, strict=True)], chance)
        yield recorded(sound, chance), phonemes
        if chance.random() < NOISES:
            yield without_speech(chance), []


def features(stream: Utterance) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Levelled log-mel [rows, BANDS] and labels [rows, classes] of a stream."""
    sound, phonemes = stream
    rows = len(sound) // mel.HOP
    return np.concatenate(list(mel.levelled(mel.mel_rows([sound], rows)))), labels(phonemes, rows)


def examples(
    streams: Iterator[Utterance], chance: np.random.Generator
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Segments float16 [n, SEGMENT, BANDS] with labels [n, SEGMENT, classes] of all streams in a row.

    The level is put wrong by some decibels, as it will be.
    """
    heard, named = [], []
    for stream in streams:
        rows, wanted = features(stream)
        heard.append((rows + np.clip(chance.normal(0.0, 3.0), -8.0, 6.0)).astype(np.float16))
        named.append(wanted.astype(np.float16))
    x, y = np.concatenate(heard), np.concatenate(named)
    count = len(x) // SEGMENT
    return x[: count * SEGMENT].reshape(count, SEGMENT, -1), y[: count * SEGMENT].reshape(count, SEGMENT, -1)


def network() -> torch.nn.ModuleList:
    """The layers of `engines.preview.network`, in torch; `scores` runs them."""
    import torch

    widths = [mel.BANDS] + [WIDTH] * (len(TAPS) - 1) + [len(Viseme)]
    return torch.nn.ModuleList(
        torch.nn.Conv1d(before, after, taps, dilation=dilation, padding=dilation * (taps // 2))
        for before, after, taps, dilation in zip(widths[:-1], widths[1:], TAPS, DILATIONS, strict=True)
    )


def scores(layers: torch.nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    """Scores [batch, classes, rows] before the softmax, of `inputs` [batch, BANDS, rows]."""
    x = layers[0](x).relu()
    for layer in list(layers)[1:-1]:
        x = x + layer(x).relu()
    result: torch.Tensor = layers[-1](x)
    return result


def arrays(layers: torch.nn.ModuleList) -> dict[str, NDArray[Any]]:
    """Weights as `engines.preview.network.from_arrays` takes them."""
    found: dict[str, NDArray[Any]] = {}
    for index, dilation in enumerate(DILATIONS):
        layer = layers[index]
        weights = layer.get_parameter("weight").detach().numpy()
        found[f"layer{index}.weights"] = np.ascontiguousarray(weights.transpose(2, 1, 0))
        found[f"layer{index}.bias"] = layer.get_parameter("bias").detach().numpy().copy()
        found[f"layer{index}.dilation"] = np.array(dilation, dtype=np.int32)
    return found


def learning_rate(progress: float, highest: float) -> float:
    """Rises over the first tenth, then falls along a cosine; `progress` 0..1."""
    if progress < 0.1:
        return highest * (0.05 + 9.5 * progress)
    return float(highest * (0.002 + 0.998 * 0.5 * (1.0 + np.cos(np.pi * (progress - 0.1) / 0.9))))


class Trainer:
    """A network under training."""

    def __init__(self, recipe: Recipe) -> None:
        import torch

        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.chance = np.random.default_rng(recipe.seed)
        self.layers = network()
        self.optimizer = torch.optim.AdamW(self.layers.parameters(), lr=recipe.rate, weight_decay=1e-3)
        self.importance = torch.ones(len(Viseme))
        self.importance[Viseme.CLOSED] = CLOSED_WEIGHT

    def step(self, heard: NDArray[np.float16], named: NDArray[np.float16], progress: float) -> float:
        """One batch, float16 [batch, SEGMENT, BANDS] and labels; returns the loss."""
        import torch

        x = torch.from_numpy(inputs(heard.astype(np.float32))).transpose(1, 2)
        y = torch.from_numpy(named.astype(np.float32)).transpose(1, 2)
        likely = torch.log_softmax(scores(self.layers, x), dim=1)
        loss = -(likely * y * self.importance[None, :, None]).sum(dim=1).mean()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress, self.recipe.rate)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    def epoch(self, heard: NDArray[np.float16], named: NDArray[np.float16], done: int) -> float:
        """Every segment once in random order; returns the mean loss."""
        total = self.recipe.copies * self.recipe.epochs
        batches = np.array_split(self.chance.permutation(len(heard)), max(1, len(heard) // self.recipe.batch))
        losses = [
            self.step(heard[chosen], named[chosen], (done + index / len(batches)) / total)
            for index, chosen in enumerate(batches)
        ]
        return float(np.mean(losses))


def train(
    utterances: Sequence[Utterance], recipe: Recipe, report: Callable[[str], None] = print
) -> dict[str, NDArray[Any]]:
    """Train from nothing; returns the weights as arrays."""
    trainer = Trainer(recipe)
    done = 0
    for copy in range(recipe.copies):
        heard, named = examples(streams(utterances, trainer.chance), trainer.chance)
        for epoch in range(recipe.epochs):
            loss = trainer.epoch(heard, named, done)
            done += 1
            report(
                f"copy {copy + 1} of {recipe.copies}, epoch {epoch + 1} of {recipe.epochs}: loss {loss:.4f}"
            )
    return arrays(trainer.layers)


def main() -> None:
    """Command line; see the top of the file."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description="Train the viseme network.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--without", action="append", default=[], help="voices kept aside (start of the file name)"
    )
    parser.add_argument("--copies", type=int, default=Recipe.copies)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    arguments = parser.parse_args()
    files = sorted(
        f for f in arguments.corpus.glob("*.wav") if not f.name.startswith(tuple(arguments.without))
    )
    recipe = Recipe(copies=arguments.copies, epochs=arguments.epochs)
    weights = train([load(file) for file in files], recipe)
    save_file(weights, arguments.output, metadata={"format": "visemes 1", "recordings": str(len(files))})


if __name__ == "__main__":
    main()
