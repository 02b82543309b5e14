"""The UNet's inner layers from an earlier step: between steps close to each other they hardly change.

DeepCache, Ma et al., arXiv 2312.00858. Not exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from .prefix import replaced_forward


class DeepFeatures:
    """What the inner layers gave to the last block, by branch of guidance."""

    def __init__(self) -> None:
        self._features: dict[int, torch.Tensor] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._features.clear()

    @contextmanager
    def recorded(self, unet: Any, branches: tuple[int, ...]) -> Iterator[None]:
        """Within, a call of the UNet with these branches in its batch leaves what its inner layers give."""
        inner = unet.up_blocks[-2]
        forward = inner.forward

        def run(*args: Any, **kwargs: Any) -> torch.Tensor:
            features = forward(*args, **kwargs)
            self._features.update(zip(branches, features.chunk(len(branches)), strict=True))
            return features

        with replaced_forward(inner, run):
            yield

    @contextmanager
    def replayed(self, unet: Any, branches: tuple[int, ...]) -> Iterator[None]:
        """Within, a call of the UNet takes what was recorded, and computes the outermost layers alone.

        Raises:
            KeyError: nothing was recorded of a branch.
        """
        features = torch.cat([self._features[branch] for branch in branches])
        with ExitStack() as stack:
            for block in unet.down_blocks[1:]:
                stack.enter_context(replaced_forward(block, _skipping(block)))
            for block in (unet.mid_block, *unet.up_blocks[:-2]):
                stack.enter_context(replaced_forward(block, _passing))
            stack.enter_context(replaced_forward(unet.up_blocks[-2], lambda *_, **__: features))
            yield


def _passing(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return hidden_states


def _skipping(block: Any) -> Any:
    """A down block that only counts: as many outputs as the blocks on the way up will take from the list."""
    outputs = len(block.resnets) + (1 if block.downsamplers is not None else 0)
    return lambda hidden_states, *_, **__: (hidden_states, (hidden_states,) * outputs)
