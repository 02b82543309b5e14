"""Around an aiohttp server, as ComfyUI's is: nothing private is read for a request, by whatever route.

ComfyUI's own routes follow links, and one hands out any picture of the disk; its nodes, and those of other
packs, read any file that a prompt names. So no path in an address, and none among the values of a prompt, may
lead below the private home (`provenance.boundary`). Our own routes read no paths.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..configuration import Configuration
from ..errors import SonicError, error_values
from ..messages import joined, of_header, said, speaking
from ..provenance.boundary import private
from .named_files import address_allowed, names_any, texts_of

MESSAGE = "This file is private: it is not for web pages, nor for workflows."
HINT = "Use a file of your own, or the video that was exported."
OWN = "/sonic/"
"""Beginning of our routes."""
ROUTE = f"{OWN}{{path:.*}}"
"""All of them, as aiohttp writes it."""
PROMPT = "/prompt"
"""End of ComfyUI's route that takes workflows, below /api too."""
UPLOAD = "/upload/"
"""Part of those that take files."""
REFUSED = object()
"""In place of values that no route of ComfyUI's reads so."""
_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from starlette.types import Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(
    server: web.Application,
    folders: Callable[[], Sequence[Path]],
    configuration: Callable[[], Configuration] = Configuration.from_environment,
) -> None:
    """Put the guard around every route of a server that has not started yet.

    Args:
        folders: that the server looks into for names that are not absolute; asked at every request.
        configuration: asked at every request for the place of the user's signing key, which is private, too.
    """

    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(OWN):
            return await handler(request)
        values = await _values_of(request)
        if values is not REFUSED and await asyncio.to_thread(
            _allowed, request, values, folders, configuration
        ):
            return await handler(request)
        _log.warning("refused: a request named a private file")
        with speaking(of_header(request.headers.get("Accept-Language", ""))):
            told = {"type": "NotServed", "message": joined(MESSAGE, HINT), "details": "", "extra_info": {}}
        return web.json_response({"error": told, "node_errors": {}}, status=403)

    server.middlewares.append(web.middleware(guarded))


def answer_all(server: web.Application, problem: SonicError) -> None:
    """Say on every route of ours what keeps page and API away."""

    async def told(request: web.Request) -> web.Response:
        with speaking(of_header(request.headers.get("Accept-Language", ""))):
            values = error_values(problem)
            spoken = values | {name: said(values[name]) for name in ("detail", "hint")}
        return web.json_response(spoken, status=503)

    server.router.add_route("*", ROUTE, told)


async def _values_of(request: web.Request) -> Any:
    """What routes read of a body: JSON, of a prompt whatever type it is declared as, and an upload's fields.

    None where there is nothing to read, `REFUSED` for a prompt that is declared as a form.
    """
    if request.method not in ("POST", "PUT", "PATCH", "DELETE"):
        return None
    prompt = request.path.rstrip("/").endswith(PROMPT)
    if request.content_type.startswith("multipart/"):
        if UPLOAD in request.path:
            return _fields(await request.post())  # kept for the route, which asks for the same
        return REFUSED if prompt else None
    declared = request.headers.get("Content-Type", "text/plain")
    if not prompt and not re.match("text/|[^;]*json|application/x-www-form-urlencoded", declared):
        return None  # what is streamed to its route would be gone
    try:
        return _read_json(await request.text())
    except (LookupError, UnicodeDecodeError):  # of an alphabet that there is not
        return _read_json(await request.read())


def _fields(form: Any) -> list[Any]:
    """Of an upload: texts, JSON in them, names of files, and these in the folder that is named with them."""
    texts = [each if isinstance(each, str) else str(each.filename) for each in form.values()]
    folders = [each for each in form.getall("subfolder", []) if isinstance(each, str)]
    joined_names = [os.path.join(folder, name) for folder in folders for name in texts]  # noqa: PTH118
    return [*texts, *joined_names, *map(_read_json, texts)]


def _read_json(text: str | bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):  # no JSON: nothing is read by it
        return None


def _allowed(
    request: web.Request,
    values: Any,
    folders: Callable[[], Sequence[Path]],
    configuration: Callable[[], Configuration],
) -> bool:
    boundary, meant_from = private(configuration()), folders()
    if not address_allowed(scope_of(request), boundary, meant_from):
        return False
    return not any(names_any(each, boundary, meant_from) for each in texts_of(values))


def scope_of(request: web.Request) -> Scope:
    """What ASGI knows of a request (specification 2.3, HTTP connection scope)."""
    host, port = request.url.host or "", request.url.port or 0
    headers = [(name.lower(), value) for name, value in request.raw_headers]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path.partition("?")[0].encode(),
        "query_string": request.rel_url.raw_query_string.encode(),
        "root_path": "",
        "headers": headers,
        "client": (request.remote or "", 0),
        "server": (host, port),
    }
    return scope
