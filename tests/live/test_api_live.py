"""The API of a running WebUI, beside the WebUI's own."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from client import QUICK, SMALL, Client, b64
from lasting import holding, process_of, require_as_before
from spoken import MEDIA, one_minute

PORTRAIT = MEDIA / "portrait_01.jpg"
OTHER = MEDIA / "portrait_02.jpg"
pytestmark = pytest.mark.usefixtures("api")
CONSENT = {"face": "synthetic", "voice": "synthetic"}
MINIATURE = {"engine": "sonic", "weights": "miniature", "inference_steps": 2, "min_resolution": 256}


def test_engines_are_listed(webui: Client) -> None:
    engines = {engine["name"]: engine for engine in webui.get("/sonic/v1/engines").json["engines"]}
    assert engines["preview"]["ready"]
    assert set(engines) == {"preview", "sonic"}


def test_from_portrait_to_verified_video(webui: Client, speech: Path) -> None:
    assert webui.picture()[:4] == b"\x89PNG"
    job = webui.begin(PORTRAIT, speech)
    found = webui.ended(job)
    assert found["state"] == "done", found
    assert webui.get(f"/sonic/v1/animations/{job}/video").status in (404, 409)
    refused = webui.post(f"/sonic/v1/animations/{job}/export", {"consent": {}})
    assert refused.status == 403
    assert refused.json["hint"]
    assert webui.post(f"/sonic/v1/animations/{job}/export", {"consent": CONSENT}).status == 200
    video = webui.get(f"/sonic/v1/animations/{job}/video")
    assert video.body[4:8] == b"ftyp"
    told = webui.post("/sonic/v1/verify", {"video": base64.b64encode(video.body).decode()}).json
    assert told["verdict"] == "intact", told
    assert webui.picture()[:4] == b"\x89PNG"


def test_pictures_and_videos_wait_for_each_other(webui: Client, speech: Path) -> None:
    drawn: list[bytes] = []
    painter = threading.Thread(target=lambda: drawn.append(webui.picture(steps=2)))
    painter.start()
    jobs = [webui.begin(portrait, speech) for portrait in (PORTRAIT, OTHER)]
    found = [webui.ended(job) for job in jobs]
    painter.join()
    assert [each["state"] for each in found] == ["done", "done"]
    assert drawn[0][:4] == b"\x89PNG"
    assert [each["portrait_sha256"] for each in found] == [sha256(PORTRAIT), sha256(OTHER)]


def test_interrupt_stops_and_the_next_one_works(webui: Client, speech: Path, tmp_path: Path) -> None:
    job = webui.begin(PORTRAIT, one_minute(tmp_path / "minute.wav"))
    webui.reached(job, "running")
    webui.post("/sdapi/v1/interrupt")
    assert webui.ended(job)["state"] == "cancelled"
    assert webui.ended(webui.begin(PORTRAIT, speech))["state"] == "done"


def test_a_waiting_job_can_be_taken_back(webui: Client, speech: Path, tmp_path: Path) -> None:
    first = webui.begin(PORTRAIT, one_minute(tmp_path / "minute.wav"))
    second, third = webui.begin(OTHER, speech), webui.begin(PORTRAIT, speech)
    webui.reached(first, "running")
    assert [webui.look(job)["position"] for job in (first, second, third)] == [0, 1, 2]
    assert webui.ask("DELETE", f"/sonic/v1/animations/{second}").json["state"] == "cancelled"
    assert webui.look(third)["position"] == 1
    webui.ask("DELETE", f"/sonic/v1/animations/{first}")
    assert webui.ended(first)["state"] == "cancelled"
    assert webui.ended(third)["state"] == "done"


def test_an_upload_is_not_known_as_synthetic(webui: Client, speech: Path) -> None:
    found = webui.ended(webui.begin(PORTRAIT, speech))
    assert found["state"] == "done"
    assert found["portrait_synthetic"] is False


def test_words_alone_make_a_portrait(webui: Client, speech: Path) -> None:
    """Whether there is a face in it depends on the checkpoint; that it was drawn and looked at does not."""
    body = {"audio": b64(speech), "settings": QUICK, "txt2img": SMALL}
    found = webui.ended(webui.post("/sonic/v1/animations", body).json["id"])
    assert found["state"] in ("done", "failed")
    if found["state"] == "done":
        assert found["portrait_synthetic"] is True
    else:
        assert found["error"]["error"] in ("NoFace", "BadPortrait"), found


BAD = {
    "not base64": ({"portrait": "§§", "audio": "§§"}, 422),
    "no portrait": ({"audio": "AAAA"}, 422),
    "two portraits": ({"portrait": "AAAA", "txt2img": {}, "audio": "AAAA"}, 422),
    "unknown setting": ({"portrait": "OK", "audio": "OK", "settings": {"colour": "red"}}, 422),
    "unknown field": ({"portrait": "OK", "audio": "OK", "path": "/etc/passwd"}, 422),
    "text for a picture": ({"portrait": "aGVsbG8=", "audio": "OK"}, 422),
    "unknown field of txt2img": ({"txt2img": SMALL | {"colour": "red"}, "audio": "OK"}, 422),
    "unknown sampler": ({"txt2img": SMALL | {"sampler_name": "Oiler"}, "audio": "OK"}, 422),
    "unknown checkpoint": (
        {"txt2img": {"override_settings": {"sd_model_checkpoint": "nowhere"}}, "audio": "OK"},
        503,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_get_a_sentence_at_once(webui: Client, speech: Path, name: str) -> None:
    body, status = BAD[name]
    real = {"portrait": b64(PORTRAIT), "audio": b64(speech)}
    sent = {key: real[key] if value == "OK" else value for key, value in body.items()}
    answer = webui.post("/sonic/v1/animations", sent)
    assert answer.status == status, answer.body
    assert answer.json["detail"]
    assert webui.get("/sonic/v1/engines").status == 200


def test_half_a_gigabyte_is_refused_before_it_is_read(webui: Client, speech: Path) -> None:
    began = time.monotonic()
    answer = webui.pour("/sonic/v1/animations", 500_000_000)
    assert answer.status == 413, answer.body[:500]
    assert answer.json["hint"]
    assert time.monotonic() - began < 10
    assert webui.ended(webui.begin(PORTRAIT, speech))["state"] == "done"


VAE_SETTINGS = (
    {"sd_vae": "None"},
    {"sd_vae_encode_method": "TAESD", "sd_vae_decode_method": "TAESD"},
)


@pytest.mark.parametrize("chosen", VAE_SETTINGS, ids=("none", "taesd"))
def test_another_vae_setting_of_the_webui_does_no_harm(
    webui: Client, speech: Path, chosen: dict[str, str]
) -> None:
    require_sonic(webui)
    webui.picture()  # and so a checkpoint is there, whose VAE is needed
    options = webui.get("/sdapi/v1/options").json
    if not chosen.keys() <= options.keys():
        pytest.skip("this WebUI has no such setting")
    settings = {"engine": "sonic", "min_resolution": 256, "inference_steps": 1, "decoder": "host"}
    assert webui.post("/sdapi/v1/options", chosen).status == 200
    try:
        found = webui.ended(webui.begin(PORTRAIT, speech, settings=settings))
    finally:
        assert webui.post("/sdapi/v1/options", {key: options[key] for key in chosen}).status == 200
    assert found["state"] == "done", found


def test_every_route_asks_for_the_password(webui: Client) -> None:
    if not webui.auth and not webui.login:
        pytest.skip("the WebUI was started without --api-auth and without --gradio-auth")
    for path, methods in ours(webui).items():
        for method in methods:
            for auth in (None, "wrong:password"):
                answer = webui.stranger().ask(method.upper(), path.replace("{id}", "x"), {}, auth=auth)
                assert answer.status == 401, (method, path)


def ours(webui: Client) -> dict[str, Any]:
    """Paths of this extension that the WebUI documents, or all that are known where it has no page for it."""
    paths = webui.get("/openapi.json").json["paths"]
    found = {path: methods for path, methods in paths.items() if path.startswith("/sonic/v1")}
    assert len(found) >= 9
    return found


def test_memory_comes_back(webui: Client, speech: Path, request: pytest.FixtureRequest) -> None:
    rounds = request.config.getoption("--soak")
    if not rounds:
        pytest.skip("takes long: --soak 10")
    for _ in range(2):  # what is loaded once and kept is no leak
        one_round(webui, speech)
    process = process_of(webui.url)
    before = holding(process)
    for _ in range(rounds):
        one_round(webui, speech)
    require_as_before(process, before)


def one_round(webui: Client, speech: Path) -> None:
    """A video of the sonic engine, by the set that ships, and a picture."""
    job = webui.begin(PORTRAIT, speech, settings=MINIATURE)
    found = webui.ended(job)
    assert found["state"] == "done", found
    webui.ask("DELETE", f"/sonic/v1/animations/{job}")
    webui.picture()


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("weights", ["installed", "miniature"])
def test_the_sonic_engine_works_beside_the_checkpoint(webui: Client, speech: Path, weights: str) -> None:
    """With those that are there, of any size: `tests/tiny_sonic.py` makes a set that a CPU can run; and with
    the miniature that comes with the extension."""
    first = webui.picture()  # and so a checkpoint is there, whose VAE may be needed
    if weights == "installed":
        require_sonic(webui)
    settings = {**MINIATURE, "framing": "crop", "weights": weights}
    found = webui.ended(webui.begin(PORTRAIT, speech, settings=settings))
    assert found["state"] == "done", found
    assert found["take"]["engine"] == "sonic"
    assert webui.picture() == first  # the checkpoint came back as it was


def require_sonic(webui: Client) -> None:
    """Skip without the engine's weights."""
    engines = {engine["name"]: engine for engine in webui.get("/sonic/v1/engines").json["engines"]}
    if not engines["sonic"]["ready"]:
        pytest.skip(f"{engines['sonic']['detail']} {engines['sonic']['hint']}")
