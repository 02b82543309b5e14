"""The HTTP API on a real socket, with the real pipeline, gate and ledger.

The same file runs with pydantic 1 and 2, see requirements/.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import math
import operator
import re
import stat
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import sounds
from hypothesis import given
from hypothesis import strategies as st
from made_jobs import finished, submitted
from made_sync import measured_as, report, track
from made_takes import adopt_clip
from PIL import Image
from spoken import MEDIA, one_minute, one_second
from tiny_hub import TinyHub
from tiny_hub import serving as hub_serving

pytest.importorskip("fastapi", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
pytest.importorskip("uvicorn", reason="the API needs fastapi and uvicorn: install the extra `standalone`")
from patience import PATIENCE, until
from web import Answer, Client, b64, serving

from sonic_ext.app import events
from sonic_ext.app.admission import TOKEN as TOKEN_HEADER
from sonic_ext.app.admission import Admission
from sonic_ext.app.api import LOOKS_WAITING, router
from sonic_ext.app.ranged import part_of
from sonic_ext.app.turns import AT_ONCE
from sonic_ext.app.uploads import decoded
from sonic_ext.configuration import Configuration
from sonic_ext.errors import BadInput, Refused
from sonic_ext.extension import registration
from sonic_ext.hosts.standalone import Standalone
from sonic_ext.jobs import Destination, Queue, Worker
from sonic_ext.jobs.exporting import export_take
from sonic_ext.media.audio import wav_bytes
from sonic_ext.media.image import pixel_digest, read_portrait
from sonic_ext.media.video import read_frames
from sonic_ext.ports import Host, MadePortrait
from sonic_ext.progress import Progress, Step
from sonic_ext.provenance.consent import NOTICE, Consent
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.provenance.store import Store
from sonic_ext.provenance.take import Take
from sonic_ext.settings import PRESETS, Settings, describe

EXAMPLE = Path(__file__).parents[1] / "sonic_ext" / "assets" / "example"
PORTRAIT = EXAMPLE / "portrait.jpg"
ROOT = Path(__file__).resolve().parents[1]
OTHER = MEDIA / "portrait_02.jpg"
QUICK = {
    "engine": "preview",
    "min_resolution": 256,
    "duration": 0.4,
    "duration_policy": "trim",
    "lip_sync_calibration": False,
}
CONSENT = {"face": "synthetic", "voice": "synthetic"}
TOKEN = "of the page"
SOURCE = {"portrait": b64(PORTRAIT), "audio": b64(EXAMPLE / "speech.wav"), "settings": QUICK}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Where videos go."""
    return tmp_path / "out puts"


class Locked(Standalone):
    """A host that has the API ask for a password, as a WebUI with --api-auth does."""

    def __init__(self, outputs: Path, users: dict[str, str]) -> None:
        super().__init__(outputs)
        self._users = users

    def credentials(self) -> dict[str, str]:
        return self._users


@pytest.fixture
def client(outputs: Path) -> Iterator[Client]:
    """An open API, without a job; none of its threads outlives the test."""
    with serving(Standalone(outputs)) as opened:
        yield opened


@pytest.fixture
def made(client: Client, take: Take) -> str:
    """Id of an animation that is done, as if the page had made it."""
    return finished(client.worker.queue, take).id


@pytest.fixture
def minute(tmp_path: Path) -> str:
    """Speech that takes long enough to be stopped in."""
    return b64(one_minute(tmp_path / "minute.wav"))


def sha256(data: bytes) -> str:
    """Hex."""
    return hashlib.sha256(data).hexdigest()


def uploads(home: Path) -> list[Path]:
    """What lies about of what callers sent: folders on their way, with their locks, and what jobs need."""
    folders = {path.with_suffix("") for path in (home / "uploads").glob("*")}
    return [*folders, *(home / "inputs").glob("*")]


def until_collected(home: Path) -> None:
    """What an ended job needed goes just after its end is on the disk: a kill leaves a file too many,
    never one too few."""
    until(lambda: uploads(home), operator.not_)


class TestTheWholeWay:
    """From request to verified video, with the preview engine."""

    def test_consent_lets_the_video_out(self, client: Client, outputs: Path, sonic_home: Path) -> None:
        job = client.begin(**SOURCE)
        found = client.ended(job)
        assert (found["state"], found["progress"], found["error"]) == ("done", 1.0, None), found
        assert found["portrait_sha256"] == sha256(PORTRAIT.read_bytes())
        assert found["portrait_synthetic"] is False
        assert (found["take"]["frames"], found["take"]["fps"]) == (10, 25)
        assert client.get(found["preview"]).body[4:8] == b"ftyp"
        assert client.get(f"/animations/{job}/video").refusal() == (409, "WrongTime")
        assert not outputs.exists()
        exported = client.post(f"/animations/{job}/export", {"consent": CONSENT})
        assert exported.status == 200, exported.body
        assert client.get(f"/animations/{job}").json["export"] == exported.json
        video = client.get(exported.json["video"])
        assert (video.status, video.headers["content-type"]) == (200, "video/mp4")
        assert sha256(video.body) == exported.json["sha256"]
        assert (outputs / exported.json["name"]).read_bytes() == video.body
        told = client.post("/verify", {"video": base64.b64encode(video.body).decode()})
        assert told.json["verdict"] == "intact", told.body
        assert told.json["id"] == found["take"]["id"]
        assert told.json["record"]["same_file"] is True
        assert str(sonic_home) not in told.body.decode()
        until_collected(sonic_home)

    def test_two_people_need_the_consent_of_each(self, client: Client, sonic_home: Path) -> None:
        asked = SOURCE | {"portrait": b64(MEDIA / "two_people.jpg"), "audio_2": SOURCE["audio"]}
        seen = client.post("/preflight", asked).json
        assert (seen["faces"], seen["face_box"][0] < 512 < seen["face_box_2"][0]) == (2, True)
        assert client.post("/animations", asked | {"consent": CONSENT}).refusal() == (403, "ConsentMissing")
        job = client.begin(**asked)
        assert client.ended(job)["take"]["persons"] == 2
        export = f"/animations/{job}/export"
        assert client.post(export, {"consent": CONSENT}).refusal() == (403, "ConsentMissing")
        made = client.post(export, {"consent": CONSENT | {"face_2": "self", "voice_2": "authorised"}})
        assert made.status == 200, made.body
        record = client.get(f"/consents/{made.json['record']}").json
        assert (record["face_2"], record["voice_2"]) == ("self", "authorised")
        assert record["audio_2_sha256"] == record["audio_sha256"]
        revoked = client.post(f"/consents/{record['id']}/revoke", {"reason": "the second person"}).json
        assert revoked["takes"] == [record["take"]]
        assert client.post("/animations", asked).refusal() == (403, "ConsentRevoked")
        until_collected(sonic_home)

    @pytest.mark.parametrize(
        ("name", "verdict"), [("data/signed/ended.mp4", "time problem"), ("hello.mp4", "unknown signer")]
    )
    def test_verify_tells_a_stranger_from_a_forger(self, client: Client, name: str, verdict: str) -> None:
        """Whole files of others: who signed or when is in question, not what they hold."""
        folder = EXAMPLE if name == "hello.mp4" else ROOT / "tests"
        told = client.post("/verify", {"video": b64(folder / name)})
        assert (told.status, told.json["verdict"], told.json["contradictions"]) == (200, verdict, [])
        assert told.json["hint"]

    def test_two_callers_at_once(self, client: Client, sonic_home: Path) -> None:
        found: dict[Path, Any] = {}

        def call(portrait: Path) -> None:
            found[portrait] = client.ended(client.begin(**SOURCE | {"portrait": b64(portrait)}))

        callers = [threading.Thread(target=call, args=(portrait,)) for portrait in (PORTRAIT, OTHER)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(PATIENCE)
        assert {path: each["portrait_sha256"] for path, each in found.items()} == {
            path: sha256(path.read_bytes()) for path in (PORTRAIT, OTHER)
        }
        listed = {each["id"] for each in client.get("/animations").json["animations"]}
        assert listed == {each["id"] for each in found.values()}
        until_collected(sonic_home)

    def test_consent_given_at_the_start(self, client: Client, outputs: Path, sonic_home: Path) -> None:
        signed = base64.b64encode(b"I agree.").decode()
        consent = {"face": "authorised", "voice": "self", "evidence": signed, "contact": "a@b.example"}
        found = client.ended(client.begin(**SOURCE, consent=consent))
        assert found["state"] == "done"
        assert [path.name for path in outputs.iterdir()] == [found["export"]["name"]]
        record = Ledger().show(found["export"]["record"])
        assert (str(record.face), record.evidence_sha256) == ("authorised", sha256(b"I agree."))
        again = client.post(f"/animations/{found['id']}/export", {"consent": CONSENT})
        assert again.refusal() == (409, "WrongTime")
        until_collected(sonic_home)

    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux to count open files")
    def test_no_file_stays_open(self, client: Client) -> None:
        seen = []
        for _ in range(3):  # what the first one opens for good is no leak
            found = client.ended(client.begin(**SOURCE, consent=CONSENT))
            assert client.get(found["export"]["video"], Range="bytes=0-9").status == 206
            client.ask("DELETE", f"/animations/{found['id']}")
            seen.append({path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()})
        regular = [{path for path in each if path.is_file()} for each in seen]
        assert regular[2] <= regular[0]

    def test_face_that_is_not_there(self, client: Client, sonic_home: Path) -> None:
        grey = io.BytesIO()
        Image.new("RGB", (300, 300), "grey").save(grey, "PNG")
        body = SOURCE | {"portrait": base64.b64encode(grey.getvalue()).decode()}
        assert client.post("/animations", body).refusal() == (422, "NoFace")
        assert client.post("/preflight", body).refusal() == (422, "NoFace")
        assert uploads(sonic_home) == []


class TestStopping:
    """DELETE."""

    def test_running_and_waiting(self, client: Client, minute: str, sonic_home: Path) -> None:
        long = SOURCE | {"audio": minute, "settings": {"engine": "preview", "min_resolution": 256}}
        first, second = client.begin(**long), client.begin(**long)
        client.until(first, "running")
        assert len(uploads(sonic_home)) == 2
        assert client.get(f"/animations/{second}").json["position"] == 1
        cancelled = client.ask("DELETE", f"/animations/{second}")
        assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
        assert len(uploads(sonic_home)) == 2  # the other one needs the same files
        assert client.ask("DELETE", f"/animations/{first}").status == 200
        assert client.ended(first)["error"]["error"] == "Cancelled"
        assert client.get(f"/animations/{first}/preview").refusal() == (409, "WrongTime")
        until_collected(sonic_home)
        assert Store().takes() == ()

    def test_one_that_ended_is_forgotten(self, client: Client, made: str, take: Take) -> None:
        assert client.ask("DELETE", f"/animations/{made}").json == {"id": made, "forgotten": True}
        assert client.get(f"/animations/{made}").refusal() == (404, "NotFound")
        assert client.get("/animations").json == {"animations": []}
        assert not take.folder.exists()

    def test_a_server_that_ends_loses_nothing(self, outputs: Path, minute: str, sonic_home: Path) -> None:
        long = SOURCE | {"audio": minute, "settings": {"engine": "preview", "min_resolution": 256}}
        with serving(Standalone(outputs)) as client:
            first, second = client.begin(**long), client.begin(**SOURCE)
            client.until(first, "running")
        waiting = {job.id: str(job.state) for job in Queue().jobs()}
        assert waiting == {first: "queued", second: "queued"}
        with serving(Standalone(outputs)) as client:
            client.worker.start()
            client.until(first, "running")
            client.ask("DELETE", f"/animations/{first}")
            assert client.ended(second)["state"] == "done"
        until_collected(sonic_home)


def refusal(answer: Answer) -> tuple[int, str, str]:
    """Status, kind and detail."""
    return (*answer.refusal(), answer.json["detail"])


TEXT = base64.b64encode(b"hello").decode()
BAD: dict[str, tuple[dict[str, Any], tuple[int, str, str]]] = {
    "no portrait": (
        {"portrait": None},
        (422, "BadInput", "One portrait is needed, and the request has none."),
    ),
    "two portraits": (
        {"txt2img": {}},
        (422, "BadInput", "One portrait is needed, and the request has portrait and txt2img."),
    ),
    "no base64": ({"portrait": "§§"}, (422, "BadInput", "portrait is not base64.")),
    "a path": ({"portrait": "/etc/passwd.png"}, (422, "BadInput", "portrait is not base64.")),
    "sound that is no base64": ({"audio": "a b!"}, (422, "BadInput", "audio is not base64.")),
    "nothing": ({"portrait": "data:image/png;base64,"}, (422, "BadInput", "portrait is empty (0 bytes).")),
    "text for a picture": ({"portrait": TEXT}, (422, "BadPortrait", r"portrait is not a picture.*")),
    "text for sound": ({"audio": TEXT}, (422, "BadAudio", r"speech is not sound in a format.*")),
    "picture for sound": ({"audio": SOURCE["portrait"]}, (422, "BadAudio", r"speech .*")),
    "number for a picture": ({"portrait": 5}, (422, "BadInput", "portrait is not text.")),
    "list for settings": ({"settings": []}, (422, "BadInput", "settings is not an object.")),
    "null for settings": ({"settings": None}, (422, "BadInput", "settings is not an object.")),
    "text for words": (
        {"portrait": None, "txt2img": "a face"},
        (503, "MissingPart", "txt2img needs a WebUI.*"),
    ),
    "unknown field": ({"path": "/etc/passwd"}, (422, "BadInput", "There is no field path.")),
    "unknown field of consent": (
        {"consent": CONSENT | {"evidence_path": "/etc/passwd"}},
        (422, "BadInput", "There is no field consent.evidence_path."),
    ),
    "unknown setting": ({"settings": {"colour": 1}}, (422, "BadSetting", "There is no setting 'colour'.")),
    "setting out of range": (
        {"settings": {"fps": 24}},
        (422, "BadSetting", "fps=24 is not allowed."),
    ),
    "half a character": (
        {"settings": {"label": "off", "label_off_reason": "\ud800"}},
        (422, "BadInput", "label_off_reason holds characters that are none."),
    ),
    "no WebUI": (
        {"portrait": None, "txt2img": {"prompt": "a face"}},
        (503, "MissingPart", "txt2img needs a WebUI, and none is around here."),
    ),
    "consent without a basis": (
        {"consent": {"face": "self"}},
        (403, "ConsentMissing", "Consent for the voice is missing."),
    ),
    "consent that ended": (
        {"consent": CONSENT | {"expires": "2020-02-02"}},
        (403, "ConsentExpired", "The consent ended on 2020-02-02."),
    ),
    "consent with no date": (
        {"consent": CONSENT | {"expires": "soon"}},
        (422, "BadSetting", r".*soon.*"),
    ),
    "consent for another portrait": (
        {"consent": CONSENT | {"portrait_sha256": "0" * 64}},
        (403, "ConsentMissing", "The consent is for another portrait."),
    ),
    "consent to another notice": (
        {"consent": CONSENT | {"notice_version": "0"}},
        (403, "ConsentMissing", "The consent is to another notice than the present one."),
    ),
    "evidence that is a path": (
        {"consent": CONSENT | {"evidence": "/etc/passwd!"}},
        (422, "BadInput", "consent.evidence is not base64."),
    ),
    "a novel": (
        {"consent": CONSENT | {"purpose": "x" * 2001}},
        (422, "BadInput", "consent.purpose is too long."),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(client: Client, sonic_home: Path, name: str) -> None:
    change, (status, kind, detail) = BAD[name]
    answer = client.post("/animations", SOURCE | change)
    assert answer.refusal() == (status, kind)
    assert re.fullmatch(detail.replace("(0 bytes)", r"\(0 bytes\)"), answer.json["detail"]), answer.body
    assert str(sonic_home) not in answer.body.decode()
    assert uploads(sonic_home) == []
    assert client.get("/animations").json == {"animations": []}


def test_the_language_that_is_asked_for(client: Client) -> None:
    path = "/animations/none"
    assert client.get(path).json["detail"] == "There is no animation with this id."
    answer = client.get(path, **{"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    assert answer.refusal() == (404, "NotFound")
    assert answer.json["detail"] == "没有该 id 的动画。"


def test_missing_field(client: Client) -> None:
    found = refusal(client.post("/animations", {"portrait": SOURCE["portrait"]}))
    assert found == (422, "BadInput", "audio is missing.")
    assert refusal(client.post("/verify", {})) == (422, "BadInput", "video is missing.")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "The body is not JSON."),
        (b"[" * 100_000, "The body is not JSON."),
        (b'"text"', "The body is not an object."),
        (b"[]", "The body is not an object."),
        (b'{"audio": "\xff"}', "The body is not JSON."),
    ],
    ids=["broken", "deep", "text", "list", "not UTF-8"],
)
def test_bodies_that_are_no_request(client: Client, body: bytes, detail: str) -> None:
    answer = client.post("/verify", body)
    assert refusal(answer) == (422, "BadInput", detail)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_only_json_is_taken(client: Client, kind: str) -> None:
    """Browsers let other sites send these without asking; JSON they do not."""
    answer = client.ask("POST", "/animations", b"{}", **{"Content-Type": kind})
    assert answer.refusal() == (415, "WrongType")


def test_data_urls_and_broken_lines_are_base64(client: Client) -> None:
    text = "data:image/jpeg;base64," + "\n".join(re.findall(".{1,76}", SOURCE["portrait"]))
    assert client.post("/preflight", SOURCE | {"portrait": text}).status == 200


class TestSize:
    """Nobody fills memory or disk."""

    def test_half_a_gigabyte_is_refused_before_it_is_sent(self, client: Client) -> None:
        line = http.client.HTTPConnection("127.0.0.1", client.port, PATIENCE)
        line.putrequest("POST", "/sonic/v1/animations")
        line.putheader("Content-Type", "application/json")
        line.putheader("Content-Length", str(500 * 10**6))
        line.endheaders()
        answer = line.getresponse()
        found = Answer(answer.status, answer.read(), {})
        line.close()
        assert refusal(found) == (413, "TooLarge", "The request is larger than 400 MB.")

    def test_what_turns_out_too_large(self, outputs: Path) -> None:
        with serving(Standalone(outputs), limit=10**6) as client:
            pieces = iter([b'{"video": "', *[b"A" * 100_000] * 9, b'"}'])
            assert client.ask("POST", "/verify", pieces).refusal() == (422, "BadVideo")
            pieces = iter([b'{"video": "', *[b"A" * 100_000] * 10, b'"}'])
            assert client.ask("POST", "/verify", pieces).refusal() == (413, "TooLarge")
            assert client.get("/animations").status == 200

    def test_the_line_has_an_end(self, outputs: Path, minute: str, sonic_home: Path) -> None:
        host = Standalone(outputs)
        with serving(host, worker=Worker(host, limit=1)) as client:
            client.until(client.begin(**SOURCE | {"audio": minute}), "running")
            client.begin(**SOURCE)
            assert client.post("/animations", SOURCE).refusal() == (503, "Busy")
            assert len(uploads(sonic_home)) == 3  # a minute, a second, and one portrait


class TestExport:
    """The gate."""

    @pytest.mark.parametrize(
        ("body", "status", "kind"),
        [
            (None, 403, "ConsentMissing"),
            ({}, 403, "ConsentMissing"),
            ({"consent": None}, 403, "ConsentMissing"),
            ({"consent": {}}, 403, "ConsentMissing"),
            ({"consent": {"face": "self"}}, 403, "ConsentMissing"),
            ({"consent": {"face": "mine", "voice": "self"}}, 403, "ConsentMissing"),
            ({"consent": CONSENT | {"expires": "2020-01-01"}}, 403, "ConsentExpired"),
            ({"consent": CONSENT | {"portrait_sha256": "ab" * 32}}, 403, "ConsentMissing"),
            ({"consent": CONSENT | {"face": 5}}, 422, "BadInput"),
            ({"consent": CONSENT, "path": "/tmp/x.mp4"}, 422, "BadInput"),
        ],
    )
    def test_refused(
        self, client: Client, made: str, outputs: Path, body: Any, status: int, kind: str
    ) -> None:
        assert client.post(f"/animations/{made}/export", body).refusal() == (status, kind)
        assert client.get(f"/animations/{made}/video").refusal() == (409, "WrongTime")
        assert not list(outputs.glob("*"))

    @pytest.mark.parametrize("name", ["portrait_sha256", "portrait_pixel_sha256"])
    def test_consent_may_name_the_portrait(self, client: Client, made: str, take: Take, name: str) -> None:
        consent = CONSENT | {"portrait_sha256": getattr(take, name).upper()}
        assert client.post(f"/animations/{made}/export", {"consent": consent}).status == 200

    def test_revoked(self, client: Client, made: str, take: Take) -> None:
        Ledger().revoke(take.portrait_sha256)
        answer = client.post(f"/animations/{made}/export", {"consent": CONSENT})
        assert answer.refusal() == (403, "ConsentRevoked")

    def test_revoked_before_the_work(self, client: Client) -> None:
        Ledger().revoke(sha256(PORTRAIT.read_bytes()))
        answer = client.post("/animations", SOURCE | {"consent": CONSENT})
        assert answer.refusal() == (403, "ConsentRevoked")

    def test_damaged_ledger(self, client: Client, made: str) -> None:
        Ledger().records()
        (Ledger().folder / "key").unlink()
        answer = client.post(f"/animations/{made}/export", {"consent": CONSENT})
        assert answer.refusal() == (409, "Tampered")

    def test_files_that_are_gone(self, client: Client, made: str, take: Take, outputs: Path) -> None:
        name = client.post(f"/animations/{made}/export", {"consent": CONSENT}).json["name"]
        (outputs / name).unlink()
        take.preview.unlink()
        for kind in ("video", "preview"):
            assert client.get(f"/animations/{made}/{kind}").refusal() == (404, "NotFound")

    def test_uploads_are_private(self, client: Client, made: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from sonic_ext.app import api

        seen: list[tuple[int, int]] = []

        def look(queue: Any, job_id: str, destination: Any, where: Any, configuration: Any) -> Any:
            path = where(destination.evidence)
            seen.append((stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)))
            raise BadInput("Seen.", "Go on.")

        monkeypatch.setattr(api, "export", look)
        body = {"consent": CONSENT | {"evidence": TEXT}}
        assert client.post(f"/animations/{made}/export", body).refusal() == (422, "BadInput")
        assert seen == [(0o600, 0o700)]


class TestInterrupted:
    """What a WebUI that was closed had begun waits for somebody's word."""

    def test_goes_on_when_asked_to(self, outputs: Path, sonic_home: Path) -> None:
        job = submitted(Queue())
        Queue().hold(job.lane, [job.origin])
        with serving(Standalone(outputs)) as client:
            told = client.get(f"/animations/{job.id}").json
            assert (told["state"], told["held"], told["position"]) == ("queued", True, 0)
            answer = client.post(f"/animations/{job.id}/resume", {})
            assert (answer.status, answer.json["held"]) == (200, False)
            assert client.ended(job.id)["error"]["error"] == "BadPortrait"  # it was begun: it is no picture
            assert client.post(f"/animations/{job.id}/resume", {}).json["state"] == "failed"
            assert client.post("/animations/abc/resume", {}).refusal() == (404, "NotFound")


class TestPoster:
    """A picture for lists."""

    def test_shows_what_the_preview_shows(self, client: Client, made: str, take: Take) -> None:
        answer = client.get(f"/animations/{made}/poster")
        assert answer.headers["content-type"] == "image/jpeg"
        shown = np.asarray(Image.open(io.BytesIO(answer.body)), np.int16)
        frames = [*read_frames(take.preview)]
        assert np.abs(shown - frames[0]).mean() < 4
        assert answer.headers["cache-control"] == "private, no-store"
        assert client.get("/animations").json["animations"][0]["poster"].endswith(f"/{made}/poster")

    def test_where_there_is_none(self, client: Client, made: str, take: Take) -> None:
        take.preview.unlink()
        assert client.get(f"/animations/{made}/poster").refusal() == (404, "NotFound")
        assert client.get("/animations/abc/poster").refusal() == (404, "NotFound")


class TestFrame:
    """A picture for img2img."""

    def test_is_the_one_that_is_shown_then(self, client: Client, made: str, take: Take) -> None:
        frames = [*read_frames(take.preview)]
        for at, number in (("", 0), ("?at=0", 0), (f"?at={1 / take.fps}", 1), ("?at=1e9", -1), ("?at=-1", 0)):
            answer = client.get(f"/animations/{made}/frame{at}")
            assert answer.headers["content-type"] == "image/png"
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.body))), frames[number]), at
        ledger = Ledger()
        ledger.revoke(ledger.record(Consent(face="self", voice="self"), take).id)
        with pytest.raises(Refused):
            ledger.refuse_revoked(pixel_digest(frames[1]))  # it is known whose it is

    def test_what_is_no_time(self, client: Client, made: str) -> None:
        for at in ("nan", "inf", "x"):
            assert client.get(f"/animations/{made}/frame?at={at}").refusal() == (422, "BadInput")


class TestRanges:
    """What players ask for."""

    @pytest.mark.parametrize(
        ("asked", "start", "stop"),
        [("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=0-", 0, None)],
    )
    def test_part(
        self, client: Client, made: str, take: Take, asked: str, start: int, stop: int | None
    ) -> None:
        whole = take.preview.read_bytes()
        answer = client.get(f"/animations/{made}/preview", Range=asked)
        assert (answer.status, answer.body) == (206, whole[start:stop])
        first = range(len(whole))[start]
        last = first + len(answer.body) - 1
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"

    @pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "lines=1-2", "bytes=0-1,5-6", "bytes=x-y"])
    def test_what_is_no_range_gets_the_whole(self, client: Client, made: str, take: Take, asked: str) -> None:
        answer = client.get(f"/animations/{made}/preview", Range=asked)
        assert (answer.status, answer.body) == (200, take.preview.read_bytes())
        assert answer.headers["accept-ranges"] == "bytes"

    @pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
    def test_after_the_end(self, client: Client, made: str, take: Take, asked: str) -> None:
        answer = client.get(f"/animations/{made}/preview", Range=asked)
        assert answer.refusal() == (416, "BadInput")
        assert answer.headers["content-range"] == f"bytes */{take.preview.stat().st_size}"


@given(asked=st.from_regex(r"\Abytes=\d{0,3}-\d{0,3}\Z", fullmatch=True), size=st.integers(1, 500))
def test_no_range_leaves_the_file(asked: str, size: int) -> None:
    part = part_of(asked, size)
    if part is not None and part[0] < part[1]:
        assert 0 <= part[0] < part[1] <= size


@given(
    data=st.binary(min_size=1), width=st.integers(1, 80), kind=st.sampled_from(["", "data:image/png;base64,"])
)
def test_base64_in_any_lines_is_read(data: bytes, width: int, kind: str) -> None:
    text = base64.b64encode(data).decode()
    lines = "\r\n".join(text[at : at + width] for at in range(0, len(text), width))
    assert decoded(kind + lines, "file") == data


@given(text=st.text())
def test_what_is_no_base64_is_bad_input(text: str) -> None:
    try:
        assert decoded(text, "file")
    except BadInput as error:
        assert error.message in ("file is not base64.", "file is empty (0 bytes).")


class Painter:
    """Stands in for a WebUI's txt2img and img2img: it paints the shipped portrait."""

    def __init__(self, synthetic: bool) -> None:
        self.synthetic = synthetic
        self.asked: list[tuple[dict[str, Any], bytes | None]] = []

    def samplers(self) -> Sequence[str]:
        """One."""
        return ["Euler"]

    def check(self, parameters: Mapping[str, Any], source: bytes | None) -> None:
        """Refuses what a WebUI would."""
        if "colour" in parameters:
            raise BadInput("There is no parameter 'colour'.", "See the WebUI's own API.")

    def make(
        self, parameters: Mapping[str, Any], source: bytes | None, progress: Progress
    ) -> Sequence[MadePortrait]:
        """The shipped portrait as PNG."""
        self.asked.append((dict(parameters), source))
        progress.report(Step("painting", 1, 1))
        encoded = io.BytesIO()
        Image.open(PORTRAIT).save(encoded, "PNG")
        if self.synthetic:
            Ledger().remember_synthetic(read_portrait(PORTRAIT).pixel_sha256, "txt2img")
        return [MadePortrait(encoded.getvalue(), "a portrait\nSteps: 1", self.synthetic)]


class WithPainter(Standalone):
    """A host that makes portraits, and where the user chose a default."""

    def __init__(self, outputs: Path, synthetic: bool = True) -> None:
        super().__init__(outputs)
        self.portraits = self.painter = Painter(synthetic)

    def defaults(self) -> Mapping[str, Any]:
        """As on a settings page."""
        return {"label_place": "bottom_left"}


class TestInsideAWebUI:
    """The portrait is made in the same turn as the video."""

    def test_words_become_a_video_of_nobody(self, outputs: Path, sonic_home: Path) -> None:
        host, rest = WithPainter(outputs), {name: SOURCE[name] for name in ("audio", "settings")}
        with serving(host) as client:
            found = client.ended(client.begin(txt2img={"prompt": "a face", "steps": 1}, **rest))
            assert found["state"] == "done", found
            assert (found["portrait_synthetic"], found["infotext"]) == (True, "a portrait\nSteps: 1")
            assert Store().load(found["take"]["id"]).settings.label_place == "bottom_left"
        assert host.painter.asked == [({"prompt": "a face", "steps": 1}, None)]
        until_collected(sonic_home)

    def test_picture_of_somebody_stays_one(self, outputs: Path) -> None:
        host, rest = WithPainter(outputs, synthetic=False), {n: SOURCE[n] for n in ("audio", "settings")}
        with serving(host) as client:
            body = {"prompt": "older", "init_images": [SOURCE["portrait"]]}
            found = client.ended(client.begin(img2img=body, **rest))
        assert (found["state"], found["portrait_synthetic"]) == ("done", False)
        assert host.painter.asked == [({"prompt": "older"}, PORTRAIT.read_bytes())]

    def test_a_portrait_alone_is_looked_at_first(self, outputs: Path) -> None:
        host = WithPainter(outputs)
        with serving(host) as client:
            assert client.get("/portraits").json == {"samplers": ["Euler"]}
            assert client.get("/portraits/task").json["state"] == "idle"
            assert client.get("/portraits/picture").refusal() == (409, "WrongTime")
            begun = client.post("/portraits", {"txt2img": {"prompt": "a face"}})
            assert (begun.status, begun.json["what"]) == (202, "portrait")
            ended = until(lambda: client.get("/portraits/task").json, lambda task: task["state"] != "running")
            assert (ended["state"], ended["detail"]) == ("done", "Nobody's face, and known as such.")
            picture = client.get("/portraits/picture")
            assert Image.open(io.BytesIO(picture.body)).size == read_portrait(PORTRAIT).rgb.shape[1::-1]
            body = {"prompt": "older", "init_images": [SOURCE["portrait"]]}
            assert client.post("/portraits", {"img2img": body}).status == 202
            until(lambda: client.get("/portraits/task").json, lambda task: task["state"] == "done")
            assert client.post("/portraits", {}).refusal() == (422, "BadInput")
            assert client.post("/portraits", {"txt2img": {"colour": 1}}).refusal() == (422, "BadInput")
        assert host.painter.asked == [
            ({"prompt": "a face"}, None),
            ({"prompt": "older"}, PORTRAIT.read_bytes()),
        ]

    def test_without_a_webui(self, client: Client) -> None:
        assert client.get("/portraits").json == {"samplers": None}
        assert client.post("/portraits", {"txt2img": {"prompt": "a"}}).refusal() == (503, "MissingPart")

    def test_what_the_webui_refuses(self, outputs: Path) -> None:
        with serving(WithPainter(outputs)) as client:
            answer = client.post("/animations", {"txt2img": {"colour": 1}, "audio": SOURCE["audio"]})
        assert refusal(answer) == (422, "BadInput", "There is no parameter 'colour'.")

    @pytest.mark.parametrize("words", ["a face", [], 5])
    def test_parameters_are_an_object(self, outputs: Path, words: Any) -> None:
        with serving(WithPainter(outputs)) as client:
            answer = client.post("/animations", {"txt2img": words, "audio": SOURCE["audio"]})
            assert refusal(answer) == (422, "BadInput", "txt2img is not an object.")

    @pytest.mark.parametrize("pictures", [None, [], "text", [5], ["a", "b"], ["/etc/passwd.png"]])
    def test_img2img_needs_one_picture(self, outputs: Path, pictures: Any) -> None:
        with serving(WithPainter(outputs)) as client:
            body = {"img2img": {"init_images": pictures}, "audio": SOURCE["audio"]}
            assert client.post("/animations", body).refusal() == (422, "BadInput")

    def test_defaults_of_the_user_are_shown(self, outputs: Path) -> None:
        with serving(WithPainter(outputs)) as client:
            shown = client.get("/settings").json["settings"]["properties"]
        assert shown["label_place"]["default"] == "bottom_left"


class TestQuestions:
    """The routes that begin no job."""

    def test_preflight(self, client: Client, tmp_path: Path, sonic_home: Path) -> None:
        speech = one_second(tmp_path / "speech.wav")
        settings = {"engine": "preview", "min_resolution": 256}
        answer = client.post("/preflight", {**SOURCE, "audio": b64(speech), "settings": settings})
        found = answer.json
        assert (found["engine"], found["frames"], found["seconds"]) == ("preview", 25, 1.0)
        assert found["face_box"][2] > found["face_box"][0]
        picture = base64.b64decode(found["picture"].removeprefix("data:image/png;base64,"))
        assert max(Image.open(io.BytesIO(picture)).size) <= 900
        assert uploads(sonic_home) == []

    def test_preflight_says_what_is_odd_about_the_sound(self, client: Client) -> None:
        voice = sounds.voice()[0]
        inverted, broken = np.stack([voice, -voice], axis=1), bytearray(wav_bytes(voice, 16000))
        broken[-4000:-3996] = np.float32(np.nan).tobytes()
        settings = {"engine": "preview", "min_resolution": 256}
        told, refused = (
            client.post(
                "/preflight", {**SOURCE, "audio": base64.b64encode(data).decode(), "settings": settings}
            )
            for data in (wav_bytes(inverted, 16000), broken)
        )
        assert "cancel each other" in " ".join(told.json["warnings"])
        assert refused.refusal() == (422, "BadAudio")
        assert "NaN" in refused.json["detail"]

    def test_preflight_says_what_animate_would(self, client: Client) -> None:
        settings = QUICK | {"duration_policy": "exact"}
        assert client.post("/preflight", SOURCE | {"settings": settings}).refusal() == (422, "BadSetting")

    def test_verify_takes_a_picture(self, client: Client) -> None:
        found = client.post("/verify", {"video": SOURCE["portrait"]}).json
        assert (found["verdict"], found["watermark"]["frames"]) == ("unmarked", 1)
        assert found["labels"]["sought"] is False

    def test_video_without_marks_and_no_video(self, client: Client) -> None:
        assert client.post("/verify", {"video": TEXT}).refusal() == (422, "BadVideo")
        assert client.post("/verify", {"video": SOURCE["audio"]}).refusal() == (422, "BadVideo")

    def test_sync_of_a_stood_in_measurement(
        self, client: Client, sonic_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = measured_as(monkeypatch, report(track(), track(math.nan, 0.0, note="It does not move.")))
        answer = client.post("/sync", {"video": b64(EXAMPLE / "speech.wav")})
        assert answer.status == 200, answer.body
        found = answer.json
        assert (found["verdict"], found["offset"], found["confidence"]) == ("out of sync", 0.08, 0.93)
        assert found["summary"] == "The mouth comes 80 ms after the voice (confidence 0.93)."
        assert [each["offset"] for each in found["tracks"]] == [0.08, None]
        assert len(found["tracks"][0]["scores"][0]) == len(found["lags"])
        kind, data = found["chart"].split(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size[0] == 1600
        assert str(sonic_home) not in answer.body.decode()
        assert uploads(sonic_home) == [] and not asked[0].exists()

    def test_sync_where_nothing_can_be_measured(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured_as(monkeypatch, report(warnings=("No face was found.",)))
        found = client.post("/sync", {"video": TEXT}).json
        assert (found["verdict"], found["offset"], found["tracks"]) == ("not measured", None, [])
        assert found["reason"] == "No face was found." and found["hint"]

    def test_sync_says_no(self, client: Client, sonic_home: Path) -> None:
        """In a process of its own, with the measurement itself."""
        assert client.post("/sync", {}).refusal() == (422, "BadInput")
        assert client.post("/sync", {"video": "no base64!"}).refusal() == (422, "BadInput")
        assert client.post("/sync", {"video": TEXT}).refusal() == (422, "BadVideo")
        assert client.post("/sync", {"video": SOURCE["portrait"]}).refusal() == (422, "BadVideo")
        assert uploads(sonic_home) == []

    def test_sync_of_a_video(self, client: Client) -> None:
        """A signed one that ships, in a process of its own; short, so it may well not be sure."""
        answer = client.post("/sync", {"video": b64(EXAMPLE / "hello.mp4")})
        assert answer.status == 200, answer.body
        assert answer.json["tracks"] or answer.json["reason"]
        assert answer.json["chart"].startswith("data:image/png;base64,")

    def test_engines(self, client: Client) -> None:
        found = client.get("/engines").json
        preview, sonic = found["engines"]
        assert (found["auto"], preview["ready"], sonic["ready"]) == ("preview", True, False)
        assert "unet" in sonic["detail"] and "sonic weights fetch" in sonic["hint"]

    def test_weights(self, client: Client) -> None:
        found = client.get("/weights").json
        assert found["ready"] is False
        assert {"unet", "vae", "whisper"} <= {part["name"] for part in found["parts"]}

    def test_settings(self, client: Client) -> None:
        found = client.get("/settings").json
        properties = found["settings"]["properties"]
        assert list(properties) == list(describe())
        assert {name: each["default"] for name, each in properties.items()} == Settings().to_dict()
        assert properties["fps"]["enum"] == [25, 50]
        assert (properties["seed"]["minimum"], properties["seed"]["type"]) == (-1, "integer")
        assert {"type": "null"} in properties["face_box"]["anyOf"]
        assert all(each["title"] and each["description"] for each in properties.values())
        assert found["presets"] == PRESETS
        assert found["consent"]["text"] == NOTICE

    def test_a_slow_answer_holds_nobody_up(self, outputs: Path) -> None:
        asked, go_on = threading.Event(), threading.Event()

        class Slow(Standalone):
            def defaults(self) -> Mapping[str, Any]:
                asked.set()
                assert go_on.wait(PATIENCE)
                return {}

        with serving(Slow(outputs)) as client:
            slow = threading.Thread(target=client.post, args=("/preflight", SOURCE))
            slow.start()
            assert asked.wait(PATIENCE)
            assert client.get("/weights").status == 200
            go_on.set()
            slow.join(PATIENCE)

    def test_a_crowd_that_has_pictures_looked_at_holds_nobody_up(self, outputs: Path) -> None:
        """Of more requests than the web framework has threads, a few are worked on, some wait."""
        go_on, answers = threading.Event(), []

        class Slow(Standalone):
            def configuration(self) -> Configuration:
                assert go_on.wait(PATIENCE)
                return super().configuration()

        with serving(Slow(outputs)) as client:
            ask = lambda: answers.append(client.post("/preflight", SOURCE))  # noqa: E731
            crowd = [threading.Thread(target=ask) for _ in range(60)]
            for one in crowd:
                one.start()
            until(lambda: len(answers) == len(crowd) - AT_ONCE - LOOKS_WAITING)
            assert client.get("/settings").status == 200
            assert {answer.refusal() for answer in answers} == {(503, "Busy")}
            refused = len(answers)
            go_on.set()
            for one in crowd:
                one.join(PATIENCE)
        assert [answer.status for answer in answers[refused:]] == [200] * (AT_ONCE + LOOKS_WAITING)

    def test_jobs_of_the_page_are_listed(self, client: Client, made: str, take: Take) -> None:
        (found,) = client.get("/animations").json["animations"]
        assert (found["id"], found["origin"], found["state"]) == (made, "page", "done")
        assert found["warnings"] == list(take.warnings)

    def test_what_the_page_lets_out_is_handed_out(
        self, client: Client, made: str, take: Take, outputs: Path
    ) -> None:
        outputs.mkdir()
        to = Destination(Consent(face="synthetic", voice="synthetic"), folder=str(outputs))
        exported = export_take(client.worker.queue, take, to)
        answer = client.get(f"/animations/{made}/video")
        assert (answer.status, answer.body) == (200, exported.path.read_bytes())
        again = export_take(client.worker.queue, take, to)  # the page may as often as it likes
        assert again.path.is_file() and again.path != exported.path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/animations/nobody"),
        ("DELETE", "/animations/nobody"),
        ("POST", "/animations/nobody/export"),
        ("GET", "/animations/nobody/video"),
        ("GET", "/animations/nobody/preview"),
        ("GET", "/animations/..%2f..%2fetc/video"),
        ("GET", "/nothing"),
        ("PUT", "/animations"),
    ],
)
def test_what_is_not_there(client: Client, method: str, path: str) -> None:
    assert client.ask(method, path).refusal() == (404, "NotFound")


def test_what_nobody_foresaw(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Standalone):
        def defaults(self) -> Mapping[str, Any]:
            raise ZeroDivisionError("private matters")

    with serving(Broken(outputs)) as client:
        answer = client.get("/settings")
        assert answer.refusal() == (500, "Failed")
        assert "private" not in answer.body.decode()
        assert client.get("/weights").status == 200
    assert "private matters" in caplog.text


class TestPassword:
    """--api-auth."""

    @pytest.fixture
    def locked(self, outputs: Path) -> Iterator[Client]:
        with serving(Locked(outputs, {"me": "ge:heim é", "you": "other"})) as opened:
            yield opened

    def test_every_route_asks(self, locked: Client) -> None:
        asked = [
            (method, route.path.replace("{id}", "x").replace("{path:path}", "x"))
            for route in router(locked.worker, Admission()).routes
            for method in sorted(route.methods)
        ]
        assert len(asked) >= 13 and all(path.startswith("/sonic") for _, path in asked)
        for method, path in asked:
            for auth in (None, "me:wrong", "nobody:ge:heim é", ":"):
                answer = Client(locked.port, locked.app, locked.worker, auth).ask(method, path)
                assert answer.status == 401, (method, path)
                if method != "HEAD":
                    assert answer.refusal() == (401, "Unauthorised")
                assert answer.headers["www-authenticate"].startswith("Basic ")
            assert locked.status(method, path) != 401, (method, path)

    def test_nobody_else_sends_half_a_gigabyte(self, locked: Client) -> None:
        stranger = Client(locked.port, locked.app, locked.worker)
        assert stranger.post("/animations", b"{").refusal() == (401, "Unauthorised")

    @pytest.mark.parametrize("header", ["Basic", "Basic !", "Bearer bWU6Z2VoZWlt", "basic bWU=", "x"])
    def test_odd_headers(self, locked: Client, header: str) -> None:
        stranger = Client(locked.port, locked.app, locked.worker)
        assert stranger.get("/weights", Authorization=header).refusal() == (401, "Unauthorised")

    def test_every_user_gets_in(self, locked: Client) -> None:
        you = Client(locked.port, locked.app, locked.worker, "you:other")
        assert you.get("/weights").status == 200


class TestLogin:
    """--gradio-auth, with gradio's own application."""

    USER = "me", "secret"

    def page(self) -> Any:
        gradio = pytest.importorskip("gradio", reason="a WebUI's page needs gradio")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gradio's, about its own web framework
            with gradio.Blocks() as blocks:
                pass
            blocks.auth, blocks.auth_message = [self.USER], None
            app = gradio.routes.App.create_app(blocks)
        everything = app.router.routes[:]
        app.router.routes.clear()  # as a WebUI mounts: what takes every path comes last
        return app, everything

    @contextlib.contextmanager
    def served(self, host: Host, admission: Admission | None = None) -> Iterator[Client]:
        app, everything = self.page()
        with serving(host, app=app, admission=admission) as client:
            app.router.routes.extend(everything)
            yield replace(client, auth=None)

    @pytest.fixture(params=[{}, {"api": "other"}], ids=["alone", "and --api-auth"])
    def locked(self, request: pytest.FixtureRequest, outputs: Path) -> Iterator[Client]:
        with self.served(Locked(outputs, request.param)) as client:
            yield client

    def cookie(self, client: Client) -> str:
        form = urlencode({"username": self.USER[0], "password": self.USER[1]})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", client.port, PATIENCE)) as line:
            line.request("POST", "/login", form, kind)
            answer = line.getresponse()
            assert answer.status == 200, answer.read()
            return str(answer.headers["Set-Cookie"]).partition(";")[0]

    def test_who_is_logged_in_may_ask(self, locked: Client) -> None:
        own = f"127.0.0.1:{locked.port}"
        assert locked.get("/animations").refusal() == (401, "Unauthorised")
        cookie = self.cookie(locked)
        assert locked.get("/animations", Cookie=cookie).status == 200
        assert locked.get("/animations", Cookie=cookie, Origin=f"http://{own}").status == 200
        assert locked.get("/animations", Cookie=cookie, Origin=f"HTTP://{own}").status == 200
        for origin in ("http://evil.example", f"http://evil.{own}", "null", "http://127.0.0.1:1"):
            assert locked.get("/animations", Cookie=cookie, Origin=origin).refusal() == (403, "BadOrigin")
        assert locked.get("/animations", Cookie=cookie[:-3] + "abc").refusal() == (401, "Unauthorised")

    @pytest.mark.parametrize("others", [False, True], ids=["without --api", "with --api"])
    def test_a_token_counts_for_who_is_logged_in(self, outputs: Path, others: bool) -> None:
        with self.served(Standalone(outputs), Admission(token=TOKEN, others=others)) as client:
            shown = {TOKEN_HEADER: TOKEN}
            assert client.get("/animations", **shown).refusal() == (401, "Unauthorised")
            assert client.get("/animations", Cookie=self.cookie(client), **shown).status == 200

    def test_passwords_of_the_api_count_as_before(self, locked: Client) -> None:
        users = locked.worker.host.credentials()
        answer = replace(locked, auth="api:other").get("/animations")
        assert answer.status == (200 if users else 401)


def test_behind_a_webuis_middleware(outputs: Path, clip: Path) -> None:
    """WebUIs look into every answer and catch what is raised; ours must pass unchanged."""
    with serving(Locked(outputs, {"me": "secret"}), around=webuis_middleware) as client:
        made = adopt_clip(Store(), clip, frames=2)
        job = finished(client.worker.queue, made)
        packed = {"Range": "bytes=1-2000", "Accept-Encoding": "gzip"}
        part = client.get(f"/animations/{job.id}/preview", **packed)
        assert (part.status, part.body) == (206, made.preview.read_bytes()[1:2001])
        assert client.post("/animations", {}).refusal() == (422, "BadInput")
        big = {"video": base64.b64encode(bytes(3_000_000)).decode()}
        assert client.post("/verify", big).refusal() == (422, "BadVideo")
        assert Client(client.port, client.app, client.worker).get("/settings").status == 401


def webuis_middleware(app: Any) -> None:
    """As WebUIs have them: compression, and a function around every call."""
    from fastapi.middleware.gzip import GZipMiddleware
    from fastapi.responses import JSONResponse

    @app.middleware("http")
    async def log(request: Any, call_next: Any) -> Any:
        try:
            return await call_next(request)
        except Exception as error:
            return JSONResponse({"error": "theirs", "detail": str(error)}, 500)

    app.add_middleware(GZipMiddleware, minimum_size=1000)


class TestToken:
    """A WebUI's page, which needs no API of the WebUI's."""

    def test_only_the_page_may_ask(self, outputs: Path) -> None:
        with serving(Standalone(outputs), admission=Admission(token=TOKEN, others=False)) as client:
            assert client.get("/animations").refusal() == (403, "PageOnly")
            assert client.post("/animations", b"{").refusal() == (403, "PageOnly")
            for wrong in ("x", TOKEN + "x", "\xe9"):
                assert client.get("/animations", **{TOKEN_HEADER: wrong}).refusal() == (401, "Unauthorised")
            shown, foreign = {TOKEN_HEADER: TOKEN}, {"Origin": "https://a.name.of.its.proxy"}
            assert client.get("/animations", **shown).status == 200
            assert client.get("/animations", **shown, **foreign).refusal() == (403, "BadOrigin")
            behind_a_proxy = foreign | {"Sec-Fetch-Site": "same-origin"}
            assert client.get("/animations", **shown, **behind_a_proxy).status == 200

    def test_no_token_is_no_key(self, outputs: Path) -> None:
        with serving(Standalone(outputs), admission=Admission(others=False)) as client:
            assert client.get("/animations", **{TOKEN_HEADER: ""}).refusal() == (403, "PageOnly")

    def test_beside_an_api_with_a_password(self, outputs: Path) -> None:
        host = Locked(outputs, {"me": "secret"})
        with serving(host, admission=Admission(host.credentials, TOKEN)) as client:
            assert client.get("/animations").status == 200
            nobody = replace(client, auth=None)
            assert nobody.get("/animations").refusal() == (401, "Unauthorised")
            assert nobody.get("/animations", **{TOKEN_HEADER: TOKEN}).status == 200

    def test_other_sites_pages(self, outputs: Path) -> None:
        allowed = Admission(allowed_origin="https://ours.example".__eq__)
        with serving(Standalone(outputs), admission=allowed) as client:
            own = f"http://127.0.0.1:{client.port}"
            for origin, status in ((own, 200), ("https://ours.example", 200), ("https://evil.example", 403)):
                assert client.get("/animations", Origin=origin).status == status, origin
            for site, status in (
                ("same-origin", 200),
                ("none", 200),
                ("same-site", 403),
                ("cross-site", 403),
            ):
                assert client.get("/animations", **{"Sec-Fetch-Site": site}).status == status, site

    @pytest.mark.parametrize(
        ("flags", "others", "origins"),
        [
            ({}, False, []),
            ({"api": True, "cors_allow_origins": "http://a,http://b"}, True, ["http://a", "http://b"]),
            ({"nowebui": True, "cors_allow_origins_regex": r"http://c\d"}, True, ["http://c1"]),
        ],
    )
    def test_as_the_webui_was_started(
        self, outputs: Path, monkeypatch: pytest.MonkeyPatch, flags: Any, others: bool, origins: list[str]
    ) -> None:
        shared = ModuleType("modules.shared")
        monkeypatch.setattr(shared, "cmd_opts", SimpleNamespace(**flags), raising=False)
        for module in (ModuleType("modules"), shared):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(registration, "host", lambda: Standalone(outputs))
        asked = registration.admission(page=True)
        assert (asked.others, asked.token) == (others, registration.page_token())
        every = ("http://a", "http://b", "http://c1", "http://c", "http://c11", "")
        assert [each for each in every if asked.allowed_origin(each)] == origins
        assert registration.admission(page=False).token == ""


class TestBatches:
    """Many videos with one request."""

    def test_the_whole_way(self, client: Client, outputs: Path) -> None:
        one = SOURCE | {"consent": CONSENT, "settings": QUICK | {"duration": 0.2}}
        begun = client.post("/batches", {"jobs": [one, one | {"consent": None}]})
        assert begun.status == 202, begun.body
        batch = begun.json["id"]
        assert begun.headers["location"] == f"/sonic/v1/batches/{batch}"
        assert (begun.json["total"], begun.json["ended"]) == (2, False)
        for animation in begun.json["animations"]:
            client.ended(animation["id"])
        found = client.get(f"/batches/{batch}").json
        assert (found["ended"], found["progress"], found["seconds_left"]) == (True, 1.0, None)
        assert found["counts"] == {"queued": 0, "running": 0, "done": 2, "failed": 0, "cancelled": 0}
        assert [each["export"] is not None for each in found["animations"]] == [True, False]
        assert [each["id"] for each in found["animations"]] == [
            each["id"] for each in begun.json["animations"]
        ]
        listed = client.get("/batches").json["batches"]
        assert listed == [{name: value for name, value in found.items() if name != "animations"}]
        assert client.ask("DELETE", f"/batches/{batch}").json == {"id": batch, "forgotten": True}
        assert client.get(f"/batches/{batch}").refusal() == (404, "NotFound")
        assert client.get("/batches").json == {"batches": []}
        assert (Store().takes(), len(list(outputs.iterdir()))) == ((), 1)

    def test_stopped(self, client: Client, minute: str) -> None:
        long = SOURCE | {"audio": minute, "settings": {"engine": "preview"}}
        batch = client.post("/batches", {"jobs": [long, SOURCE]}).json
        client.until(batch["animations"][0]["id"], "running")
        assert client.ask("DELETE", f"/batches/{batch['id']}").json["id"] == batch["id"]
        assert {client.ended(each["id"])["state"] for each in batch["animations"]} == {"cancelled"}

    def test_there_is_an_end_of_them(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        from sonic_ext.app import api

        monkeypatch.setattr(api, "MAX_WAITING", 1)
        assert client.post("/batches", {"jobs": [SOURCE, SOURCE]}).refusal() == (503, "Busy")
        assert client.get("/batches").json == {"batches": []}

    def test_all_or_none(self, client: Client, sonic_home: Path) -> None:
        wrong = [
            SOURCE,
            SOURCE | {"audio": "!"},
            SOURCE | {"settings": {"fps": 24}},
            SOURCE | {"consent": {"face": "self"}},
        ]
        refused = client.post("/batches", {"jobs": wrong})
        assert (refused.status, refused.json["error"]) == (422, "BadEntries")
        assert [(each["index"], each["error"]) for each in refused.json["entries"]] == [
            (1, "BadInput"),
            (2, "BadSetting"),
            (3, "ConsentMissing"),
        ]
        assert all(each["detail"] and each["hint"] for each in (refused.json, *refused.json["entries"]))
        assert client.get("/batches").json == {"batches": []}
        assert client.get("/animations").json == {"animations": []}
        assert uploads(sonic_home) == []
        for jobs in ([], {}, [1], None, [{"portrait": "x"}]):
            assert client.post("/batches", {"jobs": jobs}).refusal() == (422, "BadInput")

    def test_batches_of_the_command_line_are_its_own(self, client: Client) -> None:
        submitted(client.worker.queue, lane="batch", batch="ab" * 16)
        assert client.get("/batches").json == {"batches": []}
        for method in ("GET", "DELETE"):
            assert client.ask(method, f"/batches/{'ab' * 16}").refusal() == (404, "NotFound")


class TestEvents:
    """A page is told how jobs stand without asking again."""

    @staticmethod
    @contextlib.contextmanager
    def listening(client: Client) -> Iterator[Iterator[tuple[str, Any]]]:
        line = http.client.HTTPConnection("127.0.0.1", client.port, PATIENCE)
        with contextlib.closing(line):
            line.request("GET", "/sonic/v1/events")
            answer = line.getresponse()
            assert answer.headers["Content-Type"].startswith("text/event-stream")

            def told() -> Iterator[tuple[str, Any]]:
                name = ""
                for text in iter(answer.readline, b""):
                    kind, _, value = text.decode("ascii").strip().partition(": ")
                    if kind == "event":
                        name = value
                    elif kind == "data":
                        yield name, json.loads(value)

            yield told()

    def test_from_the_beginning_to_the_end(self, client: Client) -> None:
        with self.listening(client) as told, self.listening(client) as another:
            assert next(told) == next(another) == ("animations", {"animations": []})
            job = client.begin(**SOURCE)
            seen = [next(told)]
            while seen[-1][1]["state"] not in ("done", "failed"):
                seen.append(next(told))
            assert {name for name, _ in seen} == {"animation"} and {each["id"] for _, each in seen} == {job}
            assert seen[-1][1] == client.get(f"/animations/{job}").json
            assert seen[-1][1]["state"] == "done"
            client.ask("DELETE", f"/animations/{job}")
            assert next(told) == ("forgotten", {"id": job, "forgotten": True})
            assert any(name == "forgotten" for name, _ in another)

    def test_who_comes_later_is_told_all(self, client: Client, made: str) -> None:
        with self.listening(client) as told:
            assert next(told) == ("animations", client.get("/animations").json)

    def test_a_line_ends_and_another_begins_anew(
        self, client: Client, made: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So nobody listens on who was logged out meanwhile, and no server waits to end."""
        monkeypatch.setattr(events, "LASTS", 0.0)
        for _ in range(2):
            with self.listening(client) as told:
                assert [name for name, _ in told] == ["animations"]

    def test_what_cannot_be_told_is_an_answer_of_its_own(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def damaged(*arguments: Any, **named: Any) -> Any:
            raise BadInput("The queue is damaged.", "Restore it.")

        monkeypatch.setattr(Queue, "jobs", damaged)
        assert client.get("/events").refusal() == (422, "BadInput")

    def test_what_is_said_stays_on_its_line(self) -> None:
        odd = "one\ntwo\u2028three\u202e"
        name, data, *rest = events.event("animation", {"stage": odd}).decode("ascii").split("\n")
        assert (name, rest) == ("event: animation", ["", ""])
        assert json.loads(data.removeprefix("data: "))["stage"] == odd


class TestConsents:
    """The ledger, for those who may see it."""

    @pytest.fixture
    def record(self, client: Client, made: str) -> str:
        answer = client.post(f"/animations/{made}/export", {"consent": CONSENT | {"subject": "Ada"}})
        assert answer.status == 200, answer.body
        return str(answer.json["record"])

    def test_listed_and_shown(self, client: Client, record: str, take: Take) -> None:
        (listed,) = client.get("/consents").json["records"]
        assert (listed["id"], listed["state"], listed["take"]) == (record, "exported", take.id)
        assert (listed["subject"], listed["face"], listed["expires"]) == ("Ada", "synthetic", None)
        assert client.get(f"/consents/{record}").json == listed
        assert client.get(f"/consents/{record[:6]}").json == listed
        shown = json.loads(json.dumps(Ledger().show(record).to_dict()))
        assert {name: shown.get(name) for name in listed} == listed
        of_a_second = {"face_2", "voice_2", "audio_2_sha256"}
        assert {name for name in listed if name not in shown} == of_a_second
        assert not {"perceptual_hash", "digest", "hash", "prev_hash"} & set(listed)

    def test_taken_back(self, client: Client, record: str, take: Take) -> None:
        answer = client.post(f"/consents/{record}/revoke", {"reason": "asked to"})
        assert answer.status == 200
        assert (answer.json["records"], answer.json["takes"]) == ([record], [take.id])
        assert take.portrait_sha256 in answer.json["hashes"]
        assert client.get(f"/consents/{record}").json["state"] == "revoked"
        (listed,) = client.get("/consents").json["records"]
        assert listed["state"] == "revoked" and listed["revoked_at"] == answer.json["time"]

    def test_taken_back_by_its_whole_id_alone(self, client: Client, record: str, take: Take) -> None:
        for name in (record[:6], take.id):
            assert client.get(f"/consents/{name}").status == 200
            assert client.post(f"/consents/{name}/revoke", {}).refusal() == (404, "NotFound")
        assert client.get(f"/consents/{record}").json["state"] == "exported"

    def test_no_other_site_takes_it_back(self, client: Client, record: str) -> None:
        """A browser asks before it sends JSON to another site, but not before a form or an empty POST."""
        path = f"/consents/{record}/revoke"
        for kind in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            for body in (None, b"{}"):
                headers = {"Content-Type": kind} if kind else {}
                line = http.client.HTTPConnection("127.0.0.1", client.port, PATIENCE)
                with contextlib.closing(line):
                    line.request("POST", f"/sonic/v1{path}", body, headers)
                    assert line.getresponse().status == 415, (kind, body)
        assert client.get(f"/consents/{record}").json["state"] == "exported"

    @pytest.mark.parametrize("path", ["/consents/abcdef", "/consents/abcdef/revoke"])
    def test_what_is_not_there(self, client: Client, record: str, path: str) -> None:
        answer = client.post(path, {}) if path.endswith("revoke") else client.get(path)
        assert answer.refusal() == (404, "NotFound")

    def test_a_damaged_ledger_is_told(self, client: Client, record: str) -> None:
        (Ledger().folder / "key").unlink()
        assert client.get("/consents").refusal() == (409, "Tampered")
        assert client.post(f"/consents/{record}/revoke", {}).refusal() == (409, "Tampered")


class TestFetching:
    """Weights over the API; the Hub is a small server of this computer."""

    LICENCE = "CC BY-NC-SA 4.0"
    BIG = b"\x80\x02" + bytes(12_500_000)

    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TinyHub]:
        pytest.importorskip("httpx", reason="weights are fetched with httpx")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
        with hub_serving(TinyHub({"LeonJoe13/Sonic/RIFE/flownet.pkl": self.BIG})) as running:
            monkeypatch.setenv("HF_ENDPOINT", running.url)
            yield running

    @pytest.fixture(autouse=True)
    def models(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setattr("sonic_ext.weights.find.own_folder", lambda: tmp_path / "models")
        return tmp_path / "models"

    def fetch(self, client: Client, *parts: str, accept: Sequence[str] = (LICENCE,)) -> Answer:
        return client.post("/weights/fetch", {"parts": parts, "accept": accept})

    def ended(self, client: Client) -> Any:
        return until(lambda: client.get("/weights/task").json, lambda told: told["state"] != "running")

    def test_begun_and_done(self, client: Client, hub: TinyHub, models: Path) -> None:
        assert client.get("/weights/task").json["state"] == "idle"
        assert client.ask("DELETE", "/weights/task").json["state"] == "idle"
        begun = self.fetch(client, "rife")
        assert (begun.status, begun.json["what"], begun.json["error"]) == (202, "fetch", None)
        told = self.ended(client)
        assert (told["state"], told["detail"]) == ("done", "Fetched: RIFE HDv3 frame interpolation.")
        assert (models / "RIFE" / "flownet.pkl").read_bytes() == self.BIG
        (rife,) = (each for each in client.get("/weights").json["parts"] if each["name"] == "rife")
        assert rife["state"] == "to convert"

    @pytest.mark.parametrize(
        ("parts", "accept", "said"),
        [
            (["rife"], [], "have not been accepted: CC BY-NC-SA 4.0."),
            (["rife", "vae"], [LICENCE], "have not been accepted: Stability AI Community License."),
            ([], [LICENCE], "No part is chosen."),
            (["face"], [LICENCE], "face"),
        ],
    )
    def test_refused(
        self, client: Client, hub: TinyHub, parts: list[str], accept: list[str], said: str
    ) -> None:
        answer = self.fetch(client, *parts, accept=accept)
        assert answer.status == 422 and said in answer.json["detail"], answer.body
        assert hub.tokens == [] and client.get("/weights/task").json["state"] == "idle"

    def test_one_at_a_time_and_on_where_it_stopped(self, client: Client, hub: TinyHub, models: Path) -> None:
        hub.stop_after = 11_000_000
        self.fetch(client, "rife")
        told = until(lambda: client.get("/weights/task").json, lambda told: told["done"] > 1)
        assert (told["stage"], told["total"]) == ("fetching", len(self.BIG)), told
        assert self.fetch(client, "rife").refusal() == (409, "WrongTime")
        assert client.post("/weights/convert", {}).refusal() == (409, "WrongTime")
        client.ask("DELETE", "/weights/task")
        assert self.ended(client)["state"] == "cancelled"
        hub.stop_after = None
        self.fetch(client, "rife")
        assert self.ended(client)["state"] == "done"
        assert (models / "RIFE" / "flownet.pkl").read_bytes() == self.BIG
        assert hub.ranges[1].startswith("bytes=")

    def test_failure_is_told_in_the_readers_language(self, client: Client, hub: TinyHub) -> None:
        hub.gated = True
        self.fetch(client, "rife")
        told = self.ended(client)
        assert (told["state"], told["error"]["error"]) == ("failed", "MissingPart")
        other = client.get("/weights/task", **{"Accept-Language": "zh"}).json["error"]
        assert other["hint"] != told["error"]["hint"]

    def test_nothing_to_convert(self, client: Client) -> None:
        assert client.post("/weights/convert", {}).status == 202
        assert self.ended(client)["detail"] == "There is nothing to convert."


class TestDescription:
    """OpenAPI."""

    @pytest.fixture
    def told(self, client: Client) -> Any:
        return client.get("/openapi.json").json

    def test_paths(self, told: Any, client: Client) -> None:
        """The table of docs/api.md is the list of routes."""
        text = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
        named = re.findall(r"^\| `(\w+) (/\S+)`", text, re.MULTILINE)
        assert len(named) > 15
        assert {(method.upper(), path) for path, each in told["paths"].items() for method in each} == {
            (method, f"/sonic/v1{path}") for method, path in named
        }
        assert client.app.openapi()["paths"] == told["paths"]

    def test_every_operation_is_complete(self, told: Any) -> None:
        operations = [each for path in told["paths"].values() for each in path.values()]
        assert len({each["operationId"] for each in operations}) == len(operations)
        for each in operations:
            assert each["tags"] == ["Sonic"]
            assert each["summary"] and each["description"]
            assert each["security"] == [{"Password": []}]
            good = [code for code in each["responses"] if code.startswith("2")]
            assert good and all(content_of(each["responses"][code]) for code in good)
            assert {"401", "default"} <= set(each["responses"])
            for code in set(each["responses"]) - set(good):
                schema = content_of(each["responses"][code])["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/SonicProblem"}
        assert told["components"]["securitySchemes"]["Password"]["scheme"] == "basic"

    def test_bodies_are_described(self, told: Any) -> None:
        schemas = told["components"]["schemas"]
        posts = [each["post"] for each in told["paths"].values() if "post" in each]
        assert all("application/json" in each["requestBody"]["content"] for each in posts)
        for name in (
            "AnimationRequest",
            "BatchRequest",
            "ExportRequest",
            "FetchRequest",
            "PreflightRequest",
            "RevokeRequest",
            "SyncRequest",
            "VerifyRequest",
            "SonicConsent",
        ):
            assert schemas[name]["additionalProperties"] is False
            properties = schemas[name]["properties"].items()
            assert all("description" in each or "$ref" in str(each) for _, each in properties), name
        settings = schemas["AnimationRequest"]["properties"]["settings"]["properties"]
        assert list(settings) == list(describe())

    def test_every_reference_leads_somewhere(self, told: Any) -> None:
        names = set(re.findall(r"'#/components/schemas/(\w+)'", str(told)))
        assert names == set(told["components"]["schemas"])


def content_of(response: Any) -> Any:
    """Media type → what is in it."""
    return response.get("content", {})
