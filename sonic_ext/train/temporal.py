"""The layers of `nn.temporal` in torch, for training; what they learned goes back as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def conv_stack(widths: Sequence[int], taps: Sequence[int], dilations: Sequence[int]) -> torch.nn.ModuleList:
    """Convolutions over rows from one width to the next, as many rows out as in."""
    import torch

    return torch.nn.ModuleList(
        torch.nn.Conv1d(before, after, count, dilation=dilation, padding=dilation * (count // 2))
        for before, after, count, dilation in zip(widths[:-1], widths[1:], taps, dilations, strict=True)
    )


def stack_arrays(layers: torch.nn.Module, stack: str) -> dict[str, NDArray[Any]]:
    """Weights of a `conv_stack` as `nn.temporal.stack_from` takes them, in half precision."""
    found: dict[str, NDArray[Any]] = {}
    for index, layer in enumerate(layers.children()):
        weights = layer.get_parameter("weight").detach().numpy()
        name = f"{stack}{index}"
        found[f"{name}.weights"] = np.ascontiguousarray(weights.transpose(2, 1, 0), dtype=np.float16)
        found[f"{name}.bias"] = layer.get_parameter("bias").detach().numpy().astype(np.float16)
        found[f"{name}.dilation"] = np.array(_dilation(layer), dtype=np.int32)
    return found


def stack_state(arrays: Mapping[str, NDArray[Any]], stack: str) -> dict[str, torch.Tensor]:
    """The state of a `conv_stack` from what `stack_arrays` gave."""
    import torch

    state: dict[str, torch.Tensor] = {}
    for name, values in arrays.items():
        layer, _, kind = name.rpartition(".")
        index = layer.removeprefix(stack)
        if not (layer.startswith(stack) and index.isdigit()) or kind == "dilation":
            continue
        numbers = torch.from_numpy(np.asarray(values, dtype=np.float32))
        state[f"{index}.{'weight' if kind == 'weights' else kind}"] = (
            numbers.permute(2, 1, 0) if kind == "weights" else numbers
        )
    return state


def _dilation(layer: Any) -> int:
    return int(layer.dilation[0])


def learning_rate(progress: float, highest: float) -> float:
    """Rises over the first tenth, then falls along a cosine; `progress` 0..1."""
    if progress < 0.1:
        return highest * (0.05 + 9.5 * progress)
    return highest * (0.002 + 0.998 * 0.5 * (1.0 + math.cos(math.pi * (progress - 0.1) / 0.9)))
