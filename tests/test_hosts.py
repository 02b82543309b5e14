"""Where the page runs: alone, and as a tab that a WebUI asks for.

No WebUI can be installed next to the tests; `webui_standin` stands for its modules.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import webui_standin
from patience import PATIENCE

from sonic_ext.errors import BadOutput, Cancelled
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.progress import Progress, Silent, Step

SCRIPT = Path(__file__).parents[1] / "scripts" / "sonic.py"


def test_outputs_are_made_when_asked_for(tmp_path: Path) -> None:
    host = Standalone(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    assert host.outputs().is_dir()


def test_outputs_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadOutput, match="cannot be made"):
        Standalone(tmp_path / "file" / "outputs").outputs()


class Asked:
    """A `Progress` that was told to stop, or not, and says when it was asked."""

    def __init__(self, stop: bool = False) -> None:
        self.asked = threading.Event()
        self._stop = stop

    def report(self, step: Step) -> None:
        """Nothing is shown."""

    def cancelled(self) -> bool:
        """As told."""
        self.asked.set()
        return self._stop


def test_one_video_at_a_time(tmp_path: Path) -> None:
    host = Standalone(tmp_path)

    def second(_: Progress) -> None:
        host.work(Asked(stop=True), lambda _: pytest.fail("two at once"))

    with pytest.raises(Cancelled):
        host.work(Silent(), second)
    assert host.work(Silent(), lambda _: "free again") == "free again"


def test_a_waiting_video_gets_its_turn(tmp_path: Path) -> None:
    host, order, waiting = Standalone(tmp_path), [], Asked()
    thread = threading.Thread(target=lambda: host.work(waiting, lambda _: order.append("second")))

    def first(_: Progress) -> None:
        thread.start()
        assert waiting.asked.wait(PATIENCE)
        order.append("first")

    host.work(Silent(), first)
    thread.join(PATIENCE)
    assert order == ["first", "second"]


def test_script_does_nothing_outside_of_a_webui() -> None:
    assert "modules.script_callbacks" not in sys.modules
    runpy.run_path(str(SCRIPT), run_name="sonic.py")


Tabs = Callable[[], list[tuple[Any, str, str]]]


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tabs]]:
    """What the script handed to a WebUI whose data lies in `tmp_path`."""
    with webui_standin.webui(tmp_path, monkeypatch) as made:
        runpy.run_path(str(SCRIPT), run_name="sonic.py")
        yield made.callbacks["on_ui_tabs"]


def _shown(blocks: Any) -> str:
    return " ".join(str(getattr(block, "value", "")) for block in blocks.blocks.values())


@pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries
class TestTab:
    """With gradio, as in every WebUI."""

    @pytest.fixture(autouse=True)
    def _gradio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("gradio", reason="the page needs gradio: see requirements/gradio4.txt")
        application = importlib.import_module("gradio.routes").App
        for name in ("build_middleware_stack", "__call__"):  # what the guard wraps, for good
            monkeypatch.setattr(application, name, getattr(application, name))

    def test_webui_gets_the_tab(self, registered: list[Tabs], tmp_path: Path) -> None:
        ((blocks, title, name),) = registered[0]()
        assert (title, name) == ("Sonic", "sonic")
        assert "<sonic-app hosted token=" in _shown(blocks)

    def test_tab_appears_when_a_part_is_missing(
        self, registered: list[Tabs], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sonic_ext.app.api", None)
        monkeypatch.delattr("sonic_ext.app.api", raising=False)
        ((blocks, title, _),) = registered[0]()
        assert title == "Sonic"
        assert "is not installed" in _shown(blocks)
        assert "install.py" in _shown(blocks)

    def test_private_home_that_the_webui_would_serve(
        self, registered: list[Tabs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SONIC_HOME", str(tmp_path / "webui" / "extensions" / "home"))
        ((blocks, _, _),) = registered[0]()
        assert "SONIC_HOME" in _shown(blocks)
