"""What stands before every route of the API: password, size, type; and what errors look like behind it.

Their sentences are in the language that a request's Accept-Language asks for, see `messages`.

All of it is done in the routes themselves: a WebUI's own routes, handlers and middleware stay as they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic
from starlette.requests import ClientDisconnect

from ..errors import BadInput, NotFound, SonicError, TooLarge, as_error, error_values
from ..messages import of_header, said, speaking
from ..text import whole
from .admission import Admission
from .asgi import Problem

if TYPE_CHECKING:
    from starlette.types import Message, Receive

MAX_BODY = 400 * 10**6
"""Bytes of a request's body: 300 MB of files in base64."""

Handler = Callable[[Request], Awaitable[Response]]

_EXPECTED = (("str", "text"), ("dict", "an object"), ("model", "an object"), ("list", "a list"))
"""Beginnings of pydantic's names for what it wanted, in words."""
_DESCRIBED = "The fields are described in /sonic/v1/openapi.json."
_log = logging.getLogger(__name__)


class Password(HTTPBasic):
    """Shows the scheme in the API's description. The check itself is done before a body is read."""

    def __init__(self) -> None:
        super().__init__(
            scheme_name="Password",
            description="User and password of --api-auth; asked for only where that is set.",
            auto_error=False,
        )

    async def __call__(self) -> None:
        """Nothing is left to check."""


def route_class(admission: Admission, limit: int) -> type[APIRoute]:
    """Routes that let in who may, take what they can hold, and answer every error in one shape."""

    class Door(APIRoute):
        def get_route_handler(self) -> Handler:
            inner = super().get_route_handler()

            async def handler(request: Request) -> Response:
                with speaking(of_header(request.headers.get("accept-language", ""))):
                    try:
                        return refused(request, admission) or await inner(
                            await _checked_request(request, limit)
                        )
                    except Exception as error:
                        return answer_of(error)

            return handler

    return Door


def refused(request: Request, admission: Admission) -> Response | None:
    """The answer to a request that is not let in: 401, 403, 413 or 415; None for one that is."""
    refusal = admission.refusal(request)
    if refusal is not None:
        return refusal_answer(refusal)
    # Browsers let any site send a POST that is not declared as JSON, with or without a body.
    if (request.method == "POST" or _has_body(request)) and _media_type(request) != "application/json":
        return problem(
            415,
            "WrongType",
            "The body is not declared as JSON.",
            "Send it with Content-Type: application/json.",
        )
    return None


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _checked_request(request: Request, limit: int) -> Request:
    """The request with its body read: at most `limit` bytes, a JSON object or nothing.

    Raises:
        TooLarge: it says so, before anything is read, or it turns out so.
        BadInput: not JSON, or something else than an object.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    counted = Request(request.scope, _Counted(request.receive, limit))
    if await counted.body():
        _require_object(await _parsed(counted))
    return counted


async def _parsed(request: Request) -> Any:
    """What the body says; the request keeps it for the route."""
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise BadInput("The body is not JSON.", "Send a JSON object.") from None


def _require_object(value: Any) -> None:
    """Left to pydantic, an empty list would pass for an object in one of its majors."""
    if not isinstance(value, dict):
        raise BadInput("The body is not an object.", "Send a JSON object.")


class _Counted:
    """A request's messages until they hold too much."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = self._limit = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self._limit)
        return message


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The request is larger than {limit // 10**6} MB.",
        "Send a smaller picture and compressed sound, such as MP3 or M4A.",
    )


class BadEntries(BadInput):
    """Entries of a list that cannot be used; each has its own reason."""

    def __init__(self, errors: Mapping[int, SonicError], count: int) -> None:
        self.entries = [{"index": index, **_in_words(error)} for index, error in errors.items()]
        """Place in the list, from 0, and what is wrong."""
        first = min(errors)
        super().__init__(
            f"{len(errors)} of {count} jobs cannot be used, so none was begun; "
            f"jobs[{first}]: {errors[first].message}",
            errors[first].hint,
        )


class Answer(JSONResponse):
    """JSON in ASCII: escape codes and turns of direction in what files say reach no terminal."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def problem(
    status: int, error: str, detail: str, hint: str, headers: Mapping[str, str] | None = None
) -> Response:
    """`{error, detail, hint}`."""
    content = {"error": error, "detail": whole(said(detail)), "hint": whole(said(hint))}
    return Answer(content, status_code=status, headers=dict(headers or {}))


def refusal_answer(refusal: Problem) -> Response:
    """The same of what middleware refuses with."""
    headers = {name.decode(): value.decode() for name, value in refusal.headers}
    return problem(refusal.status, refusal.error, refusal.detail, refusal.hint, headers)


def answer_of(error: Exception) -> Response:
    """What a caller is told of an error."""
    if isinstance(error, SonicError):
        if isinstance(error, BadEntries):
            return Answer(_in_words(error) | {"entries": error.entries}, status_code=error.http_status)
        return problem(error.http_status, type(error).__name__, error.message, error.hint)
    if isinstance(error, RequestValidationError):
        return problem(422, "BadInput", *in_words(error.errors()[0]))
    if isinstance(error, ClientDisconnect):
        return problem(400, "BadInput", "The request ended before its body did.", "Send it again.")
    return answer_of(as_error(error))


def failure(error: SonicError) -> dict[str, Any]:
    """An error as part of an answer that is none itself; `status` is what it would have had."""
    return {**_in_words(error), "status": error.http_status}


def _in_words(error: SonicError) -> dict[str, Any]:
    return {name: whole(said(text)) for name, text in error_values(error).items()}


def in_words(finding: Mapping[str, Any]) -> tuple[str, str]:
    """Detail and hint for one finding of pydantic's: the same for both of its majors."""
    kind = str(finding["type"])
    name = ".".join(str(part) for part in finding["loc"] if part != "body")
    if "missing" in kind:
        return f"{name} is missing.", _DESCRIBED
    if "extra" in kind:
        return f"There is no field {name}.", _DESCRIBED
    if "max_length" in kind or "too_long" in kind:
        return f"{name} is too long.", _DESCRIBED
    expected = kind.removeprefix("type_error.")
    wanted = next((words for start, words in _EXPECTED if expected.startswith(start)), "of its type")
    return f"{name} is not {wanted}.", _DESCRIBED


def nothing_here(request: Request) -> Response:
    """For paths and methods that are not part of the API."""
    raise NotFound(f"There is no {request.method} {request.url.path}.", "See /sonic/v1/openapi.json.")
