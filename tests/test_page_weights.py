"""The model files of the sonic engine on the page: what lacks, licences, fetching, stopping, going on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from own_page import PICKLE, Locator, Page, Served, expect, sonic_serve
from patience import until

RIFE = "RIFE HDv3 frame interpolation"
LICENCE = "CC BY-NC-SA 4.0"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Nothing is fetched yet."""
    with sonic_serve(tmp_path) as running:
        yield running


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    return window("weights")


def part(page: Page, title: str) -> Locator:
    """The card of a part."""
    return page.get_by_role("article").filter(has=page.get_by_role("heading", name=title))


def choose_only(page: Page, title: str) -> None:
    """Fetch this part and no other."""
    chosen = page.get_by_role("checkbox", name="Fetch ").and_(page.locator(":checked"))
    expect(chosen).not_to_have_count(0)
    for _ in range(chosen.count()):
        chosen.first.uncheck()
    expect(page.locator("sonic-weights")).to_contain_text("Nothing is chosen.")
    page.get_by_role("checkbox", name=f"Fetch {title}").check()


def test_a_part_is_fetched_once_its_licence_is_accepted(page: Page, served: Served) -> None:
    view = page.locator("sonic-weights")
    expect(view).to_contain_text("The sonic engine lacks 6 of 6 parts")
    expect(view).to_contain_text(str(served.models))
    expect(part(page, RIFE).locator(".badge")).to_have_text("missing")
    choose_only(page, RIFE)
    expect(view).to_contain_text("about 12 MB")
    fetch = page.get_by_role("button", name="Fetch", exact=True)
    fetch.click()
    expect(view.get_by_role("alert")).to_contain_text(f"licences have not been accepted: {LICENCE}")
    assert served.hub.ranges == [] and not served.models.exists()

    page.get_by_role("checkbox", name=f"I have read it and accept: {LICENCE}").check()
    fetch.click()
    expect(view.locator(".banner.good")).to_contain_text("Fetched: RIFE")
    expect(part(page, RIFE).locator(".badge")).to_have_text("to convert")
    assert (served.models / "RIFE" / "flownet.pkl").read_bytes() == PICKLE
    expect(page.get_by_role("button", name="Convert pickles")).to_be_visible()


def test_a_download_is_stopped_and_goes_on(page: Page, served: Served) -> None:
    """Loaded anew meanwhile, the page still shows it."""
    served.hub.stop_after = 3000
    choose_only(page, RIFE)
    page.get_by_role("checkbox", name=f"I have read it and accept: {LICENCE}").check()
    page.get_by_role("button", name="Fetch", exact=True).click()
    progress = page.get_by_role("progressbar", name="Model files")
    expect(progress).to_be_visible()
    until(lambda: served.hub.ranges)
    expect(page.locator("sonic-weights")).to_contain_text(re.compile(r"3\.0 kB .+ 5\.0 kB"))
    page.reload()
    expect(page.locator("sonic-weights")).to_contain_text(re.compile(r"3\.0 kB .+ 5\.0 kB"))
    page.locator("sonic-weights").get_by_role("button", name="Cancel").click()
    expect(page.locator("sonic-weights")).to_contain_text("Fetch goes on where it stopped.")
    served.hub.release.set()
    served.hub.stop_after = None

    expect(part(page, RIFE).locator(".badge")).to_have_text("partial")
    choose_only(page, RIFE)
    page.get_by_role("checkbox", name=f"I have read it and accept: {LICENCE}").check()
    page.get_by_role("button", name="Fetch the rest").click()
    expect(page.locator("sonic-weights .banner.good")).to_contain_text("Fetched: RIFE")
    assert served.hub.ranges == ["", "bytes=3000-"]
    assert (served.models / "RIFE" / "flownet.pkl").read_bytes() == PICKLE
