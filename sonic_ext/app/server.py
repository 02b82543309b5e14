"""The standalone web server: bound to this computer, or to others with a password; closed to other sites."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import socket
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

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ..ports import Host

FIRST_PORT = 7870
PORTS_TRIED = 40
BACKLOG = 2048
"""Connections that may wait for an answer, as uvicorn has it."""
CLOSING_SECONDS = 5.0
"""How long connections get to close."""


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
        page: False for the API alone.
        credentials: user → password, asked for by page and API; none where nobody else can reach the server.
        names: what the server may be called by besides its own names and addresses.

    Raises:
        BadSetting: others can reach the address and there is no password, or a name is none.
        MissingPart: fastapi or uvicorn is not installed.
        BadInput: the port is taken.
        BadSetting: the private home lies in the outputs folder, which the page hands out.
        BadOutput: the outputs folder cannot be made.
    """
    require_password(address, credentials)
    known = Names.of(address, names)
    # The port first: where it cannot be had, nothing has been made that would have to go away again.
    with _listening(address, port) as listener:
        refuse_served(private_home(), [host.outputs()])
        clear_up()
        worker = Worker(host)
        served = Access(application(worker, page), known, credentials)
        worker.start()
        try:
            _run(served, listener, opened, browser and page)
        finally:
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


def application(worker: Worker, page: bool) -> Any:
    """The API as a FastAPI application, with the page at / or without.

    Raises:
        MissingPart: fastapi or uvicorn is not installed.
    """
    try:
        fastapi = importlib.import_module("fastapi")
        importlib.import_module("uvicorn")
    except ModuleNotFoundError as error:
        raise MissingPart(
            f"The page and its API need fastapi and uvicorn, and {error.name} is not installed.",
            'Bring it with: python -m pip install "sonic-ext[standalone]"',
        ) from error
    from . import api, page_files
    from .admission import Admission

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    api.mount(app, worker, Admission())
    if page:
        app.include_router(page_files.router(alone=True))
    return app


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
