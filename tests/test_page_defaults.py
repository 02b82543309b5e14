"""What a WebUI may keep as defaults of our controls: settings, and nothing that must be said each time."""

from __future__ import annotations

from typing import Any

import pytest
from webui_standin import ui_config

gradio = pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")

from webui_page import Painting  # noqa: E402

from sonic_ext.app import form, tab  # noqa: E402
from sonic_ext.app.compat import gr, keep_from_defaults  # noqa: E402
from sonic_ext.app.consent_form import MEANINGS  # noqa: E402
from sonic_ext.app.one_click import MAIN, Accordion  # noqa: E402
from sonic_ext.app.portrait_panel import NAMES  # noqa: E402
from sonic_ext.jobs import Worker  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries

LASTING = {control.label for control in form.controls() if control.group not in ("label", "placement")}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tab as in a WebUI, with its portrait panel."""
    return tab.build(Worker(Painting(tmp_path_factory.mktemp("out"))))


def test_the_tab_keeps_settings_only(page: Any) -> None:
    kept = ui_config(page)
    panel = {part.label for part in kept.values() if str(part.elem_id).startswith("sonic_portrait_")}
    assert len(panel) == len(NAMES)
    assert {part.label for part in kept.values()} == LASTING | {"Preset"} | panel


def test_the_accordion_keeps_settings_only() -> None:
    with gr.Blocks() as page:
        made = Accordion("script_txt2img_sonic", {})
    kept = ui_config(page)
    ours = {part.label for name, part in made.main.items() if name in MAIN}
    assert {part.label for part in kept.values()} == ours | {"Animate with Sonic", "Pictures to animate"}


def test_no_consent_relay_picture_or_button_is_kept(page: Any) -> None:
    with gr.Blocks() as other:
        Accordion("script_img2img_sonic", {})
    parts = [*page.blocks.values(), *other.blocks.values()]
    kept = [part for part in parts if not getattr(part, "do_not_save_to_config", False)]
    for part in kept:
        assert type(part).__name__ not in ("Button", "Image", "Audio", "File", "Video", "State", "Gallery"), (
            part
        )
        assert "state that this is true" not in str(getattr(part, "label", ""))
        choices = {str(choice) for choice in getattr(part, "choices", None) or ()}
        assert not choices & set(MEANINGS.values()), part.label
        assert getattr(part, "label", None) != "", "a relay"


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
        gr.Dropdown(list(MEANINGS.values()), label="The face is")
        gr.Image(label="picture")
    assert list(ui_config(bare)) == ["/I state that this is true.", "/The face is"]
