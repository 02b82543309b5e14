"""The API on a real socket, and a caller that is nothing but the standard library."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patience import PATIENCE, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries' own, about each other
    import fastapi
    import uvicorn

    from sonic_ext.app import api
    from sonic_ext.app.admission import Admission
    from sonic_ext.app.routing import MAX_BODY
from sonic_ext.jobs import Worker
from sonic_ext.ports import Host

ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    def refusal(self) -> tuple[int, str]:
        """Status and kind of an answer that says no, which has one shape."""
        assert set(self.json) == {"error", "detail", "hint"}, self.body
        assert all(isinstance(text, str) and text for text in self.json.values()), self.body
        return self.status, self.json["error"]


@dataclass(frozen=True)
class Client:
    """Talks to the API."""

    port: int
    app: fastapi.FastAPI
    worker: Worker
    auth: str | None = None
    """user:password."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request; bytes go as they are, anything else as JSON."""
        with self._answering(method, path, body, headers) as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.read(), found)

    def status(self, method: str, path: str) -> int:
        """The same, of answers that may have no end."""
        with self._answering(method, path, None, {}) as answer:
            return answer.status

    @contextlib.contextmanager
    def _answering(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        if body is not None or method == "POST":
            headers = {"Content-Type": "application/json"} | headers
        if body is not None and not isinstance(body, (bytes, Iterator)):
            body = json.dumps(body).encode()
        if self.auth:
            headers["Authorization"] = "Basic " + base64.b64encode(self.auth.encode()).decode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)) as line:
            line.request(method, path if path.startswith("/sonic") else f"/sonic/v1{path}", body, headers)
            yield line.getresponse()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None) -> Answer:
        """POST."""
        return self.ask("POST", path, body)

    def begin(self, **body: Any) -> str:
        """The id of a new animation."""
        answer = self.post("/animations", body)
        assert answer.status == 202, answer.body
        assert answer.headers["location"] == f"/sonic/v1/animations/{answer.json['id']}"
        return str(answer.json["id"])

    def until(self, job: str, *states: str) -> Any:
        """The animation as soon as it is in one of the states."""
        return until(lambda: self.get(f"/animations/{job}").json, lambda found: found["state"] in states)

    def ended(self, job: str) -> Any:
        """The animation at its end, whatever that is."""
        return self.until(job, *ENDED)


@contextlib.contextmanager
def serving(
    host: Host,
    *,
    limit: int = MAX_BODY,
    worker: Worker | None = None,
    around: Callable[[fastapi.FastAPI], None] = lambda app: None,
    app: fastapi.FastAPI | None = None,
    admission: Admission | None = None,
) -> Iterator[Client]:
    """The API of a host; at the end no job is carried out and every thread gone."""
    before, worker = set(threading.enumerate()), worker or Worker(host)
    app = app or fastapi.FastAPI()
    around(app)
    api.mount(app, worker, admission or Admission(host.credentials), limit=limit)
    config = uvicorn.Config(app, log_level="warning", ws="none", lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            assert server.started
            auth = next((f"{user}:{word}" for user, word in host.credentials().items()), None)
            yield Client(listener.getsockname()[1], app, worker, auth)
        finally:
            worker.close(PATIENCE)
            server.should_exit = True
            thread.join(PATIENCE)
    for left in set(threading.enumerate()) - before:
        left.join(PATIENCE)
        assert not left.is_alive(), left


def b64(path: Path) -> str:
    """A file as JSON takes it."""
    return base64.b64encode(path.read_bytes()).decode()
