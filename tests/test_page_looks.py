"""How the page looks and is reached: widths, colour schemes, keyboard, names of controls, bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from own_page import PORTRAIT, VIEWS, Page, Served, expect, give, put, sonic_serve

FIRST_PAINT = 100_000
"""Bytes over the wire, at most, until the empty page is there."""
WIDTHS = (390, 768, 1400, 2560)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Iterator[Served]:
    """With something in every list: a video that was let out, one that was not, one that failed."""
    with sonic_serve(tmp_path_factory.mktemp("page")) as running:
        running.fill_lists(speech, purpose="a test " * 20)
        yield running


def fill(page: Page, view: str, served: Served) -> None:
    """Bring a view to where all of its parts are shown."""
    if view == "make":
        put(page, PORTRAIT)
        for summary in page.locator("sonic-settings summary").all():
            summary.click()
        expect(page.get_by_role("group", name="Face", exact=True)).to_be_visible()
    if view == "history":
        expect(page.locator(".tile")).to_have_count(3)
        page.locator(".tile", has_text="waits for consent").click()
        page.get_by_text("Kept with the record").click()
        expect(page.locator("sonic-take video")).to_be_visible()
    if view == "verify":
        page.locator("sonic-verify input[type=file]").set_input_files(served.exports()[0])
        expect(page.locator(".marks article")).to_have_count(4)
    if view == "consents":
        page.locator(".record summary").first.click()
        page.get_by_role("button", name="Revoke…").click()
        page.get_by_text("Hashes (SHA-256)").click()
    if view == "weights":
        expect(page.get_by_role("button", name="Fetch", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_overflows_and_all_is_legible(
    window: Callable[..., Page], served: Served, view: str, scheme: str
) -> None:
    page = window(view, color_scheme=scheme, viewport={"width": WIDTHS[0], "height": 900})
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(FITS)
    fill(page, view, served)
    assert page.evaluate(PALE) == []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(FITS)
        assert page.evaluate(CUT) == [], width
    assert page.evaluate(NAMELESS) == []


FITS = "document.scrollingElement.scrollWidth <= innerWidth"
"""JavaScript: nothing is beyond the right edge."""
ELEMENTS = """
    const found = root => [...root.querySelectorAll('*')].flatMap(
        each => [each, ...(each.shadowRoot ? found(each.shadowRoot) : [])]);
    const shown = found(document).filter(each => each.checkVisibility(
        {opacityProperty: true, visibilityProperty: true}) && each.getClientRects().length);
    const above = each => each.assignedSlot ?? each.parentElement ?? each.getRootNode().host;
"""
CUT = f"""() => {{ {ELEMENTS}
    return shown.filter(each => each.matches('button, label, summary, h1, h2, h3, p, dd, dt, strong, .badge')
            && !each.matches('.unseen, .point, .corner, .about')
            && getComputedStyle(each).display !== 'inline' && each.scrollWidth > each.clientWidth + 1)
        .map(each => each.className + ': ' + each.innerText);
}}"""
"""JavaScript: text that is wider than what holds it."""
PALE = f"""() => {{ {ELEMENTS}
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {{willReadFrequently: true}});
    const mixed = colours => {{
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) {{ canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }}
        return [...canvas.getImageData(0, 0, 1, 1).data];
    }};
    const luminance = colour => colour.slice(0, 3).map(each => each / 255)
        .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, at) => sum + each * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = each => each ? [...behind(above(each)), getComputedStyle(each).backgroundColor] : [];
    const words = each => each.matches('input:not([type=range]), select') ? each.value
        : [...each.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)
            .map(node => node.data.trim()).join('');
    const pale = [];
    for (const each of shown) {{
        const text = words(each);
        if (!text || each.closest('.unseen, :disabled, option, [type=radio], [type=checkbox]')) continue;
        const style = getComputedStyle(each);
        const ground = behind(each);
        const [one, other] = [mixed(ground), mixed([...ground, style.color])].map(luminance);
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
        if (ratio < (large ? 3 : 4.5)) pale.push(`${{text.slice(0, 60)}}: ${{ratio.toFixed(2)}}`);
    }}
    return pale;
}}"""
"""JavaScript: text with less contrast to what is behind it than WCAG's level AA asks for."""
NAMELESS = f"""() => {{ {ELEMENTS}
    const text = name => name && name.trim();
    return shown
        .filter(each => each.matches('input, select, textarea, button, progress, video, [role=slider]'))
        .filter(each => ![each.ariaLabel, each.title, each.matches('button') && each.innerText,
            ...[...(each.labels ?? [])].map(label => label.innerText)].some(text))
        .map(each => each.outerHTML.slice(0, 200));
}}"""
"""JavaScript: controls without an accessible name."""


def test_what_the_first_paint_needs(browser: Any, served: Served) -> None:
    context = browser.new_context()
    page = context.new_page()
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    loaded: dict[str, float] = {}
    line.on(
        "Network.loadingFinished", lambda told: loaded.update({told["requestId"]: told["encodedDataLength"]})
    )
    page.goto(served.url, wait_until="load")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    expect(page.get_by_text("Try the example")).to_be_visible()
    assert 20_000 < sum(loaded.values()) <= FIRST_PAINT
    context.close()


def test_tabs_by_arrow_keys(window: Callable[..., Page]) -> None:
    page = window()
    page.get_by_role("tab", name="Make").focus()
    for key, name in (("ArrowRight", "History"), ("ArrowRight", "Verify"), ("ArrowLeft", "History")):
        page.keyboard.press(key)
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tabpanel", name="Weights")).to_be_visible()


def test_the_whole_job_by_keyboard(window: Callable[..., Page], served: Served, speech: Path) -> None:
    """Every control that it needs is reached by Tab, with its focus seen."""
    page = window()
    before = served.exports()
    page.get_by_role("tab", name="Make").focus()
    tab_to(page, "Try the example")
    tab_to(page, "Choose a portrait")
    tab_to(page, "Choose speech")
    give(page, PORTRAIT, speech)
    tab_to(page, "Generate")
    page.keyboard.press("Enter")
    expect(page.locator("sonic-making sonic-take video")).to_be_visible()
    for label in ("The face is", "The voice is"):
        tab_to(page, label)
        page.keyboard.type("Synthetic")
    tab_to(page, "I state that this is true.")
    page.keyboard.press("Space")
    tab_to(page, "Export")
    page.keyboard.press("Enter")
    tab_to(page, "Download")
    assert len(served.exports()) == len(before) + 1


def test_focus_stays_where_it_was_while_something_is_asked(
    window: Callable[..., Page], served: Served, speech: Path
) -> None:
    page = window()
    give(page, PORTRAIT, speech)
    page.get_by_role("button", name="Generate").focus()
    page.keyboard.press("Enter")
    expect(page.locator("sonic-making sonic-take video")).to_be_visible()
    expect(page.get_by_role("button", name="Generate")).to_be_focused()


FOCUSED = """() => {
    let focused = document.activeElement;
    while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
    const label = [...(focused.labels ?? [])].map(each => each.innerText).join(' ');
    const marked = each => {
        const style = getComputedStyle(each);
        return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
    };
    const seen = focused === document.body || marked(focused) || marked(focused.closest('label') ?? focused);
    return {name: [focused.ariaLabel, label, focused.innerText].filter(each => each).join(' '), seen};
}"""
"""JavaScript: name of what has the focus, and whether that is seen; after the last control nothing has it."""
MANY = 120
"""More presses than it takes to go round."""


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control of this name has the focus."""
    for _ in range(MANY):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        assert focused["seen"], focused
        if name in focused["name"]:
            return
    pytest.fail(f"Tab does not reach: {name}")
