"""How the steps of a video are taken, from the settings and what the weights ask for; and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from .denoise import Shortcuts
from .guidance import EVERYWHERE, Guidance
from .profile import Profile
from .sampling import groups
from .schedule import Schedule, schedule
from .settings import DiffusionSettings
from .solvers import SOLVERS, Solver, euler

OUTER = 0.36
"""Operations of the layers that `deep_features` computes at every step, as a share of all."""


@dataclass(frozen=True)
class Sampler:
    """Everything of a run but network and conditioning. The default is as published, apart from `levels`."""

    levels: Schedule
    guidance: Guidance = field(default_factory=Guidance)
    solver: Solver = euler
    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    group: int = 1
    """Steps of a group; shortcuts take something from the first to the others."""
    widening: bool = False
    """Whether groups are short at first; see `sampling.groups`."""

    @classmethod
    def of(cls, own: DiffusionSettings, profile: Profile) -> Sampler:
        """As the settings say, for weights of that profile."""
        shortcuts = Shortcuts.named(own.shortcuts, own.cache_tolerance or math.inf)
        return cls(
            schedule(own.inference_steps, profile.scheduler, own.schedule),
            Guidance(
                profile.image_guidance * own.image_guidance,
                profile.audio_guidance * own.audio_guidance,
                own.image_guidance_interval or EVERYWHERE,
                own.audio_guidance_interval or EVERYWHERE,
            ),
            SOLVERS[own.solver],
            shortcuts,
            1 if own.shortcuts == "exact" else own.cache_interval,
            own.cache_spacing == "widening",
        )

    @cached_property
    def parts(self) -> list[range]:
        """Groups of steps. Within one the same branches count: what its first step leaves serves them all."""
        wanted = [self.guidance.branches(float(sigma)) for sigma in self.levels.sigmas[:-1]]
        cuts = [step for step in range(1, len(wanted)) if wanted[step] != wanted[step - 1]]
        return groups(self.levels.steps, self.group, self.widening, cuts)

    @cached_property
    def branch_calls(self) -> float:
        """Work of the UNet in one window over all steps, in whole calls with one branch.

        With a tolerance the least that it can be.
        """
        calls = 0.0
        for steps in self.parts:
            wanted = self.guidance.branches(float(self.levels.sigmas[steps.start]))
            later = len(self.shortcuts.branches(wanted, first=False)) * (len(steps) - 1)
            calls += len(wanted) + later * (OUTER if self.shortcuts.deep_features else 1.0)
        return calls
