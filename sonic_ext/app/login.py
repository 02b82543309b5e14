"""Who is logged in to a WebUI's page (`--gradio-auth`): gradio keeps it in cookies of its application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access import same_site

if TYPE_CHECKING:
    from fastapi import Request

COOKIES = "access-token", "access-token-unsecure"
"""Names of gradio's cookies; from version 4 on the application's own id stands behind them."""


def logged_in(request: Request) -> bool | None:
    """Whether a request comes from a page that somebody has logged in to; None where no login is asked for.

    Browsers send cookies whoever makes the request, so one that another site's page made is nobody's.
    """
    app = request.app
    if getattr(app, "auth", None) is None:
        return None
    if not same_site(request.scope):
        return False
    known = getattr(app, "cookie_id", "")
    names = [f"{name}-{known}" if known else name for name in COOKIES]
    return any(request.cookies.get(name, "") in app.tokens for name in names)
