"""`sonic serve` with the API: passwords, headless, beside the page, closed to other sites."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE
from served import served

pytest.importorskip("fastapi", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
pytest.importorskip("uvicorn", reason="the API needs fastapi and uvicorn: install the extra `standalone`")

from sonic_ext.app.credentials import VARIABLE, credentials
from sonic_ext.app.server import require_password, serve
from sonic_ext.errors import BadSetting

ROOT = Path(__file__).parents[1]
BASH = shutil.which("bash") if os.name == "posix" else None
WITHOUT_GRADIO = (
    "import sys; sys.modules['gradio'] = None; from sonic_ext.cli.main import main; sys.exit(main())"
)
"""A program; `python -c`."""


@contextlib.contextmanager
def started(folder: Path, program: tuple[str, str], *words: str, **places: str) -> Iterator[str]:
    """`sonic serve` as a process of its own; gives its address, and it must end well."""
    served_with = ("serve", "--port", "0", "--json", "--output-dir", "out", *words)
    with served(folder, *program, *served_with, **places) as told:
        yield json.loads(told)["url"]


def ask(url: str, auth: str = "", body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and body of an answer."""
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=PATIENCE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_headless_without_gradio(tmp_path: Path) -> None:
    program = ("-c", WITHOUT_GRADIO)
    with started(tmp_path, program, "--api-only", **{VARIABLE: "me:se:cret"}) as url:
        assert ask(f"{url}sonic/v1/engines")[0] == 401
        status, body = ask(f"{url}sonic/v1/engines", "me:se:cret")
        assert (status, json.loads(body)["auto"]) == (200, "preview")
        assert ask(url, "me:se:cret")[0] == 404


def test_beside_the_page(tmp_path: Path) -> None:
    secret = tmp_path / "users"
    secret.write_text("me:one\nyou:two\n", encoding="utf-8")
    with started(tmp_path, ("-c", WITHOUT_GRADIO), "--auth", f"@{secret}") as url:
        assert b"<html" in ask(url, "me:one")[1].lower()
        assert b"sonic-app" in ask(f"{url}sonic/page/app.js", "me:one")[1]
        for route in ("", "sonic/v1/weights", "sonic/page/app.js", "sonic/page/../../etc/passwd", "no such"):
            assert ask(f"{url}{route.replace(' ', '%20')}")[0] == 401
        assert ask(f"{url}sonic/v1/weights", "you:two")[0] == 200
        assert ask(f"{url}sonic/v1/nothing", "you:two")[0] == 404
        for foreign in ({"Origin": "https://elsewhere.example"}, {"Host": "elsewhere.example"}):
            assert ask(f"{url}sonic/v1/weights", "you:two", **foreign)[0] == 403
        told = {"Sec-Fetch-Site": "same-site"}
        assert ask(f"{url}sonic/v1/weights", "you:two", **told)[0] == 403
        assert ask(url, "you:two", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200
        seen = ask(
            f"{url}sonic/v1/weights",
            "you:two",
            Origin="https://videos.example",
            **{"X-Forwarded-Host": "videos.example"},
        )
        assert seen[0] == 200


def raw(url: str, *lines: bytes) -> bytes:
    """The first line of the answer to these very bytes."""
    place = urllib.parse.urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=PATIENCE) as line:
        line.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        return line.makefile("rb").readline()


def test_malformed_headers_are_the_callers_fault(tmp_path: Path) -> None:
    with started(tmp_path, ("-m", "sonic_ext"), "--api-only") as url:
        own = urllib.parse.urlsplit(url).netloc.encode()
        asking, ours = b"GET /sonic/v1/engines HTTP/1.1", b"Host: " + own
        assert raw(url, asking, ours).split()[1] == b"200"
        for host in (
            b"[::1",
            b"]",
            b"",
            b"\xff\xfe",
            b"a b",
            b"127.0.0.1:x",
            b"127.0.0.1:99999",
            b"me@127.0.0.1",
        ):
            assert raw(url, asking, b"Host: " + host).split()[1] == b"400", host
        assert raw(url, asking, ours, ours).split()[1] == b"400"
        assert raw(url, b"GET /sonic/v1/engines HTTP/1.0").split()[1] == b"400"
        for origin in (b"http://[::1", b"null", b"", b"\xff", b"http://", b"http://a b", b"//" + own):
            assert raw(url, asking, ours, b"Origin: " + origin).split()[1] == b"403", origin
        assert raw(url, asking, ours, b"Origin: http://" + own).split()[1] == b"200"


def test_open_to_others_it_asks_everywhere_and_knows_its_names(tmp_path: Path) -> None:
    words = ("--host", "0.0.0.0", "--auth", "me:secret", "--allowed-host", "videos.example")
    with started(tmp_path, ("-m", "sonic_ext"), *words) as told:
        url = told.replace("0.0.0.0", "127.0.0.1")
        for route in ("", "sonic/page/app.js", "sonic/v1/weights", "sonic/v1/events"):
            assert ask(f"{url}{route}")[0] == 401
            assert ask(f"{url}{route}", "me:wrong")[0] == 401
        assert b"<html" in ask(url, "me:secret")[1].lower()
        assert ask(f"{url}sonic/v1/weights", "me:secret")[0] == 200
        port = urllib.parse.urlsplit(url).port
        for name in ("videos.example", "192.0.2.7", "[2001:db8::1]", socket.gethostname()):
            assert ask(f"{url}sonic/v1/engines", "me:secret", Host=f"{name}:{port}")[0] == 200, name
        for name in ("elsewhere.example", "videos.example.org", "localhost.example"):
            assert ask(f"{url}sonic/v1/engines", "me:secret", Host=f"{name}:{port}")[0] == 403, name
        assert ask(f"{url}sonic/v1/engines", "me:secret", Origin="https://elsewhere.example")[0] == 403


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::", "a name"])
def test_others_are_not_let_in_without_a_password(address: str, tmp_path: Path, sonic_home: Path) -> None:
    from sonic_ext.hosts.standalone import Standalone

    for credentials_given in (None, {}):
        with pytest.raises(BadSetting, match="no password"):
            serve(Standalone(tmp_path), address, 0, opened=print, credentials=credentials_given)
    for alone in ("127.0.0.1", "127.8.0.1", "localhost", "::1"):
        require_password(alone, {})
    require_password(address, {"me": "secret"})


@pytest.mark.skipif(not (BASH and shutil.which("curl")), reason="needs bash and curl")
def test_examples_of_the_docs_run(tmp_path: Path) -> None:
    for name in ("portrait.jpg", "speech.wav"):
        shutil.copy(ROOT / "sonic_ext" / "assets" / "example" / name, tmp_path)
    (block,) = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "api.md").read_text(), re.M | re.S)
    with started(tmp_path, ("-m", "sonic_ext"), "--api-only", "--auth", "me:secret") as url:
        done = subprocess.run(
            [str(BASH), "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env=os.environ | {"API": f"{url}sonic/v1", "AUTH": "me:secret"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"verdict":"intact"' in done.stdout
    assert (tmp_path / "video.mp4").read_bytes()[4:8] == b"ftyp"
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("me:secret", {"me": "secret"}),
        ("me:se:cret, you:two", {"me": "se:cret", "you": "two"}),
        (None, {}),
    ],
)
def test_users(monkeypatch: pytest.MonkeyPatch, given: str | None, expected: dict[str, str]) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert credentials(given) == expected


def test_users_from_environment_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("\ufeffme:a,b\n\nyou:é\n", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, f"@{path}")
    assert credentials(None) == {"me": "a,b", "you": "é"}
    assert credentials("she:wins") == {"she": "wins"}


@pytest.mark.parametrize("given", ["", ",", "secret", ":secret", "me:", "me:secret,you", "@no such file"])
def test_what_names_no_user_is_refused_and_not_repeated(given: str) -> None:
    """An empty password would leave the API open."""
    with pytest.raises(BadSetting) as error:
        credentials(given)
    assert "secret" not in str(error.value)


def test_empty_variable_is_refused_where_it_is_set_to_nothing_but_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, ",")
    with pytest.raises(BadSetting):
        credentials(None)
