"""The preview engine: reads the mouth off the speech and moves the head a little, on any processor."""

from __future__ import annotations

from ..spec import EngineSpec, EntryPoint
from .settings import PreviewSettings

SPEC = EngineSpec(
    "preview",
    probe=EntryPoint(f"{__name__}.registration", "probe"),
    make=EntryPoint(f"{__name__}.registration", "make"),
    settings=PreviewSettings,
    faces=2,
)
