"""Libraries that are installed and yet do not load: others put them there, for versions of their own."""

from __future__ import annotations

import sys

_UNDOCUMENTED = (ValueError, AttributeError) if sys.flags.optimize > 1 else ()
"""What transformers raises where Python leaves docstrings out (-OO), some of which it reads."""


def broken(own_vae: bool = True) -> str:
    """Why transformers and, for a VAE of the engine's own, diffusers do not load; nothing where they do."""
    try:
        from transformers import CLIPVisionModelWithProjection, WhisperFeatureExtractor  # noqa: F401

        if own_vae:
            from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder  # noqa: F401
    except (ImportError, RuntimeError, *_UNDOCUMENTED) as error:
        return f"The sonic engine's libraries do not load together ({_reason(error)})."
    return ""


def _reason(error: Exception) -> str:
    """Without where the file lies. A lazy import that fails is a RuntimeError that ends with the real one."""
    last = [type(error).__name__, *str(error).strip().splitlines()][-1]
    return last.partition(" (")[0].rstrip(".")
