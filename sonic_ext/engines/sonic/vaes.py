"""Which VAE encodes the portrait and decodes the frames, and why; and whose image encoder looks at it.
No torch: asked before anything is loaded.

Stable Video Diffusion's own has a temporal decoder, which flickers least. The VAE of a Stable Diffusion 1
checkpoint speaks the same latents, and a WebUI has it in memory already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ... import weights
from ...errors import MissingPart
from ...ports import DeviceManager, HostVae, ImageEncoder, Vae
from ...weights import IMAGE_ENCODER, IMAGE_VAE, VAE, Part, Search
from . import SPEC

PARTS = weights.parts_named(SPEC.parts)
OTHERS = tuple(part for part in PARTS if part is not VAE)
"""What the engine cannot do without, whichever VAE there is."""


@dataclass(frozen=True)
class VaeChoice:
    """A VAE for one video."""

    decoder: str
    """temporal, image or host."""
    host: Vae | None = None
    """The WebUI's, where it encodes and decodes."""
    fallback: Vae | None = None
    """The WebUI's, for when memory runs out while the temporal decoder works."""
    note: str = ""
    """A sentence for the user: which one, and why."""
    no_host: str = ""
    """Why the WebUI's cannot be had."""
    image_encoder: ImageEncoder | None = None
    """The host's, in place of ours."""

    @property
    def is_own(self) -> bool:
        """Whether the engine encodes and decodes itself."""
        return self.host is None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that must be installed."""
        own = (*PARTS, *((IMAGE_VAE,) if self.decoder == "image" else ())) if self.is_own else OTHERS
        lent = () if self.image_encoder is None else (IMAGE_ENCODER,)
        return tuple(part for part in own if part not in lent)

    @property
    def temporal(self) -> bool:
        """Whether the decoder sees several frames together."""
        return self.decoder == "temporal"


def choose(
    wanted: str, devices: DeviceManager | None, search: Search | None = None, own_fits: bool = True
) -> VaeChoice:
    """Choose by the setting `decoder` and by what is there; an image encoder that the host lends is taken.

    Args:
        wanted: auto, temporal, image or host.
        devices: the WebUI, where there is one.
        search: where the weights are looked for.
        own_fits: whether more than one frame at a time is expected to fit when the temporal decoder works;
            one by one it flickers no less than the WebUI's.

    Raises:
        MissingPart: the WebUI's is wanted and cannot be had.
        BadWeights: the host was given a VAE or an image encoder that does not fit.
    """
    if search is not None and search.bundle is not None:
        if wanted not in ("auto", "temporal"):
            raise MissingPart(
                f"decoder={wanted} does not know the latents of {search.bundle}.", "Use decoder=auto."
            )
        return VaeChoice("temporal")
    chosen = _choose_vae(wanted, devices, search, own_fits)
    return replace(chosen, image_encoder=devices.image_encoder()) if devices else chosen


def _choose_vae(
    wanted: str, devices: DeviceManager | None, search: Search | None, own_fits: bool
) -> VaeChoice:
    if wanted in ("temporal", "image"):
        return VaeChoice(wanted)
    host = devices.vae() if devices else HostVae(None, "")
    if wanted == "host":
        return _host_choice(host, "as chosen")
    if host.vae is None:
        note = f"{host.reason} {_own('the only one there is')}" if devices else ""
        return VaeChoice("temporal", note=note, no_host=host.reason)
    if not _installed(search):
        return _host_choice(host, "since Stable Video Diffusion's own is not installed")
    if not own_fits:
        return _host_choice(host, "since memory is short")
    return VaeChoice("temporal", fallback=host.vae, note=_own("which is installed and flickers least"))


def _own(why: str) -> str:
    return f"VAE: Stable Video Diffusion's own, {why}."


def _host_choice(host: HostVae, why: str) -> VaeChoice:
    if host.vae is None:
        raise MissingPart(
            f"decoder=host borrows a VAE of WebUI or ComfyUI. {host.reason or 'There is none here.'}",
            host.hint,
        )
    note = f"VAE: {host.vae.title} encodes and decodes, {why}; frames are decoded one by one and may flicker."
    return VaeChoice("host", host.vae, note=note)


def _installed(search: Search | None) -> bool:
    return not weights.survey(search, [VAE]).missing()
