"""The miniature's speech networks: a small encoder with Whisper's interface, and audio2token.

Together they learn what a mouth does at a moment (its shapes, from phoneme times) and, by frame-level InfoNCE
with the shapes' own encoder, to tell that moment from its neighbours; among babble, music and noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ...engines.sonic.conditioning import token_windows
from ...engines.sonic.speech import log_mel
from ...engines.sonic.windows import BASE_FPS, CHUNK
from ...nn.audio import AudioToToken
from ...nn.whisper import hidden_states
from ...sync.losses import Temperature, info_nce
from ..corpus.mixtures import Backgrounds, over
from ..corpus.sounds import RATE, Utterance
from ..steps import Losses
from .footage import mouth_track, said
from .sizes import TOKEN, WHISPER, WIDTH

SECONDS = CHUNK / RATE
FRAMES = int(SECONDS * BASE_FPS)
SHAPES = ("jaw", "rounding", "spread", "press", "upper", "lower", "tongue")
"""What is learned of a mouth, of `MouthTrack`."""
AMONG, LOWEST, HIGHEST = 0.5, 0.0, 20.0
"""Share of recordings heard among others, and decibels by which they are louder."""
COMPARED = 96
"""Moments of a batch that are told from each other."""
APART = 3
"""Frames between them: a quarter of a second."""
CONTRAST = 0.2
"""Weight of InfoNCE."""


def new_whisper() -> Any:
    """A `WhisperEncoder`, randomly started."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from ...nn.build import arguments

    return WhisperEncoder(WhisperConfig(**arguments(WHISPER)))


class Hearing(nn.Module):
    """The speech networks and what judges them in training."""

    def __init__(self) -> None:
        super().__init__()
        self.whisper = new_whisper()
        self.to_token = AudioToToken(**TOKEN)
        width = TOKEN["context_tokens"] * TOKEN["output_dim"]
        self.shapes = nn.Linear(width, len(SHAPES))
        self.heard = nn.Linear(width, WIDTH)
        self.seen = nn.Sequential(nn.Linear(5 * len(SHAPES), 128), nn.GELU(), nn.Linear(128, WIDTH))
        self.temperature = Temperature()

    def tokens(self, sound: NDArray[np.float32], frames: int) -> torch.Tensor:
        """Audio tokens [frames, tokens, width] of up to 30 seconds of sound."""
        states = hidden_states(self.whisper, log_mel(sound))[0]
        tokens: torch.Tensor = self.to_token(token_windows(states, frames))
        return tokens

    def mouths(self, shapes: torch.Tensor) -> torch.Tensor:
        """Mouths with what they do two frames around, [frames, WIDTH] of unit length; shapes [frames, 7]."""
        around = functional.pad(shapes.T[None], (2, 2), mode="replicate")[0].T.unfold(0, 5, 1)
        return functional.normalize(self.seen(around.flatten(1)), dim=-1)

    def sounds(self, tokens: torch.Tensor) -> torch.Tensor:
        """What was heard at each frame, [frames, WIDTH] of unit length."""
        return functional.normalize(self.heard(tokens.flatten(1)), dim=-1)


def shapes_of(utterance: Utterance, frames: int) -> torch.Tensor:
    """What a mouth does at 12.5 frames a second, [frames, len(SHAPES)]."""
    track = mouth_track(utterance, 2 * frames)
    return torch.from_numpy(np.stack([getattr(track, name) for name in SHAPES], axis=1)[::2].copy())


def hearing_losses(
    hearing: Hearing,
    speakers: Mapping[str, Sequence[Utterance]],
    backgrounds: Backgrounds,
    step: int,
    seed: int,
) -> Losses:
    """Of one batch: 30 seconds of one voice."""
    rng = np.random.default_rng([seed, step, 2])
    voices = list(speakers)
    lines = speakers[voices[int(rng.integers(len(voices)))]]
    chosen = [lines[int(place)] for place in rng.integers(len(lines), size=12)]
    seconds = float(rng.uniform(8.0, SECONDS))
    clean = said(chosen, rng, seconds)
    frames = int(seconds * BASE_FPS)
    wanted = shapes_of(clean, frames)
    sound = among(clean, backgrounds, rng)
    tokens = hearing.tokens(sound, frames)
    error = functional.mse_loss(hearing.shapes(tokens.flatten(1)), wanted)
    start = int(rng.integers(APART))
    places = torch.arange(start, frames, APART)[:COMPARED]
    contrast = info_nce(hearing.sounds(tokens)[places], hearing.mouths(wanted)[places], hearing.temperature())
    return {"shapes": 10 * error, "contrast": CONTRAST * contrast}


def among(utterance: Utterance, backgrounds: Backgrounds, rng: np.random.Generator) -> NDArray[np.float32]:
    """The sound, in half of the cases among babble, music or noise; of any loudness."""
    sound = np.asarray(utterance[0], np.float32)
    if rng.random() < AMONG:
        kinds = (backgrounds.babble, backgrounds.music, backgrounds.noise)
        beside = kinds[int(rng.integers(len(kinds)))](len(sound), rng)
        sound = over((sound, utterance[1]), beside, float(rng.uniform(LOWEST, HIGHEST)))[0]
    return np.asarray(sound * 10 ** (rng.uniform(-15, 3) / 20), np.float32).clip(-1, 1)


@torch.no_grad()
def hearing_correlation(hearing: Hearing, speakers: Mapping[str, Sequence[Utterance]]) -> float:
    """Of the jaw that is heard with the one from phoneme times, mean over voices."""
    found = []
    for lines in speakers.values():
        clean = said(lines, np.random.default_rng(0), SECONDS)
        frames = int(len(clean[0]) / RATE * BASE_FPS)
        heard = hearing.shapes(hearing.tokens(np.asarray(clean[0], np.float32), frames).flatten(1))
        found.append(float(np.corrcoef(heard[:, 0].numpy(), shapes_of(clean, frames)[:, 0].numpy())[0, 1]))
    return float(np.mean(found))
