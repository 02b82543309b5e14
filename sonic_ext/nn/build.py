"""Networks on the meta device, and how they get their weights: no random start, no second copy in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch

from ..errors import MissingPart

COUNTERS = ("position_ids",)
"""Buffers that only count from 0. Some releases of transformers save them, checkpoints need not hold them."""
NAMED = 3
"""How many keys a complaint names."""

AnyModule = TypeVar("AnyModule", bound=torch.nn.Module)


def on_meta(build: Callable[[], AnyModule]) -> AnyModule:
    """What `build` returns, in eval mode, without gradients and without memory for its weights."""
    with torch.device("meta"):
        module = build()
    return module.eval().requires_grad_(False)


def fill(module: AnyModule, tensors: Mapping[str, torch.Tensor], prefix: str = "") -> AnyModule:
    """Give a network its weights: the tensors themselves, with their dtype and device, not copies.

    Args:
        module: as `on_meta` returns it.
        tensors: the state dict; more keys than needed are an error unless a prefix selects them.
        prefix: what the keys of this network begin with; cut off, other keys are ignored.

    Raises:
        MissingPart: keys or shapes do not fit; the first ones are named.
    """
    own = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    own = {key: value for key, value in own.items() if not _counts(key)}
    problems = misfits(module, {key: tuple(value.shape) for key, value in own.items()})
    if problems:
        raise MissingPart(
            f"The weights do not fit {type(module).__name__}: {'; '.join(problems)}.",
            "Check that the file is the one the engine asks for, and fetch it again.",
        )
    # strict is false for the counters alone: everything else was compared above.
    module.load_state_dict(own, strict=False, assign=True)
    _count(module)
    return module.requires_grad_(False)


def misfits(module: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What keeps weights of these shapes from fitting, in words; empty when they fit."""
    want = {key: tuple(value.shape) for key, value in module.state_dict().items() if not _counts(key)}
    found = []
    if missing := [key for key in want if key not in shapes]:
        found.append(f"missing {_listed(missing)}")
    if foreign := [key for key in shapes if key not in want]:
        found.append(f"unknown {_listed(foreign)}")
    wrong = [key for key in want if key in shapes and tuple(shapes[key]) != want[key]]
    if wrong:
        words = (f"{key} is {list(shapes[key])} and should be {list(want[key])}" for key in wrong)
        found.append(_listed(words))
    return found


def _listed(words: Iterable[str]) -> str:
    every = list(words)
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more


def _counts(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in COUNTERS


def _count(module: torch.nn.Module) -> None:
    """Make the counting buffers real, next to the weights."""
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if name in COUNTERS:
                owner._buffers[name] = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
