"""A running WebUI gives away neither master nor keys nor ledger: by address, event, text and web socket.

    pytest tests/live/test_guard_live.py --webui URL --home DIR --started-in DIR [--uploads DIR]

`--home` is the private home of that WebUI, with at least one video in it that was made and exported there;
`--started-in` its working folder; `--uploads` its $GRADIO_TEMP_DIR, if it has one; `--link` a link to the
home or to a folder above it. Start it as the case wants: in a folder above the home, with a home that is a
link, with a home below the uploads, with a link to the home below what it serves.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from attacks import Attacker, file_value
from client import Client


@pytest.fixture(scope="module")
def secrets(request: pytest.FixtureRequest) -> dict[Path, bytes]:
    """What must stay: all masters, keys and ledgers."""
    home = request.config.getoption("--home")
    if not home:
        pytest.skip("no private home was named: --home DIR")
    found = [path for path in Path(home).resolve().rglob("*") if path.is_file()]
    kinds = ("master.mp4", "key", ".sqlite3", ".pem")
    kept = {path: path.read_bytes() for path in found if path.name.endswith(kinds)}
    for kind in kinds:
        assert any(path.name.endswith(kind) for path in kept), f"no {kind} below {home}"
    return kept


@pytest.fixture(scope="module")
def attacker(request: pytest.FixtureRequest, webui: Client, secrets: dict[Path, bytes]) -> Attacker:
    """Somebody who reaches the WebUI."""
    links = tuple((link, link.resolve()) for link in request.config.getoption("--link"))
    return Attacker(webui.url, request.config.getoption("--started-in") or Path.cwd(), links)


@pytest.fixture(scope="module")
def uploads(request: pytest.FixtureRequest) -> Path:
    """Where gradio keeps what it copies."""
    named = request.config.getoption("--uploads")
    return Path(named) if named else Path(tempfile.gettempdir()) / "gradio"


def test_by_address(attacker: Attacker, secrets: dict[Path, bytes]) -> None:
    for path, data in secrets.items():
        for address in attacker.addresses(path):
            answer = attacker.ask("GET", address)
            assert answer.status == 403, address
            assert not answer.holds(data), address


def test_by_event(attacker: Attacker, secrets: dict[Path, bytes], uploads: Path) -> None:
    config = attacker.config()
    major = int(config["version"].split(".")[0])
    tried = 0
    for path, data in secrets.items():
        for event, body in attacker.events(config, file_value(str(path), major)):
            for route in ("/run/predict", "/api/predict", *(("/queue/join",) if major > 3 else ())):
                answer = attacker.post(route, body)
                tried += 1
                assert answer.status == 403, (route, event)
                assert not answer.holds(data)
        for copy in attacker.copies(path, uploads):
            assert attacker.ask("GET", copy).status != 200
    assert tried > 50


def test_by_web_socket(attacker: Attacker, secrets: dict[Path, bytes], uploads: Path) -> None:
    config = attacker.config()
    if not config["version"].startswith("3."):
        pytest.skip("gradio 4 has no web socket")
    master = next(path for path in secrets if path.name == "master.mp4")
    for event, body in list(attacker.events(config, file_value(str(master), 3)))[:40]:
        assert "process_completed" not in [said["msg"] for said in attacker.by_socket(body)], event
    for copy in attacker.copies(master, uploads):
        assert attacker.ask("GET", copy).status != 200


def test_by_text(attacker: Attacker, secrets: dict[Path, bytes]) -> None:
    for path in secrets:
        for name in attacker.names(path):
            body = {"data": [name], "fn_index": 0, "session_hash": "x"}
            assert attacker.post("/run/predict", body).status == 403, name


def test_the_webui_goes_on(attacker: Attacker) -> None:
    """What is no secret is served as ever: the page's own scripts, and its events' plain values."""
    page = attacker.ask("GET", "/").body.decode()
    assert attacker.ask("GET", "/").status == 200
    scripts = [part.split('"')[0] for part in page.split('src="')[1:] if part.startswith("file=")]
    for script in scripts[:5]:
        assert attacker.ask("GET", f"/{script}").status == 200, script
    assert json.loads(attacker.ask("GET", "/queue/status").body)
