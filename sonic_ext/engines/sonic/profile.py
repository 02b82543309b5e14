"""What weights say of how they want to be run: noise, windows, size, strength of guidance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...weights import SCHEDULER_VALUES, Search, bundles
from .windows import Plan


@dataclass(frozen=True)
class Profile:
    """As the published inference has it, unless stated otherwise."""

    scheduler: Mapping[str, Any]
    """As in `scheduler_config.json`."""
    window: int = 25
    shift: int = 7
    """See `windows.Plan`."""
    side: int | None = None
    """Pixels of the square that the network draws; None for what `min_resolution` asks for."""
    margin: float | None = None
    """Room around the face in it, as a share of the face's sides; None for what `expand_ratio` asks for."""
    image_guidance: float = 1.0
    audio_guidance: float = 1.0
    """Strength for each unit of the settings."""

    def plan(self, frames: int, even: bool = False) -> Plan:
        """Windows of a video."""
        return Plan(frames, self.window, self.shift, even=even)


PUBLISHED = Profile(SCHEDULER_VALUES)


def profile_of(search: Search) -> Profile:
    """Of the weights that are found there.

    Raises:
        MissingPart: the set says nothing of itself.
    """
    if search.bundle is None:
        return PUBLISHED
    about = bundles.about(search.bundle)
    return Profile(
        {**SCHEDULER_VALUES, **about["scheduler"]},
        about["window"],
        about["shift"],
        about["side"],
        about["margin"],
        about["guidance"]["image"],
        about["guidance"]["audio"],
    )
