"""The network that adapters belong to: everything is held but audio2token and the audio projections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ...engines.sonic.networks import Networks
from ...engines.sonic.schedule import scaled
from ...nn.audio import AudioToToken
from ...nn.unet import Branch, UNet
from .windows import LatentWindows

ADAPTERS = ".processor.to_"
"""In the names of the UNet's audio projections, `to_k_ip` and `to_v_ip` of each cross-attention."""


@dataclass(frozen=True)
class Prediction:
    """What the network makes of windows."""

    velocity: torch.Tensor
    """float32 [n, frames, 4, height, width]."""
    tokens: torch.Tensor
    """Of the windows' sound, also where it is left out, [n, frames, tokens, width]."""


class AdapterNetwork(nn.Module):
    """UNet and audio2token.

    Args:
        unet: filled, in any numbers; it is held but for its audio projections, which become float32.
        to_token: filled; all of it is trained, in float32.
    """

    def __init__(self, unet: UNet, to_token: AudioToToken) -> None:
        super().__init__()
        self.unet = unet.train().requires_grad_(False)
        self.to_token = to_token.train()
        for weight in dict(self.adapters()).values():
            weight.data = weight.data.float().clone()  # the file's mapping is not written to
            weight.requires_grad_(True)

    def adapters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names as in an overlay, and parameters, of all that is trained."""
        for name, weight in self.unet.named_parameters():
            if ADAPTERS in name:
                yield f"unet.{name}", weight
        for name, weight in self.to_token.named_parameters():
            yield f"audio2token.{name}", weight

    def adapter_values(self) -> dict[str, torch.Tensor]:
        """Of all that is trained, the very tensors."""
        return {name: weight.detach() for name, weight in self.adapters()}

    @torch.no_grad()
    def set_adapters(self, values: Mapping[str, torch.Tensor]) -> None:
        """Copy values into what is trained.

        Raises:
            KeyError, RuntimeError: they are of another network.
        """
        for name, weight in self.adapters():
            weight.copy_(values[name])

    @property
    def token_numbers(self) -> int:
        """How many numbers make one frame's audio tokens."""
        return self.to_token.context_tokens * self.to_token.norm.normalized_shape[0]

    def tokens(self, states: torch.Tensor) -> torch.Tensor:
        """[n, frames, tokens, width] of states [n, frames, 10, layers, width]."""
        made: torch.Tensor = self.to_token(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        return made

    def forward(
        self, windows: LatentWindows, autocast: bool = False, checkpointed: bool = False
    ) -> Prediction:
        """Predict the velocity.

        Args:
            autocast: whether the UNet computes in bfloat16; audio2token never does.
            checkpointed: see `UNet.forward`.
        """
        spoken = self.tokens(windows.states)
        silence = self.to_token(windows.states.new_zeros(1, *self.to_token.window))
        branches = [
            Branch(windows.looks[number], silence if windows.deaf[number] else spoken[number], level, number)
            for number, level in enumerate(windows.levels)
        ]
        frames = windows.clean.shape[1]
        portraits = windows.portraits.expand(-1, frames, -1, -1, -1)
        inputs = torch.cat([scaled(windows.noisy, windows.sigmas), portraits], dim=2)
        times = 0.25 * windows.sigmas.flatten().log()
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=autocast):
            v = self.unet(inputs, times, windows.ids, branches, checkpointed=checkpointed)
        return Prediction(v.float(), spoken)


def load_network(networks: Networks) -> AdapterNetwork:
    """The network of the weights, on the hardware's device; held weights in the hardware's numbers.

    Raises:
        BadWeights: a file does not fit.
    """
    unet = networks.unet().to(networks.hardware.device)
    return AdapterNetwork(unet, networks.speech().to_token.to(networks.hardware.device))
