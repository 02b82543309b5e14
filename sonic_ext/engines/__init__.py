"""The engines: each turns a scene and speech into frames."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .. import weights
from ..errors import MissingPart
from ..ports import Engine, Place
from .sonic import libraries

if TYPE_CHECKING:
    from .sonic.vaes import Chosen

LIBRARIES = ("torch", "diffusers", "transformers", "huggingface_hub", "psutil", "filelock")
"""What the sonic engine cannot do without; with the WebUI's VAE it can do without diffusers."""
INSTALL = 'python -m pip install ".[sonic]" in the extension\'s folder'
REPAIR = (
    "In a WebUI that came without diffusers, remove it (python -m pip uninstall diffusers) and restart: "
    f"one that fits is installed then. Elsewhere: {INSTALL}"
)

LARGE = 1_000_000_000
"""Bytes of a UNet that a processor would need days for."""
HOPELESS = (
    "The sonic engine's weights are here, but no graphics card is: a few seconds of video would take a day. "
    "engine=sonic does it all the same."
)


def choose(
    name: str,
    home: Path | None = None,
    place: Place | None = None,
    decoder: str = "auto",
    search: weights.Search | None = None,
) -> Engine:
    """The engine that a setting names.

    Args:
        name: `auto`, `preview` or `sonic`; auto takes sonic when its weights are there.
        home: the private home, where unfinished videos are kept.
        place: the WebUI's VAE and memory, where there is a WebUI.
        decoder: the setting; it decides whether the engine needs a VAE of its own.
        search: where weights are looked for; this computer's places by default.

    Raises:
        MissingPart: libraries or weights of the engine; the hint brings them.
    """
    from .preview.engine import PreviewEngine

    if name == "preview":
        return PreviewEngine()
    vae = _vae(name, decoder, place)
    found = weights.survey(search, vae.parts)
    if name == "auto" and not found.ready:
        return PreviewEngine()
    missing = missing_libraries(vae.own)
    if name == "auto" and (why_not := _why_not_sonic(found, missing, place, vae.own)):
        return PreviewEngine(notes=(why_not,))
    return _sonic(found, missing, home, place, vae)


def _vae(name: str, decoder: str, place: Place | None) -> Chosen:
    """With engine=auto a VAE that cannot be had is no error: then the preview engine draws."""
    from .sonic import vaes

    try:
        return vaes.choose(decoder, place)
    except MissingPart:
        if name != "auto":
            raise
        return vaes.choose("temporal", None)


def missing_libraries(own_vae: bool = True) -> tuple[str, ...]:
    """Libraries of the sonic engine that are not installed; `own_vae`: it encodes and decodes itself."""
    needed = (name for name in LIBRARIES if own_vae or name != "diffusers")
    return tuple(name for name in needed if find_spec(name) is None)


def _why_not_sonic(
    found: weights.Survey, missing: tuple[str, ...], place: Place | None, own_vae: bool
) -> str:
    """Why auto leaves weights that are here alone; nothing where it takes them."""
    if missing:
        return f"The sonic engine's weights are here, but not {_listed(missing)}."
    return HOPELESS if _hopeless(found, place) else libraries.broken(own_vae)


def _hopeless(found: weights.Survey, place: Place | None) -> bool:
    """Whether a network of the published size would have to run on a processor."""
    from .sonic.device import best_device

    if ((place.device() if place else None) or best_device()) != "cpu":
        return False
    path = found[weights.UNET.name].path
    return path is not None and path.stat().st_size > LARGE


def _sonic(
    found: weights.Survey, missing: tuple[str, ...], home: Path | None, place: Place | None, vae: Chosen
) -> Engine:
    needed = f"The sonic engine needs {_listed(missing)}." if missing else ""
    try:
        found.require()
    except MissingPart as error:
        borrowed = vae.why_not if any(each.part is weights.VAE for each in found.lacking()) else ""
        message = " ".join(filter(None, (error.message, borrowed, needed)))
        raise MissingPart(message, f"{error.hint} (after {INSTALL})" if missing else error.hint) from error
    if missing:
        raise MissingPart(needed, f"Install it with: {INSTALL}")
    if broken := libraries.broken(vae.own):
        raise MissingPart(broken, REPAIR)
    from .sonic.engine import SonicEngine

    return SonicEngine(found.search, home=home, place=place)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
