"""Who may ask the API: a WebUI's own page by its token, others as the host has it.

A WebUI's page is given a token when it is built, and shows it with every request: only who could load the
page knows it, and no other site can send it along. Where the WebUI asks for a login (`--gradio-auth`), the
token counts for who is logged in.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .access import FOREIGN, same_site
from .asgi import Problem
from .credentials import known

if TYPE_CHECKING:
    from fastapi import Request

TOKEN = "X-Sonic-Token"
"""Header of the page's requests."""
COOKIES = "access-token", "access-token-unsecure"
"""Names of gradio's cookies; from version 4 on the application's own id stands behind them."""
BASIC = ((b"www-authenticate", b'Basic realm="sonic"'),)
STALE = Problem(
    401,
    "Unauthorised",
    "This page was loaded before the WebUI started, or by another one.",
    "Reload the page.",
)
PAGE_ONLY = Problem(
    403,
    "PageOnly",
    "Only the WebUI's own page may ask: the WebUI was started without its API.",
    "Start it with --api.",
)
NO_PASSWORD = Problem(
    401,
    "Unauthorised",
    "User and password are needed, or they are wrong.",
    "Send those of --api-auth with HTTP Basic.",
    BASIC,
)
NOT_LOGGED_IN = Problem(
    401,
    "Unauthorised",
    "User and password are needed, or they are wrong.",
    "Log in to the WebUI's page, or start it with --api-auth and send those with HTTP Basic.",
    BASIC,
)


def no_credentials() -> Mapping[str, str]:
    """For hosts without a password."""
    return {}


def no_origin(origin: str) -> bool:
    """For hosts that no other site's page may ask."""
    return False


@dataclass(frozen=True)
class Admission:
    """The rule of one host."""

    credentials: Callable[[], Mapping[str, str]] = no_credentials
    """User → password; asked for anew at each request."""
    token: str = ""
    """Of the host's page; empty where it needs none."""
    others: bool = True
    """Whether anybody but the page may ask at all."""
    allowed_origin: Callable[[str], bool] = no_origin
    """Whether the host lets the pages of that origin ask it."""

    def refusal(self, request: Request) -> Problem | None:
        """Why a request is not let in; None for one that is."""
        login, shown = logged_in(request), request.headers.get(TOKEN, "")
        if not same_site(request.scope) and not self.allowed_origin(request.headers.get("origin", "")):
            return FOREIGN  # token or not: gradio 4 lets any site read the page of a server with a name
        fits = bool(self.token) and secrets.compare_digest(shown.encode(), self.token.encode())
        if fits and login is not False:
            return None
        if not self.others:
            return NOT_LOGGED_IN if fits else STALE if shown else PAGE_ONLY
        passwords = self.credentials()
        if not passwords and login is None:
            return None
        if login or known(request.headers.get("authorization", ""), passwords):
            return None
        return NO_PASSWORD if passwords else NOT_LOGGED_IN


def logged_in(request: Request) -> bool | None:
    """Whether a request comes from a page that somebody has logged in to; None where none needs to."""
    app = request.app
    if getattr(app, "auth", None) is None:
        return None
    of_app = getattr(app, "cookie_id", "")
    names = [f"{name}-{of_app}" if of_app else name for name in COOKIES]
    return any(request.cookies.get(name, "") in app.tokens for name in names)
