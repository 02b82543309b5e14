"""Where the weights lie: our own folder, a configured one, the WebUI's, ComfyUI's, the Hugging Face cache.

Only names and headers are read; torch and httpx are not needed. The cache is read by its documented
layout, `models--OWNER--NAME/snapshots/COMMIT/FILE` with `refs/main` naming the newest commit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ..configuration import Configuration
from ..errors import BadWeights, MissingPart
from ..files.home import private_folder, private_home
from ..files.names import expanded
from . import bundles
from .catalogue import PARTS, SVD_FILES, Kind, Part, fetch_command
from .checks import refuse_foreign
from .contents import read_contents
from .formats import PICKLES, Format, format_of, not_weights
from .preconditions import free_bytes, obstacles
from .record import read_record

SINGLE_FILES = ("svd*.safetensors", "*stable*video*diffusion*.safetensors")
"""One-file checkpoints of Stable Video Diffusion, as people name them."""
_BRANCHES = (
    "",
    "sonic",
    "models/sonic",
    "models",
    "checkpoints",
    "models/checkpoints",
    "models/Stable-diffusion",
)
"""What may lie below a folder that the user names: a models folder of ours or a whole program."""


_HALF = re.compile(r"(?i)(^|[-_.])(fp16|bf16|half)$")
"""How the name ends of a file in half precision."""


class PartState(Enum):
    """How a part stands, best first."""

    READY = "ready"
    CONVERT = "to convert"
    """A pickle, not used until it has been converted to safetensors."""
    WRONG = "wrong"
    """There, but damaged, or of another model."""
    PARTIAL = "partial"
    """A download that was interrupted, or a folder without the file that counts."""
    MISSING = "missing"


USABLE = (PartState.READY, PartState.CONVERT)


@dataclass(frozen=True)
class SearchFolder:
    """Somewhere that weights may lie."""

    title: str
    """For the user: "the extension's models folder"."""
    roots: tuple[Path, ...]


@dataclass(frozen=True)
class Candidate:
    """A file that may be a part."""

    path: Path
    place: str
    state: PartState
    problem: str = ""
    """What is wrong with it."""


@dataclass(frozen=True)
class Finding:
    """How one part stands."""

    part: Part
    state: PartState
    path: Path | None = None
    place: str = ""
    detail: str = ""
    """A sentence, if there is something to say."""
    others: tuple[Candidate, ...] = ()
    """Further files of the same part, not used."""

    @property
    def command(self) -> str:
        """What brings the part; empty if nothing has to be done."""
        if self.state is PartState.READY:
            return ""
        if self.state is PartState.CONVERT:
            return f"sonic weights convert {self.part.name}"
        return fetch_command([self.part])

    @property
    def size(self) -> int | None:
        """Bytes of the file that was found."""
        return self.path.stat().st_size if self.path and _is_file(self.path) else None

    @property
    def to_fetch(self) -> int:
        """Bytes that are still to come, roughly, where it is fetched."""
        begun = self.size if self.state is PartState.PARTIAL else 0
        return max(0, (self.part.about or 0) - (begun or 0))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        part, licence = self.part, self.part.licence
        return {
            "name": part.name,
            "title": part.title,
            "need": part.need,
            "required": part.required,
            "repo": part.repos[0],
            "files": list(part.fetched),
            "about_bytes": part.about,
            "licence": {"name": licence.name, "sentence": licence.sentence, "url": licence.url},
            "state": self.state.value,
            "path": str(self.path) if self.path else None,
            "bytes": self.size,
            "to_fetch_bytes": 0 if self.state in USABLE else self.to_fetch,
            "place": self.place,
            "detail": self.detail,
            "command": self.command,
            "others": [str(candidate.path) for candidate in self.others],
        }


@dataclass(frozen=True)
class Search:
    """Where to look, in this order, and where fetched and converted files go."""

    own: Path
    """The models folder of this extension."""
    configured: tuple[Path, ...] = ()
    webui: Path | None = None
    """The WebUI's `models` folder."""
    checkpoints: tuple[Path, ...] = ()
    """More folders with models, such as the WebUI's --ckpt-dir."""
    comfyui: tuple[Path, ...] = ()
    """ComfyUI, or its models folder."""
    cache: Path | None = None
    """The Hugging Face Hub cache."""
    bundle: Path | None = None
    """Folder of a complete set (`bundles`): nothing else is looked at then."""
    host: Path | None = None
    """The models folder of the WebUI or ComfyUI that this runs in."""

    @classmethod
    def default(
        cls,
        models: str | os.PathLike[str] | None = None,
        webui: Path | None = None,
        checkpoints: Iterable[Path] = (),
        configuration: Configuration | None = None,
    ) -> Search:
        """What this computer has.

        Args:
            models: folders of the user's, separated as in PATH; None for those of the configuration.
            webui: the WebUI's `models` folder; None to tell it from where this extension lies.
            checkpoints: more folders with checkpoints.
            configuration: the environment's by default.
        """
        given = configuration or Configuration.from_environment()
        if models is not None:
            given = dataclasses.replace(given, models=os.fspath(models))
        own = own_folder()
        webui = webui or _models_beside("extensions")
        inside = expanded(given.host_models) if given.host_models else _models_beside("custom_nodes")
        comfyui = _comfyui(given.comfyui, webui, inside)
        named, checkpoints = given.models_folders, (*checkpoints, *given.checkpoint_folders)
        bundle = next((folder for folder in named if _is_file(folder / bundles.ABOUT)), None)
        return cls(own, named, webui, checkpoints, comfyui, cache_folder(), bundle, inside or webui)

    @classmethod
    def alone(cls, folder: Path) -> Search:
        """A complete set of parts (`bundles`), and nothing else."""
        return cls(own=folder, bundle=folder)

    def of_set(self, folder: Path) -> Search:
        """The same, but for parts that are looked for in a complete set alone."""
        return dataclasses.replace(self, bundle=folder)

    @property
    def target(self) -> Path:
        """Where fetched and converted files go: the first configured folder unless it is a program's, else
        among the host's models, where they outlive this extension."""
        first = next(iter(self.configured), None)
        if first is not None and not _is_dir(first / "models"):
            return first
        return self.own if self.host is None else self.host / "sonic"

    def folders(self) -> tuple[SearchFolder, ...]:
        """All places but the cache."""
        named = [SearchFolder("the configured folder", _branches(folder)) for folder in self.configured]
        comfy = [SearchFolder("ComfyUI", _branches(folder)) for folder in self.comfyui]
        return (
            SearchFolder("the extension's models folder", (self.own,)),
            *named,
            *self._webui_folders(),
            *comfy,
        )

    def _webui_folders(self) -> tuple[SearchFolder, ...]:
        roots = list(self.checkpoints)
        if self.webui is not None:
            own = [self.webui / "sonic", self.webui / "Sonic", self.webui / "Stable-diffusion"]
            roots = [*own, *roots, self.webui]
        return (SearchFolder("the WebUI", tuple(roots)),) if roots else ()


@dataclass(frozen=True)
class Survey:
    """How all parts stand."""

    findings: tuple[Finding, ...]
    search: Search

    def __getitem__(self, name: str) -> Finding:
        return next(finding for finding in self.findings if finding.part.name == name)

    @property
    def ready(self) -> bool:
        """Whether the engine can start; pickles are converted on the way."""
        return not self.missing()

    def missing(self, also: Collection[Part] = ()) -> tuple[Finding, ...]:
        """Required parts, and those of `also`, that are not usable."""
        wanted = (each for each in self.findings if each.part.required or each.part in also)
        return tuple(each for each in wanted if each.state not in USABLE)

    @property
    def to_fetch(self) -> int:
        """Bytes that are still to come, roughly, until the engine can start."""
        return sum(finding.to_fetch for finding in self.missing())

    def require(self, also: Collection[Part] = ()) -> None:
        """Raise `MissingPart` with every part that lacks, and the one command that brings them."""
        lacking = self.missing(also)
        if not lacking:
            return
        said = "; ".join(_lack(finding) for finding in lacking)
        raise MissingPart(
            f"The sonic engine's weights are not complete: {said}.",
            f"Bring them with: {fetch_command(finding.part for finding in lacking)}",
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ready": self.ready,
            "target": str(self.search.target),
            "free_bytes": free_bytes(self.search.target),
            "to_fetch_bytes": self.to_fetch,
            "obstacles": [each.to_dict() for each in obstacles()],
            "parts": [finding.to_dict() for finding in self.findings],
        }


def survey(search: Search | None = None, parts: Iterable[Part] = PARTS) -> Survey:
    """Look for the parts. Reads names and headers only; never raises for what it finds."""
    where = search or Search.default()
    return Survey(tuple(find(part, where) for part in parts), where)


def find(part: Part, search: Search) -> Finding:
    """How one part stands: the first ready file, else the first that can be converted, else what is wrong."""
    if search.bundle is not None:
        return _of_bundle(part, search.bundle)
    candidates = tuple(dict.fromkeys(_candidates(part, search)))
    order = list(PartState)
    best = min(candidates, key=lambda candidate: order.index(candidate.state), default=None)
    if best is None:
        return _find_partial(part, search) or Finding(part, PartState.MISSING)
    others = tuple(candidate for candidate in candidates if candidate.path != best.path)
    wrong = [each.problem for each in candidates if each.state is PartState.WRONG and each is not best]
    detail = best.problem or (f"Not used: {wrong[0]}" if wrong else _stale_note(best.path))
    return Finding(part, best.state, best.path, best.place, detail, others)


def _of_bundle(part: Part, folder: Path) -> Finding:
    """How a part of a complete set stands: the catalogue's places have no part in it."""
    path = bundles.part_file(folder, part.name)
    if not _is_file(path):
        return Finding(part, PartState.MISSING)
    found = _inspect(part, path, str(folder))
    return Finding(part, found.state, path, found.place, found.problem)


def own_folder() -> Path:
    """`models/` of the extension's checkout, or in the user's data folder where there is no checkout."""
    checkout = Path(__file__).parents[2]
    if (checkout / "install.py").is_file() and (checkout / "models").is_dir():
        return checkout / "models"
    return private_home() / "models"


def make_folder(folder: Path) -> None:
    """Make a folder for model files and those above it; a private home is made closed."""
    home = private_home()
    if folder.is_relative_to(home):
        private_folder(home)
    folder.mkdir(parents=True, exist_ok=True)


def cache_folder() -> Path:
    """The Hub cache, by the same variables as huggingface_hub's."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return expanded(os.environ[name])
    home = os.environ.get("HF_HOME")
    if home:
        return expanded(home) / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(base) / "huggingface" / "hub"


def _models_beside(name: str) -> Path | None:
    """The host's models folder, if this package lies in its folder of that name."""
    extensions = Path(__file__).parents[2].parent
    models = extensions.parent / "models"
    return models if extensions.name == name and models.is_dir() else None


def _comfyui(named: str, webui: Path | None, inside: Path | None) -> tuple[Path, ...]:
    """As named, the one that this runs in, or beside the WebUI, where most people put it."""
    folders = [expanded(named)] if named else []
    if inside is not None:
        folders.append(inside)
    if webui is not None and (beside := webui.parent.parent / "ComfyUI").is_dir():
        folders.append(beside)
    return tuple(dict.fromkeys(folders))


def _branches(folder: Path) -> tuple[Path, ...]:
    return tuple(folder / branch if branch else folder for branch in _BRANCHES)


def _candidates(part: Part, search: Search) -> Iterator[Candidate]:
    for place in search.folders():
        for root in place.roots:
            yield from (_inspect(part, path, place.title) for path in _files(part, root))
            yield from _matching(part, root, place.title)
    if search.cache is not None:
        for path in _cached(part, search.cache):
            yield _inspect(part, path, "the Hugging Face cache")


def _files(part: Part, root: Path) -> Iterator[Path]:
    if not _is_dir(root):
        return
    yield from (root / name for name in part.local_names if _is_file(root / name))
    if part.single_file:
        yield from single_files(root)


def _matching(part: Part, root: Path, place: str) -> Iterator[Candidate]:
    """Files of any name that fit. What does not is no fault: such folders hold other models, too."""
    if not (part.patterns and _is_dir(root)):
        return
    found = {path for pattern in part.patterns for path in root.glob(pattern)}
    for path in sorted(found, key=lambda path: (bool(_HALF.search(path.stem)), path)):
        if not (part.not_named and re.search(part.not_named, path.name)):
            seen = _inspect(part, path, place, inside=True)
            if seen.state in USABLE:
                yield seen


def _is_dir(path: Path) -> bool:
    """False also where the system does not let us look."""
    with contextlib.suppress(OSError):
        return path.is_dir()
    return False


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.is_file()
    return False


def single_files(root: Path) -> list[Path]:
    """One-file checkpoints of Stable Video Diffusion in a folder or one below it, by their names."""
    found = {path for name in SINGLE_FILES for below in ("", "*/") for path in root.glob(below + name)}
    return sorted(path for path in found if _is_file(path))


def _cached(part: Part, cache: Path) -> Iterator[Path]:
    names = part.hub_names + (SVD_FILES if part.single_file else ())
    for repo in part.repos:
        for snapshot in _snapshots(cache / f"models--{repo.replace('/', '--')}"):
            yield from (snapshot / name for name in names if os.path.lexists(snapshot / name))


def _snapshots(folder: Path) -> list[Path]:
    """Snapshots of a cached repository, that of `main` first, then the newest."""
    try:
        found = [path for path in (folder / "snapshots").iterdir() if path.is_dir()]
    except OSError:
        return []
    main = ""
    with contextlib.suppress(OSError):
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    return sorted(found, key=lambda path: (path.name != main, -path.stat().st_mtime, path.name))


def _inspect(part: Part, path: Path, place: str, inside: bool = False) -> Candidate:
    """Judge a file by its first bytes and, for safetensors, its header; a pickle's own only with `inside`."""
    try:
        return Candidate(path, place, _state(part, path, inside))
    except BadWeights as problem:
        return Candidate(path, place, PartState.WRONG, problem.message)


def _state(part: Part, path: Path, inside: bool) -> PartState:
    if part.kind is Kind.SETTINGS:
        return PartState.READY
    found = format_of(path)
    if part.kind is Kind.TORCHSCRIPT and found is Format.TORCHSCRIPT:
        return PartState.READY
    if part.kind is Kind.TENSORS and found in PICKLES:
        if inside:
            refuse_foreign(part, read_contents(path))
        return PartState.CONVERT
    if part.kind is not Kind.TENSORS or found is not Format.SAFETENSORS:
        raise not_weights(path, found) if found not in PICKLES else BadWeights(f"{path} is no TorchScript.")
    refuse_foreign(part, read_contents(path))
    return PartState.READY


def _stale_note(path: Path) -> str:
    """A sentence if the pickle that the file was made from has changed since."""
    record = read_record(path)
    source = Path(str(record.get("source", "")))
    if not record.get("source") or not _is_file(source):
        return ""
    now = source.stat()
    if (now.st_size, now.st_mtime_ns) == (record.get("source_bytes"), record.get("source_mtime_ns")):
        return ""
    return f"{source} has changed since it was converted; convert again: sonic weights convert --again"


def _find_partial(part: Part, search: Search) -> Finding | None:
    """An interrupted download, or a folder that lacks the file that counts."""
    fetched = search.target / part.folders[0] / part.hub_names[0]
    begun = fetched.parent.glob(f".{fetched.name}.*.part") if _is_dir(fetched.parent) else ()
    unfinished = sorted(begun)
    if unfinished:
        size = unfinished[0].stat().st_size
        return _partial(part, unfinished[0], f"The download stopped after {size:,} bytes; it can go on.")
    for place in search.folders():
        for folder in (root / name for root in place.roots for name in part.folders if name):
            if _is_dir(folder):
                what = f"The folder {folder} is there, but not {part.hub_names[0]} in it."
                return _partial(part, folder, what)
    return _unfinished_in_cache(part, search.cache) if search.cache else None


def _unfinished_in_cache(part: Part, cache: Path) -> Finding | None:
    for repo in part.repos:
        folder = cache / f"models--{repo.replace('/', '--')}" / "blobs"
        blobs = sorted(folder.glob("*.incomplete")) if _is_dir(folder) else []
        if blobs:
            return _partial(
                part, blobs[0], f"A download of {repo} into the Hugging Face cache stopped midway."
            )
    return None


def _partial(part: Part, path: Path, detail: str) -> Finding:
    return Finding(part, PartState.PARTIAL, path, "", detail)


def _lack(finding: Finding) -> str:
    said = f"{finding.part.name} is {finding.state.value}"
    return f"{said} ({finding.detail.rstrip('.')})" if finding.detail else said
