"""What the API answers with: jobs, exports and forecasts as plain JSON values, see `schemas`."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

from ..jobs import Job, Register, State, Status
from .door import error_values

if TYPE_CHECKING:
    import numpy as np

    from ..pipeline import Preflight

_TAKE = ("id", "engine", "seed", "width", "height", "fps", "frames", "seconds", "sync_offset")


def animation(job: Job, register: Register, base: str) -> dict[str, Any]:
    """`SonicAnimation`.

    Args:
        job: of the register.
        register: knows its position.
        base: where the API is, as seen from outside.
    """
    position, status = register.position(job), job.status
    address = f"{base}/animations/{job.id}"
    return {
        "id": job.id,
        "origin": job.origin,
        "position": position if status.state is State.QUEUED else 0,
        "created": job.created.isoformat(),
        **_progress(status),
        **_outcome(status, address),
        "export": export(status, address),
    }


def _progress(status: Status) -> dict[str, Any]:
    step = status.step
    return {
        "state": str(status.state),
        "progress": round(status.progress, 4),
        "stage": step.text,
        "stage_done": step.done,
        "stage_total": step.total,
        "seconds_left": None if status.state.ended else step.seconds_left,
        "began": status.began.isoformat() if status.began else None,
        "ended": status.ended.isoformat() if status.ended else None,
    }


def _outcome(status: Status, address: str) -> dict[str, Any]:
    take, error = status.take, status.error
    return {
        "warnings": list(take.warnings) if take else [],
        "portrait_sha256": take.portrait_sha256 if take else None,
        "portrait_synthetic": status.synthetic,
        "infotext": status.infotext,
        "take": {name: getattr(take, name) for name in _TAKE} if take else None,
        "preview": f"{address}/preview" if take else None,
        "error": error_values(error) if error else None,
    }


def export(status: Status, address: str) -> dict[str, Any] | None:
    """`SonicExport`; None before there is one."""
    exported = status.exported
    if exported is None:
        return None
    return {
        "video": f"{address}/video",
        "name": exported.path.name,
        "sha256": exported.sha256,
        "record": exported.record.id,
        "warnings": list(exported.warnings),
    }


def preflight(found: Preflight) -> dict[str, Any]:
    """`SonicPreflight`."""
    loudness = found.loudness if math.isfinite(found.loudness) else None
    return found.to_dict() | {"loudness": loudness, "picture": _data_url(found.picture)}


def _data_url(rgb: np.ndarray) -> str:
    from ..media.image import thumbnail

    encoded = io.BytesIO()
    thumbnail(rgb).save(encoded, "PNG")
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
