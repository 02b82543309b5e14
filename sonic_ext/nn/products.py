"""Sums and products into tensors that are there already.

On a CPU a matrix product with a bias first copies the bias to the result, and whoever adds the result to
something reads and writes all of it once more: where rows are short, passes over memory that take as long as
the product.
"""

from __future__ import annotations

from typing import Any

import torch

ALIGNED = 16
"""Values by which a row grows: 64 bytes, a line of the cache."""


def summed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """In place of `x` where no gradients are asked for."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def accumulates(x: torch.Tensor, *layers: Any) -> bool:
    """Whether what these layers make may be added to `x` as it is made: on a CPU, in single precision.

    Other devices add the bias within the product, and other types would round every sum.
    """
    if torch.is_grad_enabled() or not x.is_contiguous():
        return False
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return False
    return all(layer.weight.dtype == x.dtype and layer.bias is not None for layer in layers)


def biased(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """[in + 1, out]: the bias as one more weight, of an input that is always 1."""
    return torch.cat([weight, bias[:, None]], dim=1).t()


def with_one(like: torch.Tensor, rows: int, width: int) -> torch.Tensor:
    """Room for [rows, width] and the input that is always 1, [rows, width + 1]; each row is aligned."""
    return like.new_ones(rows, width + ALIGNED)[:, : width + 1]
