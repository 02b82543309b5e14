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
    page.locator("#sonic_root .label-wrap", has_text=re.compile("^Video|^视频")).first.click()
    page.check("#sonic_engine input[value=preview]")
    size = page.locator("#sonic_min_resolution input[type=number]")
    size.fill("256")
    size.press("Tab")
    page.wait_for_function("/256 × 256/.test(document.querySelector('#sonic_facts').innerText)")


def consent(page: Any) -> None:
    """Synthetic face, synthetic voice."""
    for part in ("face", "voice"):
        page.click(f"#sonic_consent_{part} input")
        page.locator(f"#sonic_consent_{part} li", has_text=re.compile("Synthetic|合成")).click()
    page.check("#sonic_consent_stated input")
