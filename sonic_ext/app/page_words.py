"""The page's own words in another language, so that it need not fetch what only the API says.

The API answers in the language that it is asked in. Left to the page are the texts of its modules, settings
and consent notice, which it keeps in English, and names and words that answers hold, such as states.
"""

from __future__ import annotations

import json
import re
from functools import cache

from ..messages import read
from ..provenance.consent import NOTICE
from ..settings import describe
from .page_files import PageFile, page_files

_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_SENTENCE = re.compile(r"[.?!:]$|(?<!\{)\{\w+\}")
"""What a sentence ends in, or something to be filled in."""


def texts(language: str) -> dict[str, str]:
    """English → that language, with `{names}` in both."""
    specs = describe().values()
    shown = _quoted() | {NOTICE} | {spec.label for spec in specs} | {spec.help for spec in specs}
    return {
        text: said for text, said in read(language).items() if text in shown or not _SENTENCE.search(text)
    }


def _quoted() -> set[str]:
    """Whatever stands in double quotes in the page's modules."""
    sources = (file.data.decode() for name, file in page_files().items() if name.endswith(".js"))
    return {_unquoted(found) for source in sources for found in _QUOTED.findall(source)}


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:  # between two texts
        return ""


@cache
def texts_file(language: str) -> PageFile:
    """`SonicMessages`."""
    return PageFile.of(
        json.dumps({"texts": texts(language)}, ensure_ascii=False).encode(), "application/json"
    )
