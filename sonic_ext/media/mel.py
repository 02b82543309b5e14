"""Log-mel spectrum of speech, block by block, in numpy.

16 kHz mono in, one row of `BANDS` decibel values every 10 ms out. Row `k` is centred on
`(k + 0.5) * 10 ms`, so that a row and the 10 ms of sound that it stands for share their middle.
Whatever the sizes of the incoming blocks, the rows are the same to the last bit: sound is cut into
pieces of one fixed size first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
"""Samples per second."""
HOP = 160
"""Samples from row to row: 10 ms."""
WINDOW = 400
"""Samples under the Hann window: 25 ms."""
FFT = 512
BANDS = 40
LOWEST, HIGHEST = 60.0, 7600.0
"""Edges of the mel bands, Hz."""
ROWS_PER_SECOND = RATE // HOP
FLOOR = 1e-10
"""Power added to every band (-100 dB of full scale), so that digital silence has a logarithm."""
FLOOR_DB = -100.0
"""`FLOOR` in decibels: what a band of digital silence reads."""
PIECE_ROWS = 256
"""Rows computed at once."""


def _mel(hertz: NDArray[Any] | float) -> NDArray[np.float64]:
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0))


@lru_cache(maxsize=1)
def filters() -> NDArray[np.float32]:
    """Triangles of equal width in mel, each of unit sum, float32 [FFT // 2 + 1, BANDS]."""
    edges = 700.0 * (10.0 ** (np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2) / 2595.0) - 1.0)
    bins = np.arange(FFT // 2 + 1)[:, None] * (RATE / FFT)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0.0, None)
    triangles += 1e-9
    return np.asarray(triangles / triangles.sum(axis=0), dtype=np.float32)


@lru_cache(maxsize=1)
def _window() -> NDArray[np.float32]:
    """Hann window scaled so that a full-scale sine reaches about 0 dB in its band."""
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    return np.asarray(hann * (2.0 / hann.sum()), dtype=np.float32)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decibels, float32 [rows, BANDS], of float32 [rows * HOP + WINDOW - HOP] samples."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * _window()
    power = np.abs(np.fft.rfft(frames, FFT, axis=1)).astype(np.float32) ** 2
    return np.asarray(10.0 * np.log10(power @ filters() + FLOOR), dtype=np.float32)


def fixed_pieces(
    blocks: Iterable[NDArray[np.float32]], size: int, total: int
) -> Iterator[NDArray[np.float32]]:
    """Recut `blocks` into pieces of `size` samples, `total` samples in all.

    What is missing at the end is silence, what is too much is never read. The last piece is padded
    with silence to `size`.
    """
    piece = np.zeros(size, dtype=np.float32)
    filled = given = 0
    for block in blocks:
        block = np.asarray(block, dtype=np.float32).reshape(-1)[: total - given]
        given += len(block)
        while len(block):
            take = min(size - filled, len(block))
            piece[filled : filled + take] = block[:take]
            filled, block = filled + take, block[take:]
            if filled == size:
                yield piece
                piece, filled = np.zeros(size, dtype=np.float32), 0
        if given >= total:
            break
    pieces_given = (given - filled) // size
    for _ in range(pieces_given, -(-total // size)):
        yield piece
        piece = np.zeros(size, dtype=np.float32)


def mel_rows(blocks: Iterable[NDArray[np.float32]], rows: int) -> Iterator[NDArray[np.float32]]:
    """Exactly `rows` rows of log-mel, in arrays float32 [up to PIECE_ROWS, BANDS].

    Args:
        blocks: float32 mono at 16 kHz, -1..1, any sizes. Sound that ends early is followed by silence.
        rows: how many rows; sound beyond them is not read.
    """
    margin = (WINDOW - HOP) // 2
    before: NDArray[np.float32] = np.zeros(margin, dtype=np.float32)
    held: NDArray[np.float32] | None = None
    size = PIECE_ROWS * HOP
    done = 0
    for piece in fixed_pieces(blocks, size, rows * HOP + size):
        if held is not None:
            taken = log_mel(np.concatenate([before, held, piece[:margin]]))[: rows - done]
            before = held[-margin:]
            done += len(taken)
            yield taken
            if done == rows:
                return
        held = piece


def overlapping(
    parts: Iterable[NDArray[np.float32]], rows: int, size: int, margin: int, silence: float
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Cut rows into windows of `margin + size + margin` rows, with the number of the first inner row.

    Args:
        parts: arrays [some, BANDS], `rows` rows in all.
        rows: how many.
        size: inner rows; the inner rows of all windows are all rows, the last window may be shorter.
        margin: rows of context to either side.
        silence: value of the rows before the first and after the last.
    """
    quiet = np.full((margin, BANDS), silence, dtype=np.float32)
    waiting: NDArray[np.float32] = quiet
    start = 0
    for part in chain(parts, [quiet]):
        waiting = np.concatenate([waiting, part])
        while len(waiting) >= size + 2 * margin:
            yield start, waiting[: size + 2 * margin]
            waiting = waiting[size:]
            start += size
    if start < rows:
        yield start, waiting


LOOK_AHEAD = 3
"""Seconds of sound after a row that its level already knows of."""
HOLD_SECONDS, DECAY = 5, 1.0
"""After a loud passage the level stays for some seconds, then sinks by decibels per second ..."""
DEEPEST = 20.0
"""... but never further than this below the loudest level so far, so that noise does not grow up."""
QUIETEST = -48.0
"""Level that is assumed of anything quieter, decibels of full scale."""
LOUD_PERCENTILE = 90
"""Share of a second's rows below its level: speech holds vowels for more than a tenth of any second."""


def loudness(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power of each row over the bands of voiced speech, decibels, float32 [rows]."""
    power = np.power(10.0, rows[:, 1:30] / 10.0, dtype=np.float32)
    return np.asarray(10.0 * np.log10(power.sum(axis=1)), dtype=np.float32)


def _levels(loud: Iterator[float]) -> Iterator[float]:
    """The level of each second from the loudness of the seconds around it."""
    past: list[float] = []
    loudest = QUIETEST
    for value in loud:
        past = [*past[-60:], value]
        loudest = max(loudest, value)
        age = np.arange(len(past) - 1, -1, -1) - LOOK_AHEAD - HOLD_SECONDS
        held = float(np.max(np.array(past) - DECAY * np.clip(age, 0, None)))
        yield max(held, loudest - DEEPEST, QUIETEST)


def levelled(rows: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Subtract from every row the level of the speech around it, in decibels.

    The vowels of quiet and of loud speech come out near 0 dB. One row array per second of sound is
    yielded; `LOOK_AHEAD` seconds are held back, nothing else is kept.
    """
    waiting: list[NDArray[np.float32]] = []
    loud: list[float] = []
    before: float | None = None
    seconds = _whole_seconds(rows)

    def measured() -> Iterator[float]:
        for second in seconds:
            waiting.append(second)
            loud.append(float(np.percentile(loudness(second), LOUD_PERCENTILE)))
            yield loud[-1]
        for _ in range(LOOK_AHEAD):
            yield -np.inf

    for index, level in enumerate(_levels(measured())):
        if index < LOOK_AHEAD or not waiting:
            continue
        second = waiting.pop(0)
        start = level if before is None else before
        ramp = np.linspace(start, level, ROWS_PER_SECOND, endpoint=False, dtype=np.float32)[: len(second)]
        before = level
        yield second - ramp[:, None]


def _whole_seconds(rows: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Recut arrays of rows into one array for each second; the last may be shorter."""
    rest: NDArray[np.float32] = np.zeros((0, BANDS), dtype=np.float32)
    for some in rows:
        rest = np.concatenate([rest, some])
        while len(rest) >= ROWS_PER_SECOND:
            yield rest[:ROWS_PER_SECOND]
            rest = rest[ROWS_PER_SECOND:]
    if len(rest):
        yield rest
