"""The preview engine's own settings."""

from __future__ import annotations

from dataclasses import dataclass

from ...fields import Affects, EngineSettings, setting


@dataclass(frozen=True)
class PreviewSettings(EngineSettings):
    """What only the preview engine lets one choose.

    Raises:
        BadSetting: a value has the wrong type or lies outside its range.
    """

    eye_motion: float = setting(
        1.0,
        "Blinks and glances",
        "How often the eyes blink and how far they look about (preview engine); 0 keeps them still. "
        "Eyes placed by hand stay still.",
        Affects.LATENTS,
        group="motion",
        low=0.0,
        high=2.0,
    )
