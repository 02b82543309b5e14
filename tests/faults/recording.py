"""The first row of a new ledger, killed on the way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from exporting import PRIVATE, private_left
from trials import Scenario

from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.recovery import clear_up

PICTURE = "0123456789abcdef" * 4


class FirstRow(Scenario):
    """Key, database, heads; then the row."""

    name = "first row of a ledger"

    def prepare(self, place: Path) -> None:
        (place / "home").mkdir(mode=0o700)

    def act(self, place: Path) -> None:
        Ledger().revoke(PICTURE)

    def resume(self, place: Path) -> None:
        clear_up()
        Ledger().revoke("f" * 64)

    def left(self, place: Path) -> dict[str, int]:
        return Counter({PRIVATE: private_left(place / "home", ())})

    def problems(self, place: Path) -> list[str]:
        return [*Ledger().problems()] + ([] if Ledger().check() in (1, 2) else ["rows are missing"])

    def outcome(self, place: Path) -> str:
        return "written" if Ledger().check() == 2 else "not written"
