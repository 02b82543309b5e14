"""How much of everything a miniature is trained with; imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

STAGES: Mapping[str, tuple[str, ...]] = {
    "codec": ("identities", "codec_steps"),
    "hearing": ("hearing_steps",),
    "looking": ("identities", "looking_steps"),
    "latents": ("identities", "codec_steps", "hearing_steps", "looking_steps"),
    "network": ("identities", "codec_steps", "hearing_steps", "looking_steps", "network_steps", "contrast"),
    "buckets": ("identities", "hearing_steps", "looking_steps", "buckets_steps"),
}
"""What of the recipe each stage depends on."""


@dataclass(frozen=True)
class MiniatureRecipe:
    """How much of everything."""

    identities: int = 240
    codec_steps: int = 2500
    hearing_steps: int = 1500
    looking_steps: int = 300
    network_steps: int = 4000
    buckets_steps: int = 300
    contrast: float = 0.1
    """Weight of InfoNCE in the network's loss; 0 for none."""
    seed: int = 3

    def steps(self, stage: str) -> int:
        """Of a stage."""
        return int(getattr(self, f"{stage}_steps"))

    def key(self, stage: str) -> str:
        """SHA-256 of all that a stage's result depends on: what it can be gone on with."""
        own = {name: getattr(self, name) for name in ("seed", *STAGES[stage])}
        return hashlib.sha256(json.dumps([stage, own], sort_keys=True).encode()).hexdigest()
