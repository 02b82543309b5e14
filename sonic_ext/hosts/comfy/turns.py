"""A turn in ComfyUI's queue, for work that no workflow asked for: the page's and the API's.

ComfyUI carries out one prompt at a time, on one thread, to which its models belong. So the work becomes a
prompt of one node, which is queued, shown, interrupted and deleted like any other.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from http.client import HTTPException
from typing import Any

from ...errors import Cancelled, Failed
from ...ports import Result
from ...progress import Progress
from .. import POLL
from ..modules import ComfyModule, comfyui

NODE = "SonicTurn"
"""Id of the node."""
PLACE = "sonic-turn"
"""Its id in the prompt. ComfyUI tells every open page of it, and a graph's own nodes have numbers."""
TIMEOUT = 30.0
"""Seconds that ComfyUI may take to queue a prompt."""


class Turn:
    """Work that waits for its turn; done once at most."""

    def __init__(self, task: Callable[[], Any]) -> None:
        self._task = task
        self.done: Future[Any] = Future()

    def take(self) -> None:
        """Do it, on the thread of ComfyUI's queue; what is raised goes to who waits, and on to ComfyUI."""
        if not self.done.set_running_or_notify_cancel():
            raise Cancelled
        try:
            self.done.set_result(self._task())
        except BaseException as error:
            self.done.set_exception(error)
            raise


_waiting: dict[str, Turn] = {}
"""Name of a prompt → what is to be done in it. ComfyUI makes its nodes' instances itself."""


def in_turn(progress: Progress, task: Callable[[], Result]) -> Result:
    """Do the task when ComfyUI's queue comes to it, and return or raise here what it returns or raises.

    Raises:
        Cancelled: `progress` asked to stop while it waited, or it was deleted from the queue.
        Failed: ComfyUI does not take it.
    """
    name, turn = uuid.uuid4().hex, Turn(task)
    _waiting[name] = turn
    try:
        queued = _queue(name)
        while True:
            try:
                result: Result = turn.done.result(timeout=POLL)
            except TimeoutError:
                if turn.done.done():  # now, or the task itself ran out of time
                    finished: Result = turn.done.result()
                    return finished
                gone = progress.cancelled() or not _is_queued(queued)
                if gone and turn.done.cancel():
                    comfyui(ComfyModule.SERVER).PromptServer.instance.prompt_queue.delete_queue_item(
                        lambda item: item[1] == queued
                    )
                    raise Cancelled from None
            else:
                return result
    finally:
        del _waiting[name]


def take_turn(name: str) -> None:
    """Do what waits under this name.

    Raises:
        Cancelled: nothing does, as where a prompt of an earlier start is queued again.
    """
    turn = _waiting.get(name)
    if turn is None:
        raise Cancelled("This turn is over.", "Press Generate on Sonic's page again.")
    turn.take()


def _queue(name: str) -> str:
    """Queue a prompt as any client does, which does not depend on what ComfyUI's queue is made of.

    Returns:
        The prompt's id.
    """
    server = comfyui(ComfyModule.SERVER).PromptServer.instance
    arguments = comfyui(ComfyModule.ARGUMENTS).args
    secure = bool(arguments.tls_keyfile and arguments.tls_certfile)
    address = _reachable(str(server.address))
    body = json.dumps({"prompt": {PLACE: {"class_type": NODE, "inputs": {"turn": name}}}}).encode()
    request = urllib.request.Request(
        f"http{'s' if secure else ''}://{address}:{server.port}/prompt",
        body,
        {"Content-Type": "application/json"},
    )
    # This very process is asked: no proxy stands between, and its certificate names somebody else.
    trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting)
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return str(json.load(answer)["prompt_id"])
    except (OSError, HTTPException, KeyError, ValueError) as error:
        raise Failed(
            f"ComfyUI did not queue the video: {error}.", "Look into the window that it runs in."
        ) from error


def _reachable(address: str) -> str:
    """Of an address that is listened on, one that leads there."""
    if address in ("", "0.0.0.0"):
        return "127.0.0.1"
    if address == "::":
        return "[::1]"
    return f"[{address}]" if ":" in address else address


def _is_queued(prompt: str) -> bool:
    queue = comfyui(ComfyModule.SERVER).PromptServer.instance.prompt_queue
    running, waiting = queue.get_current_queue_volatile()
    return any(item[1] == prompt for item in (*running, *waiting))
