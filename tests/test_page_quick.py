"""A person who is quicker than the line: nothing pressed is lost, and nothing is left out of what is sent.

What a slow line does is done on purpose: requests are held back until the person has gone on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from own_page import (
    OTHER_PORTRAIT,
    PORTRAIT,
    Page,
    Served,
    area,
    choose,
    consent,
    expect,
    exported,
    give,
    make,
    show,
    sonic_serve,
    unfold,
    windows,
)
from PIL import Image

KEEPING = """(() => {
    window.kept = [];
    window.keep = () => false;
    const plain = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
    Object.defineProperty(WebSocket.prototype, "onmessage", {
        set(listener) {
            plain.set.call(this, event => {
                const pass = () => listener.call(this, event);
                window.keep(event.data) ? window.kept.push(pass) : pass();
            });
        },
    });
    const fetched = window.fetch;
    window.fetch = async (...asked) => {
        const answer = await fetched(...asked);
        if (!answer.url.includes("/queue/data")) return answer;
        const read = new TextDecoder(), write = new TextEncoder();
        let free = () => {};
        const transform = (chunk, out) => {
            for (const text of read.decode(chunk).split("\\n\\n").filter(each => each)) {
                const pass = () => out.enqueue(write.encode(text + "\\n\\n"));
                window.keep(text) ? window.kept.push(() => { try { pass(); } catch {} free(); }) : pass();
            }
        };
        const flush = () => window.kept.length ? new Promise(done => { free = done; }) : undefined;
        return new Response(answer.body.pipeThrough(new TransformStream({transform, flush})), answer);
    };
})()"""
"""JavaScript: what `keep` says yes to, of the queue's messages, reaches the page only when it is taken from
`kept` and called; with gradio 4 never, if the page has closed its stream by then."""
ENDS = "void (window.keep = text => text.includes('process_completed'))"
"""JavaScript: no event of the queue ends for the page, whatever it has shown."""
TELLS = "void (window.keep = text => /process_(generating|completed)/.test(text))"
"""JavaScript: no event of the queue tells anything."""


class Line:
    """The line to the server; while it is held, no request for `addresses` gets through."""

    def __init__(self, page: Page, addresses: str = "**/*") -> None:
        self._waiting: list[Any] = []
        self._held = False
        self.sent: list[str] = []
        """Bodies of the requests that were held."""
        page.route(addresses, self._route)

    def hold(self) -> None:
        """From now on nothing gets through."""
        self._held = True

    def free(self, *, last_first: bool = False) -> None:
        """What was held goes on its way; last first, each once the one sent after it is answered."""
        self._held = False
        waiting, self._waiting = self._waiting, []
        if last_first:
            for route in waiting[::-1]:
                route.fulfill(response=route.fetch())
        else:
            for route in waiting:
                route.continue_()

    def _route(self, route: Any) -> None:
        if not self._held:
            route.continue_()
            return
        self.sent.append((route.request.post_data_buffer or b"").decode("utf-8", "replace"))
        self._waiting.append(route)


LAST_FIRST = pytest.mark.parametrize("last_first", [False, True], ids=["in order", "last first"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with sonic_serve(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def window(browser: Any, served: Served) -> Iterator[Callable[..., Page]]:
    with windows(browser, served.url) as opened:
        yield opened


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    return window()


def _until(page: Page, line: Line, text: str) -> None:
    """Wait until a held request holds `text`."""
    while not any(text in body for body in line.sent):
        page.wait_for_timeout(20)  # lets playwright hand over what it has


def _export_from_history(page: Page) -> str:
    show(page, "History")
    page.locator("#sonic_history .thumbnail-item").first.click()
    expect(page.locator("#sonic_history_video video")).to_be_visible()
    page.locator("#sonic_root .label-wrap:visible", has_text="Consent and export").click()
    return "sonic_history_consent"


@pytest.mark.parametrize("tab", ["Animate", "History"])
def test_consent_travels_with_the_click(page: Page, served: Served, speech: Path, tab: str) -> None:
    """Whatever the page had to ask before: the request of Export alone says all that is stated."""
    give(page, PORTRAIT, speech)
    make(page)
    form = "sonic_consent" if tab == "Animate" else _export_from_history(page)
    button, outcome = form.replace("consent", "export"), form.replace("consent", "outcome")
    before, line = served.exports(), Line(page)
    line.hold()
    consent(page, form)
    page.click(f"#{button}")
    _until(page, line, "Synthetic")
    (body,) = [body for body in line.sent if "Synthetic" in body]
    stated = json.loads(body)["data"]
    assert stated[2:5] == [True, "Synthetic: nobody's", "Synthetic: nobody's"]
    assert served.exports() == before
    line.free()
    expect(page.locator(f"#{outcome} .sonic-good").first).to_contain_text("Exported as")
    assert len(served.exports()) == len(before) + 1


def test_a_click_is_heard_while_the_queue_still_ends_the_one_before(
    window: Callable[..., Page], speech: Path
) -> None:
    page = window(KEEPING)
    give(page, PORTRAIT, speech)
    make(page)
    refused = page.locator("#sonic_outcome .sonic-error")
    page.evaluate(ENDS)
    page.click("#sonic_export")
    expect(refused).to_contain_text("not stated")
    page.wait_for_function("window.kept.length > 0")
    page.check("#sonic_consent_stated input")
    page.click("#sonic_export")
    expect(refused).to_contain_text("Consent for the face is missing")
    consent(page)
    exported(page)


def test_generate_is_heard_while_the_queue_still_ends_the_one_before(
    window: Callable[..., Page], served: Served, speech: Path
) -> None:
    page = window(KEEPING)
    before = set(served.takes())
    give(page, PORTRAIT, speech)
    page.evaluate(ENDS)
    make(page)
    page.wait_for_function("window.kept.length > 0")
    page.click("#sonic_generate")
    expect(page.locator("#sonic_generate")).to_be_disabled()
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
    assert len(set(served.takes()) - before) == 2


def test_a_late_word_of_the_last_export_does_not_silence_the_next(
    window: Callable[..., Page], speech: Path
) -> None:
    page = window(KEEPING)
    give(page, PORTRAIT, speech)
    make(page)
    page.evaluate(TELLS)
    page.click("#sonic_export")
    expect(page.locator("#sonic_outcome .sonic-error")).to_contain_text("not stated")
    page.wait_for_function("window.kept.length > 0")
    consent(page)
    line = Line(page, "**/queue/**")  # nor is the next one followed
    line.hold()
    page.click("#sonic_export")
    expect(area(page, "outcome")).to_contain_text(re.compile("Signing|Exported"))
    page.evaluate("window.keep = () => false; window.kept.splice(0).forEach(pass => pass())")
    expect(page.locator("#sonic_evidence .sonic-good")).to_contain_text("Made by this tool")
    expect(page.locator("#sonic_export")).to_be_enabled()


def test_another_video_is_verified_while_the_queue_still_ends_the_one_before(
    window: Callable[..., Page], speech: Path, tmp_path: Path
) -> None:
    page = window(KEEPING)
    show(page, "Verify")
    page.evaluate(ENDS)
    verdict = area(page, "verdict")
    for name in ("one", "two"):
        file = tmp_path / f"{name}.mp4"
        file.write_bytes(b"this is no video")
        page.set_input_files("#sonic_verify_file input[type=file]", file)
        expect(verdict.locator(".sonic-error").first).to_contain_text(f"{name}.mp4")
        page.locator("#sonic_verify_file").get_by_label(re.compile("clear|remove", re.I)).first.click()
        expect(verdict).to_contain_text("Add a video or a picture of one.")


def test_evidence_on_its_way_is_not_left_out(page: Page, speech: Path, tmp_path: Path) -> None:
    """Until it is there the field holds none, or with gradio 3 one that may arrive empty."""
    evidence = tmp_path / "agreement.pdf"
    evidence.write_bytes(b"%PDF-1.4 signed" * 1000)
    give(page, OTHER_PORTRAIT, speech)
    make(page)
    consent(page)
    page.locator("#sonic_gate .label-wrap", has_text="Kept with the record").last.click()
    line = Line(page, "**/upload*")
    line.hold()
    page.set_input_files("#sonic_consent_evidence input[type=file]", evidence)
    expect(page.locator("#sonic_consent_evidence")).to_contain_text("ploading")
    page.click("#sonic_export")
    expect(page.locator("#sonic_outcome .sonic-error")).to_contain_text("still being uploaded")
    line.free()
    expect(page.locator("#sonic_consent_evidence").first).not_to_contain_text("ploading")
    exported(page)
    show(page, "Consent")
    choose(page, "sonic_record", page.locator("#sonic_ledger tbody tr code").first.inner_text())
    digest = hashlib.sha256(evidence.read_bytes()).hexdigest()
    expect(area(page, "record_details")).to_contain_text(digest)


@LAST_FIRST
def test_a_portrait_given_before_the_check_of_none_is_answered_is_checked(
    page: Page, speech: Path, tmp_path: Path, last_first: bool
) -> None:
    with Image.open(OTHER_PORTRAIT) as picture:
        width, height = picture.size
        picture.crop((width // 8, 0, width - width // 8, height)).save(tmp_path / "upright.png")
    give(page, PORTRAIT, speech)
    line = Line(page, "**/run/predict*")
    line.hold()
    page.locator("#sonic_portrait").get_by_label(re.compile("clear|remove", re.I)).first.click()
    page.set_input_files("#sonic_portrait input[type=file]", tmp_path / "upright.png")
    expect(page.locator("#sonic_portrait img")).to_be_visible()
    _until(page, line, '"data"')
    line.free(last_first=last_first)
    expect(page.locator("#sonic_facts .sonic-facts")).to_contain_text("256 × 342")


def test_the_last_of_quick_presets_counts(page: Page) -> None:
    unfold(page, "Video")
    presets, line = page.locator("#sonic_preset"), Line(page)
    line.hold()
    for preset in ("quality", "quick"):
        presets.get_by_label(preset).check()
    _until(page, line, "quality")
    line.free()
    expect(page.locator("#sonic_min_resolution input[type=number]")).to_have_value("384")
    expect(presets.get_by_label("quick")).to_be_checked()


@LAST_FIRST
def test_the_last_of_quick_parts_counts(page: Page, last_first: bool) -> None:
    show(page, "Weights")
    chosen, line = page.locator("#sonic_weights_chosen"), Line(page)
    expect(chosen.locator("input:checked")).to_have_count(6)
    line.hold()
    for _ in range(6):
        chosen.locator("input:checked").first.uncheck()
    _until(page, line, '"data"')
    line.free(last_first=last_first)
    expect(area(page, "weights_total")).to_contain_text("Nothing is chosen")
