"""How long the consent ledger takes with many rows: `python benchmarks/ledger.py [ROWS]`.

Every use walks the whole chain. Printed are milliseconds, the smallest of five.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sonic_ext.provenance.database import connect
from sonic_ext.provenance.ledger import Ledger


def main(rows: int) -> None:
    """Fill a ledger in one transaction, then time its uses."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "home")
        with ledger._writing() as chain:
            for number in range(rows):
                body = {
                    "hashes": [f"{number:064x}"],
                    "reason": "as measured",
                    "time": "2026-03-01T12:00:00+00:00",
                }
                chain.append("revoke", body | {"filler": "x" * 700})
        uses: dict[str, Callable[[], object]] = {
            "check": ledger.check,
            "refuse_revoked": lambda: _quiet(ledger),
            "revoke": lambda: ledger.revoke("a" * 64),
        }
        with contextlib.closing(connect(ledger.folder / "ledger.sqlite3")) as db:
            size = db.execute("SELECT sum(length(body)) FROM events").fetchone()[0]
        print(f"{rows} rows, {size / 1e6:.1f} MB of text")
        for name, use in uses.items():
            print(f"{name:16}{1000 * min(map(_seconds, [use] * 5)):8.1f} ms")


def _quiet(ledger: Ledger) -> None:
    ledger.refuse_revoked("b" * 64)


def _seconds(use: Callable[[], object]) -> float:
    began = time.perf_counter()
    use()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
