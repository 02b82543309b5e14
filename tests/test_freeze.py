"""install.py in venvs with the packages that the WebUIs pin: nothing that was there moves. Takes minutes.

Needs a package index; `nox -s freezes` runs it. Of torch, which is a gigabyte, there is the name alone: what
is compared is everything that a WebUI's other pins hold in place.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(
    "SONIC_FREEZES" not in os.environ, reason="installs from a package index; nox -s freezes"
)
USUAL = (
    *("filelock==3.13.1", "fsspec==2023.10.0", "packaging==23.2", "PyYAML==6.0.1", "requests==2.31.0"),
    *("tqdm==4.66.1", "typing_extensions==4.12.2", "regex==2024.9.11"),
)
"""What others ask for, at no version of a WebUI's own."""
PINS = {
    "a1111": (
        *("GitPython==3.1.32", "Pillow==9.5.0", "accelerate==0.21.0", "blendmodes==2022", "einops==0.4.1"),
        *("fastapi==0.94.0", "gradio==3.41.2", "httpcore==0.15", "httpx==0.24.1", "inflection==0.5.1"),
        *("jsonmerge==1.8.0", "kornia==0.6.7", "lark==1.1.2", "numpy==1.26.2", "omegaconf==2.2.3"),
        *("piexif==1.1.3", "protobuf==3.20.0", "psutil==5.9.5", "resize-right==0.0.2", "safetensors==0.4.2"),
        *("scikit-image==0.21.0", "starlette==0.26.1", "tokenizers==0.13.3", "tomesd==0.1.3"),
        *("transformers==4.30.2", "pydantic==1.10.17", "huggingface-hub==0.24.7"),
    ),
    "forge": (
        *("GitPython==3.1.32", "Pillow==9.5.0", "einops==0.4.1", "fastapi==0.104.1", "gradio==4.40.0"),
        *("httpcore==0.15", "httpx==0.24.1", "huggingface-hub==0.26.2", "numpy==1.26.2", "omegaconf==2.2.3"),
        *("protobuf==3.20.0", "psutil==5.9.5", "pydantic==2.8.2", "safetensors==0.4.2"),
        *("scikit-image==0.21.0", "tokenizers==0.20.3", "transformers==4.46.1", "diffusers==0.31.0"),
    ),
}
"""From the requirements files of A1111 1.10.1 and Forge; --no-deps, as their conflicts are theirs."""


@pytest.mark.parametrize("name", PINS)
def test_nothing_moves(name: str, tmp_path: Path) -> None:
    python = _environment(tmp_path / "venv")
    _run(python, "-m", "pip", "install", "--prefer-binary", "--no-deps", *USUAL, *PINS[name])
    _pretend(python, "torch", "2.1.2")
    before = _freeze(python)
    said = _run(python, str(ROOT / "install.py"))
    after = _freeze(python)
    assert "could not be installed" not in said, said
    assert before <= after, before - after
    assert any(line.startswith("c2pa-python==") for line in after)
    _run(python, "-c", "import diffusers.utils")
    began = time.monotonic()
    assert _run(python, str(ROOT / "install.py")) == ""
    print(f"{name}: {len(after - before)} came, {time.monotonic() - began:.2f} s with nothing to do")


def _environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def _pretend(python: Path, name: str, version: str) -> None:
    """That a distribution is installed."""
    site = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    info = Path(site) / f"{name}-{version}.dist-info"
    info.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(text, encoding="utf-8")


def _run(python: Path, *words: str) -> str:
    done = subprocess.run([str(python), *words], capture_output=True, text=True, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _freeze(python: Path) -> set[str]:
    return set(_run(python, "-m", "pip", "freeze", "--all").splitlines())


def test_this_python_is_one_that_the_webuis_run_on() -> None:
    assert sys.version_info[:2] in ((3, 10), (3, 11))
