"""Which VAE encodes the portrait and decodes the frames, and why. No torch: asked before anything is loaded.

Stable Video Diffusion's own has a temporal decoder, which flickers least. The VAE of a Stable Diffusion 1
checkpoint speaks the same latents, and a WebUI has it in memory already.
"""

from __future__ import annotations

from dataclasses import dataclass

from ... import weights
from ...errors import MissingPart
from ...ports import Lent, Place, Vae
from ...weights import IMAGE_VAE, VAE, Part, Search
from . import SPEC

PARTS = weights.named(SPEC.parts)
OTHERS = tuple(part for part in PARTS if part is not VAE)
"""What the engine cannot do without, whichever VAE there is."""


@dataclass(frozen=True)
class Chosen:
    """A VAE for one video."""

    decoder: str
    """temporal, image or host."""
    lent: Vae | None = None
    """The WebUI's, where it encodes and decodes."""
    spare: Vae | None = None
    """The WebUI's, for when memory runs out while the temporal decoder works."""
    said: str = ""
    """A sentence for the user: which one, and why."""
    why_not: str = ""
    """Why the WebUI's cannot be had."""

    @property
    def own(self) -> bool:
        """Whether the engine encodes and decodes itself."""
        return self.lent is None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that must be installed."""
        return (*PARTS, *((IMAGE_VAE,) if self.decoder == "image" else ())) if self.own else OTHERS

    @property
    def temporal(self) -> bool:
        """Whether the decoder sees several frames together."""
        return self.decoder == "temporal"


def choose(wanted: str, place: Place | None, search: Search | None = None, roomy: bool = True) -> Chosen:
    """Choose by the setting `decoder` and by what is there.

    Args:
        wanted: auto, temporal, image or host.
        place: the WebUI, where there is one.
        search: where the weights are looked for.
        roomy: whether more than one frame at a time is expected to fit when the temporal decoder works;
            one by one it flickers no less than the WebUI's.

    Raises:
        MissingPart: the WebUI's is wanted and cannot be had.
    """
    if wanted in ("temporal", "image"):
        return Chosen(wanted)
    lent = place.vae() if place else Lent(None, "")
    if wanted == "host":
        return _borrowed(lent, "as chosen")
    if lent.vae is None:
        said = f"{lent.why} {_own('the only one there is')}" if place else ""
        return Chosen("temporal", said=said, why_not=lent.why)
    if not _installed(search):
        return _borrowed(lent, "since Stable Video Diffusion's own is not installed")
    if not roomy:
        return _borrowed(lent, "since memory is short")
    return Chosen("temporal", spare=lent.vae, said=_own("which is installed and flickers least"))


def _own(why: str) -> str:
    return f"VAE: Stable Video Diffusion's own, {why}."


def _borrowed(lent: Lent, why: str) -> Chosen:
    if lent.vae is None:
        raise MissingPart(
            f"decoder=host borrows the WebUI's VAE. {lent.why or 'There is no WebUI here.'}",
            "Load a Stable Diffusion 1.5 checkpoint, or use decoder=auto.",
        )
    said = f"VAE: {lent.vae.title} encodes and decodes, {why}; frames are decoded one by one and may flicker."
    return Chosen("host", lent.vae, said=said)


def _installed(search: Search | None) -> bool:
    return not weights.survey(search, [VAE]).lacking()
