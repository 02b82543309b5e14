"""Controls as plain data, made from the settings' fields: for the accordion and the command line's help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..fields import Spec
from ..settings import Settings, describe, headings

Kind = Literal["radio", "dropdown", "checkbox", "slider", "number", "text"]

SECTIONS = headings()
"""Group of a setting → heading of its section, in the order of the form."""

MAX_RADIO = 4
"""Choices up to this many stand side by side; more go into a dropdown."""

MAX_SLIDER_STEPS = 2000
"""A slider with more positions than this cannot be aimed; a number field is used."""


@dataclass(frozen=True)
class Control:
    """One setting's control."""

    name: str
    """Name of the setting."""
    kind: Kind
    """What the user handles."""
    group: str
    """Key of `SECTIONS`."""
    label: str
    """Short name."""
    help: str
    """One sentence; names the unit."""
    value: Any
    """What it shows at first: the default, tuples and None as text."""
    choices: tuple[Any, ...] = ()
    """Legal values of a radio or dropdown."""
    low: float | None = None
    """Smallest legal value."""
    high: float | None = None
    """Largest legal value."""
    step: float | None = None
    """Distance between the values of a slider."""
    whole: bool = False
    """Numbers are whole numbers."""


def controls() -> tuple[Control, ...]:
    """One control for each setting, in the order of the sections and of the fields in them."""
    made = [_control(name, spec) for name, spec in describe().items()]
    order = list(SECTIONS)
    return tuple(sorted(made, key=lambda control: order.index(control.group)))


def given(control: Control, value: Any) -> Any:
    """What a control handed over, as the settings expect it: an emptied control means its default."""
    if value is None or (value == "" and control.kind == "number"):
        return describe()[control.name].default
    if control.whole and isinstance(value, str) and control.kind in ("radio", "dropdown"):
        return int(value)
    return value


def shown(settings: Settings) -> dict[str, Any]:
    """Setting → what its control shows for it."""
    return {name: _shown(getattr(settings, name)) for name in describe()}


def range_text(spec: Spec) -> str:
    """`0.5 to 2`, `whole, crop`, … for help texts; empty where everything goes."""
    if spec.choices:
        return ", ".join(map(str, spec.choices))
    if spec.low is None or spec.high is None:
        return f"{spec.length} numbers" if spec.length else ""
    return f"{spec.low:g} to {spec.high:.10g}"


def _control(name: str, spec: Spec) -> Control:
    whole = spec.kind is int
    step = step_of(spec)
    return Control(
        name,
        _kind(spec, step),
        spec.group,
        spec.label,
        spec.help,
        _shown(spec.default),
        choices=spec.choices,
        low=spec.low,
        high=spec.high,
        step=step,
        whole=whole,
    )


def _kind(spec: Spec, step: float | None) -> Kind:
    if spec.choices:
        return "radio" if len(spec.choices) <= MAX_RADIO else "dropdown"
    if spec.kind is bool:
        return "checkbox"
    if spec.low is None or spec.high is None or step is None:
        return "text"
    many = (spec.high - spec.low) / step > MAX_SLIDER_STEPS
    if many:
        return "text" if spec.default is None else "number"
    return "slider"


def step_of(spec: Spec) -> float | None:
    """Distance between a slider's values: its own, else 1 for whole numbers and a hundredth (a tenth
    over wide ranges); None without a range."""
    if spec.low is None or spec.high is None:
        return None
    if spec.step:
        return spec.step
    if spec.kind is int:
        return 1
    return 0.01 if spec.high - spec.low <= 5 else 0.1


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"{part:g}" for part in value)
    return value
