"""What an attacker asks a gradio server for: files by every address and event that takes a file's name."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patience import PATIENCE

FILE_TYPES = ("file", "audio", "video", "image", "gallery", "uploadbutton", "model3d")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    def holds(self, secret: bytes) -> bool:
        """Whether it gives the secret, or its beginning, away."""
        return secret[:64] in self.body


@dataclass(frozen=True)
class Attacker:
    """Somebody who reaches the server.

    Args:
        url: without a slash at its end.
        cwd: the folder that the server was started in.
        aliases: links to folders, as (link, target).
    """

    url: str
    cwd: Path
    aliases: tuple[tuple[Path, Path], ...] = ()

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request with this very target."""
        place = urllib.parse.urlsplit(self.url)
        with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)) as line:
            line.request(method, target, body, headers)
            answer = line.getresponse()
            return Answer(answer.status, answer.read())

    def post(self, target: str, value: Any) -> Answer:
        """One JSON value."""
        return self.ask("POST", target, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def config(self) -> dict[str, Any]:
        """The page's components and events."""
        found: dict[str, Any] = json.loads(self.ask("GET", "/config").body)
        return found

    def names(self, path: Path) -> Iterator[str]:
        """The same file, called in other ways."""
        yield str(path)
        yield os.path.relpath(path, self.cwd)
        yield f"{path.parent}/../{path.parent.name}/./{path.name}"
        yield f"{path.parent}//{path.name}"
        for link, target in self.aliases:
            if path.is_relative_to(target):
                yield str(link / path.relative_to(target))
                yield os.path.relpath(link / path.relative_to(target), self.cwd)

    def addresses(self, path: Path) -> Iterator[str]:
        """Of gradio's routes that hand out files."""
        for name in self.names(path):
            quoted = urllib.parse.quote(name)
            yield f"/file={quoted}"
            yield f"/file/{quoted}"
            yield f"/file={''.join(f'%{byte:02x}' for byte in os.fsencode(name))}"
            yield f"/stream/{quoted}"
            yield f"/sd_extra_networks/thumb?filename={quoted}"

    def copies(self, path: Path, folder: Path) -> Iterator[str]:
        """Where gradio puts a copy of what an event named."""
        data = path.read_bytes()
        for digest in (hashlib.sha1(data), hashlib.sha256(data)):
            yield f"/file={urllib.parse.quote(str(folder / digest.hexdigest() / path.name))}"

    def events(self, config: dict[str, Any], value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and body of each event that takes files, with `value` for every one of them."""
        parts = {part["id"]: part for part in config["components"]}
        for number, event in enumerate(config["dependencies"]):
            kinds = [parts[given]["type"] for given in event["inputs"]]
            if not any(kind in FILE_TYPES for kind in kinds) or not event["backend_fn"]:
                continue
            data = [
                _wrapped(kind, value) if kind in FILE_TYPES else parts[given]["props"].get("value")
                for given, kind in zip(event["inputs"], kinds, strict=True)
            ]
            named = f"{event['api_name'] or number}: {', '.join(kinds)}"
            yield named, {"data": data, "fn_index": number, "session_hash": "attacker", "event_data": None}

    def by_socket(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What gradio 3's queue says to an event, until it closes the connection."""
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect

        heard = []
        with connect(f"{self.url.replace('http', 'ws', 1)}/queue/join", max_size=None) as line:
            try:
                while True:
                    said = json.loads(line.recv(timeout=PATIENCE))
                    heard.append(said)
                    if said["msg"] == "send_hash":
                        line.send(json.dumps({key: body[key] for key in ("session_hash", "fn_index")}))
                    elif said["msg"] == "send_data":
                        line.send(json.dumps(body))
                    elif said["msg"] == "process_completed":
                        return heard
            except ConnectionClosed:
                return heard
            except TimeoutError as error:
                raise AssertionError(f"silence after {[said['msg'] for said in heard]}") from error


def file_value(name: str, major: int) -> dict[str, Any]:
    """An input's value that names a file, as the page sends one."""
    if major == 3:
        return {"name": name, "data": None, "is_file": True, "orig_name": "x"}
    return {"path": name, "orig_name": "x", "meta": {"_type": "gradio.FileData"}}


def _wrapped(kind: str, value: Any) -> Any:
    """As the component of this kind takes it."""
    if kind == "gallery":
        return [{"image": value, "caption": None}] if "path" in value else [value]
    return {"video": value} if kind == "video" and "path" in value else value
