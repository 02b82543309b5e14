"""Previews on the page: a copy in gradio's own cache, which goes away with the take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import compat

if TYPE_CHECKING:
    from ..provenance.take import Take


def preview_of(component: Any, take: Take) -> str:
    """Path of a copy that the page may fetch; deleting the take deletes it, in whatever process."""
    from ..provenance.store import Store

    copy = compat.served_copy(component, take.preview)
    Store().record_copy(take.id, Path(copy))
    return copy
