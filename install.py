"""Run by a WebUI at every start, and by ComfyUI-Manager once: brings what Sonic lacks and moves
nothing that is there.

What Sonic needs is read from `pyproject.toml` beside this file. Everything that is installed goes to pip as a
constraint, so that pip either finds versions that fit the WebUI or leaves everything as it was. No weights
are downloaded. With nothing to do there is no network access and no subprocess.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

try:
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion, Version
except ImportError:  # a bare environment: pip carries its own copy
    if not TYPE_CHECKING:
        from pip._vendor.packaging.requirements import Requirement
        from pip._vendor.packaging.version import InvalidVersion, Version

HERE = Path(__file__).resolve().parent
OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""All of them bring the module `cv2`; two at once overwrite each other."""
PAGE = Requirement("fastapi>=0.94")
"""What page and API are made with; every WebUI has it, ComfyUI does not."""
CARRIED = Requirement("diffusers>=0.31,<0.36")
"""What the sonic engine needs and A1111 lacks; pip takes the newest that fits what is there. Tried with
transformers 4.30 to 4.48."""
CARRIERS = (Requirement("torch"), Requirement("transformers"), Requirement("huggingface_hub>=0.23.2"))
"""Where it has use; the oldest of these releases that any of its own takes."""


def main() -> None:
    """Install what is missing; whatever happens is said in a line and never stops the WebUI."""
    try:
        needed = [*requirements(HERE / "pyproject.toml"), PAGE]
        for sentence in misfits([*needed, *CARRIERS]):
            print(f"Sonic: {sentence}")
        # By turns, so that a failure of the second leaves the first
        for lacking in (missing(needed), carried()):
            if lacking:
                _bring(lacking)
    except Exception as problem:
        _say_failed(f"{type(problem).__name__}: {problem}", "Reinstall the extension or report this line.")


def requirements(pyproject: Path) -> list[Requirement]:
    """`project.dependencies`, those for this Python and system; Python 3.10 has no TOML reader of its own."""
    text = pyproject.read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    if block is None:
        raise ValueError(f"{pyproject} lists no dependencies")
    found = [Requirement(line) for line in re.findall(r'^ *"([^"]+)"', block[1], re.MULTILINE)]
    return [need for need in found if need.marker is None or need.marker.evaluate()]


def missing(needed: Iterable[Requirement]) -> list[Requirement]:
    """What is not installed in any version."""
    return [need for need in needed if installed(need) is None]


def carried() -> list[Requirement]:
    """What the sonic engine lacks, where the rest of its libraries is."""
    at_home = not missing(CARRIERS) and not any(misfits(CARRIERS))
    return missing([CARRIED]) if at_home else []


def misfits(needed: Iterable[Requirement]) -> Iterator[str]:
    """A sentence about each package that is installed in a version Sonic was not made for."""
    for need in needed:
        found = installed(need)
        if found and not _fits(need, found):
            yield (
                f"{need.name} {found} is installed, Sonic needs {need.specifier}. It belongs to the WebUI "
                "and is left as it is; if the tab Sonic does not work, update the WebUI."
            )


def installed(need: Requirement) -> str | None:
    """The installed version, None without one; "" where it is there but nobody says which it is."""
    names = OPENCV if need.name in OPENCV else (need.name,)
    found = next((number for name in names if (number := _version(name))), None)
    if found is None and need.name in OPENCV and importlib.util.find_spec("cv2"):
        return ""
    return found


def constraints() -> str:
    """`name==version` of every installed distribution, for `pip install -c`."""
    pins: dict[str, str] = {}
    for found in distributions():
        name, number = found.metadata["Name"], found.version
        if name and number and _is_version(number):  # pip's leftovers have no name, old tools odd versions
            pins.setdefault(re.sub(r"[-_.]+", "-", name).lower(), number)
    return "".join(f"{name}=={number}\n" for name, number in sorted(pins.items()))


def _bring(lacking: list[Requirement]) -> None:
    words = [str(need) for need in lacking]
    print(f"Sonic: installing {', '.join(words)}")
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "constraints.txt"
        pinned.write_text(constraints(), encoding="utf-8")
        done = subprocess.run(_pip(words, pinned), capture_output=True, text=True, errors="replace")
    if done.returncode:
        hint = "Nothing was changed. Check the network and restart the WebUI."
        _say_failed(_reason(done.stderr, f"pip ended with {done.returncode}"), hint)


def _pip(words: list[str], pinned: Path) -> list[str]:
    mirror = os.environ.get("INDEX_URL")  # what the WebUI's own launcher goes by
    return [
        *(sys.executable, "-m", "pip", "install", "--prefer-binary", "--no-input"),
        *("--disable-pip-version-check", "-c", str(pinned)),
        *(("--index-url", mirror) if mirror else ()),
        *words,
    ]


def _reason(stderr: str, otherwise: str) -> str:
    """The first thing that pip calls an error."""
    lines = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return lines[0] if lines else otherwise


def _say_failed(reason: str, hint: str) -> None:
    print(f"Sonic: parts are missing and could not be installed ({reason}). {hint}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _fits(need: Requirement, found: str) -> bool:
    return not _is_version(found) or need.specifier.contains(found, prereleases=True)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


if __name__ == "__main__":
    main()
