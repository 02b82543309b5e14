"""Networks on the meta device: no random start, no second copy in memory.

`weights.load.fill` gives them the tensors of a file, `fill` those that are at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

COUNTER = "position_ids"
"""Buffers that only count from 0. Some releases of transformers save them, checkpoints need not hold them."""

AnyModule = TypeVar("AnyModule", bound=torch.nn.Module)


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """A saved configuration as a constructor takes it: lists become tuples, private keys are left out."""
    own = {key: value for key, value in config.items() if not key.startswith("_")}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in own.items()}


def on_meta(build: Callable[[], AnyModule]) -> AnyModule:
    """What `build` returns, in eval mode, without gradients and without memory for its weights."""
    with torch.device("meta"):
        module = build()
    return module.eval().requires_grad_(False)


def fill(module: AnyModule, tensors: Mapping[str, torch.Tensor]) -> AnyModule:
    """Give a network its weights: the tensors themselves, with their dtype and device, not copies.

    Raises:
        ValueError: keys do not fit.
        RuntimeError: shapes do not fit.
    """
    odd = module.load_state_dict(dict(tensors), strict=False, assign=True)
    missing = [key for key in odd.missing_keys if not key.endswith(COUNTER)]
    if missing or odd.unexpected_keys:
        raise ValueError(f"missing keys {missing}, unknown keys {odd.unexpected_keys}")
    _count(module)
    return module.requires_grad_(False)


def _count(module: torch.nn.Module) -> None:
    """Make the counting buffers real, next to the weights."""
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    for owner in module.modules():
        held = owner._buffers.get(COUNTER)
        if held is not None:
            owner._buffers[COUNTER] = torch.arange(held.shape[-1], device=device).expand(held.shape)
