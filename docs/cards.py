"""docs/cards.md from what `benchmarks/device.py` measured: `python docs/cards.py` writes it anew.

A chapter for each file of benchmarks/results, the newest first; dry runs are no results. A test fails when
the page and the files differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

from card import report  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "cards.md"
HEAD = """# Graphics cards

What `python benchmarks/device.py` measured; random weights of the published size. Times are medians of up to
seven calls, in seconds where no unit is named; least and most are the spread. "Share of peak" compares with a
product of two 8192² matrices on the same card. Peak and reserved memory are torch's, weights included; the
forecast is the engine's, without its reserve of 0.7 GB for the card's libraries. `NO` is a check that failed.
"""
NONE = "No card yet: nobody has run it on one."


def page(results: Path = RESULTS) -> str:
    """All of docs/cards.md."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Path) -> Iterator[str]:
    yield HEAD
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    found = [record for record in records if not record["card"].get("tiny")]
    if not found:
        yield NONE
    for number, record in enumerate(sorted(found, key=lambda each: str(each["began"]), reverse=True)):
        if number:
            yield ""
        yield from report.markdown(record)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
