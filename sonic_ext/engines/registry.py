"""The engines, one line for each. Whatever offers engines or their settings reads this list.

Nothing of an engine but its settings is imported here: `settings` is composed from it.
"""

from __future__ import annotations

from ..errors import BadSetting
from . import preview, sonic
from .spec import EngineSpec

ENGINES: tuple[EngineSpec, ...] = (sonic.SPEC, preview.SPEC)
"""In the order in which `engine=auto` tries them."""
AUTO = "auto"
"""Value of the setting `engine` that takes the first one that is ready."""


def names() -> tuple[str, ...]:
    """Of all engines, in alphabetical order."""
    return tuple(sorted(spec.name for spec in ENGINES))


def spec_of(name: str) -> EngineSpec:
    """The engine of that name.

    Raises:
        BadSetting: there is none.
    """
    for spec in ENGINES:
        if spec.name == name:
            return spec
    raise BadSetting(f"There is no engine {name!r}.", f"Use one of {', '.join(names())}.")
