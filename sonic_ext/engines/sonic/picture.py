"""The portrait as the networks take it, and the face mask."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

CLIP_SIDE = 224
"""Pixels of CLIP's square."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def resized(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] or [h, w] at another size, by Lanczos."""
    done = Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(done)


def reference(picture: NDArray[np.uint8]) -> torch.Tensor:
    """What the VAE encodes: float32 [1, 3, height, width] of -1 to 1, of uint8 [height, width, 3]."""
    return _channels_first(picture) / 127.5 - 1


def clip_pixels(picture: NDArray[np.uint8]) -> torch.Tensor:
    """What CLIP sees: the whole picture squashed to a square, normalised; float32 [1, 3, 224, 224]."""
    square = _channels_first(resized(picture, CLIP_SIDE, CLIP_SIDE)) / 255
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (square - mean) / std


def _channels_first(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]


def draw_mask(
    box: tuple[int, int, int, int] | None, picture: tuple[int, int], video: tuple[int, int]
) -> NDArray[np.uint8]:
    """The face mask at the size of the video, uint8 [height, width], 255 in the face.

    Args:
        box: left, top, right, bottom in the picture, of `media.geometry.mask_box`; None leaves it empty.
        picture: width, height of the picture the box is in.
        video: width, height of the video.
    """
    width, height = picture
    mask = np.zeros((height, width), np.uint8)
    if box is not None:
        left, top, right, bottom = box
        mask[top:bottom, left:right] = 255
    return resized(mask, *video)


def mask_values(mask: NDArray[np.uint8]) -> torch.Tensor:
    """A drawn mask as float32 of 0 to 1, [height, width]."""
    return torch.from_numpy(mask.astype(np.float32)) / 255
