"""Text of strangers as it is shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonic_ext.text import SHOWN, visible, whole

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 普通, naïve — €™", "plain, 普通, naïve — €™"),
        ("a\nSignature: valid\r\n", "a\\nSignature: valid\\r\\n"),
        ("\x1b[31mred\x07\x7f\0", "\\x1b[31mred\\x07\\x7f\\x00"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("gnp.\u202eexe\u202c \u2066a\u2069", "gnp.\\u202eexe\\u202c \\u2066a\\u2069"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("zero\u200bwidth\ufeff\u00ad", "zero\\u200bwidth\\ufeff\\xad"),
        ("\ud800 \udcff", "\\ud800 \\udcff"),
        ("\U000e0041", "\\U000e0041"),
        (r"C:\new\x41", r"C:\new\x41"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_one_line_that_hides_nothing(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(letter) for letter in shown} & HIDDEN
    shown.encode("utf-8")
    assert len(f"|{shown}|".splitlines()) == 1
    assert visible(shown) == shown


def test_long_text_is_cut_and_its_length_said() -> None:
    assert visible("é" * SHOWN) == "é" * SHOWN
    assert visible("é" * (SHOWN + 1)) == "é" * SHOWN + "… (4,001 characters)"
    assert visible("abcdef", 3) == "abc… (6 characters)"


@given(st.text(st.characters(exclude_categories=())))
def test_whole_text_can_be_written(text: str) -> None:
    written = whole(text)
    assert written.encode("utf-8").decode("utf-8") == written
    assert len(written) == len(text)
    assert (written == text) == (not any(unicodedata.category(letter) == "Cs" for letter in text))
