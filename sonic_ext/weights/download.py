"""The process that talks to the Hugging Face Hub: `python -m sonic_ext.weights.download`.

A process of its own, because a download that hangs can then be stopped at once, and because nothing of it
stays in a WebUI's process. One JSON object comes in on stdin, one goes out on stdout; when stdin closes,
whoever asked is gone, and this ends.

The Hub's protocol is plain HTTP: a HEAD of `/OWNER/NAME/resolve/REVISION/FILE` names commit, size and hash in
its headers, and where the bytes are; a GET with Range brings the rest of them. Token and address are found by
the same variables as `huggingface_hub`'s.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

import httpx

from ..files.names import expanded
from .preconditions import YES, offline
from .servers import endpoint, proxy_of, without_password

TIMEOUT = httpx.Timeout(10.0, read=30.0)
"""Seconds to connect, and between two packets."""
REDIRECTS = 5
"""Redirects inside the Hub that are followed to a file that has moved."""
AGENT = "sonic-ext"


class Offline(Exception):
    """$HF_HUB_OFFLINE forbids to ask."""


class BadAddress(Exception):
    """$HF_ENDPOINT, or what an option names in its place, is no address of the web."""


class BadProxy(Exception):
    """The environment names a proxy that nobody can speak with."""


class NoSocks(Exception):
    """The environment names a SOCKS proxy, and the package that speaks with one is not installed."""


_KINDS = {Offline: "offline", BadAddress: "address", BadProxy: "proxy", NoSocks: "socks"}
"""Names of these errors in an answer; every other one is `failed`."""


def main() -> None:
    """Carry out the request on stdin and leave; errors are part of the answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, and that stops this
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    tasks: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"plan": plan, "get": get}
    try:
        if offline():
            raise Offline
        answer = tasks[request["task"]](request)
    except Exception as error:  # everything becomes a sentence in the parent
        answer = problem(error)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # without waiting for the thread that waits for the parent


def _leave_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):  # not through sys.stdin, whose lock must be free when Python ends
            pass
    os._exit(1)


def plan(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the Hub says of the files: commit, size, hash, and where the bytes are."""
    base = endpoint(request["endpoint"])
    if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
        raise BadAddress(base)
    revision = quote(request["revision"], safe="")
    with _client() as client:
        return {
            "files": [
                {"path": path}
                | _described(client, f"{base}/{request['repo']}/resolve/{revision}/{quote(path)}", request)
                for path in request["files"]
            ]
        }


def _described(client: httpx.Client, url: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """One file: a redirect to another server is where its bytes are, one inside the Hub is a new name."""
    here = url
    for _ in range(REDIRECTS):
        answer = client.head(here, headers=_authorisation(request))
        there = urljoin(here, answer.headers.get("location", ""))
        if not answer.is_redirect or urlsplit(there).netloc != urlsplit(here).netloc or _has_hash(answer):
            break
        here = there
    if not answer.is_redirect:
        answer.raise_for_status()
        there = here
    heads = answer.headers
    size = heads.get("x-linked-size") or (None if answer.is_redirect else heads.get("content-length"))
    etag = heads.get("x-linked-etag") or heads.get("etag") or ""
    return {
        "bytes": int(size) if size else None,
        "etag": etag.removeprefix("W/").strip('"'),
        "commit": heads.get("x-repo-commit", ""),
        "location": there,
        "url": url,
    }


def _has_hash(answer: httpx.Response) -> bool:
    return "x-linked-etag" in answer.headers


def get(request: Mapping[str, Any]) -> dict[str, Any]:
    """Fetch one file into `request["part"]`, going on where that ends.

    A connection that breaks is made anew as long as each brings something.
    """
    target = Path(request["part"])
    target.parent.mkdir(parents=True, exist_ok=True)
    headers = {}
    if urlsplit(request["location"]).netloc == urlsplit(request["url"]).netloc:
        headers = _authorisation(request)  # a storage server with signed addresses is not to see the token
    with target.open("ab", buffering=0) as file, _client() as client:
        while request["bytes"] is None or file.tell() < request["bytes"]:
            before = file.tell()
            try:
                _append(client, request["location"], headers, file)
                break
            except httpx.TransportError:
                if file.tell() <= before:
                    raise
    return {"bytes": target.stat().st_size}


def _append(client: httpx.Client, url: str, headers: Mapping[str, str], file: BinaryIO) -> None:
    """What is missing at the end of the file; all of it where the server knows no ranges."""
    start = file.tell()
    ranged = {"range": f"bytes={start}-"} if start else {}
    with client.stream("GET", url, headers={**headers, **ranged}, follow_redirects=True) as answer:
        if start and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there; the hash tells
        answer.raise_for_status()
        goes_on = answer.headers.get("content-range", "").startswith(f"bytes {start}-")
        if start and not (answer.status_code == httpx.codes.PARTIAL_CONTENT and goes_on):
            file.truncate(0)
            file.seek(0)
        for block in answer.iter_raw():  # as it comes, so that a broken connection loses nothing
            file.write(block)


def _client() -> httpx.Client:
    """Proxies are the environment's (`servers`); so are certificates, where a company has its own."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    verify: Any = True
    if bundle:
        folder = Path(bundle).is_dir()
        verify = ssl.create_default_context(
            cafile=None if folder else bundle, capath=bundle if folder else None
        )
    # as they are: a packed answer's length is not the file's
    headers = {"user-agent": AGENT, "accept-encoding": "identity"}
    return httpx.Client(timeout=TIMEOUT, transport=_Proxied(verify), headers=headers)


class _Proxied(httpx.BaseTransport):  # type: ignore[misc]  # httpx may be missing
    """Sends each request through the proxy for its address.

    Args:
        verify: see `httpx.HTTPTransport`.
    """

    def __init__(self, verify: Any) -> None:
        self._verify = verify
        self._transports: dict[str | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.BaseTransport`.

        Raises:
            BadProxy, NoSocks: it cannot be asked at all.
        """
        proxy = proxy_of(str(request.url))
        if proxy not in self._transports:
            try:
                through = httpx.Proxy(proxy) if proxy else None
                self._transports[proxy] = httpx.HTTPTransport(verify=self._verify, proxy=through)
            except ImportError:
                raise NoSocks(without_password(proxy or "")) from None
            except (ValueError, httpx.InvalidURL):
                raise BadProxy(without_password(proxy or "")) from None
        return self._transports[proxy].handle_request(request)

    def close(self) -> None:
        """See `httpx.BaseTransport`."""
        for each in self._transports.values():
            each.close()


def _authorisation(request: Mapping[str, Any]) -> dict[str, str]:
    """The stored token goes to the Hub itself, never to another server that an option names."""
    token = "" if request["anonymous"] else _token()
    return {"authorization": f"Bearer {token}"} if token else {}


def _token() -> str:
    """Where `hf auth login` leaves it, and the variables that come before."""
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in YES:
        return ""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name, "").strip():
            return token
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    stored = os.environ.get("HF_TOKEN_PATH") or Path(os.environ.get("HF_HOME") or cache) / "token"
    with contextlib.suppress(OSError, UnicodeError):
        return expanded(stored).read_text(encoding="utf-8").strip()
    return ""


def problem(error: Exception) -> dict[str, Any]:
    """An exception as an answer."""
    answer = error.response if isinstance(error, httpx.HTTPStatusError) else None
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return {
        "error": _KINDS.get(type(error), "failed"),
        "status": answer.status_code if answer is not None else None,
        "code": answer.headers.get("x-error-code", "") if answer is not None else "",
        "url": str(answer.url) if answer is not None else "",
        "message": first,
        "errno": getattr(error, "errno", None),
    }


if __name__ == "__main__":
    main()
