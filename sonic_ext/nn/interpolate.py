"""RIFE HDv3: the frame between two frames.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", arXiv 2011.06294.
Names and shapes are those of the published `flownet.pkl` without `module.`; its teacher block is not used.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from .build import on_meta

SCALES = (4, 2, 1)
"""Each block works on the frames shrunk by this much."""
WIDTH = 90
"""Channels inside a block."""
UNUSED = "block_tea."
"""Weights whose names begin so served training only."""
MULTIPLE = 16
"""Sides of the frames must be multiples: the coarsest scale and two strides of two."""


class Middle(NamedTuple):
    """What the network finds between two frames."""

    flow: torch.Tensor
    """[batch, 4, height, width]: x, y from the middle into the first frame, then into the second; pixels."""
    mask: torch.Tensor
    """[batch, 1, height, width]: share of the first frame, 0 to 1."""
    frame: torch.Tensor
    """[batch, 3, height, width] in the range of the input."""


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.PReLU(after))


def _head(channels: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1),
        nn.PReLU(channels // 2),
        nn.ConvTranspose2d(channels // 2, after, 4, 2, 1),
    )


class FlowBlock(nn.Module):
    """Refines flow and mask at one scale."""

    def __init__(self, inputs: int = 11, width: int = WIDTH) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_conv(inputs, width // 2, 2), _conv(width // 2, width, 2))
        self.convblock0, self.convblock1, self.convblock2, self.convblock3 = (
            nn.Sequential(_conv(width, width), _conv(width, width)) for _ in range(4)
        )
        self.conv1 = _head(width, 4)
        self.conv2 = _head(width, 1)

    def forward(
        self, pictures: torch.Tensor, flow: torch.Tensor, scale: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures [batch, 7, h, w] and flow [batch, 4, h, w] → changes of flow and mask [batch, 1, h, w]."""
        x = torch.cat([_resized(pictures, 1 / scale), _resized(flow, 1 / scale) / scale], dim=1)
        x = self.conv0(x)
        for pair in (self.convblock0, self.convblock1, self.convblock2, self.convblock3):
            x = pair(x) + x
        return _resized(self.conv1(x), scale) * scale, _resized(self.conv2(x), scale)


class Interpolator(nn.Module):
    """Three blocks from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.block0, self.block1, self.block2 = (FlowBlock() for _ in SCALES)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> Middle:
        """Frames [batch, 3, height, width] of 0 to 1, sides multiples of 16.

        Raises:
            ValueError: a side is no such multiple.
        """
        height, width = first.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(f"frames of {width} × {height}: sides must be multiples of {MULTIPLE}")
        flow = first.new_zeros(len(first), 4, height, width)
        mask = first.new_zeros(len(first), 1, height, width)
        warped = first, second
        for block, scale in zip((self.block0, self.block1, self.block2), SCALES, strict=True):
            d_flow, d_mask = _both_ways(block, warped, mask, flow, scale)
            flow, mask = flow + d_flow, mask + d_mask
            warped = warp(first, flow[:, :2]), warp(second, flow[:, 2:])
        share = torch.sigmoid(mask)
        return Middle(flow, share, warped[0] * share + warped[1] * (1 - share))


def _both_ways(
    block: FlowBlock,
    warped: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor,
    flow: torch.Tensor,
    scale: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The block on the frames in both orders, in one batch, averaged."""
    pictures = torch.cat([torch.cat([*warped, mask], dim=1), torch.cat([*warped[::-1], -mask], dim=1)])
    flows, masks = block(pictures, torch.cat([flow, _swapped(flow)]), scale)
    (ahead, back), (mask_ahead, mask_back) = flows.chunk(2), masks.chunk(2)
    return (ahead + _swapped(back)) / 2, (mask_ahead - mask_back) / 2


def _swapped(flow: torch.Tensor) -> torch.Tensor:
    return torch.cat([flow[:, 2:], flow[:, :2]], dim=1)


def _resized(x: torch.Tensor, factor: float) -> torch.Tensor:
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def warp(frame: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """The frame [batch, c, h, w] looked up at each pixel plus `flow` [batch, 2, h, w]; its border goes on.

    In float32 whatever the frame is in: half precision cannot say places to a fraction of a pixel.
    """
    height, width = frame.shape[-2:]
    down = torch.linspace(-1, 1, height, device=frame.device)
    across = torch.linspace(-1, 1, width, device=frame.device)
    x = across + flow[:, 0].float() * (2 / (width - 1))
    y = down[:, None] + flow[:, 1].float() * (2 / (height - 1))
    # Clamped places are what padding by the border means, which not every device knows.
    grid = torch.stack([x, y], dim=-1).clamp(-1, 1)
    warped = functional.grid_sample(
        frame.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return warped.to(frame.dtype)


def padded(frames: torch.Tensor, multiple: int = MULTIPLE) -> torch.Tensor:
    """Frames [batch, c, h, w] grown to the right and downwards by their own border, to a legal size."""
    height, width = frames.shape[-2:]
    right, down = (math.ceil(side / multiple) * multiple - side for side in (width, height))
    return functional.pad(frames, (0, right, 0, down), mode="replicate")


def build_interpolator() -> Interpolator:
    """On the meta device; `build.fill` gives it the checkpoint's weights but those of `UNUSED`."""
    return on_meta(Interpolator)
