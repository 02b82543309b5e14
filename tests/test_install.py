"""install.py brings what is missing and moves nothing; tried with a real pip on small wheels made here."""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sonic_install", ROOT / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pyproject(folder: Path, *needs: str) -> Path:
    path = folder / "pyproject.toml"
    lines = "".join(f'  "{need}",\n' for need in needs)
    path.write_text(f'[project]\nname = "x"\ndependencies = [\n{lines}]\n', encoding="utf-8")
    return path


def test_the_small_reader_agrees_with_a_toml_reader(install: ModuleType) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    with (ROOT / "pyproject.toml").open("rb") as file:
        expected = tomllib.load(file)["project"]["dependencies"]
    read = install.requirements(ROOT / "pyproject.toml")
    assert [str(need) for need in read] == [str(Requirement(line)) for line in expected]


def test_requirements_for_other_systems_are_left_out(install: ModuleType, tmp_path: Path) -> None:
    path = _pyproject(tmp_path, "here>=1", "elsewhere>=1; sys_platform == 'amiga'")
    assert [need.name for need in install.requirements(path)] == ["here"]


def test_a_pyproject_without_dependencies_is_an_error(install: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no dependencies"):
        install.requirements(path)


def test_only_what_is_not_there_is_missing(install: ModuleType) -> None:
    needs = [Requirement("numpy>=1"), Requirement("numpy>=999"), Requirement("no-such-thing-as-this>=1")]
    assert [need.name for need in install.missing(needs)] == ["no-such-thing-as-this"]


def test_a_misfit_is_said_and_not_moved(install: ModuleType) -> None:
    needs = [Requirement("numpy>=1"), Requirement("Pillow>=999")]
    (sentence,) = install.misfits(needs)
    assert sentence.startswith("Pillow ")
    assert "left as it is" in sentence


@pytest.mark.parametrize("name", ["opencv-python", "opencv-contrib-python", "opencv-python-headless"])
def test_any_opencv_will_do(install: ModuleType, name: str) -> None:
    assert install.missing([Requirement(f"{name}>=4.8")]) == []


def test_opencv_without_metadata_is_recognised_by_its_module(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_version", lambda name: None)
    assert install.missing([Requirement("opencv-python-headless>=4.8"), Requirement("av")]) == [
        Requirement("av")
    ]
    assert list(install.misfits([Requirement("opencv-python-headless>=4.8")])) == []


def test_constraints_pin_everything_once(install: ModuleType) -> None:
    lines = install.constraints().splitlines()
    names = [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names)) > 10
    for line in lines:
        Requirement(line)


def test_this_environment_lacks_nothing(install: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    install.main()
    assert capsys.readouterr().out == ""


class Host:
    """A WebUI's environment in small: a real venv, and a folder of wheels in place of the package index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        venv.create(folder / "venv", with_pip=True)
        scripts = "Scripts" if os.name == "nt" else "bin"
        self.python = folder / "venv" / scripts / "python"

    def wheel(self, name: str, version: str, *requires: str) -> Path:
        """A wheel that holds one empty module."""
        info = f"{name}-{version}.dist-info"
        needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
        files = {
            f"{name}.py": "",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in files.items():
                archive.writestr(file, text)
            archive.writestr(f"{info}/RECORD", "".join(map(_record, files.items())) + f"{info}/RECORD,,\n")
        return path

    def pip(self, *words: str) -> str:
        done = self._run("-m", "pip", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def freeze(self) -> set[str]:
        return set(self.pip("freeze", "--all").splitlines())

    def start(self, *needs: str) -> str:
        """What install.py prints when the WebUI starts with an extension that needs `needs`."""
        checkout = self.folder / "extension"
        checkout.mkdir(exist_ok=True)
        (checkout / "install.py").write_bytes((ROOT / "install.py").read_bytes())
        _pyproject(checkout, *needs)
        done = self._run(str(checkout / "install.py"))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        outside = {key: text for key, text in os.environ.items() if not key.startswith(("PIP_", "INDEX_"))}
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}
        environment = outside | offline | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        words = (str(self.python), *words)
        return subprocess.run(words, capture_output=True, text=True, cwd=self.folder, env=environment)


def _record(file: tuple[str, str]) -> str:
    name, text = file
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(text)}\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Its own parts: one plain, one with a local version, one from a file, one that nobody can replace."""
    made = Host(tmp_path_factory.mktemp("host"))
    made.wheel("pinned", "1.0")
    made.wheel("torchlike", "2.1.2+cu121")
    made.wheel("fastapi", "0.104.1")
    from_file = made.wheel("fromfile", "0.3")
    made.pip("install", "pinned", "torchlike", "fastapi", str(from_file))
    from_file.unlink()
    made.wheel("pinned", "2.0")
    made.wheel("torchlike", "2.5")
    return made


def test_a_version_that_fits_the_host_is_brought_and_nothing_moves(host: Host) -> None:
    host.wheel("wanted", "2.0", "pinned>=2", "torchlike>=2.5")
    host.wheel("wanted", "1.5", "pinned>=1", "torchlike>=2.1", "fromfile")
    before = host.freeze()
    assert "wanted" in host.start("wanted>=1", "pinned>=1")
    after = host.freeze()
    assert after - before == {"wanted==1.5"}
    assert before <= after


def test_where_nothing_fits_nothing_moves_and_one_line_says_so(host: Host) -> None:
    host.wheel("greedy", "1.0", "pinned>=2")
    before = host.freeze()
    said = host.start("greedy>=1").splitlines()
    assert host.freeze() == before
    assert len(said) == 2
    assert "could not be installed" in said[1] and "Nothing was changed." in said[1]


def test_what_cannot_be_found_is_said(host: Host) -> None:
    said = host.start("neverheardof>=1")
    assert "neverheardof" in said and "could not be installed" in said


def test_with_nothing_to_do_it_says_nothing_and_starts_no_pip(host: Host) -> None:
    assert host.start("pinned>=1", "torchlike>=2.1", "fromfile") == ""


def test_comfyui_is_brought_what_the_page_is_made_with(tmp_path: Path) -> None:
    comfyui = Host(tmp_path)
    comfyui.wheel("fastapi", "0.120")
    assert "fastapi" in comfyui.start()
    assert "fastapi==0.120" in comfyui.freeze()


def test_comfyuis_list_is_what_install_brings(install: ModuleType) -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [Requirement(line) for line in lines if not line.startswith("#")]
    assert listed == [*install.requirements(ROOT / "pyproject.toml"), install.PAGE]


def test_a_broken_checkout_does_not_stop_the_host(host: Host) -> None:
    checkout = host.folder / "broken"
    checkout.mkdir()
    (checkout / "install.py").write_bytes((ROOT / "install.py").read_bytes())
    words = [str(host.python), str(checkout / "install.py")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0
    assert "FileNotFoundError" in done.stdout


def test_nothing_heavy_is_imported_at_start(tmp_path: Path) -> None:
    code = (
        "import json, runpy, sys\n"
        f"runpy.run_path({str(ROOT / 'install.py')!r}, run_name='__main__')\n"
        "print(json.dumps(sorted({'cv2', 'numpy', 'torch', 'pip', 'sonic_ext'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_newest_diffusers_comes_that_fits_what_the_webui_has(host: Host) -> None:
    for name in ("torch", "transformers"):
        host.wheel(name, "0.1")
    host.wheel("huggingface_hub", "0.24.7")
    host.wheel("huggingface_hub", "0.34")
    host.wheel("diffusers", "0.32", "huggingface-hub>=0.23.2")
    host.wheel("diffusers", "0.35", "huggingface-hub>=0.34")
    host.wheel("diffusers", "0.40")
    assert host.start("pinned>=1") == ""
    host.pip("install", "torch", "transformers", "huggingface_hub==0.24.7")
    before = host.freeze()
    assert "diffusers" in host.start("pinned>=1")
    assert host.freeze() - before == {"diffusers==0.32"}
    assert before <= host.freeze()
    assert host.start("pinned>=1") == ""


def test_no_diffusers_comes_where_none_fits(host: Host) -> None:
    for name in ("torch", "transformers"):
        host.wheel(name, "0.1")
    host.wheel("huggingface_hub", "0.17.3")
    host.pip("install", "torch", "transformers", "huggingface_hub==0.17.3")
    before = host.freeze()
    said = host.start("pinned>=1")
    assert "huggingface_hub 0.17.3 is installed, Sonic needs >=0.23.2" in said
    assert "installing" not in said
    assert host.freeze() == before


def test_the_flag_is_added_to_the_webuis_own() -> None:
    spec = importlib.util.spec_from_file_location("sonic_preload", ROOT / "preload.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parser = argparse.ArgumentParser()
    module.preload(parser)
    assert parser.parse_args([]).sonic_models_path is None
    assert parser.parse_args(["--sonic-models-path", "/a b"]).sonic_models_path == "/a b"
