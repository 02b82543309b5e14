"""What else could be done with the sync network's vectors: `python benchmarks/sync_limits.py HELDOUT`.

HELDOUT is made by `python -m sonic_ext.train.corpus HELDOUT --cast held-out --seed 900`. Prints how often the
right one of 100 seconds is found by several ways of comparing their vectors, and what several ways to learn
the confidence do: to another's mouth, to the calibration error and to offsets that are right. Half of the
voices are learned from, the other half measured. Needs the extra `train`; about 80 s of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonic_ext.sync import encoders
from sonic_ext.sync.encoders import SyncNetwork
from sonic_ext.sync.offset import SURE, TOLERANCE
from sonic_ext.sync.sound import ROWS_PER_SECOND
from sonic_ext.train.corpus.mixtures import Backgrounds
from sonic_ext.train.corpus.sounds import by_voice
from sonic_ext.train.sync import scoring
from sonic_ext.train.sync.model import LENGTHS, LEVELS, OTHERS, HeldOut, halves
from sonic_ext.train.sync.scoring import Pair, Trial

CHOICES, SECONDS = 100, 1.0
SEED, PIECES = 11, 12

Likeness = NDArray[np.float64]
"""[mouths, sounds]."""


def at_lag(sounds: NDArray[np.float32], mouths: NDArray[np.float32], lag: int) -> Likeness:
    """Mean similarity of every mouth, `lag` rows later, to every sound; vectors are [clips, rows, d]."""
    rows = sounds.shape[1]
    start, end = max(0, -lag), min(rows, rows - lag)
    heard, seen = sounds[:, start:end], mouths[:, start + lag : end + lag]
    return np.einsum("mtd,std->ms", seen, heard) / (end - start)


def centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Less each clip's mean, each clip of unit length."""
    moved = vectors - vectors.mean(axis=1, keepdims=True)
    return moved / np.linalg.norm(moved, axis=(1, 2), keepdims=True)


def standardised(likeness: Likeness) -> Likeness:
    """With mean 0 and deviation 1."""
    return (likeness - likeness.mean()) / likeness.std()


COMPARED: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], Likeness]] = {
    "as it is": lambda s, m: at_lag(s, m, 0),
    "lags 1 2 1": lambda s, m: at_lag(s, m, -1) + 2 * at_lag(s, m, 0) + at_lag(s, m, 1),
    "five lags alike": lambda s, m: np.sum([at_lag(s, m, lag) for lag in range(-2, 3)], axis=0),
    "best of ±20 ms": lambda s, m: np.max([at_lag(s, m, lag) for lag in (-1, 0, 1)], axis=0),
    "less the clip's mean": lambda s, m: at_lag(centred(s), centred(m), 0),
    "less 160 to 500 ms apart": lambda s, m: (
        at_lag(s, m, 0) - np.mean([at_lag(s, m, k) for lag in range(8, 26, 2) for k in (lag, -lag)], axis=0)
    ),
}


def vectors(network: SyncNetwork, pairs: Sequence[Pair]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sounds and mouths of the second in which most is said, each a clip of its own, [pairs, rows, d]."""
    size = round(SECONDS * ROWS_PER_SECOND)
    sounds, mouths = [], []
    for pair in pairs:
        begin = scoring._most_spoken(pair, size)
        sounds.append(network.hear(pair.sound[begin : begin + size]))
        motion = scoring.late(pair.motion, -(pair.offset or 0.0))
        mouths.append(network.see(motion, begin / ROWS_PER_SECOND, size))
    return np.stack(sounds), np.stack(mouths)


def retrieval(pairs: Sequence[Pair], networks: dict[str, SyncNetwork]) -> None:
    """Print the share of mouths whose own sound is the most similar of `CHOICES`."""
    chosen = pairs[:CHOICES]
    found = {name: vectors(network, chosen) for name, network in networks.items()}
    shown = {way: compare(*found["calibration"]) for way, compare in COMPARED.items()}
    shown["the judge"] = at_lag(*found["judge"], 0)
    shown["both added"] = sum(standardised(at_lag(*each, 0)) for each in found.values())  # type: ignore[assignment]
    for way, likeness in shown.items():
        right = likeness.argmax(axis=1) == np.arange(len(chosen))
        print(f"{way:32s} {right.mean():.2f} of {len(chosen)}")


def measured(
    network: SyncNetwork, voices: HeldOut, most: int, others: float, alone: bool, rng: np.random.Generator
) -> Iterator[tuple[str, float, Trial]]:
    """Level, seconds and what was found, of windows of every length at every level of noise."""
    lines = voices.lines(most)
    for kind, decibels in LEVELS:
        passages = scoring.heard_among(lines, voices.backgrounds, kind, decibels, rng)
        pairs = [*scoring.pairs_of(passages, rng, others)]
        whole = scoring.scored(network, pairs)
        for seconds in LENGTHS:
            yield from ((kind, seconds, each) for each in scoring.trials(whole, seconds, network.confidence))
            if alone:
                yield from ((kind, seconds, each) for each in scoring.trials_alone(network, pairs, seconds))


def plain(trial: Trial) -> NDArray[np.float64]:
    """The evidence and a constant; zeros where there is none."""
    return np.zeros(0) if trial.reasons is None else np.append(trial.reasons, 1.0)


def products(trial: Trial) -> NDArray[np.float64]:
    """The same with squares and products of what counts most."""
    if trial.reasons is None:
        return np.zeros(0)
    peak, margin, _, length, *_ = trial.reasons
    more = (peak * length, margin * length, peak**2, margin**2, length**2, peak * margin)
    return np.array([*trial.reasons, 1.0, *more])


def logistic(
    trials: Sequence[Trial], features: Callable[[Trial], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Weights by Newton's method, as `scoring.fit_confidence`."""
    able = [trial for trial in trials if trial.reasons is not None]
    x, y = np.array([features(t) for t in able]), np.array([t.within(TOLERANCE) for t in able], float)
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    x, weights = x / scale, np.zeros(x.shape[1])
    for _ in range(60):
        likely = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        bend = (x * (likely * (1 - likely))[:, None]).T @ x + 0.01 * np.eye(len(weights))
        weights += np.linalg.solve(bend, x.T @ (y - likely) - 0.01 * weights)
    return weights / scale


def confidences(
    trials: Sequence[Trial], weights: NDArray[np.float64], features: Callable[[Trial], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Of every window; 0 where nothing speaks for an offset."""
    logits = [features(t) @ weights if t.reasons is not None else -60.0 for t in trials]
    return 1 / (1 + np.exp(-np.clip(np.array(logits), -60, 60)))


def calibration(network: SyncNetwork, learned: HeldOut, judged: HeldOut) -> None:
    """Print what ways of learning the confidence do."""
    rng = np.random.default_rng(SEED)
    known = [*measured(network, learned, 60, OTHERS, True, rng)]
    own = [*measured(network, judged, 80, 0.0, False, rng)]
    strange = [*measured(network, judged, 80, 1.0, False, rng)]
    everything = [trial for *_, trial in known]
    shipped = network.confidence.astype(np.float64)
    lower = shipped - 0.3 * np.eye(len(shipped))[-1]
    for length in (2.0, 4.0):
        ways = {
            "as it is": (shipped, plain),
            "learned here": (logistic(everything, plain), plain),
            "of this length alone": (logistic([t for _, s, t in known if s == length], plain), plain),
            "squares and products": (logistic(everything, products), products),
            "0.3 off the logit": (lower, plain),
        }
        right = [trial for _, seconds, trial in own if seconds == length]
        wrong = [trial for _, seconds, trial in strange if seconds == length]
        clean = [trial for kind, seconds, trial in strange if seconds == length and kind == "clean"]
        truth = np.array([trial.within(TOLERANCE) for trial in right])
        for name, (weights, features) in ways.items():
            sure, fooled, quiet = (confidences(each, weights, features) for each in (right, wrong, clean))
            error = expected_error(np.append(sure, quiet), np.append(truth, np.zeros(len(quiet))))
            print(
                f"{length:.0f} s  {name:22s} another's below {SURE:g}: {np.mean(fooled < SURE):.3f} "
                f"(clean {np.mean(quiet < SURE):.3f}, {len(quiet)} windows)  "
                f"calibration error {error:.3f}  right ones from {SURE:g}: {np.mean(sure[truth] >= SURE):.3f}"
            )


def expected_error(sure: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Expected calibration error over ten bins, as `scoring.calibration_error`."""
    bins = np.clip((sure * 10).astype(int), 0, 9)
    return float(
        sum(
            abs(sure[bins == each].mean() - right[bins == each].mean()) * (bins == each).mean()
            for each in np.unique(bins)
        )
    )


def main() -> None:
    """Command line; see the top of the file."""
    parser = argparse.ArgumentParser(description="Other ways to compare voice and mouth.")
    parser.add_argument("heldout", type=Path)
    speakers = by_voice(sorted(parser.parse_args().heldout.glob("*.wav")))
    learned, judged = (
        HeldOut(some, Backgrounds(speakers, SEED + 1, PIECES), SEED) for some in halves(speakers)
    )
    networks = {name: encoders.load(encoders.weights_of(name)) for name in ("calibration", "judge")}
    rng = np.random.default_rng(5)
    clean = scoring.heard_among(judged.lines(120), judged.backgrounds, "clean", None, rng)
    retrieval([*scoring.pairs_of(clean, rng)], networks)
    calibration(networks["calibration"], learned, judged)


if __name__ == "__main__":
    main()
