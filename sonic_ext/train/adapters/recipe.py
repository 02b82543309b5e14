"""How adapters are trained; imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import BadInput

LEVELS = ("frame", "semantic", "style")
"""What may be contrasted."""


@dataclass(frozen=True)
class Objective:
    """Which losses there are, and how much each weighs.

    Raises:
        BadInput: a weight lies outside of 0 to 1, or there is no such level.
    """

    adversarial: float = 0.0
    """λ_adv, 0 to 1; 0 for no discriminator."""
    contrast: float = 0.0
    """λ_cont, 0 to 1; 0 for no contrast, which is what the experiment of docs/contrastive.md speaks for."""
    levels: tuple[str, ...] = ("frame",)
    """Of `LEVELS`."""
    mouth: float = 6.0
    """Weight of a latent of the mouth in the reconstruction, beside 1."""

    def __post_init__(self) -> None:
        for name in ("adversarial", "contrast"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise BadInput(f"--{name} {value:g} is out of range.", "Give a number from 0 to 1.")
        if unknown := sorted({*self.levels} - {*LEVELS}):
            raise BadInput(f"There is no level {unknown[0]!r}.", f"Give some of: {', '.join(LEVELS)}.")


@dataclass(frozen=True)
class AdapterRecipe:
    """How adapters are trained.

    Raises:
        BadInput: a number lies outside of its range.
    """

    steps: int = 2000
    pretrain: int = 0
    """Steps before them in which audio2token learns by contrast alone, without the UNet."""
    batch: int = 4
    """Windows that go through the network together, over all processes."""
    accumulate: int = 1
    """Times that this is done for a step."""
    rate: float = 1e-4
    """Of learning."""
    mean: float = 0.999
    """Share of the running mean of the adapters that a step keeps; the mean is what comes out."""
    window: int = 25
    """Frames that the network sees at once."""
    noise: tuple[float, float] = (1.0, 1.6)
    """Mean and standard deviation of the logarithm of σ; two thirds lie between 0.55 and 13."""
    objective: Objective = field(default_factory=Objective)
    seed: int = 5

    def __post_init__(self) -> None:
        first = ("pretrain", 0), ("steps", 0 if self.pretrain > 0 else 1)
        for name, least in (*first, ("batch", 1), ("accumulate", 1), ("window", 1)):
            if getattr(self, name) < least:
                raise BadInput(f"--{name} {getattr(self, name)} is too few.", f"Give {least} or more.")
        if not 0 < self.rate < 1:
            raise BadInput(f"--rate {self.rate:g} is out of range.", "Give a number from 0 to 1.")

    @property
    def total(self) -> int:
        """Steps of both kinds."""
        return self.pretrain + self.steps

    def values(self) -> dict[str, Any]:
        """Plain JSON values, for an overlay's metadata."""
        return asdict(self)
