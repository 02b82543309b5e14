"""The History tab through its handlers: one bad take hides no other, and can be deleted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_takes import TAKE_ID, adopt_clip

gradio = pytest.importorskip("gradio", reason="the page needs gradio: install the extra `standalone`")

from sonic_ext.app.history_view import HistoryView  # noqa: E402
from sonic_ext.hosts.standalone import Standalone  # noqa: E402
from sonic_ext.jobs import Worker  # noqa: E402
from sonic_ext.provenance.store import Store, Take  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries


@pytest.fixture
def view(tmp_path: Path) -> HistoryView:
    with gradio.Blocks():
        return HistoryView(Worker(Standalone(tmp_path / "out")))


def choices(update: Any) -> list[str]:
    """Of a dropdown; gradio 4 has pairs of name and value."""
    return [each if isinstance(each, str) else each[0] for each in update["choices"]]


def test_all_is_well(view: HistoryView, take: Take) -> None:
    shown = view.refresh(earlier=True)
    assert shown[view.ids] == [take.id]
    assert shown[view.told] == ""
    assert not shown[view.unusable_row]["visible"]


def test_bad_takes_are_lines_beside_the_good_ones(view: HistoryView, take: Take, clip: Path) -> None:
    store = Store()
    altered, newer = (adopt_clip(store, clip, take_id=letter * 16, frames=2) for letter in "ab")
    path = altered.folder / "take.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace("One warning.", "<b>None.</b>"), encoding="utf-8"
    )
    (newer.folder / "take.json").write_text(json.dumps({"format": 99}), encoding="utf-8")
    shown = view.refresh(earlier=True)
    assert shown[view.ids] == [take.id]
    assert shown[view.shelf]["visible"]
    told = shown[view.told]
    assert told.count("<li>") == 2
    assert f"take.json of take {altered.id} was altered" in told
    assert f"Take {newer.id} was made by a newer version" in told
    assert shown[view.unusable_row]["visible"]
    assert set(choices(shown[view.unusable])) == {altered.id, newer.id}
    left = view.discard(altered.id, True)
    assert not altered.folder.exists()
    assert choices(left[view.unusable]) == [newer.id]
    assert left[view.ids] == [take.id]


def test_takes_of_version_0_1_are_told_and_go(view: HistoryView, sonic_home: Path) -> None:
    shutil.unpack_archive(Path(__file__).parent / "data" / "home_0_1.zip", sonic_home)
    sonic_home.chmod(0o700)
    shown = view.refresh(earlier=True)
    assert (shown[view.ids], choices(shown[view.unusable])) == ([], [TAKE_ID])
    assert "version 0.1" in shown[view.told]
    assert not view.discard(TAKE_ID, True)[view.unusable_row]["visible"]


def test_a_preview_that_cannot_be_read_hides_no_take(view: HistoryView, take: Take, clip: Path) -> None:
    other = adopt_clip(Store(), clip, take_id="c" * 16, frames=2)
    other.preview.write_bytes(b"damaged")
    shown = view.refresh(earlier=True)
    assert set(shown[view.ids]) == {take.id, other.id}


def test_an_empty_history_tells_the_real_time(view: HistoryView, monkeypatch: pytest.MonkeyPatch) -> None:
    for days, words in (("", "for 7 days."), ("1", "for 1 day."), ("30", "for 30 days."), ("inf", "7 days.")):
        monkeypatch.setenv("SONIC_RETENTION_DAYS", days)
        assert words in view.refresh()[view.told]
