"""Layers that take the place of diffusers' own: the same weights under the same keys, the same numbers."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from .attention import attention

Convolution = TypeVar("Convolution", bound=nn.Conv2d | nn.Conv3d)


def _taking_over(kind: type[Convolution], other: nn.Conv2d | nn.Conv3d) -> Convolution:
    """A convolution of this kind with the very weights of another."""
    with torch.device("meta"):
        new = kind(other.in_channels, other.out_channels, other.kernel_size, padding=other.padding)
    new.weight, new.bias = other.weight, other.bias
    return new


class FlatConvolution(nn.Conv3d):
    """A convolution over time alone, done in two dimensions, frames and pixels: cheaper everywhere."""

    @classmethod
    def of(cls, other: nn.Conv3d) -> FlatConvolution:
        """With the weights of another: kernel [n, 1, 1], nothing strided or dilated."""
        return _taking_over(cls, other)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[batch, channels, frames, height, width]."""
        flat = functional.conv2d(
            input.flatten(-2), self.weight.squeeze(-1), self.bias, padding=self.padding[:2]
        )
        return flat.unflatten(-1, input.shape[-2:])


class DoublingConvolution(nn.Conv2d):
    """A doubling by repetition and the convolution after it, as one.

    Of the nine weights that a new pixel sees, those that fall on the same old pixel are added up first: four
    are left, and the repeated pixels need not exist.
    """

    @classmethod
    def of(cls, other: nn.Conv2d) -> DoublingConvolution:
        """With the weights of another: kernel [3, 3], a rim of one, nothing strided or dilated."""
        return _taking_over(cls, other)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[batch, channels, height, width] to twice the height and width."""
        height, width = input.shape[-2:]
        kernels = _folded(self.weight)
        bias = None if self.bias is None else self.bias.repeat(4)
        corners = functional.conv2d(input, kernels, bias, padding=1).unflatten(1, (2, 2, -1))
        done = corners.new_empty(len(corners), corners.shape[3], height, 2, width, 2)
        for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
            done[:, :, :, down, :, across] = corners[
                :, down, across, :, down : down + height, across : across + width
            ]
        return done.flatten(4, 5).flatten(2, 3)


def _folded(weight: torch.Tensor) -> torch.Tensor:
    """Weights [out, in, 3, 3] as those of four old pixels, [parities of row and column · out, in, 2, 2].

    Sums of slices: a table of which weight falls on which pixel would be copied to the device at every call,
    and the processor would wait for it. Summed in float32, so that half precision rounds once.
    """
    rows = _summed_pairs(weight.float(), 2)
    return _summed_pairs(rows, 4).transpose(0, 1).flatten(0, 2).to(weight.dtype)


def _summed_pairs(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """Three weights along `dim` as two, for even new pixels and for odd ones: [2, ...]."""
    first, middle, last = weight.unbind(dim)
    even = torch.stack([first, middle + last], dim)
    return torch.stack([even, torch.stack([first + middle, last], dim)])


class Blend(nn.Module):
    """diffusers' `AlphaBlender` for moving pictures: one operation in place of three."""

    def __init__(self, mix_factor: nn.Parameter) -> None:
        super().__init__()
        self.mix_factor = mix_factor

    def forward(self, x_spatial: torch.Tensor, x_temporal: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """The share of `x_spatial` is the sigmoid of the factor; the indicator of stills is not used."""
        share = self.mix_factor.sigmoid().to(x_spatial.dtype)
        if torch.is_grad_enabled():
            return torch.lerp(x_temporal, x_spatial, share)
        return x_temporal.lerp_(x_spatial, share)


class SelfProcessor:
    """Self-attention without the copies that diffusers' processors make for cases the UNet does not have."""

    def __call__(self, attn: Any, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """[batch, length, hidden]."""
        query, key, value = (linear(hidden_states) for linear in (attn.to_q, attn.to_k, attn.to_v))
        linear, dropout = attn.to_out
        return dropout(linear(attention(query, key, value, attn.heads)))


def flatten_convolutions(network: nn.Module) -> None:
    """Replace every convolution over time alone."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv3d and _only_over_time(child):
                setattr(parent, name, FlatConvolution.of(child))


def _only_over_time(layer: nn.Conv3d) -> bool:
    plain = layer.stride == layer.dilation == (1, 1, 1) and layer.groups == 1
    return plain and layer.kernel_size[1:] == (1, 1) and layer.padding_mode == "zeros"


def double_in_convolutions(network: nn.Module) -> None:
    """Replace every convolution that follows a doubling by one that doubles."""
    from diffusers.models.upsampling import Upsample2D

    for layer in network.modules():
        if isinstance(layer, Upsample2D) and layer.interpolate and _sees_neighbours(layer.conv):
            layer.interpolate = False
            layer.conv = DoublingConvolution.of(layer.conv)


def _sees_neighbours(layer: nn.Module | None) -> bool:
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (3, 3) or layer.padding != (1, 1):
        return False
    return layer.stride == layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"


def blend_in_place(network: nn.Module) -> None:
    """Replace every blending of space and time, and the processors of self-attention."""
    from diffusers.models.resnet import AlphaBlender

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AlphaBlender) and child.merge_strategy == "learned_with_images":
                setattr(parent, name, Blend(child.mix_factor))
            if name == "attn1":
                child.set_processor(SelfProcessor())
