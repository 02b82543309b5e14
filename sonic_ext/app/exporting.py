"""Export into the host's folder, under a name of its own."""

from __future__ import annotations

from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..hosts import Host
    from ..jobs import Register
    from ..provenance.consent import Consent
    from ..provenance.gate import Exported
    from ..provenance.take import Take


def export_from(host: Host, take: Take, consent: Consent) -> Exported:
    """Pass the gate; see `provenance.gate.export` for what is raised."""
    from .. import pipeline

    stem = f"sonic-{datetime.now():%Y%m%d-%H%M%S}-{take.id[:6]}"
    output, configuration = _free(host.outputs(), stem), host.configuration()
    return pipeline.export(take, output, consent, configuration=configuration)


def export_told(register: Register, host: Host, take: Take, consent: Consent) -> Exported:
    """As `export_from`; the job that made the video is told, so that the API hands the file out, too."""
    job = register.of_take(take.id)
    if job is None or job.status.exported is not None:
        return export_from(host, take, consent)
    return job.export(lambda made: export_from(host, made, consent))


def _free(folder: Path, stem: str) -> Path:
    """A file that is not there yet: the same video may be let out twice in a second."""
    names = (f"{stem}{number}.mp4" for number in chain([""], (f"-{n}" for n in count(2))))
    return next(path for path in map(folder.joinpath, names) if not path.exists())
