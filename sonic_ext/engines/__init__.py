"""The engines: each turns a scene and speech into frames."""

from __future__ import annotations

from ..errors import MissingPart
from ..ports import Engine


def choose(name: str) -> Engine:
    """The engine that a setting names.

    Args:
        name: `auto`, `preview` or `sonic`; auto takes the best that is installed.

    Raises:
        MissingPart: the engine is not installed.
    """
    if name == "sonic":
        raise MissingPart(
            "The sonic engine is not part of this version.",
            "Use --engine preview (engine=preview), which needs nothing more.",
        )
    from .preview.engine import PreviewEngine

    return PreviewEngine()
