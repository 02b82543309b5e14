"""Page and API on a server of aiohttp's, as ComfyUI's is.

No library does it: aiohttp-asgi (0.7) never tells an application that a client went, for which Starlette's
streams ask without end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from fastapi import FastAPI

from . import api, page_files
from .admission import Admission
from .aiohttp_guard import ROUTE, scope_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message

    from ..jobs import Worker


def mount(server: web.Application, worker: Worker) -> None:
    """Add page and API to a server that has not started yet.

    Args:
        worker: carries the jobs out.
    """
    served = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    api.mount(served, worker, Admission())
    served.include_router(page_files.router(alone=False))
    server.router.add_route("*", ROUTE, Bridge(served).answer)


class Bridge:
    """An ASGI application as a handler of aiohttp's."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; body and answer pass through piece by piece."""
        exchange = Exchange(request)
        try:
            await self._application(scope_of(request), exchange.receive, exchange.send)
        except ConnectionResetError:  # nobody listens any more
            if exchange.answer is None:
                raise
        if exchange.answer is None:
            raise web.HTTPInternalServerError
        return exchange.answer


class Exchange:
    """One request and its answer, as messages of ASGI."""

    def __init__(self, request: web.Request) -> None:
        self.answer: web.StreamResponse | None = None
        self._request = request
        self._read = False
        self._over = asyncio.Event()

    async def receive(self) -> Message:
        """The next piece of the body; after the last, what ends the exchange."""
        if self._read:
            await self._over.wait()
            return {"type": "http.disconnect"}
        content = self._request.content
        piece = await content.readany()
        self._read = content.at_eof()
        return {"type": "http.request", "body": piece, "more_body": not self._read}

    async def send(self, message: Message) -> None:
        """Pass on the beginning or the next piece of the answer."""
        if message["type"] == "http.response.start":
            self.answer = web.StreamResponse(status=message["status"])
            for name, value in message.get("headers", ()):
                self.answer.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            await self.answer.prepare(self._request)
            return
        if self.answer is None:
            raise RuntimeError(f"{message['type']} before the answer began")
        try:
            body = message.get("body")
            if body and self._request.method != "HEAD":  # aiohttp would send it
                await self.answer.write(body)
            if not message.get("more_body", False):
                await self.answer.write_eof()
                self._over.set()
        except ConnectionResetError:
            self._over.set()
            raise
