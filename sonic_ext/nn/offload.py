"""A UNet whose weights rest in main memory and visit the device, one layer after another.

For cards that cannot hold all weights at once. Every weight crosses once a call, all branches of guidance
together, and while one layer works the next one is on its way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise

import torch
from torch import nn

from .unet import UNet


class Offload:
    """A `unet.Visit`: within, a module's weights are on the device; afterwards its own tensors are back."""

    def __init__(self, unet: UNet, device: torch.device | str) -> None:
        """On a CUDA device the weights are pinned, that they can cross while the device works."""
        self._device = torch.device(device)
        order = list(in_order(unet))
        self._next = dict(pairwise(order))
        self._coming: dict[nn.Module, list[torch.Tensor]] = {}
        self._stream = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)
            for tensor in _tensors(unet):
                tensor.data = pinned(tensor.data)

    @contextmanager
    def __call__(self, module: nn.Module) -> Iterator[None]:
        """Calls are expected `in_order`; out of it they work too, without the next one on its way."""
        there = self._coming.pop(module, None) or self._sent(module)
        self._coming.clear()
        home = [(tensor, tensor.data) for tensor in _tensors(module)]
        self._arrived(there)
        try:
            for (tensor, _), copy in zip(home, there, strict=True):
                tensor.data = copy
            del there
            following = self._next.get(module)
            if following is not None and self._stream is not None:
                self._coming[following] = self._sent(following)
            yield
        finally:
            for tensor, rest in home:
                tensor.data = rest

    def _sent(self, module: nn.Module) -> list[torch.Tensor]:
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            return [moved(tensor.data, self._device) for tensor in _tensors(module)]

    def _arrived(self, tensors: list[torch.Tensor]) -> None:
        """The device's work waits for them, and their memory for its work."""
        if self._stream is None:
            return
        working = torch.cuda.current_stream(self._device)
        working.wait_stream(self._stream)
        for tensor in tensors:
            tensor.record_stream(working)


def in_order(unet: UNet) -> Iterator[nn.Module]:
    """Every layer that a call of the network visits, in the order in which it does."""
    yield from (unet.time_embedding, unet.add_embedding, unet.conv_in)
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        attentions = list(getattr(block, "attentions", ()))
        for resnet in block.resnets:
            yield resnet
            yield from attentions[:1]
            del attentions[:1]
        for name in ("downsamplers", "upsamplers"):
            yield from getattr(block, name, ())
    yield from (unet.conv_norm_out, unet.conv_out)


def pinned(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in memory that the system may not move, or the tensor itself where it has no more of that:
    then it crosses more slowly."""
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on `device`, or the tensor where it lies there already."""
    return tensor.to(device, non_blocking=True)


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
