"""A small server that answers as the Hugging Face Hub does when files are looked up and downloaded."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patience import PATIENCE

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class TinyHub:
    """What the server holds and what it was asked."""

    files: dict[str, bytes]
    """`OWNER/NAME/FILE` → content."""
    url: str = ""
    gated: bool = False
    lies: bytes = b""
    """Sent instead of the content, under the content's hash."""
    stop_after: int | None = None
    """Bytes after which an answer hangs until `release`."""
    storage: str = ""
    """Address of this server under another name, to which downloads are sent on; empty for none."""
    knows_ranges: bool = True
    knows_codes: bool = True
    """Whether it says why it refuses, as the Hub does."""
    breaks_after: int | None = None
    """Bytes after which the next answer's connection breaks, once."""
    ranges: list[str] = field(default_factory=list)
    """Range headers of the downloads, empty if there was none."""
    tokens: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(hub: TinyHub) -> Iterator[TinyHub]:
    """Serve on a free port of this computer."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: TinyHub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self.hub.ranges.append(self.headers.get("Range", ""))
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        self.hub.tokens.append(self.headers.get("Authorization", ""))
        owner, name, _, _, *rest = self.path.strip("/").split("/")
        data = self.hub.files.get("/".join((owner, name, *rest)))
        if self.hub.gated or data is None:
            return self._refuse(
                403 if self.hub.gated else 404, "GatedRepo" if self.hub.gated else "EntryNotFound"
            )
        sent = self.hub.lies or data
        if self.hub.storage and self.headers["Host"] not in self.hub.storage:
            return self._send_on(data)
        asked = self.headers.get("Range") if self.hub.knows_ranges and body else None
        start = int((asked or "bytes=0-")[6:].split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(sent) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(sent) - 1}/{len(sent)}")
        self.end_headers()
        if body:
            self._send(sent[start:])
        return None

    def _send_on(self, data: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", self.hub.storage + self.path)
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes) -> None:
        if (cut := self.hub.breaks_after) is not None:
            self.hub.breaks_after = None
            self.wfile.write(data[:cut])
            self.connection.close()
            return
        limit = self.hub.stop_after
        self.wfile.write(data[:limit])
        if limit is not None and limit < len(data):
            self.wfile.flush()
            self.hub.release.wait(PATIENCE)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if self.hub.knows_codes:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
