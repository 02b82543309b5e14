"""Around the standalone page and its API: who may ask at all.

A page on this computer can be reached by every site that its user has open. So a request must call this
server by one of its own names (against DNS rebinding, where a site points a name of its own at this address),
must not come from another site's page, and where others can reach the server, must bring user and password.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadSetting
from .asgi import Problem, header, refuse
from .credentials import known

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_NAMES = ("localhost", "localhost.localdomain")
UNNAMED = Problem(
    400, "BadHost", "The header Host is missing, there twice, or names no server.", "Send the server's name."
)
MISNAMED = Problem(
    403, "BadHost", "This server is not called by that name.", "Start it with --allowed-host NAME."
)
FOREIGN = Problem(403, "BadOrigin", "Only the page itself may ask this server.", "Open its own address.")
UNAUTHORISED = Problem(
    401,
    "Unauthorised",
    "User and password are needed, or they are wrong.",
    "Send those of --auth with HTTP Basic.",
    ((b"www-authenticate", b'Basic realm="sonic", charset="UTF-8"'),),
)

_AUTHORITY = re.compile(r"(\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?", re.ASCII)
"""Host and port of RFC 3986, 3.2.2, without what no name of a server needs."""
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.ASCII | re.IGNORECASE)
_USUAL_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True)
class Authority:
    """Name and port of a server."""

    name: str
    """In small letters; an address as `ipaddress` writes it, without brackets and zone."""
    port: int | None
    """None where none is said."""

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """What the name is, if it is no name."""
        try:
            return ipaddress.ip_address(self.name)
        except ValueError:
            return None

    def at(self, usual: int | None) -> tuple[str, int | None]:
        """Name and port, with the port that is meant where none is said."""
        return self.name, usual if self.port is None else self.port


def authority(text: str) -> Authority | None:
    """`example.org:80`, `127.0.0.1`, `[::1]:7870`; None for what is none of these."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    name, port = found[1].lower().rstrip("."), int(found[2]) if found[2] else None
    if port is not None and port > 65535:
        return None
    if name.startswith("["):
        try:
            name = str(ipaddress.IPv6Address(name[1:-1].partition("%")[0]))
        except ValueError:
            return None
    return Authority(name, port) if name else None


@dataclass(frozen=True)
class Names:
    """What a server may be called by.

    Args:
        loopback: it listens on loopback only, where none but loopback's own names and addresses lead.
        more: names besides.
    """

    loopback: bool
    more: frozenset[str] = frozenset()

    @classmethod
    def of(cls, address: str, more: Iterable[str] = ()) -> Names:
        """Of a server that listens on `address`.

        Raises:
            BadSetting: one of `more` is no name of a server.
        """
        named = [_server_name(name) for name in more]
        if is_loopback(address):
            return cls(True, frozenset(named))
        own = socket.gethostname().lower()
        return cls(False, frozenset((address.lower(), own, f"{own}.local", *named)))

    def allow(self, host: Authority) -> bool:
        """An address is never a name that another site has pointed here."""
        address = host.address
        if address is not None:
            return not self.loopback or address.is_loopback or host.name in self.more
        return host.name in LOOPBACK_NAMES or host.name in self.more


def _server_name(text: str) -> str:
    found = authority(text)
    if found is None or found.port is not None:
        raise BadSetting(f"{text!r} is no name of a server.", "Write it as in mybox.example, without port.")
    return found.name


def is_loopback(address: str) -> bool:
    """Whether nobody but this computer reaches a server that listens there."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() in LOOPBACK_NAMES


class Access:
    """ASGI middleware: 400 for a request that names no server, 403 for another site's, 401 without password.

    Args:
        app: what it is put around.
        names: what this server may be called by.
        credentials: user → password; empty where none is asked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        names: Names,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self._app = app
        self._names = names
        self._credentials = credentials or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = stranger(scope, self._names) or self._unknown(scope)
        if problem is not None:
            await refuse(scope, receive, send, problem)
            return
        await self._app(scope, receive, send)

    def _unknown(self, scope: Scope) -> Problem | None:
        given = header(scope, b"authorization") or ""
        return None if not self._credentials or known(given, self._credentials) else UNAUTHORISED


def stranger(scope: Scope, names: Names) -> Problem | None:
    """Why a request is none of the page's own; None where it may be one."""
    asked = authority(header(scope, b"host") or "")
    if asked is None:
        return UNNAMED
    if not names.allow(asked):
        return MISNAMED
    return None if same_site(scope) else FOREIGN


def same_site(scope: Scope) -> bool:
    """Whether a request does not come from another site's page, as far as its browser tells.

    `Sec-Fetch-Site` is the browser's own word, which holds behind any proxy; it is told to servers of HTTPS
    and to this computer's. Elsewhere `Origin` must name the server that was asked, or that a proxy says was
    asked: no page can send `X-Forwarded-Host` to another site without being allowed to. Opening an address
    is no request of a page.
    """
    told = header(scope, b"sec-fetch-site")
    if told is not None:
        opened = scope.get("method") == "GET" and header(scope, b"sec-fetch-mode") == "navigate"
        return told in ("same-origin", "none") or opened
    if not any(name.lower() == b"origin" for name, _ in scope["headers"]):
        return True
    origin = _ORIGIN.fullmatch(header(scope, b"origin") or "")  # `null` comes from files and sandboxes
    page = authority(origin[2]) if origin else None
    if origin is None or page is None:
        return False
    usual = _USUAL_PORTS.get(origin[1].lower())
    asked = (authority(header(scope, name) or "") for name in (b"host", b"x-forwarded-host"))
    return any(each is not None and page.at(usual) == each.at(usual) for each in asked)
