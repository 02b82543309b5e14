"""The tab inside a WebUI, in a real Chromium: the whole job, pictures sent both ways, portraits made there.

The WebUI itself is played by `webui_page.py`; registration, pipeline, store, ledger and gate are real.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hosted_page import USER, Served, digest, loaded, open_tab, webui, windows
from own_page import Page, expect, exported, make, playable, put, show
from patience import PATIENCE, until
from spoken import MEDIA, one_minute

from sonic_ext.jobs import Queue, State

ROOT = Path(__file__).parents[1]
PORTRAIT = MEDIA / "portrait_01.jpg"
SHOWN = "sonic-portrait img.picture"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A WebUI without an API."""
    with webui(tmp_path_factory.mktemp("webui")) as running:
        yield running


@pytest.fixture
def window(browser: Any, served: Served) -> Iterator[Callable[..., Page]]:
    with windows(browser, served) as opened:
        yield opened


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    return window()


def test_a_video_is_made_and_let_out_without_the_webuis_api(page: Page, served: Served, speech: Path) -> None:
    address = page.url
    open_tab(page)
    put(page, PORTRAIT, speech)
    assert playable(make(page).locator("video")) == pytest.approx(1.0, abs=0.1)
    name = exported(page)
    assert (served.outputs / name).is_file()
    expect(show(page, "History").locator(".tile").first).to_be_visible()
    assert page.url == address


def test_nothing_is_asked_before_the_tab_is_shown(page: Page) -> None:
    settled = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(settled)
    asked = "performance.getEntriesByType('resource').filter(each => each.name.includes('/sonic/v1')).length"
    assert page.evaluate(asked) == 0
    page.evaluate("location.hash = 'weights'")  # the WebUI's own
    open_tab(page)
    assert page.evaluate(asked) > 0
    assert page.url.endswith("#weights")


def test_the_chosen_picture_of_a_gallery_arrives_byte_by_byte(page: Page) -> None:
    """Also where the page was not shown before."""
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_gallery .thumbnail-item")).not_to_have_count(0)
    page.locator("#txt2img_gallery .thumbnail-item").nth(1).click()
    page.click("#txt2img_send_to_sonic")
    expect(page.locator(SHOWN)).to_be_visible()
    assert digest(page, SHOWN) == hashlib.sha256(PORTRAIT.read_bytes()).hexdigest()


def test_an_empty_gallery_is_a_note_until_there_is_a_picture(page: Page) -> None:
    page.click("#txt2img_send_to_sonic")
    note = page.get_by_text("There is no picture to send to Sonic.")
    expect(note).to_be_visible()
    show(page, "Weights")
    expect(note).to_have_count(0)
    page.locator("#tabs > .tab-nav button", has_text="PNG Info").click()
    page.set_input_files("#pnginfo_image input[type=file]", MEDIA / "portrait_02.jpg")
    expect(page.locator("#pnginfo_image img")).to_be_visible()
    given = digest(page, "#pnginfo_image img", pixels=True)
    page.click("#pnginfo_send_to_sonic")
    expect(page.locator(SHOWN)).to_be_visible()
    assert digest(page, SHOWN, pixels=True) == given


def test_portrait_and_frame_go_to_img2img(page: Page, speech: Path) -> None:
    open_tab(page)
    put(page, PORTRAIT, speech)
    page.get_by_role("button", name="Send to img2img").click()
    there = page.locator("#img2img_image img").first
    expect(there).to_be_visible()
    assert digest(page, "#img2img_image img", pixels=True) == digest(page, SHOWN, pixels=True)

    open_tab(page)
    shown = make(page)
    wide = shown.locator("video").evaluate("video => video.videoWidth")
    shown.get_by_role("slider", name="Frame").fill("7")
    with page.expect_response(re.compile(r"/frame\?at=")) as answer:
        page.get_by_role("button", name="Send frame to img2img").click()
    assert float(answer.value.url.partition("at=")[2]) == pytest.approx(7.5 / 25)
    until(lambda: there.evaluate("picture => picture.naturalWidth"), lambda found: found == wide)
    expect(there).to_be_visible()


def wished(page: Page, prompt: str) -> Any:
    """Ask for a portrait; where the page tells of it."""
    panel = page.locator("sonic-generate")
    if not panel.get_by_label("Prompt", exact=True).is_visible():
        panel.locator("summary").click()
    panel.get_by_label("Prompt", exact=True).fill(prompt)
    panel.get_by_role("button", name="Make portrait").click()
    return panel


def test_a_portrait_is_made_here(page: Page, served: Served, speech: Path) -> None:
    open_tab(page)
    put(page, None, speech)
    expect(wished(page, " ")).to_contain_text("There is no prompt.")
    expect(wished(page, "wrong")).to_contain_text("The checkpoint is broken.")
    panel = wished(page, "a face")
    expect(panel).to_contain_text("known as such")
    expect(page.locator(SHOWN)).to_be_visible()
    shown = make(page)
    expect(shown).to_contain_text("its face is nobody's")
    told = {each: served.told_of(each.name)["portrait_file"] for each in served.home.glob("takes/*")}
    (kept,) = (folder / name for folder, name in told.items() if name.endswith(".png"))
    assert b"parameters" in kept.read_bytes()  # the infotext: not one byte was written anew


def test_a_portrait_from_a_picture_and_one_that_is_stopped(page: Page) -> None:
    open_tab(page)
    panel = wished(page, "slow")
    expect(panel).to_contain_text("making the portrait")
    panel.get_by_role("button", name="Cancel").click()
    expect(panel).to_contain_text("Stopped as asked")
    panel.locator("input[type=file]").set_input_files(MEDIA / "portrait_02.jpg")
    panel.get_by_label("Denoising strength").fill("2")
    wished(page, "a face")
    expect(panel).to_contain_text("Use a number from 0 to 1.")
    expect(page.locator(SHOWN)).to_have_count(0)
    panel.get_by_label("Denoising strength").fill("0.4")
    wished(page, "a face")
    expect(panel).to_contain_text("an upload")
    expect(page.locator(SHOWN)).to_be_visible()


def test_what_txt2img_is_set_to_is_taken_over(page: Page) -> None:
    page.locator("#txt2img_steps input[type=number]").fill("9")
    open_tab(page)
    panel = page.locator("sonic-generate")
    panel.locator("summary").click()
    panel.get_by_role("button", name="Use current txt2img settings").click()
    values = {
        "Prompt": 'a <portrait>, "quoted"',
        "Negative prompt": "blurred",
        "Width": "384",
        "Height": "640",
    }
    values |= {"Steps": "9", "CFG scale": "5.5", "Seed": "1234"}
    for label, value in values.items():
        expect(panel.get_by_label(label, exact=True)).to_have_value(value)
    expect(panel.locator("[name=sampler_name]")).to_have_value("DPM++ 2M")
    page.get_by_label("Language").select_option("zh")  # what was filled in stays
    expect(panel.locator("[name=cfg_scale]")).to_have_value("5.5")


def test_the_page_speaks_the_webuis_language(window: Callable[..., Page]) -> None:
    page = window(script="window.localization = {Generate: '生成'};", locale="en-GB")
    open_tab(page)
    expect(page.get_by_role("tab", name="历史")).to_be_visible()
    expect(page.locator("#script_txt2img_sonic .sonic-said[lang=zh]").first).to_have_css("display", "inline")


def test_pasting_an_infotext_ticks_the_accordion(page: Page) -> None:
    accordion = page.locator("#script_txt2img_sonic")
    expect(accordion.get_by_text("Each picture")).not_to_be_visible()
    page.locator("#infotext textarea").fill("Sonic pictures: each, Sonic motion_scale: 1.5")
    page.click("#paste")
    expect(accordion.get_by_text("Each picture")).to_be_visible()
    expect(accordion.get_by_label("Each picture")).to_be_checked()
    expect(page.locator("#script_txt2img_sonic_motion_scale input[type=number]")).to_have_value("1.5")


PALE = """page => {
    const ink = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const brightness = colours => {
        for (const colour of ['white', ...colours]) { ink.fillStyle = colour; ink.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...ink.getImageData(0, 0, 1, 1).data].map(each => each / 255)
            .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const above = each => each.assignedSlot ?? each.parentElement ?? each.getRootNode().host;
    const grounds = each => each ? [...grounds(above(each)), getComputedStyle(each).backgroundColor] : [];
    const words = each => [...each.childNodes].filter(node => node.nodeType === 3).map(node => node.data)
        .join('').trim();
    const contrast = each => {
        const under = grounds(each);
        const found = [under, [...under, getComputedStyle(each).color]].map(brightness);
        return (Math.max(...found) + 0.05) / (Math.min(...found) + 0.05);
    };
    return [...page.shadowRoot.querySelectorAll('*')]
        .filter(each => words(each) && each.checkVisibility({opacityProperty: true}))
        .filter(each => !each.closest('button:disabled, .unseen, .face, option'))
        .filter(each => contrast(each) < 4.5).map(each => `${words(each)}: ${contrast(each).toFixed(2)}`);
}"""
"""JavaScript: texts of the page that are too pale to be read (WCAG 2.2, 1.4.3)."""
BLOCK = """() => {
    document.body.style.outlineColor = 'var(--block-background-fill)';
    return getComputedStyle(document.body).outlineColor;
}"""
"""JavaScript: the colour of a block of gradio's."""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_has_the_webuis_look_and_can_be_read(
    window: Callable[..., Page], speech: Path, width: int, theme: str
) -> None:
    page = window(theme=theme, viewport={"width": width, "height": 900})
    open_tab(page)
    put(page, PORTRAIT, speech)
    page.locator("sonic-generate summary").click()
    expect(page.locator("sonic-make .facts")).to_be_visible()
    expect(page.locator("sonic-make [aria-busy=true]")).to_have_count(0)
    colour = page.locator("sonic-portrait").evaluate("each => getComputedStyle(each).backgroundColor")
    assert colour == page.evaluate(BLOCK)
    for view in ("Make", "History", "Verify", "Consents", "Weights"):
        panel = show(page, view)
        expect(panel).to_be_visible()
        assert page.locator("sonic-app").evaluate(PALE) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_it_outlives_reload_ui_and_asks_for_a_new_page_after_another_start(
    browser: Any, tmp_path: Path, speech: Path
) -> None:
    with ExitStack() as started:
        served = started.enter_context(webui(tmp_path))
        with windows(browser, served) as window:
            page = window()
            open_tab(page)
            put(page, PORTRAIT, speech)
            make(page)
            page.evaluate("document.body.replaceChildren()")  # as WebUIs do
            served.reload()
            page.reload()
            loaded(page)
            open_tab(page)
            expect(show(page, "History").locator(".tile")).to_have_count(1)
            started.close()
            expect(page.get_by_text("The server does not answer.").first).to_be_visible()
            started.enter_context(webui(tmp_path, "--port", served.url.rpartition(":")[2]))
            again = page.get_by_role("button", name="Reload the page")
            expect(again).to_have_count(1)
            expect(page.get_by_role("alert")).to_have_count(1)
            with page.expect_navigation():
                again.click()
            loaded(page)
            open_tab(page)
            expect(show(page, "History").locator(".tile")).to_have_count(1)


def test_it_works_below_a_path_for_who_has_logged_in(browser: Any, tmp_path: Path, speech: Path) -> None:
    with (
        webui(tmp_path, "--subpath", "below", "--gradio-auth", USER) as served,
        windows(browser, served.log_in()) as window,
    ):
        page = window()
        open_tab(page)
        put(page, PORTRAIT, speech)
        assert playable(make(page).locator("video")) > 0


def test_what_a_restart_interrupted_waits_for_a_word(browser: Any, tmp_path: Path, speech: Path) -> None:
    """The WebUI is killed while one video is made and another waits."""
    minute = one_minute(tmp_path / "minute.wav")
    with webui(tmp_path) as before, windows(browser, before) as window:
        page = window()
        open_tab(page)
        for number, sound in enumerate((minute, speech), 1):
            put(page, PORTRAIT, sound)
            page.get_by_role("button", name="Generate").click()
            expect(page.locator("sonic-jobs .job")).to_have_count(number)
        until(lambda: Queue(before.home).jobs(ended=False), lambda jobs: len(jobs) == 2)
    with webui(tmp_path) as after, windows(browser, after) as window:
        page = window()
        open_tab(page)
        expect(page.locator("sonic-jobs .job.held")).to_have_count(2)
        queue = Queue(after.home)
        queue.cancel(queue.jobs(ended=False)[-1].id)  # the long one
        expect(page.locator("sonic-jobs .job")).to_have_count(1)
        page.locator("sonic-jobs").get_by_role("button", name=re.compile("^Continue")).click()
        assert queue.wait(queue.jobs()[0].id, PATIENCE).state is State.DONE


def test_style_touches_nothing_of_the_host() -> None:
    """Every rule of ours begins at one of our own classes."""
    css = (ROOT / "sonic_ext" / "app" / "style.css").read_text(encoding="utf-8")
    rules = re.sub(r"/\*.*?\*/|@media[^{]*\{", "", css, flags=re.S)
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", rules) for part in rule.split(",")]
    assert [each for each in selectors if not each.startswith(".sonic-")] == []
