"""The page's files over HTTP: modules, style, the example; and the document that holds the page alone.

All are read once for a process, which an update must not give the scripts of another version, and found by
their names: no path is made from a request.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

PREFIX = "/sonic/page"
FOLDER = Path(__file__).resolve().parent / "page"
EXAMPLE = FOLDER.parents[1] / "assets" / "example"
"""Portrait and speech to begin with, and the video that was made of them, below `example/`."""
DOCUMENT = "index.html"
"""Served at / where the page stands alone."""
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
}
UNPACKED = ("image/jpeg", "audio/wav", "video/mp4")
"""Types that gzip makes no smaller, or hardly."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content security policy of the document: nothing comes from outside, and nothing written in it runs."""
SAFE = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent."""

    media_type: str
    data: bytes
    packed: bytes | None
    """The same by gzip, where that is worth it."""
    tag: str
    """Changes with the file."""

    @classmethod
    def of(cls, data: bytes, media_type: str) -> PageFile:
        """With these bytes."""
        packed = None if media_type in UNPACKED else gzip.compress(data, 9, mtime=0)
        return cls(media_type, data, packed, f'"{hashlib.sha256(data).hexdigest()[:32]}"')

    def answer(self, request: Request) -> Response:
        """It, or 304 where the browser has it."""
        headers = {"Cache-Control": "no-cache", "ETag": self.tag, "Vary": "Accept-Encoding"} | SAFE
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        if self.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(self.packed, media_type=self.media_type, headers=headers)
        return Response(self.data, media_type=self.media_type, headers=headers)


@cache
def page_files() -> dict[str, PageFile]:
    """Name → file."""
    own = {path.name: path for path in FOLDER.iterdir()}
    every = own | {f"example/{path.name}": path for path in EXAMPLE.iterdir()}
    known = {name: path for name, path in every.items() if path.suffix in TYPES}
    return {name: PageFile.of(path.read_bytes(), TYPES[path.suffix]) for name, path in known.items()}


def router(alone: bool) -> APIRouter:
    """The page's routes.

    Args:
        alone: with the document at /.
    """
    made, files = APIRouter(include_in_schema=False), page_files()

    def file(name: str, request: Request) -> Response:
        found = files.get(name)
        return found.answer(request) if found else Response(status_code=404)

    def document(request: Request) -> Response:
        return files[DOCUMENT].answer(request)

    made.add_api_route(f"{PREFIX}/{{name:path}}", file, methods=["GET"])
    if alone:
        made.add_api_route("/", document, methods=["GET"])
    return made
