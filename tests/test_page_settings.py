"""The settings of the page: one control for each, made from what the API says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from own_page import PORTRAIT, Page, Served, expect, fact, give, make, show, unfold


@pytest.fixture
def schema(served: Served) -> Any:
    return served.ask("GET", "/settings")


def test_every_setting_has_a_control(page: Page, schema: Any) -> None:
    """In the section of its group, with its title, help and default."""
    for name, each in schema["settings"]["properties"].items():
        section = page.locator("sonic-settings details").filter(has=page.locator(f"#set-{name}"))
        expect(section.locator("summary")).to_contain_text(schema["groups"][each["x-group"]])
        assert each["title"] in section.inner_text() or each["title"] in section.text_content()
        expect(page.locator(f"#help-{name}")).to_have_text(each["description"])
        assert shown(page, name, each) == each["default"], name


def shown(page: Page, name: str, schema: Any) -> Any:
    """The value that a control shows."""
    control = page.locator(f"#set-{name}")
    if schema.get("type") == "boolean":
        return control.is_checked()
    if control.evaluate("control => control.tagName") == "FIELDSET":
        at = control.locator("input").evaluate_all("radios => radios.findIndex(radio => radio.checked)")
        return schema["enum"][at]
    value = control.input_value()
    if schema.get("type") in ("number", "integer"):
        return json.loads(value)
    return value or schema["default"]


def test_presets_move_the_controls(page: Page, schema: Any) -> None:
    """All of a preset, and nothing of the one before."""
    size, steps = page.locator("#set-min_resolution"), page.locator("#set-inference_steps")
    properties = schema["settings"]["properties"]
    for preset, values in schema["presets"].items():
        page.locator(f"input[name=preset][value={preset}]").check()
        for name, control in (("min_resolution", size), ("inference_steps", steps)):
            expect(control).to_have_value(str(values.get(name, properties[name]["default"])))
    unfold(page, "Video")
    size.fill("333")
    expect(page.locator("sonic-settings")).to_contain_text("Changed by hand.")
    expect(page.locator("input[name=preset]:checked")).to_have_count(0)
    page.get_by_role("button", name="Back to defaults").click()
    expect(size).to_have_value(str(properties["min_resolution"]["default"]))
    expect(page.locator("input[name=preset]:checked")).to_have_value(next(iter(schema["presets"])))


def test_a_slider_and_its_number_move_together(page: Page) -> None:
    unfold(page, "Motion")
    field = page.locator("#set-motion_scale")
    slider = page.get_by_role("slider", name="Head motion")
    slider.fill("0.4")
    expect(field).to_have_value("0.4")
    field.fill("1.5")
    expect(slider).to_have_value("1.5")
    expect(page.locator("sonic-settings summary", has_text="Motion")).to_contain_text("1 changed")


def test_a_draft_outlives_a_look_at_other_views(page: Page, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    for view in ("History", "Verify", "Consents", "Weights"):
        expect(show(page, view)).to_be_visible()
    show(page, "Make")
    expect(page.locator("#set-min_resolution")).to_have_value("256")
    expect(fact(page, "Size")).to_have_text("256 × 256")
    expect(page.get_by_role("group", name="Face", exact=True)).to_be_visible()
    expect(page.locator("sonic-speech")).to_contain_text(speech.name)


def test_what_is_set_is_what_is_made(page: Page, served: Served, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    unfold(page, "Motion")
    page.locator("#set-seed").fill("77")
    page.locator("#set-motion_smoothing").uncheck()
    page.locator("#set-fps").get_by_label("50").check()
    expect(fact(page, "Frames")).to_have_text("50 at 50/s")
    name = make(page).get_attribute("id")
    take = served.animation(name, "done")["take"]
    settings = served.told_of(take["id"])["settings"]
    assert (take["seed"], take["fps"], settings["motion_smoothing"]) == (77, 50, False)
