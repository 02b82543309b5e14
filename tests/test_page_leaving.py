"""A window that is closed while an event streams to it keeps no connection of the server alive."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

pytest.importorskip("starlette", reason="the page needs gradio: install the extra `standalone`")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries' own, about each other
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route, WebSocketRoute

from sonic_ext.app.leaving import Leaving, let_go_of_closed_windows


class Closed(Exception):
    """Nobody is there."""


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    """As gradio's queue does: goes on whether or not anybody takes what it sends."""
    while True:
        try:
            await send({"type": "websocket.send"})
        except Closed:
            await asyncio.sleep(3600)


async def silence() -> Any:
    """A page that says nothing."""
    await asyncio.sleep(3600)


def served(app: Any, sending: Any, receive: Any = silence) -> None:
    asyncio.run(asyncio.wait_for(Leaving(app)({}, receive, sending), PATIENCE))


def test_ends_when_the_page_goes_and_nothing_is_sent() -> None:
    said = [{"type": "websocket.receive", "text": "inputs"}, {"type": "websocket.disconnect", "code": 1012}]
    heard: list[Any] = []

    async def send(message: Any) -> None:
        pass

    async def receive() -> Any:
        await asyncio.sleep(0.05)
        return said.pop(0)

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())
        await asyncio.sleep(3600)

    served(waiting, send, receive)
    assert heard == [{"type": "websocket.receive", "text": "inputs"}]


def test_ends_when_nobody_takes_what_is_sent() -> None:
    taken: list[Any] = []

    async def send(message: Any) -> None:
        if len(taken) == 3:
            raise Closed
        taken.append(message)

    served(streaming, send)
    assert len(taken) == 3


def test_ends_when_a_message_is_given_up() -> None:
    async def send(message: Any) -> None:
        await asyncio.sleep(3600)

    async def impatient(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(send({}), 0.05)
        await asyncio.sleep(3600)

    served(impatient, send)


def test_ends_as_the_application_does() -> None:
    async def send(message: Any) -> None:
        pass

    async def ends(scope: Any, receive: Any, send: Any) -> None:
        await send({})

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("of its own")

    served(ends, send)
    with pytest.raises(KeyError, match="of its own"):
        served(fails, send)


def test_a_webuis_page_gets_it_once() -> None:
    async def connection(scope: Any, receive: Any, send: Any) -> None:
        """Never called."""

    within = Starlette(
        routes=[WebSocketRoute("/queue/join", connection), WebSocketRoute("/other", connection)]
    )
    app = Starlette(routes=[Route("/queue/join", connection), Mount("/page", within)])
    queue, other = within.routes
    before = queue.app, other.app, app.routes[0].app
    for _ in range(2):
        let_go_of_closed_windows(app)
    assert isinstance(queue.app, Leaving)
    assert (queue.app._app, other.app, app.routes[0].app) == before


@pytest.mark.parametrize("answers", [2, 99], ids=["while it streams", "at the end"])
def test_the_server_of_a_page_closes_after_a_window_has(answers: int) -> None:
    """gradio's own, in a process of their own: they leave sockets to the garbage collector."""
    try:
        version = metadata.version("gradio")
    except metadata.PackageNotFoundError:
        pytest.skip("the page needs gradio: install the extra `standalone`")
    if not version.startswith("3."):
        pytest.skip("this gradio has no such connection")
    script = Path(__file__).with_name("closed_window.py")
    done = subprocess.run(
        [sys.executable, script, str(answers)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["closed"], done.stdout + done.stderr
