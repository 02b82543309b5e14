"""ComfyUI: the nodes, the turn in its queue, page and API on its server, and what no request may name."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import importlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_standin import Comfy, Interrupted, comfy
from patience import PATIENCE, until

import sonic_ext
from sonic_ext.errors import (
    BadAudio,
    BadInput,
    BadPortrait,
    BadSetting,
    BadWeights,
    ConsentRevoked,
    MissingPart,
    NoFace,
    NotFound,
)
from sonic_ext.media.audio import read_speech
from sonic_ext.media.image import pixel_digest, read_portrait

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "sonic_ext" / "assets" / "example"
QUICK = {"min_resolution": 256, "expand_ratio": 0.18, "framing": "whole", "duration_policy": "trim"}
PLAIN = {
    "preset": "as below", "inference_steps": 25, "dynamic_scale": 1.0, "motion_scale": 1.0, "seed": 7,
    "label": "start", "label_place": "auto",
}  # fmt: skip
CONSENT = {"face": "synthetic", "voice": "synthetic"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Comfy]:
    with comfy(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def pack(host: Comfy) -> Any:
    """The nodes, with server and queue running, as after ComfyUI's start."""
    entry = importlib.import_module("sonic_ext.extension.comfy")
    extension = asyncio.run(entry.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    host.classes.update({node.define_schema().node_id: node for node in nodes})
    host.begin()
    return importlib.import_module("sonic_ext.hosts.comfy.pack")


@pytest.fixture(scope="session")
def image() -> Any:
    """The example as LoadImage gives it."""
    rgb = read_portrait(EXAMPLE / "portrait.jpg").rgb
    return rgb[None].astype(np.float32) / 255


@pytest.fixture(scope="session")
def audio() -> dict[str, Any]:
    """The example as LoadAudio gives it."""
    sound = read_speech(EXAMPLE / "speech.wav")
    samples = np.concatenate(list(sound.blocks(sound.rate)))
    return {"waveform": samples.reshape(1, 1, -1), "sample_rate": sound.rate}


def job_of(pack: Any, image: Any, audio: Any, seconds: float = 0.4, **settings: Any) -> Any:
    made = pack.PreDataNode.execute(image, audio, seconds, **{**QUICK, **settings})
    return made.result[0][0]


def take_of(pack: Any, image: Any, audio: Any, **settings: Any) -> Any:
    return pack.GenerateNode.execute(job_of(pack, image, audio), **{**PLAIN, **settings}).result[0]


def asked(host: Comfy, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and what was answered: JSON where it is."""
    data = None if body is None else json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    request = urllib.request.Request(host.address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            status, found, read = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, found, read = error.code, error.headers, error.read()
    with contextlib.suppress(ValueError):
        return status, found, json.loads(read)
    return status, found, read


def uploaded(host: Comfy, name: str, fields: dict[str, str]) -> int:
    """Status of an upload as ComfyUI's page sends one."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'
        for key, text in fields.items()
    ]
    file = f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\nx\r\n--x--\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{host.address}/upload/mask", ("".join(parts) + file).encode(), form)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class TestNodes:
    def test_ids_types_and_category_are_nobody_elses(self, pack: Any) -> None:
        """Those of the older pack are taken: /nodes of it would be replaced, or ours."""
        schemas = [node.define_schema() for node in pack.NODES]
        taken = {
            "SONICTLoader",
            "SONIC_PreData",
            "SONICSampler",
            "MODEL_SONIC",
            "SONIC_PREDATA",
            "DTYPE",
            "SONIC",
        }
        types = {port.type for each in schemas for port in (*each.inputs, *each.outputs)}
        named = {each.node_id for each in schemas} | {each.category for each in schemas} | types
        assert not {name.lower() for name in named} & {name.lower() for name in taken}

    def test_no_node_gives_frames_or_takes_a_consent(self, pack: Any) -> None:
        schemas = [node.define_schema() for node in pack.NODES]
        given = {port.type for each in schemas for port in each.outputs}
        assert given <= {"SONIC_JOB", "SONIC_TAKE", "SONIC_ENGINE", "String", "Float"}
        inputs = {port.id for each in schemas for port in each.inputs}
        stated = {
            "face",
            "voice",
            "purpose",
            "expires",
            "contact",
            "operator",
            "subject",
            "unlike_reason",
            "evidence",
        }
        assert not inputs & stated

    def test_a_portrait_is_known_by_the_pixels_of_its_file(self, pack: Any, image: Any, audio: Any) -> None:
        job = job_of(pack, image, audio)
        assert job.portrait.pixel_sha256 == pixel_digest(read_portrait(EXAMPLE / "portrait.jpg").rgb)

    def test_what_the_video_will_be_is_said(self, pack: Any, image: Any, audio: Any) -> None:
        made = pack.PreDataNode.execute(image, audio, 0.4, **QUICK)
        assert made.ui["text"][0].startswith("256 × 256, 10 frames, 0.40 s")

    def test_settings_change_before_the_video_is_drawn(self, pack: Any, image: Any, audio: Any) -> None:
        job = job_of(pack, image, audio)
        (still,) = pack.CalibrationNode.execute(job, lip_sync_calibration=False).result
        (smooth,) = pack.SmoothingNode.execute(still, motion_smoothing=False, fps=50).result
        settings = smooth.settings
        assert (settings.lip_sync_calibration, settings.motion_smoothing, settings.fps) == (False, False, 50)
        assert job.settings.fps == 25

    def test_each_picture_of_a_batch_becomes_a_job(self, pack: Any, image: Any, audio: Any) -> None:
        two = np.concatenate([image, image[:, :, ::-1]])
        jobs = pack.PreDataNode.execute(two, audio, 0.4, **QUICK).result[0]
        assert len(jobs) == 2 and jobs[0].portrait.pixel_sha256 != jobs[1].portrait.pixel_sha256

    def test_the_picture_without_a_face_is_named(self, pack: Any, image: Any, audio: Any) -> None:
        three = np.concatenate([image, image, np.full_like(image, 0.5)])
        with pytest.raises(NoFace, match=r"^Picture 3 of 3: "):
            pack.PreDataNode.execute(three, audio, 0.4, **QUICK)

    def test_sounds_and_pictures_go_together(self, pack: Any, image: Any, audio: Any) -> None:
        two = {**audio, "waveform": np.concatenate([audio["waveform"]] * 2)}
        for sounds in ((two, None), (two, audio), (audio, two)):
            with pytest.raises(BadInput, match="1 pictures and 2 sounds"):
                pack.PreDataNode.execute(image, sounds[0], 0.4, **QUICK, audio_2=sounds[1])

    @pytest.mark.parametrize(
        "wrong",
        [{}, {"waveform": np.zeros((1, 1, 0)), "sample_rate": 8000}, {"waveform": "x", "sample_rate": 1}],
    )
    def test_what_is_no_audio_is_refused(self, pack: Any, image: Any, wrong: Any) -> None:
        with pytest.raises(BadAudio):
            pack.PreDataNode.execute(image, wrong, 0.4, **QUICK)

    def test_silence_is_refused(self, pack: Any, image: Any) -> None:
        silent = {"waveform": np.zeros((1, 2, 22050), np.float32), "sample_rate": 22050}
        with pytest.raises(BadAudio):
            pack.PreDataNode.execute(image, silent, 0.4, **QUICK)

    @pytest.mark.parametrize("shape", [(0, 64, 64, 3), (1, 64, 64), (1, 64, 64, 2)])
    def test_what_is_no_image_is_refused(self, pack: Any, audio: Any, shape: Any) -> None:
        with pytest.raises(BadPortrait):
            pack.PreDataNode.execute(np.zeros(shape, np.float32), audio, 0.4, **QUICK)

    def test_a_face_box_is_taken_from_text(self, pack: Any, image: Any, audio: Any) -> None:
        assert job_of(pack, image, audio, face_box=" ").settings.face_box is None
        with pytest.raises(BadSetting):
            job_of(pack, image, audio, face_box="left")
        with pytest.raises(BadSetting, match="there is no second voice"):
            job_of(pack, image, audio, face_box_2="8, 8, 64, 64")

    def test_missing_weights_are_said_by_the_loader(self, pack: Any) -> None:
        settings = {"engine": "sonic", "weights": "installed", "precision": "auto", "decoder": "auto"}
        with pytest.raises(MissingPart):
            pack.LoaderNode.execute(**settings)
        made = pack.LoaderNode.execute(**{**settings, "engine": "preview"})
        assert made.ui["text"] == ["preview"]


class TestTakes:
    def test_a_video_is_made_once_and_let_out_by_consent_alone(
        self, host: Comfy, pack: Any, image: Any, audio: Any
    ) -> None:
        take = take_of(pack, image, audio)
        assert host.bars and all(done <= total for done, total, _ in host.bars)
        assert take_of(pack, image, audio) == take
        waiting = pack.ExportNode.execute(take).ui
        assert not waiting["images"] and "Waits for consent" in waiting["text"][0]
        assert list((host.base / "output").rglob("*.mp4")) == []
        before = pack.ExportNode.fingerprint_inputs()
        assert asked(host, f"/sonic/v1/animations/{take.job}/export", {})[0] == 403
        assert asked(host, f"/sonic/v1/animations/{take.job}/export", {"consent": CONSENT})[0] == 200
        assert pack.ExportNode.fingerprint_inputs() != before
        shown = pack.ExportNode.execute(take).ui
        (file,) = shown["images"]
        assert (host.base / "output" / file["subfolder"] / file["filename"]).is_file()
        assert pack.ExportNode.execute(take).ui == shown
        assert len(list((host.base / "output").rglob("*.mp4"))) == 1

    def test_what_linked_networks_draw_is_no_take_of_before(self, pack: Any, image: Any, audio: Any) -> None:
        values = importlib.import_module("sonic_ext.hosts.comfy.values")
        plain = take_of(pack, image, audio)
        lending = values.NodeEngine({"engine": "preview"}, vae=object())
        job = job_of(pack, image, audio)
        made = pack.GenerateNode.execute(job, **PLAIN, engine=lending).result[0]
        assert made != plain
        assert pack.GenerateNode.execute(job, **PLAIN, engine=lending).result[0] not in (made, plain)

    def test_two_people_speak_and_each_consents(self, host: Comfy, pack: Any, audio: Any) -> None:
        couple = read_portrait(ROOT / "tests" / "data" / "media" / "two_people.jpg").rgb
        couple = couple[None].astype(np.float32) / 255
        silent = {**audio, "waveform": np.zeros_like(audio["waveform"])}
        made = pack.PreDataNode.execute(couple, silent, 0.4, **QUICK, audio_2=audio)
        assert "The first voice is silent: that person only listens." in made.ui["text"][0]
        (take,) = pack.GenerateNode.execute(made.result[0][0], **PLAIN).result
        (other,) = pack.GenerateNode.execute(job_of(pack, couple, audio, audio_2=silent), **PLAIN).result
        assert other.id != take.id
        address = f"/sonic/v1/animations/{take.job}"
        assert asked(host, address)[2]["take"]["persons"] == 2
        assert asked(host, f"{address}/export", {"consent": CONSENT})[0] == 403
        second = {"face_2": "synthetic", "voice_2": "synthetic"}
        assert asked(host, f"{address}/export", {"consent": CONSENT | second})[0] == 200
        sonic = importlib.import_module("sonic_ext.hosts.comfy.values").NodeEngine({"engine": "sonic"})
        with pytest.raises(MissingPart, match="weights"):
            pack.GenerateNode.execute(made.result[0][0], **PLAIN, engine=sonic)

    def test_another_seed_is_another_video(self, pack: Any, image: Any, audio: Any) -> None:
        assert take_of(pack, image, audio) != take_of(pack, image, audio, seed=8)

    def test_what_was_taken_back_is_not_shown_as_exported(
        self, host: Comfy, pack: Any, image: Any, audio: Any
    ) -> None:
        take = take_of(pack, image, audio)
        done = asked(host, f"/sonic/v1/animations/{take.job}/export", {"consent": CONSENT})[2]
        before = pack.ExportNode.fingerprint_inputs()
        assert asked(host, f"/sonic/v1/consents/{done['record']}/revoke", {})[0] == 200
        assert pack.ExportNode.fingerprint_inputs() != before
        with pytest.raises(ConsentRevoked):
            pack.ExportNode.execute(take)
        with pytest.raises(ConsentRevoked):
            take_of(pack, image, audio, seed=9)

    def test_a_take_that_is_gone_is_made_again(self, pack: Any, image: Any, audio: Any) -> None:
        making = importlib.import_module("sonic_ext.hosts.comfy.making")
        take = take_of(pack, image, audio)
        assert pack.GenerateNode.fingerprint_inputs() == []
        making.store().discard(take.id)
        assert pack.GenerateNode.fingerprint_inputs() == [take.id]
        with pytest.raises(NotFound):
            pack.ExportNode.execute(take)
        with pytest.raises(NotFound):
            pack.SyncScoreNode.execute(take=take)
        again = take_of(pack, image, audio)
        assert again.id != take.id
        assert pack.GenerateNode.fingerprint_inputs() == [take.id]

    def test_an_exported_file_that_is_gone_is_said(
        self, host: Comfy, pack: Any, image: Any, audio: Any
    ) -> None:
        take = take_of(pack, image, audio)
        asked(host, f"/sonic/v1/animations/{take.job}/export", {"consent": CONSENT})
        for path in (host.base / "output").rglob("*.mp4"):
            path.unlink()
        with pytest.raises(NotFound, match="not there any more"):
            pack.ExportNode.execute(take)

    def test_interrupt_stops_it_in_comfyuis_own_way(
        self, host: Comfy, pack: Any, image: Any, audio: Any
    ) -> None:
        job = job_of(pack, image, audio)
        host.interrupted = True
        with pytest.raises(Interrupted):
            pack.GenerateNode.execute(job, **PLAIN)
        assert not host.interrupted
        assert pack.GenerateNode.execute(job, **PLAIN).result

    def test_a_preset_sets_the_steps(self, pack: Any, image: Any, audio: Any) -> None:
        making = importlib.import_module("sonic_ext.hosts.comfy.making")
        take = take_of(pack, image, audio, preset="fast")
        settings = making.worker().queue.find(take.job).spec.settings
        assert (settings.inference_steps, settings.solver, settings.min_resolution) == (6, "dpmpp_2m", 256)

    def test_what_an_earlier_start_left_goes_on(self, host: Comfy, image: Any, audio: Any) -> None:
        pack = importlib.import_module("sonic_ext.hosts.comfy.pack")
        making = importlib.import_module("sonic_ext.hosts.comfy.making")
        job, left = job_of(pack, image, audio), []
        with pytest.MonkeyPatch.context() as patch:

            def dying(self: Any, spec: Any, staged: Any, host: Any) -> Any:
                left.append(self.queue.submit(spec, staged, lane=host.lane, worker="of a dead process"))
                raise KeyboardInterrupt

            patch.setattr("sonic_ext.jobs.Worker.run", dying)
            with pytest.raises(KeyboardInterrupt):
                pack.GenerateNode.execute(job, **PLAIN)
        making.worker().close()
        making.worker.cache_clear()  # ComfyUI is started again
        take = pack.GenerateNode.execute(job, **PLAIN).result[0]
        assert take.job == left[0].id

    def test_marks_and_lip_sync_are_read(self, host: Comfy, pack: Any, image: Any, audio: Any) -> None:
        class Video:
            """ComfyUI's VideoFromFile."""

            def get_stream_source(self) -> str:
                return str(EXAMPLE / "hello.mp4")

        verdict, report = pack.VerifyNode.execute(video=Video()).result
        assert verdict == "unknown signer" and "watermark" in report.lower()
        offset, confidence, _ = pack.SyncScoreNode.execute(video=Video()).result
        assert abs(offset) < 80 and confidence > 0.5
        for node in (pack.VerifyNode, pack.SyncScoreNode):
            with pytest.raises(BadInput):
                node.execute()


class TestTurns:
    def test_the_pages_video_waits_in_comfyuis_queue(self, host: Comfy, pack: Any) -> None:
        host.queue.hold.clear()
        begun = self._begin(host)
        address = f"/sonic/v1/animations/{begun['id']}"
        until(lambda: host.queue.waiting)
        assert asked(host, address)[2]["state"] == "queued"
        host.queue.hold.set()
        until(lambda: asked(host, address)[2]["ended"])
        assert asked(host, address)[2]["state"] == "done"
        assert list(host.queue.done.values()) == [None]

    def test_deleted_from_the_queue_it_is_cancelled(self, host: Comfy, pack: Any) -> None:
        host.queue.hold.clear()
        begun = self._begin(host)
        until(lambda: host.queue.waiting)
        host.queue.waiting.clear()
        until(lambda: asked(host, f"/sonic/v1/animations/{begun['id']}")[2]["ended"])
        assert asked(host, f"/sonic/v1/animations/{begun['id']}")[2]["state"] == "cancelled"

    def test_cancelled_on_the_page_it_leaves_the_queue(self, host: Comfy, pack: Any) -> None:
        host.queue.hold.clear()
        begun = self._begin(host)
        until(lambda: host.queue.waiting)
        making = importlib.import_module("sonic_ext.hosts.comfy.making")
        making.worker().queue.cancel(begun["id"])
        until(lambda: not host.queue.waiting)

    def test_a_turn_of_an_earlier_start_does_nothing(self, pack: Any) -> None:
        with pytest.raises(Interrupted):
            pack.TurnNode.execute(turn="of yesterday")

    def _begin(self, host: Comfy) -> Any:
        files = {"portrait": EXAMPLE / "portrait.jpg", "audio": EXAMPLE / "speech.wav"}
        body = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
        short = {"min_resolution": 256, "duration": 0.4, "duration_policy": "trim"}
        status, _, begun = asked(host, "/sonic/v1/animations", body | {"settings": short})
        assert status == 202, begun
        return begun


@pytest.mark.parametrize("home", [True, False])
def test_what_keeps_the_page_away_is_said_there(
    host: Comfy, home: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private home that ComfyUI serves, or a package that is missing: nodes are there all the same."""
    if home:
        monkeypatch.setenv("SONIC_HOME", str(host.base / "output" / "sonic"))
    else:
        monkeypatch.setitem(sys.modules, "fastapi", None)
        package = importlib.import_module("sonic_ext.app")
        for name in [name for name in sys.modules if name.startswith("sonic_ext.app.")]:
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(package, name.rpartition(".")[2], raising=False)
    entry = importlib.import_module("sonic_ext.extension.comfy")
    extension = asyncio.run(entry.comfy_entrypoint())
    assert len(asyncio.run(extension.get_node_list())) == 9
    host.begin()
    for path in ("/sonic/page/app.js", "/sonic/v1/engines"):
        status, _, told = asked(host, path)
        assert status == 503
        assert ("hands out" if home else "fastapi is not installed") in told["detail"] and told["hint"]


def test_the_registry_is_told_what_this_is() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    with (ROOT / "pyproject.toml").open("rb") as file:
        told = tomllib.load(file)
    assert told["project"]["version"] == sonic_ext.__version__
    assert told["tool"]["comfy"]["DisplayName"]
    assert "web" not in told["tool"]["comfy"]  # beside WEB_DIRECTORY every script would be loaded twice


class TestServer:
    def test_page_and_api_answer(self, host: Comfy, pack: Any) -> None:
        status, headers, text = asked(host, "/sonic/page/app.js")
        assert (status, headers["Content-Type"]) == (
            200,
            "text/javascript; charset=utf-8",
        ) and b"sonic-app" in text
        assert asked(host, "/sonic/page/app.js", If_None_Match=headers["ETag"])[0] == 304
        assert asked(host, "/sonic/v1/engines")[2]["auto"] == "preview"
        assert asked(host, "/sonic/v1/nothing")[0] == 404

    def test_other_sites_are_not_let_in(self, host: Comfy, pack: Any) -> None:
        for origin in ("null", "http://evil.example", "http://127.0.0.1:1"):
            assert asked(host, "/sonic/v1/consents", Origin=origin)[0] == 403
        assert asked(host, "/sonic/v1/consents", Sec_Fetch_Site="cross-site")[0] == 403

    def test_events_come_one_by_one_and_end_with_the_client(self, host: Comfy, pack: Any) -> None:
        with urllib.request.urlopen(f"{host.address}/sonic/v1/events", timeout=PATIENCE) as line:
            assert line.readline().startswith(b"retry:")
        until(lambda: asked(host, "/sonic/v1/engines")[0] == 200)

    def test_what_is_private_is_neither_served_nor_put_into_a_prompt(
        self, host: Comfy, pack: Any, image: Any, audio: Any, tmp_path: Path
    ) -> None:
        making = importlib.import_module("sonic_ext.hosts.comfy.making")
        master = making.store().load(take_of(pack, image, audio).id).master
        folder = host.base / "output" / "sub"
        folder.mkdir()
        (folder / "link.mp4").symlink_to(master)
        (host.base / "output" / "link.mp4").symlink_to(master)
        around = os.path.relpath(master, host.base / "input")
        for address in (
            "/view?filename=link.mp4&type=output",
            "/view?filename=link.mp4&subfolder=sub&type=output",
            f"/experiment/models/preview/checkpoints/0/{urllib.request.quote(str(master), safe='')}",
        ):
            assert asked(host, address)[0] == 403, address
        quoted = urllib.request.quote(str(master.with_name("portrait.x")), safe="")
        assert (
            asked(host, f"/experiment/models/preview/checkpoints/0/{quoted}")[0] == 403
        )  # it globs portrait.*
        names = [str(master), around, f"{around} [input]", "link.mp4 [output]", f"file://{master}"]
        for name in (*names, f"{master}X[output]", f'{master}"[input]', "link.mp4X[output]"):
            prompt = {"1": {"class_type": "LoadVideo", "inputs": {"file": name}}}
            status, _, answer = asked(host, "/prompt", {"prompt": prompt})
            assert status == 403 and "private" in answer["error"]["message"], name
        for kind in ("text/plain", "application/json; charset=utf-16", "multipart/form-data; boundary=x"):
            coded = json.dumps({"prompt": prompt}).encode("utf-16" if "utf-16" in kind else "utf-8")
            request = urllib.request.Request(f"{host.address}/prompt", coded, {"Content-Type": kind})
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(request, timeout=PATIENCE)
        assert asked(host, "/view?filename=portrait.jpg&type=input")[0] == 404
        usual = {"1": {"class_type": "SonicTurn", "inputs": {"turn": "a portrait of a woman"}}}
        assert asked(host, "/prompt", {"prompt": usual})[0] == 200

    def test_uploads_name_nothing_private_either(
        self, host: Comfy, pack: Any, image: Any, audio: Any
    ) -> None:
        making = importlib.import_module("sonic_ext.hosts.comfy.making")
        take = making.store().load(take_of(pack, image, audio).id)
        (host.base / "output" / "link").symlink_to(take.folder, target_is_directory=True)
        host_reference = json.dumps(
            {"filename": take.portrait_file.name, "subfolder": "link", "type": "output"}
        )
        for fields in ({"original_ref": host_reference}, {"subfolder": "link", "type": "output"}):
            assert uploaded(host, "take.json", fields) == 403, fields
        assert (
            uploaded(host, "mine.png", {"subfolder": "faces", "type": "input"}) == 404
        )  # no such route here

    def test_an_error_tells_comfyuis_history_nothing_of_the_person(
        self, pack: Any, image: Any, audio: Any
    ) -> None:
        """It writes down every input of a node that fails."""
        told = str(job_of(pack, image, audio))
        assert len(told) < 5000 and "PNG" not in told

    def test_head_has_no_body(self, host: Comfy, pack: Any) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            for method in ("HEAD", "GET"):
                connection.request(method, "/sonic/v1/engines")
                assert connection.getresponse().read() == b"" or method == "GET"

    def test_a_home_that_comfyui_hands_out_is_refused(
        self, host: Comfy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        making = importlib.import_module("sonic_ext.hosts.comfy.making")
        for name in ("output", "input", "temp", "user", "models/checkpoints"):
            monkeypatch.setenv("SONIC_HOME", str(host.base / name / "sonic"))
            with pytest.raises(BadSetting, match="hands out"):
                making.worker()


class TestLentNetworks:
    def test_a_vae_needs_its_model(self, host: Comfy) -> None:
        devices, values = _devices()
        assert "No VAE" in devices().vae().reason
        with pytest.raises(BadWeights, match="without the MODEL"):
            devices(values.NodeEngine(vae=_vae())).vae()

    @pytest.mark.parametrize(
        ("channels", "scale", "fits"), [(4, 0.18215, True), (4, 0.13025, False), (16, 0.36, False)]
    )
    def test_a_vae_of_other_latents_is_refused(
        self, host: Comfy, channels: int, scale: float, fits: bool
    ) -> None:
        devices, values = _devices()
        own = devices(values.NodeEngine(model=_model(channels, scale), vae=_vae()))
        if fits:
            assert own.vae().vae is not None
            return
        with pytest.raises(BadWeights, match="another latent space"):
            own.require_fitting()

    @pytest.mark.parametrize(
        "odd",
        [
            {"latent_channels": 16},
            {"latent_dim": 3},
            {"downscale_ratio": 4},
            {"first_stage_model": object()},
        ],
        ids=lambda odd: next(iter(odd)),
    )
    def test_a_vae_of_another_build_is_refused_whatever_the_model_is(
        self, host: Comfy, pack: Any, odd: dict[str, Any]
    ) -> None:
        linked = {"model": _model(4, 0.18215), "vae": _vae(**odd)}
        for chosen in ("preview", "auto"):
            with pytest.raises(BadWeights, match="The linked VAE is of another kind"):
                pack.LoaderNode.execute(engine=chosen, **linked)

    def test_an_image_encoder_of_another_kind_is_refused(self, host: Comfy) -> None:
        devices, values = _devices()
        assert devices().image_encoder() is None
        weight = type("Layer", (), {"weight": np.zeros((768, 1024))})
        model = type("Network", (), {"visual_projection": weight})
        wrong = type("ClipVision", (), {"model": model, "image_size": 224})
        with pytest.raises(BadWeights, match="another kind"):
            devices(values.NodeEngine(clip_vision=wrong)).image_encoder()
        weight.weight = np.zeros((1024, 1280))
        assert devices(values.NodeEngine(clip_vision=wrong)).image_encoder().width == 1024


def _model(channels: int, scale: float) -> Any:
    """A MODEL whose latents are scaled so."""
    space = type("Space", (), {"latent_channels": channels, "scale_factor": scale})
    return type("Model", (), {"get_model_object": lambda self, name: space})()


def _vae(**odd: Any) -> Any:
    """A VAE as that of Stable Diffusion 1.5, but for what is odd."""
    network = type("Network", (), {"encoder": object()})()
    built = {"latent_channels": 4, "latent_dim": 2, "downscale_ratio": 8, "first_stage_model": network}
    return type("Vae", (), built | odd)()


def _devices() -> Any:
    module = importlib.import_module("sonic_ext.hosts.comfy.devices")
    return module.ComfyDeviceManager, importlib.import_module("sonic_ext.hosts.comfy.values")
