"""ComfyUI's page as a user handles it: graph, queue, the panel at the side, and what our nodes show."""

from __future__ import annotations

from typing import Any

from own_page import expect
from patience import MILLISECONDS


def open_comfy(page: Any, url: str, palette: str = "dark", elements: bool = False) -> None:
    """Load it, in one of its palettes, without the dialogs that a new user is shown.

    Args:
        elements: its nodes are elements of the page, and not drawn on the canvas.
    """
    page.goto(f"{url}/")
    page.wait_for_function("() => window.app?.extensionManager && window.app.graph")
    page.wait_for_selector("#graph-canvas")
    page.wait_for_function("() => !document.querySelector('#splash-loader, .p-blockui-mask')")
    page.wait_for_function("() => window.LiteGraph?.registered_node_types?.SonicExtExport")
    for name, value in (("Comfy.ColorPalette", palette), ("Comfy.VueNodes.Enabled", elements)):
        page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
    closing(page)


def closing(page: Any) -> None:
    """Close ComfyUI's own dialogs."""
    page.wait_for_timeout(1000)
    while page.locator(".p-dialog, [data-testid=dialog-overlay]").count():  # 1.27; 1.58
        page.keyboard.press("Escape")
        page.wait_for_timeout(300)


def tab(page: Any) -> Any:
    """The button of our panel at the side."""
    return page.locator(".sonic-tab-button, [aria-label^='Sonic: a portrait']").first


def load(page: Any, prompt: dict[str, Any]) -> None:
    """Lay a prompt in API format on the canvas; seeds stay as they are."""
    page.evaluate("prompt => app.loadApiJson(prompt, 'live')", prompt)
    page.wait_for_function("count => app.graph._nodes.length === count", arg=len(prompt))
    page.evaluate("""() => {
        app.graph.arrange();
        for (const node of app.graph._nodes)
            for (const widget of node.widgets ?? [])
                if (widget.name === "control_after_generate") widget.value = "fixed";
    }""")


def see(page: Any, kind: str) -> None:
    """Move the graph so that a node lies in the middle."""
    page.evaluate(
        """name => {
            const node = app.graph._nodes.find(each => each.type === name);
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset = [300 - node.pos[0], 160 - node.pos[1]];
            app.canvas.setDirty(true, true);
        }""",
        kind,
    )


def run(page: Any) -> str:
    """Press ComfyUI's own button; id of the prompt."""
    with page.expect_response(
        lambda each: each.request.method == "POST" and each.url.endswith("/prompt")
    ) as answer:
        page.locator("[data-testid=queue-button] button, button[data-testid=queue-button]").first.click()
    return str(answer.value.json()["prompt_id"])


def at_rest(page: Any) -> None:
    """Wait until nothing runs or waits."""
    page.wait_for_function(
        "async () => { const {queue_running: now, queue_pending: then} ="
        " await (await fetch('queue')).json(); return !now.length && !then.length; }"
    )


def shown(page: Any, kind: str) -> Any:
    """What a node of this class shows, scrolled into sight."""
    page.wait_for_function(
        "name => app.graph._nodes.find(each => each.type === name)"
        "?.widgets?.some(each => each.name === 'sonic_shown')",
        arg=kind,
        timeout=3 * MILLISECONDS,  # it is made before
    )
    see(page, kind)
    page.evaluate(
        """name => {
            const node = app.graph._nodes.find(each => each.type === name);
            node.widgets.find(each => each.name === 'sonic_shown').element.dataset.testid = name;
        }""",
        kind,
    )
    return page.get_by_test_id(kind)


def source(shown: Any) -> str:
    """Address of the video that a node shows, once it can be played."""
    video = shown.locator("video")
    expect(video).to_be_visible()
    video.evaluate(
        "video => video.readyState >= 2 || new Promise(good => video.addEventListener('loadeddata', good))"
    )
    return str(video.get_attribute("src"))


def ask(shown: Any) -> Any:
    """Press the node's button; the dialog."""
    shown.get_by_role("button", name="Consent and export…").click()
    gate = shown.page.locator("sonic-gate")
    expect(gate.locator("sonic-consent")).to_be_visible()
    return gate


def agree(gate: Any, **more: str) -> None:
    """State that face and voice are nobody's, and export."""
    gate.locator("select[name=face]").select_option("synthetic")
    gate.locator("select[name=voice]").select_option("synthetic")
    if more:
        gate.locator("summary", has_text="Kept with the record").click()
    for name, value in more.items():
        gate.locator(f"[name={name}]").fill(value)
    gate.locator("input[name=stated]").check()
    gate.get_by_role("button", name="Export", exact=True).click()
    expect(gate.locator(".banner.good")).to_contain_text("Exported as", timeout=MILLISECONDS)


def close(gate: Any) -> None:
    """By its button."""
    gate.get_by_role("button", name="Close").first.click()
    expect(gate).to_have_count(0)


def values(page: Any) -> dict[str, list[Any]]:
    """Class of each node of ours → the values of its widgets, as a workflow has them."""
    found: dict[str, list[Any]] = page.evaluate(
        "() => Object.fromEntries(app.graph.serialize().nodes"
        ".filter(each => each.type.startsWith('SonicExt'))"
        ".map(each => [each.type, each.widgets_values ?? []]))"
    )
    return found


def written(page: Any) -> str:
    """All that ComfyUI saves of the page: workflow, prompt, and what the browser keeps."""
    return str(
        page.evaluate(
            "async () => JSON.stringify([app.graph.serialize(), await app.graphToPrompt(),"
            " {...localStorage}, {...sessionStorage}])"
        )
    )
