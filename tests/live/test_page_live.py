"""The tab inside a running WebUI, in a real browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from client import Client
from spoken import one_minute
from tab import PORTRAIT, consent, give, number, open_tab, show, smallest


def test_tab_animates_exports_and_verifies(page: Any, speech: Path) -> None:
    give(page, speech)
    page.click("#sonic_generate")
    page.wait_for_selector("#sonic_progress .sonic-good")
    assert page.evaluate("document.querySelector('#sonic_preview video').videoWidth") > 0
    consent(page)
    page.click("#sonic_export")
    page.wait_for_selector("#sonic_evidence .sonic-good")
    assert "unchanged" in page.inner_text("#sonic_evidence")


def test_interrupt_of_the_webui_stops_the_video(page: Any, webui: Client, tmp_path: Path) -> None:
    give(page, one_minute(tmp_path / "minute.wav"))
    page.click("#sonic_generate")
    page.wait_for_selector(".sonic-host .progressDiv:has-text('Sonic: drawing')")  # the WebUI's own bar
    page.wait_for_selector(".sonic-host .livePreview img")
    assert page.locator("#sonic_progress .sonic-progress").is_hidden()
    webui.post("/sdapi/v1/interrupt")
    page.wait_for_function("/[Ss]topped/.test(document.querySelector('#sonic_progress').innerText)")
    page.wait_for_selector("#sonic_generate:not([disabled])")
    page.wait_for_selector(".sonic-host", state="detached")


def test_portrait_from_words(page: Any) -> None:
    """Whatever the checkpoint draws arrives as the portrait."""
    page.locator("#sonic_portrait_panel .label-wrap").first.click()
    page.fill("#sonic_portrait_prompt textarea", "a portrait")
    for name, value in (("width", 64), ("height", 64), ("steps", 1)):
        number(page, f"sonic_portrait_{name}", value)
    page.click("#sonic_portrait_make")
    page.wait_for_selector("#sonic_portrait img")


def test_gallery_sends_to_sonic(page: Any) -> None:
    smallest(page, "txt2img")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_gallery img")
    page.click("#txt2img_send_to_sonic")
    page.wait_for_selector("#sonic_portrait img", state="visible")


def test_an_empty_gallery_has_nothing_to_send(page: Any, speech: Path) -> None:
    show(page, "img2img")
    page.click("#img2img_send_to_sonic")
    page.wait_for_selector("text=There is no picture to send to Sonic.")
    open_tab(page)
    give(page, speech)
    page.click("#sonic_generate")
    page.wait_for_selector("#sonic_progress .sonic-good")


def test_half_a_gigabyte_of_speech_is_refused(page: Any, speech: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.wav"
    one = speech.read_bytes()[:44]
    with huge.open("wb") as file:
        file.write(one[:4] + (500_000_000 - 8).to_bytes(4, "little") + one[8:40])
        file.write((500_000_000 - 44).to_bytes(4, "little"))
        file.truncate(500_000_000)
    page.set_input_files("#sonic_portrait input[type=file]", PORTRAIT)
    page.set_input_files("#sonic_audio input[type=file]", huge)
    page.wait_for_selector("#sonic_facts .sonic-error")
    page.click("#sonic_audio button[aria-label=Clear]")
    page.set_input_files("#sonic_audio input[type=file]", speech)
    page.wait_for_function("/ × /.test(document.querySelector('#sonic_facts').innerText)")


def test_reload_ui(page: Any, webui: Client, speech: Path) -> None:
    page.evaluate("document.querySelector('#settings_restart_gradio').click()")
    time.sleep(3)  # it first says good-bye
    webui.wait_until_up()
    page.goto(webui.url)
    open_tab(page)
    give(page, speech)
    page.click("#sonic_generate")
    page.wait_for_selector("#sonic_progress .sonic-good")
