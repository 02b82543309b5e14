"""The preview engine: reads the mouth off the speech and moves the head a little, on any processor."""

from __future__ import annotations

from ..spec import EngineSpec, EntryPoint

SPEC = EngineSpec(
    "preview",
    probe=EntryPoint(f"{__name__}.registration", "probe"),
    make=EntryPoint(f"{__name__}.registration", "make"),
)
