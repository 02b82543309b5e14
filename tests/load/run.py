"""Many clients of one server for a while: `python tests/load/run.py --clients 16 --minutes 15`.

Each client makes videos of its own length with a portrait of its own, exports them, asks for what draws
nothing, sends what cannot be used, cancels, and some revoke. What a server answers is looked at: no answer of
5xx, no job lost, none with another's portrait or length, nothing of a revoked record given out, no job left
behind. Prints the times of routes that draw nothing, and the server's memory, handles and threads over time.
Everything is on this computer. Needs psutil, fastapi and uvicorn; exit code 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import random
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import wave
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from served import ROOT, served

MEDIA = Path(__file__).resolve().parents[1] / "data" / "media"
FACES, REVOKED = ("portrait_01.jpg", "portrait_02.jpg", "portrait_03.jpg"), "portrait_05.jpg"
QUIET = ("/animations", "/engines", "/settings", "/consents", "/weights", "/weights/task", "/batches")
"""Routes that draw nothing."""
CONSENT = {
    "face": "synthetic",
    "voice": "synthetic",
    "unlike_reason": "Another encoding of a test's picture.",
}
ENDED = ("done", "failed", "cancelled")
PAUSE = 0.2
"""Seconds between two questions of a client."""
SAMPLE = 10.0
"""Seconds between two looks at the server."""


@dataclass
class Found:
    """What all clients saw."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    quiet: dict[str, list[float]] = field(default_factory=dict)
    """Route that draws nothing → seconds of each of its answers."""
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    revoking: threading.Event = field(default_factory=threading.Event)
    """Somebody asks for the revocation of the one portrait that is revoked …"""
    revoked: threading.Event = field(default_factory=threading.Event)
    """… and has been answered."""

    def count(self, what: str) -> None:
        """One more of it."""
        with self.lock:
            self.counts[what] += 1

    def fault(self, what: str) -> None:
        """Something that must not be."""
        with self.lock:
            self.wrong.append(what)
        print(what, file=sys.stderr, flush=True)


@dataclass
class Client:
    """Somebody who uses the API."""

    api: str
    number: int
    found: Found
    end: float
    """On the monotonic clock."""
    made: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.number)
        self.revokes = self.number % 4 == 3
        self.seconds = 0.4 + 0.04 * self.number
        self.audio = _encoded(_tone(self.seconds, 150 + 10 * self.number))

    def run(self) -> None:
        """Until the time is over."""
        actions = {self.look: 12, self.make: 2, self.send_nonsense: 3, self.cancel: 1}
        if self.revokes:
            actions[self.revoke] = 1
        while time.monotonic() < self.end:
            (action,) = self.chance.choices([*actions], [*actions.values()])
            try:
                action()
            except Exception as error:
                self.found.fault(f"client {self.number}, {action.__name__}: {type(error).__name__}: {error}")
            threading.Event().wait(PAUSE * self.chance.random())

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """An answer, whatever it says; 5xx is a fault, but for 503 with its reason."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.api + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            if error.code >= 500 and not (error.code == 503 and b'"Busy"' in text):
                self.found.fault(f"{method} {path}: {error.code} {text[:200]!r}")
            return error.code, text

    def look(self) -> None:
        """At what draws nothing."""
        path = self.chance.choice(QUIET)
        began = time.monotonic()
        status, _ = self.ask("GET", path)
        with self.found.lock:
            self.found.quiet.setdefault(path, []).append(time.monotonic() - began)
        if status != 200:
            self.found.fault(f"GET {path}: {status}")
        self.found.count("looked")

    def begun(self, portrait: bytes) -> dict[str, Any] | None:
        """A video on its way; None where the server has too many."""
        body = {"portrait": _encoded(portrait), "audio": self.audio, "settings": {"min_resolution": 256}}
        body["settings"] |= {"engine": "preview", "framing": "crop", "lip_sync_calibration": "off"}
        status, answer = self.ask("POST", "/animations", body)
        if status == 202:
            return json.loads(answer)
        if status == 503:
            self.found.count("sent away")
        elif not self._refused_rightly(json.loads(answer)):
            self.found.fault(f"POST /animations: {status} {answer[:200]!r}")
        return None

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job at its end."""
        while True:
            status, answer = self.ask("GET", f"/animations/{job['id']}")
            if status != 200:
                self.found.fault(f"a job is lost: {job['id']}: {status}")
                return {"state": "lost"}
            now = json.loads(answer)
            if now["state"] in ENDED:
                return now
            self.look()
            threading.Event().wait(PAUSE)

    def make(self) -> tuple[str, str] | None:
        """A video, exported and checked; its id and record."""
        name = REVOKED if self.revokes else FACES[self.number % len(FACES)]
        self.made += 1
        portrait = _own(MEDIA / name, self.number, self.made)
        late = self.revokes and self.found.revoked.is_set()
        job = self.begun(portrait)
        if job is None:
            return None
        if late:
            self.found.fault("a revoked portrait was taken")
        now = self.ended(job)
        if now["state"] != "done":
            if not self._refused_rightly(now.get("error") or {}):
                self.found.fault(f"a video ended as {now['state']}: {now.get('error')}")
            return None
        if now["portrait_sha256"] != hashlib.sha256(portrait).hexdigest():
            self.found.fault(f"{job['id']} has another's portrait")
        status, answer = self.ask("POST", f"/animations/{job['id']}/export", {"consent": CONSENT})
        if status != 200:
            if not self._refused_rightly(json.loads(answer)):
                self.found.fault(f"export of {job['id']}: {status} {answer[:200]!r}")
            return None
        exported = json.loads(answer)
        status, video = self.ask("GET", f"/animations/{job['id']}/video")
        if status != 200 and self.revokes and self.found.revoking.is_set():
            return None
        if status != 200 or b"ftyp" not in video[:64]:
            self.found.fault(f"video of {job['id']}: {status}")
        if abs(_length(video) - self.seconds) > 0.1:
            self.found.fault(f"{job['id']} is {_length(video):.2f} s long, not {self.seconds:.2f}")
        self.found.count("made")
        return job["id"], exported["record"]

    def revoke(self) -> None:
        """A video, and then its record: nothing of it is given out or made again."""
        made = self.make()
        if made is None:
            return
        job, record = made
        self.found.revoking.set()
        status, answer = self.ask("POST", f"/consents/{record}/revoke", {"reason": "a test"})
        if status != 200:
            self.found.fault(f"revoking {record}: {status} {answer[:200]!r}")
            return
        self.found.revoked.set()
        for path in ("video", "preview"):
            status, _ = self.ask("GET", f"/animations/{job}/{path}")
            if status == 200 and path == "preview":
                self.found.fault(f"the {path} of a revoked record was given out")
        self.found.count("revoked")

    def _refused_rightly(self, answer: dict[str, Any]) -> bool:
        """Those who revoke share a portrait: what one of them revoked, no other is given any more."""
        right = self.revokes and self.found.revoking.is_set() and answer.get("error") == "ConsentRevoked"
        if right:
            self.found.count("refused as revoked")
        return right

    def send_nonsense(self) -> None:
        """What cannot be used is refused, with a sentence."""
        own = _encoded(_own(MEDIA / FACES[0], self.number, 0))
        bad = self.chance.choice(
            [
                b"{",
                {"portrait": own},
                {"portrait": "AAAA", "audio": self.audio},
                {"portrait": own, "audio": "AAAA"},
                {"portrait": own, "audio": self.audio, "settings": {"min_resolution": -1}},
                {"portrait": own, "audio": self.audio, "settings": {"nobody": 1}},
                {"portrait": _encoded((MEDIA / "no_person.jpg").read_bytes()), "audio": self.audio},
            ]
        )
        status, answer = self.ask("POST", "/preflight" if isinstance(bad, dict) else "/animations", bad)
        if status == 503:
            self.found.count("sent away")
            return
        if not 400 <= status < 500 or not json.loads(answer).get("detail"):
            self.found.fault(f"nonsense was answered with {status} {answer[:200]!r}")
        self.found.count("refused")

    def cancel(self) -> None:
        """A video that is not wanted after all."""
        job = self.begun(_own(MEDIA / FACES[0], self.number, 0))
        if job is None:
            return
        threading.Event().wait(self.chance.choice([0.0, 0.5, 2.0]))
        self.ask("DELETE", f"/animations/{job['id']}")
        status, answer = self.ask("GET", f"/animations/{job['id']}")
        while status == 200 and json.loads(answer)["state"] not in ENDED:
            threading.Event().wait(PAUSE)
            status, answer = self.ask("GET", f"/animations/{job['id']}")
        self.found.count("cancelled")


def _tone(seconds: float, pitch: float) -> bytes:
    """A voice of sorts: WAV."""
    t = np.arange(round(16000 * seconds)) / 16000
    sound = 0.3 * np.sin(2 * np.pi * pitch * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((32767 * sound).astype("<i2").tobytes())
    return target.getvalue()


def _own(path: Path, client: int, number: int) -> bytes:
    """The picture in a file that nobody else has."""
    target = io.BytesIO()
    with Image.open(path) as picture:
        picture.thumbnail((512, 512))
        mark = f"client {client}, {number}".encode()
        picture.convert("RGB").save(target, "JPEG", quality=85, comment=mark)
    return target.getvalue()


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _length(video: bytes) -> float:
    import av

    with av.open(io.BytesIO(video)) as container:
        return (container.duration or 0) / av.time_base


def watched(process: psutil.Process, end: float) -> list[tuple[float, int, int]]:
    """Memory in MB, handles and threads of the server and its children, every `SAMPLE` seconds."""
    rows = []
    while time.monotonic() < end:
        every = [process, *process.children(recursive=True)]
        memory = sum(each.memory_info().rss for each in every if each.is_running()) / 1e6
        rows.append((memory, process.num_fds(), process.num_threads()))
        threading.Event().wait(SAMPLE)
    return rows


def main() -> int:
    """Serve, load, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=15.0)
    options = parser.parse_args()
    found = Found()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ("-m", "sonic_ext", "serve", "--api-only", "--output-dir", folder / "out")
        with served(folder, *words, SONIC_HOME=str(folder / "home"), PYTHONPATH=str(ROOT)) as line:
            api = next(word for word in line.split() if word.startswith("http"))
            (server,) = psutil.Process().children()
            end = time.monotonic() + 60 * options.minutes
            clients = [Client(api, number, found, end) for number in range(options.clients)]
            threads = [threading.Thread(target=client.run) for client in clients]
            for thread in threads:
                thread.start()
            rows = watched(server, end)
            for thread in threads:
                thread.join()
            _, answer = clients[0].ask("GET", "/animations")
            left = [each["id"] for each in json.loads(answer)["animations"] if each["state"] not in ENDED]
            if left:
                found.fault(f"left behind: {left}")
    return told(found, rows)


def told(found: Found, rows: list[tuple[float, int, int]]) -> int:
    """Print; the exit code."""
    print(", ".join(f"{count} {what}" for what, count in sorted(found.counts.items())))
    every = [each for seconds in found.quiet.values() for each in seconds]
    for name, seconds in [*sorted(found.quiet.items()), ("routes that draw nothing", every)]:
        p50, p99 = 1000 * np.percentile(seconds, [50, 99])
        print(f"{name}: {len(seconds)} answers, median {p50:.0f} ms, p99 {p99:.0f} ms")
    third = max(1, len(rows) // 3)
    for name, values in zip(("memory, MB", "handles", "threads"), zip(*rows, strict=True), strict=True):
        early, late = np.median(values[third : 2 * third]), np.median(values[-third:])
        print(f"{name}: second third {early:.0f}, last third {late:.0f}, most {max(values):.0f}")
    print(f"wrong: {len(found.wrong)}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
