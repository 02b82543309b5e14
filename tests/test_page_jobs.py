"""Videos under way as the page shows them: whoever asked for them, however often it is loaded anew."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from own_page import (
    OTHER_PORTRAIT,
    PORTRAIT,
    Locator,
    Page,
    Served,
    expect,
    give,
    make,
    show,
    sonic_serve,
    windows,
)
from spoken import one_minute
from web import b64


@pytest.fixture(scope="module")
def long_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of speech."""
    return one_minute(tmp_path_factory.mktemp("speech") / "minute.wav")


@pytest.fixture(autouse=True)
def _nothing_is_left_under_way(served: Served) -> Iterator[None]:
    yield
    served.stop_all()


@pytest.fixture
def running(served: Served, long_speech: Path) -> str:
    """Id of a video that another program asked for and that is being made."""
    name = served.begin(PORTRAIT, long_speech)
    served.animation(name, "running")
    return name


def under_way(page: Page) -> Locator:
    """The list of what is made and waits, above every view."""
    return page.get_by_role("region", name="Videos being made")


def test_loaded_anew_in_the_middle(page: Page, served: Served, long_speech: Path) -> None:
    """Ten times; it is there each time, and ends well."""
    before = set(served.takes())
    give(page, PORTRAIT, long_speech)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("sonic-making").get_by_role("progressbar")).to_be_visible()
    (job,) = served.unended()
    for _ in range(10):
        page.reload()
        expect(under_way(page).locator("li")).to_have_count(1)
        expect(under_way(page)).to_contain_text("Asked for on this page")
    expect(under_way(page)).to_be_hidden()
    assert served.animation(job, "done")["take"]["id"] in set(served.takes()) - before
    newest = show(page, "History").locator(".tile").first
    newest.click()
    expect(page.locator("sonic-history sonic-take video")).to_be_visible()
    expect(newest).to_contain_text("1 min")


def test_two_windows_see_the_same(window: Callable[..., Page], served: Served, long_speech: Path) -> None:
    """One makes, the other stops it."""
    one, two = window(), window("history")
    give(one, PORTRAIT, long_speech)
    one.get_by_role("button", name="Generate").click()
    expect(under_way(two).get_by_role("progressbar")).to_be_visible()
    under_way(two).get_by_role("button", name="Cancel").click()
    expect(one.locator("sonic-making")).to_contain_text("The video was cancelled.")
    for page in (one, two):
        expect(under_way(page)).to_be_hidden()
    expect(two.locator(".tile").first).to_contain_text("cancelled")


def test_two_windows_do_not_cross(window: Callable[..., Page], served: Served, speech: Path) -> None:
    one, two = window(), window()
    give(one, PORTRAIT, speech)
    give(two, OTHER_PORTRAIT, speech)
    for page in (one, two):
        page.get_by_role("button", name="Generate").click()
    for page, portrait in ((one, PORTRAIT), (two, OTHER_PORTRAIT)):
        shown = page.locator("sonic-making sonic-take")
        expect(shown.locator("video")).to_be_visible()
        take = served.animation(shown.get_attribute("id"), "done")["take"]["id"]
        assert served.told_of(take)["portrait_sha256"] == hashlib.sha256(portrait.read_bytes()).hexdigest()


def test_a_video_of_another_program(page: Page, running: str, served: Served) -> None:
    """It appears in the open page, and can be stopped there."""
    expect(under_way(page)).to_contain_text("Asked for by the API")
    expect(under_way(page)).to_contain_text(re.compile(r"\d+ %"))
    under_way(page).get_by_role("button", name="Cancel").click()
    served.animation(running, "cancelled")
    expect(under_way(page)).to_be_hidden()


def test_another_program_stops_a_video_of_the_page(page: Page, served: Served, long_speech: Path) -> None:
    give(page, PORTRAIT, long_speech)
    page.get_by_role("button", name="Generate").click()
    expect(under_way(page)).to_contain_text(re.compile(r"[1-9]\d* %"))
    (job,) = served.unended()
    served.ask("DELETE", f"/animations/{job}")
    expect(page.locator("sonic-making")).to_contain_text("The video was cancelled.")
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    expect(show(page, "History").locator(".tile").first).to_contain_text("cancelled")


def test_what_waits_stands_in_its_order(page: Page, running: str, served: Served, speech: Path) -> None:
    waiting = [served.begin(PORTRAIT, speech) for _ in range(2)]
    rows = under_way(page).locator("li")
    expect(rows).to_have_count(3)
    expect(under_way(page)).to_contain_text("3 videos are being made or wait")
    expect(rows.nth(0)).to_contain_text("%")
    expect(rows.nth(2)).to_contain_text("number 2 in the line")
    for name in waiting:
        served.ask("DELETE", f"/animations/{name}")
    expect(rows).to_have_count(1)


def test_how_far_a_batch_is(page: Page, served: Served, speech: Path, long_speech: Path) -> None:
    jobs = [
        {"portrait": b64(PORTRAIT), "audio": b64(sound), "settings": {"min_resolution": 256}}
        for sound in (speech, long_speech, speech)
    ]
    batch = served.ask("POST", "/batches", {"jobs": jobs})["id"]
    expect(under_way(page)).to_contain_text("1 of 3 of a batch")
    served.ask("DELETE", f"/batches/{batch}")
    expect(under_way(page)).to_be_hidden()


def test_history_is_searched_compared_and_cleared(page: Page, served: Served, speech: Path) -> None:
    first, second = (served.made(portrait, speech) for portrait in (PORTRAIT, OTHER_PORTRAIT))
    history = show(page, "History")
    search = history.get_by_role("searchbox")
    search.fill("no video is called like this")
    expect(history.get_by_text("No video is like that.")).to_be_visible()
    search.fill(first)
    expect(history.locator(".tile")).to_have_count(1)
    search.fill("")
    history.get_by_label("Not exported").check()
    for tile in (0, 1):
        history.locator("li").nth(tile).hover()
        history.get_by_label(re.compile("^Compare")).nth(tile).check()
    expect(history.locator("sonic-comparison video")).to_have_count(2)
    expect(history.get_by_role("table")).to_contain_text("Seed")
    history.get_by_role("button", name="Close").click()
    search.fill(second)
    history.locator(".tile").click()
    history.get_by_role("button", name="Delete…").click()
    history.get_by_role("button", name="Yes, delete").click()
    expect(history.get_by_text("No video is like that.")).to_be_visible()
    assert second not in [each["id"] for each in served.ask("GET", "/animations")["animations"]]


BUFFERED = """(() => {
    const fetched = window.fetch;
    window.fetch = async (address, options) =>
        String(address).endsWith("/events") ? new Promise((_, fail) =>
            options.signal.addEventListener("abort", () => fail(new DOMException("", "AbortError"))))
        : fetched(address, options);
})()"""
"""JavaScript: no event comes through, as behind a proxy that keeps them back."""


def test_where_no_events_come_through(window: Callable[..., Page], served: Served, speech: Path) -> None:
    page = window()
    page.add_init_script(BUFFERED)
    page.reload()
    give(page, PORTRAIT, speech)
    make(page)
    expect(under_way(page)).to_be_hidden()


def test_the_server_goes_and_comes_back(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, speech: Path
) -> None:
    """Said while it is gone; then everything works as before, with what was given."""
    folder = tmp_path_factory.mktemp("gone")
    with ExitStack() as stack:
        with sonic_serve(folder) as first:
            page = stack.enter_context(windows(browser, first.url))()
            give(page, PORTRAIT, speech)
        gone = page.get_by_role("alert").filter(has_text="The server does not answer.")
        expect(gone).to_have_count(1)
        page.get_by_role("button", name="Generate").click()
        expect(gone).to_have_count(2)
        with sonic_serve(folder, urllib.parse.urlsplit(first.url).port):
            expect(gone).to_have_count(0)
            make(page)
