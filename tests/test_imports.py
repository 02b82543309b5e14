"""Imports run downwards, hosts and web libraries stay in their rooms, and importing the package is cheap."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sonic_ext
from sonic_ext.engines import registry

PACKAGE = Path(sonic_ext.__file__).parent
FLOORS = (
    {"errors", "text", "messages"},
    {"fields"},
    {"engines: the list"},
    {"settings", "configuration", "ports", "progress", "files", "processes"},
    {"media", "provenance", "nn", "weights"},
    {"engines", "sync"},
    {"pipeline", "train", "evaluation"},
    {"jobs", "hosts"},
    {"app", "batch"},
    {"cli", "extension"},
    {"__main__"},
)
"""From the ground up; a room may use its own floor and those below."""
LISTED = {
    *("sonic_ext.engines.registry", "sonic_ext.engines.spec"),
    *(f"sonic_ext.engines.{name}{end}" for name in registry.names() for end in ("", ".settings")),
}
"""What an engine declares before its code is loaded: the settings are composed of it."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
HOSTS = (
    *("modules", "modules_forge", "backend", "launch", "ldm_patched"),
    *("comfy", "comfy_api", "comfy_execution", "folder_paths", "server", "nodes", "execution"),
)
WEB = ("gradio", "fastapi", "starlette", "pydantic", "uvicorn", "aiohttp", "ray")
TORCH = ("torch", "diffusers", "transformers")
ONLY_HERE = {
    **{library: {"hosts.modules"} for library in HOSTS},
    **{library: {"app"} for library in WEB},
    "ray": {"batch.cluster"},
    **{
        library: {"nn", "weights", "engines.sonic", "engines.runtime", "sync", "train", "hosts"}
        for library in TORCH
    },
    "huggingface_hub": set(),
    "httpx": {"weights.download"},
}
"""Library → rooms that may import it."""
HEAVY = ("torch", "gradio", "cv2", "numpy", "av", "PIL", "c2pa", "cryptography", "pydantic", "ray")


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _last_name(node: ast.expr) -> str | None:
    """`c` of `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run: bodies of `if TYPE_CHECKING:` are for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _last_name(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from _run_time_nodes(other)
            continue
        yield child
        yield from _run_time_nodes(child)


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".") if is_package else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def imported(source: str, module: str, is_package: bool = False, types: bool = False) -> set[str]:
    """Full names of what `module` imports at run time, inside functions too.

    With `types`, what only type checkers see as well.
    """
    found: set[str] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree) if types else _run_time_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__"):
            found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return found


@functools.cache
def imports_of(module: str, types: bool = False) -> set[str]:
    """What a module of the package imports."""
    path = SOURCES[module]
    return imported(path.read_text(encoding="utf-8"), module, path.name == "__init__.py", types)


def _own(name: str) -> str | None:
    """The module of this package that a full name leads to."""
    parts = name.split(".")
    candidates = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((candidate for candidate in candidates if candidate in SOURCES), None)


def _edges(module: str, types: bool = False) -> set[str]:
    """Modules of this package that `module` imports."""
    return {
        own for name in imports_of(module, types) if (own := _own(name)) and own not in (module, "sonic_ext")
    }


def _room(module: str) -> str:
    return "engines: the list" if module in LISTED else [*module.split("."), "__init__"][1]


def _may(module: str, rooms: set[str]) -> bool:
    inside = module.removeprefix("sonic_ext.")
    return any(inside == room or inside.startswith(f"{room}.") for room in rooms)


def test_every_room_has_a_floor() -> None:
    assert {_room(module) for module in SOURCES} <= FLOOR.keys() | {"__init__"}


@pytest.mark.parametrize("module", [module for module in SOURCES if module != "sonic_ext"])
def test_imports_run_downwards(module: str) -> None:
    climbing = {other for other in _edges(module) if FLOOR[_room(other)] > FLOOR[_room(module)]}
    assert climbing == set()


@pytest.mark.parametrize("module", SOURCES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    strayed = {
        name
        for name in imports_of(module)
        if (top := name.split(".")[0]) in ONLY_HERE and not _may(module, ONLY_HERE[top])
    }
    assert strayed == set()


def test_app_and_hosts_know_nothing_of_each_other() -> None:
    for one, other in (("app", "hosts"), ("hosts", "app"), ("jobs", "hosts")):
        assert [m for m in SOURCES if _may(m, {one}) and any(_may(e, {other}) for e in _edges(m))] == []


@pytest.mark.parametrize("module", [name for name in SOURCES if name != "sonic_ext.hosts.modules"])
def test_the_webuis_module_names_stand_in_one_map(module: str) -> None:
    known = re.compile(rf"({'|'.join(HOSTS)})\.[a-z]\w*(\.\w+)*")
    texts = {
        node.value
        for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {text for text in texts if known.fullmatch(text)} == set()


@pytest.mark.parametrize("types", [False, True], ids=["at run time", "for types"])
def test_modules_do_not_import_each_other_in_circles(types: bool) -> None:
    graph = {module: _edges(module, types) for module in SOURCES if module != "sonic_ext"}
    while graph:
        done = {module for module, needs in graph.items() if not needs & graph.keys()}
        assert done, f"a circle among {sorted(graph)}"
        graph = {module: needs for module, needs in graph.items() if module not in done}


@pytest.mark.parametrize(
    ("line", "module", "is_package", "expected"),
    [
        ("import numpy as np", "sonic_ext.a", False, {"numpy"}),
        ("from .b import c", "sonic_ext.a", False, {"sonic_ext.b.c"}),
        ("from . import b", "sonic_ext.media", True, {"sonic_ext.media.b"}),
        ("from ..b import c", "sonic_ext.media.a", False, {"sonic_ext.b.c"}),
        ("def f():\n  from .. import b", "sonic_ext.media.a", False, {"sonic_ext.b"}),
        ("x = importlib.import_module('modules.shared')", "sonic_ext.a", False, {"modules.shared"}),
        ("if TYPE_CHECKING:\n  import torch\nelse:\n  import cv2", "sonic_ext.a", False, {"cv2"}),
    ],
)
def test_the_reader_of_imports_reads(line: str, module: str, is_package: bool, expected: set[str]) -> None:
    assert imported(line, module, is_package) == expected


def test_the_reader_of_imports_reads_those_for_types() -> None:
    line = "if TYPE_CHECKING:\n  import torch\nelse:\n  import cv2"
    assert imported(line, "sonic_ext.a", types=True) == {"torch", "cv2"}


def _loaded_by(statements: str) -> set[str]:
    """Modules in a fresh Python after the statements."""
    code = f"{statements}; import json, sys; print(json.dumps([*sys.modules]))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statements",
    [
        "import sonic_ext",
        "import sonic_ext; dir(sonic_ext); sonic_ext.Settings(); sonic_ext.SonicError",
        "import sonic_ext.cli.main; sonic_ext.cli.main.parser()",
        "import sonic_ext.extension.registration, sonic_ext.extension.script",
    ],
)
def test_importing_loads_nothing_heavy(statements: str) -> None:
    assert _loaded_by(statements).isdisjoint(HEAVY)


def test_the_main_job_needs_neither_torch_nor_a_web_library() -> None:
    loaded = _loaded_by("import sonic_ext; sonic_ext.animate; sonic_ext.export; sonic_ext.verify")
    assert "cv2" in loaded
    assert loaded.isdisjoint({"torch", "gradio", "fastapi", "pydantic", "ray", "diffusers", "transformers"})


def test_the_export_list_is_what_the_docs_promise() -> None:
    work = {"animate", "export", "preflight", "verify", "measure_sync"}
    things = {
        "Basis",
        "Consent",
        "Ledger",
        "Preflight",
        "Settings",
        "SonicError",
        "Take",
        "Verification",
        "SyncReport",
    }
    assert set(sonic_ext.__all__) == work | things | {"PRESETS", "__version__"}
    assert dir(sonic_ext) == sorted(sonic_ext.__all__)


@pytest.mark.parametrize("name", sonic_ext.__all__)
def test_every_export_leads_somewhere(name: str) -> None:
    value = getattr(sonic_ext, name)
    assert value is getattr(sonic_ext, name)
    if callable(value):
        assert (value.__doc__ or "").strip()
        assert importlib.import_module(value.__module__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'animated'"):
        sonic_ext.animated  # noqa: B018
