"""Overlays: audio adapters trained further, kept apart from the weights that they were trained on.

    FOLDER/adapters/NAME.safetensors    FOLDER is any models folder

An overlay holds the tensors that it replaces, `unet.KEY` and `audio2token.KEY`, and in its metadata one entry
of JSON that says which weights they belong to, how they were trained, and on what legal basis. They fit these
weights alone: others are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadSetting, BadWeights, MissingPart
from ..files.atomic import replace_file
from ..files.digest import sha256_of
from .catalogue import AUDIO2TOKEN, UNET, Part
from .find import Search

if TYPE_CHECKING:
    import torch

FORMAT, ENTRY = "sonic adapters 1", "sonic"
"""`format` of an overlay, and the entry of its metadata that has all that it says of itself, as JSON."""
FOLDER = "adapters"
"""In a models folder."""
PARTS: tuple[Part, ...] = (UNET, AUDIO2TOKEN)
"""What an overlay replaces tensors of."""
_NAME = re.compile(r"[^\\/:]+")


@dataclass(frozen=True)
class OverlayAbout:
    """What an overlay says of itself."""

    base: Mapping[str, str]
    """SHA-256 of the files that it was trained on, by part."""
    recipe: Mapping[str, Any]
    """How it was trained."""
    basis: Mapping[str, str]
    """On what legal basis the faces and voices were learned from."""
    data: Mapping[str, Any]
    """What was learned from: SHA-256, clips, speakers, seconds."""
    metrics: Mapping[str, Any]
    """What the training came to."""
    version: str
    """Of this package."""
    tensors: str = ""
    """SHA-256 of the tensors, see `tensors_sha256`."""


@dataclass(frozen=True)
class Overlay:
    """An overlay's file; tensors are read when they are asked for."""

    path: Path
    about: OverlayAbout

    @property
    def name(self) -> str:
        """What the setting `adapters` calls it."""
        return self.path.stem

    def require_base(self, paths: Mapping[str, Path]) -> None:
        """Refuse weights that it was not trained on. A file is hashed once in a process.

        Args:
            paths: part → file, of `weights.prepare`.

        Raises:
            BadWeights: a part is another file's.
        """
        other = [
            part.name for part in PARTS if _file_sha256(paths[part.name]) != self.about.base.get(part.name)
        ]
        if other:
            raise BadWeights(
                f"The adapters {self.name} were trained on other weights: {', '.join(other)} differs.",
                "Use the weights that they were trained on, or train them on these: sonic train adapters",
            )

    def apply(self, module: torch.nn.Module, part: Part) -> None:
        """Put the overlay's tensors of a part into its filled network, in the network's numbers.

        Raises:
            BadWeights: the file was altered or cut off, or does not fit the network.
        """
        held = dict(module.named_parameters())
        prefix = f"{part.name}."
        own = {
            key.removeprefix(prefix): value
            for key, value in self._tensors().items()
            if key.startswith(prefix)
        }
        for key, value in own.items():
            if key not in held or held[key].shape != value.shape:
                raise BadWeights(
                    f"{self.path} does not fit {part.title}: {key} is unknown or has another shape.",
                    "Train the adapters anew: sonic train adapters",
                )
        cast = {key: value.to(held[key]) for key, value in own.items()}
        module.load_state_dict(cast, strict=False, assign=True)
        module.requires_grad_(False)

    def _tensors(self) -> dict[str, torch.Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: dict[str, torch.Tensor] = load_file(self.path)
        except (OSError, SafetensorError) as error:
            raise _damaged(self.path, error) from error
        if tensors_sha256(tensors) != self.about.tensors:
            raise _damaged(self.path, "its tensors are not those that were trained")
        return tensors


def find_overlay(search: Search, name: str) -> Overlay:
    """The overlay of a name, from the first models folder that has it.

    Raises:
        BadSetting: the name is that of a path.
        MissingPart: there is none; the message says which there are.
        BadWeights: the file is damaged or of another kind.
    """
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise BadSetting(f"adapters={name} is no name.", f"Put the file into a folder {FOLDER} and name it.")
    found = overlay_files(search)
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise MissingPart(
            f"There are no adapters {name} in the folders of the models (there are: {there}).",
            f"Put {name}.safetensors into the folder {FOLDER} of a models folder.",
        )
    return read_overlay(found[name])


def overlay_files(search: Search) -> dict[str, Path]:
    """Name → file of every overlay, first come first served."""
    roots = [root for folder in search.folders() for root in folder.roots]
    found: dict[str, Path] = {}
    for root in [search.bundle, *roots]:
        if root is not None and (root / FOLDER).is_dir():
            for path in sorted((root / FOLDER).glob("*.safetensors")):
                found.setdefault(path.stem, path)
    return found


def read_overlay(path: Path) -> Overlay:
    """An overlay, from its header.

    Raises:
        BadWeights: it is damaged, or no overlay.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            values = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
        if values.pop("format", "") != FORMAT:
            raise ValueError("it holds no adapters")
        return Overlay(path, OverlayAbout(**values))
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def write_overlay(path: Path, tensors: Mapping[str, torch.Tensor], about: OverlayAbout) -> Overlay:
    """Write an overlay in half precision, whole or not at all; the same values give the same bytes.

    Args:
        path: NAME.safetensors.
        tensors: `PART.KEY` → its values.
        about: its `tensors` is filled in.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save

    kept = {key: value.detach().cpu().half().contiguous() for key, value in sorted(tensors.items())}
    values = {**asdict(about), "tensors": tensors_sha256(kept), "format": FORMAT}
    # One entry, because safetensors writes several in any order.
    replace_file(path, save(kept, {ENTRY: json.dumps(values, sort_keys=True)}))
    return read_overlay(path)


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256, in hex, of names, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {list(tensors[name].shape)} {tensors[name].dtype}\n".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def base_of(paths: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of the files that adapters belong to, by part."""
    return {part.name: _file_sha256(paths[part.name]) for part in PARTS}


def _file_sha256(path: Path) -> str:
    found = path.stat()
    return _sha256_once(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256_once(path: Path, size: int, changed: int) -> str:
    """Of the file as it is: gigabytes are not read for every video."""
    return sha256_of(path)


def _damaged(path: Path, why: object) -> BadWeights:
    return BadWeights(f"{path} cannot be used as adapters ({why}).", "Copy it again, or train it anew.")
