"""The form is the settings: every field has its control, with the same range."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.app import form
from sonic_ext.errors import BadSetting
from sonic_ext.settings import Settings, describe

CONTROLS = form.controls()


def test_every_field_has_exactly_one_control() -> None:
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert sorted(control.name for control in CONTROLS) == sorted(fields)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_control_has_the_fields_range_choices_and_words(control: form.Control) -> None:
    spec = describe()[control.name]
    assert (control.low, control.high, control.choices) == (spec.low, spec.high, spec.choices)
    assert (control.label, control.help, control.group) == (spec.label, spec.help, spec.group)


def settings_of(values: dict[str, Any]) -> Settings:
    """What controls that show these mean; the others are left alone."""
    by_name = {control.name: control for control in CONTROLS}
    return Settings.from_mapping({name: form.given(by_name[name], value) for name, value in values.items()})


def test_controls_stand_by_sections() -> None:
    groups = [control.group for control in CONTROLS]
    assert list(dict.fromkeys(groups)) == [group for group in form.SECTIONS if group in groups]


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.kind == "slider"], ids=lambda c: c.name)
def test_a_schema_tells_the_sliders_step(control: form.Control) -> None:
    pytest.importorskip("pydantic", reason="the page needs fastapi: install the extra `standalone`")
    from sonic_ext.app.schemas import setting_schemas

    told = setting_schemas()[control.name]
    assert (told["minimum"], told["maximum"], told["x-step"]) == (control.low, control.high, control.step)


def test_untouched_form_means_the_defaults() -> None:
    assert settings_of({control.name: control.value for control in CONTROLS}) == Settings()


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.kind == "slider"], ids=lambda c: c.name)
def test_both_ends_of_a_slider_are_legal(control: form.Control) -> None:
    for end in (control.low, control.high):
        settings = settings_of({control.name: end})
        assert getattr(settings, control.name) == end


@pytest.mark.parametrize("control", [c for c in CONTROLS if c.choices], ids=lambda c: c.name)
def test_every_choice_is_legal(control: form.Control) -> None:
    for choice in control.choices:
        values = {control.name: choice, "label_off_reason": "a test"}
        assert getattr(settings_of(values), control.name) == choice


def test_emptied_number_falls_back_to_its_default() -> None:
    assert settings_of({"seed": None}).seed == -1


def test_zero_is_a_seed() -> None:
    assert settings_of({"seed": 0}).seed == 0


def test_points_are_read_as_text() -> None:
    settings = settings_of({"face_box": "10, 20, 110.5, 140", "duration": " 2.5 "})
    assert settings.face_box == (10, 20, 110.5, 140)
    assert settings.duration == 2.5


@pytest.mark.parametrize("value", ["10, 20", "a, b, c, d", "nan, 1, 2, 3"])
def test_points_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(BadSetting):
        settings_of({"face_box": value})


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
    settings = settings_of(chosen)
    shown = form.shown(settings)
    assert {name: shown[name] for name in chosen} == {
        name: form.shown(settings)[name] if value == "" else value for name, value in chosen.items()
    }
