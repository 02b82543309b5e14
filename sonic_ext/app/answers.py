"""What the API answers with: jobs, exports and forecasts as plain JSON values, see `schemas`."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..jobs import Batch, Job, State
from ..messages import said
from ..weights import VAE
from .routing import failure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..pipeline import Preflight
    from ..ports import DeviceManager
    from ..provenance.verify import Verification
    from ..weights import Survey


_TAKE = ("id", "engine", "seed", "width", "height", "fps", "frames", "seconds", "sync_offset", "persons")


def animation(job: Job, position: int, base: str) -> dict[str, Any]:
    """`SonicAnimation`.

    Args:
        job: of the queue.
        position: there.
        base: where the API is, as seen from outside.
    """
    address = f"{base}/animations/{job.id}"
    return {
        "id": job.id,
        "origin": str(job.origin),
        "position": position,
        "created": job.created.isoformat(),
        **_progress(job),
        **_outcome(job, address),
        "export": export(job, address),
    }


def _progress(job: Job) -> dict[str, Any]:
    step = job.step
    return {
        "state": str(job.state),
        "held": job.held,
        "progress": round(job.progress, 4),
        "stage": step.text,
        "stage_done": step.done,
        "stage_total": step.total,
        "seconds_left": None if job.state.ended else step.seconds_left,
        "began": job.began.isoformat() if job.began else None,
        "ended": job.ended.isoformat() if job.ended else None,
    }


def _outcome(job: Job, address: str) -> dict[str, Any]:
    take, error = job.take, job.error
    return {
        "warnings": list(map(said, take.warnings)) if take else [],
        "portrait_sha256": take.portrait_sha256 if take else None,
        "portrait_synthetic": job.synthetic,
        "infotext": job.infotext,
        "take": {name: getattr(take, name) for name in _TAKE} if take else None,
        "preview": f"{address}/preview" if take else None,
        "poster": f"{address}/poster" if take else None,
        "error": failure(error) if error else None,
    }


def export(job: Job, address: str) -> dict[str, Any] | None:
    """`SonicExport`; None before there is one."""
    exported = job.exported
    if exported is None:
        return None
    return {
        "video": f"{address}/video",
        "name": exported.path.name,
        "sha256": exported.sha256,
        "record": exported.record,
        "warnings": list(map(said, exported.warnings)),
    }


def batch(found: Batch) -> dict[str, Any]:
    """`SonicBatch`, without its videos."""
    return {
        "id": found.id,
        "created": found.created.isoformat(),
        "total": found.total,
        "counts": {str(state): found.counts.get(state, 0) for state in State},
        "ended": found.ended,
        "progress": round(found.done / max(found.total, 1), 4),
        "seconds_left": found.seconds_left(),
    }


def preflight(found: Preflight) -> dict[str, Any]:
    """`SonicPreflight`."""
    loudness = found.loudness if math.isfinite(found.loudness) else None
    values = found.to_dict() | {"loudness": loudness, "picture": _data_url(found.picture)}
    return spoken(values, "warnings")


def verification(found: Verification) -> dict[str, Any]:
    """`SonicVerification`."""
    values = {name: value for name, value in found.to_dict().items() if name != "path"}
    labels = values["labels"]
    if labels["aigc"]:
        labels = labels | {"aigc": spoken(labels["aigc"], "problems")}
    parts = {
        "watermark": spoken(values["watermark"], "note"),
        "labels": labels,
        "record": spoken(values["record"], "problem"),
    }
    return spoken(values | parts, "summary", "hint", "contradictions", "notes")


def weights(found: Survey, devices: DeviceManager | None) -> dict[str, Any]:
    """`SonicWeights`.

    Args:
        devices: the WebUI, where there is one: its VAE may take the place of one that lacks.
    """
    values = found.to_dict()
    parts = [
        spoken(part, "title", "need", "place", "detail") | {"licence": spoken(part["licence"], "sentence")}
        for part in values["parts"]
    ]
    told = [spoken(obstacle, "detail", "hint") for obstacle in values["obstacles"]]
    return values | {"lent": _lent(found, devices), "parts": parts, "obstacles": told}


def _lent(found: Survey, devices: DeviceManager | None) -> str:
    if devices is None or [each.part for each in found.missing()] != [VAE]:
        return ""
    vae = devices.vae().vae
    return vae.title if vae else ""


def spoken(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The same, with these sentences, and lists of sentences, in the language that is spoken here."""
    told = {
        name: said(value) if isinstance(value, str) else list(map(said, value))
        for name, value in values.items()
        if name in names
    }
    return {**values, **told}


def _data_url(rgb: NDArray[np.uint8]) -> str:
    from ..media.image import thumbnail

    encoded = io.BytesIO()
    thumbnail(rgb).save(encoded, "PNG")
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
