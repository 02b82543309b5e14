"""The engines: each turns a scene and speech into frames. Which there are stands in `registry`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadSetting, MissingPart

if TYPE_CHECKING:
    from ..ports import DeviceManager, Engine, WindowPool
    from ..settings import Settings
    from ..weights import Search


def choose(
    name: str,
    home: Path | None = None,
    devices: DeviceManager | None = None,
    settings: Settings | None = None,
    search: Search | None = None,
    too_slow: Mapping[str, str] | None = None,
    faces: int = 1,
    window_pool: WindowPool | None = None,
) -> Engine:
    """The engine that a setting names.

    Args:
        name: of an engine; auto takes the first of `registry.ENGINES` that is ready.
        home: the private home, where unfinished videos are kept.
        devices: the WebUI's memory and VAE, where there is a WebUI.
        settings: of the video: what an engine needs may depend on its own settings; the defaults where None.
        search: where weights are looked for; this computer's places by default.
        too_slow: engines that auto passes over, and a sentence on why.
        faces: how many are to be animated; auto passes over engines that animate fewer.
        window_pool: other processes that compute windows, for an engine that has any.

    Raises:
        MissingPart: libraries or weights of the engine; the hint brings them.
        BadSetting: there is no engine of that name, or it animates fewer faces.
    """
    from ..settings import Settings  # composed of the registry, which is in this package
    from .context import EngineContext
    from .registry import AUTO, ENGINES, spec_of

    context = EngineContext(
        settings or Settings(),
        home,
        devices,
        automatic=name == AUTO,
        search=search,
        window_pool=window_pool,
    )
    if name != AUTO:
        spec = spec_of(name)
        if spec.faces < faces:
            raise BadSetting(
                f"The {name} engine animates one face, and there are two voices.",
                "Use engine=preview or engine=auto, or make a video of each person alone.",
            )
        if missing := spec.probe(context).missing:
            raise missing
        return spec.make(context)
    for spec in ENGINES:
        if spec.faces < faces:
            continue
        readiness = spec.probe(context)
        missing, note = readiness.missing, readiness.note
        if why := (too_slow or {}).get(spec.name, ""):
            note = why
        elif missing is None:
            try:
                return spec.make(context)
            except MissingPart as error:
                missing, note = error, str(error)
        context = replace(context, notes=(*context.notes, *filter(None, [note])))
    raise missing or MissingPart("There is no engine.")
