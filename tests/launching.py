"""gradio's own `launch`, for processes of the tests, on a machine that may be busy."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any


def launched(page: Any, port: int = 0, **options: Any) -> tuple[Any, str]:
    """The application and the address of a page that is served from now on, at any port if none is given.

    gradio gives a server five seconds to start and then tries the next port with the same page. Where the
    first one was only slow, two serve the page and its queue falls silent. So there is one port to try, and
    after that this program starts anew.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = port or free.getsockname()[1]
    try:
        app, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_port=port, **options)
    except OSError as error:
        print(f"Once more: {error}", file=sys.stderr, flush=True)
        os.execv(sys.executable, sys.orig_argv)
    return app, url
