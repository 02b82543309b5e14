"""A stand-in for the modules of a WebUI that the hosts touch, as real ones were seen to behave.

Two kinds: A1111 (models move by themselves, any thread) and Forge (memory manager, main thread). No torch:
models are whatever a test puts there.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE
from PIL import Image


class FifoLock:
    """First come, first served; not re-entrant; no time limit. Counts how often it was taken."""

    def __init__(self) -> None:
        self._lock, self._inner = threading.Lock(), threading.Lock()
        self._pending: deque[threading.Event] = deque()
        self.taken = 0
        self.asked = threading.Event()

    def acquire(self, blocking: bool = True) -> bool:
        with self._inner:
            if self._lock.acquire(False):
                self.taken += 1
                return True
            if not blocking:
                return False
            event = threading.Event()
            self._pending.append(event)
            self.asked.set()
        event.wait()
        self._lock.acquire()
        self.taken += 1
        return True

    def release(self) -> None:
        with self._inner:
            if self._pending:
                self._pending.popleft().set()
            self._lock.release()

    @property
    def held(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class State:
    """`shared.state`; `jobs` tells what began and ended."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.job = ""
        self.current_image: Any = None
        self.id_live_preview = 0
        self.server_command = ""
        self._clear()

    def _clear(self) -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job_count, self.job_no, self.sampling_steps, self.sampling_step = -1, 0, 0, 0
        self.textinfo: str | None = None
        self.time_start: float | None = None

    def begin(self, job: str = "(unknown)") -> None:
        self._clear()
        self.job = job
        self.jobs.append(f"begin {job}")

    def end(self) -> None:
        self.jobs.append(f"end {self.job}")
        self.job, self.job_count = "", 0

    def interrupt(self) -> None:
        self.interrupted = True

    def request_restart(self) -> None:
        self.interrupt()
        self.server_command = "restart"

    def assign_current_image(self, image: Any) -> None:
        self.current_image = image
        self.id_live_preview += 1


class Options:
    """`shared.opts`: attributes, with defaults from `add_option`."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {
            "outdir_samples": "",
            "outdir_grids": "",
            **{
                f"outdir_{kind}_{what}": f"out/{kind}"
                for kind in ("txt2img", "img2img")
                for what in ("samples", "grids")
            },
            "sd_model_checkpoint": "one.safetensors",
        }
        self.data_labels: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__.get("data", {})
        if name in data:
            return data[name]
        raise AttributeError(name)

    def add_option(self, key: str, info: Any) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def set(self, key: str, value: Any) -> None:
        former, self.data[key] = self.data.get(key), value
        try:
            if self.data_labels[key].onchange:
                self.data_labels[key].onchange()
        except Exception:  # whatever it is: the WebUI prints it and goes back
            self.data[key] = former


class OptionInfo:
    """As the WebUI's."""

    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Callable[[], None] | None = None,
        section: tuple[str, str] | None = None,
    ) -> None:
        self.default, self.label, self.component = default, label, component
        self.component_args, self.onchange, self.section = component_args, onchange, section
        self.comment = ""
        self.restrict_api = False

    def info(self, text: str) -> OptionInfo:
        self.comment = text
        return self


@dataclass(repr=False)
class Processing:
    """`StableDiffusionProcessing`, with some of its many arguments."""

    sd_model: object = None
    outpath_samples: str | None = None
    outpath_grids: str | None = None
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    subseed: int = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    override_settings: dict[str, Any] | None = None
    sampler_index: int | None = None
    is_api: bool = field(default=False, init=False)
    closed: bool = field(default=False, init=False)
    scripts: Any = field(default=None, init=False)

    def close(self) -> None:
        self.closed = True


@dataclass(repr=False)
class Txt2Img(Processing):
    """`StableDiffusionProcessingTxt2Img`."""

    enable_hr: bool = False


@dataclass(repr=False)
class Img2Img(Processing):
    """`StableDiffusionProcessingImg2Img`."""

    init_images: list[Any] | None = None
    denoising_strength: float = 0.75
    mask: Any = None


@dataclass
class WebUI:
    """What a test looks at and changes."""

    modules: dict[str, ModuleType]
    state: State
    opts: Options
    lock: FifoLock
    cmd_opts: SimpleNamespace
    callbacks: dict[str, list[Any]]
    model_data: SimpleNamespace
    paint: Callable[[Processing, int], Image.Image]
    """The picture of that number which a job makes."""
    processed: list[Processing] = field(default_factory=list)
    """Jobs of `process_images`."""
    moves: list[str] = field(default_factory=list)
    """What was done to models and memory, in order."""
    draw: Callable[[Processing], None] = lambda job: None
    """Called in the middle of `process_images`."""

    def process_images(self, job: Processing) -> Any:
        """Pictures whose pixels depend on prompt and seed; steps are counted as the WebUI counts."""
        self.processed.append(job)
        count = job.batch_size * job.n_iter
        assert job.scripts.alwayson_scripts == []  # reForge looks without asking whether there is a runner
        self.state.job_count = job.n_iter
        self.state.sampling_steps = job.steps
        self.draw(job)
        self.state.sampling_step = job.steps
        if self.state.interrupted:
            count = 0
        texts = [f"{job.prompt}\nSteps: {job.steps}, Seed: {job.seed + n}" for n in range(count)]
        images = [self.paint(job, n) for n in range(count)]
        return SimpleNamespace(images=images, infotexts=texts, index_of_first_image=0)


def _picture(job: Processing, number: int) -> Image.Image:
    noise = np.random.default_rng(abs(job.seed) + number + len(job.prompt))
    return Image.fromarray(noise.integers(0, 255, (job.height, job.width, 3), dtype=np.uint8))


@contextmanager
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forge: bool = False) -> Iterator[WebUI]:
    """The modules in `sys.modules`, and the host of the process forgotten before and after."""
    from sonic_ext.extension import registration
    from sonic_ext.hosts import webui as hosts

    made = _modules(tmp_path)
    if forge:
        _as_forge(made)
    for name, module in made.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("SONIC_HOME", str(tmp_path / "private home"))
    cached = (registration.host, registration.held_host, registration.worker, hosts.device_manager)
    for each in cached:
        each.cache_clear()
    with _main_thread(made) if forge else _nothing():
        yield made
        if registration.worker.cache_info().currsize:
            registration.worker().close()
    for each in cached:
        each.cache_clear()


def ui_components(forge: bool = False) -> ModuleType:
    """`modules.ui_components`, which needs gradio; how it is made differs between the two kinds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, about each other
        import gradio as gr
        from gradio.context import Context
    newer = not gr.__version__.startswith("3.")

    def init(self: Any, value: Any = None, **given: Any) -> None:
        if Context.root_block is None:  # gradio 4 makes it anew where it gets another value
            gr.Checkbox.__init__(self, value, **given)
            return
        own, self.accordion_id = {**given, "visible": False}, given["elem_id"]
        gr.Checkbox.__init__(self, value, **own | {"elem_id": f"{self.accordion_id}-checkbox"})
        opened = f'checked => inputAccordionChecked("{self.accordion_id}", checked)'
        self.change(None, [self], **{"js" if newer else "_js": opened})
        self.accordion = gr.Accordion(**given, elem_classes=["input-accordion"], open=value)

    def enter(self: Any) -> Any:
        self.accordion.__enter__()
        return self

    parts = {
        "__init__": init,
        "__enter__": enter,
        "__exit__": lambda self, *problem: self.accordion.__exit__(*problem),
        "get_block_name": lambda self: "checkbox",
    }
    with pytest.MonkeyPatch.context() as patch:
        if newer:  # it would write a file beside this one
            patch.setattr("gradio.component_meta.create_or_modify_pyi", lambda *_: None)
        kind = type("InputAccordionImpl" if forge else "InputAccordion", (gr.Checkbox,), parts)
    module = ModuleType("modules.ui_components")
    made = (lambda value=None, **given: kind(value, **given)) if forge else kind
    _fill(module, InputAccordion=made, ToolButton=lambda text, tooltip="", **given: gr.Button(text, **given))
    return module


SAVED_KINDS = ("Slider", "Radio", "Checkbox", "Textbox", "Number", "Dropdown", "Button", "Tabs")
"""Components of which the WebUI's settings page, *Defaults*, keeps something in ui-config.json."""


def ui_config(layout: Any, path: str = "") -> dict[str, Any]:
    """Path → component of all that *Apply* would write: what has a label, buttons, and tabs with an id."""
    children = getattr(layout, "children", None)
    kind = type(layout).__name__
    found: dict[str, Any] = {}
    if children is None:
        label = getattr(layout, "label", None) or (
            getattr(layout, "value", None) if kind == "Button" else None
        )
        name = None if label is None else f"{path}/{label}"
    else:
        name = f"{path}/Tabs@{layout.elem_id}" if kind == "Tabs" and layout.elem_id else None
        for child in children:
            found |= ui_config(child, path)
    if (
        name
        and kind.replace("InputAccordion", "Checkbox").removesuffix("Impl") in SAVED_KINDS
        and not getattr(layout, "do_not_save_to_config", False)
    ):
        found[name] = layout
    return found


def _modules(tmp_path: Path) -> WebUI:
    state, opts, lock = State(), Options(), FifoLock()
    cmd_opts = SimpleNamespace(api_auth=None, gradio_allowed_path=[], sonic_models_path=None)
    data = SimpleNamespace(sd_model=None, loaded_sd_models=[])
    callbacks: dict[str, list[Any]] = {}
    names = ("shared", "call_queue", "progress", "sd_models", "sd_samplers", "processing", "devices")
    more = ("script_callbacks", "infotext_utils", "scripts")
    modules = {f"modules.{name}": ModuleType(f"modules.{name}") for name in (*names, *more)}
    modules |= {
        "modules.paths_internal": ModuleType("modules.paths_internal"),
        "modules": ModuleType("modules"),
    }
    made = WebUI(modules, state, opts, lock, cmd_opts, callbacks, data, _picture)
    info = SimpleNamespace(title="one.safetensors", name_for_extra="one")
    samplers = [SimpleNamespace(name="Euler", aliases=[]), SimpleNamespace(name="DPM++ 2M", aliases=["dpm"])]
    _fill(
        modules["modules.shared"],
        state=state,
        opts=opts,
        cmd_opts=cmd_opts,
        OptionInfo=OptionInfo,
        hide_dirs={"visible": True},
        total_tqdm=SimpleNamespace(clear=lambda: None),
        sd_model=None,
    )
    _fill(modules["modules.call_queue"], queue_lock=lock)
    _fill(modules["modules.infotext_utils"], paste_fields={})
    _fill(modules["modules.scripts"], Script=type("Script", (), {}), AlwaysVisible=object(), scripts_data=[])
    _fill(modules["modules.scripts"], ScriptRunner=lambda: SimpleNamespace(alwayson_scripts=[]))
    _fill(modules["modules.progress"], **_tasks())
    _fill(modules["modules.paths_internal"], data_path=str(tmp_path / "webui"))
    _fill(modules["modules.script_callbacks"], **_callbacks(callbacks))
    _fill(modules["modules.processing"], process_images=made.process_images)
    _fill(modules["modules.processing"], StableDiffusionProcessingTxt2Img=Txt2Img)
    _fill(modules["modules.processing"], StableDiffusionProcessingImg2Img=Img2Img)
    _fill(
        modules["modules.sd_samplers"],
        samplers=samplers,
        all_samplers=samplers,
        samplers_hidden=set(),
        samplers_map={"euler": "Euler", "dpm++ 2m": "DPM++ 2M", "dpm": "DPM++ 2M"},
    )
    _fill(
        modules["modules.devices"],
        device=SimpleNamespace(type="cpu"),
        torch_gc=lambda: made.moves.append("gc"),
    )
    _fill(
        modules["modules.sd_models"],
        model_data=data,
        checkpoints_list={info.title: info},
        checkpoint_aliases={"one": info, info.title: info},
        select_checkpoint=lambda: info,
        reload_model_weights=lambda: _load(made),
        send_model_to_cpu=lambda model: made.moves.append("model to cpu"),
        send_model_to_device=lambda model: made.moves.append("model to device"),
    )
    return made


def _load(made: WebUI) -> None:
    """Loading works, unless a test has put something else in this place."""
    made.model_data.sd_model = made.model_data.sd_model or SimpleNamespace(lowvram=False)


def _fill(module: ModuleType, **values: Any) -> None:
    for name, value in values.items():
        setattr(module, name, value)


def _tasks() -> dict[str, Any]:
    """The WebUI's list of tasks, by which its page asks for the bar."""
    pending: OrderedDict[str, int] = OrderedDict()
    finished: list[str] = []
    tasks: dict[str, Any] = {"pending_tasks": pending, "finished_tasks": finished, "begun": []}

    def start(name: str) -> None:
        pending.pop(name, None)
        tasks["begun"].append(name)

    tasks["add_task_to_queue"] = lambda name: pending.setdefault(name, 0)
    tasks["start_task"] = start
    tasks["finish_task"] = finished.append
    return tasks


def _callbacks(found: dict[str, list[Any]]) -> dict[str, Any]:
    names = ("on_ui_tabs", "on_ui_settings", "on_app_started", "on_before_ui", "on_after_component")
    more = ("on_infotext_pasted", "on_before_component", "on_script_unloaded", "on_before_reload")
    for name in (*names, *more):
        found[name] = []
    return {name: (lambda fun, *, name=None, into=into: into.append(fun)) for name, into in found.items()}


def _as_forge(made: WebUI) -> None:
    """Forge's own modules; its model is a fake one before the first job."""
    manager = ModuleType("backend.memory_management")
    loaded: list[Any] = []

    def load(models: list[Any], memory_required: float = 0) -> None:
        made.moves.append(f"load {len(models)} for {memory_required:.0f}")
        loaded.extend(SimpleNamespace(model=model) for model in models)

    def unload(patcher: Any) -> None:
        made.moves.append("unload")
        loaded[:] = [each for each in loaded if each.model is not patcher]

    _fill(
        manager,
        current_loaded_models=loaded,
        load_models_gpu=load,
        unload_model_clones=unload,
        soft_empty_cache=lambda: made.moves.append("empty"),
        free_memory=lambda needed, device: made.moves.append(f"free {needed}"),
        get_free_memory=lambda device: 10**9,
        get_torch_device=lambda: SimpleNamespace(type="cpu"),
        unet_offload_device=lambda: "cpu",
    )
    patchers = ModuleType("backend.patcher.base")
    _fill(patchers, ModelPatcher=SimpleNamespace)
    for module in (ModuleType("backend"), manager, ModuleType("backend.patcher"), patchers):
        made.modules[module.__name__] = module
    models = made.modules["modules.sd_models"]
    made.model_data.sd_model = SimpleNamespace(cond_stage_model=None, chunk_length=75)
    made.model_data.forge_loading_parameters = {"checkpoint_info": "one"}
    made.model_data.forge_hash = ""

    def reload() -> tuple[Any, bool]:
        made.model_data.sd_model = SimpleNamespace(forge_objects=SimpleNamespace(vae=None))
        return made.model_data.sd_model, True

    _fill(models, forge_model_reload=reload)


@contextmanager
def _main_thread(made: WebUI) -> Iterator[None]:
    """`modules_forge.main_thread` with its loop in a thread, which loses exceptions as the real one does."""
    module = ModuleType("modules_forge.main_thread")
    waiting: SimpleQueue[tuple[Any, tuple[Any, ...], dict[str, Any], threading.Event] | None] = SimpleQueue()

    def loop() -> None:
        while task := waiting.get():
            fun, arguments, results, done = task
            try:
                results["value"] = fun(*arguments)
            except Exception:
                results["value"] = None
            done.set()

    def run_and_wait_result(fun: Any, *arguments: Any) -> Any:
        results: dict[str, Any] = {}
        done = threading.Event()
        waiting.put((fun, arguments, results, done))
        if not done.wait(PATIENCE):
            raise AssertionError("the main thread waits for itself")
        return results["value"]

    _fill(module, run_and_wait_result=run_and_wait_result)
    for each in (ModuleType("modules_forge"), module):
        made.modules[each.__name__] = each
        sys.modules[each.__name__] = each
    thread = threading.Thread(target=loop, name="forge-main")
    thread.start()
    try:
        yield
    finally:
        waiting.put(None)
        thread.join(PATIENCE)
        for name in ("modules_forge", "modules_forge.main_thread"):
            sys.modules.pop(name, None)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
