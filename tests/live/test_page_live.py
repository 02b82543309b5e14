"""The tab inside a running WebUI, in a real browser."""

from __future__ import annotations

import re
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client import Client
from own_page import (
    OTHER_PORTRAIT,
    PORTRAIT,
    VIEWS,
    expect,
    exported,
    give,
    make,
    playable,
    put,
    show,
)
from patience import MILLISECONDS, until
from spoken import one_minute, write_wav
from tab import IMG2IMG, open_tab, painted, smallest, tab, under_way

SHOWN = "sonic-portrait img.picture"
FILLED = {"history": ".tile, .empty", "consents": ".record, .empty", "weights": ".parts > *"}
"""View → what stands there once the server has answered."""


@pytest.fixture
def long_speech(tmp_path: Path) -> Path:
    """A minute of speech."""
    return one_minute(tmp_path / "minute.wav")


@pytest.fixture(autouse=True)
def _nothing_is_left_under_way(page: Any) -> Iterator[None]:
    yield
    cancel = under_way(page).get_by_role("button", name=re.compile("^(Cancel|Discard)"))
    while cancel.count():
        cancel.first.click()
        expect(under_way(page)).to_be_hidden()


def six_times(speech: Path) -> Path:
    """The same over and over: a WebUI's page takes long to load."""
    with wave.open(str(speech)) as sound:
        return write_wav(speech, 6 * sound.readframes(sound.getnframes()), sound.getframerate())


def generate(page: Any) -> None:
    """Begin a video."""
    page.locator("sonic-make").get_by_role("button", name="Generate").click()


def width(page: Any, picture: str) -> int:
    """Pixels of a picture as it is, once the browser has it."""
    found: int = page.locator(picture).first.evaluate(
        "async picture => { await picture.decode().catch(() => {}); return picture.naturalWidth; }"
    )
    return found


def test_a_video_is_made_let_out_and_verified(page: Any, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    shown = make(page)
    expect(shown).to_contain_text("A small preview with a stamp.")
    assert playable(shown.locator("video")) == pytest.approx(1, abs=0.1)
    name = exported(page)
    with page.expect_download() as download:
        shown.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == name
    expect(show(page, "History").locator(".tile").first).to_contain_text("exported")
    verify = show(page, "Verify")
    verify.locator("input[type=file]").first.set_input_files(download.value.path())
    expect(verify.locator(".banner.good")).to_contain_text("Made by this tool")
    expect(verify).to_contain_text("This very file was exported here.")
    expect(show(page, "Consents").locator(".record").first).to_contain_text(name)


def test_loaded_anew_in_the_middle(page: Any, long_speech: Path) -> None:
    """Ten times; it is there each time, and ends well."""
    give(page, PORTRAIT, six_times(long_speech))
    generate(page)
    expect(page.locator("sonic-making").get_by_role("progressbar")).to_be_visible()
    for _ in range(10):
        page.reload()
        open_tab(page)
        expect(under_way(page).locator("li")).to_have_count(1)
        expect(under_way(page)).to_contain_text("Asked for on this page")
    ends_well(page, "6 min")


def ends_well(page: Any, length: str) -> None:
    """The video that is under way."""
    expect(under_way(page)).to_be_hidden(timeout=6 * MILLISECONDS)
    newest = show(page, "History").locator(".tile").first
    expect(newest).to_contain_text(length)
    newest.click()
    playable(page.locator("sonic-history sonic-take video"))


def test_two_windows_see_the_same(window: Callable[..., Any], page: Any, long_speech: Path) -> None:
    """One makes, the other stops it."""
    other = window()
    give(page, PORTRAIT, long_speech)
    generate(page)
    expect(under_way(other).get_by_role("progressbar")).to_be_visible()
    under_way(other).get_by_role("button", name="Cancel").click()
    expect(page.locator("sonic-making")).to_contain_text("The video was cancelled.")
    for each in (page, other):
        expect(under_way(each)).to_be_hidden()


def test_two_windows_do_not_cross(window: Callable[..., Any], page: Any, speech: Path) -> None:
    other = window()
    for each, portrait in ((page, PORTRAIT), (other, OTHER_PORTRAIT)):
        give(each, portrait, speech)
    for each in (page, other):
        generate(each)
    ids = set()
    for each in (page, other):
        shown = each.locator("sonic-making sonic-take")
        playable(shown.locator("video"))
        ids.add(shown.get_attribute("id"))
    assert len(ids) == 2


def test_a_program_beside_the_page(page: Any, api: Client, long_speech: Path, speech: Path) -> None:
    """Its video appears in the open page and can be stopped there; what the page makes, it sees."""
    job = api.begin(PORTRAIT, long_speech)
    expect(under_way(page)).to_contain_text("Asked for by the API")
    expect(under_way(page)).to_contain_text(re.compile(r"\d+ %"))
    under_way(page).get_by_role("button", name="Cancel").click()
    api.reached(job, "cancelled")
    expect(under_way(page)).to_be_hidden()
    give(page, PORTRAIT, speech)
    made = make(page).get_attribute("id")
    assert api.look(made)["origin"] == "page"


def test_interrupt_of_the_webui_stops_the_video(page: Any, api: Client, long_speech: Path) -> None:
    give(page, PORTRAIT, long_speech)
    generate(page)
    expect(under_way(page)).to_contain_text(re.compile(r"[1-9]\d* %"))
    api.post("/sdapi/v1/interrupt")
    expect(page.locator("sonic-making")).to_contain_text("The video was cancelled.")
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()


def test_a_picture_and_a_video_wait_for_each_other(page: Any, long_speech: Path) -> None:
    give(page, PORTRAIT, long_speech)
    generate(page)
    expect(under_way(page)).to_contain_text(re.compile(r"[1-9]\d* %"))
    smallest(page, "txt2img")
    page.click("#txt2img_generate")
    open_tab(page)
    expect(under_way(page)).to_be_hidden()
    tab(page, "txt2img")
    expect(page.locator("#txt2img_gallery img").first).to_be_visible()


def test_portrait_from_words(page: Any) -> None:
    """Whatever the checkpoint draws arrives as the portrait; it can be stopped, and begin with a picture."""
    smallest(page, "txt2img", 128)  # Neo rounds to multiples of 64
    open_tab(page)
    panel = page.locator("sonic-generate")
    panel.locator("summary").click()
    panel.get_by_role("button", name="Use current txt2img settings").click()
    expect(panel.get_by_label("Width")).to_have_value("128")
    expect(panel.get_by_label("Prompt", exact=True)).to_have_value("a portrait")
    panel.get_by_role("button", name="Make portrait").click()
    expect(page.locator(SHOWN)).to_be_visible()
    expect(panel).to_contain_text("known as such")
    assert width(page, SHOWN) == 128
    panel.locator("input[type=file]").set_input_files(PORTRAIT)
    panel.get_by_label("Width").fill("64")
    panel.get_by_role("button", name="Make portrait").click()
    expect(panel).to_contain_text("an upload")
    panel.get_by_label("Steps").fill("150")
    panel.get_by_label("Denoising strength").fill("1")
    panel.get_by_role("button", name="Make portrait").click()
    panel.get_by_role("button", name="Cancel").click()
    expect(panel).to_contain_text("Stopped as asked")


def test_gallery_sends_to_sonic(page: Any) -> None:
    painted(page)
    page.click("#txt2img_send_to_sonic")
    expect(page.locator(SHOWN)).to_be_visible()
    assert width(page, SHOWN) == 64


def test_an_empty_gallery_has_nothing_to_send(page: Any, speech: Path) -> None:
    tab(page, "img2img")
    page.click("#img2img_send_to_sonic")
    expect(page.get_by_text("There is no picture to send to Sonic.")).to_be_visible()
    give(page, PORTRAIT, speech)
    make(page)


def test_portrait_and_frame_go_to_img2img(page: Any, speech: Path) -> None:
    """And are what img2img then works with, each in the other's place."""
    give(page, PORTRAIT, speech)
    page.get_by_role("button", name="Send to img2img").click()
    expect(page.locator(IMG2IMG).first).to_be_visible()
    portrait = width(page, SHOWN)
    until(lambda: width(page, IMG2IMG), lambda found: found == portrait)
    open_tab(page)
    shown = make(page)
    wide = shown.locator("video").evaluate("video => video.videoWidth")
    assert wide != portrait
    page.get_by_role("button", name="Send frame to img2img").click()
    until(lambda: width(page, IMG2IMG), lambda found: found == wide)
    expect(page.locator(IMG2IMG).first).to_be_visible()
    smallest(page, "img2img")
    page.click("#img2img_generate")
    expect(page.locator("#img2img_gallery img").first).to_be_visible()


def test_half_a_gigabyte_of_speech_is_refused(page: Any, speech: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.wav"
    one = speech.read_bytes()[:44]
    with huge.open("wb") as file:
        file.write(one[:4] + (500_000_000 - 8).to_bytes(4, "little") + one[8:40])
        file.write((500_000_000 - 44).to_bytes(4, "little"))
        file.truncate(500_000_000)
    put(page, PORTRAIT, huge)
    expect(page.locator("sonic-make .banner.problem")).to_be_visible()
    page.locator("sonic-speech").get_by_role("button", name="Remove").click()
    give(page, PORTRAIT, speech)
    make(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_fits_the_webui(
    window: Callable[..., Any], speech: Path, theme: str, request: Any
) -> None:
    """In its colours, and no wider than it."""
    page = window(theme=theme)
    give(page, PORTRAIT, speech)
    colour = "element => getComputedStyle(element).backgroundColor"
    host = page.evaluate(
        """() => {
            const probe = document.body.appendChild(document.createElement('div'));
            probe.style.background = 'var(--block-background-fill)';
            const found = getComputedStyle(probe).backgroundColor;
            probe.remove();
            return found;
        }"""
    )
    assert page.locator("sonic-portrait").evaluate(colour) == host
    folder = request.config.getoption("--shots")
    for view in VIEWS:
        panel = show(page, view.capitalize())
        expect(panel).to_be_visible()
        expect(panel.locator("[aria-busy=true]")).to_have_count(0)
        if view in FILLED:
            expect(panel.locator(FILLED[view]).locator("visible=true").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        if folder:
            page.screenshot(path=folder / f"{theme}-{view}.png", full_page=True)


def reload_ui(page: Any) -> None:
    """The WebUI's page loads itself anew. Nobody else asks meanwhile: A1111's API fails to start then."""
    with page.expect_navigation():
        page.evaluate("document.querySelector('#settings_restart_gradio').click()")
    open_tab(page)


def test_reload_ui(page: Any, speech: Path) -> None:
    reload_ui(page)
    give(page, PORTRAIT, speech)
    make(page)


def test_reload_ui_in_the_middle(page: Any, long_speech: Path) -> None:
    """The video goes on, the new page shows it."""
    give(page, PORTRAIT, six_times(long_speech))
    generate(page)
    expect(under_way(page)).to_contain_text(re.compile(r"[1-9]\d* %"))
    reload_ui(page)
    expect(under_way(page).locator("li")).to_have_count(1)
    expect(under_way(page)).to_contain_text("Asked for on this page")
    ends_well(page, "6 min")
