"""A ComfyUI over HTTP, as any program would talk to it: nothing of this package is imported."""

from __future__ import annotations

import json
import mimetypes
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client import Answer, answered
from patience import PATIENCE, until

USER = "sonic-live"
"""Who the page belongs to, of several."""
NOBODYS = {"face": "synthetic", "voice": "synthetic"}


@dataclass(frozen=True)
class Run:
    """A prompt at its end, as ComfyUI's history has it."""

    status: str
    outputs: dict[str, Any]
    """Node → what it answered to the page."""
    told: dict[str, Any]
    """Event → what it said."""

    @property
    def error(self) -> str:
        """What the node that failed said, which ComfyUI shows in a dialog."""
        return str(self.told["execution_error"]["exception_message"]).strip()

    @property
    def failed(self) -> str:
        """Class of that node."""
        return str(self.told["execution_error"]["node_type"])

    def jobs(self, node: str) -> list[str]:
        """Ids of the jobs whose videos the node shows."""
        return [each["id"] for each in self.outputs[node].get("sonic", [])]


@dataclass(frozen=True)
class Comfy:
    """Talks to a ComfyUI."""

    url: str

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Answer:
        """One request; an answer that says no is an answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind}, method=method)
        return answered(request, PATIENCE)

    def get(self, path: str) -> Answer:
        """GET."""
        return self.ask("GET", path)

    def upload(self, name: str, data: bytes, **fields: str) -> Answer:
        """A file as ComfyUI's page uploads it."""
        border = uuid.uuid4().hex
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        parts = [
            f'--{border}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
            for field, value in fields.items()
        ]
        head = f'--{border}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        parts += [f"{head}Content-Type: {kind}\r\n\r\n".encode(), data, f"\r\n--{border}--\r\n".encode()]
        return self.ask("POST", "/upload/image", b"".join(parts), f"multipart/form-data; boundary={border}")

    def user(self) -> dict[str, str]:
        """What the browser of who chose a name keeps; nothing where ComfyUI has one user (`--multi-user`)."""
        users = self.get("/users").json.get("users")
        if users is None:
            return {}
        if USER not in users.values():
            assert self.ask("POST", "/users", {"username": USER}).status == 200
            users = self.get("/users").json["users"]
        (own,) = (each for each, name in users.items() if name == USER)
        return {"Comfy.userId": own, "Comfy.userName": USER}

    def put(self, file: Path) -> str:
        """A file into ComfyUI's input folder; its name there."""
        answer = self.upload(file.name, file.read_bytes(), type="input", overwrite="true")
        assert answer.status == 200, answer.body[:500]
        return str(answer.json["name"])

    def begin(self, prompt: dict[str, Any], client: str | None = None) -> str:
        """Queue a prompt; its id. What becomes of it is told to the client's socket."""
        named = {"client_id": client} if client else {}
        answer = self.ask("POST", "/prompt", {"prompt": prompt} | named)
        assert answer.status == 200, answer.body[:500]
        return str(answer.json["prompt_id"])

    def ended(self, prompt: str) -> Run:
        """A prompt, once it is over."""
        found = until(lambda: self.get(f"/history/{prompt}").json)[prompt]
        status = found["status"]
        return Run(status["status_str"], found["outputs"], dict(status["messages"]))

    def run(self, prompt: dict[str, Any]) -> Run:
        """Queue a prompt and wait for its end."""
        return self.ended(self.begin(prompt))

    def running(self) -> list[str]:
        """Ids of the prompts that are carried out."""
        return [each[1] for each in self.get("/queue").json["queue_running"]]

    def stop_all(self) -> None:
        """Empty the queue and stop what runs."""
        self.ask("POST", "/queue", {"clear": True})
        while self.running():
            self.ask("POST", "/interrupt", {})
            until(lambda: not self.running() or True)
        until(lambda: not self.running())

    def video(self, job: str) -> Any:
        """How a video stands, by our own API."""
        answer = self.get(f"/sonic/v1/animations/{job}")
        assert answer.status == 200, answer.body[:500]
        return answer.json

    def export(self, job: str, **stated: str) -> Any:
        """Let a video out, of nobody's face and voice unless otherwise stated."""
        answer = self.ask("POST", f"/sonic/v1/animations/{job}/export", {"consent": NOBODYS | stated})
        assert answer.status == 200, answer.body[:500]
        return answer.json


def workflow(
    *pictures: str, sound: str | None, seed: int = 0, engine: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A prompt in ComfyUI's format for API: pictures of ComfyUI's input folder become one video each.

    Nodes are named `look`, `make`, `export`.
    """
    prompt: dict[str, Any] = {}
    for number, name in enumerate(pictures):
        prompt[f"picture{number}"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    last = "picture0"
    for number in range(1, len(pictures)):
        joined = {"image1": [last, 0], "image2": [f"picture{number}", 0]}
        last = f"batch{number}"
        prompt[last] = {"class_type": "ImageBatch", "inputs": joined}
    look = {
        "image": [last, 0],
        "duration": 0,
        "duration_policy": "exact",
        "min_resolution": 256,
        "expand_ratio": 0.18,
        "framing": "whole",
        "face_box": "",
    }
    if sound is not None:
        prompt["sound"] = {"class_type": "LoadAudio", "inputs": {"audio": sound}}
        look["audio"] = ["sound", 0]
    make = {
        "job": ["look", 0],
        "preset": "as below",
        "inference_steps": 2,
        "dynamic_scale": 1.0,
        "motion_scale": 1.0,
        "seed": seed,
        "label": "start",
        "label_place": "auto",
    }
    if engine is not None:
        values = {"engine": "preview", "weights": "installed", "precision": "auto", "decoder": "auto"}
        prompt["loader"] = {"class_type": "SonicExtLoader", "inputs": values | engine}
        make["engine"] = ["loader", 0]
    return prompt | {
        "look": {"class_type": "SonicExtPreData", "inputs": look},
        "make": {"class_type": "SonicExtGenerate", "inputs": make},
        "export": {"class_type": "SonicExtExport", "inputs": {"take": ["make", 0]}},
    }
