"""What nodes are made of: ComfyUI's schema, and settings as inputs, made from their specs like form, command
line and API.
"""

from __future__ import annotations

from typing import Any

from ...settings import describe
from ..modules import ComfyModule, comfyui

io = comfyui(ComfyModule.API).io
Node: Any = io.ComfyNode


def setting_input(name: str, **changes: Any) -> Any:
    """ComfyUI's input for a setting.

    Args:
        name: of the setting; also the input's.
        changes: what the node has otherwise, such as another default.
    """
    spec = describe()[name]
    common = {"display_name": spec.label, "tooltip": spec.help, "default": spec.default} | changes
    if spec.choices:
        return io.Combo.Input(name, options=list(spec.choices), **common)
    if spec.kind is bool:
        return io.Boolean.Input(name, **common)
    if spec.kind is str:
        return io.String.Input(name, **common)
    limits = {"min": spec.low, "max": spec.high, "step": spec.step or (1 if spec.kind is int else 0.01)}
    kind = io.Int if spec.kind is int else io.Float
    given = {key: spec.kind(value) for key, value in limits.items() if value is not None}
    return kind.Input(name, **(given | common))
