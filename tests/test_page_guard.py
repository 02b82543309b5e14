"""gradio as a WebUI serves it: a master, the keys and the ledger are out of reach by every route and name.

The server is the real one, of the gradio that is installed; `guarded_page.py` is the process. Each case puts
the private home where gradio itself would hand it out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacks import Attacker, file_value
from made_takes import adopt_clip
from patience import PATIENCE
from PIL import Image

gradio = pytest.importorskip("gradio", reason="a WebUI needs gradio: see requirements/gradio4.txt")

from sonic_ext.provenance.consent import Consent  # noqa: E402
from sonic_ext.provenance.gate import export  # noqa: E402
from sonic_ext.provenance.store import Store  # noqa: E402

ROOT = Path(__file__).parents[1]
MAJOR = int(gradio.__version__.split(".")[0])
CASES = (
    "started above the home",
    "a home that is a link",
    "a link among what is served",
    "a home below uploads",
)


@dataclass(frozen=True)
class Served:
    """A server, and what it must not give away."""

    attacker: Attacker
    secrets: dict[Path, bytes]
    uploads: Path

    def copied(self) -> list[Path]:
        """Copies of secrets in gradio's folder, outside of the home."""
        known = set(self.secrets.values())
        files = [path for path in self.uploads.rglob("*") if path.is_file() and path not in self.secrets]
        return [path for path in files if path.read_bytes() in known]


def filled(home: Path, clip: Path, outputs: Path) -> dict[Path, bytes]:
    """A home with two videos, of which one was exported: masters, signing key, ledger and its key."""
    outputs.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONIC_HOME", str(home))
        store = Store(home)
        one = adopt_clip(store, clip, frames=2)
        adopt_clip(store, clip, take_id="00000000000000ff", frames=2)
        export(one, outputs / "one.mp4", Consent(face="synthetic", voice="synthetic"))
    found = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
    secrets = {path: data for path, data in found.items() if len(data) > 16}
    assert {"master.mp4"} < {path.name for path in secrets}
    assert any("key" in path.name for path in secrets) and any("ledger" in path.name for path in secrets)
    return secrets


def laid_out(folder: Path, case: str) -> tuple[Path, Path, Path, tuple[tuple[Path, Path], ...]]:
    """The real home, its name for the server, gradio's folder, and links to the home."""
    work, elsewhere = folder / "work", folder / "elsewhere"
    work.mkdir()
    uploads = folder / "uploads"
    if case == "started above the home":
        return work / "data" / "sonic-ext", work / "data" / "sonic-ext", uploads, ()
    if case == "a home below uploads":
        return uploads / "sonic", uploads / "sonic", uploads, ()
    if case == "a home that is a link":
        home = work / "real"
        home.mkdir(mode=0o700)
        (folder / "named").symlink_to(home)
        return home, folder / "named", uploads, ((folder / "named", home),)
    (work / "alias").symlink_to(elsewhere)
    return elsewhere / "sonic", elsewhere / "sonic", uploads, ((work / "alias", elsewhere),)


@contextmanager
def serving(folder: Path, clip: Path, case: str, *words: str) -> Iterator[Served]:
    """The server of a case as a process of its own."""
    home, named, uploads, links = laid_out(folder, case)
    secrets = filled(home, clip, folder / "out")
    work = folder / "work"
    Image.new("RGB", (8, 8)).save(work / "result.png")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    own = {"SONIC_HOME": str(named), "PYTHONPATH": path, "GRADIO_TEMP_DIR": str(uploads)}
    own |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "no_proxy": "*"}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(ROOT / "tests" / "guarded_page.py"), *words],
            env=os.environ | own,
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        told = next((line for line in process.stdout if line.startswith("http")), "")
        assert told, (folder / "log").read_text()
        try:
            yield Served(Attacker(told.strip().rstrip("/"), work, links), secrets, uploads)
        finally:
            process.kill()
            process.wait(timeout=60)
            process.stdout.close()


@pytest.fixture(scope="module", params=CASES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clip: Path
) -> Iterator[Served]:
    """A guarded server."""
    if os.name == "nt" and "link" in request.param:
        pytest.skip("links need a right that few users of Windows have")
    with serving(tmp_path_factory.mktemp("case"), clip, request.param) as made:
        yield made


def test_no_address_gives_a_secret(served: Served) -> None:
    asked = [
        (path, method, address)
        for path in served.secrets
        for address in served.attacker.addresses(path)
        for method in ("GET", "HEAD")
    ]
    assert len(asked) > 100
    for path, method, address in asked:
        answer = served.attacker.ask(method, address)
        assert answer.status == 403, (method, address)
        assert not answer.holds(served.secrets[path]), (method, address)
    ranged = served.attacker.ask("GET", f"/file={next(iter(served.secrets))}", Range="bytes=0-99")
    assert ranged.status == 403


def test_no_event_copies_a_secret(served: Served) -> None:
    attacker, config = served.attacker, served.attacker.config()
    routes = ("/run/predict", "/api/predict/") + (("/queue/join", "/call/file") if MAJOR > 3 else ())
    tried = 0
    for path, secret in served.secrets.items():
        for name in attacker.names(path):
            for event, body in attacker.events(config, file_value(name, MAJOR)):
                for route in routes:
                    answer = attacker.post(route, body)
                    tried += 1
                    assert answer.status == 403, (route, event, name)
                    assert not answer.holds(secret)
    assert tried > 100
    assert served.copied() == []


def test_no_text_names_a_secret(served: Served) -> None:
    """A function may read what a user typed: batch folders, lists of files."""
    attacker, config = served.attacker, served.attacker.config()
    number = next(at for at, event in enumerate(config["dependencies"]) if event["api_name"] == "text")
    for path in served.secrets:
        for text in (*attacker.names(path), f"a\n '{path}'\nb", path.parent.as_uri(), str(path.parent)):
            body = {"data": [text], "fn_index": number, "session_hash": "s"}
            assert attacker.post("/run/predict", body).status == 403, text
    for text in ("a portrait, best quality, (smile:1.1)", "sonic-ext", "ledger.sqlite\nkeys", "/", "~"):
        answer = attacker.post("/run/predict", {"data": [text], "fn_index": number, "session_hash": "s"})
        assert (answer.status, json.loads(answer.body)["data"]) == (200, [text])


@pytest.mark.skipif(MAJOR > 3, reason="gradio 4 has no web socket")
def test_no_web_socket_copies_a_secret(served: Served) -> None:
    attacker, config = served.attacker, served.attacker.config()
    path, secret = next((path, data) for path, data in served.secrets.items() if path.name == "master.mp4")
    for event, body in attacker.events(config, file_value(str(path), MAJOR)):
        heard = attacker.by_socket(body)
        assert [said["msg"] for said in heard][-1] != "process_completed", (event, heard)
        assert secret[:16].hex() not in json.dumps(heard)
    assert served.copied() == []


def test_files_outside_of_the_uploads_are_refused(served: Served, tmp_path: Path) -> None:
    """Whatever they are: what is not private today may be what leads to it."""
    (tmp_path / "notes.txt").write_text("nobody uploaded this")
    attacker, config = served.attacker, served.attacker.config()
    for name in (
        str(tmp_path / "notes.txt"),
        "../log",
        "http://127.0.0.1:1/x",
        "file:///etc/hostname",
        "",
        "\0",
    ):
        for event, body in attacker.events(config, file_value(name, MAJOR)):
            assert attacker.post("/run/predict", body).status == 403, (event, name)


def test_uploads_and_results_are_let_through(served: Served, media: Path) -> None:
    attacker, config = served.attacker, served.attacker.config()
    picture = (media / "portrait_01.jpg").read_bytes()
    edge = b"--x\r\n"
    form = (
        edge
        + b'Content-Disposition: form-data; name="files"; filename="a b.jpg"\r\n\r\n'
        + picture
        + b"\r\n--x--\r\n"
    )
    sent = attacker.ask("POST", "/upload", form, **{"Content-Type": "multipart/form-data; boundary=x"})
    (name,) = json.loads(sent.body)
    assert attacker.ask("GET", f"/file={name.replace(' ', '%20')}").body == picture
    result = str(attacker.cwd / "result.png")
    for event, body in attacker.events(config, file_value(name, MAJOR)):
        if event.startswith(("file", "gallery", "own_")):
            answer = attacker.post("/run/predict", body)
            assert answer.status == 200, (event, answer.body)
    for event, body in attacker.events(config, file_value(result, MAJOR)):
        answer = attacker.post("/run/predict", body)
        own = event.startswith("own_")
        # ours take uploads alone; gradio 4 itself takes no results
        assert answer.status != 403, (event, answer.body)
        assert answer.status == 500 if own else True


@pytest.mark.skipif(MAJOR > 3, reason="gradio 4 closed these itself")
def test_without_the_guard_gradio_gives_them_away(tmp_path: Path, clip: Path) -> None:
    """Or all of the above would prove nothing. Our own inputs refuse by themselves."""
    with serving(tmp_path, clip, CASES[0], "--open") as served:
        attacker, config = served.attacker, served.attacker.config()
        path, secret = next(
            (path, data) for path, data in served.secrets.items() if path.name == "master.mp4"
        )
        assert attacker.ask("GET", f"/file={path}").body == secret
        for event, body in attacker.events(config, file_value(str(path), MAJOR)):
            if event.startswith("own_"):
                assert attacker.post("/run/predict", body).status == 500
        assert served.copied() == []
        for event, body in attacker.events(config, file_value(str(path), MAJOR)):
            if event.startswith("file"):
                assert attacker.post("/run/predict", body).status == 200
        assert len(served.copied()) == 1


def test_an_early_question_lets_a_webui_add_its_middleware() -> None:
    """One that builds an application's middleware ends the start of a WebUI that adds to it."""
    program = (
        "import asyncio, warnings; warnings.simplefilter('ignore');"
        "from sonic_ext.app.file_guard import guard_gradio; guard_gradio();"
        "import gradio; app = gradio.routes.App.create_app(gradio.Blocks()); told = [];"
        "scope = {'type': 'http', 'method': 'GET', 'path': '/sonic/v1/events', 'headers': []};"
        "send = lambda message: asyncio.sleep(0, told.append(message));"
        "asyncio.run(app(scope, None, send));"
        "app.add_middleware(type('Theirs', (), {'__init__': lambda self, app: None}));"
        "print(told[0]['status'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.split() == ["503"], done.stderr
