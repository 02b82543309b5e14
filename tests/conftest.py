"""Shared by all tests: a private folder of their own, and the media that ships with them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser_reports import (  # noqa: F401  (hooks)
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from sonic_ext.jobs import Queue
    from sonic_ext.provenance.take import Take

ROOT = Path(__file__).resolve().parent.parent

# An example that takes long on a busy machine is no fault.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--parity-dir DIR`: other recorded numbers of the published inference than those that ship."""
    parser.addoption("--parity-dir", type=Path, default=ROOT / "tests" / "data" / "parity", metavar="DIR")


@pytest.fixture(scope="session", autouse=True)
def _one_event_loop() -> Iterator[None]:
    """gradio asks for the main thread's loop when a page is built, and nobody closes what asyncio makes then:
    the warning would meet whatever test runs when it is collected."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell's background job ignores it, and so would every program that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_test_touches_the_users_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Also for fixtures that live longer than one test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONIC_HOME", str(tmp_path_factory.mktemp("session-home") / "sonic"))
        patch.setenv("SONIC_LANGUAGE", "en")  # whoever tests may have a computer that speaks Chinese
        yield


@pytest.fixture(autouse=True)
def sonic_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty private store for every test; not made yet, and not inside `tmp_path`."""
    home = tmp_path_factory.mktemp("home") / "sonic"
    monkeypatch.setenv("SONIC_HOME", str(home))
    return home


@pytest.fixture
def queue(sonic_home: Path) -> Queue:
    """This test's, without a job."""
    from sonic_ext.jobs import Queue

    return Queue()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Of torch, for a file of tests with tiny networks: more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _no_test_finds_the_users_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """With weights on the computer, engine=auto would be another engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        for name in ("SONIC_MODELS", "COMFYUI_PATH", "INSIGHTFACE_HOME"):
            patch.delenv(name, raising=False)
        patch.setattr("sonic_ext.weights.find.own_folder", lambda: Path("no models here"))
        yield


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a marked master and a preview of two frames that no engine drew."""
    from made_takes import record_clip

    from sonic_ext.settings import Settings

    folder = tmp_path_factory.mktemp("clip")
    record_clip(folder, Settings(), 2)
    return folder


@pytest.fixture
def take(clip: Path) -> Take:
    """The same in this test's store."""
    from made_takes import adopt_clip

    from sonic_ext.provenance.store import Store

    return adopt_clip(Store(), clip, frames=2)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A fresh Chromium with a profile of its own. Whoever takes it may run again: `browser_reports.py`."""
    from chromium import launched

    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`sonic serve`, for the tests of the page."""
    from own_page import sonic_serve

    with sonic_serve(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def window(browser: Any, served: Any) -> Iterator[Any]:
    """Opens windows of what is served; see `own_page.windows`."""
    from own_page import windows

    with windows(browser, served.url) as opened:
        yield opened


@pytest.fixture
def page(window: Any) -> Any:
    """One of them."""
    return window()


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of speech."""
    from spoken import one_second

    return one_second(tmp_path_factory.mktemp("speech") / "one.wav")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def media() -> Path:
    """Portraits and speech for tests; LICENSES.md there says what each is."""
    return ROOT / "tests" / "data" / "media"
