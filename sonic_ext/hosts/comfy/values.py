"""What the nodes hand to each other. None of it holds a frame: those lie in the private store until the gate
lets them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...settings import Settings

if TYPE_CHECKING:
    from ...media.audio import Speech
    from ...media.image import Portrait

JOB, TAKE, ENGINE = "SONIC_JOB", "SONIC_TAKE", "SONIC_ENGINE"
"""Types of ComfyUI's sockets."""


@dataclass(frozen=True)
class NodeJob:
    """A portrait and speech that were looked at, and how they are to be animated."""

    portrait: Portrait = field(repr=False)  # ComfyUI writes every input of a node that fails into its history
    speech: Speech = field(repr=False)
    settings: Settings
    second: Speech | None = field(default=None, repr=False)
    """What the second of two people in the portrait says."""

    def changed(self, **values: Any) -> NodeJob:
        """The same with other settings.

        Raises:
            BadSetting: a value does not fit.
        """
        return replace(self, settings=self.settings.with_values(values))


@dataclass(frozen=True)
class NodeEngine:
    """What draws: settings of the engine, and the networks that ComfyUI has loaded and lends."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    model: Any = field(default=None, repr=False)
    """ComfyUI's MODEL that the VAE belongs to: only it knows how its latents are scaled."""
    vae: Any = field(default=None, repr=False)
    clip_vision: Any = field(default=None, repr=False)

    @property
    def lends(self) -> bool:
        """Whether it draws with networks that nobody can tell from others."""
        return self.vae is not None or self.clip_vision is not None


@dataclass(frozen=True)
class NodeTake:
    """A finished video in the private store."""

    job: str
    """Id of the job that made it."""
    id: str
    """Of the take."""
