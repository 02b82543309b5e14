"""A WebUI over HTTP, as any program would talk to it: nothing of this package is imported."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import select
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patience import PATIENCE, until

ONE_REQUEST = 5 * PATIENCE
"""Seconds for a request: the WebUI answers one for pictures when all are made, and what they are to say."""
SMALL = {"prompt": "a portrait", "width": 64, "height": 64, "steps": 1, "sampler_name": "Euler", "seed": 1}
"""The cheapest picture."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


def answered(request: urllib.request.Request, seconds: float) -> Answer:
    """What a request is answered; a no is an answer."""
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())


@dataclass(frozen=True)
class Client:
    """Talks to a WebUI."""

    url: str
    auth: str | None = None
    """user:password of `--api-auth`."""
    login: str | None = None
    """user:password of `--gradio-auth`; who is asked for it logs in."""
    _cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, auth: str | None = "") -> Answer:
        """One request; an answer that says no is an answer. `auth=None` sends no credentials."""
        secret = self.auth if auth == "" else auth
        answer = self._ask(method, path, body, secret)
        if answer.status == 401 and self.login and auth == "":
            self._log_in(self.login)
            answer = self._ask(method, path, body, secret)
        return answer

    def _ask(self, method: str, path: str, body: Any, secret: str | None) -> Answer:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, self._headers(secret), method=method)
        return answered(request, ONE_REQUEST)

    def _log_in(self, login: str) -> None:
        """As gradio's page does it; the cookies count until the WebUI's next start or *Reload UI*."""
        name, _, word = login.partition(":")
        form = urllib.parse.urlencode({"username": name, "password": word}).encode()
        with urllib.request.urlopen(f"{self.url}/login", form, ONE_REQUEST) as answer:
            given = answer.headers.get_all("set-cookie") or []
        self._cookies.update(each.partition(";")[0].split("=", 1) for each in given)

    def stranger(self) -> Client:
        """The same WebUI for who has neither."""
        return Client(self.url)

    def _headers(self, secret: str | None) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if secret:
            headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return headers

    def pour(self, path: str, size: int) -> Answer:
        """POST so many bytes; stops, as curl does, when the answer is there before they are sent."""
        place = urllib.parse.urlsplit(self.url)
        talk = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
        with contextlib.closing(talk):
            talk.putrequest("POST", place.path + path)
            for name, value in self._headers(self.auth).items():
                talk.putheader(name, value)
            talk.putheader("Content-Length", str(size))
            talk.endheaders()
            piece = b"A" * 2**20
            for _ in range(size // len(piece)):
                if select.select([talk.sock], [], [], 0)[0]:
                    break
                talk.send(piece)
            answer = talk.getresponse()
            return Answer(answer.status, answer.read())

    def get(self, path: str) -> Answer:
        """GET."""
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        """POST."""
        return self.ask("POST", path, body if body is not None else {})

    def has_page(self) -> bool:
        """False under --nowebui."""
        answer = self.get("/")
        return answer.status == 200 and b"<html" in answer.body.lower()

    def has_api(self) -> bool:
        """False without --api: then the API is for the WebUI's own page."""
        return self.get("/sonic/v1/engines").status != 403

    def picture(self, **more: Any) -> bytes:
        """A txt2img picture, PNG."""
        answer = self.post("/sdapi/v1/txt2img", SMALL | more)
        assert answer.status == 200, answer.body[:500]
        return base64.b64decode(answer.json["images"][0])

    def begin(self, portrait: Path, speech: Path, **more: Any) -> str:
        """The id of a new animation by the preview engine."""
        body = {"portrait": b64(portrait), "audio": b64(speech), "settings": QUICK} | more
        answer = self.post("/sonic/v1/animations", body)
        assert answer.status == 202, answer.body[:500]
        return str(answer.json["id"])

    def look(self, job: str) -> Any:
        """An animation as it stands."""
        answer = self.get(f"/sonic/v1/animations/{job}")
        assert answer.status == 200, answer.body[:500]
        return answer.json

    def ended(self, job: str) -> Any:
        """An animation at its end, whatever that is."""
        return self.reached(job, "done", "failed", "cancelled")

    def reached(self, job: str, *states: str) -> Any:
        """An animation, as soon as it is in one of the states."""
        return until(lambda: self.look(job), lambda found: found["state"] in states)

    def stop_all(self) -> None:
        """Stop every animation, until none is made or waits."""
        for name in self.under_way():
            self.ask("DELETE", f"/sonic/v1/animations/{name}")
        until(lambda: not self.under_way())

    def under_way(self) -> list[str]:
        """Ids of the animations that are made or wait."""
        return [
            each["id"] for each in self.get("/sonic/v1/animations").json["animations"] if not each["ended"]
        ]


QUICK = {"engine": "preview", "min_resolution": 256}


def b64(path: Path) -> str:
    """A file as JSON takes it."""
    return base64.b64encode(path.read_bytes()).decode()
