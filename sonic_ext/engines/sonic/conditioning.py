"""What the network is conditioned on besides latents: tensors in, tensors out.

Ji et al., arXiv 2411.16331. The audio clock ticks 50 times a second in Whisper's states, four times per
frame drawn.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from ...nn.unet import Level
from .windows import BASE_FPS

STATES_PER_FRAME = 4
"""Whisper states per base frame."""
TOKEN_WINDOW, TOKEN_BEFORE = 10, 4
"""States that make a frame's tokens, and how many of them lie before the frame."""
BUCKET_WINDOW, BUCKET_BEFORE = 50, 24
"""The same for its buckets."""
LEVELS = 4
"""Grids of the UNet, each half as fine as the one before."""


def frame_windows(states: torch.Tensor, frames: int, length: int, before: int) -> torch.Tensor:
    """The states around each frame, zeros outside.

    Args:
        states: [steps, ...], 50 steps a second.
        frames: base frames.
        length: steps per window.
        before: steps of a window that lie before its frame.

    Returns:
        A view, [frames, length, ...].
    """
    reach = STATES_PER_FRAME * (frames - 1) + length
    padded = states.new_zeros(reach, *states.shape[1:])
    inside = states[: reach - before]
    padded[before : before + len(inside)] = inside
    return padded.unfold(0, length, STATES_PER_FRAME).movedim(-1, 1)


def token_windows(states: torch.Tensor, frames: int) -> torch.Tensor:
    """Input of audio2token, [frames, 10, layers, width], of states [steps, layers, width]."""
    return frame_windows(states, frames, TOKEN_WINDOW, TOKEN_BEFORE)


def bucket_windows(last: torch.Tensor, frames: int) -> torch.Tensor:
    """Input of audio2bucket, [frames, 50, 1, width], of the last states [steps, width].

    The published inference takes its zeros from the states' own length: with fewer than 24 of them, fewer
    lie before.
    """
    return frame_windows(last, frames, BUCKET_WINDOW, min(BUCKET_BEFORE, len(last)))[:, :, None]


def buckets(raw: torch.Tensor) -> torch.Tensor:
    """Head-motion and expression bucket of every frame, [frames, 2], of audio2bucket's output."""
    return raw * 16 + 16


def added_time_ids(
    per_frame: torch.Tensor, frames: torch.Tensor, head: float = 1.0, expression: float = 1.0
) -> torch.Tensor:
    """Frames per second and the window's mean buckets, float32 [1, 3].

    Args:
        per_frame: buckets, [frames of the video, 2].
        frames: int64 [window]; frames that occur twice count twice.
        head: strength of head motion.
        expression: strength of mouth and expression; the published inference has one scale for both.
    """
    scale = per_frame.new_tensor([head, expression])
    mean = per_frame.index_select(0, frames).mean(dim=0) * scale
    return torch.cat([per_frame.new_tensor([BASE_FPS]), mean])[None]


def mask_on_grid(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The face mask [height, width] on a coarser grid; bicubic, so that it goes past 0 and 1."""
    return functional.interpolate(mask[None, None].float(), size, mode="bicubic", antialias=False)[0, 0]


def mask_levels(
    mask: torch.Tensor, size: tuple[int, int], levels: int = LEVELS, sparse: bool = True
) -> dict[int, Level]:
    """The face mask for every grid of the UNet, by the grid's count of pixels.

    Args:
        mask: [height, width] of the picture, 0 to 1.
        size: height, width of the latents.
        levels: how many grids.
        sparse: leave out pixels where the mask is zero; exact.
    """
    height, width = size
    found = {}
    for _ in range(levels):
        found[height * width] = Level.of(mask_on_grid(mask, (height, width)), sparse)
        height, width = -(-height // 2), -(-width // 2)
    return found
