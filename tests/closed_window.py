"""A page of gradio 3 whose window is closed after so many answers of a stream; then its server is closed."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
from launching import launched
from patience import PATIENCE

from sonic_ext.app.leaving import let_go_of_closed_windows


def slowly() -> Iterator[str]:
    """A stream of two seconds."""
    for number in range(8):
        time.sleep(0.25)
        yield str(number)


async def watched(url: str, answers: int) -> None:
    """A window that is closed after so many answers, or at the end."""
    websockets: Any = importlib.import_module("websockets")
    known = {"session_hash": "a window", "fn_index": 0}
    async with websockets.connect(url.replace("http", "ws") + "queue/join") as window:
        await window.recv()
        await window.send(json.dumps(known))
        got = 0
        while got < answers:
            said = json.loads(await window.recv())["msg"]
            got += said == "process_generating"
            if said == "send_data":
                await window.send(json.dumps({**known, "data": [], "event_data": None}))
            elif said == "process_completed":
                return


def main() -> None:
    """Say `closed` when the server has closed in time."""
    with gr.Blocks(analytics_enabled=False) as page:
        text = gr.Textbox()
        gr.Button().click(slowly, None, text)
    page.queue()
    app, url = launched(page, server_name="127.0.0.1")
    let_go_of_closed_windows(app)
    asyncio.run(watched(url, int(sys.argv[1])))
    time.sleep(3)  # by then the queue has found nobody there
    closing = threading.Thread(target=page.close, kwargs={"verbose": False}, daemon=True)
    closing.start()
    closing.join(PATIENCE)
    print("open" if closing.is_alive() else "closed", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
