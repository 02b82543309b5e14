"""What two branches of guidance have in common is computed once.

Up to its first cross-attention the UNet knows nothing of portrait tokens or speech. Branches with the same
latents agree until there, to the bit: the first convolution, the first residual block and the first
self-attention, which at full resolution is the dearest of all.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

Forward: TypeAlias = Callable[..., torch.Tensor]


class Prefix:
    """Outputs of one call's first layers, for the next call with the same latents, time and motion.

    A layer may be called several times, for some of the frames each.
    """

    def __init__(self, unet: Any) -> None:
        self._layers = list(_first_layers(unet))
        self._outputs: defaultdict[nn.Module, deque[torch.Tensor]] = defaultdict(deque)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Within, a call of the UNet leaves the outputs of its first layers."""
        with ExitStack() as stack:
            for layer in self._layers:
                stack.enter_context(replaced_forward(layer, self._recording(layer, layer.forward)))
            yield

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Within, one call of the UNet takes the recorded outputs; they are gone afterwards."""
        with ExitStack() as stack:
            stack.callback(self._outputs.clear)
            for layer in self._layers:
                stack.enter_context(replaced_forward(layer, self._replaying(layer)))
            yield

    def _recording(self, layer: nn.Module, forward: Forward) -> Forward:
        def run(*args: Any, **kwargs: Any) -> torch.Tensor:
            out = forward(*args, **kwargs)
            self._outputs[layer].append(out)
            return out

        return run

    def _replaying(self, layer: nn.Module) -> Forward:
        return lambda *_, **__: self._outputs[layer].popleft()


def _first_layers(unet: Any) -> Iterator[nn.Module]:
    block = unet.down_blocks[0]
    yield unet.conv_in
    yield block.resnets[0]
    if getattr(block, "has_cross_attention", False):
        yield block.attentions[0].transformer_blocks[0].attn1


@contextmanager
def replaced_forward(layer: nn.Module, run: Forward) -> Iterator[None]:
    """Replace a layer's `forward` for a while."""
    before = vars(layer).get("forward")
    object.__setattr__(layer, "forward", run)
    try:
        yield
    finally:
        if before is None:
            object.__delattr__(layer, "forward")
        else:
            object.__setattr__(layer, "forward", before)
