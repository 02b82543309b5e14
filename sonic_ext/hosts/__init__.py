"""Where the package runs: standalone, A1111, Forge. The only room that imports a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..configuration import Configuration
from ..ports import Place
from ..progress import Progress

POLL = 0.2
"""Seconds between two looks at whether a waiting job was cancelled."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class MadePortrait:
    """A picture that the WebUI generated."""

    png: bytes
    """The picture as the WebUI would save it, infotext included."""
    infotext: str
    """Parameters in the WebUI's form."""
    synthetic: bool
    """Nobody's face: made from words alone, or from pictures that were; the ledger remembers its pixels."""


class Portraits(Protocol):
    """The WebUI's own txt2img and img2img with the loaded checkpoint."""

    def samplers(self) -> Sequence[str]:
        """Names of samplers, in the WebUI's order."""

    def make(
        self, parameters: Mapping[str, Any], source: bytes | None, progress: Progress
    ) -> Sequence[MadePortrait]:
        """Generate; call it inside `Host.work`.

        Args:
            parameters: as in the body of `/sdapi/v1/txt2img` or `img2img`: prompt, negative_prompt, width,
                height, steps, seed, sampler_name, cfg_scale, denoising_strength …
            source: picture file for img2img; None for txt2img.
            progress: asked whether to stop, told of steps.

        Raises:
            BadInput: a parameter that the WebUI does not know or take.
            MissingPart: no checkpoint is loaded or it cannot be.
            Cancelled: the user interrupted.
        """


class Host(Protocol):
    """What page, API and script ask of the place they run in."""

    name: str
    """standalone, a1111 or forge; shown to nobody, written to logs."""
    place: Place | None
    """The WebUI's VAE and memory for `pipeline.animate`; None where there is no WebUI."""
    portraits: Portraits | None
    """None where there is no WebUI."""

    def outputs(self) -> Path:
        """Folder that exported videos go to; made if it is not there.

        Raises:
            BadOutput: it cannot be made or written to.
        """

    def work(self, progress: Progress, task: Callable[[Progress], Result]) -> Result:
        """Wait until nothing else is being made here, run the task, return what it returns.

        The task gets a progress that also reports to the WebUI (its bar, live preview) and heeds its
        Interrupt. A WebUI may run it on another thread; what it raises is raised here.

        Raises:
            Cancelled: `progress.cancelled()` became true while waiting.
        """

    def configuration(self) -> Configuration:
        """What the user set for this computer, in the WebUI or else in the environment."""

    def defaults(self) -> Mapping[str, Any]:
        """Settings that the user chose as defaults in the WebUI, by field name."""

    def credentials(self) -> Mapping[str, str]:
        """User → password of the API; empty for an open one."""
