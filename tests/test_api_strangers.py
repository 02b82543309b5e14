"""The API's answers about strangers' files: always JSON, in ASCII, and never the fault of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
pytest.importorskip("uvicorn", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
from web import Client, b64, serving

from sonic_ext.hosts.standalone import Standalone
from sonic_ext.media.video import VideoWriter, remux

UNSEEN = "\x1b[31m\x9b1m\u202e\u2028\u200b"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(Standalone(tmp_path_factory.mktemp("outputs"))) as opened:
        yield opened


def labelled(folder: Path, label: str, comment: str = "") -> Path:
    plain, tagged = folder / "plain.mp4", folder / "tagged.mp4"
    with VideoWriter(plain, 64, 64, 25) as writer:
        for frame in np.random.default_rng(0).integers(16, 235, (5, 96, 64), np.uint8):
            writer.write(frame)
    remux(plain, tagged, {"AIGC": label, "comment": comment})
    return tagged


@pytest.mark.parametrize(
    "label", ["[" * 100_000, '{"Label":"\\ud800","\\udfff":1}', f'{{"Label":"{UNSEEN[5:]}"}}']
)
def test_a_label_of_a_stranger(client: Client, label: str, tmp_path: Path) -> None:
    answer = client.post("/verify", {"video": b64(labelled(tmp_path, label, UNSEEN))})
    assert (answer.status, answer.json["verdict"]) == (200, "unmarked")
    assert answer.json["labels"]["comment"] == UNSEEN
    assert answer.json["labels"]["aigc"]["problems"]
    answer.body.decode("ascii")


def test_a_video_that_keeps_readers_busy(client: Client, tmp_path: Path) -> None:
    video = labelled(tmp_path, "")
    with video.open("ab") as file:
        file.write(b"\0\0\0\x08free" * 30_000)
    answer = client.post("/verify", {"video": b64(video)})
    assert answer.refusal() == (422, "BadVideo")


def test_what_a_caller_sends_comes_back_in_ascii(client: Client) -> None:
    values = {"portrait": "aGVsbG8=", "audio": "aGVsbG8=", "settings": {"engine": UNSEEN, "视频\ud800": 1}}
    answer = client.post("/preflight", values)
    assert answer.refusal()[0] == 422
    answer.body.decode("ascii")
    assert len(client.post("/preflight", values | {"settings": {"engine": "x" * 10**6}}).body) < 2000
