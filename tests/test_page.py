"""The page in a real headless Chromium, from upload to exported file, with the real pipeline and gate.

The same file runs with gradio 3.41 and 4.40, see requirements/.
"""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
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
from patience import PATIENCE
from spoken import MEDIA, one_minute

SIGNED = Path(__file__).parent / "data" / "signed"


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


@pytest.fixture(scope="module")
def long_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of speech."""
    return one_minute(tmp_path_factory.mktemp("speech") / "minute.wav")


def _fact(page: Page, name: str) -> str:
    cell = page.locator("#sonic_facts .sonic-facts > div", has_text=name)
    return str(cell.locator("dd").inner_text())


def test_from_upload_to_exported_file(page: Page, served: Served, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    assert _fact(page, "Frames") == "25 at 25/s"
    expect(page.locator("#sonic_picture img")).to_be_visible()
    before = served.exports()

    make(page)
    assert _playable(page, "#sonic_preview video") == pytest.approx(1, abs=0.1)
    assert served.exports() == before

    consent(page)
    said = exported(page)
    assert _playable(page, "#sonic_result video") == pytest.approx(1, abs=0.1)
    (file,) = set(served.exports()) - set(before)
    assert file.suffix == ".mp4"
    expect(said).to_contain_text(file.name)

    expect(page.locator("#sonic_evidence .sonic-good")).to_contain_text("Made by this tool")
    played = page.locator("#sonic_result video").evaluate("video => video.currentSrc || video.src")
    assert _sha256(_get(played)) == _sha256(file.read_bytes())
    unfold(page, "Exported videos")
    with page.expect_download() as download:
        page.click(f'#sonic_shelf a[download="{file.name}"]')
    assert _sha256(Path(download.value.path()).read_bytes()) == _sha256(file.read_bytes())


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


def test_what_is_wrong_is_said_in_the_browsers_language(window: Callable[..., Page]) -> None:
    for locale, shown, hidden in (
        ("zh-CN", "需要肖像和语音。", "are needed"),
        ("en-GB", "are needed", "需要"),
    ):
        page = window(locale=locale)
        page.click("#sonic_generate")
        said = page.locator("#sonic_progress .sonic-error strong")
        expect(said.get_by_text(shown)).to_be_visible()
        assert hidden not in said.inner_text()


def test_the_gate_keeps_the_very_files_that_were_uploaded(page: Page, served: Served, speech: Path) -> None:
    before = set(served.takes())
    give(page, PORTRAIT, speech)
    make(page)
    (take,) = set(served.takes()) - before
    told = served.told_of(take)
    assert told["portrait_sha256"] == _sha256(PORTRAIT.read_bytes())
    assert told["audio_sha256"] == _sha256(speech.read_bytes())
    assert told["settings"]["min_resolution"] == 256


def test_nothing_leaves_without_consent(page: Page, served: Served, speech: Path) -> None:
    before = served.exports()
    give(page, PORTRAIT, speech)
    make(page)
    refused = page.locator("#sonic_outcome .sonic-error")
    page.click("#sonic_export")
    expect(refused).to_contain_text("not stated")
    page.check("#sonic_consent_stated input")
    page.click("#sonic_export")
    expect(refused).to_contain_text("Consent for the face is missing")
    choose(page, "sonic_consent_face", "Synthetic")
    page.click("#sonic_export")
    expect(refused).to_contain_text("Consent for the voice is missing")
    assert served.exports() == before


def test_the_private_store_is_out_of_reach(page: Page, served: Served, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    make(page)
    private = [path for path in served.home.rglob("*") if path.is_file()]
    assert any(path.name == "master.mp4" for path in private)
    for path in (*private, Path(__file__)):
        for route in ("file=", "file/"):
            assert _status(f"{served.url}/{route}{urllib.request.pathname2url(str(path))}") in (403, 404)


def test_cancel(page: Page, served: Served, long_speech: Path) -> None:
    before = served.takes()
    give(page, PORTRAIT, long_speech)
    expect(area(page, "facts")).to_contain_text("1 min 00 s")
    page.click("#sonic_generate")
    expect(area(page, "progress")).to_contain_text("left")
    page.click("#sonic_cancel")
    expect(page.locator("#sonic_progress .sonic-note")).to_contain_text("Stopped as asked")
    expect(page.locator("#sonic_generate")).to_be_enabled()
    expect(page.locator("#sonic_cancel")).to_be_disabled()
    assert served.takes() == before


def test_a_page_that_is_loaded_anew_finds_its_video(page: Page, served: Served, long_speech: Path) -> None:
    """And does not stop it; nor does closing the window."""
    before = served.takes()
    give(page, PORTRAIT, long_speech)
    page.click("#sonic_generate")
    expect(area(page, "progress")).to_contain_text("left")
    page.reload()
    expect(area(page, "progress")).to_contain_text("left")
    expect(page.locator("#sonic_generate")).to_be_disabled()
    page.click("#sonic_cancel")
    expect(page.locator("#sonic_progress .sonic-note")).to_contain_text("Stopped as asked")
    assert served.takes() == before
    page.wait_for_function("localStorage.getItem('sonicJob') === null")
    page.reload()
    expect(page.locator("#sonic_generate")).to_be_enabled()
    expect(area(page, "progress")).to_have_text("")


def test_a_video_that_was_made_meanwhile_can_be_exported(page: Page, served: Served, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    make(page)
    before = served.exports()
    page.reload()
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
    assert _playable(page, "#sonic_preview video") == pytest.approx(1, abs=0.1)
    consent(page)
    exported(page)
    assert len(served.exports()) == len(before) + 1
    page.reload()
    expect(page.locator("#sonic_generate")).to_be_enabled()
    expect(page.locator("#sonic_gate")).to_be_hidden()


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


def test_a_lost_stream_is_made_up_for(window: Callable[..., Page], served: Served, speech: Path) -> None:
    page = window(LOSING)
    give(page, PORTRAIT, speech)
    before = served.takes()
    page.evaluate("window.losing = true")
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
    expect(page.locator("#sonic_generate")).to_be_enabled()
    expect(page.locator("#sonic_preview video")).to_be_visible()
    assert page.evaluate("window.lost") > 0
    assert len(served.takes()) == len(before) + 1


def test_two_windows_do_not_cross(window: Callable[..., Page], served: Served, speech: Path) -> None:
    before, let_out = set(served.takes()), set(served.exports())
    one, two = window(), window()
    for page, portrait in ((one, PORTRAIT), (two, OTHER_PORTRAIT)):
        give(page, portrait, speech)
    for page in (one, two):
        page.click("#sonic_generate")
    for page in (one, two):
        expect(page.locator("#sonic_progress .sonic-good")).to_be_visible()
    consent(two)
    exported(two)
    expect(area(one, "outcome")).to_have_text("")
    portraits = {take: served.told_of(take)["portrait_sha256"] for take in set(served.takes()) - before}
    assert set(portraits.values()) == {_sha256(PORTRAIT.read_bytes()), _sha256(OTHER_PORTRAIT.read_bytes())}
    (file,) = set(served.exports()) - let_out
    (take,) = [take for take in portraits if file.stem.rsplit("-", 1)[1] == take[:6]]
    assert portraits[take] == _sha256(OTHER_PORTRAIT.read_bytes())


def test_bad_input_is_one_sentence(page: Page, speech: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_bytes(b"this is not a picture\n" * 30)
    give(page, text, speech)
    told = page.locator("#sonic_facts .sonic-error")
    expect(told).to_be_visible()
    page.click("#sonic_generate")
    expect(page.locator("#sonic_progress .sonic-error")).to_be_visible()
    assert "Traceback" not in page.locator("body").inner_text()
    expect(page.locator("#sonic_generate")).to_be_enabled()


def test_a_face_can_be_placed_by_clicking(page: Page, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    unfold(page, "Placement by hand")
    page.get_by_label("face box", exact=True).check()
    expect(area(page, "root")).to_contain_text("Click the top left corner of the face")
    picture = page.locator("#sonic_picture img")
    page.wait_for_function(
        "picture => picture.complete && picture.naturalWidth", arg=picture.element_handle()
    )
    box = picture.bounding_box()
    centre, side = box["width"] / 2, box["height"]
    picture.click(position={"x": centre + 0.15 * side, "y": 0.62 * side})
    expect(area(page, "root")).to_contain_text("Now the second point.")
    picture.click(position={"x": centre - 0.15 * side, "y": 0.2 * side})
    field = page.locator("#sonic_face_box input, #sonic_face_box textarea")
    expect(field).to_have_value(re.compile(r"^\d+, \d+, \d+, \d+$"))
    left, top, right, bottom = map(int, field.input_value().split(", "))
    assert right - left == pytest.approx(0.3 * 768, rel=0.1)
    assert bottom - top == pytest.approx(0.42 * 768, rel=0.1)


def test_presets_move_the_controls(page: Page) -> None:
    unfold(page, "Video")
    size = page.locator("#sonic_min_resolution input[type=number]")
    for preset, expected in (("quality", "1024"), ("quick", "384"), ("standard", "512")):
        page.locator("#sonic_preset").get_by_label(preset).check()
        expect(size).to_have_value(expected)


def test_the_last_of_quick_changes_is_checked(page: Page, speech: Path) -> None:
    """gradio drops events of a control while it answers an earlier one."""
    give(page, PORTRAIT, speech)
    size = page.locator("#sonic_min_resolution input[type=number]")
    for value in ("320", "384", "448"):
        size.fill(value)
        size.press("Tab")
    expect(page.locator("#sonic_facts .sonic-facts")).to_contain_text("448 × 448")


def test_verify_tab(page: Page, served: Served, speech: Path, tmp_path: Path) -> None:
    give(page, PORTRAIT, speech)
    make(page)
    consent(page)
    before = set(served.exports())
    exported(page)
    (file,) = set(served.exports()) - before

    show(page, "Verify")
    page.set_input_files("#sonic_verify_file input[type=file]", file)
    verdict = area(page, "verdict")
    expect(verdict.locator(".sonic-good").first).to_be_visible()
    assert "{" not in verdict.inner_text()

    altered = tmp_path / "altered.mp4"
    data = bytearray(file.read_bytes())
    data[data.index(b"mdat") + 2000] ^= 0xFF
    altered.write_bytes(data)
    # gradio takes a file field away once it is filled
    page.locator("#sonic_verify_file").get_by_label(re.compile("clear|remove", re.I)).first.click()
    expect(verdict).to_contain_text("Add a video or a picture of one.")
    page.set_input_files("#sonic_verify_file input[type=file]", altered)
    expect(verdict.locator(".sonic-error").first).to_contain_text("altered")

    page.locator("#sonic_verify_file").get_by_label(re.compile("clear|remove", re.I)).first.click()
    expect(verdict).to_contain_text("Add a video or a picture of one.")
    page.set_input_files("#sonic_verify_file input[type=file]", SIGNED / "stamped.mp4")
    said = verdict.locator(".sonic-warning").first
    expect(said).to_contain_text("its certificate ended on 2024-04-01")
    expect(said).to_contain_text("name the file of its root certificate in SONIC_C2PA_ANCHORS")
    expect(verdict.get_by_role("row", name="Time stamp")).to_contain_text("2024-01-02 12:00 UTC by Clock")


def test_lip_sync_of_a_video(page: Page, tmp_path: Path) -> None:
    """Beside the marks of the same file: the offset with its chart, until another file comes."""
    show(page, "Verify")
    sync = area(page, "sync")
    page.click("#sonic_sync_measure")
    expect(sync).to_contain_text("Add a video in which somebody speaks.")
    file = Path(__file__).parents[1] / "docs" / "media" / "hello.mp4"
    page.set_input_files("#sonic_verify_file input[type=file]", file)
    expect(area(page, "verdict")).to_contain_text("Says that this tool made it")
    page.click("#sonic_sync_measure")
    chart = sync.locator("img.sonic-chart")
    expect(chart).to_be_visible()
    assert chart.evaluate("img => img.complete && img.naturalWidth") == 1600
    page.locator("#sonic_verify_file").get_by_label(re.compile("clear|remove", re.I)).first.click()
    expect(chart).to_have_count(0)


REVOCABLE = iter([MEDIA / f"portrait_0{number}.jpg" for number in (3, 4, 5)])
"""A portrait for each time that the test runs: what is revoked once stays so."""


def test_consent_tab(page: Page, served: Served, speech: Path) -> None:
    give(page, next(REVOCABLE), speech)
    make(page)
    consent(page)
    exported(page)

    show(page, "Consent")
    newest = page.locator("#sonic_ledger tbody tr").first
    expect(newest).to_contain_text("exported")
    record = newest.locator("code").inner_text()
    choose(page, "sonic_record", record)
    expect(area(page, "record_details")).to_contain_text(record)
    page.click("#sonic_revoke")
    page.click("#sonic_revoke_keep")
    expect(page.locator("#sonic_revoke_sure")).to_be_hidden()
    expect(newest).to_contain_text("exported")
    page.click("#sonic_revoke")
    page.click("#sonic_revoke_sure")
    expect(newest).to_contain_text("revoked")

    before = served.exports()
    show(page, "Animate")
    page.click("#sonic_export")
    expect(page.locator("#sonic_outcome .sonic-error")).to_be_visible()
    assert served.exports() == before


def test_weights_tab(page: Page, served: Served) -> None:
    """What lacks is told; a part is fetched once its licence is accepted."""
    show(page, "Weights")
    row = page.locator("#sonic_weights_table tbody tr", has_text="RIFE")
    expect(row).to_contain_text("missing")
    expect(area(page, "weights_summary")).to_contain_text("lacks 6 of 6 parts")
    expect(area(page, "weights_summary")).to_contain_text(str(served.models))
    chosen = page.locator("#sonic_weights_chosen")
    expect(chosen.locator("input:checked")).to_have_count(6)
    for _ in range(6):
        chosen.locator("input:checked").first.uncheck()
    expect(area(page, "weights_total")).to_contain_text("Nothing is chosen")
    page.click("#sonic_weights_fetch")
    expect(page.locator("#sonic_weights_progress .sonic-error")).to_contain_text("No part is chosen")

    chosen.locator("label", has_text="RIFE").locator("input").check()
    expect(area(page, "weights_total")).to_contain_text("12 MB")
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
def test_weights_do_not_overflow(window: Callable[..., Page], width: int) -> None:
    page = window(viewport={"width": width, "height": 900})
    show(page, "Weights")
    expect(page.locator("#sonic_weights_table tbody tr")).not_to_have_count(0)
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    wide = page.evaluate(
        """[...document.querySelectorAll('#sonic_weights_table .sonic-scroll, #sonic_weights_table td')]
           .filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.innerText)"""
    )
    assert wide == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(window: Callable[..., Page], width: int, scheme: str) -> None:
    page = window(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for section in ("Video", "Motion", "Quality", "Visible label", "Placement"):
        unfold(page, section)
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
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
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def _status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
