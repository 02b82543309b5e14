"""Speech to tokens and buckets: every network runs once over all the frames, many of them in a batch.

All in float32, as the published inference does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...nn.audio import AudioToBucket, AudioToToken
from ...nn.whisper import hidden_states
from .conditioning import STATES_PER_FRAME, bucket_windows, buckets, token_windows
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

    tokens: torch.Tensor
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
    networks: SpeechNetworks, states: torch.Tensor, portrait: torch.Tensor, frames: int
) -> SpeechConditioning:
    """Tokens and buckets of every frame.

    Args:
        networks: the audio networks.
        states: [steps, layers, width] of `whisper_states`.
        portrait: CLIP's embedding, [1, width].
        frames: base frames, at least 1.
    """
    windows, last = token_windows(states, frames), bucket_windows(states[:, -1], frames)
    nothing = windows.new_zeros(1, *windows.shape[1:])
    raw = [networks.to_bucket(part, portrait.float()) for part in last.split(BATCH)]
    tokens = [networks.to_token(part) for part in windows.split(BATCH)]
    return SpeechConditioning(torch.cat(tokens), networks.to_token(nothing), buckets(torch.cat(raw)))


def encode_speech(
    networks: SpeechNetworks, samples: NDArray[np.float32], portrait: torch.Tensor, frames: int | None = None
) -> SpeechConditioning:
    """Tokens and buckets of speech.

    Args:
        networks: the three, filled.
        samples: float32 [samples], mono, 16 kHz.
        portrait: CLIP's embedding, [1, width].
        frames: base frames; silence follows where the speech is shorter. None counts as the published
            inference does: a last half frame is dropped, and all after 400 seconds.
    """
    samples = long_enough(samples)
    counts = Counts.of(len(samples))
    steps = 2 * counts.audio
    if frames is None:
        frames = counts.base
    else:
        steps = max(steps, STATES_PER_FRAME * frames)
        samples = np.pad(samples, (0, max(0, frames * 2 * SAMPLES_PER_STEP - len(samples))))
    used = math.ceil(steps * SAMPLES_PER_STEP / 2 / CHUNK) * CHUNK  # chunks are normalised whole
    states = whisper_states(networks.whisper, chunked([samples[:used]]), steps)
    return speech_conditioning(networks, states, portrait, frames)
