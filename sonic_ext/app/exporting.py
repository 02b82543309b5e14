"""Export into the host's folder, under a name of its own."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..hosts import Host
    from ..provenance.consent import Consent
    from ..provenance.gate import Exported
    from ..provenance.store import Take


def export_from(host: Host, take: Take, consent: Consent) -> Exported:
    """Pass the gate; see `provenance.gate.export` for what is raised."""
    from .. import pipeline

    name = f"sonic-{datetime.now():%Y%m%d-%H%M%S}-{take.id[:6]}.mp4"
    return pipeline.export(take, host.outputs() / name, consent)
