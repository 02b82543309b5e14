"""The form is the settings: every field has its control, with the same range."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.app import form
from sonic_ext.errors import BadSetting
from sonic_ext.settings import PRESETS, Settings, describe

CONTROLS = form.controls()


def test_every_field_has_exactly_one_control() -> None:
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert sorted(control.name for control in CONTROLS) == sorted(fields)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_control_has_the_fields_range_choices_and_words(control: form.Control) -> None:
    spec = describe()[control.name]
    assert (control.low, control.high, control.choices) == (spec.low, spec.high, spec.choices)
    assert (control.label, control.help, control.group) == (spec.label, spec.help, spec.group)


def test_every_group_has_a_section_and_no_section_is_empty() -> None:
    assert {control.group for control in CONTROLS} <= set(form.SECTIONS)
    listed = [control for members in form.sections().values() for control in members]
    assert tuple(listed) == CONTROLS


def test_untouched_form_means_the_defaults() -> None:
    assert form.settings_from([control.value for control in CONTROLS]) == Settings()


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.kind == "slider"], ids=lambda c: c.name)
def test_both_ends_of_a_slider_are_legal(control: form.Control) -> None:
    for end in (control.low, control.high):
        settings = form.settings_from(form.as_values({control.name: end}))
        assert getattr(settings, control.name) == end


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.choices], ids=lambda c: c.name)
def test_every_choice_is_legal(control: form.Control) -> None:
    for choice in control.choices:
        values = form.as_values({control.name: choice, "label_off_reason": "a test"})
        assert getattr(form.settings_from(values), control.name) == choice


def test_emptied_number_falls_back_to_its_default() -> None:
    assert form.settings_from(form.as_values({"seed": None})).seed == -1


def test_zero_is_a_seed() -> None:
    assert form.settings_from(form.as_values({"seed": 0})).seed == 0


def test_points_are_read_as_text() -> None:
    settings = form.settings_from(form.as_values({"face_box": "10, 20, 110.5, 140", "duration": " 2.5 "}))
    assert settings.face_box == (10, 20, 110.5, 140)
    assert settings.duration == 2.5


@pytest.mark.parametrize("value", ["10, 20", "a, b, c, d", "nan, 1, 2, 3"])
def test_points_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(BadSetting):
        form.settings_from(form.as_values({"face_box": value}))


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_do_not_add_up(preset: str) -> None:
    for former in PRESETS:
        values = form.preset_values(former) | form.preset_values(preset)
        assert form.settings_from(form.as_values(values)) == Settings.from_mapping(PRESETS[preset])


def _legal(control: form.Control) -> st.SearchStrategy[Any]:
    if control.choices:
        return st.sampled_from(control.choices)
    if control.kind == "checkbox":
        return st.booleans()
    if control.low is None or control.high is None:
        return st.just(control.value)
    if control.whole:
        step = int(control.step or 1)
        steps = st.integers(int(control.low) // step, int(control.high) // step)
        return steps.map(lambda count: count * step)
    return st.floats(control.low, control.high)


@given(st.fixed_dictionaries({control.name: _legal(control) for control in CONTROLS}))
def test_what_is_chosen_is_what_is_set(chosen: dict[str, Any]) -> None:
    chosen["label_off_reason"] = "a test"
    chosen["inference_steps"] = max(chosen["inference_steps"], 3)  # as many as every solver takes
    settings = form.settings_from(form.as_values(chosen))
    shown = form.shown(settings)
    assert {name: shown[name] for name in chosen} == {
        name: form.shown(settings)[name] if value == "" else value for name, value in chosen.items()
    }


@pytest.fixture
def compat() -> Any:
    pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")
    from sonic_ext.app import compat

    return compat


@pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_component_shows_the_control(control: form.Control, compat: Any) -> None:
    from sonic_ext.app.settings_form import component

    with compat.gr.Blocks(analytics_enabled=False):
        made = component(control)
    told: dict[str, Callable[[], Any]] = {
        "slider": lambda: (
            (made.minimum, made.maximum, made.step) == (control.low, control.high, control.step)
        ),
        "number": lambda: (made.minimum, made.maximum) == (control.low, control.high),
        "radio": lambda: _values(made.choices) == list(control.choices),
        "dropdown": lambda: _values(made.choices) == list(control.choices),
    }
    assert told.get(control.kind, lambda: True)()
    assert made.label == control.label
    assert made.value == control.value


def _values(choices: list[Any]) -> list[Any]:
    return [choice[1] if isinstance(choice, tuple) else choice for choice in choices]
