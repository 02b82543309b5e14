"""The form as plain data: which control each setting gets, made from the settings' own fields.

No gradio here, so that both page versions, the command line's help and the tests read the same list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..fields import Spec
from ..settings import PRESETS, Settings, describe, headings

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


def sections() -> dict[str, tuple[Control, ...]]:
    """Heading → its controls; sections without a setting are left out."""
    every = controls()
    grouped = {
        title: tuple(control for control in every if control.group == group)
        for group, title in SECTIONS.items()
    }
    return {title: members for title, members in grouped.items() if members}


def settings_from(values: Sequence[Any]) -> Settings:
    """Checked settings from the controls' values, in the order of `controls()`.

    Raises:
        BadSetting: a value does not fit.
    """
    named = {control.name: given(control, value) for control, value in zip(controls(), values, strict=True)}
    return Settings.from_mapping(named)


def given(control: Control, value: Any) -> Any:
    """What a control handed over, as the settings expect it: an emptied control means its default."""
    if value is None or (value == "" and control.kind == "number"):
        return describe()[control.name].default
    if control.whole and isinstance(value, str) and control.kind in ("radio", "dropdown"):
        return int(value)
    return value


def preset_names() -> tuple[str, ...]:
    """Names that `preset_values` knows."""
    return tuple(PRESETS)


def preset_values(preset: str) -> dict[str, Any]:
    """Setting → value for every setting that some preset changes, so that presets do not add up."""
    touched = {name for changes in PRESETS.values() for name in changes}
    every = shown(Settings.from_mapping(PRESETS[preset]))
    return {name: value for name, value in every.items() if name in touched}


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
    step = _step(spec, whole)
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


def _step(spec: Spec, whole: bool) -> float | None:
    """The setting's own step; else 1 for whole numbers and a hundredth (a tenth over wide ranges)."""
    if spec.low is None or spec.high is None:
        return None
    if spec.step:
        return spec.step
    if whole:
        return 1
    return 0.01 if spec.high - spec.low <= 5 else 0.1


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"{part:g}" for part in value)
    return value


def as_values(named: Mapping[str, Any]) -> list[Any]:
    """Named values in the order of `controls()`; what is not named keeps its default."""
    return [named.get(control.name, control.value) for control in controls()]
