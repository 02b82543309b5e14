"""The encoders of `sync.encoders` in torch, and the one of text that is only there while they learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...sync.encoders import MOUTH_INPUTS
from ...sync.losses import Temperature
from ...sync.sound import BANDS
from ..phonemes import SYMBOLS, Phoneme
from ..temporal import conv_stack, stack_arrays


@dataclass(frozen=True)
class Architecture:
    """Sizes of both encoders."""

    sound_width: int = 96
    mouth_width: int = 80
    dimensions: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12)
    """Of the residual layers; with the first layer's two rows these see 29 rows (0.6 s) to either side."""


CALIBRATION = Architecture()
JUDGE = Architecture(sound_width=80, mouth_width=96, dimensions=48, dilations=(1, 3, 6, 10))
"""Of the network that evaluates: another shape, so that it makes other mistakes."""
ARCHITECTURES = {"calibration": CALIBRATION, "judge": JUDGE}


class Encoders(torch.nn.Module):
    """Voice and mouth into one space, with the temperature that they are compared at."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.sound = self._stack(BANDS, architecture.sound_width, architecture)
        self.mouth = self._stack(MOUTH_INPUTS, architecture.mouth_width, architecture)
        self.text = PhonemeEncoder(architecture.dimensions)
        self.temperature = Temperature()
        self.pooled_temperature = Temperature()

    @staticmethod
    def _stack(inputs: int, width: int, architecture: Architecture) -> torch.nn.ModuleList:
        middle = len(architecture.dilations)
        return conv_stack(
            [inputs, *[width] * (middle + 1), architecture.dimensions],
            [5, *[3] * middle, 1],
            [1, *architecture.dilations, 1],
        )

    def hear(self, inputs: Tensor) -> Tensor:
        """Before they are brought to unit length: [clips, rows, d] of `sound_inputs` [clips, rows, BANDS]."""
        return _encoded(self.sound, inputs)

    def see(self, inputs: Tensor) -> Tensor:
        """The same of `mouth_inputs` [clips, rows, MOUTH_INPUTS]."""
        return _encoded(self.mouth, inputs)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights as `sync.encoders.from_arrays` takes them but for `confidence`; without the text's."""
        return {**stack_arrays(self.sound, "sound"), **stack_arrays(self.mouth, "mouth")}


def _encoded(layers: torch.nn.ModuleList, inputs: Tensor) -> Tensor:
    first, *middle, last = layers
    x = functional.relu(first(inputs.transpose(1, 2)))
    for layer in middle:
        x = x + functional.relu(layer(x))
    result: Tensor = last(x).transpose(1, 2)
    return result


def unit(vectors: Tensor) -> Tensor:
    """Rows of unit length."""
    return functional.normalize(vectors, dim=-1, eps=1e-6)


class PhonemeEncoder(torch.nn.Module):
    """Phonemes of a second or two → one vector: a table of IPA letters, two convolutions, their mean."""

    LONGEST = 48
    """Letters; what goes beyond is cut off."""

    def __init__(self, dimensions: int, width: int = 64) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(len(SYMBOLS) + 2, width, padding_idx=0)
        self.layers = conv_stack([width, width, width], [3, 3], [1, 1])
        self.last = torch.nn.Linear(width, dimensions)

    def forward(self, letters: Tensor) -> Tensor:
        """[clips, d], not of unit length, of `tokens` [clips, LONGEST]."""
        there = (letters > 0).unsqueeze(1).float()
        x = self.table(letters).transpose(1, 2)
        for layer in self.layers:
            x = (x + functional.relu(layer(x))) * there
        mean = x.sum(dim=2) / there.sum(dim=2).clamp(min=1.0)
        result: Tensor = self.last(mean)
        return result


def tokens(phonemes: Sequence[Phoneme], start: float, end: float) -> NDArray[np.int64]:
    """Letters of the phonemes whose middle lies in `start` to `end` seconds, int64 [LONGEST]: 0 is nothing, 1
    a letter that is not in `SYMBOLS`."""
    said = "".join(p.name for p in phonemes if start <= (p.start + p.end) / 2 < end)
    numbers = [SYMBOLS.find(letter) + 2 if letter in SYMBOLS else 1 for letter in said]
    line = np.zeros(PhonemeEncoder.LONGEST, np.int64)
    line[: len(numbers)] = numbers[: PhonemeEncoder.LONGEST]
    return line
