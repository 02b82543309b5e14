"""What middleware of ASGI applications shares: a refusal, and a body that is read first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..messages import of_header, said, speaking

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

PREFIX = "/sonic/v1"
"""Of every route of the API."""
POLICY_VIOLATION = 1008
"""Code that closes a web socket, RFC 6455, section 7.4.1."""


@dataclass(frozen=True)
class Problem:
    """An answer that says no, in the shape of the API's."""

    status: int
    error: str
    detail: str
    hint: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def header(scope: Scope, name: bytes) -> str | None:
    """A header that is there once, by its name in lower case."""
    found = [value for known, value in scope["headers"] if known.lower() == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    problem: Problem,
) -> None:
    """Answer a request with an error, or a web socket that was not accepted yet by closing it."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    with speaking(of_header(header(scope, b"accept-language") or "")):
        told = {"error": problem.error, "detail": said(problem.detail), "hint": said(problem.hint)}
    body = json.dumps(told).encode()
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), *problem.headers]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read(receive: Receive, limit: int) -> bytes | None:
    """A request's body; None where it is larger than `limit` bytes or its sender has gone."""
    parts: list[bytes] = []
    left, more = limit, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        left, more = left - len(parts[-1]), message.get("more_body", False)
        if left < 0:
            return None
    return b"".join(parts)


class Again:
    """Gives an application the body that was read already, then what comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        """The next message."""
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}
