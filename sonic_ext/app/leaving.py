"""gradio 3's queue lets go of a window that was closed.

Its connection to a page waits for the queue to close it, and the queue forgets an event whose page has gone
while the event was streaming: the connection waits for ever, and with it whoever closes the server, such as
the button Reload UI of a WebUI. gradio 4 has no such connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH = "/queue/join"


class Leaving:
    """Around the queue's connection: ends when its page has gone, or nothing can be sent any more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until the queue closes the connection, its page or the server does, or nobody is there."""
        gone = asyncio.Event()
        heard: asyncio.Queue[Message] = asyncio.Queue()

        async def hear() -> None:
            """The queue itself listens only while it waits for an event's inputs."""
            kind = ""
            while kind != "websocket.disconnect":
                message = await receive()
                kind = message.get("type", "")
                heard.put_nowait(message)
            gone.set()

        async def sent(message: Message) -> None:
            try:
                await send(message)
            except BaseException:  # cancelled too: the queue takes a page that answers late for gone
                gone.set()
                raise

        serving = asyncio.ensure_future(self._app(scope, heard.get, sent))
        leaving, hearing = asyncio.ensure_future(gone.wait()), asyncio.ensure_future(hear())
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.is_set():
                await serving
        finally:
            for task in (leaving, hearing, serving):
                task.cancel()
            await asyncio.gather(leaving, hearing, serving, return_exceptions=True)


def let_go_of_closed_windows(app: Any) -> None:
    """Wrap the queue's connection of this application and of those mounted on it."""
    from starlette.routing import Mount, WebSocketRoute

    for route in app.routes:
        if isinstance(route, Mount):
            let_go_of_closed_windows(route)
        elif isinstance(route, WebSocketRoute) and route.path == PATH and not isinstance(route.app, Leaving):
            route.app = Leaving(route.app)
