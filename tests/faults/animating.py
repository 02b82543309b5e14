"""A take is made, and killed on the way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from exporting import ELSEWHERE, PRIVATE, private_left
from trials import Scenario

from sonic_ext.pipeline import animate
from sonic_ext.provenance.recovery import clear_up
from sonic_ext.provenance.store import Store

MEDIA = Path(__file__).parent.parent / "data" / "media"
SETTINGS = {
    "engine": "preview",
    "min_resolution": 256,
    "framing": "crop",
    "duration": 0.4,
    "duration_policy": "trim",
    "lip_sync_calibration": False,
}
HALF = "take without all of its files"


class Animate(Scenario):
    """The preview engine, ten frames."""

    name = "animate"

    def prepare(self, place: Path) -> None:
        (place / "home").mkdir(mode=0o700)

    def act(self, place: Path) -> None:
        animate(MEDIA / "portrait_01.jpg", MEDIA / "short_en_flite_rms_2s3.wav", SETTINGS)

    def resume(self, place: Path) -> None:
        clear_up()

    def left(self, place: Path) -> dict[str, int]:
        found: Counter[str] = Counter()
        home = place / "home"
        finished = {path.parent.name for path in home.glob("takes/*/take.json")}
        found[PRIVATE] = private_left(home, finished)
        found[HALF] = sum(len(list((home / "takes" / take_id).iterdir())) != 5 for take_id in finished)
        found[ELSEWHERE] = len(list((place / "tmp").iterdir()))
        return dict(found)

    def problems(self, place: Path) -> list[str]:
        takes = Store().takes()
        for take in takes:
            take.copied(place / "tmp")  # raises where a file is not what was sealed
        return [f"{len(takes)} takes"] if len(takes) > 1 else []

    def outcome(self, place: Path) -> str:
        return "made" if Store().takes() else "not made"
