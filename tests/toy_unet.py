"""The UNet at toy size and what it is told, for tests of what must change nothing."""

from __future__ import annotations

from typing import Any

import torch

from sonic_ext.engines.sonic.conditioning import mask_levels
from sonic_ext.engines.sonic.denoise import Conditioning
from sonic_ext.nn import build
from sonic_ext.nn.unet import UNet, UNetConfig, build_unet

TOY = UNetConfig(channels=(32, 32, 32, 32), heads=(1, 1, 2, 2), context=24, layers=1)
FRAMES, SIZE = 3, (8, 8)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def toy_weights(config: UNetConfig = TOY) -> dict[str, torch.Tensor]:
    shapes = {key: tuple(value.shape) for key, value in sorted(build_unet(config).state_dict().items())}
    return {key: 0.2 * drawn(*shape, seed=n) for n, (key, shape) in enumerate(shapes.items())}


def toy_unet(config: UNetConfig = TOY) -> UNet:
    return build.fill(build_unet(config), toy_weights(config))


def toy_conditioning() -> Conditioning:
    """Of a video of five frames."""
    mask = torch.zeros(64, 64)
    mask[16:40, 20:44] = 1
    return Conditioning(
        drawn(1, 4, *SIZE, seed=1),
        drawn(1, 1, 24, seed=2),
        drawn(5, 7, 24, seed=3),
        drawn(1, 7, 24, seed=4),
        16 + drawn(5, 2, seed=5),
        mask_levels(mask, SIZE),
    )


def near(got: Any, want: Any) -> bool:
    """To rounding."""
    return bool(torch.allclose(got, want, rtol=1e-4, atol=1e-5 * float(want.abs().max())))
