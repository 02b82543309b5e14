"""The gated feed-forward of the UNet's transformers, in pieces.

Each row (a pixel of a frame) is by itself: eight times its width need not exist for all rows at once. On a
CPU a piece stays in the cache; on a GPU it bounds the largest tensor of the network. Shazeer, "GLU Variants
Improve Transformer", arXiv 2002.05202.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .products import accumulates, biased, summed, with_one

CACHE = 2**22
"""Bytes of the widest tensor of a piece on a CPU: the second-level caches of two cores."""
BOUND = 2**27
"""The same elsewhere: enough work for the whole of a GPU."""
LEAST = 512
"""Rows that go together in any case: matrices with fewer are multiplied no faster."""


class PiecewiseFeedForward(nn.Module):
    """Takes the place of diffusers' `FeedForward` with `GEGLU`, with its layers and keys."""

    def __init__(self, net: nn.ModuleList) -> None:
        super().__init__()
        self.net = net
        """GEGLU, dropout, linear."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """[..., width] to [..., width out]; whatever else diffusers passes is not used."""
        if torch.is_grad_enabled():
            return self._whole(hidden_states)
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        step = max(LEAST, room(rows) // (self.net[0].proj.out_features * rows.element_size()))
        done = rows.new_empty(len(rows), self.net[2].out_features)
        for source, target in zip(rows.split(step), done.split(step), strict=True):
            target.copy_(self.piece(source))
        return done.view(*hidden_states.shape[:-1], -1)

    def added(self, x: torch.Tensor, norm: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """`x` and what `norm(x)` becomes, [..., width]; in place of `x` where no gradients are asked for."""
        first, last = self.net[0].proj, self.net[2]
        if not accumulates(x, first, last):
            return summed(x, self(norm(x)))
        rows = x.view(-1, x.shape[-1])
        inner = last.in_features
        step = min(len(rows), max(LEAST, room(rows) // (inner * rows.element_size())))
        value, gate = biased(first.weight, first.bias).chunk(2, dim=1)
        inputs, halves = with_one(rows, step, rows.shape[1]), rows.new_empty(2, step, inner)
        for piece in rows.split(step):
            source, (values, gates) = inputs[: len(piece)], halves[:, : len(piece)]
            source[:, :-1] = norm(piece)
            torch.ops.aten.gelu_(torch.mm(source, gate, out=gates))
            gates.mul_(torch.mm(source, value, out=values))
            torch.addmm(piece.add_(last.bias), gates, last.weight.t(), out=piece)
        return x

    def piece(self, rows: torch.Tensor) -> torch.Tensor:
        """[rows, width] to [rows, width out], all at once, without gradients."""
        value, gate = self.net[0].proj(rows).chunk(2, dim=-1)
        return self.net[2](functional.gelu(gate).mul_(value))

    def _whole(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.net:
            x = layer(x)
        return x


def room(x: torch.Tensor) -> int:
    """Bytes that a piece may have where `x` lies."""
    return CACHE if x.device.type == "cpu" else BOUND


def in_pieces(network: nn.Module) -> None:
    """Replace every gated feed-forward of a network; its weights may be filled before or after."""
    from diffusers.models.activations import GEGLU
    from diffusers.models.attention import FeedForward

    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FeedForward) and type(child.net[0]) is GEGLU and len(child.net) == 3:
                setattr(parent, name, PiecewiseFeedForward(child.net))
