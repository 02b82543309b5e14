"""The process that talks to the Hugging Face Hub: `python -m sonic_ext.weights.download`.

A process of its own, because a download that hangs can then be stopped at once, whatever the version of
huggingface_hub, and because nothing of it stays in a WebUI's process. One JSON object comes in on stdin, one
goes out on stdout; when stdin closes, whoever asked is gone, and this ends.

`hf_hub_download` of new versions throws an interrupted download away, so the bytes go through the library's
`http_get` into a file that a later run continues.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

FILE_TIMEOUT = 10.0
"""Seconds to wait for the Hub's answer about a file."""


def main() -> None:
    """Carry out the request on stdin and leave; errors are part of the answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, and that stops this
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    tasks: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"plan": plan, "get": get}
    try:
        answer = tasks[request["task"]](request)
    except Exception as error:  # everything becomes a sentence in the parent
        answer = problem(error)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads of the library, or for the one that waits for the parent


def _leave_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1):  # not through sys.stdin, whose lock must be free when Python ends
            pass
    os._exit(1)


def plan(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the Hub says of the files: commit, size, hash, and where the bytes are."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    files = []
    for path in request["files"]:
        url = hf_hub_url(request["repo"], path, revision=request["revision"], endpoint=request["endpoint"])
        _reach(url)
        found = get_hf_file_metadata(url, token=_token(request), timeout=FILE_TIMEOUT)
        files.append(
            {
                "path": path,
                "bytes": found.size,
                "etag": found.etag,
                "commit": found.commit_hash,
                "location": found.location,
                "url": url,
            }
        )
    return {"files": files, "token": _has_token()}


def _reach(url: str) -> None:
    """Fail at once where nothing answers; some versions of the library try for half a minute.

    Behind a proxy only the library knows the way.
    """
    from huggingface_hub.constants import HF_HUB_OFFLINE

    address = urlparse(url)
    if getproxies() or HF_HUB_OFFLINE or not address.hostname:
        return
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), FILE_TIMEOUT).close()
    except OSError as error:
        raise ConnectionError(str(error)) from error


def get(request: Mapping[str, Any]) -> dict[str, Any]:
    """Fetch one file into `request["part"]`, going on where that ends."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    target = Path(request["part"])
    target.parent.mkdir(parents=True, exist_ok=True)
    headers = dict(build_hf_headers(token=_token(request)))
    if urlparse(request["location"]).netloc != urlparse(request["url"]).netloc:
        headers.pop("authorization", None)  # a storage server with signed addresses is not to see the token
    with target.open("ab", buffering=0) as file:
        http_get(
            request["location"],
            file,
            resume_size=file.tell(),
            headers=headers,
            expected_size=request["bytes"],
        )
    return {"bytes": target.stat().st_size}


def _token(request: Mapping[str, Any]) -> bool | None:
    """The stored token goes to the Hub itself, never to another server that an option names."""
    return False if request["anonymous"] else None


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(get_token())


def problem(error: Exception) -> dict[str, Any]:
    """An exception as an answer."""
    names = [kind.__name__ for kind in type(error).__mro__]
    status = getattr(getattr(error, "response", None), "status_code", None)
    first = (str(error).strip() or "no reason given").splitlines()[0][:300]
    return {"error": names, "status": status, "message": first, "errno": getattr(error, "errno", None)}


if __name__ == "__main__":
    main()
