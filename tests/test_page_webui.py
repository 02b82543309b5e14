"""The tab inside a page like a WebUI's, in a real Chromium: portrait panel, history, pictures sent both ways.

The WebUI itself is played by `webui_page.py`; pipeline, store, ledger and gate are the real ones.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import served as servers
from own_page import Page, consent, expect
from patience import MILLISECONDS, PATIENCE, until
from spoken import MEDIA, one_minute

from sonic_ext.jobs import Queue, State

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Served:
    """The page that runs."""

    url: str
    folder: Path
    """All of its own."""

    @property
    def outputs(self) -> Path:
        """Where exports go."""
        return self.folder / "outputs"

    def take(self) -> dict[str, Any]:
        """What the newest take in the private store says of itself."""
        found = sorted(
            (self.folder / "home" / "takes").glob("*/take.json"), key=lambda path: path.stat().st_mtime
        )
        told: dict[str, Any] = json.loads(found[-1].read_text(encoding="utf-8"))["take"]
        return told | {"folder": str(found[-1].parent)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page as a process of its own."""
    with process(tmp_path_factory.mktemp("webui")) as running:
        yield running


@contextmanager
def process(folder: Path) -> Iterator[Served]:
    """The page, in a folder; killed at the end."""
    page = Served("", folder)
    with servers.served(
        folder,
        *("-W", "ignore", ROOT / "tests" / "webui_page.py", page.outputs),
        announces=lambda line: line.startswith("http"),  # gradio talks first
        tidy=False,
        SONIC_HOME=str(folder / "home"),
        GRADIO_TEMP_DIR=str(folder / "gradio"),
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_OFFLINE="1",
    ) as told:
        yield Served(told.strip().rstrip("/"), folder)


@contextmanager
def windows(browser: Any, url: str) -> Iterator[Callable[..., Page]]:
    """Opens the page with the scripts that a WebUI would load; none of them may fail."""
    failed: list[str] = []

    def open_window(script: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.on("pageerror", lambda error: failed.append(str(error)))
        for each in (SWITCH, script):
            page.add_init_script(each)
        page.add_init_script(path=ROOT / "javascript" / "sonic.js")
        page.goto(url)
        page.wait_for_selector("#txt2img_generate")
        return page

    with ExitStack() as stack:
        yield open_window
    assert failed == []


def test_what_a_restart_interrupted_waits_for_a_word(
    browser: Any, tmp_path: Path, speech: Path, minute: Path
) -> None:
    """The WebUI is killed while one video is made and another waits."""
    with process(tmp_path) as before, windows(browser, before.url) as window:
        for sound in (minute, speech):
            page = window()
            page.evaluate("switch_to_sonic()")
            page.set_input_files("#sonic_portrait input[type=file]", MEDIA / "portrait_01.jpg")
            page.set_input_files("#sonic_audio input[type=file]", sound)
            expect(page.locator("#sonic_facts .sonic-facts")).to_be_visible()
            page.click("#sonic_generate")
            expect(page.locator("#sonic_progress .sonic-progress").first).to_be_visible()
        until(lambda: Queue(tmp_path / "home").jobs(ended=False), lambda jobs: len(jobs) == 2)
    with process(tmp_path) as after, windows(browser, after.url) as window:
        page = window()
        page.evaluate("switch_to_sonic()")
        expect(page.locator("#sonic_interrupted")).to_contain_text("2 interrupted videos wait.")
        queue = Queue(tmp_path / "home")
        assert all(job.held for job in queue.jobs(ended=False))
        queue.cancel(queue.jobs(ended=False)[-1].id)  # the long one
        page.click("#sonic_go_on")
        expect(page.locator("#sonic_interrupted")).to_be_hidden()
        assert queue.wait(queue.jobs()[0].id, PATIENCE).state is State.DONE


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of speech."""
    return one_minute(tmp_path_factory.mktemp("speech") / "minute.wav")


SWITCH = "window.switch_to_img2img = () => document.querySelectorAll('#tabs > .tab-nav button')[1].click();"
"""The WebUI's own."""


BAR = """
window.opts = {show_progressbar: true};
window.onUiLoaded = ready => addEventListener('load', () => {
    const seen = () => document.querySelector('#sonic_progress') ? ready() : setTimeout(seen, 50);
    seen();
});
window.asked = [];
window.requestProgress = (task, container, gallery, atEnd) => {
    asked.push(task);
    window.ended = atEnd;
    const bar = document.createElement('div');
    bar.className = 'progressDiv';
    bar.textContent = '12%';
    container.parentNode.insertBefore(bar, container);
};
"""
"""The WebUI's own, as far as it shows; that it asks the server is seen in a running one (tests/live)."""


@pytest.fixture
def window(browser: Any, served: Served) -> Iterator[Callable[..., Page]]:
    with windows(browser, served.url) as opened:
        yield opened


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    return window()


def _unfold(page: Page, place: str) -> None:
    page.locator(f"{place} .label-wrap").first.click()


def _made_by_hand(page: Page, speech: Path, portrait: str = "portrait_01.jpg") -> None:
    page.evaluate("switch_to_sonic()")
    page.set_input_files("#sonic_portrait input[type=file]", MEDIA / portrait)
    page.set_input_files("#sonic_audio input[type=file]", speech)
    expect(page.locator("#sonic_facts .sonic-facts")).to_be_visible()
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()


def _pixels(page: Page, selector: str) -> str:
    """SHA-256 of the picture's bytes as the browser decodes them."""
    numbers = page.locator(selector).first.evaluate(
        """async picture => {
            await picture.decode();
            const canvas = document.createElement('canvas');
            canvas.width = picture.naturalWidth; canvas.height = picture.naturalHeight;
            const ink = canvas.getContext('2d');
            ink.drawImage(picture, 0, 0);
            const all = ink.getImageData(0, 0, canvas.width, canvas.height).data;
            const hash = await crypto.subtle.digest('SHA-256', all);
            return [...new Uint8Array(hash)].map(each => each.toString(16).padStart(2, '0')).join('');
        }"""
    )
    return str(numbers)


def test_chosen_picture_of_a_gallery_arrives_byte_by_byte(page: Page, served: Served, speech: Path) -> None:
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_gallery .thumbnail-item")).not_to_have_count(0)
    page.locator("#txt2img_gallery .thumbnail-item").nth(1).click()
    page.click("#txt2img_send_to_sonic")
    expect(page.locator("#sonic_portrait img")).to_be_visible()
    page.set_input_files("#sonic_audio input[type=file]", speech)
    expect(page.locator("#sonic_facts .sonic-facts")).to_be_visible()
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
    sent = hashlib.sha256((MEDIA / "portrait_01.jpg").read_bytes()).hexdigest()
    assert served.take()["portrait_sha256"] == sent
    assert served.take()["settings"]["min_resolution"] == 256  # the host's default


def test_the_webuis_bar_takes_the_place_of_ours(window: Callable[..., Page]) -> None:
    page = window(BAR)
    page.evaluate("switch_to_sonic()")
    _unfold(page, "#sonic_portrait_panel")
    bar = page.locator(".sonic-host .progressDiv")
    ours = page.locator("#sonic_portrait_progress .sonic-progress")
    page.click("#sonic_portrait_make")  # refused before there is a job: nothing is asked for
    expect(page.locator("#sonic_portrait_progress .sonic-error").first).to_be_visible()
    assert page.evaluate("asked") == []
    page.fill("#sonic_portrait_prompt textarea", "slow")
    page.click("#sonic_portrait_make")
    expect(bar).to_be_visible()
    expect(ours).to_be_hidden()
    page.evaluate("ended()")  # the WebUI's server said nothing of it
    expect(bar).to_have_count(0)
    expect(ours).to_be_visible()
    page.click("#sonic_portrait_cancel")
    expect(ours).to_have_count(0)
    page.click("#sonic_portrait_make")
    expect(bar).to_be_visible()
    page.click("#sonic_portrait_cancel")
    expect(bar).to_have_count(0)
    assert [task.startswith("task(sonic-") for task in page.evaluate("asked")] == [True, True]
    assert len({*page.evaluate("asked")}) == 2
    page.evaluate("opts.show_progressbar = false")
    page.fill("#sonic_portrait_prompt textarea", "a face")
    page.click("#sonic_portrait_make")
    expect(page.locator("#sonic_portrait_progress .sonic-good").first).to_be_visible()
    assert len(page.evaluate("asked")) == 2


def test_empty_gallery_is_one_red_sentence(page: Page) -> None:
    page.click("#txt2img_send_to_sonic")
    expect(page.locator("body")).to_contain_text("There is no picture to send to Sonic.")
    expect(page.locator("#txt2img_generate")).to_be_visible()  # nobody was led away
    page.click("#txt2img_generate")
    expect(page.locator("#txt2img_gallery .thumbnail-item")).not_to_have_count(0)
    page.click("#txt2img_send_to_sonic")
    expect(page.locator("#sonic_portrait img")).to_be_visible()


def test_picture_of_png_info_is_sent(page: Page) -> None:
    page.locator("#tabs > .tab-nav button", has_text="PNG Info").click()
    page.set_input_files("#pnginfo_image input[type=file]", MEDIA / "portrait_02.jpg")
    expect(page.locator("#pnginfo_image img")).to_be_visible()
    given = _pixels(page, "#pnginfo_image img")
    page.click("#pnginfo_send_to_sonic")
    expect(page.locator("#sonic_portrait img")).to_be_visible()
    assert _pixels(page, "#sonic_portrait img") == given


def test_portrait_is_made_and_checked(page: Page, served: Served, speech: Path) -> None:
    page.evaluate("switch_to_sonic()")
    page.set_input_files("#sonic_audio input[type=file]", speech)
    _unfold(page, "#sonic_portrait_panel")
    page.click("#sonic_portrait_make")
    told = page.locator("#sonic_portrait_progress")
    expect(told.locator(".sonic-error").first).to_contain_text("There is no prompt.")
    page.fill("#sonic_portrait_prompt textarea", "missing")
    page.click("#sonic_portrait_make")
    expect(told.locator(".sonic-error").first).to_contain_text("No checkpoint is loaded.")
    page.fill("#sonic_portrait_prompt textarea", "a face")
    page.click("#sonic_portrait_make")
    expect(told.locator(".sonic-good").first).to_contain_text("known as such")
    expect(page.locator("#sonic_facts .sonic-facts")).to_be_visible()
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
    kept = Path(served.take()["folder"]) / served.take()["portrait_file"]
    assert kept.suffix == ".png"
    assert b"parameters" in kept.read_bytes()  # the infotext: not one byte was written anew


def test_portrait_from_a_source_and_cancelled(page: Page) -> None:
    page.evaluate("switch_to_sonic()")
    _unfold(page, "#sonic_portrait_panel")
    page.fill("#sonic_portrait_prompt textarea", "slow")
    page.click("#sonic_portrait_make")
    told = page.locator("#sonic_portrait_progress")
    expect(told.first).to_contain_text("Drawing the portrait")
    page.click("#sonic_portrait_cancel")
    expect(told.locator(".sonic-note").first).to_contain_text("Stopped as asked")
    page.locator("#sonic_portrait_panel .label-wrap", has_text="img2img").click()
    page.set_input_files("#sonic_portrait_source input[type=file]", MEDIA / "portrait_02.jpg")
    page.fill("#sonic_portrait_prompt textarea", "a face")
    expect(page.locator("#sonic_portrait_source img")).to_be_visible()
    page.click("#sonic_portrait_make")
    expect(told.locator(".sonic-good").first).to_contain_text("an upload")


def test_current_txt2img_settings_are_taken_over(page: Page) -> None:
    page.locator("#txt2img_steps input[type=number]").fill("9")
    page.locator("#txt2img_steps input[type=number]").press("Tab")
    page.evaluate("switch_to_sonic()")
    _unfold(page, "#sonic_portrait_panel")
    page.click("#sonic_portrait_current")
    expect(page.locator("#sonic_portrait_prompt textarea")).to_have_value('a <portrait>, "quoted"')
    shown = {
        "negative textarea": "blurred",
        "width input[type=number]": "384",
        "height input[type=number]": "640",
        "steps input[type=number]": "9",
        "cfg input[type=number]": "5.5",
        "seed input": "1234",
        "sampler input": "DPM++ 2M",
    }
    for name, value in shown.items():
        expect(page.locator(f"#sonic_portrait_{name}").first).to_have_value(value)


def test_portrait_and_frames_go_back_to_img2img(page: Page, served: Served, speech: Path) -> None:
    page.evaluate("switch_to_sonic()")
    page.click("#sonic_portrait_to_img2img")
    expect(page.locator("body")).to_contain_text("There is no portrait to send.")
    _made_by_hand(page, speech)
    given = _pixels(page, "#sonic_portrait img")
    page.click("#sonic_portrait_to_img2img")
    picture = page.locator("#img2img_image img").first
    expect(picture).to_be_visible()
    assert _pixels(page, "#img2img_image img") == given

    page.evaluate("switch_to_sonic()")
    page.click("#sonic_frame_to_img2img")
    sides = "picture => [picture.naturalWidth, picture.naturalHeight]"
    expect(picture).to_be_visible()
    page.wait_for_function(
        "given => document.querySelector('#img2img_image img').naturalWidth !== given",
        arg=read_width("portrait_01.jpg"),
    )
    stamped = picture.evaluate(sides)
    page.wait_for_function("scrollY === 0")

    page.evaluate("switch_to_sonic()")
    consent(page, "sonic_consent")
    page.click("#sonic_export")
    expect(page.locator("#sonic_evidence .sonic-good")).to_be_visible()
    page.click("#sonic_frame_to_img2img")
    take = served.take()
    expect(picture).to_be_visible()
    page.wait_for_function(
        "wanted => document.querySelector('#img2img_image img').naturalWidth === wanted", arg=take["width"]
    )
    assert picture.evaluate(sides) == [take["width"], take["height"]]
    assert stamped[0] <= take["width"]


def read_width(name: str) -> int:
    """Of a test picture."""
    from sonic_ext.media.image import read_portrait

    return read_portrait(MEDIA / name).width


def test_history_plays_exports_and_deletes(page: Page, served: Served, speech: Path) -> None:
    before = sorted(served.outputs.glob("*.mp4"))
    _made_by_hand(page, speech, "portrait_02.jpg")
    take = Path(served.take()["folder"])
    page.locator("#sonic_tabs > .tab-nav button", has_text="History").click()
    newest = page.locator("#sonic_history .thumbnail-item").first
    expect(newest).to_be_visible()
    expect(page.locator("#sonic_history").first).to_contain_text("not exported")
    newest.click()
    facts = page.locator("#sonic_history_facts").first
    expect(facts).to_contain_text("256 × 256")
    expect(facts).not_to_contain_text(take.name)  # its folder in the private home is called so
    expect(page.locator("#sonic_history_video video")).to_be_visible()
    page.locator("#sonic_root .label-wrap:visible", has_text="Consent and export").click()
    page.click("#sonic_history_export")
    outcome = page.locator("#sonic_history_outcome")
    expect(outcome.locator(".sonic-error").first).to_contain_text("not stated")
    consent(page, "sonic_history_consent")
    page.click("#sonic_history_export")
    expect(outcome.locator(".sonic-good").first).to_contain_text("Exported as")
    (exported,) = set(served.outputs.glob("*.mp4")) - set(before)
    expect(facts).to_contain_text(exported.name)
    page.click("#sonic_history_delete")
    page.click("#sonic_history_keep")
    assert take.is_dir()
    page.click("#sonic_history_delete")
    page.click("#sonic_history_delete_sure")
    expect(page.locator("#sonic_history_sure")).to_be_hidden()
    expect(page.locator("#sonic_history_facts").first).to_be_hidden()
    assert not take.exists()
    assert exported.is_file()


@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(window: Callable[..., Page], width: int, scheme: str) -> None:
    page = window(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.evaluate("switch_to_sonic()")
    _unfold(page, "#sonic_portrait_panel")
    for name in ("Animate", "History"):
        page.locator("#sonic_tabs > .tab-nav button", has_text=name).click()
        expect(page.locator("#sonic_root .tabitem:visible").first).to_be_visible()
        page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")


def test_style_touches_nothing_of_the_host() -> None:
    """Every rule of ours begins at one of our own classes."""
    css = (ROOT / "sonic_ext" / "app" / "style.css").read_text(encoding="utf-8")
    rules = re.sub(r"/\*.*?\*/|@media[^{]*\{", "", css, flags=re.S)
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", rules) for part in rule.split(",")]
    assert [each for each in selectors if not each.startswith(".sonic-")] == []
