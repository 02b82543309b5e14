"""The page in a real headless Chromium, from upload to exported file, with the real pipeline and gate.

The same file runs with gradio 3.41 and 4.40, see requirements/.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chromium import launched
from spoken import MEDIA, one_minute, one_second
from tiny_hub import TinyHub, serving

pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")
playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="the page tests need playwright: install the extra `test`"
)
expect = playwright_api.expect
Page = Any

ROOT = Path(__file__).parents[1]
PORTRAIT = MEDIA / "portrait_01.jpg"
OTHER_PORTRAIT = MEDIA / "portrait_02.jpg"
SIGNED = ROOT / "tests" / "data" / "signed"
LONG = 60_000
"""Milliseconds that a step may take on a slow and busy machine."""


@dataclass(frozen=True)
class Served:
    """A page that runs."""

    url: str
    home: Path
    outputs: Path
    models: Path
    """Where weights go."""
    hub: TinyHub
    """Stands in for the Hugging Face Hub."""

    def exports(self) -> list[Path]:
        """What has been let out."""
        return sorted(self.outputs.glob("*"))

    def takes(self) -> list[str]:
        """What lies in the private store."""
        folder = self.home / "takes"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`sonic serve` as a process of its own."""
    folder = tmp_path_factory.mktemp("page")
    home, outputs = folder / "home", folder / "out puts"
    words = ["serve", "--port", "0", "--json", "--output-dir", str(outputs)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    hub = TinyHub({"LeonJoe13/Sonic/RIFE/flownet.pkl": b"\x80\x02" + b"0" * 5000})
    with (folder / "log").open("w+") as log, serving(hub):
        places = {"SONIC_HOME": str(home), "SONIC_MODELS": str(folder / "mod els"), "HF_ENDPOINT": hub.url}
        process = subprocess.Popen(
            [sys.executable, "-m", "sonic_ext", *words],
            env=os.environ | places | {"HF_HOME": str(folder / "hub"), "PYTHONPATH": path},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, (folder / "log").read_text()
        yield Served(json.loads(told)["url"].rstrip("/"), home, outputs, folder / "mod els", hub)
        process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
        process.wait(timeout=30)
        process.stdout.close()
        log.seek(0)
        text = log.read()
    assert "Traceback" not in text, text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A fresh Chromium with a profile of its own."""
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Page]:
    """The open page in a window of its own; nothing may be asked of any other server."""
    with _window(browser, served) as opened:
        yield opened


class _window:  # noqa: N801
    """A browser window with the page in it; at the end it must not have asked any other server."""

    def __init__(self, browser: Any, served: Served, **options: Any) -> None:
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self._served = served
        self.asked: list[str] = []

    def __enter__(self) -> Page:
        page = self._context.new_page()
        page.set_default_timeout(LONG)
        expect.set_options(timeout=LONG)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.goto(self._served.url)
        page.wait_for_selector("#sonic_generate")
        return page

    def __exit__(self, kind: object, *rest: object) -> None:
        self._context.close()
        if kind is None:
            own = (self._served.url, self._served.url.replace("http:", "ws:"), "data:", "blob:")
            assert [url for url in self.asked if not url.startswith(own)] == []


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of speech."""
    return one_second(tmp_path_factory.mktemp("speech") / "one.wav")


@pytest.fixture(scope="module")
def long_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of speech."""
    return one_minute(tmp_path_factory.mktemp("speech") / "minute.wav")


def _give(page: Page, portrait: Path, speech: Path) -> None:
    """Upload both and choose the smallest size."""
    page.set_input_files("#sonic_portrait input[type=file]", portrait)
    page.set_input_files("#sonic_audio input[type=file]", speech)
    checked = page.locator("#sonic_facts .sonic-facts, #sonic_facts .sonic-error")
    expect(checked.first).to_be_visible()  # before, the page grows under the mouse and a click may get lost
    _unfold(page, "Video")
    size = page.locator("#sonic_min_resolution input[type=number]")
    size.fill("256")
    size.press("Tab")
    expect(checked.first).to_contain_text(re.compile("256 × 256|not a picture"))


def _area(page: Page, name: str) -> Any:
    """A part of the page; gradio 3 gives the same id to an element and to its frame."""
    return page.locator(f"#sonic_{name}").first


def _tab(page: Page, name: str) -> None:
    page.locator("#sonic_tabs > .tab-nav button", has_text=name).first.click()


def _unfold(page: Page, section: str) -> None:
    page.locator("#sonic_root .label-wrap", has_text=section).first.click()


def _make(page: Page) -> None:
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()


def _consent(page: Page, face: str = "Synthetic", voice: str = "Synthetic") -> None:
    for part, meaning in (("face", face), ("voice", voice)):
        if meaning:
            page.click(f"#sonic_consent_{part} input")
            page.locator(f"#sonic_consent_{part} li", has_text=meaning).click()
    page.check("#sonic_consent_stated input")


def _fact(page: Page, name: str) -> str:
    cell = page.locator("#sonic_facts .sonic-facts > div", has_text=name)
    return str(cell.locator("dd").inner_text())


def test_from_upload_to_exported_file(page: Page, served: Served, speech: Path) -> None:
    _give(page, PORTRAIT, speech)
    assert _fact(page, "Frames") == "25 at 25/s"
    expect(page.locator("#sonic_picture img")).to_be_visible()
    before = served.exports()

    _make(page)
    assert _playable(page, "#sonic_preview video") == pytest.approx(1, abs=0.1)
    assert served.exports() == before

    _consent(page)
    page.click("#sonic_export")
    expect(page.locator("#sonic_outcome .sonic-good").first).to_contain_text("Exported as")
    assert _playable(page, "#sonic_result video") == pytest.approx(1, abs=0.1)
    (exported,) = set(served.exports()) - set(before)
    assert exported.suffix == ".mp4"
    expect(_area(page, "outcome")).to_contain_text(exported.name)

    expect(page.locator("#sonic_evidence .sonic-good")).to_contain_text("Made by this tool")
    played = page.locator("#sonic_result video").evaluate("video => video.currentSrc || video.src")
    assert _sha256(_get(played)) == _sha256(exported.read_bytes())
    _unfold(page, "Exported videos")
    with page.expect_download() as download:
        page.click(f'#sonic_shelf a[download="{exported.name}"]')
    assert _sha256(Path(download.value.path()).read_bytes()) == _sha256(exported.read_bytes())


def test_microphone(page: Page) -> None:
    page.set_input_files("#sonic_portrait input[type=file]", PORTRAIT)
    switch = page.locator("#sonic_audio").get_by_label("Record audio")
    record = page.locator("button:visible", has_text=re.compile(r"^\s*Record( from microphone)?\s*$"))
    stop = page.locator("button:visible", has_text=re.compile(r"^\s*Stop( recording)?\s*$"))
    tab = page.locator(".sonic-sources .tab-nav button", has_text="Microphone")
    switch.or_(tab).first.click()
    record.first.click()
    began = page.evaluate("performance.now()")
    expect(stop.first).to_be_visible()
    page.wait_for_function("began => performance.now() - began > 1200", arg=began)  # something to record
    stop.first.click()
    expect(page.locator("#sonic_facts .sonic-facts")).to_be_visible()
    assert _fact(page, "Length").endswith(" s")


def _told(path: Path) -> dict[str, Any]:
    """What a take.json says of its take."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["take"]
    return values


def test_the_gate_keeps_the_very_files_that_were_uploaded(page: Page, served: Served, speech: Path) -> None:
    before = set(served.takes())
    _give(page, PORTRAIT, speech)
    _make(page)
    (take,) = set(served.takes()) - before
    told = _told(served.home / "takes" / take / "take.json")
    assert told["portrait_sha256"] == _sha256(PORTRAIT.read_bytes())
    assert told["audio_sha256"] == _sha256(speech.read_bytes())
    assert told["settings"]["min_resolution"] == 256


def test_nothing_leaves_without_consent(page: Page, served: Served, speech: Path) -> None:
    before = served.exports()
    _give(page, PORTRAIT, speech)
    _make(page)
    refused = page.locator("#sonic_outcome .sonic-error")
    page.click("#sonic_export")
    expect(refused).to_contain_text("not stated")
    page.check("#sonic_consent_stated input")
    page.click("#sonic_export")
    expect(refused).to_contain_text("Consent for the face is missing")
    _consent(page, voice="")
    page.click("#sonic_export")
    expect(refused).to_contain_text("Consent for the voice is missing")
    assert served.exports() == before


def test_the_private_store_is_out_of_reach(page: Page, served: Served, speech: Path) -> None:
    _give(page, PORTRAIT, speech)
    _make(page)
    private = [path for path in served.home.rglob("*") if path.is_file()]
    assert any(path.name == "master.mp4" for path in private)
    for path in (*private, Path(__file__)):
        for route in ("file=", "file/"):
            assert _status(f"{served.url}/{route}{urllib.request.pathname2url(str(path))}") in (403, 404)


def test_cancel(page: Page, served: Served, long_speech: Path) -> None:
    before = served.takes()
    _give(page, PORTRAIT, long_speech)
    expect(_area(page, "facts")).to_contain_text("1 min 00 s")
    page.click("#sonic_generate")
    expect(_area(page, "progress")).to_contain_text("left")
    page.click("#sonic_cancel")
    expect(page.locator("#sonic_progress .sonic-note")).to_contain_text("Stopped as asked")
    expect(page.locator("#sonic_generate")).to_be_enabled()
    expect(page.locator("#sonic_cancel")).to_be_disabled()
    assert served.takes() == before


LOSING = """(() => {
    window.losing = false;
    window.lost = 0;
    const filtered = (state, text, pass) => {
        if (state.deaf) window.lost += 1;
        else pass();
        state.deaf = state.deaf || window.losing && text.includes("sonic-progress");
    };
    const plain = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
    Object.defineProperty(WebSocket.prototype, "onmessage", {
        set(listener) {
            plain.set.call(this, event => filtered(this, event.data, () => listener.call(this, event)));
        },
    });
    const fetched = window.fetch;
    window.fetch = async (...asked) => {
        const answer = await fetched(...asked);
        if (!answer.url.includes("/queue/data")) return answer;
        const state = {}, decoder = new TextDecoder();
        const transform = (chunk, out) => filtered(state, decoder.decode(chunk), () => out.enqueue(chunk));
        return new Response(answer.body.pipeThrough(new TransformStream({transform})), answer);
    };
})()"""
"""JavaScript: while `losing`, a stream that has told of some progress reaches the page no more."""


def test_a_lost_stream_is_made_up_for(page: Page, served: Served, speech: Path) -> None:
    page.add_init_script(LOSING)
    page.reload()
    page.wait_for_selector("#sonic_generate")
    _give(page, PORTRAIT, speech)
    before = served.takes()
    page.evaluate("window.losing = true")
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
    expect(page.locator("#sonic_generate")).to_be_enabled()
    expect(page.locator("#sonic_preview video")).to_be_visible()
    assert page.evaluate("window.lost") > 0
    assert len(served.takes()) == len(before) + 1


def test_two_windows_do_not_cross(browser: Any, served: Served, speech: Path) -> None:
    before = set(served.takes())
    with _window(browser, served) as one, _window(browser, served) as two:
        for page, portrait in ((one, PORTRAIT), (two, OTHER_PORTRAIT)):
            _give(page, portrait, speech)
        for page in (one, two):
            page.click("#sonic_generate")
        for page in (one, two):
            expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
        _consent(two)
        two.click("#sonic_export")
        expect(two.locator("#sonic_outcome .sonic-good").first).to_be_visible()
        assert _area(one, "outcome").inner_text().strip() == ""
    made = [served.home / "takes" / take / "take.json" for take in set(served.takes()) - before]
    hashes = {_told(path)["portrait_sha256"] for path in made}
    assert hashes == {_sha256(PORTRAIT.read_bytes()), _sha256(OTHER_PORTRAIT.read_bytes())}
    newest = max(served.exports(), key=lambda path: path.stat().st_mtime)
    by_take = {path.parent.name[:6]: _told(path) for path in made}
    exported = by_take[newest.stem.rsplit("-", 1)[1]]
    assert exported["portrait_sha256"] == _sha256(OTHER_PORTRAIT.read_bytes())


def test_bad_input_is_one_sentence(page: Page, speech: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_bytes(b"this is not a picture\n" * 30)
    _give(page, text, speech)
    told = page.locator("#sonic_facts .sonic-error")
    expect(told).to_be_visible()
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-error")).to_be_visible()
    assert "Traceback" not in page.locator("body").inner_text()
    expect(page.locator("#sonic_generate")).to_be_enabled()


def test_a_face_can_be_placed_by_clicking(page: Page, speech: Path) -> None:
    _give(page, PORTRAIT, speech)
    _unfold(page, "Placement by hand")
    page.get_by_label("face box", exact=True).check()
    picture = page.locator("#sonic_picture img")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    centre, side = box["x"] + box["width"] / 2, box["height"]
    page.mouse.click(centre + 0.15 * side, box["y"] + 0.62 * side)
    expect(_area(page, "root")).to_contain_text("Now the second point.")
    page.mouse.click(centre - 0.15 * side, box["y"] + 0.2 * side)
    field = page.locator("#sonic_face_box input, #sonic_face_box textarea")
    expect(field).to_have_value(re.compile(r"^\d+, \d+, \d+, \d+$"))
    left, top, right, bottom = map(int, field.input_value().split(", "))
    assert right - left == pytest.approx(0.3 * 768, rel=0.1)
    assert bottom - top == pytest.approx(0.42 * 768, rel=0.1)


def test_presets_move_the_controls(page: Page) -> None:
    _unfold(page, "Video")
    size = page.locator("#sonic_min_resolution input[type=number]")
    for preset, expected in (("quality", "1024"), ("quick", "384"), ("standard", "512")):
        page.locator("#sonic_preset").get_by_label(preset).check()
        expect(size).to_have_value(expected)


def test_the_last_of_quick_changes_is_checked(page: Page, speech: Path) -> None:
    """gradio drops events of a control while it answers an earlier one."""
    _give(page, PORTRAIT, speech)
    size = page.locator("#sonic_min_resolution input[type=number]")
    for value in ("320", "384", "448"):
        size.fill(value)
        size.press("Tab")
    expect(page.locator("#sonic_facts .sonic-facts")).to_contain_text("448 × 448")


def test_verify_tab(page: Page, served: Served, speech: Path, tmp_path: Path) -> None:
    _give(page, PORTRAIT, speech)
    _make(page)
    _consent(page)
    page.click("#sonic_export")
    expect(page.locator("#sonic_outcome .sonic-good").first).to_be_visible()
    exported = max(served.exports(), key=lambda path: path.stat().st_mtime)

    _tab(page, "Verify")
    page.set_input_files("#sonic_verify_file input[type=file]", exported)
    verdict = _area(page, "verdict")
    expect(verdict.locator(".sonic-good").first).to_be_visible()
    assert "{" not in verdict.inner_text()

    altered = tmp_path / "altered.mp4"
    data = bytearray(exported.read_bytes())
    data[data.index(b"mdat") + 2000] ^= 0xFF
    altered.write_bytes(data)
    # gradio takes a file field away once it is filled
    page.locator("#sonic_verify_file").get_by_label(re.compile("clear|remove", re.I)).first.click()
    expect(verdict).to_contain_text("Add a video.")
    page.set_input_files("#sonic_verify_file input[type=file]", altered)
    expect(verdict.locator(".sonic-error").first).to_contain_text("altered")

    page.locator("#sonic_verify_file").get_by_label(re.compile("clear|remove", re.I)).first.click()
    expect(verdict).to_contain_text("Add a video.")
    page.set_input_files("#sonic_verify_file input[type=file]", SIGNED / "stamped.mp4")
    said = verdict.locator(".sonic-warning").first
    expect(said).to_contain_text("its certificate ended on 2024-04-01")
    expect(said).to_contain_text("name the file of its root certificate in SONIC_C2PA_ANCHORS")
    expect(verdict.get_by_role("row", name="Time stamp")).to_contain_text("2024-01-02 12:00 UTC by Clock")


def test_consent_tab(page: Page, served: Served, speech: Path) -> None:
    _give(page, OTHER_PORTRAIT, speech)
    _make(page)
    _consent(page)
    page.click("#sonic_export")
    expect(page.locator("#sonic_outcome .sonic-good").first).to_be_visible()

    _tab(page, "Consent")
    newest = page.locator("#sonic_ledger tbody tr").first
    expect(newest).to_contain_text("exported")
    record = newest.locator("code").inner_text()
    page.click("#sonic_record input")
    page.locator("#sonic_record li", has_text=record).click()
    expect(_area(page, "record_details")).to_contain_text(record)
    page.click("#sonic_revoke")
    page.click("#sonic_revoke_keep")
    expect(page.locator("#sonic_revoke_sure")).to_be_hidden()
    expect(newest).to_contain_text("exported")
    page.click("#sonic_revoke")
    page.click("#sonic_revoke_sure")
    expect(newest).to_contain_text("revoked")

    before = served.exports()
    _tab(page, "Animate")
    page.click("#sonic_export")
    expect(page.locator("#sonic_outcome .sonic-error")).to_be_visible()
    assert served.exports() == before


def test_weights_tab(page: Page, served: Served) -> None:
    """What lacks is told; a part is fetched once its licence is accepted."""
    _tab(page, "Weights")
    row = page.locator("#sonic_weights_table tbody tr", has_text="RIFE")
    expect(row).to_contain_text("missing")
    expect(_area(page, "weights_summary")).to_contain_text("lacks 6 of 6 parts")
    expect(_area(page, "weights_summary")).to_contain_text(str(served.models))
    chosen = page.locator("#sonic_weights_chosen")
    expect(chosen.locator("input:checked")).to_have_count(6)
    for _ in range(6):
        chosen.locator("input:checked").first.uncheck()
    expect(_area(page, "weights_total")).to_contain_text("Nothing is chosen")
    page.click("#sonic_weights_fetch")
    expect(page.locator("#sonic_weights_progress .sonic-error")).to_contain_text("No part is chosen")

    chosen.locator("label", has_text="RIFE").locator("input").check()
    expect(_area(page, "weights_total")).to_contain_text("12 MB")
    page.click("#sonic_weights_fetch")
    refused = page.locator("#sonic_weights_progress .sonic-error")
    expect(refused).to_contain_text("licences have not been accepted: CC BY-NC-SA 4.0")
    assert served.hub.ranges == [] and not served.models.exists()

    page.locator("label:visible", has_text="accept: CC BY-NC-SA 4.0").locator("input").check()
    page.click("#sonic_weights_fetch")
    expect(page.locator("#sonic_weights_progress .sonic-good")).to_contain_text("Fetched: RIFE")
    expect(row).to_contain_text("to convert")
    assert (served.models / "RIFE" / "flownet.pkl").stat().st_size == 5002
    expect(page.locator("#sonic_weights_fetch")).to_be_enabled()
    expect(page.locator("#sonic_weights_cancel")).to_be_disabled()


@pytest.mark.parametrize("width", [400, 1280])
def test_weights_do_not_overflow(browser: Any, served: Served, width: int) -> None:
    with _window(browser, served, viewport={"width": width, "height": 900}) as page:
        _tab(page, "Weights")
        expect(page.locator("#sonic_weights_table tbody tr")).not_to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        wide = page.evaluate(
            """[...document.querySelectorAll('#sonic_weights_table .sonic-scroll, #sonic_weights_table td')]
               .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.innerText)"""
        )
        assert wide == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(browser: Any, served: Served, width: int, scheme: str) -> None:
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with _window(browser, served, **options) as page:
        for section in ("Video", "Motion", "Quality", "Visible label", "Placement"):
            _unfold(page, section)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        cut = page.evaluate(
            """[...document.querySelectorAll('#sonic_root label, #sonic_root button, #sonic_root span')]
               .filter(each => !each.matches('.label-wrap'))  // its arrow is turned beyond the edge
               .filter(each => each.offsetParent && each.scrollWidth > each.clientWidth + 1)
               .filter(each => getComputedStyle(each).display !== 'inline')
               .map(each => each.innerText)"""
        )
        assert [text for text in cut if text.strip()] == []


def test_other_sites_may_not_ask(served: Served) -> None:
    assert _status(served.url) == 200
    assert _status(served.url, Origin="https://example.org") == 403
    assert _status(served.url, Host="example.org") == 403
    assert _status(served.url, Origin=served.url) == 200


def test_the_front_page_names_no_other_server(served: Served) -> None:
    html = _get(served.url).decode()
    loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"https?://[^\"]*", html)
    assert loaded == []


def _playable(page: Page, selector: str) -> float:
    """Wait until the browser itself can play the video; its length in seconds."""
    video = page.locator(selector)
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


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body


def _status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
