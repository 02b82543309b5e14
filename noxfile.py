"""`nox` checks everything; `nox -s tests -- -k watermark` one thing; `nox -l` lists the sessions."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "page3", "tests", "sonic"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.needs_version = ">=2024.3.2"

CHECKED = ["sonic_ext", "scripts", "tests", "benchmarks", "docs", "install.py", "noxfile.py"]
SONIC_TESTS = [
    *sorted(str(path) for path in Path("tests").glob("test_sonic_*.py")),
    *(f"tests/test_{name}.py" for name in ("parity", "weights", "detectors", "preview_speech")),
]
"""What needs torch, which the other sessions do without."""
PAGE_TESTS = ["tests/test_form.py", "tests/test_hosts.py", "tests/test_page.py"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format and types."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", *CHECKED)
    session.run("ruff", "format", "--check", *CHECKED)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Every test, with gradio 4 and the versions that Forge has."""
    session.install("-r", "requirements/gradio4.txt", "-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def page3(session: nox.Session) -> None:
    """The page once more, with gradio 3 and pydantic 1 as A1111 has them."""
    session.install("-r", "requirements/gradio3.txt", "-e", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or PAGE_TESTS))


@nox.session
def sonic(session: nox.Session) -> None:
    """The sonic engine, with its newest libraries."""
    _sonic(session, "sonic")


@nox.session(default=False)
def sonic_forge(session: nox.Session) -> None:
    """The sonic engine with Forge's libraries."""
    _sonic(session, "sonic-forge")


@nox.session(default=False)
def sonic_a1111(session: nox.Session) -> None:
    """The sonic engine with libraries that fit A1111."""
    _sonic(session, "sonic-a1111")


def _sonic(session: nox.Session, libraries: str) -> None:
    session.install("-r", f"requirements/{libraries}.txt", "-e", ".[test,sonic]", "pytest-xdist>=3.5")
    # Tiny networks: threads only wait for each other, so files run side by side instead.
    one, beside = {"OMP_NUM_THREADS": "1"}, ("-n", "2", "--dist", "loadfile")
    session.run("python", "-m", "pytest", *beside, *(session.posargs or SONIC_TESTS), env=one)


@nox.session(default=False)
def tables(session: nox.Session) -> None:
    """Write the README's tables anew from the code."""
    session.install("-e", ".")
    session.run("python", "docs/tables.py")


@nox.session(default=False)
def figures(session: nox.Session) -> None:
    """The benchmarks; `nox -s figures -- --quick` for a fast look at the pipeline's."""
    session.install("-e", ".")
    session.run("python", "benchmarks/pipeline.py", *session.posargs)
