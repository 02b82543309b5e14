"""Libraries that are installed and yet do not load: others put them there, for versions of their own."""

from __future__ import annotations


def broken() -> str:
    """Why diffusers and transformers do not load; nothing where they do."""
    try:
        from diffusers import AutoencoderKL, UNetSpatioTemporalConditionModel  # noqa: F401
        from transformers import CLIPVisionModelWithProjection, WhisperFeatureExtractor  # noqa: F401
    except (ImportError, RuntimeError) as error:  # what fails within a lazy import comes as RuntimeError
        reason = str(error).partition(" (")[0].strip()  # without where the file lies
        return f"The sonic engine's libraries do not load together ({reason or type(error).__name__})."
    return ""
