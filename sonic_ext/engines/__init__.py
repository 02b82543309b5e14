"""The engines: each turns a scene and speech into frames."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from .. import weights
from ..errors import MissingPart
from ..ports import Engine, Place

LIBRARIES = ("torch", "diffusers", "transformers", "huggingface_hub", "psutil", "filelock")
"""What the sonic engine cannot do without."""
INSTALL = 'python -m pip install ".[sonic]" in the extension\'s folder'

LARGE = 1_000_000_000
"""Bytes of a UNet that a processor would need days for."""
HOPELESS = (
    "The sonic engine's weights are here, but no graphics card is: a few seconds of video would take a day. "
    "engine=sonic does it all the same."
)


def choose(name: str, home: Path | None = None, place: Place | None = None) -> Engine:
    """The engine that a setting names.

    Args:
        name: `auto`, `preview` or `sonic`; auto takes sonic when its weights are there.
        home: the private home, where unfinished videos are kept.
        place: the WebUI's VAE and memory, where there is a WebUI.

    Raises:
        MissingPart: libraries or weights of the engine; the hint brings them.
    """
    from .preview.engine import PreviewEngine

    if name == "preview":
        return PreviewEngine()
    found = weights.survey(parts=weights.REQUIRED)
    if name == "auto" and not found.ready:
        return PreviewEngine()
    missing = missing_libraries()
    if name == "auto" and missing:
        return PreviewEngine(notes=(f"The sonic engine's weights are here, but not {_listed(missing)}.",))
    if name == "auto" and _hopeless(found):
        return PreviewEngine(notes=(HOPELESS,))
    return _sonic(found, missing, home)


def missing_libraries() -> tuple[str, ...]:
    """Libraries of the sonic engine that are not installed."""
    return tuple(name for name in LIBRARIES if find_spec(name) is None)


def _hopeless(found: weights.Survey) -> bool:
    """Whether a network of the published size would have to run on a processor."""
    from .sonic.device import best_device

    if best_device() != "cpu":
        return False
    path = found[weights.UNET.name].path
    return path is not None and path.stat().st_size > LARGE


def _sonic(found: weights.Survey, missing: tuple[str, ...], home: Path | None) -> Engine:
    libraries = f"The sonic engine needs {_listed(missing)}." if missing else ""
    try:
        found.require()
    except MissingPart as error:
        if not missing:
            raise
        message = f"{error.message} {libraries}"
        raise MissingPart(message, f"{error.hint} (after {INSTALL})") from error
    if missing:
        raise MissingPart(libraries, f"Install it with: {INSTALL}")
    from .sonic.engine import SonicEngine

    return SonicEngine(home=home)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
