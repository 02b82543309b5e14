"""What an engine is asked with, and what it answers about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingPart
from ..ports import DeviceManager, WindowPool
from ..settings import Settings
from ..weights import Search


@dataclass(frozen=True)
class EngineContext:
    """Where an engine would work, and what for."""

    settings: Settings
    home: Path | None = None
    """The private home, where checkpoints are kept; the user's own by default."""
    devices: DeviceManager | None = None
    """The WebUI's memory and VAE, where there is a WebUI."""
    automatic: bool = False
    """Whether engine=auto asks: an engine that would draw, but not to anybody's use, then declines."""
    search: Search | None = None
    """Where weights are looked for; this computer's places by default."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about engines that were passed over; the engine gives them on as warnings."""
    window_pool: WindowPool | None = None
    """Other processes that compute windows, for an engine with an `EngineSpec.window_worker`."""


@dataclass(frozen=True)
class Readiness:
    """Whether an engine could draw."""

    missing: MissingPart | None = None
    """What it lacks, with the hint that brings it; None where it is ready."""
    note: str = ""
    """Why engine=auto passes it over, for the user; empty for one that was never installed."""
