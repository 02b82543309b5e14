"""The error tree: what each error tells the shell, the browser and the user."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from sonic_ext import errors
from sonic_ext.errors import BadInput, Cancelled, MissingPart, Refused, SonicError, Tampered

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, SonicError)]


def _nearest_documented(kind: type[SonicError], rows: dict[str, tuple[int, int]]) -> tuple[int, int]:
    return next(rows[base.__name__] for base in kind.__mro__ if base.__name__ in rows)


def test_docstring_draws_every_class_below_its_parent() -> None:
    parents: list[str] = ["SonicError"]
    drawn = {"SonicError": "Exception"}
    for indent, name in re.findall(r"^ {4}([│ ]*)[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4 + 1
        drawn[name] = parents[depth - 1]
        parents[depth:] = [name]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_exit_code_and_status_are_the_documented_ones(kind: type[SonicError]) -> None:
    found = re.findall(r"── (\w+) +exit (\d+), HTTP (\d+)", errors.__doc__ or "")
    rows = {name: (int(code), int(status)) for name, code, status in found} | {"SonicError": (1, 500)}
    assert (kind.exit_code, kind.http_status) == _nearest_documented(kind, rows)


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [(BadInput, 2, 422), (Refused, 3, 403), (Tampered, 3, 409), (MissingPart, 4, 503), (Cancelled, 130, 409)],
)
def test_branches_keep_the_codes_that_scripts_rely_on(kind: type[SonicError], code: int, status: int) -> None:
    assert (kind.exit_code, kind.http_status) == (code, status)


def test_text_is_message_then_hint() -> None:
    error = errors.BadAudio("The sound is silent.", "Use another file.")
    assert str(error) == "The sound is silent. Use another file."
    assert (error.message, error.hint) == ("The sound is silent.", "Use another file.")


def test_no_hint_leaves_no_trailing_space() -> None:
    assert str(SonicError("Broken.")) == "Broken."


def test_default_hint_stands_in_and_an_empty_one_is_respected() -> None:
    assert errors.NoFace("No face.").hint == errors.NoFace.default_hint != ""
    assert errors.NoFace("No face.", "").hint == ""


def test_cancelled_needs_no_words() -> None:
    assert Cancelled().message.endswith(".")
    assert Cancelled().hint.endswith(".")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_survive_pickling(kind: type[SonicError]) -> None:
    """Worker processes hand them on."""
    error = kind("What happened.", "What to do.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.message, again.hint, str(again)) == (error.message, error.hint, str(error))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_says_what_it_is_for(kind: type[SonicError]) -> None:
    assert (kind.__doc__ or "").strip().endswith(".")
    assert "Error(" not in str(kind("One sentence.", ""))
