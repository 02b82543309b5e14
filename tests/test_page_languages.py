"""The page in Chinese and in English, and how it is switched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from own_page import (
    NOBODYS,
    PORTRAIT,
    VIEWS,
    Page,
    Served,
    expect,
    give,
    put,
    sonic_serve,
)
from spoken import MEDIA

from sonic_ext import messages
from sonic_ext.provenance.consent import NOTICE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Iterator[Served]:
    """With a video that was let out, one that was not and one that failed."""
    with sonic_serve(tmp_path_factory.mktemp("page")) as running:
        running.fill_lists(speech)
        yield running


ENGLISH = """texts => {
    const found = root => [...root.querySelectorAll('*')].flatMap(
        each => [each, ...(each.shadowRoot ? found(each.shadowRoot) : [])]);
    const [known, named] = texts.map(each => new Set(each));
    const said = each => [
        ...[...each.childNodes].filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data),
        each.ariaLabel, each.title, each.placeholder, each.alt,
    ].map(text => text?.trim());
    // What is typed in a shell is the same everywhere, and so are names of libraries.
    const program = /sonic [a-z0-9_ ]+|python -m pip install|[a-z]+ and [a-z]+/g;
    const three = /\\b[A-Za-z]+ [a-z]+ [a-z]+\\b/;
    const sentence = text => known.has(text) || three.test(text.replace(program, ''));
    return found(document).filter(each => !each.closest('script, style, code, title, .infotext'))
        .flatMap(said).filter(text => text && !named.has(text) && sentence(text));
}"""
"""JavaScript: English in the page, seen or told to those who hear it: texts that have another language, and
three words in a row."""


def english(served: Served) -> list[list[str]]:
    """Texts that have their Chinese; values of settings, which are names."""
    properties = served.ask("GET", "/settings")["settings"]["properties"].values()
    values = [value for each in properties for value in each.get("enum", ())]
    return [[text for text, chinese in messages.read("zh").items() if text != chinese], values]


@pytest.mark.parametrize("view", VIEWS)
def test_all_of_it_is_chinese(window: Callable[..., Page], served: Served, speech: Path, view: str) -> None:
    page = window(view, locale="zh-CN")
    if view == "make":
        give_in_chinese(page, served, speech)
    if view == "history":
        for tile in range(3):
            page.locator(".tile").nth(tile).click()
            expect(page.locator("sonic-take .of-foot button")).to_be_visible()
            assert page.evaluate(ENGLISH, english(served)) == []
    if view == "verify":
        page.locator("sonic-verify input[type=file]").set_input_files(served.exports()[0])
        expect(page.locator(".marks article")).to_have_count(4)
    if view == "consents":
        page.locator(".record summary").first.click()
        page.locator(".record button.danger").click()
    if view == "weights":
        expect(page.locator(".parts article").first).to_be_visible()
    assert page.evaluate(ENGLISH, english(served)) == []


def give_in_chinese(page: Page, served: Served, speech: Path) -> None:
    """A portrait without a face, then one with; what goes wrong is told in Chinese, too."""
    put(page, MEDIA / "no_person.jpg", speech)
    expect(page.locator("sonic-portrait").get_by_role("alert")).to_contain_text("人脸")
    assert page.evaluate(ENGLISH, english(served)) == []
    give(page, PORTRAIT, speech)


def test_the_notice_and_what_is_agreed_to(window: Callable[..., Page], served: Served) -> None:
    catalogue = messages.read("zh")
    page = window("history", locale="zh-TW")
    page.locator(".tile").nth(1).click()
    expect(page.locator("sonic-consent .notice")).to_have_text(catalogue[NOTICE])
    faces = page.locator("sonic-consent select").first.locator("option")
    expect(faces.filter(has_text=catalogue[NOBODYS])).to_have_count(1)


def test_other_languages_get_english(window: Callable[..., Page]) -> None:
    expect(window(locale="fr-FR").get_by_role("button", name="Generate")).to_be_visible()


def test_the_switch_is_remembered(window: Callable[..., Page], speech: Path) -> None:
    """It takes nothing of what was given away, and is kept where the page is loaded anew."""
    page = window(locale="en-GB")
    give(page, PORTRAIT, speech)
    page.get_by_label("Language").select_option("中文")
    expect(page.get_by_role("tab", name="历史")).to_be_visible()
    expect(page.locator("sonic-app")).to_have_attribute("lang", "zh")
    expect(page.locator("sonic-portrait img.picture")).to_be_visible()
    expect(page.locator("sonic-speech")).to_contain_text(speech.name)
    page.reload()
    generate = page.get_by_role("button", name=messages.read("zh")["Generate"])
    expect(generate).to_be_visible()
    page.locator(".switches select").select_option("English")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
