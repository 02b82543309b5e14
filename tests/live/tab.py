"""The page of a WebUI with the tab Sonic, as a user handles it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from spoken import MEDIA

PORTRAIT = MEDIA / "portrait_01.jpg"


def open_tab(page: Any) -> None:
    """By the tab's own button, whatever language it is in."""
    page.wait_for_selector("#tab_sonic", state="attached")
    page.locator("#tabs > .tab-nav button", has_text="Sonic").first.click()
    page.wait_for_selector("#sonic_generate")


def give(page: Any, speech: Path) -> None:
    """Upload both; preview engine, smallest size."""
    page.set_input_files("#sonic_portrait input[type=file]", PORTRAIT)
    page.set_input_files("#sonic_audio input[type=file]", speech)
    page.wait_for_selector("#sonic_facts .sonic-facts")  # before, the page grows under the mouse
    page.locator("#sonic_root .label-wrap", has_text=re.compile("^Video|^视频")).first.click()
    page.check("#sonic_engine input[value=preview]")
    number(page, "sonic_min_resolution", 256)
    page.wait_for_function("/256 × 256/.test(document.querySelector('#sonic_facts').innerText)")


def consent(page: Any, prefix: str = "sonic_consent", voice: str = "voice") -> None:
    """Synthetic face, synthetic voice."""
    for part in ("face", voice):
        page.click(f"#{prefix}_{part} input")
        page.locator(f"#{prefix}_{part} li", has_text=re.compile("Synthetic|合成")).click()
    page.check(f"#{prefix}_stated input")


def show(page: Any, name: str) -> None:
    """A tab of the WebUI."""
    page.locator("#tabs > .tab-nav button", has_text=name).first.click()


def number(page: Any, name: str, value: float) -> None:
    """Type a number into the control of this id."""
    field = page.locator(f"#{name} input[type=number]").first
    field.fill(str(value))
    field.press("Tab")


def smallest(page: Any, tab: str, side: int = 64) -> None:
    """What txt2img or img2img makes soonest."""
    show(page, tab)
    page.fill(f"#{tab}_prompt textarea", "a portrait")
    for name, value in (("width", side), ("height", side), ("steps", 1)):
        number(page, f"{tab}_{name}", value)


def order(page: Any, tab: str, speech: Path | None) -> str:
    """Fill in the accordion, which is open then; the beginning of its elements' ids."""
    prefix = f"script_{tab}_sonic"
    page.locator(f"#{prefix} > .label-wrap").first.click()
    page.check(f"#{prefix}_enabled input")
    for inner in page.locator(f"#{prefix} .label-wrap").all()[1:]:
        inner.click()
    page.check(f"#{prefix}_engine input[value=preview]")
    number(page, f"{prefix}_min_resolution", 256)
    if speech:
        page.set_input_files(f"#{prefix}_voice input[type=file]", speech)
        page.wait_for_selector(f"#{prefix}_voice button[aria-label=Clear]")
    return prefix


def told(page: Any, tab: str, pattern: str) -> str:
    """Press Generate and wait until what stands under the gallery matches."""
    page.click(f"#{tab}_generate")
    log = f"#html_log_{tab}"
    page.wait_for_function(f"new RegExp({pattern!r}).test(document.querySelector('{log}').innerText)")
    return str(page.inner_text(log))
