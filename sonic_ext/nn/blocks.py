"""Transformer blocks in pieces: frames do not know each other in space, nor pixels each other in time.

What a block makes on its way then takes little memory. The blocks take the place of diffusers' own, with
their layers and keys, and add in place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .attention import Slot, processors
from .feedforward import LEAST, PiecewiseFeedForward, room
from .products import summed

COPIES = 4
"""Tensors as large as its input that a layer has at once; a piece of each has to find room."""
SMALLEST = 2**24
"""Bytes that they may have together in any case: cutting finer saves no time, even on a CPU."""


class Block(nn.Module):
    """Layers of a transformer block of diffusers."""

    slot: Slot

    @classmethod
    def of(cls, block: nn.Module) -> Block:
        """With the layers of diffusers' block, which must have audio processors."""
        new = cls()
        for name, child in block.named_children():
            new.add_module(name, child)
        new.slot = next(processors(block)).slot
        return new.train(block.training)

    def _known(self, x: torch.Tensor) -> torch.Tensor:
        """Attention to itself and to what the network is told, then the feed-forward, into a new tensor."""
        x = x + self.attn1(self.norm1(x))
        x = summed(x, self.attn2(self.norm2(x)))
        return _fed(x, self.norm3, self.ff)


class SpatialBlock(Block):
    """Takes the place of `BasicTransformerBlock`: pieces are frames."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """[branches · frames, pixels, hidden]."""
        if torch.is_grad_enabled():
            return self._known(hidden_states)
        window = self.slot.current()
        parts = hidden_states.unflatten(0, (len(window.branches), -1))
        frames = parts.shape[1]
        step = max(1, rows_together(hidden_states) // hidden_states.shape[1])
        if len(parts) == 1 and step >= frames:
            return self._known(hidden_states)
        done = torch.empty_like(parts)
        for branch, (source, target) in enumerate(zip(parts, done, strict=True)):
            only = window.only(branch)
            for start in range(0, frames, step):
                piece = slice(start, min(start + step, frames))
                with self.slot.showing(only.part(piece, frames)):
                    target[piece] = self._known(source[piece])
        return done.flatten(0, 1)


class TemporalBlock(Block):
    """Takes the place of `TemporalBasicTransformerBlock`: pieces are pixels."""

    def forward(
        self, hidden_states: torch.Tensor, num_frames: int, encoder_hidden_states: object = None
    ) -> torch.Tensor:
        """[branches · frames, pixels, hidden]; the context passed by diffusers is not used."""
        parts = hidden_states.unflatten(0, (-1, num_frames)).transpose(1, 2)
        if torch.is_grad_enabled():
            return self._piece(parts).transpose(1, 2).flatten(0, 1)
        done = torch.empty_like(hidden_states)
        target = done.unflatten(0, (-1, num_frames)).transpose(1, 2)
        step = max(1, rows_together(hidden_states) // (num_frames * len(parts)))
        for source, end in zip(parts.split(step, dim=1), target.split(step, dim=1), strict=True):
            end.copy_(self._piece(source))
        return done

    def _piece(self, parts: torch.Tensor) -> torch.Tensor:
        """[branches, pixels, frames, hidden]."""
        x = parts.clone(memory_format=torch.contiguous_format).flatten(0, 1)
        x = _fed(x, self.norm_in, self.ff_in)
        return self._known(x).unflatten(0, parts.shape[:2])


def _fed(x: torch.Tensor, norm: nn.Module, ff: nn.Module) -> torch.Tensor:
    """`x` and what a feed-forward makes of it, in place of `x` where no gradients are asked for."""
    return ff.added(x, norm) if isinstance(ff, PiecewiseFeedForward) else summed(x, ff(norm(x)))


def rows_together(x: torch.Tensor) -> int:
    """Rows of [..., hidden] in a piece."""
    return max(LEAST, max(SMALLEST, room(x)) // (COPIES * x.shape[-1] * x.element_size()))


def blocks_in_pieces(network: nn.Module) -> None:
    """Replace every transformer block of a network that has audio processors."""
    kinds = {"transformer_blocks": SpatialBlock, "temporal_transformer_blocks": TemporalBlock}
    for parent in list(network.modules()):
        for name, kind in kinds.items():
            blocks: Any = getattr(parent, name, ())
            for number, block in enumerate(blocks):
                blocks[number] = kind.of(block)
