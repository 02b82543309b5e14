"""How well a sync network tells offsets of mouths and voices that are new to it, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sync.encoders import SyncNetwork
from ...sync.mouth import MouthMotion
from ...sync.offset import MAX_LAG, TOLERANCE, Estimate, evidence, lag_scores
from ...sync.sound import ROWS_PER_SECOND
from ..corpus.mixtures import Backgrounds, over
from ..corpus.sounds import Utterance
from .batches import Passage, heard
from .drawing import moving_mouth

FARTHEST = 0.4
"""Seconds: largest offset that is put between mouth and voice."""
BINS = 10
"""Of confidence, for the calibration error."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Sound and a mouth that is known to be `offset` seconds late, or not to belong to it."""

    sound: NDArray[np.floating[Any]]
    """[rows, BANDS]."""
    motion: MouthMotion
    offset: float | None
    """None: the mouth says something else."""
    spoken: NDArray[np.bool_] | None = None
    """[rows]: where something is said; windows that are not at least half of it are left out."""


@dataclass(frozen=True)
class Trial:
    """One window that was measured."""

    truth: float | None
    """Seconds."""
    found: Estimate | None
    reasons: NDArray[np.float64] | None = field(default=None, compare=False)
    """See `offset.evidence`."""

    def within(self, seconds: float) -> bool:
        """Whether an offset was found and is right to so many seconds."""
        if self.truth is None or self.found is None:
            return False
        return abs(self.found.seconds - self.truth) <= seconds


def late(motion: MouthMotion, seconds: float) -> MouthMotion:
    """The same mouth so much later."""
    return MouthMotion(motion.times + seconds, motion.geometry)


def pairs_of(passages: Sequence[Passage], rng: np.random.Generator, others: float = 0.0) -> Iterator[Pair]:
    """Each passage with a mouth that says it at an offset; for a share of `others` with another's mouth."""
    for number, passage in enumerate(passages):
        belongs = rng.random() >= others or len(passages) < 2
        source = passage if belongs else passages[(number + 1) % len(passages)]
        motion = source.motion or moving_mouth(source.phonemes, len(source.sound) / ROWS_PER_SECOND, rng)
        offset = float(rng.uniform(-FARTHEST, FARTHEST))
        yield Pair(passage.sound, late(motion, offset), offset if belongs else None, spoken_rows(passage))


def spoken_rows(passage: Passage) -> NDArray[np.bool_] | None:
    """Where something is said, bool [rows]; None where that is not known."""
    if passage.motion is not None:
        return None
    said = np.zeros(len(passage.sound), bool)
    for phoneme in passage.phonemes:
        said[int(phoneme.start * ROWS_PER_SECOND) : math.ceil(phoneme.end * ROWS_PER_SECOND)] = True
    return said


@dataclass(frozen=True, eq=False)
class ScoredPair:
    """A pair with its `lag_scores` over the whole of it."""

    pair: Pair
    scores: NDArray[np.float32]
    known: NDArray[np.bool_]


def scored(network: SyncNetwork, pairs: Iterable[Pair]) -> list[ScoredPair]:
    """Hear and see each pair once, for windows of any length."""
    return [ScoredPair(pair, *_scores(network, pair, 0, len(pair.sound))) for pair in pairs]


def trials(
    whole: Iterable[ScoredPair], seconds: float, confidence: NDArray[np.floating[Any]]
) -> Iterator[Trial]:
    """Measure windows of so many seconds, one after the other, of each pair.

    Windows of sound; the mouth before and after them is known where the video has it.
    """
    size = round(seconds * ROWS_PER_SECOND)
    for each in whole:
        # Windows at the ends know the mouth on one side only.
        edge = max(0, min(MAX_LAG, (len(each.scores) - size) // 2))
        for begin in range(edge, len(each.scores) - size - edge + 1, size):
            part = slice(begin, begin + size)
            if _is_spoken(each.pair, part):
                yield _trial(each.pair, each.scores[part], each.known[part], confidence)


def trials_alone(network: SyncNetwork, pairs: Iterable[Pair], seconds: float) -> Iterator[Trial]:
    """The same of windows that are each a clip of its own: nothing is known before and after them."""
    size = round(seconds * ROWS_PER_SECOND)
    for pair in pairs:
        for begin in range(0, len(pair.sound) - size + 1, size):
            if _is_spoken(pair, slice(begin, begin + size)):
                yield _trial(pair, *_scores(network, pair, begin, size), network.confidence)


def _is_spoken(pair: Pair, part: slice) -> bool:
    return pair.spoken is None or bool(pair.spoken[part].mean() >= 0.5)


def _scores(
    network: SyncNetwork, pair: Pair, begin: int, rows: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    heard = network.hear(pair.sound[begin : begin + rows])
    return lag_scores(heard, network.see(pair.motion, begin / ROWS_PER_SECOND, rows))


def _trial(
    pair: Pair,
    scores: NDArray[np.float32],
    known: NDArray[np.bool_],
    confidence: NDArray[np.floating[Any]],
) -> Trial:
    found = evidence(scores, known)
    if found is None:
        return Trial(pair.offset, None)
    return Trial(pair.offset, found.estimate(confidence), found.reasons)


def share_within(measured: Sequence[Trial], seconds: float) -> float:
    """Share of the windows with a truth whose offset is right to so many seconds; nan without any."""
    able = [trial for trial in measured if trial.truth is not None]
    return sum(trial.within(seconds) for trial in able) / len(able) if able else float("nan")


def fit_confidence(measured: Sequence[Trial], penalty: float = 1e-2, rounds: int = 50) -> NDArray[np.float32]:
    """Weights of the evidence and a constant, float32 [REASONS + 1], by logistic regression: is it right?

    By Newton's method; `penalty` keeps weights finite where both kinds are told apart without a fault.
    """
    able = [trial for trial in measured if trial.reasons is not None]
    if not able:
        raise ValueError("nothing was measured")
    x = np.array([[*trial.reasons, 1.0] for trial in able if trial.reasons is not None])
    y = np.array([trial.within(TOLERANCE) for trial in able], dtype=np.float64)
    weights = np.zeros(x.shape[1])
    for _ in range(rounds):
        likely = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30.0, 30.0)))
        slope = x.T @ (y - likely) - penalty * weights
        bend = (x * (likely * (1.0 - likely))[:, None]).T @ x + penalty * np.eye(len(weights))
        change = np.linalg.solve(bend, slope)
        weights += change
        if np.abs(change).max() < 1e-8:
            break
    return weights.astype(np.float32)


def calibration_error(measured: Sequence[Trial]) -> float:
    """Expected calibration error: |confidence - share that is right| over `BINS` bins of equal width.

    Weighted by how many windows each has (Guo et al.: "On Calibration of Modern Neural Networks", 2017).
    """
    if not measured:
        return math.nan
    sure = np.array([trial.found.confidence if trial.found else 0.0 for trial in measured])
    right = np.array([trial.within(TOLERANCE) for trial in measured], dtype=np.float64)
    bins = np.clip((sure * BINS).astype(int), 0, BINS - 1)
    return float(
        sum(
            abs(sure[bins == each].mean() - right[bins == each].mean()) * (bins == each).mean()
            for each in np.unique(bins)
        )
    )


def retrieved(network: SyncNetwork, pairs: Sequence[Pair], seconds: float, choices: int) -> float:
    """Share of mouths of so many seconds whose own sound is the most similar of `choices`, at their offset 0.

    Each clip is seen and heard alone, where most is said. Clips are taken in order, as many groups as there
    are.
    """
    size = round(seconds * ROWS_PER_SECOND)
    able = [pair for pair in pairs if len(pair.sound) >= size]
    right = total = 0
    for start in range(0, len(able) - choices + 1, choices):
        group = able[start : start + choices]
        begins = [_most_spoken(pair, size) for pair in group]
        sounds = np.stack([network.hear(p.sound[b : b + size]) for p, b in zip(group, begins, strict=True)])
        mouths = np.stack(
            [
                network.see(late(p.motion, -(p.offset or 0.0)), b / ROWS_PER_SECOND, size)
                for p, b in zip(group, begins, strict=True)
            ]
        )
        likeness = np.einsum("mtd,std->ms", mouths, sounds)
        right += int((likeness.argmax(axis=1) == np.arange(choices)).sum())
        total += choices
    return right / total if total else float("nan")


def _most_spoken(pair: Pair, size: int) -> int:
    """First row of the `size` rows in which most is said, the middle ones where that is not known."""
    if pair.spoken is None:
        return (len(pair.sound) - size) // 2
    total = np.concatenate([[0], np.cumsum(pair.spoken)])
    return int(np.argmax(total[size:] - total[:-size]))


def heard_among(
    utterances: Sequence[Utterance],
    backgrounds: Backgrounds,
    kind: str,
    decibels: float | None,
    rng: np.random.Generator,
) -> list[Passage]:
    """Recordings as they are, or with babble or music `decibels` quieter; those of less than 4 s are left."""
    found = []
    for utterance in utterances:
        if decibels is not None:
            played = getattr(backgrounds, kind)(len(utterance[0]), rng)
            utterance = over(utterance, played, decibels)
        passage = heard(utterance)
        if passage is not None:
            found.append(passage)
    return found
