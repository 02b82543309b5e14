"""A third engine: one folder, and one line in `engines.registry.ENGINES`. It shifts the portrait."""

from __future__ import annotations

from sonic_ext.engines.spec import EngineSpec, EntryPoint

from .settings import ToySettings

SPEC = EngineSpec(
    "toy",
    probe=EntryPoint(f"{__name__}.engine", "probe"),
    make=EntryPoint(f"{__name__}.engine", "make"),
    settings=ToySettings,
)
