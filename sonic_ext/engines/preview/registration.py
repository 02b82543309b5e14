"""How the preview engine is chosen: it is always ready."""

from __future__ import annotations

from ..context import EngineContext, Readiness
from .engine import PreviewEngine


def probe(context: EngineContext) -> Readiness:
    """See `EngineSpec.probe`."""
    return Readiness()


def make(context: EngineContext) -> PreviewEngine:
    """See `EngineSpec.make`."""
    return PreviewEngine(notes=context.notes)
