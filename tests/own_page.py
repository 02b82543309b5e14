"""The page of `sonic serve` for tests in a browser, and what a person does on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from patience import MILLISECONDS
from served import served
from spoken import MEDIA
from tiny_hub import TinyHub, serving

pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")
playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="the page tests need playwright: install the extra `test`"
)
expect = playwright_api.expect
expect.set_options(timeout=MILLISECONDS)
Page = Any

PORTRAIT = MEDIA / "portrait_01.jpg"
OTHER_PORTRAIT = MEDIA / "portrait_02.jpg"


@dataclass(frozen=True)
class Served:
    """A page that runs."""

    url: str
    folder: Path
    """All of its own."""
    hub: TinyHub
    """Stands in for the Hugging Face Hub."""

    @property
    def home(self) -> Path:
        """The private store."""
        return self.folder / "home"

    @property
    def models(self) -> Path:
        """Where weights go."""
        return self.folder / "mod els"

    def exports(self) -> list[Path]:
        """What has been let out."""
        return sorted((self.folder / "out puts").glob("*"))

    def takes(self) -> list[str]:
        """What lies in the private store."""
        folder = self.home / "takes"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def told_of(self, take: str) -> Any:
        """What a take in the private store says of itself."""
        return json.loads((self.home / "takes" / take / "take.json").read_text(encoding="utf-8"))["take"]


@contextmanager
def sonic_serve(folder: Path) -> Iterator[Served]:
    """`sonic serve` as a process of its own."""
    hub = TinyHub({"LeonJoe13/Sonic/RIFE/flownet.pkl": b"\x80\x02" + b"0" * 5000})
    page = Served("", folder, hub)
    with serving(hub):
        words = ["-m", "sonic_ext", "serve", "--port", "0", "--json", "--output-dir", folder / "out puts"]
        places = {"SONIC_HOME": str(page.home), "SONIC_MODELS": str(page.models), "HF_ENDPOINT": hub.url}
        with served(folder, *words, HF_HOME=str(folder / "hub"), **places) as told:
            yield Served(json.loads(told)["url"].rstrip("/"), folder, hub)


@contextmanager
def windows(browser: Any, url: str) -> Iterator[Callable[..., Page]]:
    """Opens the page in windows of their own; at the end none of them has asked any other server.

    Windows take the options of a playwright context, and `script`, JavaScript to run before the page's own.
    """
    asked: list[str] = []

    def open_window(script: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.set_default_navigation_timeout(MILLISECONDS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        if script:
            page.add_init_script(script)
        page.goto(url)
        page.wait_for_selector("#sonic_generate")
        return page

    with ExitStack() as stack:
        yield open_window
    own = (url, url.replace("http:", "ws:"), "data:", "blob:")
    assert [each for each in asked if not each.startswith(own)] == []


def area(page: Page, name: str) -> Any:
    """A part of the page; gradio 3 gives the same id to an element and to its frame."""
    return page.locator(f"#sonic_{name}").first


def show(page: Page, tab: str) -> None:
    """A tab of ours."""
    page.locator("#sonic_tabs > .tab-nav button", has_text=tab).first.click()


def unfold(page: Page, section: str) -> None:
    """A section of the form."""
    page.locator("#sonic_root .label-wrap", has_text=section).first.click()


def give(page: Page, portrait: Path, speech: Path) -> None:
    """Upload both and choose the smallest size."""
    page.set_input_files("#sonic_portrait input[type=file]", portrait)
    page.set_input_files("#sonic_audio input[type=file]", speech)
    checked = page.locator("#sonic_facts .sonic-facts, #sonic_facts .sonic-error")
    expect(checked.first).to_be_visible()  # before, the page grows under the mouse and a click may get lost
    unfold(page, "Video")
    size = page.locator("#sonic_min_resolution input[type=number]")
    size.fill("256")
    size.press("Tab")
    expect(checked.first).to_contain_text(re.compile("256 × 256|not a picture"))


def make(page: Page) -> None:
    """Generate, until the video is there."""
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()


def consent(page: Page, prefix: str = "sonic_consent", parts: tuple[str, ...] = ("face", "voice")) -> None:
    """State that nobody's face and voice are used."""
    for part in parts:
        choose(page, f"{prefix}_{part}", "Synthetic")
    page.check(f"#{prefix}_stated input")


def choose(page: Page, name: str, text: str) -> None:
    """An entry of a dropdown, until it shows."""
    page.click(f"#{name} input")
    page.locator(f"#{name} li", has_text=text).click()
    expect(page.locator(f"#{name} input").first).to_have_value(re.compile(re.escape(text)))


def exported(page: Page) -> Any:
    """Press Export; the sentence that says where the file is."""
    page.click("#sonic_export")
    told = page.locator("#sonic_outcome .sonic-good").first
    expect(told).to_contain_text("Exported as")
    return told
