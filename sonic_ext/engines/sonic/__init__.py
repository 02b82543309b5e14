"""The sonic engine: a diffusion model moves the portrait to the speech.

Ji et al., "Sonic: Shifting Focus to Global Audio Perception in Portrait Animation", arXiv 2411.16331.
Built from published facts and numbers; the published weights load as they are.
"""

from __future__ import annotations

from ..spec import EngineSpec, EntryPoint
from .settings import DiffusionSettings

SPEC = EngineSpec(
    "sonic",
    probe=EntryPoint(f"{__name__}.registration", "probe"),
    make=EntryPoint(f"{__name__}.registration", "make"),
    settings=DiffusionSettings,
    faces=2,
    parts=("unet", "audio2token", "audio2bucket", "whisper", "vae", "image_encoder"),
    identities=EntryPoint(f"{__name__}.registration", "identities"),
    window_worker=EntryPoint(f"{__name__}.registration", "window_worker"),
    window_numbers=EntryPoint(f"{__name__}.registration", "window_numbers"),
)
