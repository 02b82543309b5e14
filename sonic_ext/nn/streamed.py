"""A UNet whose weights rest in main memory and visit the device block by block.

For cards that cannot hold all weights at once: every block's weights cross over once a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from .prefix import Forward, replaced_forward


@contextmanager
def streamed(unet: Any, device: torch.device | str) -> Iterator[None]:
    """Within, the network computes on `device` and its weights are there only while their block works.

    All other modules and parameters of the network lie in main memory, as they did before.
    """
    with ExitStack() as stack:
        for block in top_blocks(unet):
            stack.enter_context(replaced_forward(block, _visiting(block, torch.device(device))))
        yield


def top_blocks(unet: Any) -> Iterator[nn.Module]:
    """Everything with weights that the network's own `forward` calls."""
    for child in unet.children():
        parts = child if isinstance(child, nn.ModuleList) else [child]
        yield from (part for part in parts if _has_tensors(part))


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on `device`, or the tensor where it lies there already."""
    return tensor.to(device, non_blocking=True)


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))


def _visiting(block: nn.Module, device: torch.device) -> Forward:
    forward = block.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        with visiting(block, device):
            return forward(*args, **kwargs)

    return run


@contextmanager
def visiting(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Within, a module's weights are on `device`; afterwards its own tensors are back."""
    home = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())]
    try:
        for tensor, rest in home:
            tensor.data = moved(rest, device)
        yield
    finally:
        for tensor, rest in home:
            tensor.data = rest
