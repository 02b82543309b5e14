"""The standalone web server: bound to this computer, or to others with a password; closed to other sites."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, BadSetting, MissingPart
from ..files.home import private_home
from ..jobs import Worker
from ..provenance.boundary import refuse_served
from ..provenance.recovery import clear_up
from .access import Access, Names, is_loopback
from .file_guard import guard_gradio
from .tasks import BackgroundTasks

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..ports import Host

FIRST_PORT = 7870
PORTS_TRIED = 40
BACKLOG = 2048
"""Connections that may wait for an answer, as uvicorn has it."""
CLOSING_SECONDS = 5.0
"""How long connections get to close."""

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' ws: data: blob:; frame-ancestors 'self'"
)
"""Content security policy: the browser itself keeps the page from fetching anything from outside."""

_log = logging.getLogger(__name__)


def serve(
    host: Host,
    address: str,
    port: int | None,
    *,
    opened: Callable[[str], None],
    browser: bool = False,
    page: bool = True,
    credentials: Mapping[str, str] | None = None,
    names: Iterable[str] = (),
) -> None:
    """Serve page and API until KeyboardInterrupt.

    Args:
        host: where the page runs.
        address: to listen on; anything but loopback lets others in.
        port: None for the first free one from `FIRST_PORT`, 0 for any.
        opened: told the page's address once it answers.
        browser: open it there.
        page: False for the API alone, which needs no gradio.
        credentials: user → password, asked for by page and API; none where nobody else can reach the server.
        names: what the server may be called by besides its own names and addresses.

    Raises:
        BadSetting: others can reach the address and there is no password, or a name is none.
        MissingPart: gradio is not installed, or fastapi for the API.
        BadInput: the port is taken.
        BadSetting: the private home lies in the outputs folder, which the page hands out.
        BadOutput: the outputs folder cannot be made.
    """
    require_password(address, credentials)
    known = Names.of(address, names)
    # The port first: where it cannot be had, nothing has been made that would have to go away again.
    with _listening(address, port) as listener, _gradio_folder() if page else contextlib.nullcontext():
        refuse_served(private_home(), [host.outputs()])
        clear_up()
        tasks, worker = BackgroundTasks(), Worker(host)
        app = page_app(worker, tasks) if page else _api(worker, "api")
        visited = Access(FrontPage(app), known, credentials, lambda: queue_token(app))
        worker.start()
        try:
            _run(visited, listener, opened, browser and page)
        finally:
            tasks.stop_all()
            worker.close()


def require_password(address: str, credentials: Mapping[str, str] | None) -> None:
    """Refuse to be open to others.

    Raises:
        BadSetting: `address` is not loopback's, and there are no credentials.
    """
    if not credentials and not is_loopback(address):
        raise BadSetting(
            f"Others can reach {address}, and there is no password.",
            "Give --auth USER:PASSWORD, --auth @FILE or $SONIC_AUTH, or leave out --host.",
        )


def page_app(worker: Worker, tasks: BackgroundTasks) -> Any:
    """Page and API as a FastAPI application."""
    with _nothing_outside():
        from . import compat, tab
    guard_gradio()

    app = _api(worker, "standalone")
    blocks = tab.build(worker, tasks)
    compat.queue(blocks, tab.AT_ONCE)
    compat.mount(app, blocks, allowed=[worker.host.outputs()], blocked=[private_home()])
    return app


def queue_token(app: Any) -> str | None:
    """What gradio 3's queue shows when it calls its own server; version 4 calls no server."""
    tokens = (getattr(getattr(route, "app", None), "queue_token", None) for route in app.routes)
    return next(filter(None, tokens), None)


def _api(worker: Worker, extra: str) -> Any:
    """A FastAPI application with the API on it; `extra` brings what it needs."""
    try:
        fastapi = importlib.import_module("fastapi")
        importlib.import_module("uvicorn")
    except ModuleNotFoundError as error:
        wanting = "The page needs gradio" if extra == "standalone" else "The API needs fastapi and uvicorn"
        raise MissingPart(
            f"{wanting}, and {error.name} is not installed.",
            f'Bring it with: python -m pip install "sonic-ext[{extra}]"',
        ) from error
    from . import api

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    api.mount(app, worker)
    return app


class FrontPage:
    """ASGI middleware: nothing on the page points outside, and the browser is told to hold it to that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the policy added to the page itself."""
        front = scope["type"] == "http" and scope["path"] == "/"
        await self._app(scope, receive, _Front(send) if front else send)


class _Front:
    """Holds the front page back until it is whole, then sends it without gradio's links to outside."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = without_outside_links(self._body)
        kept = [pair for pair in self._start["headers"] if pair[0].lower() != b"content-length"]
        added = [
            (b"content-length", str(len(body)).encode()),
            (b"content-security-policy", POLICY.encode()),
            (b"referrer-policy", b"no-referrer"),
        ]
        await self._send({**self._start, "headers": [*kept, *added]})
        await self._send({"type": "http.response.body", "body": body})


def without_outside_links(html: bytes) -> bytes:
    """The front page without the script and the preconnects that gradio points at other servers."""
    html = re.sub(rb'<script\s[^>]*src="https?://[^>]*>\s*</script>', b"", html)
    return re.sub(rb'<link\s[^>]*href="https?://[^>]*>', b"", html)


@contextlib.contextmanager
def _gradio_folder() -> Iterator[None]:
    """A private folder for uploads and shown copies, gone at the end. Before gradio is imported."""
    folder = tempfile.mkdtemp(prefix="sonic-page-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _nothing_outside() -> Iterator[None]:
    """Inside, gradio and the hub library that it imports learn not to call the Hub, and to use no proxy; they
    look only once. Of proxies they take some forms for errors, and cannot be imported then.

    The variables go back to the user's afterwards: weights are fetched by a process of its own, when asked.
    """
    told = {"HF_HUB_OFFLINE": "1", "NO_PROXY": "*", "no_proxy": "*"}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _listening(address: str, port: int | None) -> Iterator[socket.socket]:
    ports = [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED)
    for number in ports:
        with contextlib.suppress(OSError):
            listener = _bound(address, number)
            break
    else:
        raise BadInput(
            f"Nothing can listen on {address}, port {port or f'{FIRST_PORT} and up'}: in use or not allowed.",
            "Choose another one with --port, or --port 0 for any free one.",
        )
    with listener:
        yield listener


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows this option would share the port with another process
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)  # two that only bound the port would both think that they have it
    except OSError:
        listener.close()
        raise
    return listener


def _run(app: ASGIApp, listener: socket.socket, opened: Callable[[str], None], browser: bool) -> None:
    """Serve in a thread, so that a signal reaches this one at once whatever the server is doing."""
    uvicorn = importlib.import_module("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    ended = threading.Event()  # an interrupted Thread.join takes the thread for ended (Python 3.10, 3.11)
    threading.Thread(target=_serve_until_told, args=(server, listener, ended), daemon=True).start()
    try:
        while not server.started and not ended.wait(0.05):
            pass
        if server.started:
            opened(address_of(listener))
            if browser:
                webbrowser.open(address_of(listener))
        while not ended.wait(0.5):
            pass
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is cut off now is no news
        server.should_exit = True
        ended.wait(CLOSING_SECONDS)


def _serve_until_told(server: Any, listener: socket.socket, ended: threading.Event) -> None:
    try:
        server.run(sockets=[listener])
    finally:
        ended.set()


def address_of(listener: socket.socket) -> str:
    """`http://127.0.0.1:7870/`."""
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    return f"http://{shown}:{port}/"
