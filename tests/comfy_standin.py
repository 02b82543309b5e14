"""A stand-in for the modules of ComfyUI that the pack touches, as a real one (0.3.64) was seen to behave.

Its server is aiohttp's and listens; its queue carries out prompts one by one on a thread of its own. Only
prompts of single nodes with plain inputs are run: a test calls the nodes of a workflow itself.
`tests/live/comfy` runs workflows in a real ComfyUI.
"""

from __future__ import annotations

import asyncio
import importlib
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from patience import PATIENCE

PACK = ("pack", "nodes", "checks", "widgets")
"""Modules of ours that are made of ComfyUI's classes when they are imported."""


class Interrupted(Exception):
    """`comfy.model_management.InterruptProcessingException`."""


class PromptQueue:
    """What waits and what runs; items are tuples that begin with a number and the prompt's id."""

    def __init__(self) -> None:
        self.running: list[Any] = []
        self.waiting: list[Any] = []
        self.done: dict[str, BaseException | None] = {}
        self.hold = threading.Event()
        self.hold.set()
        self._new: queue.Queue[Any] = queue.Queue()

    def get_current_queue_volatile(self) -> tuple[list[Any], list[Any]]:
        return list(self.running), list(self.waiting)

    def delete_queue_item(self, function: Any) -> bool:
        found = [item for item in self.waiting if function(item)]
        self.waiting = [item for item in self.waiting if not function(item)]
        return bool(found)

    def put(self, item: Any) -> None:
        self.waiting.append(item)
        self._new.put(item)

    def work(self, classes: dict[str, Any]) -> None:
        while (item := self._new.get()) is not None:
            self.hold.wait()
            if item not in self.waiting:
                continue
            self.waiting.remove(item)
            self.running.append(item)
            try:
                for node in item[2].values():
                    classes[node["class_type"]].execute(**node["inputs"])
                self.done[item[1]] = None
            except BaseException as error:
                self.done[item[1]] = error
            self.running.remove(item)

    def end(self) -> None:
        self.hold.set()
        self._new.put(None)


@dataclass
class Comfy:
    """What a test looks at and changes."""

    base: Path
    queue: PromptQueue
    server: web.Application
    interrupted: bool = False
    bars: list[tuple[int, int, Any]] = field(default_factory=list)
    """What was shown: done, total, picture."""
    moves: list[str] = field(default_factory=list)
    """What was done to models and memory, in order."""
    classes: dict[str, Any] = field(default_factory=dict)
    """Id → node."""
    address: str = ""

    def throw(self) -> None:
        """`comfy.model_management.throw_exception_if_processing_interrupted`."""
        if self.interrupted:
            self.interrupted = False
            raise Interrupted

    def begin(self) -> None:
        """Start the server and the queue, as ComfyUI does when all packs are loaded."""
        started = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def listening() -> None:
            self._runner = web.AppRunner(self.server)
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
            self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
            started.set()

        self._loop.create_task(listening())
        self._threads = [
            threading.Thread(target=self._loop.run_forever, daemon=True),
            threading.Thread(target=self.queue.work, args=(self.classes,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        assert started.wait(PATIENCE)
        self.address = f"http://127.0.0.1:{self.port}"
        instance = sys.modules["server"].PromptServer.instance
        instance.address, instance.port = "127.0.0.1", self.port

    def end(self) -> None:
        if not self.address:
            return
        self.queue.end()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._loop.close()


@contextmanager
def comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Comfy]:
    """The modules in `sys.modules`; ours that were made of earlier ones are forgotten before and after."""
    made = Comfy(tmp_path / "ComfyUI", PromptQueue(), web.Application())
    for name, module in _modules(made).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("SONIC_HOME", str(tmp_path / "private home"))
    making = importlib.import_module("sonic_ext.hosts.comfy.making")
    _forget(making)
    try:
        yield made
    finally:
        if making.worker.cache_info().currsize:
            making.worker().close()
        made.end()
        _forget(making)


def _forget(making: Any) -> None:
    making.worker.cache_clear()
    making._given.clear()
    for name in PACK:
        sys.modules.pop(f"sonic_ext.hosts.comfy.{name}", None)


def _modules(made: Comfy) -> dict[str, ModuleType]:
    folders = _folders(made.base)
    server, nodes, utils, memory = (
        *(ModuleType("server"), ModuleType("nodes")),
        *(ModuleType("comfy.utils"), ModuleType("comfy.model_management")),
    )
    made.server.router.add_post("/prompt", _prompt_route(made))
    instance = SimpleNamespace(app=made.server, prompt_queue=made.queue)
    server.PromptServer = SimpleNamespace(instance=instance)  # type: ignore[attr-defined]
    nodes.EXTENSION_WEB_DIRS = {}  # type: ignore[attr-defined]
    utils.ProgressBar = _bar(made)  # type: ignore[attr-defined]
    _fill(memory, **_memory(made))
    patcher = ModuleType("comfy.model_patcher")
    patcher.ModelPatcher = SimpleNamespace  # type: ignore[attr-defined]
    arguments = ModuleType("comfy.cli_args")
    arguments.args = SimpleNamespace(tls_keyfile=None, tls_certfile=None)  # type: ignore[attr-defined]
    latest = ModuleType("comfy_api.latest")
    latest.io = _schema()  # type: ignore[attr-defined]
    latest.ComfyExtension = object  # type: ignore[attr-defined]
    packages = [ModuleType("comfy"), ModuleType("comfy_api")]
    every = [folders, server, nodes, utils, memory, patcher, arguments, latest, *packages]
    return {module.__name__: module for module in every}


def _fill(module: ModuleType, **values: Any) -> None:
    for name, value in values.items():
        setattr(module, name, value)


def _folders(base: Path) -> ModuleType:
    module = ModuleType("folder_paths")
    own = {name: base / name for name in ("input", "output", "temp", "user", "models")}
    for folder in own.values():
        folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {"checkpoints": ([str(own["models"] / "checkpoints")], set())}

    def add(name: str, path: str, is_default: bool = False) -> None:
        known.setdefault(name, ([], set()))[0].append(path)

    _fill(
        module,
        base_path=str(base),
        models_dir=str(own["models"]),
        folder_names_and_paths=known,
        get_folder_paths=lambda name: list(known[name][0]),
        add_model_folder_path=add,
        get_output_directory=lambda: str(own["output"]),
        get_input_directory=lambda: str(own["input"]),
        get_temp_directory=lambda: str(own["temp"]),
        get_user_directory=lambda: str(own["user"]),
    )
    return module


def _prompt_route(made: Comfy) -> Any:
    async def queued(request: web.Request) -> web.Response:
        body = await request.json()
        name = f"prompt {len(made.queue.done) + len(made.queue.waiting)}"
        made.queue.put((0, name, body["prompt"], {}, ["1"]))
        return web.json_response({"prompt_id": name, "number": 0, "node_errors": {}})

    return queued


def _bar(made: Comfy) -> Any:
    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.current, self.total = 0, total

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            made.throw()  # as the hook of ComfyUI's server does
            self.current, self.total = value, self.total if total is None else total
            made.bars.append((value, self.total, preview))

    return ProgressBar


def _memory(made: Comfy) -> dict[str, Any]:
    loaded: list[Any] = []

    def load(models: list[Any], memory_required: float = 0) -> None:
        made.moves.append(f"load {len(models)}")
        loaded.extend(SimpleNamespace(model=model, model_unload=lambda: None) for model in models)

    return {
        "processing_interrupted": lambda: made.interrupted,
        "throw_exception_if_processing_interrupted": made.throw,
        "interrupt_current_processing": lambda: setattr(made, "interrupted", True),
        "InterruptProcessingException": Interrupted,
        "get_torch_device": lambda: SimpleNamespace(type="cpu"),
        "unet_offload_device": lambda: "cpu",
        "current_loaded_models": loaded,
        "load_models_gpu": load,
        "soft_empty_cache": lambda: made.moves.append("empty"),
    }


def _schema() -> Any:
    """`io`: what a node declares is kept as it was given; ids must differ, as in the real one."""

    class Schema(SimpleNamespace):
        def __init__(self, node_id: str, *, inputs: list[Any], outputs: list[Any], **more: Any) -> None:
            super().__init__(node_id=node_id, inputs=inputs, outputs=outputs, **more)
            ids = [each.id for each in (*inputs, *outputs)]
            assert len(ids) == len(set(ids)), ids

    class NodeOutput:
        def __init__(self, *result: Any, ui: dict[str, Any] | None = None) -> None:
            assert all(isinstance(value, (list, tuple)) for value in (ui or {}).values())
            self.result, self.ui = result, ui or {}

    def kind(name: str) -> Any:
        def port(id: str, **options: Any) -> Any:
            return SimpleNamespace(id=id, type=name, options=options)

        return SimpleNamespace(Input=port, Output=port)

    names = (
        "Image",
        "Audio",
        "Video",
        "Model",
        "Vae",
        "ClipVision",
        "Int",
        "Float",
        "Boolean",
        "String",
        "Combo",
    )
    base = type("ComfyNode", (), {})
    return SimpleNamespace(
        Schema=Schema,
        NodeOutput=NodeOutput,
        ComfyNode=base,
        Custom=kind,
        **{name: kind(name) for name in names},
    )
