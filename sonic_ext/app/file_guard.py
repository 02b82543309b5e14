"""Around gradio: what is private is not handed out, by whatever route and name a request asks for it.

    guard_gradio()

gradio's own routes read files that a request names. Version 3 serves everything below the folder that the
server was started in, both versions follow links, and where an event's input is a file, version 3 copies any
readable file into its cache and serves the copy. So before a request reaches gradio

- no path in its address or among its values may lead below the private home (`provenance.boundary`), and
- a file among an event's inputs must be one that gradio itself has put where it lies or was told of as a
  result of its functions: an upload, a copy in its cache, a picture that was saved and shown.

Version 3 takes an event's inputs over a web socket and hands them to itself by POST, version 4 takes them by
POST.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configuration import Configuration
from ..errors import MissingPart
from ..provenance.boundary import Boundary, private
from .asgi import POLICY_VIOLATION, PREFIX, Again, Problem, read, refuse
from .named_files import address_allowed, names_any, parts

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LIMIT = 400 * 10**6
"""Bytes of an event's inputs. Pictures travel in them, films do not."""
NOT_SERVED = Problem(
    403,
    "NotServed",
    "This file is not for web pages: it is neither an upload nor a result.",
    "Upload it on the page.",
)
TOO_LARGE = Problem(
    413, "TooLarge", f"The request is larger than {LIMIT // 10**6} MB.", "Send smaller files, or fewer."
)

NOT_YET = Problem(503, "NotYet", "The WebUI is starting.", "Try again in a moment.")

_EVENTS = re.compile(r"(?:^|/)(?:(?:run|api|call)/[^/]+|queue/join|component_server)/?$")
"""gradio's routes that take an event's inputs, wherever it is mounted."""
_GUARDED = "sonic_guarded"

_log = logging.getLogger(__name__)


def guard_gradio(configuration: Callable[[], Configuration] = Configuration.from_environment) -> None:
    """Put a `FileGuard` around every gradio application of this process, outside of all other middleware.

    An application builds its middleware at its first request, and again whenever somebody resets it, as the
    WebUIs do. So it is the building that is wrapped: nothing is added to an application that runs, no request
    comes before the guard, and *Reload UI*, which makes a new application, keeps it. To be called before the
    first of them is launched; once more does no harm.

    Args:
        configuration: asked at every request for the place of the user's signing key, which is private, too.

    Raises:
        MissingPart: this gradio's application is built in another way.
    """
    gradio = importlib.import_module("gradio")
    application = importlib.import_module("gradio.routes").App
    build = getattr(application, "build_middleware_stack", None)
    if build is None:
        raise MissingPart(
            f"gradio {gradio.__version__} is built in another way: private files cannot be kept from it.",
            "Use Sonic with gradio 3.41 or 4.40.",
        )
    if hasattr(build, _GUARDED):
        return
    major = int(gradio.__version__.split(".")[0])

    def guarded(page: Any) -> ASGIApp:
        return FileGuard(build(page), page, major, configuration)

    setattr(guarded, _GUARDED, True)
    application.build_middleware_stack = guarded
    application.__call__ = _answered_early(application.__call__)


def _answered_early(call: Callable[..., Any]) -> Callable[..., Any]:
    """Asked by a page that was open before, an application that has no routes of ours yet says so by itself.

    Its middleware is built at the first request, and a WebUI that adds some of its own after that, as it does
    right before ours, does not start.
    """

    async def called(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and PREFIX in str(scope["path"])
        if ours and not any(PREFIX in getattr(route, "path", "") for route in self.router.routes):
            await refuse(scope, receive, send, NOT_YET)
        else:
            await call(self, scope, receive, send)

    return called


def served_by_gradio(home: Path) -> list[Path]:
    """Folders that gradio hands out without being told to, as far as `home` could lie in one.

    Version 3 serves the working directory, but nothing below a folder whose name begins with a dot.
    """
    gradio = sys.modules.get("gradio")
    hidden = any(part.startswith(".") for part in home.absolute().parts)
    whole = gradio is not None and gradio.__version__.startswith("3.") and not hidden
    folders = [upload_folder()]
    with contextlib.suppress(FileNotFoundError):  # it was deleted
        folders += [Path.cwd()] if whole else []
    return folders


def upload_folder() -> Path:
    """Where gradio keeps uploads and copies of what it shows."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


def uploaded(path: str) -> bool:
    """Whether gradio itself put this file where it lies, so that no one may name any other."""
    within = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(upload_folder()))
    return within and not private().holds(path)


class FileGuard:
    """ASGI middleware around one gradio application.

    Args:
        app: what it is put around.
        page: gradio's application, which knows the files of its results.
        major: of gradio's version.
        configuration: see `guard_gradio`.
    """

    def __init__(
        self, app: ASGIApp, page: Any, major: int, configuration: Callable[[], Configuration]
    ) -> None:
        self._configuration = configuration
        self._app = app
        self._page = page
        self._major = major

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403 (413 where it is too large to be looked at)."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif not await asyncio.to_thread(self._address_allowed, scope):
            _log.warning("refused: a request named a private file in its address")
            await refuse(scope, receive, send, NOT_SERVED)
        elif scope["type"] == "websocket":
            await self._app(scope, _CheckedReceive(self._allowed, receive, send), send)
        elif scope["method"] == "POST" and _EVENTS.search(scope["path"]):
            await self._event(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read(receive, LIMIT)
        if body is None:
            await refuse(scope, receive, send, TOO_LARGE)
        elif await asyncio.to_thread(self._allowed, body):
            await self._app(scope, Again(body, receive), send)
        else:
            _log.warning("refused: an event's inputs named a file that is no upload")
            await refuse(scope, receive, send, NOT_SERVED)

    def _address_allowed(self, scope: Scope) -> bool:
        return address_allowed(scope, private(self._configuration()))

    def _allowed(self, text: str | bytes) -> bool:
        """Of an event's inputs. What is no JSON is let through: gradio itself refuses it."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return True
        return Inputs(private(self._configuration()), self._page, self._major).allowed(value)


class _CheckedReceive:
    """What a web socket hears, until a message names a private file: then it is closed."""

    def __init__(self, allowed: Any, receive: Receive, send: Send) -> None:
        self._allowed = allowed
        self._receive = receive
        self._send = send

    async def __call__(self) -> Message:
        message = await self._receive()
        said = message.get("text") or message.get("bytes")
        if not said or await asyncio.to_thread(self._allowed, said):
            return message
        _log.warning("refused: an event's inputs named a file that is no upload")
        await self._send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}


@dataclass(frozen=True)
class Inputs:
    """What the inputs of an event are held to."""

    boundary: Boundary
    page: Any
    """gradio's application."""
    major: int

    def allowed(self, value: Any) -> bool:
        """Whether no part of a JSON value names a file that must not be read."""
        return all(
            self._file_allowed(part) if isinstance(part, dict) else not names_any(part, self.boundary)
            for part in parts(value)
        )

    def _file_allowed(self, part: dict[str, Any]) -> bool:
        name = part.get("path") if self.major > 3 else part.get("is_file") and part.get("name")
        return not isinstance(name, str) or (not self.boundary.holds(name) and self._known(name))

    def _known(self, name: str) -> bool:
        """Whether gradio put the file there, or was told of it by the page's own functions."""
        try:
            if Path(os.path.realpath(name)).is_relative_to(os.path.realpath(upload_folder())):
                return True
            written = Path(os.path.abspath(name))  # noqa: PTH100 - as gradio writes it, links not followed
        except (OSError, ValueError):
            return False
        told = getattr(self.page.blocks, "temp_file_sets", ())
        return any(str(written) in files or written in files for files in told) or self._static(name)

    def _static(self, name: str) -> bool:
        """Of `gradio.set_static_paths`, which version 3 has not."""
        return self.major > 3 and bool(importlib.import_module("gradio.utils").is_static_file(name))
