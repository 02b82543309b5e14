"""What the package needs to know of an engine before its code is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..fields import EngineSettings


@dataclass(frozen=True)
class EntryPoint:
    """A function that is named, not imported: the list of engines lies below what their code needs."""

    module: str
    function: str

    def __call__(self, *arguments: Any) -> Any:
        """Import the module and call its function."""
        return getattr(import_module(self.module), self.function)(*arguments)


@dataclass(frozen=True)
class EngineSpec:
    """An engine, as `engines.registry.ENGINES` lists it."""

    name: str
    """Value of the setting `engine`; written into marks and records."""
    probe: Callable[..., Any]
    """`probe(context: EngineContext) -> Readiness`, without loading torch: whether it could draw, else why
    not and what brings it."""
    make: Callable[..., Any]
    """`make(context: EngineContext) -> Engine`; raises `MissingPart` for what shows only then."""
    settings: type[EngineSettings] = EngineSettings
    """Class of its own settings; a name may occur in one engine only."""
    faces: int = 1
    """How many faces of one picture it animates, each with a voice of its own."""
    parts: tuple[str, ...] = ()
    """Names of the weights it needs, of `weights.PARTS`."""
    identities: Callable[..., Any] | None = None
    """`identities(settings: Settings, search: Search, identify: Callable[[Path], str] = weights.identity)
    -> Mapping[str, str]`: what tells every file that a video is made with from others; raises `MissingPart`.
    None for an engine without weights."""
    window_worker: Callable[..., Any] | None = None
    """`window_worker(recipe: bytes, settings: Settings, search: Search, tick: Tick) -> ports.WindowTaker`:
    computes windows of a video of another process; None where there are none."""
    window_numbers: Callable[..., Any] | None = None
    """`window_numbers(settings: Settings, threads: int) -> str`: see `ports.WindowPool.numbers`; from now on
    the engine has so many threads, with 0 as many as before."""
