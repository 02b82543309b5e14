"""The page of `sonic serve` for tests in a browser, and what a person does on it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from patience import MILLISECONDS, PATIENCE, until
from served import served
from spoken import MEDIA
from tiny_hub import TinyHub, serving

pytest.importorskip("fastapi", reason="the page needs fastapi and uvicorn: install the extra `standalone`")
pytest.importorskip("uvicorn", reason="the page needs fastapi and uvicorn: install the extra `standalone`")
playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="the page tests need playwright: install the extra `test`"
)
from web import b64  # noqa: E402

expect = playwright_api.expect
expect.set_options(timeout=MILLISECONDS)
Page = Any
Locator = Any

PORTRAIT = MEDIA / "portrait_01.jpg"
OTHER_PORTRAIT = MEDIA / "portrait_02.jpg"
VIEWS = ("make", "history", "verify", "consents", "weights")
NOBODYS = "Synthetic: nobody's"
PICKLE = b"\x80\x02" + b"0" * 5000
"""Of the weights that the hub has: no network's."""


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

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The API's answer to another program than the page."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/sonic/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def begin(self, portrait: Path, speech: Path) -> str:
        """Ask for a small video as another program does; its id."""
        body = {"portrait": b64(portrait), "audio": b64(speech), "settings": {"min_resolution": 256}}
        return str(self.ask("POST", "/animations", body)["id"])

    def animation(self, name: str, *states: str) -> Any:
        """A video, as soon as it is in one of the states."""
        look = partial(self.ask, "GET", f"/animations/{name}")
        return until(look, lambda found: found["state"] in states)

    def unended(self) -> list[str]:
        """Ids of the videos that are made or wait."""
        return [each["id"] for each in self.ask("GET", "/animations")["animations"] if not each["ended"]]

    def stop_all(self) -> None:
        """Stop every video, until none is made or waits."""
        for name in self.unended():
            self.ask("DELETE", f"/animations/{name}")
        until(lambda: not self.unended())

    def made(self, portrait: Path, speech: Path) -> str:
        """Such a video, once it is there; its id."""
        name = self.begin(portrait, speech)
        assert self.animation(name, "done", "failed", "cancelled")["error"] is None
        return name

    def exported(self, name: str, **stated: str) -> str:
        """Let a video out, of nobody's face and voice; name of the file."""
        consent = {"face": "synthetic", "voice": "synthetic", **stated}
        return str(self.ask("POST", f"/animations/{name}/export", {"consent": consent})["name"])

    def fill_lists(self, speech: Path, **stated: str) -> None:
        """A video that is let out under what is stated, one that is not, and one that fails."""
        self.exported(self.made(PORTRAIT, speech), **stated)
        self.made(PORTRAIT, speech)
        nobody = {"portrait": b64(MEDIA / "no_person.jpg"), "audio": b64(speech)}
        (failed,) = self.ask("POST", "/batches", {"jobs": [nobody]})["animations"]
        assert self.animation(failed["id"], "failed")["error"]["error"] == "NoFace"


@contextmanager
def sonic_serve(folder: Path, port: int = 0) -> Iterator[Served]:
    """`sonic serve` as a process of its own."""
    hub = TinyHub({"LeonJoe13/Sonic/RIFE/flownet.pkl": PICKLE})
    page = Served("", folder, hub)
    with serving(hub):
        words = ("-m", "sonic_ext", "serve", "--port", str(port), "--json")
        places = {"SONIC_HOME": str(page.home), "SONIC_MODELS": str(page.models), "HF_ENDPOINT": hub.url}
        outputs = ("--output-dir", folder / "out puts")
        with served(folder, *words, *outputs, HF_HOME=str(folder / "hub"), **places) as told:
            yield Served(json.loads(told)["url"].rstrip("/"), folder, hub)


@contextmanager
def windows(browser: Any, url: str) -> Iterator[Callable[..., Page]]:
    """Opens the page in windows of their own; at the end none of them has asked any other server, and nothing
    went wrong in their scripts or against their content security policy.

    Windows take the options of a playwright context, and `view`, the view to begin with.
    """
    asked: list[str] = []
    wrong: list[str] = []

    def heard(message: Any) -> None:
        # a browser tells every answer that says no as an error of its own
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(message.text)

    def open_window(view: str = "make", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.set_default_navigation_timeout(MILLISECONDS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("console", heard)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{url}/#{view}")
        expect(page.locator(f"#view-{view}")).to_be_visible()
        return page

    with ExitStack() as stack:
        yield open_window
    assert [each for each in asked if not each.startswith((f"{url}/", "data:", f"blob:{url}/"))] == []
    assert wrong == []


def show(page: Page, view: str) -> Locator:
    """A view of the page, by the name of its tab."""
    page.get_by_role("tab", name=view, exact=True).click()
    return page.get_by_role("tabpanel", name=view, exact=True)


def unfold(page: Page, section: str) -> None:
    """A section of the settings."""
    page.locator("sonic-settings summary").filter(has_text=section).first.click()


def put(page: Page, portrait: Any = None, speech: Any = None) -> None:
    """Choose the files, as paths or as playwright has them."""
    for place, file in (("sonic-portrait", portrait), ("sonic-speech", speech)):
        if file is not None:
            page.locator(f"{place} input[type=file]").set_input_files(file)


def give(page: Page, portrait: Any, speech: Any) -> None:
    """Choose both files and the smallest size, until the page says what the video will be."""
    put(page, portrait, speech)
    size = page.locator("#set-min_resolution")
    if not size.is_visible():
        page.locator("sonic-settings details").filter(has=size).locator("summary").click()
    size.fill("256")
    expect(page.locator("sonic-make section .facts")).to_contain_text("256")
    expect(page.locator("sonic-make [aria-busy=true]")).to_have_count(0)


def fact(page: Page, name: str) -> Locator:
    """What the page says of the video that it would make."""
    facts = page.locator("sonic-make section .facts > div")
    return facts.filter(has=page.get_by_text(name, exact=True)).locator("dd")


def make(page: Page) -> Locator:
    """Generate, until the video is there; what shows it."""
    former = page.locator("sonic-making sonic-take").evaluate_all("shown => shown.map(each => each.id)")
    page.get_by_role("button", name="Generate").click()
    shown = page.locator("".join(["sonic-making sonic-take", *(f":not([id='{each}'])" for each in former)]))
    expect(shown.locator("video")).to_be_visible()
    return shown


def consent(page: Page) -> None:
    """State that nobody's face and voice are used."""
    for label in ("The face is", "The voice is"):
        page.get_by_label(label).locator("visible=true").select_option(NOBODYS)
    page.get_by_label("I state that this is true.").locator("visible=true").check()


def exported(page: Page) -> str:
    """State consent and press Export; name of the file."""
    consent(page)
    page.get_by_role("button", name="Export", exact=True).click()
    told = page.get_by_text("Exported as").locator("visible=true")
    expect(told).to_be_visible()
    name: str = told.inner_text().removeprefix("Exported as ").rstrip(".")
    return name


def playable(video: Locator) -> float:
    """Wait until the browser itself can play the video; its length in seconds."""
    expect(video).to_be_visible()
    length: float = video.evaluate(
        """video => new Promise((done, failed) => {
            const look = () => {
                if (video.error) failed(video.error.message);
                if (video.readyState >= 2) done(video.duration);
            };
            video.addEventListener('loadeddata', look); video.addEventListener('error', look);
            video.preload = 'auto'; video.load(); look();
        })"""
    )
    return length
