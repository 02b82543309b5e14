"""Residual blocks of the UNet that add in place: diffusers' own with their layers and keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .products import accumulates, summed


class Residual(nn.Module):
    """Two convolutions, each after a norm, and the input; between them it is told the time."""

    def __init__(self, block: Any) -> None:
        """With the layers of diffusers' block."""
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        self.register_module("conv_shortcut", block.conv_shortcut)
        self.train(block.training)

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """[frames, channels, height, width] or [branches, channels, frames, height, width]."""
        x = self.conv1(self._active(self.norm1, input_tensor))
        told = self.time_emb_proj(functional.silu(temb))
        x = summed(x, told.movedim(-1, 1)[..., None, None])
        x = self.conv2(self.dropout(self._active(self.norm2, x)))
        return _joined(x, input_tensor, self.conv_shortcut)

    def _active(self, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return functional.silu(norm(x), inplace=not torch.is_grad_enabled())


def _joined(x: torch.Tensor, source: torch.Tensor, shortcut: nn.Module | None) -> torch.Tensor:
    """`x` and the block's input, which a pointwise convolution may bring to its channels."""
    if shortcut is None:
        return summed(x, source)
    if not (accumulates(x, shortcut) and set(shortcut.kernel_size) == {1}):
        return summed(x, shortcut(source))
    weight = shortcut.weight.flatten(1).expand(len(x), -1, -1)
    rows = x.flatten(2).add_(shortcut.bias[:, None])
    torch.baddbmm(rows, weight, source.flatten(2), out=rows)
    return x


def residuals_in_place(network: nn.Module) -> None:
    """Replace the residual blocks of space and time."""
    from diffusers.models.resnet import SpatioTemporalResBlock

    for parent in network.modules():
        if isinstance(parent, SpatioTemporalResBlock):
            parent.spatial_res_block = Residual(parent.spatial_res_block)
            parent.temporal_res_block = Residual(parent.temporal_res_block)
