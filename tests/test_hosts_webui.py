"""The hosts inside a WebUI, against a stand-in for its modules: A1111's kind and Forge's."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import webui_standin
from patience import PATIENCE, until
from PIL import Image
from webui_standin import WebUI

from sonic_ext.configuration import Configuration
from sonic_ext.errors import BadInput, BadSetting, Cancelled, Failed, MissingPart
from sonic_ext.extension import registration, settings_page
from sonic_ext.files.home import private_home
from sonic_ext.hosts import options, portraits, webui_queue
from sonic_ext.hosts.webui_queue import WebUIProgress
from sonic_ext.media.image import read_portrait
from sonic_ext.ports import Host
from sonic_ext.progress import Progress, Silent, Step
from sonic_ext.provenance.ledger import Ledger
from sonic_ext.settings import Settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=["a1111", "forge"])
def ui(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    """Both kinds of WebUI."""
    with webui_standin.webui(tmp_path, monkeypatch, forge=request.param == "forge") as made:
        made.kind = request.param  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def a1111(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    with webui_standin.webui(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    with webui_standin.webui(tmp_path, monkeypatch, forge=True) as made:
        yield made


class Told:
    """A `Progress` that remembers what it was told, and stops when it is told to."""

    def __init__(self, stop: bool = False, task_id: str = "") -> None:
        self.steps: list[Step] = []
        self.asked = threading.Event()
        self.stop = stop
        self.task_id = task_id

    def report(self, step: Step) -> None:
        self.steps.append(step)

    def cancelled(self) -> bool:
        self.asked.set()
        return self.stop


# Choosing


def test_the_host_is_chosen_by_what_there_is(ui: WebUI) -> None:
    host = registration.host()
    assert host.name == ui.kind  # type: ignore[attr-defined]
    assert host is registration.host()
    assert host.devices is registration.held_host().devices


def test_reforge_is_forge_with_other_modules(a1111: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ldm_patched", "ldm_patched.modules", "ldm_patched.modules.model_management"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    assert registration.host().name == "forge"


def test_the_webuis_start_clears_up(a1111: WebUI) -> None:
    """What a killed process had begun: nobody holds its lock."""
    home = private_home()
    home.mkdir(mode=0o700)
    for kind in ("takes", "exports"):
        (home / kind / ("0" * 15 + "1")).mkdir(parents=True)
        (home / kind / ("0" * 15 + "1") / "half.mp4").write_bytes(b"")
    registration.host()
    assert [path.name for kind in ("takes", "exports") for path in (home / kind).iterdir()] == []


def test_a_private_home_that_the_webui_serves_is_refused(
    a1111: WebUI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    a1111.cmd_opts.gradio_allowed_path = [str(tmp_path / "more")]
    monkeypatch.setenv("SONIC_HOME", str(tmp_path / "more" / "home"))
    with pytest.raises(BadSetting, match="hands out"):
        registration.host()


# Queue, state, threads


def test_work_takes_the_lock_once_and_ends_what_it_began(ui: WebUI) -> None:
    def task(progress: Progress) -> str:
        assert ui.lock.held
        assert ui.state.job == "sonic"
        progress.report(Step("drawing frames", 3, 12, 75.0))
        return "done"

    told = Told()
    assert _worked(registration.host(), told, task) == "done"
    assert ui.lock.taken == 1
    assert not ui.lock.held
    assert ui.state.jobs == ["begin sonic", "end sonic"]
    assert told.steps == [Step("drawing frames", 3, 12, 75.0)]


def _worked(host: Host, progress: Progress, task: Any) -> Any:
    """On another thread, as a web server calls it; the main thread of the tests stands for nobody's."""
    box: dict[str, Any] = {}

    def run() -> None:
        try:
            box["value"] = host.work(progress, task)
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if "error" in box:
        raise box["error"]
    return box["value"]


def test_an_error_is_raised_here_and_the_next_job_works(ui: WebUI) -> None:
    def broken(_: Progress) -> None:
        raise KeyError("its own kind")

    host = registration.host()
    with pytest.raises(KeyError, match="its own kind"):
        _worked(host, Silent(), broken)
    assert ui.state.jobs == ["begin sonic", "end sonic"]
    assert _worked(host, Silent(), lambda _: 7) == 7


def test_a_job_that_is_cancelled_in_the_queue_ends_at_once_and_gives_its_place_up(ui: WebUI) -> None:
    ui.lock.acquire()
    with pytest.raises(Cancelled):
        _worked(registration.host(), Told(stop=True), lambda _: pytest.fail("it was cancelled"))
    assert ui.state.jobs == []
    ui.lock.release()
    assert _worked(registration.host(), Silent(), lambda _: "next") == "next"
    assert not ui.lock.held


def test_jobs_that_wait_get_their_turn(ui: WebUI) -> None:
    host, order, waiting = registration.host(), [], Told()
    ui.lock.acquire()
    thread = threading.Thread(target=lambda: host.work(waiting, lambda _: order.append("ours")))
    thread.start()
    assert waiting.asked.wait(PATIENCE)
    order.append("the WebUI's")
    ui.lock.release()
    thread.join(PATIENCE)
    assert order == ["the WebUI's", "ours"]
    assert not ui.lock.held


def test_the_webuis_bar_and_buttons(ui: WebUI) -> None:
    def task(progress: Progress) -> bool:
        progress.report(Step("drawing frames", 3, 12, 75.0))
        assert (ui.state.sampling_step, ui.state.sampling_steps, ui.state.job_count) == (3, 12, 1)
        assert ui.state.textinfo == "Sonic: drawing frames 3/12"
        assert not progress.cancelled()
        ui.state.interrupt()
        assert progress.cancelled()
        ui.state.interrupted = False  # another event of the page has ended meanwhile
        return progress.cancelled()

    assert _worked(registration.host(), Silent(), task)


def test_reload_ui_stops_no_video(ui: WebUI) -> None:
    def task(progress: Progress) -> bool:
        ui.state.request_restart()
        return progress.cancelled()

    for _ in range(2):  # the page's scripts are loaded again by it
        registration.register()
    assert not _worked(registration.host(), Silent(), task)
    assert ui.state.server_command == "restart"
    ui.state.begin("the WebUI's own")
    ui.state.request_restart()
    assert ui.state.interrupted


@pytest.mark.parametrize("button", ["skipped", "stopping_generation"])
def test_skip_and_stop_stop_too(a1111: WebUI, button: str) -> None:
    setattr(a1111.state, button, True)
    assert WebUIProgress(Silent(), a1111.state).cancelled()


def test_the_forecast_begins_anew_with_each_stage(a1111: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webui_queue, "time", SimpleNamespace(time=itertools.count(1.0).__next__))
    mirror = WebUIProgress(Silent(), a1111.state)
    begun = []
    for stage, done in (("preparing", 0), ("drawing frames", 0), ("drawing frames", 1)):
        mirror.report(Step(stage, done, 2))
        begun.append(a1111.state.time_start)
    assert begun == [1.0, 2.0, 2.0]


def test_live_preview_shows_a_picture_a_second(a1111: WebUI) -> None:
    now = [0.0]
    mirror = WebUIProgress(Silent(), a1111.state, lambda: now[0])
    for now[0] in (0.0, 0.5, 1.2):
        mirror.show(np.full((4, 6, 3), round(10 * now[0]), np.uint8))
    assert a1111.state.id_live_preview == 2
    assert a1111.state.current_image.size == (6, 4)
    assert a1111.state.current_image.getpixel((0, 0)) == (12, 12, 12)


def test_a_video_shows_itself_stamped_while_it_is_made(a1111: WebUI) -> None:
    from sonic_ext import pipeline

    example = ROOT / "sonic_ext" / "assets" / "example"
    settings = {"engine": "preview", "min_resolution": 256, "duration": 0.2, "duration_policy": "trim"}
    host = registration.host()
    take = host.work(
        Silent(),
        lambda progress: pipeline.animate(
            example / "portrait.jpg",
            example / "speech.wav",
            settings,
            progress=progress,
            devices=host.devices,
        ),
    )
    assert take.frames == 5
    assert min(a1111.state.current_image.size) == 256
    assert a1111.moves == []  # a preview does not touch the WebUI's models


def test_the_page_can_ask_for_a_job_by_its_task(ui: WebUI) -> None:
    tasks = ui.modules["modules.progress"]
    name = "task(sonic-1)"
    _worked(registration.host(), Told(task_id=name), lambda _: tasks.begun.append("work"))
    assert tasks.begun == [name, "work"]
    assert tasks.finished_tasks == [name]
    assert not tasks.pending_tasks


def test_a_held_host_takes_no_lock_and_leaves_the_bar_as_it_was(ui: WebUI) -> None:
    ui.lock.acquire()
    ui.state.begin("txt2img")
    ui.state.job_count, ui.state.sampling_steps, ui.state.time_start = 4, 20, 12.5

    def task(progress: Progress) -> str:
        progress.report(Step("drawing frames", 1, 2))
        return threading.current_thread().name

    assert registration.held_host().work(Silent(), task) == threading.current_thread().name
    assert (ui.state.job_count, ui.state.sampling_steps, ui.state.time_start) == (4, 20, 12.5)
    assert ui.state.jobs == ["begin txt2img"]
    assert ui.lock.taken == 1


def test_forge_works_on_its_main_thread(forge: WebUI) -> None:
    assert _worked(registration.host(), Silent(), lambda _: threading.current_thread().name) == "forge-main"


def test_forge_runs_inline_where_the_main_thread_asks(forge: WebUI) -> None:
    assert threading.current_thread() is threading.main_thread()
    assert registration.host().work(Silent(), lambda _: "no deadlock") == "no deadlock"


# Portraits


def test_a_portrait_from_words_is_known_as_nobodys(ui: WebUI, tmp_path: Path) -> None:
    made = _made(ui, {"prompt": "a face", "width": 96, "height": 64, "steps": 3, "seed": 0})
    assert len(made) == 1
    assert made[0].synthetic
    assert "Seed: 0" in made[0].infotext
    path = tmp_path / "made.png"
    path.write_bytes(made[0].png)
    assert Image.open(io.BytesIO(made[0].png)).info["parameters"] == made[0].infotext
    portrait = read_portrait(path)
    assert (portrait.width, portrait.height) == (96, 64)
    assert Ledger().is_synthetic(portrait.pixel_sha256)
    job = ui.processed[0]
    assert (job.do_not_save_samples, job.do_not_save_grid, job.is_api, job.closed) == (True,) * 4


def _made(ui: WebUI, parameters: dict[str, Any], source: bytes | None = None, told: Any = None) -> Any:
    host = registration.host()
    assert host.portraits is not None
    make = host.portraits.make
    return _worked(host, told or Silent(), lambda progress: make(parameters, source, progress))


def _png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_img2img_is_synthetic_only_if_its_source_is(ui: WebUI, tmp_path: Path) -> None:
    upload = _made(ui, {"prompt": "a face", "width": 64, "height": 64, "seed": 3}, _png(90))
    assert not upload[0].synthetic
    path = tmp_path / "made.png"
    path.write_bytes(upload[0].png)
    assert not Ledger().is_synthetic(read_portrait(path).pixel_sha256)
    words = _made(ui, {"prompt": "a face", "width": 64, "height": 64, "seed": 5})
    again = _made(ui, {"prompt": "older", "width": 64, "height": 64, "seed": 6}, words[0].png)
    assert again[0].synthetic
    assert ui.processed[0].init_images[0].size == (64, 64)  # type: ignore[attr-defined]


def test_steps_are_told_and_a_stop_interrupts_the_webui(ui: WebUI) -> None:
    told = Told()

    def draw(_: Any) -> None:
        told.stop = True
        ui.state.sampling_step = 2
        until(lambda: ui.state.interrupted)

    ui.draw = draw
    with pytest.raises(Cancelled):
        _made(ui, {"prompt": "a face", "steps": 8}, told=told)
    assert told.steps[0].stage == "making the portrait"
    assert told.steps[0].total == 8
    ui.draw = lambda _: None
    assert _made(ui, {"prompt": "a face", "width": 64, "height": 64})


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"promt": "x"}, "knows no promt"),
        ({"outpath_samples": "/etc"}, "knows no outpath_samples"),
        ({"width": "wide"}, "not a whole number"),
        ({"steps": 151}, "not allowed"),
        ({"cfg_scale": True}, "not a number"),
        ({"prompt": ["a"]}, "not text"),
        ({"sampler_name": "Nobody"}, "no sampler 'Nobody'"),
        ({"alwayson_scripts": {"Sonic": {}}}, "without alwayson_scripts"),
        ({"override_settings": 3}, "no list of settings"),
    ],
)
def test_parameters_that_the_webui_does_not_take(
    a1111: WebUI, parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        _made(a1111, parameters)
    assert a1111.processed == []


def test_sides_are_multiples_of_8_and_samplers_have_other_names(a1111: WebUI) -> None:
    _made(
        a1111, {"width": 70, "height": 64, "sampler_index": "dpm", "send_images": True, "script_name": None}
    )
    assert (a1111.processed[0].width, a1111.processed[0].sampler_name) == (64, "dpm")


def test_pictures_are_saved_where_the_user_wants_it(a1111: WebUI) -> None:
    _made(a1111, {"width": 64, "height": 64, "save_images": True})
    a1111.opts.data["sonic_save_portraits"] = True
    _made(a1111, {"width": 64, "height": 64})
    assert [job.do_not_save_samples for job in a1111.processed] == [False, False]


def test_checkpoints_that_are_not_there(ui: WebUI) -> None:
    with pytest.raises(MissingPart, match="no checkpoint 'other'"):
        _made(ui, {"override_settings": {"sd_model_checkpoint": "other"}})
    models = ui.modules["modules.sd_models"]
    models.checkpoints_list = {}
    with pytest.raises(MissingPart, match="has no checkpoint"):
        _made(ui, {})


def test_a_checkpoint_that_cannot_be_loaded(ui: WebUI) -> None:
    def broken() -> Any:
        raise RuntimeError("the header is cut short")

    models = ui.modules["modules.sd_models"]
    name = "forge_model_reload" if hasattr(models, "forge_model_reload") else "reload_model_weights"
    working = getattr(models, name)
    setattr(models, name, broken)
    with pytest.raises(MissingPart, match="cut short"):
        _made(ui, {})
    setattr(models, name, working)
    assert _made(ui, {"width": 64, "height": 64})


def test_forge_tries_a_failed_checkpoint_again(forge: WebUI) -> None:
    forge.model_data.sd_model, forge.model_data.forge_hash = None, "as before"
    _made(forge, {"width": 64, "height": 64})
    assert forge.model_data.forge_hash == ""


def test_what_goes_wrong_in_the_webui_is_told(ui: WebUI) -> None:
    def draw(_: Any) -> None:
        raise AssertionError("bad number of steps")

    ui.draw = draw
    with pytest.raises(Failed, match="bad number of steps"):
        _made(ui, {})
    assert not ui.lock.held


def test_samplers_but_the_hidden_ones(a1111: WebUI) -> None:
    host = registration.host()
    assert host.portraits is not None
    a1111.modules["modules.sd_samplers"].samplers_hidden = {"Euler"}
    assert host.portraits.samplers() == ["DPM++ 2M"]


# Options, credentials, folders


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", {}),
        ("me:secret", {"me": "secret"}),
        ("me:a:b,you:c", {"me": "a:b", "you": "c"}),
    ],
)
def test_credentials(a1111: WebUI, given: str, expected: dict[str, str]) -> None:
    a1111.cmd_opts.api_auth = given or None
    assert registration.host().credentials() == expected


def test_outputs_by_the_users_pattern(a1111: WebUI, tmp_path: Path) -> None:
    assert registration.host().outputs() == tmp_path / "webui" / "outputs" / "sonic"
    a1111.opts.data["sonic_outputs"] = "videos/[date]/[datetime<%H>]"
    assert options.outputs(datetime(2031, 2, 3, 4, 5)).relative_to(tmp_path) == Path(
        "webui/outputs/videos/2031-02-03/04"
    )
    assert registration.host().outputs().is_dir()


def test_a_pattern_adds_no_folders_through_the_time() -> None:
    assert options.dated("[datetime<%Y/%m>]-[other]", datetime(2031, 2, 3)) == "2031-02-[other]"


def test_defaults_are_settings(a1111: WebUI) -> None:
    host = registration.host()
    assert host.defaults() == {}
    a1111.opts.data |= {
        "sonic_preset": "quick",
        "sonic_label_place": "bottom_left",
        "sonic_label": "off",
        "sonic_precision": "of an older version",
    }
    defaults = dict(host.defaults())
    assert "label" not in defaults  # the page does not offer it: off needs a reason
    assert Settings.from_mapping(defaults).min_resolution == 384
    assert defaults["label_place"] == "bottom_left"
    assert "precision" not in defaults


@pytest.fixture
def page(a1111: WebUI, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebUI]:
    """The settings page as it is added; gradio's part is a name."""
    components = SimpleNamespace(Dropdown="dropdown", Slider="slider")
    compat = SimpleNamespace(gr=components)
    monkeypatch.setitem(sys.modules, "sonic_ext.app.compat", compat)  # type: ignore[arg-type]
    for name in ("MODELS", "C2PA_CERT", "C2PA_KEY", "C2PA_ANCHORS", "C2PA_TSA", "RETENTION_DAYS"):
        monkeypatch.setenv(f"SONIC_{name}", "")
    yield a1111


def test_the_page_has_one_section_and_keeps_paths_from_the_network(page: WebUI) -> None:
    settings_page.add()
    labels = page.opts.data_labels
    assert {info.section for info in labels.values()} == {("sonic", "Sonic")}
    assert {key for key, info in labels.items() if info.restrict_api} == {
        *("sonic_models_path", "sonic_outputs", "sonic_c2pa_certificate", "sonic_c2pa_key"),
        *("sonic_c2pa_anchors", "sonic_c2pa_tsa"),
    }
    assert "off" not in labels["sonic_label"].component_args["choices"]
    assert registration.host().defaults() == {}


def test_a_label_that_says_nothing_of_ai_is_not_taken(page: WebUI) -> None:
    settings_page.add()
    page.opts.set("sonic_label_text", "AI生成 · My Studio")
    assert registration.host().defaults() == {"label_text": "AI生成 · My Studio"}
    page.opts.set("sonic_label_text", "made with love")
    assert registration.host().defaults() == {"label_text": "AI生成 · My Studio"}
    page.opts.set("sonic_label_text", " ")
    assert registration.host().defaults() == {}


def test_the_page_comes_before_the_environment(page: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIC_C2PA_TSA", "http://of.the.environment")
    monkeypatch.setenv("SONIC_RETENTION_DAYS", "3")
    monkeypatch.setenv("SONIC_AIGC_PRODUCER", "001191110102MAC")
    settings_page.add()
    before = dict(os.environ)
    plain = registration.host().configuration()
    assert plain == Configuration.from_environment()
    values = {
        "sonic_models_path": "/models/of mine",
        "sonic_retention_days": 30,
        "sonic_c2pa_certificate": "/keys/chain.pem",
        "sonic_c2pa_key": "/keys/key.pem",
        "sonic_c2pa_anchors": "/lists/C2PA-TRUST-LIST.pem",
        "sonic_c2pa_tsa": "http://tsa.example.com",
    }
    for key, value in values.items():
        page.opts.set(key, value)
    assert registration.host().configuration() == Configuration(
        models="/models/of mine",
        retention_days=30,
        certificate="/keys/chain.pem",
        key="/keys/key.pem",
        anchors="/lists/C2PA-TRUST-LIST.pem",
        time_stamps="http://tsa.example.com",
        producer="001191110102MAC",
    )
    for key, value in values.items():
        page.opts.set(key, 7 if value == 30 else "")
    assert registration.host().configuration() == plain
    assert os.environ == before


def test_the_command_line_names_the_weights_where_the_page_does_not(page: WebUI) -> None:
    page.cmd_opts.sonic_models_path = "/from the flag"
    assert (
        registration.host().configuration().models == "/from the flag"
    )  # also where there is no settings page
    settings_page.add()
    assert registration.host().configuration().models == "/from the flag"
    page.opts.set("sonic_models_path", "/from the page")
    assert registration.host().configuration().models == "/from the page"


# Start-up


def test_registration_asks_for_everything(a1111: WebUI) -> None:
    registration.register()
    asked = {name for name, functions in a1111.callbacks.items() if functions}
    assert {"on_ui_tabs", "on_ui_settings", "on_app_started"} <= asked


@pytest.mark.filterwarnings("ignore")  # gradio's own, about its own libraries
def test_a_part_that_is_missing_is_named_in_the_tab(a1111: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="a WebUI needs gradio: see requirements/gradio4.txt")
    monkeypatch.setattr("sonic_ext.app.file_guard.guard_gradio", lambda configuration: None)
    monkeypatch.setitem(sys.modules, "sonic_ext.app.api", None)
    ((blocks, title, name),) = registration.tabs()
    assert (title, name) == ("Sonic", "sonic")
    said = " ".join(str(getattr(block, "value", "")) for block in blocks.blocks.values())
    assert "is not installed" in said


@pytest.mark.parametrize(
    ("words", "named", "allowed"),
    [
        ({}, "https://a.example", False),
        ({"cors_allow_origins": "https://a.example,https://b.example"}, "https://b.example", True),
        ({"cors_allow_origins": "https://a.example"}, "", False),
        ({"cors_allow_origins_regex": r"https://.*[.]example"}, "https://a.example", True),
        ({"cors_allow_origins_regex": r"https://.*[.]example"}, "https://a.example.org", False),
    ],
)
def test_origins_of_the_command_line(a1111: WebUI, words: dict[str, str], named: str, allowed: bool) -> None:
    vars(a1111.cmd_opts).update(words)
    assert registration.admission(page=True).allowed_origin(named) is allowed


@pytest.mark.parametrize(
    ("words", "page", "others"),
    [({}, True, False), ({"api": True}, True, True), ({"nowebui": True}, False, True)],
)
def test_others_than_the_page_may_ask_where_the_webui_has_an_api(
    a1111: WebUI, words: dict[str, bool], page: bool, others: bool
) -> None:
    vars(a1111.cmd_opts).update(words)
    rule = registration.admission(page)
    assert (rule.others, bool(rule.token)) == (others, page)


def test_registration_survives_a_broken_script(a1111: WebUI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sonic_ext.extension.script", None)
    registration.register()
    assert a1111.callbacks["on_ui_tabs"]


def test_loading_the_extension_brings_in_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, types, webui_standin as s\n"
        "made = s._modules(__import__('pathlib').Path('x'))\n"
        "before = set(sys.modules); sys.modules.update(made.modules)\n"
        "import runpy; runpy.run_path('scripts/sonic.py', run_name='sonic.py')\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    for heavy in ("torch", "diffusers", "gradio", "transformers", "librosa", "cv2", "av"):
        assert f"'{heavy}'" not in done.stdout


def test_step_of_an_idle_bar() -> None:
    idle = SimpleNamespace(job_count=-1, job_no=0, sampling_steps=0, sampling_step=0)
    assert portraits.step_of(idle) == Step("making the portrait", 0, 1)
