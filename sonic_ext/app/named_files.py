"""What a request names, by whatever words: private files are looked for in addresses, values and texts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from ..provenance.boundary import Boundary

if TYPE_CHECKING:
    from starlette.types import Scope

LONGEST = 32767
"""Characters of the longest path that any system knows."""
DEPTH = 64
"""Parts of an address that are looked at; gradio's own routes have one or two before a file's name."""
_FILES = re.compile(r"(?:^|/)file[=/](.*)", re.DOTALL)
"""gradio's routes that hand out a file."""
_ANNOTATION = re.compile(r".?\[(?:input|output|temp)\]$", re.DOTALL)
"""What ComfyUI cuts off a name for the folder that is meant: whatever stands before the bracket, too."""


def address_allowed(scope: Scope, boundary: Boundary, folders: Sequence[Path] = ()) -> bool:
    """Whether neither path nor query of a request names a private file.

    Args:
        folders: that the server looks into for names that are not absolute.
    """
    path = str(scope["path"])
    asked = (found[1] for found in _FILES.finditer(path))
    query = scope.get("query_string", b"").decode("latin-1")
    given = parse_qsl(query, errors="surrogateescape")
    values = (*_tails(path), *(value for _, value in given), *texts_of(dict(given)))
    return not (
        any(boundary.holds(name) for name in asked)
        or any(names_any(name, boundary, folders) for name in dict.fromkeys(values))
    )


def _tails(path: str) -> Iterator[str]:
    """What any route may take for a file's name: what stands behind a slash or an equals sign."""
    for found in islice(re.finditer("[/=]", path), DEPTH):
        if found[0] == "/":
            yield path[found.start() :]
        yield path[found.end() :]


def parts(value: Any) -> Iterator[str | dict[str, Any]]:
    """Every text and every object in a JSON value."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            left.extend(part.values())
            yield part
        elif isinstance(part, list):
            left.extend(part)
        elif isinstance(part, str):
            yield part


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a JSON value, and every file in the folder that is named beside it, as ComfyUI does."""
    for part in parts(value):
        if isinstance(part, str):
            yield part
        elif isinstance(part.get("filename"), str) and isinstance(part.get("subfolder"), str):
            yield os.path.join(part["subfolder"], part["filename"])  # noqa: PTH118 - a NUL is no error yet


def names_any(text: str, boundary: Boundary, folders: Sequence[Path] = ()) -> bool:
    """Whether the text, or a line of it, names something private that is there.

    Args:
        folders: that names may be meant from, besides the working folder.

    A word that happens to be the name of nothing is no path: where the private home is the working folder,
    every word would lie below it.
    """
    if len(text) > LONGEST and "\n" not in text:
        return False
    readings = [reading for line in {text, *text.splitlines()} for reading in _readings(line)]
    return any(
        len(each) <= LONGEST and any(_leads_in(name, boundary) for name in _meant(each, folders))
        for each in readings
    )


def _leads_in(name: str, boundary: Boundary) -> bool:
    """Whether a name leads to something private; beside files that are there, any name may: some routes put
    another suffix in the place of its own."""
    folder = os.path.dirname(name)  # noqa: PTH120 - a NUL is no error yet
    beside = boundary.holds(os.path.dirname(folder)) and boundary.reaches(folder)  # noqa: PTH120
    return boundary.reaches(name) or beside


def _meant(name: str, folders: Sequence[Path]) -> Iterator[str]:
    """A name by itself, and from each of the folders where anything is that it could lead to.

    Every request is looked at: following links costs a hundred times as much as to see that nothing is there.
    """
    yield name
    joined = {os.path.join(folder, name) for folder in folders} - {name}  # noqa: PTH118 - a NUL is no error yet
    yield from (each for each in joined if os.path.lexists(os.path.dirname(each)))  # noqa: PTH120


def _readings(line: str) -> Iterator[str]:
    """A line as a path, as functions read one that a user typed."""
    bare = line.strip().strip("\"'")
    yield from {line, bare, _ANNOTATION.sub("", line), _ANNOTATION.sub("", bare)}
    if bare.startswith("~"):
        yield os.path.expanduser(bare)  # noqa: PTH111 - leaves a user that there is not as written
    if bare.lower().startswith("file:"):
        yield unquote(re.sub("^file:(//(localhost)?)?", "", bare, flags=re.IGNORECASE))
