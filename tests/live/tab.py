"""The page of a WebUI with the tab Sonic, as a user handles it; what is in the tab, `own_page` handles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from own_page import expect
from patience import MILLISECONDS

IMG2IMG = "#img2img_image img"
"""What img2img begins with: gradio's picture in A1111, the canvas's in Forge."""


def log_in(page: Any, login: str) -> None:
    """Fill in gradio's form, now and whenever it comes back, as it does after *Reload UI*."""
    name, _, word = login.partition(":")
    button = page.get_by_role("button", name="Login")

    def fill() -> None:
        for label, value in (("username", name), ("password", word)):
            page.get_by_label(label).fill(value)
        with page.expect_navigation():
            button.click()

    page.add_locator_handler(button, fill, no_wait_after=True)


def open_tab(page: Any) -> None:
    """By the tab's own button, whatever language it is in."""
    expect(page.locator("#tab_sonic")).to_be_attached()
    page.locator("#tabs > .tab-nav button", has_text="Sonic").first.click()
    expect(page.locator("#view-make")).to_be_visible()


def under_way(page: Any) -> Any:
    """The list of what is made and waits, above every view."""
    return page.get_by_role("region", name="Videos being made")


def tab(page: Any, name: str) -> None:
    """A tab of the WebUI."""
    page.locator("#tabs > .tab-nav button", has_text=name).first.click()


def number(page: Any, name: str, value: float) -> None:
    """Type a number into the control of this id."""
    field = page.locator(f"#{name} input[type=number]").first
    field.fill(str(value))
    field.press("Tab")


def smallest(page: Any, name: str, side: int = 64) -> None:
    """What txt2img or img2img makes soonest."""
    tab(page, name)
    page.fill(f"#{name}_prompt textarea", "a portrait")
    for control, value in (("width", side), ("height", side), ("steps", 1)):
        number(page, f"{name}_{control}", value)


def painted(page: Any) -> None:
    """One small picture in the gallery of txt2img."""
    smallest(page, "txt2img")
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_gallery img").first).to_be_visible()


def order(page: Any, name: str, speech: Path | None) -> str:
    """Tick the accordion in its header, open it and fill it in; the beginning of its elements' ids."""
    prefix = f"script_{name}_sonic"
    page.check(f"#{prefix}-visible-checkbox")
    if not page.locator(f"#{prefix}_pictures").is_visible():
        page.locator(f"#{prefix} > .label-wrap").first.click()
    expect(page.locator(f"#{prefix}_pictures")).to_be_visible()
    for inner in page.locator(f"#{prefix} .label-wrap").all()[1:]:
        inner.click()
    page.check(f"#{prefix}_engine input[value=preview]")
    number(page, f"{prefix}_min_resolution", 256)
    if speech:
        voice(page, prefix, speech)
    return prefix


def voice(page: Any, prefix: str, speech: Path) -> None:
    """The speech of the accordion."""
    page.set_input_files(f"#{prefix}_voice input[type=file]", speech)
    expect(page.locator(f"#{prefix}_voice button[aria-label=Clear]")).to_be_visible()


def state_consent(page: Any, prefix: str) -> None:
    """In the accordion: synthetic face, synthetic voice."""
    for part in ("face", "voice_basis"):
        page.click(f"#{prefix}_{part} input")
        page.locator(f"#{prefix}_{part} li", has_text=re.compile("Synthetic|合成")).click()
    page.check(f"#{prefix}_stated input")


def told(page: Any, name: str, pattern: str) -> str:
    """Press Generate and wait until what stands under the gallery matches."""
    page.click(f"#{name}_generate")
    log = page.locator(f"#html_log_{name}").first  # gradio 3 gives two the same id
    expect(log).to_contain_text(re.compile(pattern), timeout=5 * MILLISECONDS)  # it may be several videos
    return str(log.inner_text())
