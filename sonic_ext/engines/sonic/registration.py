"""How the sonic engine is chosen: weights, libraries, a VAE and a device that it makes sense on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from ... import weights
from ...errors import MissingPart
from ...ports import Engine, WindowTaker
from ...progress import Tick
from ...settings import Settings
from ...weights import Search, bundles
from ...weights.overlays import find_overlay
from ..context import EngineContext, Readiness
from . import libraries, vaes
from .settings import MINIATURE, DiffusionSettings
from .vaes import PARTS, VaeChoice

LIBRARIES = ("torch", "diffusers", "transformers", "huggingface_hub", "psutil", "filelock")
"""What the engine cannot do without; with the WebUI's VAE it can do without diffusers."""
INSTALL = 'python -m pip install ".[sonic]" in the extension\'s folder'
REPAIR = (
    "In a WebUI that came without diffusers, remove it (python -m pip uninstall diffusers) and restart: "
    f"one that fits is installed then. Elsewhere: {INSTALL}"
)
UNDOCUMENTED = (
    "Start Python without -OO and with PYTHONOPTIMIZE below 2: transformers reads its own docstrings."
)

LARGE = 1_000_000_000
"""Bytes of a UNet that a processor would need days for."""
HOPELESS = (
    "The sonic engine's weights are here, but no graphics card is: a few seconds of video would take a day."
)


def probe(context: EngineContext) -> Readiness:
    """See `EngineSpec.probe`: weights and libraries are looked for, not loaded."""
    try:
        vae = _vae(context)
    except MissingPart as error:
        return Readiness(error)
    needed = LIBRARIES if vae.is_own else tuple(name for name in LIBRARIES if name != "diffusers")
    lacking = _listed([name for name in needed if find_spec(name) is None])
    needs = f"The sonic engine needs {lacking}." if lacking else ""
    found = weights.survey(_search(context), vae.parts)
    try:
        found.require()
    except MissingPart as error:
        borrowed = vae.no_host if any(each.part is weights.VAE for each in found.missing()) else ""
        message = " ".join(filter(None, (error.message, borrowed, needs)))
        return Readiness(MissingPart(message, f"{error.hint} (after {INSTALL})" if lacking else error.hint))
    if lacking:
        note = f"The sonic engine's weights are here, but not {lacking}."
        return Readiness(MissingPart(needs, f"Install it with: {INSTALL}"), note)
    return Readiness()


def make(context: EngineContext) -> Engine:
    """See `EngineSpec.make`.

    Raises:
        MissingPart: libraries that do not load, or a card that torch has no code for; with engine=auto also a
            device that would take days.
    """
    if context.automatic and _hopeless(context):
        raise MissingPart(HOPELESS, "Use engine=sonic to have it drawn here all the same.")
    if broken := libraries.broken(_vae(context).is_own):
        raise MissingPart(broken, UNDOCUMENTED if sys.flags.optimize > 1 else REPAIR)
    from ..runtime.devices import unusable

    if card := unusable(_device(context)):
        raise MissingPart(card.message, card.hint)
    from .engine import DiffusionEngine

    return DiffusionEngine(
        _search(context),
        home=context.home,
        devices=context.devices,
        notes=context.notes,
        window_pool=context.window_pool,
    )


def window_worker(recipe: bytes, settings: Settings, search: Search, tick: Tick) -> WindowTaker:
    """See `EngineSpec.window_worker`."""
    from .window_worker import WindowWorker

    return WindowWorker(recipe, settings, chosen_weights(settings, search), tick)


def window_numbers(settings: Settings, threads: int) -> str:
    """See `EngineSpec.window_numbers`."""
    from .window_worker import numbers

    return numbers(settings, threads)


def identities(
    settings: Settings, search: Search, identify: Callable[[Path], str] = weights.identity
) -> Mapping[str, str]:
    """See `EngineSpec.identities`."""
    where = chosen_weights(settings, search)
    found = weights.survey(where, PARTS)
    known = {part.name: identify(path) for part in PARTS if (path := found[part.name].path)}
    adapters = DiffusionSettings.of(settings).adapters
    return {**known, "adapters": find_overlay(where, adapters).about.tensors} if adapters else known


def chosen_weights(settings: Settings, search: Search | None = None) -> Search:
    """Where the weights lie that the settings name."""
    search = search or Search.default()
    return search.of_set(bundles.MINIATURE) if DiffusionSettings.of(settings).weights == MINIATURE else search


def _search(context: EngineContext) -> Search:
    return chosen_weights(context.settings, context.search)


def _vae(context: EngineContext) -> VaeChoice:
    """The VAE for a video. With engine=auto one that cannot be had is no error: its own may be installed."""
    try:
        return vaes.choose(DiffusionSettings.of(context.settings).decoder, context.devices, _search(context))
    except MissingPart:
        if not context.automatic:
            raise
        return VaeChoice("temporal")


def _hopeless(context: EngineContext) -> bool:
    """Whether a network of the published size would have to run on a processor."""
    if _device(context) != "cpu":
        return False
    path = weights.survey(_search(context), [weights.UNET])[weights.UNET.name].path
    return path is not None and path.stat().st_size > LARGE


def _device(context: EngineContext) -> str:
    """The device that the engine would draw on, as torch names it."""
    from ..runtime.devices import best_device

    return (context.devices.device() if context.devices else None) or best_device()


def _listed(names: list[str]) -> str:
    """ "torch, diffusers and psutil"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
