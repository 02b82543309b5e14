"""The page inside a WebUI, which `webui_page.py` plays, for tests in a browser and over HTTP."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import served as servers
from own_page import Page, expect
from patience import MILLISECONDS, PATIENCE, until
from web import Answer

pytest.importorskip("gradio", reason="a WebUI needs gradio: see requirements/gradio4.txt")

ROOT = Path(__file__).parents[1]
USER = "somebody:pass word"
TOKEN = "X-Sonic-Token"


@dataclass(frozen=True)
class Served:
    """A WebUI that runs."""

    url: str
    """Without a slash at its end."""
    folder: Path
    """All of its own."""
    cookies: dict[str, str] = field(default_factory=dict)
    """Of who has logged in."""

    @property
    def home(self) -> Path:
        """The private store."""
        return self.folder / "private home"

    @property
    def outputs(self) -> Path:
        """Where exports go."""
        return self.folder / "webui" / "outputs" / "sonic"

    @contextlib.contextmanager
    def asking(self, method: str, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request as it comes; names of headers with `_` for `-`."""
        place = urllib.parse.urlsplit(self.url)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", place.port, timeout=PATIENCE)
        ) as line:
            line.request(method, place.path + path, headers=sent)
            yield line.getresponse()

    def ask(self, method: str, path: str, **headers: str) -> Answer:
        """The same, whole."""
        with self.asking(method, path, **headers) as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.read(), found)

    def token(self) -> str:
        """What the page is given, for who may load it."""
        found = re.search(r'token=\\?"([\w-]+)', self.ask("GET", "/config").body.decode())
        assert found
        return found[1]

    def log_in(self) -> Served:
        """The same for who has."""
        place = urllib.parse.urlsplit(self.url)
        name, _, word = USER.partition(":")
        form = urllib.parse.urlencode({"username": name, "password": word})
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", place.port, timeout=PATIENCE)
        ) as line:
            line.request(
                "POST", f"{place.path}/login", form, {"Content-Type": "application/x-www-form-urlencoded"}
            )
            answer = line.getresponse()
            given = answer.msg.get_all("set-cookie") or []
            assert answer.status == 200, answer.read()
        return Served(self.url, self.folder, dict(each.partition(";")[0].split("=", 1) for each in given))

    def reload(self) -> None:
        """*Reload UI*, until it serves again."""
        before = self.ask("GET", "/app_id").body
        self.ask("POST", "/reload")

        def up() -> bool:
            try:
                other = self.ask("GET", "/app_id").body != before
                return other and self.ask("GET", "/sonic/page/app.js").status == 200
            except OSError:
                return False

        until(up)

    def told_of(self, take: str) -> Any:
        """What a take in the private store says of itself."""
        return json.loads((self.home / "takes" / take / "take.json").read_text(encoding="utf-8"))["take"]


@contextlib.contextmanager
def webui(folder: Path, *words: str) -> Iterator[Served]:
    """The WebUI as a process of its own, started with these words; killed at the end."""
    with servers.served(
        folder,
        *("-W", "ignore", ROOT / "tests" / "webui_page.py", folder, *words),
        announces=lambda line: line.startswith("http"),  # gradio talks first
        tidy=False,
        GRADIO_TEMP_DIR=str(folder / "gradio"),
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_OFFLINE="1",
    ) as told:
        yield Served(told.strip().rstrip("/"), folder)


@contextlib.contextmanager
def windows(browser: Any, served: Served) -> Iterator[Callable[..., Page]]:
    """Opens the WebUI's page in windows of their own.

    None of its scripts may fail, and every request to the API must show the token, which that of a `src`
    cannot. Windows take the options of a playwright context, `theme`, and `script`, JavaScript to run before
    the page's.
    """
    failed: list[str] = []
    bare: list[str] = []

    def asked(request: Any) -> None:
        if "/sonic/v1/" in request.url and TOKEN.lower() not in request.headers:
            bare.append(request.url)

    def open_window(theme: str = "light", script: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        stack.callback(context.close)
        context.route(
            re.compile("googleapis"), lambda route: route.abort()
        )  # gradio asks for its fonts there
        context.add_cookies([{"name": n, "value": v, "url": served.url} for n, v in served.cookies.items()])
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.set_default_navigation_timeout(MILLISECONDS)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("request", asked)
        if script:
            page.add_init_script(script)
        page.goto(f"{served.url}/?__theme={theme}")
        loaded(page)
        return page

    with contextlib.ExitStack() as stack:
        yield open_window
    assert failed == []
    assert bare == []


def loaded(page: Page) -> None:
    """Until the WebUI's page and ours are there."""
    expect(page.locator("#txt2img_generate")).to_be_visible()
    page.evaluate("() => customElements.whenDefined('sonic-app').then(() => undefined)")


def open_tab(page: Page) -> None:
    """The tab Sonic."""
    page.evaluate("switch_to_sonic()")
    expect(page.locator("#view-make")).to_be_visible()


def digest(page: Page, picture: str, pixels: bool = False) -> str:
    """SHA-256 of a picture's file, or of its pixels as the browser decodes them."""
    found: str = page.locator(picture).first.evaluate(
        """async (picture, pixels) => {
            await picture.decode();
            let data = await (await fetch(picture.src)).arrayBuffer();
            if (pixels) {
                const canvas = document.createElement('canvas');
                canvas.width = picture.naturalWidth; canvas.height = picture.naturalHeight;
                const ink = canvas.getContext('2d');
                ink.drawImage(picture, 0, 0);
                data = ink.getImageData(0, 0, canvas.width, canvas.height).data;
            }
            const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
            return [...hash].map(each => each.toString(16).padStart(2, '0')).join('');
        }""",
        pixels,
    )
    return found


def basic(credentials: str) -> str:
    """The header Authorization of HTTP Basic."""
    return "Basic " + base64.b64encode(credentials.encode()).decode()
