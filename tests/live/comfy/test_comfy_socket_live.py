"""What ComfyUI's websocket carries while a video is made: progress, stamped frames, ids; nothing private."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from comfy_client import NOBODYS, Comfy, workflow
from patience import PATIENCE, until
from PIL import Image
from spoken import MEDIA

PORTRAIT = "portrait_01.jpg"
MINIATURE = {"engine": "sonic", "weights": "miniature"}
PICTURE, TEXT, PICTURE_WITH_WORDS = 1, 3, 4
"""Kinds of what is sent in bytes: its first four."""
ENDS = ("execution_success", "execution_error", "execution_interrupted")
WITH_WORDS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
"""Said by whoever wants to know of a picture whose it is; ComfyUI's own page does."""


@dataclass
class Heard:
    """What came over the socket of one client, while one prompt was carried out."""

    said: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    """Of what was sent in bytes: what is no picture."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind."""
        return [each["data"] for each in self.said if each["type"] == kind]

    @property
    def text(self) -> str:
        """Everything but the pictures."""
        return json.dumps(self.said) + "\n".join(self.words)

    def take(self, message: aiohttp.WSMessage) -> dict[str, Any]:
        """Keep a message; the event, if it is one."""
        if message.type is aiohttp.WSMsgType.TEXT:
            event: dict[str, Any] = json.loads(message.data)
            self.said.append(event)
            return event
        assert message.type is aiohttp.WSMsgType.BINARY, message
        self._take_bytes(message.data)
        return {}

    def _take_bytes(self, data: bytes) -> None:
        (kind,) = struct.unpack(">I", data[:4])
        if kind == PICTURE:
            self.pictures.append(data[8:])
        elif kind == PICTURE_WITH_WORDS:
            (length,) = struct.unpack(">I", data[4:8])
            self.words.append(data[8 : 8 + length].decode())
            self.pictures.append(data[8 + length :])
        else:
            assert kind == TEXT, kind
            self.words.append(data[4:].decode())


def listen(comfy: Comfy, prompt: dict[str, Any], at: Callable[[Heard, str], None] | None = None) -> Heard:
    """Queue a prompt and hear what its client is told, to the end.

    Args:
        at: called after each message with what was heard and the prompt's id.
    """
    return asyncio.run(_listen(comfy, prompt, at or (lambda heard, queued: None)))


async def _listen(comfy: Comfy, prompt: dict[str, Any], at: Callable[[Heard, str], None]) -> Heard:
    heard, name = Heard(), "sonic-live"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{comfy.url}/ws?clientId={name}", max_msg_size=0) as socket,
    ):
        await socket.send_json(WITH_WORDS)
        queued = await asyncio.to_thread(comfy.begin, prompt, name)
        async with asyncio.timeout(PATIENCE):
            async for message in socket:
                event = heard.take(message)
                await asyncio.to_thread(at, heard, queued)
                if event.get("type") in ENDS and event["data"]["prompt_id"] == queued:
                    return heard
    raise AssertionError("the socket closed before the end")


class Once:
    """Interrupts as soon as a picture was seen."""

    def __init__(self, comfy: Comfy) -> None:
        self.comfy, self.done = comfy, False

    def __call__(self, heard: Heard, queued: str) -> None:
        """After a message."""
        if heard.pictures and not self.done:
            self.done = True
            self.comfy.ask("POST", "/interrupt", {"prompt_id": queued})


WAITING = "Waits for consent: press Consent and export."
"""The one sentence that may speak of it."""


def require_nothing_private(heard: Heard, home: Path, job: str) -> None:
    """No path of the private home, no name of a file in it, no consent; every picture is stamped."""
    private = {str(home), home.name, "master", "take.json", "ledger", "portrait.", "consent"}
    private |= {*NOBODYS.values(), *(path.name for path in (home / "takes").iterdir())}
    told = heard.text.replace(WAITING, "").replace(job, "")
    assert [word for word in sorted(private) if word in told] == []
    for data in heard.pictures:
        with Image.open(BytesIO(data)) as picture:
            assert not picture.getexif() and "comment" not in picture.info
            assert all(share > 0.15 for share in changed(picture))


def changed(picture: Image.Image) -> list[float]:
    """Of each ninth of a frame, the share that is not as in the portrait: tape lies in every one, and beside
    the face nothing else differs."""
    with Image.open(MEDIA / PORTRAIT) as portrait:
        plain = portrait.convert("L").resize(picture.size)
    differs = np.abs(np.asarray(picture.convert("L"), int) - np.asarray(plain, int)) > 24
    return [float(part.mean()) for row in np.array_split(differs, 3) for part in np.array_split(row, 3, 1)]


def test_a_video_that_is_made(
    comfy: Comfy, home: Path, pictures: dict[str, str], voice: str, seed: int
) -> None:
    prompt = workflow(pictures["one"], sound=voice, seed=seed)
    heard = listen(comfy, prompt)
    assert heard.said[-1]["type"] == "execution_success"
    (job,) = {each["id"] for event in heard.of("executed") for each in event["output"].get("sonic", [])}
    assert {event["node"] for event in heard.of("executed")} == {"look", "make", "export"}
    moved = [event for event in heard.of("progress") if event["node"] == "make"]
    assert moved and all(0 <= event["value"] <= event["max"] for event in moved)
    assert heard.pictures
    require_nothing_private(heard, home, job)

    comfy.export(job, subject="Rumpelstiltskin", purpose="a live test")
    again = listen(comfy, prompt)
    assert "Rumpelstiltskin" not in again.text and "a live test" not in again.text
    (shown,) = (each["output"] for each in again.of("executed") if each["node"] == "export")
    assert [(file["type"], file["subfolder"]) for file in shown["images"]] == [("output", "sonic")]
    require_nothing_private(again, home, job)


def test_one_that_is_interrupted(
    comfy: Comfy, home: Path, pictures: dict[str, str], voice: str, seed: int
) -> None:
    stop = Once(comfy)
    heard = listen(comfy, workflow(pictures["one"], sound=voice, seed=seed, engine=MINIATURE), stop)
    assert stop.done, "no frame was shown while it was drawn"
    assert heard.said[-1]["type"] == "execution_interrupted"
    assert heard.said[-1]["data"]["node_id"] == "make"
    assert heard.of("execution_error") == []
    told = {event["node"] for event in heard.of("executed")}
    assert "loader" in told and not told & {"make", "export"}
    until(lambda: not comfy.running())
    made = comfy.get("/sonic/v1/animations").json["animations"]
    require_nothing_private(heard, home, made[0]["id"])
