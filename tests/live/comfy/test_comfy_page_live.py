"""ComfyUI's page in a real browser: our panel, what our nodes show, the dialog, and what may not be left."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from canvas import agree, ask, at_rest, close, closing, load, run, shown, source, tab, values, written
from comfy_client import Comfy, workflow
from own_page import expect
from patience import MILLISECONDS, until
from spoken import MEDIA

LONG = 2 * MILLISECONDS
"""For a video out of the example, made while the browser draws."""


@pytest.fixture
def prompt(pictures: dict[str, str], voice: str, seed: int) -> dict[str, Any]:
    """A prompt whose video was never made."""
    return workflow(pictures["one"], sound=voice, seed=seed)


def panel(page: Any) -> Any:
    """Ours, at the side."""
    tab(page).click()
    app = page.locator("sonic-app")
    expect(app.get_by_role("tab", name="Make")).to_be_visible()
    return app


def test_the_panel_makes_a_video_in_comfyuis_queue(page: Any, comfy: Comfy) -> None:
    app = panel(page)
    app.get_by_role("button", name="Try the example").click()
    app.get_by_role("button", name="Generate", exact=True).click()
    (queued,) = until(comfy.running)
    assert "sonic-turn" in str(comfy.get("/queue").json["queue_running"])
    expect(app.locator("sonic-take")).to_contain_text("A small preview with a stamp.", timeout=LONG)
    assert comfy.ended(queued).status == "success"


def test_the_panel_is_as_it_was_left(page: Any) -> None:
    app = panel(page)
    app.get_by_role("button", name="Try the example").click()
    expect(app.locator("img.picture")).to_be_visible()
    tab(page).click()
    expect(page.locator("sonic-app")).to_have_count(0)
    expect(panel(page).locator("img.picture")).to_be_visible()


def test_what_is_done_in_the_panel_is_not_done_to_the_graph(page: Any) -> None:
    app = panel(page)
    count = page.evaluate("() => app.graph._nodes.length")
    app.get_by_role("tab", name="History").click()
    field = app.locator(".seek input")
    field.fill("rwq")
    field.press("Delete")
    field.press("Control+z")
    app.get_by_role("tab", name="History").press("Delete")
    app.get_by_role("tab", name="Make").click()
    page.evaluate(
        """async bytes => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], "face.jpg", {type: "image/jpeg"}));
            const place = document.querySelector("sonic-app").shadowRoot.querySelector("sonic-portrait");
            const how = {bubbles: true, composed: true, cancelable: true};
            const zone = place.querySelector(".zone");
            zone.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, ...how}));
        }""",
        list((MEDIA / "portrait_02.jpg").read_bytes()),
    )
    expect(app.locator("img.picture")).to_be_visible()
    assert page.evaluate("() => app.graph._nodes.length") == count
    assert page.locator(".p-toast-message").count() == 0


def test_a_picture_is_pasted_where_somebody_is(page: Any) -> None:
    app = panel(page)
    paste = """([place, bytes]) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], "face.jpg", {type: "image/jpeg"}));
        const target = place ? document.querySelector(place) : document.querySelector("sonic-app");
        const how = {bubbles: true, composed: true, cancelable: true};
        target.dispatchEvent(new ClipboardEvent("paste", {clipboardData: carried, ...how}));
    }"""
    bytes_ = list((MEDIA / "portrait_02.jpg").read_bytes())
    count = page.evaluate("() => app.graph._nodes.length")
    page.evaluate(paste, ["#graph-canvas", bytes_])
    page.wait_for_function("count => app.graph._nodes.length === count + 1", arg=count)
    expect(app.locator("img.picture")).to_have_count(0)
    page.evaluate(paste, [None, bytes_])
    expect(app.locator("img.picture")).to_be_visible()
    assert page.evaluate("() => app.graph._nodes.length") == count + 1


def test_from_run_to_the_exported_video(page: Any, comfy: Comfy, prompt: dict[str, Any]) -> None:
    load(page, prompt)
    before = values(page)
    queued = run(page)
    export = shown(page, "SonicExtExport")
    assert source(export).endswith("/preview")
    expect(shown(page, "SonicExtPreData")).to_contain_text("256 × 256")
    assert source(shown(page, "SonicExtGenerate")).endswith("/preview")
    export = shown(page, "SonicExtExport")

    gate = ask(export)
    gate.get_by_role("button", name="Export", exact=True).click()
    expect(gate.locator(".wrong:visible")).to_have_count(3)
    gate.locator("select[name=face]").select_option("synthetic")
    page.keyboard.press("Escape")
    expect(gate).to_have_count(0)
    button = export.get_by_role("button", name="Consent and export…")
    expect(button).to_be_focused()

    gate = ask(export)
    assert gate.locator("select[name=face]").input_value() == ""
    agree(gate, subject="Rumpelstiltskin", operator="Somebody", purpose="a live test")
    close(gate)
    expect(export).to_contain_text("Exported as")
    assert source(export).endswith("/video")
    assert source(shown(page, "SonicExtGenerate")).endswith("/video")
    at_rest(page)

    (job,) = comfy.ended(queued).jobs("export")
    kept = written(page)
    take = comfy.video(job)
    secret = (job, take["take"]["id"], take["export"]["name"], take["export"]["record"])
    for word in (*secret, "Rumpelstiltskin", "Somebody", "a live test", "synthetic", "sonic_shown"):
        assert word not in kept, word
    assert values(page) == before

    queued = run(page)
    at_rest(page)
    export = shown(page, "SonicExtExport")
    expect(export).to_contain_text(take["export"]["name"])
    assert source(export).endswith("/video")
    expect(page.locator("video-preview, .comfy-img-preview video, .video-preview video")).to_have_count(0)
    assert page.evaluate(
        "() => app.graph._nodes.find(each => each.type === 'SonicExtExport').widgets.map(each => each.name)"
    ) == ["sonic_shown"]
    assert comfy.ended(queued).jobs("export") == [job]


def test_a_page_that_is_loaded_again_shows_nothing_until_it_runs(page: Any, prompt: dict[str, Any]) -> None:
    load(page, prompt)
    run(page)
    source(shown(page, "SonicExtExport"))
    at_rest(page)
    page.reload()
    page.wait_for_function("() => window.app?.graph?._nodes.some(each => each.type === 'SonicExtExport')")
    closing(page)
    expect(page.locator("sonic-node")).to_have_count(0)
    run(page)
    assert source(shown(page, "SonicExtExport")).endswith("/preview")


def test_a_workflow_that_comes_to_the_front_again_shows_its_video(page: Any, prompt: dict[str, Any]) -> None:
    load(page, prompt)
    run(page)
    first = source(shown(page, "SonicExtExport"))
    at_rest(page)
    tabs = page.locator(".workflow-tab, .workflow-tabs .p-togglebutton")
    tabs.first.click()
    page.wait_for_function("() => !app.graph._nodes.some(each => each.type === 'SonicExtExport')")
    tabs.last.click()
    assert source(shown(page, "SonicExtExport")) == first


def test_nothing_of_the_progress_stays_beside_the_video(page: Any, prompt: dict[str, Any]) -> None:
    load(page, prompt)
    run(page)
    source(shown(page, "SonicExtGenerate"))
    at_rest(page)
    name, pictures = page.evaluate("""() => {
        const node = app.graph._nodes.find(each => each.type === "SonicExtGenerate");
        return [String(node.id), node.imgs?.length ?? 0];
    }""")
    assert pictures == 0
    expect(page.locator(f"[data-node-id='{name}'] img")).to_have_count(0)


def test_several_videos_one_by_one(
    page: Any, comfy: Comfy, pictures: dict[str, str], voice: str, seed: int
) -> None:
    load(page, workflow(pictures["one"], pictures["other"], sound=voice, seed=seed))
    run(page)
    export = shown(page, "SonicExtExport")
    first = source(export)
    expect(export).to_contain_text("1 / 2")
    export.get_by_role("button", name="Next video").click()
    expect(export).to_contain_text("2 / 2")
    second = source(export)
    assert first != second
    gate = ask(export)
    agree(gate)
    close(gate)
    expect(export).to_contain_text("Exported as")
    export.get_by_role("button", name="Previous video").click()
    expect(export).to_contain_text("A small preview with a stamp.")
    expect(export.get_by_role("button", name="Consent and export…")).to_be_visible()
    assert len(comfy.ended(run(page)).outputs["export"]["images"]) == 1


def test_keys_in_the_dialog_are_not_comfyuis(page: Any, prompt: dict[str, Any]) -> None:
    load(page, prompt)
    run(page)
    export = shown(page, "SonicExtExport")
    source(export)
    count = page.evaluate("() => app.graph._nodes.length")
    page.evaluate("() => app.canvas.selectItems(app.graph._nodes)")
    gate = ask(export)
    gate.locator("summary", has_text="Kept with the record").click()
    field = gate.locator("[name=purpose]")
    field.press_sequentially("rq.m")
    field.press("Control+z")
    field.press("Control+Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "() => [null, 'SONIC-GATE', 'BODY'].includes(document.activeElement?.tagName ?? null)"
        )
    gate.get_by_role("button", name="Close").first.press("Delete")
    page.keyboard.press("Escape")
    expect(gate).to_have_count(0)
    assert page.evaluate("() => app.graph._nodes.length") == count


def test_an_interrupt_leaves_no_video_and_another_run_makes_one(
    page: Any, comfy: Comfy, pictures: dict[str, str], voice: str, seed: int
) -> None:
    load(
        page,
        workflow(pictures["one"], sound=voice, seed=seed, engine={"engine": "sonic", "weights": "miniature"}),
    )
    run(page)
    page.wait_for_function("() => Object.keys(app.nodePreviewImages).length > 0")  # a stamped frame
    comfy.ask("POST", "/interrupt", {})
    at_rest(page)
    expect(page.locator("sonic-node[gate]")).to_have_count(0)
    assert page.locator(".p-dialog").count() == 0
    run(page)
    assert source(shown(page, "SonicExtExport")).endswith("/preview")


def test_a_node_that_cannot_says_why(page: Any, pictures: dict[str, str], voice: str) -> None:
    load(page, workflow(pictures["nobody"], sound=voice))
    run(page)
    dialog, details = page.locator(".p-dialog"), page.get_by_role("button", name="View details")  # 1.27; 1.58
    expect(dialog.or_(details).first).to_be_visible()
    if details.is_visible():
        details.click()
    expect(page.get_by_text(re.compile("[Nn]o face")).first).to_be_visible()
    closing(page)


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_looks(window: Callable[..., Any], prompt: dict[str, Any], palette: str) -> None:
    page = window(palette)
    panel(page)
    load(page, prompt)
    run(page)
    export = shown(page, "SonicExtExport")
    source(export)
    dark = palette == "dark"
    for each in ("sonic-app", "sonic-node"):
        text, ground = page.locator(each).first.evaluate(
            "each => [getComputedStyle(each).color, getComputedStyle(document.body).backgroundColor]"
            ".map(colour => Number(colour.match(/\\d+/)[0]))"
        )
        assert (text > 128) is dark, (each, text, ground)
    ask(export)
    assert page.evaluate("() => document.head.querySelectorAll('link[href*=\"sonic\"]').length") == 0
