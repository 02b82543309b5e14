"""The bench over the API: refused in words, run in turn with the videos, told while it runs, stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
pytest.importorskip("uvicorn", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
from patience import PATIENCE, until
from web import Client, b64, serving

from sonic_ext.evaluation import bench
from sonic_ext.evaluation.bench import EXAMPLE, PUBLISHED
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.progress import Progress

QUICK: Mapping[str, Mapping[str, Any]] = {
    PUBLISHED: {"inference_steps": 4},
    "draft": {"inference_steps": 2},
    "precision=fp16": {"precision": "fp16"},
}
"""A processor has no fp16."""
SMALL = {"weights": "miniature", "min_resolution": 256}


class Turns(Standalone):
    """Tells who has their turn, and lets a test say when one comes."""

    def __init__(self, outputs: Path) -> None:
        super().__init__(outputs)
        self.may = threading.Event()
        self.may.set()
        self.had: list[str] = []

    def work(self, progress: Progress, task: Callable[[Progress], Any]) -> Any:
        self.may.wait(PATIENCE)
        self.had.append(type(progress).__name__)
        return super().work(progress, task)

    def defaults(self) -> Mapping[str, Any]:
        """Of which one is what the bench varies itself."""
        return {"min_resolution": 256, "inference_steps": 12}


@pytest.fixture
def host(tmp_path: Path) -> Turns:
    return Turns(tmp_path / "outputs")


@pytest.fixture
def client(host: Turns) -> Iterator[Client]:
    with serving(host) as opened:
        yield opened


def ended(client: Client) -> Any:
    """The task at its end."""
    return until(lambda: client.get("/bench/task").json, lambda told: told["state"] != "running")


def test_before_there_is_one(client: Client) -> None:
    assert client.get("/bench").refusal() == (409, "WrongTime")
    assert client.get("/bench/task").json["state"] == "idle"
    assert client.ask("DELETE", "/bench/task").json["state"] == "idle"


def test_without_weights_or_libraries_it_says_what_brings_them(client: Client) -> None:
    answer = client.post("/bench", {})
    assert answer.refusal() == (503, "MissingPart")
    assert "The sonic engine" in answer.json["detail"]
    assert client.get("/bench/task").json["state"] == "idle"
    other = client.ask("POST", "/bench", {}, **{"Accept-Language": "zh"})
    assert other.json["detail"] != answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"minutes": 0}, "minutes=0 is out of range."),
        ({"minutes": 2000}, "minutes=2000 is out of range."),
        ({"minutes": "soon"}, "minutes is not"),
        ({"trades": ["drafft"]}, "Did you mean draft?"),
        ({"settings": {"inference_steps": 4}}, "measures inference_steps itself"),
        ({"settings": {"steps": 4}}, "steps"),
        ({"size": 4}, "There is no field size."),
    ],
)
def test_what_cannot_be_used_is_said_at_once(client: Client, body: dict[str, Any], said: str) -> None:
    answer = client.post("/bench", body)
    assert answer.status == 422 and said in answer.json["detail"], answer.body
    assert client.get("/bench/task").json["state"] == "idle"


class TestMeasured:
    """With the miniature's weights."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("torch", "diffusers"):
            pytest.importorskip(name, reason="the sonic engine's libraries are an optional part")
        monkeypatch.setattr(bench, "TRADES", QUICK)
        monkeypatch.setattr(bench, "LENGTHS", (1.0,))

    def test_every_trade_is_told(self, client: Client, host: Turns, tmp_path: Path) -> None:
        begun = client.post("/bench", {"settings": SMALL})
        assert (begun.status, begun.json["what"], begun.json["state"]) == (202, "bench", "running")
        told = ended(client)
        assert (told["state"], told["detail"], told["error"]) == ("done", "The bench is over.", None), told
        assert host.had == ["BackgroundTask"], "it took its turn"
        found = client.get("/bench")
        assert [each["name"] for each in found.json["trades"]] == [*QUICK]
        assert found.json["finished"] and found.json["recommended"] in ("draft", PUBLISHED)
        published, draft, broken = found.json["trades"]
        assert published["psnr"] is None and published["mouth"] == 1 and published["steps"] == 4
        assert 20 < draft["psnr"] < 60 and draft["seconds"] > 0 and draft["memory"] > 10**8
        assert (broken["error"], broken["seconds"]) == ("BadSetting", None)
        assert str(tmp_path).encode() not in found.body and str(Path.home()).encode() not in found.body

    def test_one_at_a_time_and_stopped_while_it_waits(self, client: Client, host: Turns) -> None:
        host.may.clear()
        assert client.post("/bench", {"settings": SMALL}).status == 202
        assert client.get("/bench/task").json["stage"] == "waiting for another job"
        assert client.post("/bench", {"settings": SMALL}).refusal() == (409, "WrongTime")
        client.ask("DELETE", "/bench/task")
        host.may.set()
        assert ended(client)["state"] == "cancelled"
        assert client.get("/bench").refusal() == (409, "WrongTime")

    def test_stopped_it_keeps_what_was_measured(self, client: Client) -> None:
        assert client.post("/bench", {"settings": SMALL}).status == 202

        def figures() -> list[Any]:
            answer = client.get("/bench")
            return list(answer.json["trades"]) if answer.status == 200 else []

        until(figures)
        client.ask("DELETE", "/bench/task")
        assert ended(client)["state"] == "cancelled"
        kept = client.get("/bench").json
        assert kept["trades"][0]["name"] == PUBLISHED and kept["finished"] is False

    def test_a_portrait_and_speech_of_ones_own(
        self, client: Client, sonic_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bench, "TRADES", {PUBLISHED: {"inference_steps": 2}})
        own = {"portrait": b64(EXAMPLE / "portrait.jpg"), "audio": b64(EXAMPLE / "speech.wav")}
        assert client.post("/bench", {**own, "settings": SMALL}).status == 202
        assert ended(client)["state"] == "done"
        assert [each["name"] for each in client.get("/bench").json["trades"]] == [PUBLISHED]
        assert [*(sonic_home / "uploads").glob("*")] == []
        assert client.post("/bench", {"portrait": "?", "settings": SMALL}).status == 422
        assert client.post("/bench", {"audio": own["portrait"], "settings": SMALL}).status == 422

    def test_where_there_is_no_time_it_says_how_much_it_takes(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        many = {f"{number}": {"inference_steps": 50} for number in range(100)}
        monkeypatch.setattr(bench, "TRADES", QUICK | many)
        assert client.post("/bench", {"settings": SMALL, "minutes": 1, "trades": [*many]}).status == 202
        told = ended(client)
        assert (told["state"], told["error"]["error"]) == ("failed", "BadInput"), json.dumps(told)
        assert "minutes" in told["error"]["hint"]
