"""Talking-head videos from one portrait and one voice, marked and consented before they leave.

    import sonic_ext

    take = sonic_ext.animate("portrait.jpg", "speech.wav", {"seed": 7})
    done = sonic_ext.export(take, "hello.mp4", sonic_ext.Consent(face="self", voice="self"))
    print(sonic_ext.verify(done.path).text())

Importing this package is cheap: everything below is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import SonicError as SonicError
    from .pipeline import Preflight as Preflight
    from .pipeline import animate as animate
    from .pipeline import export as export
    from .pipeline import preflight as preflight
    from .provenance.consent import Basis as Basis
    from .provenance.consent import Consent as Consent
    from .provenance.ledger import Ledger as Ledger
    from .provenance.take import Take as Take
    from .provenance.verify import Verification as Verification
    from .provenance.verify import verify as verify
    from .settings import PRESETS as PRESETS
    from .settings import Settings as Settings
    from .sync.measure import measure_sync as measure_sync
    from .sync.report import SyncReport as SyncReport

_HOMES = {
    "SonicError": "errors",
    "Preflight": "pipeline",
    "animate": "pipeline",
    "export": "pipeline",
    "preflight": "pipeline",
    "Basis": "provenance.consent",
    "Consent": "provenance.consent",
    "Ledger": "provenance.ledger",
    "Take": "provenance.take",
    "Verification": "provenance.verify",
    "verify": "provenance.verify",
    "PRESETS": "settings",
    "Settings": "settings",
    "measure_sync": "sync.measure",
    "SyncReport": "sync.report",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
