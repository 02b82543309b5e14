"""The page in a real headless Chromium, from upload to exported file, with the real pipeline and gate."""

from __future__ import annotations

import base64
import hashlib
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from own_page import (
    NOBODYS,
    PORTRAIT,
    Locator,
    Page,
    Served,
    consent,
    expect,
    exported,
    fact,
    give,
    make,
    playable,
    put,
    show,
    unfold,
)
from patience import MILLISECONDS, PATIENCE
from spoken import MEDIA, write_wav

SIGNED = Path(__file__).parent / "data" / "signed"
NAME = re.compile(r"sonic-\d{8}-\d{6}-[0-9a-f]{6}\.mp4")
MARKUP = "<img src=x onerror=alert(1)>"


def test_the_examples_video_plays(page: Page) -> None:
    page.get_by_role("button", name="Watch its video").click()
    video = page.get_by_label("The example's video")
    expect(video).to_be_visible()
    page.wait_for_function("video => video.currentTime > 0", arg=video.element_handle())


def test_the_example_by_one_click(page: Page) -> None:
    page.get_by_role("button", name="Try the example").click()
    expect(page.get_by_role("img", name="Portrait: portrait.jpg")).to_be_visible()
    expect(page.locator("sonic-waveform canvas")).to_be_visible()
    expect(face(page)).to_be_visible()
    expect(fact(page, "Engine")).to_have_text("preview")
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    expect(page.get_by_role("button", name="Try the example")).to_be_hidden()


def test_from_upload_to_exported_file(page: Page, served: Served, speech: Path) -> None:
    """Checked, made, looked at, consented to, let out, downloaded, found again in every view."""
    before = served.exports()
    put(page, PORTRAIT)
    expect(face(page)).to_be_visible()  # before there is any speech
    assert within(face(page), page.locator("sonic-face .picture"))
    give(page, PORTRAIT, speech)
    expect(fact(page, "Size")).to_have_text("256 × 256")
    expect(fact(page, "Frames")).to_have_text("25 at 25/s")

    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("region", name="Videos being made").get_by_role("progressbar")).to_be_visible()
    expect(page.locator("sonic-making").get_by_role("progressbar")).to_be_visible()
    made = page.locator("sonic-making sonic-take")
    expect(made).to_contain_text("A small preview with a stamp.")
    assert playable(made.locator("video")) == pytest.approx(1, abs=0.1)
    assert beside(made.locator("video"), page.locator("sonic-portrait"))
    expect(page.get_by_role("region", name="Videos being made")).to_be_hidden()
    assert served.exports() == before

    name = exported(page)
    assert NAME.fullmatch(name)
    (file,) = set(served.exports()) - set(before)
    assert file.name == name
    assert playable(made.locator("video")) == pytest.approx(1, abs=0.1)
    with page.expect_download() as download:
        made.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == name
    assert Path(download.value.path()).read_bytes() == file.read_bytes()

    history = show(page, "History")
    newest = history.locator(".tile").first
    expect(newest).to_contain_text("exported")
    expect(newest.locator("img")).to_be_visible()
    newest.click()
    expect(history.get_by_text(name, exact=True)).to_be_visible()

    verify = show(page, "Verify")
    drop(verify.locator("label:has(input[type=file])"), file)
    expect(verify.locator(".banner.good")).to_contain_text("Made by this tool")
    for mark, state in (
        ("Signature", "valid"),
        ("Watermark", "found"),
        ("This computer's record", "known here"),
    ):
        card = verify.get_by_role("article").filter(has=page.get_by_role("heading", name=mark))
        expect(card.locator(".badge")).to_have_text(state)
    expect(verify).to_contain_text("This very file was exported here.")

    row = show(page, "Consents").locator(".record").first
    expect(row.locator("summary").first).to_contain_text(name)
    expect(row.locator("summary").first).to_contain_text("Face: synthetic")


def test_two_people_each_with_a_voice_and_a_consent(page: Page, served: Served, speech: Path) -> None:
    """A second speech is asked for where the portrait has two faces, and a second consent where two speak."""
    give(page, MEDIA / "two_people.jpg", speech)
    second = page.locator("sonic-speech").filter(has=page.get_by_role("heading", name="Second speech"))
    expect(second).to_contain_text("Two faces were found.")
    second.locator("input[type=file]").set_input_files(speech)
    expect(second.locator("sonic-waveform canvas")).to_be_visible()
    make(page)
    consent(page)
    page.get_by_role("button", name="Export", exact=True).click()
    expect(
        page.locator("sonic-consent .wrong").filter(has_text="Say why this face may be shown.")
    ).to_be_visible()
    for label in ("The second face is", "The second voice is"):
        page.get_by_label(label).locator("visible=true").select_option(NOBODYS)
    exported(page)
    newest = served.ask("GET", "/consents")["records"][0]
    assert (newest["face_2"], newest["voice_2"]) == ("synthetic", "synthetic")
    put(page, PORTRAIT)
    expect(second).to_have_count(0)


REVOCABLE = iter([MEDIA / f"portrait_0{number}.jpg" for number in (3, 4, 5)])
"""A portrait for each time that the test runs: what is revoked once stays so."""


def test_a_consent_is_taken_back(page: Page, served: Served, speech: Path) -> None:
    """In its place, after a question; then nothing is made of that portrait any more."""
    portrait = next(REVOCABLE)
    give(page, portrait, speech)
    make(page)
    name = exported(page)
    consents = show(page, "Consents")
    row = consents.locator(".record").filter(has_text=name)
    row.locator("summary").first.click()
    row.get_by_role("button", name="Revoke…").click()
    row.get_by_role("button", name="Keep it").click()
    expect(row.locator("summary .badge")).to_have_text("exported")
    row.get_by_role("button", name="Revoke…").click()
    row.get_by_label("Reason, kept in the ledger").fill("asked to")
    row.get_by_role("button", name="Yes, revoke").click()
    expect(row.locator("summary .badge")).to_have_text("revoked")
    expect(row).to_be_visible()
    expect(row.get_by_role("button", name="Revoke…")).to_have_count(0)

    before = served.exports()
    show(page, "Make")
    page.get_by_role("button", name="Generate").click()
    refused = page.locator("sonic-make section").get_by_role("alert")
    expect(refused).to_contain_text("The consent for this portrait was revoked on")
    expect(refused).to_contain_text("use another portrait")
    assert served.exports() == before


def test_nothing_leaves_without_consent(page: Page, served: Served, speech: Path) -> None:
    """What lacks is said at each field, until it is there; kept is the hash of the very files given."""
    give(page, PORTRAIT, speech)
    before, takes = served.exports(), set(served.takes())
    made = make(page)
    (take,) = set(served.takes()) - takes
    told = served.told_of(take)
    assert told["portrait_sha256"] == hashlib.sha256(PORTRAIT.read_bytes()).hexdigest()
    assert told["audio_sha256"] == hashlib.sha256(speech.read_bytes()).hexdigest()
    fields = ("The face is", "The voice is", "I state that this is true.")
    made.get_by_role("button", name="Export", exact=True).click()
    for label in fields:
        expect(made.get_by_label(label)).to_have_attribute("aria-invalid", "true")
    expect(made.get_by_label("The face is")).to_be_focused()
    expect(made).to_contain_text("Say why this face may be shown.")
    expect(made).to_contain_text("Say why this voice may be used.")
    expect(made).to_contain_text("Read the notice and tick this box.")
    made.get_by_label("The face is").select_option("My own")
    expect(made).not_to_contain_text("Say why this face may be shown.")
    made.get_by_role("button", name="Export", exact=True).click()
    expect(made.get_by_label("The voice is")).to_be_focused()
    assert served.exports() == before


def test_the_next_video_asks_for_consent_again(page: Page, served: Served, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    made = make(page)
    made.get_by_label("The face is").select_option("My own")
    made.get_by_label("I state that this is true.").check()
    made = make(page)
    expect(made.get_by_label("The face is")).to_have_value("")
    expect(made.get_by_label("I state that this is true.")).not_to_be_checked()


def test_the_private_store_is_out_of_reach(served: Served, speech: Path) -> None:
    served.made(PORTRAIT, speech)
    private = [path for path in served.home.rglob("*") if path.is_file()]
    assert any(path.name == "master.mp4" for path in private)
    for path in (*private, Path(__file__)):
        for route in ("sonic/page/", "sonic/page//", "sonic/page/../../../..", "sonic/page/%2e%2e%2f", ""):
            assert status(f"{served.url}/{route}{urllib.request.pathname2url(str(path))}") == 404


def test_microphone(page: Page) -> None:
    put(page, PORTRAIT)
    page.get_by_role("button", name="Record speech").click()
    began = page.evaluate("performance.now()")
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_visible()
    page.wait_for_function("began => performance.now() - began > 1200", arg=began)  # something to record
    stop.click()
    expect(page.locator("sonic-speech")).to_contain_text("recording.wav")
    expect(fact(page, "Length")).to_contain_text("s")


def test_a_part_of_the_speech(page: Page, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    end = page.get_by_role("slider", name="End")
    end.focus()
    page.keyboard.press("Shift+ArrowLeft")  # half a second
    expect(page.locator("sonic-waveform")).to_contain_text(re.compile("0.5 s .+ 1.0 s"))
    expect(fact(page, "Frames")).to_contain_text(re.compile(r"1[23] at"))
    page.get_by_role("button", name="Use all of it").click()
    expect(fact(page, "Frames")).to_contain_text("25 at")


def test_a_face_can_be_placed_by_keyboard_and_mouse(page: Page, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    unfold(page, "Face and placement by hand")
    field = page.locator("#set-face_box")
    expect(field).to_have_value("")
    page.get_by_role("button", name="Face box: arrow keys move it").focus()
    page.keyboard.press("ArrowRight")
    expect(field).to_have_value(re.compile(r"^\d+, \d+, \d+, \d+$"))
    left, top, right, bottom = corners(field)
    handle = page.get_by_role("button", name="Face box, bottom right corner")
    handle.hover()
    page.mouse.down()
    place = handle.bounding_box()
    page.mouse.move(place["x"] - 25, place["y"] - 25)
    page.mouse.up()
    expect(field).not_to_have_value(f"{left}, {top}, {right}, {bottom}")
    assert corners(field)[:2] == [left, top]
    assert corners(field)[2] < right and corners(field)[3] < bottom
    page.get_by_role("button", name="Find the face again").click()
    expect(field).to_have_value("")
    expect(face(page)).to_be_visible()


def test_the_last_of_quick_changes_is_checked(page: Page, speech: Path) -> None:
    give(page, PORTRAIT, speech)
    for value in ("320", "384", "448"):
        page.locator("#set-min_resolution").fill(value)
    expect(fact(page, "Size")).to_have_text("448 × 448")


def test_what_is_no_picture(page: Page, speech: Path) -> None:
    """Said at the portrait, in one sentence with what to do; mended by another one."""
    put(page, named("text.jpg", "image/jpeg", b"this is not a picture\n" * 30), speech)
    wrong = page.locator("sonic-portrait").get_by_role("alert")
    expect(wrong).to_contain_text("not a picture")
    expect(page.locator("sonic-make")).to_contain_text("The portrait cannot be used yet: see there.")
    assert "Traceback" not in page.locator("sonic-make").inner_text()
    put(page, PORTRAIT)
    expect(wrong).to_have_count(0)
    expect(face(page)).to_be_visible()


def test_what_is_no_speech(page: Page, tmp_path: Path, speech: Path) -> None:
    put(page, PORTRAIT, named("text.wav", "audio/wav", b"this is no sound\n" * 30))
    wrong = page.locator("sonic-speech").get_by_role("alert")
    expect(wrong).to_be_visible()
    expect(page.locator("sonic-make")).to_contain_text("The speech cannot be used yet: see there.")
    put(page, speech=write_wav(tmp_path / "silent.wav", bytes(2 * 16000)))
    expect(page.locator("sonic-make")).to_contain_text(re.compile("silen|quiet", re.I))
    put(page, speech=speech)
    expect(fact(page, "Length")).to_have_text("1.0 s")
    expect(wrong).to_have_count(0)


def test_a_setting_that_does_not_fit(page: Page, speech: Path) -> None:
    """What cannot be a value is said at once; what the server refuses, at the setting, too."""
    give(page, PORTRAIT, speech)
    size, duration = page.locator("#set-min_resolution"), page.locator("#set-duration")
    size.fill("9")
    expect(page.locator("#wrong-min_resolution")).to_contain_text("Use a whole number from")
    expect(page.get_by_role("button", name="Generate")).to_be_disabled()
    size.fill("256")
    expect(page.locator("#wrong-min_resolution")).to_be_empty()
    duration.fill("5")
    expect(page.locator("#wrong-duration")).not_to_be_empty()
    expect(page.locator("sonic-make")).to_contain_text("A setting does not fit: see there.")
    duration.fill("")
    expect(page.locator("#wrong-duration")).to_be_empty()


def test_marks_of_other_files(page: Page, served: Served, tmp_path: Path, speech: Path) -> None:
    """Altered after its export; with a certificate that ended; none at all; no video."""
    name = served.exported(served.made(PORTRAIT, speech))
    data = bytearray((served.folder / "out puts" / name).read_bytes())
    data[data.index(b"mdat") + 2000] ^= 0xFF
    verify = show(page, "Verify")
    choice = verify.locator("input[type=file]")
    choice.set_input_files(named("altered.mp4", "video/mp4", bytes(data)))
    expect(verify.get_by_role("alert").first).to_contain_text("altered")

    choice.set_input_files(SIGNED / "stamped.mp4")
    said = verify.locator(".banner.warning").first
    expect(said).to_contain_text("its certificate ended on 2024-04-01")
    expect(said).to_contain_text("name the file of its root certificate in SONIC_C2PA_ANCHORS")

    choice.set_input_files(PORTRAIT)
    expect(verify).to_contain_text("The file carries no C2PA signature.")

    choice.set_input_files(named("no video.mp4", "video/mp4", b"this is no video"))
    expect(verify.get_by_role("alert")).to_contain_text("not a video")


def test_lip_sync_of_a_video(page: Page) -> None:
    """Beside the marks of the same file: the offset with its chart, until another file comes."""
    verify = show(page, "Verify")
    choice = verify.locator("input[type=file]")
    choice.set_input_files(Path(__file__).parents[1] / "sonic_ext" / "assets" / "example" / "hello.mp4")
    expect(verify).to_contain_text("Says that this tool made it")
    verify.get_by_role("button", name="Also measure the lip sync").click()
    chart = verify.locator("img.chart")
    expect(chart).to_have_js_property("naturalWidth", 1600)
    choice.set_input_files(PORTRAIT)
    expect(chart).to_have_count(0)


def test_names_are_text(page: Page, served: Served, speech: Path) -> None:
    """Markup in the name of a file, or in what is kept with a record, is shown as it is written."""
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    put(page, named(f"{MARKUP}.png", "image/png", b"none"))
    expect(page.locator("sonic-portrait")).to_contain_text(f"This browser cannot show {MARKUP}.png")
    give(
        page,
        named(f"{MARKUP}.jpg", "image/jpeg", PORTRAIT.read_bytes()),
        named(f"{MARKUP}.wav", "audio/wav", speech.read_bytes()),
    )
    expect(page.get_by_role("img", name=f"Portrait: {MARKUP}.jpg")).to_be_visible()
    expect(page.locator("sonic-speech strong")).to_have_text(f"{MARKUP}.wav")
    made = make(page)
    made.get_by_text("Kept with the record").click()
    made.get_by_label("Purpose").fill(MARKUP)
    name = exported(page)
    row = show(page, "Consents").locator(".record").filter(has_text=name)
    row.locator("summary").first.click()
    expect(row.get_by_text(MARKUP, exact=True)).to_be_visible()
    show(page, "Verify").locator("input[type=file]").set_input_files(
        named(f"{MARKUP}.mp4", "video/mp4", served.exports()[-1].read_bytes())
    )
    expect(page.locator("sonic-verify figcaption")).to_contain_text(f"{MARKUP}.mp4")
    assert page.locator("img[src=x]").count() == 0
    assert dialogs == []


def test_the_document_is_closed_to_the_outside(served: Served) -> None:
    """Nothing comes from another server, nothing written in the document runs, nobody frames it."""
    with urllib.request.urlopen(served.url, timeout=PATIENCE) as answer:
        headers, text = answer.headers, answer.read().decode()
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"https?://|<style|\son\w+=|<script>", text)


def test_no_other_page_frames_it(browser: Any, served: Served) -> None:
    context = browser.new_context()
    outside = context.new_page()
    with outside.expect_event(
        "console", lambda message: "frame-ancestors" in message.text, timeout=MILLISECONDS
    ):
        outside.set_content(f'<iframe src="{served.url}/"></iframe>')
    assert outside.frame_locator("iframe").locator("sonic-app").count() == 0
    context.close()


def face(page: Page) -> Locator:
    """The box on the portrait."""
    return page.get_by_role("group", name="Face", exact=True)


def corners(field: Locator) -> list[int]:
    """left, top, right, bottom."""
    return [int(number) for number in field.input_value().split(", ")]


def named(name: str, kind: str, data: bytes) -> dict[str, Any]:
    """A file as playwright takes it."""
    return {"name": name, "mimeType": kind, "buffer": data}


def drop(place: Locator, file: Path) -> None:
    """Let a file fall there, as by mouse."""
    carried = place.page.evaluate_handle(
        """([name, data]) => {
            const carried = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), each => each.charCodeAt(0));
            carried.items.add(new File([bytes], name, {type: 'video/mp4'}));
            return carried;
        }""",
        [file.name, base64.b64encode(file.read_bytes()).decode()],
    )
    for event in ("dragenter", "dragover", "drop"):
        place.dispatch_event(event, {"dataTransfer": carried})


def within(inner: Locator, outer: Locator) -> bool:
    """Neither as large as the other nor beyond its edge."""
    one, other = inner.bounding_box(), outer.bounding_box()
    return all(
        other[edge] < one[edge] and one[edge] + one[side] < other[edge] + other[side]
        for edge, side in (("x", "width"), ("y", "height"))
    )


def beside(one: Locator, other: Locator) -> bool:
    """No part of one is below or above all of the other."""
    first, second = one.bounding_box(), other.bounding_box()
    return bool(first["x"] >= second["x"] + second["width"] or second["x"] >= first["x"] + first["width"])


def status(url: str) -> int:
    """Of the answer."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code
