"""Speech to tokens and buckets: every network runs once over all the frames, many of them in a batch.

All in float32, as the published inference does. Sound comes in blocks and is heard 30 seconds at a time; of
the hidden states only those around a batch of frames are held.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...nn.audio import AudioToBucket, AudioToToken
from ...nn.whisper import hidden_states
from ..runtime.frame_file import FrameFile
from .conditioning import (
    BUCKET_BEFORE,
    BUCKET_WINDOW,
    STATES_PER_FRAME,
    TOKEN_BEFORE,
    TOKEN_WINDOW,
    buckets,
    frame_windows,
)
from .windows import CHUNK, LEAST, SAMPLES_PER_STEP, Counts

WINDOW, HOP = 400, 160
"""Samples per transform, and from one to the next."""
FLOOR, RANGE = 1e-10, 8.0
"""Least power, and decades below the loudest cell that are kept."""
BATCH = 256
"""Frames per call of the audio networks."""


@dataclass(frozen=True)
class SpeechConditioning:
    """The conditioning on speech, float32."""

    tokens: torch.Tensor | FrameFile
    """[frames, tokens, width]."""
    silence: torch.Tensor
    """[1, tokens, width]: tokens of zero states."""
    buckets: torch.Tensor
    """[frames, 2]: head motion, expression."""


@dataclass(frozen=True)
class SpeechNetworks:
    """The three speech networks, filled, on one device, in float32."""

    whisper: Any
    """From `nn.whisper.build_whisper`."""
    to_token: AudioToToken
    to_bucket: AudioToBucket


def long_enough(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Speech of at least 0.44 seconds: silence follows what is shorter."""
    return np.pad(samples, (0, max(0, LEAST * SAMPLES_PER_STEP - len(samples))))


def chunked(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Blocks of any length as chunks of 30 seconds, the last one shorter."""
    rest: NDArray[np.float32] = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= CHUNK:
            yield rest[:CHUNK]
            rest = rest[CHUNK:]
    if len(rest):
        yield rest


@lru_cache(maxsize=1)
def _filters() -> torch.Tensor:
    """The mel filters of transformers' `WhisperFeatureExtractor`, float64 [80, 201]."""
    from transformers import WhisperFeatureExtractor

    filters = torch.from_numpy(np.asarray(WhisperFeatureExtractor().mel_filters, dtype=np.float64))
    return filters if filters.shape[1] == WINDOW // 2 + 1 else filters.T


def log_mel(chunk: NDArray[np.float32]) -> torch.Tensor:
    """Whisper's spectrogram, float32 [1, 80, 3000], of up to 30 seconds; padded and normalised by itself.

    The extractor's own arithmetic is float32 or float64 by release; in float32 quiet cells are off by 3e-5.
    """
    sound = torch.zeros(CHUNK, dtype=torch.float64)
    sound[: len(chunk)] = torch.from_numpy(chunk)
    shape = torch.hann_window(WINDOW, dtype=torch.float64)
    spectrum = torch.stft(sound, WINDOW, HOP, window=shape, return_complex=True)[:, :-1]
    levels = (_filters() @ spectrum.abs() ** 2).clamp(min=FLOOR).log10()
    levels = levels.maximum(levels.max() - RANGE)
    return ((levels + 4) / 4).float()[None]


def whisper_states(whisper: Any, chunks: Iterable[NDArray[np.float32]], steps: int) -> torch.Tensor:
    """All hidden states, [steps, layers, width], 50 steps a second, of chunks of 30 seconds."""
    device = next(whisper.parameters()).device
    states = [hidden_states(whisper, log_mel(chunk).to(device))[0] for chunk in chunks]
    return torch.cat(states)[:steps]


def speech_conditioning(
    networks: SpeechNetworks,
    chunks: Iterable[torch.Tensor],
    steps: int,
    portrait: torch.Tensor,
    frames: int,
) -> SpeechConditioning:
    """Tokens and buckets of every frame; see `frames_heard`."""
    tokens, raw = zip(*frames_heard(networks, chunks, steps, portrait, frames), strict=True)
    return SpeechConditioning(torch.cat(tokens), silence(networks), buckets(torch.cat(raw)))


def silence(networks: SpeechNetworks) -> torch.Tensor:
    """Tokens of zero states, [1, tokens, width]."""
    weight = next(networks.to_token.parameters())
    return networks.to_token(weight.new_zeros(1, *networks.to_token.window))


def frames_heard(
    networks: SpeechNetworks,
    chunks: Iterable[torch.Tensor],
    steps: int,
    portrait: torch.Tensor,
    frames: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens [n, tokens, width] and audio2bucket's output [n, 2] of the frames in turn, `BATCH` at a time.

    Args:
        networks: the audio networks.
        chunks: hidden states [n, layers, width], one after the other; no more than a few are held.
        steps: of the states in all; what is more is not looked at.
        portrait: CLIP's embedding, [1, width].
        frames: base frames, at least 1.
    """
    stream, before = iter(chunks), min(BUCKET_BEFORE, steps)
    first = next(stream)[:steps]
    held, taken = torch.cat([first.new_zeros(before, *first.shape[1:]), first]), len(first)
    for start in range(0, frames, BATCH):
        count = min(BATCH, frames - start)
        reach = STATES_PER_FRAME * (count - 1) + BUCKET_WINDOW
        while len(held) < reach and taken < steps:
            more = next(stream)[: steps - taken]
            held, taken = torch.cat([held, more]), taken + len(more)
        near = frame_windows(held[before - TOKEN_BEFORE :], count, TOKEN_WINDOW, 0)
        wide = frame_windows(held[:, -1], count, BUCKET_WINDOW, 0)[:, :, None]
        yield networks.to_token(near), networks.to_bucket(wide, portrait.float())
        held = held[STATES_PER_FRAME * count :]


def heard_steps(samples: int, frames: int) -> int:
    """Whisper's states, 50 a second, that count for so many samples and base frames."""
    heard = max(samples, LEAST * SAMPLES_PER_STEP)
    return max(2 * Counts.of(heard).audio, STATES_PER_FRAME * frames)


def states_of(whisper: Any, blocks: Iterable[NDArray[np.float32]], steps: int) -> Iterator[torch.Tensor]:
    """Hidden states [n, layers, width] of sound in blocks, 30 seconds at a time; silence follows it.

    Args:
        blocks: float32 [samples] of any length, mono, 16 kHz.
        steps: that are needed; whole chunks are given, because each is normalised as a whole.
    """
    device = next(whisper.parameters()).device
    chunks = chain(chunked(blocks), repeat(np.zeros(0, np.float32)))
    for chunk in islice(chunks, math.ceil(steps * SAMPLES_PER_STEP / 2 / CHUNK)):
        yield hidden_states(whisper, log_mel(chunk).to(device))[0]


def encode_speech(
    networks: SpeechNetworks, samples: NDArray[np.float32], portrait: torch.Tensor, frames: int | None = None
) -> SpeechConditioning:
    """Tokens and buckets of speech in memory.

    Args:
        networks: the three, filled.
        samples: float32 [samples], mono, 16 kHz.
        portrait: CLIP's embedding, [1, width].
        frames: base frames; silence follows where the speech is shorter. None counts as the published
            inference does: a last half frame is dropped, and all after 400 seconds.
    """
    samples = long_enough(samples)
    frames = Counts.of(len(samples)).base if frames is None else frames
    steps = heard_steps(len(samples), frames)
    return speech_conditioning(
        networks, states_of(networks.whisper, [samples], steps), steps, portrait, frames
    )
