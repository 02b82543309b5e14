"""What the published networks need: bytes and floating-point operations, forecast before anything is loaded.

Numbers in, numbers out. Coefficients are fitted to counts that `benchmarks/footprint.py` makes with the real
networks on tensors without contents, pieces cut as on a GPU. A count is the largest sum of bytes of tensors
alive at one time, above weights and inputs; an allocator's rounding, workspaces of cuDNN and cuBLAS and
the context of CUDA come on top and are the caller's reserve. Operations are those of matrix products,
convolutions and attention, two for a multiplication with its addition.
"""

from __future__ import annotations

UNET, VAE, CLIP = 1_575_741_162, 97_742_847, 632_076_800
"""Numbers in the weights of the networks that may be in half precision."""
SPEECH = 8_208_384 + 54_300_672 + 21_762_050
"""The same of Whisper's encoder, audio2token and audio2bucket, which are always in float32."""
AUDIO_TOKENS = 32
"""Per frame."""
WIDTHS = (320, 640, 1280)
"""Of the UNet's levels with attention, each on a grid half as fine as the one before."""
LAYERS = 5
"""Transformers of each of these levels; one more lies in the middle, on a grid half as fine again."""

ACTIVATIONS = {
    "together": (8640, 270_000_000, 6306),
    "branches": (3528, 350_000_000, 2449),
    "offload": (6080, 350_000_000, 4539),
}
"""Numbers a pixel of the latents in the one place; bytes of a piece and numbers a pixel in the other."""


def unet_weights(itemsize: int) -> int:
    """Bytes of the UNet with its audio adapters."""
    return UNET * itemsize


def small_weights(itemsize: int, speech_itemsize: int = 4) -> int:
    """Bytes of VAE and image encoder, and of the speech networks."""
    return (VAE + CLIP) * itemsize + SPEECH * speech_itemsize


def unet_activations(width: int, height: int, frames: int, mode: str, itemsize: int) -> int:
    """Bytes of a guided call.

    Args:
        width: of the picture, in pixels.
        height: the same.
        frames: of the window.
        mode: together, branches or offload (see `budget.MEMORY_MODES`).
        itemsize: bytes per number.
    """
    # Two places compete: one grows with the picture, one also holds a piece of bounded size.
    large, piece, small = ACTIVATIONS[mode]
    rows = frames * width * height // 64
    return max(itemsize * large * rows, piece + itemsize * small * rows)


def unet_operations(width: int, height: int, frames: int) -> int:
    """Of one branch by itself, the face everywhere."""
    pixels = width * height / 64
    attention = sum(
        LAYERS * _attention(pixels / 4**level, frames, hidden) for level, hidden in enumerate(WIDTHS)
    )
    middle = _attention(pixels / 64, frames, WIDTHS[-1])
    return int(279.4e6 * frames * pixels + attention + middle)


def _attention(pixels: float, frames: int, hidden: int) -> float:
    """Of one transformer: pixels of a frame, frames of a pixel, and the audio tokens for both."""
    return 4 * frames * pixels * (pixels + frames + 2 * AUDIO_TOKENS) * hidden


def vae_decode_activations(width: int, height: int, chunk: int, itemsize: int) -> int:
    """Bytes of decoding so many frames at once."""
    return 1024 * width * height * chunk * itemsize


def vae_decode_operations(width: int, height: int) -> int:
    """Of one frame."""
    return 11_476_342 * width * height + _middle_of_vae(width, height)


def vae_encode_activations(width: int, height: int, itemsize: int) -> int:
    """Bytes of encoding one picture."""
    return 640 * width * height * itemsize


def vae_encode_operations(width: int, height: int) -> int:
    """Of one picture."""
    return 4_128_642 * width * height + _middle_of_vae(width, height)


def _middle_of_vae(width: int, height: int) -> int:
    """Attention of all pixels of the latent to each other, 512 numbers each."""
    return 4 * 512 * (width * height // 64) ** 2


def whisper_activations(seconds: float) -> int:
    """Bytes of the speech encoder, which hears 30 seconds at once, always in float32."""
    return 34_572_000 if seconds > 0 else 0


def whisper_operations(seconds: float) -> int:
    """Of the speech encoder: parts of 30 seconds are padded."""
    return 36_938_000_000 * -int(-seconds // 30)


def audio_activations(frames: int) -> int:
    """Bytes of audio2token and audio2bucket for all frames at once, in float32; 12.5 frames a second."""
    return 266_496 * frames


def audio_operations(frames: int) -> int:
    """Of audio2token and audio2bucket."""
    return 152_047_616 * frames


def clip_activations(itemsize: int) -> int:
    """Bytes of the image encoder for one picture."""
    return 3_947_520 * itemsize


def clip_operations() -> int:
    """Of the image encoder for one picture."""
    return 334_590_000_000
