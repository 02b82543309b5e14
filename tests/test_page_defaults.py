"""What a WebUI may keep as defaults of our controls: settings, and nothing that must be said each time."""

from __future__ import annotations

from typing import Any

import pytest
from webui_standin import ui_components, ui_config

gradio = pytest.importorskip("gradio", reason="a WebUI needs gradio: see requirements/gradio4.txt")

from sonic_ext.app import tab  # noqa: E402
from sonic_ext.app.compat import gr, keep_from_defaults  # noqa: E402
from sonic_ext.app.one_click import BY_MEANING, MAIN, Accordion  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries


@pytest.fixture(params=["a1111", "forge"])
def page(request: pytest.FixtureRequest) -> Any:
    """What stands in txt2img, in both kinds of WebUI."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        made = Accordion("script_txt2img_sonic", {}, ui_components(request.param == "forge").InputAccordion)
    blocks.accordion = made
    return blocks


def test_the_tab_keeps_nothing() -> None:
    assert ui_config(tab.build("token")) == {}


def test_the_accordion_keeps_settings_and_its_tick(page: Any) -> None:
    made = page.accordion
    settings = {part.label for name, part in made.main.items() if name in MAIN}
    assert {part.label for part in ui_config(page).values()} == settings | {"Sonic", "Pictures to animate"}
    assert not made.enabled.value


def test_no_consent_sound_or_button_is_kept(page: Any) -> None:
    kept = [part for part in page.blocks.values() if not getattr(part, "do_not_save_to_config", False)]
    for part in kept:
        assert type(part).__name__ not in ("Button", "Audio", "File"), part
        assert "state that this is true" not in str(getattr(part, "label", ""))
        choices = {str(choice) for choice in getattr(part, "choices", None) or ()}
        assert not choices & set(BY_MEANING), part.label


def test_what_is_not_named_is_kept_out() -> None:
    with gr.Blocks() as page, gr.Row(), gr.Column():
        one, two = gr.Checkbox(label="one"), gr.Checkbox(label="two")
        gr.Button("three")
    assert {part.label for part in ui_config(page).values() if hasattr(part, "label")} >= {"one", "two"}
    keep_from_defaults(page, [two])
    assert list(ui_config(page)) == ["/two"]
    assert one.do_not_save_to_config


def test_the_standins_rules_find_a_consent_that_is_not_kept_out() -> None:
    with gr.Blocks() as bare:
        gr.Checkbox(label="I state that this is true.")
        gr.Dropdown(list(BY_MEANING), label="The face is")
        gr.Image(label="picture")
    assert list(ui_config(bare)) == ["/I state that this is true.", "/The face is"]
