"""The settings as gradio components, made from `form.controls()`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import compat, form
from .compat import gr
from .form import Control
from .latest import on_choice

CLICKS = {"face box": "face_box", "mouth corners": "mouth", "eye centres": "eyes"}
"""What clicks on the picture may set → the setting."""

_HINTS = {
    "face box": "Click the top left corner of the face in the checked picture, then the bottom right one.",
    "mouth corners": "Click one corner of the mouth in the checked picture, then the other.",
    "eye centres": "Click the middle of one eye in the checked picture, then the other.",
}


class SettingsForm:
    """Presets, then every setting in its section.

    Args:
        defaults: setting → what its control shows at first, where that is not the setting's own default.
    """

    def __init__(self, defaults: Mapping[str, Any] | None = None) -> None:
        self.preset = gr.Radio(
            list(form.preset_names()), value=form.preset_names()[0], label="Preset", elem_id="sonic_preset"
        )
        self._made: dict[str, Any] = {}
        for title, members in form.sections().items():
            with gr.Accordion(title, open=False):
                if title == form.SECTIONS["placement"]:
                    self._lay_out_clicking()
                for control in members:
                    control = replace(control, value=(defaults or {}).get(control.name, control.value))
                    self._made[control.name] = component(control)
        touched = [self._made[name] for name in form.preset_values(form.preset_names()[0])]
        self.preset_applied = on_choice(self.preset.change, self._apply, [self.preset], touched)
        self.clicking.change(self._told, self.clicking, [self.points, self.hint], **compat.prompt())

    def _lay_out_clicking(self) -> None:
        self.points = gr.State([])
        self.clicking = gr.Radio(
            ["nothing", *CLICKS], value="nothing", label="Clicks on the checked picture set"
        )
        self.hint = gr.Markdown("For drawings and the like, where no face is found.")

    @property
    def components(self) -> list[Any]:
        """The controls in the order of `form.controls()`."""
        return [self._made[control.name] for control in form.controls()]

    @property
    def saved(self) -> list[Any]:
        """The controls whose value a WebUI may take as their default: no label left out with its reason, and
        nothing that belongs to one portrait."""
        lasting = [control.name for control in form.controls() if control.group not in ("label", "placement")]
        return [self.preset, *(self._made[name] for name in lasting)]

    @property
    def placed(self) -> list[Any]:
        """The controls that clicks on the picture fill."""
        return [self._made[name] for name in CLICKS.values()]

    @property
    def settled(self) -> list[Any]:
        """Events that say a value was chosen, rather than one for every position of a slider."""
        events = {"slider": ["release"], "text": ["submit", "blur"], "number": ["submit"]}
        return [
            getattr(self._made[control.name], event)
            for control in form.controls()
            for event in events.get(control.kind, ["input"])
        ]

    def clicked(self, what: str, points: list[float], point: list[int]) -> dict[Any, Any]:
        """Updates after a click: the second one fills the setting."""
        if what not in CLICKS:
            return {self.points: []}
        points = [*points, *point]
        if len(points) < 4:
            return {self.points: points, self.hint: "Now the second point."}
        if what == "face box":
            xs, ys = sorted(points[0::2]), sorted(points[1::2])
            points = [xs[0], ys[0], xs[1], ys[1]]
        text = ", ".join(f"{part:g}" for part in points)
        return {self.points: [], self.hint: f"Set: {text}", self._made[CLICKS[what]]: text}

    def _told(self, what: str) -> tuple[list[float], str]:
        return [], _HINTS.get(what, "")

    def _apply(self, preset: str) -> dict[Any, Any]:
        return {self._made[name]: value for name, value in form.preset_values(preset).items()}


def component(control: Control, prefix: str = "sonic") -> Any:
    """The gradio component of one control; `prefix` begins its element's id."""
    common = {"label": control.label, "info": control.help, "elem_id": f"{prefix}_{control.name}"}
    if control.kind in ("radio", "dropdown"):
        kind = gr.Radio if control.kind == "radio" else gr.Dropdown
        return kind([*control.choices], value=control.value, **common)
    if control.kind == "checkbox":
        return gr.Checkbox(value=control.value, **common)
    if control.kind == "slider":
        return gr.Slider(control.low, control.high, value=control.value, step=control.step, **common)
    if control.kind == "number":
        limits = {"minimum": control.low, "maximum": control.high, "precision": 0 if control.whole else None}
        return gr.Number(value=control.value, **limits, **common)
    return gr.Textbox(value=control.value, max_lines=1, placeholder=_placeholder(control), **common)


def _placeholder(control: Control) -> str:
    if control.low is None or control.high is None:
        return ""
    return f"{control.low:g} to {control.high:g}"
