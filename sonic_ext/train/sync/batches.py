"""What one step learns from: stretches of speech as it is heard, each with mouths that say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...media import mel
from ...sync.encoders import mouth_inputs, sound_inputs
from ...sync.mouth import MouthMotion
from ...sync.sound import ROWS_PER_SECOND, sound_rows
from ..clips import Clip, ClipInShard, index_shard, shards_of
from ..corpus.mixtures import Backgrounds, MixtureShares, streams
from ..corpus.sounds import Utterance
from ..phonemes import PAUSE, Phoneme
from .drawing import draw_style, drawn, filmed
from .network import tokens

ROWS = 200
"""Rows of a stretch: 4 s."""
WINDOW = (50, 100)
"""Rows of what is compared as a whole, fewest and most."""
MOMENTS, MOMENT_SPACING = 12, 3
"""Moments of a stretch that are compared with each other, and rows between two: 60 ms."""
STRETCH, MAX_SHIFT = 60, 20
"""Rows of a part that is compared with itself moved by up to this many rows."""
LEAST_SPOKEN = 0.4
"""Share of a stretch in which something is said, where the passage has such a stretch ..."""
START_TRIES = 4
"""... and how often one is looked for."""


@dataclass(frozen=True, eq=False)
class Passage:
    """Sound with what is said in it, or with the mouth that said it."""

    sound: NDArray[np.float16]
    """`sound_rows`, [rows, BANDS]."""
    phonemes: Sequence[Phoneme] = ()
    motion: MouthMotion | None = None
    """Of a real video; else mouths are drawn from the phonemes."""
    speaker: str = ""


def heard(stream: Utterance) -> Passage | None:
    """A stream of the corpus; None where it is shorter than a stretch or nothing is said in it."""
    sound, phonemes = stream
    rows = len(sound) * ROWS_PER_SECOND // mel.RATE
    said = [phoneme for phoneme in phonemes if phoneme.name != PAUSE]
    if rows < ROWS or not said:
        return None
    return Passage(sound_rows([sound], rows).astype(np.float16), said)


def passages(
    speakers: Mapping[str, Sequence[Utterance]],
    backgrounds: Backgrounds,
    mix: MixtureShares,
    rng: np.random.Generator,
) -> Iterator[Passage]:
    """The corpus once, at other speeds, places and levels, among babble, music and songs."""
    utterances = [utterance for lines in speakers.values() for utterance in lines]
    for stream in streams(utterances, backgrounds, mix, rng):
        passage = heard(stream)
        if passage is not None:
            yield passage


def filmed_clips(folder: Path) -> Iterator[ClipInShard]:
    """Clips of real video that are long enough and show their face in half of the frames.

    Raises:
        BadInput: `folder` has no shards, or one cannot be read.
    """
    for shard in shards_of(folder):
        yield from (clip for clip in index_shard(shard) if clip.rows >= ROWS and clip.found >= 0.5)


def filmed_passage(clip: Clip) -> Passage:
    """A clip with its own mouth."""
    return Passage(clip.sound, (), clip.motion, clip.speaker)


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """Arrays of one step, of `n` stretches."""

    sound: NDArray[np.float32]
    """`sound_inputs`, [n, ROWS, BANDS]."""
    mouths: NDArray[np.float32]
    """`mouth_inputs` of the stretch said by two people, [2, n, ROWS, MOUTH_INPUTS]."""
    styles: NDArray[np.int64]
    """Who that is, [2, n]; each says several stretches."""
    spans: NDArray[np.int64]
    """First row and row after the last of the part that is compared as a whole, [n, 2]."""
    moments: int
    """First row of the moments that are compared with each other ..."""
    stretch: int
    """... and of the stretch that is compared with itself moved."""
    letters: NDArray[np.int64]
    """`tokens` of that part, [n, LONGEST]; zeros where it is not known what is said."""


def drawn_batch(
    known: Sequence[Passage], films: Sequence[ClipInShard], size: int, rng: np.random.Generator
) -> TrainingBatch:
    """A batch of `size` stretches, each of another passage or clip where there are so many.

    Raises:
        BadInput, FileNotFoundError: a clip cannot be read.
    """
    count = len(known) + len(films)
    chosen = rng.choice(count, size, replace=size > count)
    return batch(
        [
            known[number] if number < len(known) else filmed_passage(films[number - len(known)].read())
            for number in chosen
        ],
        rng,
    )


def batch(chosen: Sequence[Passage], rng: np.random.Generator) -> TrainingBatch:
    """One stretch of each passage, with mouths of people who are there for this batch alone."""
    people = [draw_style(rng) for _ in range(max(2, len(chosen) // 2))]
    sounds, pairs, styles, spans, letters = [], [], [], [], []
    speakers = {name: number for number, name in enumerate(sorted({each.speaker for each in chosen}))}
    for number, passage in enumerate(chosen):
        start = _start(passage, rng)
        begin, seconds = start / ROWS_PER_SECOND, ROWS / ROWS_PER_SECOND
        phonemes = [
            Phoneme(p.name, p.start - begin, p.end - begin)
            for p in passage.phonemes
            if p.end > begin and p.start < begin + seconds
        ]
        length = int(rng.integers(WINDOW[0], WINDOW[1] + 1))
        first = int(rng.integers(0, ROWS - length + 1))
        if passage.motion is None:
            who = [number % len(people), (number + 1) % len(people)]
            pairs.append(
                [
                    mouth_inputs(filmed(drawn(phonemes, seconds, people[one], rng), seconds, rng), 0.0, ROWS)
                    for one in who
                ]
            )
            letters.append(tokens(phonemes, first / ROWS_PER_SECOND, (first + length) / ROWS_PER_SECOND))
        else:
            who = [len(people) + speakers[passage.speaker]] * 2
            pairs.append([mouth_inputs(passage.motion, begin, ROWS)] * 2)
            letters.append(tokens((), 0.0, 0.0))
        sounds.append(sound_inputs(passage.sound[start : start + ROWS]))
        styles.append(who)
        spans.append((first, first + length))
    return TrainingBatch(
        np.stack(sounds),
        np.stack([np.stack(pair) for pair in pairs], axis=1),
        np.array(styles).T,
        np.array(spans),
        int(rng.integers(0, ROWS - MOMENTS * MOMENT_SPACING)),
        int(rng.integers(MAX_SHIFT, ROWS - STRETCH - MAX_SHIFT + 1)),
        np.stack(letters),
    )


def _start(passage: Passage, rng: np.random.Generator) -> int:
    """First row of a stretch, one in which enough is said if that is soon found."""
    last = len(passage.sound) - ROWS
    starts = rng.integers(0, last + 1, START_TRIES)
    if passage.motion is None:
        for start in starts:
            begin, end = start / ROWS_PER_SECOND, (start + ROWS) / ROWS_PER_SECOND
            spoken = sum(max(0.0, min(p.end, end) - max(p.start, begin)) for p in passage.phonemes)
            if spoken >= LEAST_SPOKEN * (end - begin):
                return int(start)
    return int(starts[-1])
