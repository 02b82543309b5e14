"""What a video will be, as labels and texts: the page and the command line show the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text import bytes_text, duration_text

if TYPE_CHECKING:
    from ..pipeline import Preflight

Facts = tuple[tuple[str, str], ...]
"""Label and text."""


def preflight_facts(found: Preflight) -> Facts:
    """Length, size and cost."""
    card = found.device_memory_needed
    return (
        ("Length", duration_text(found.seconds)),
        ("Frames", f"{found.frames} at {found.fps}/s"),
        ("Size", f"{found.width} × {found.height}"),
        ("Engine", found.engine),
        ("Takes about", duration_text(found.seconds_needed)),
        ("Memory", bytes_text(found.memory_needed)),
        *((("Graphics memory", bytes_text(card)),) if card else ()),
    )


def input_facts(found: Preflight) -> Facts:
    """What was found in portrait and speech; on the page the picture shows it."""
    box = ", ".join(map(str, found.face_box))
    other = ", ".join(map(str, found.face_box_2 or ()))
    turned = f"turned {abs(found.yaw):.0f}°"
    return (
        (
            "Face box",
            f"{box} (left, top, right, bottom), confidence {found.face_confidence:.2f}, {turned}",
        ),
        *((("Second face box", other),) if other else ()),
        ("Loudness", f"{found.loudness:.1f} LUFS"),
    )
