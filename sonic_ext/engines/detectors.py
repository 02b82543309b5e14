"""Who says where the faces are: the built-in detector, or one whose files the user has.

Only the boxes come from here; the points of a face are always found by the built-in mesh.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import weights
from ..errors import BadSetting, MissingPart
from ..files.names import expanded
from ..media.detection import FaceDetection
from ..media.face import Detect

NAMES = ("builtin", "yoloface", "insightface")
HOME_VARIABLE = "INSIGHTFACE_HOME"
"""insightface's own folder; its packs lie in `models/` below."""
DETECTORS = ("det_*.onnx", "scrfd_*.onnx")
RECOGNISERS = ("w600k_*.onnx", "glint*.onnx")
"""What packs call their ArcFace networks."""
_ELSE = "or use face_detector=builtin, which needs no file."


def detector(name: str, search: weights.Search | None = None) -> Detect | None:
    """The detector that a setting names; None for the built-in one.

    Args:
        name: builtin, yoloface or insightface.
        search: where to look for files; None for this computer's places.

    Raises:
        MissingPart: its file or what runs it is not there; nothing is ever downloaded.
        BadSetting: there is none of that name.
    """
    if name == "builtin":
        return None
    where = search or weights.Search.default()
    if name == "yoloface":
        return _yoloface(where)
    if name == "insightface":
        return _insightface(where)
    raise BadSetting(f"There is no face detector {name!r}.", f"Use one of {', '.join(NAMES)}.")


def packs(search: weights.Search) -> list[Path]:
    """Detectors of insightface packs, the largest and so the best first."""
    return _in_packs(search, DETECTORS)


def recognisers(search: weights.Search) -> list[Path]:
    """Face recognisers of insightface packs, the largest and so the best first."""
    return _in_packs(search, RECOGNISERS)


def _in_packs(search: weights.Search, names: Iterable[str]) -> list[Path]:
    found = {path for folder in _pack_folders(search) for path in _files_below(folder, names)}
    return sorted(found, key=lambda path: (-path.stat().st_size, str(path)))


def _yoloface(search: weights.Search) -> Detect:
    finding = weights.survey(search, [weights.YOLOFACE])["yoloface"]
    if finding.state is not weights.PartState.READY or finding.path is None:
        said = f" ({finding.detail.rstrip('.')})" if finding.detail else ""
        raise MissingPart(
            f"The face detector yoloface is {finding.state.value}{said}.",
            f"Bring it with: {weights.fetch_command([weights.YOLOFACE])} {_ELSE}",
        )
    path = finding.path
    try:
        from ..nn.yoloface import YoloFace
    except ImportError as error:
        raise MissingPart(
            f"The face detector yoloface runs in PyTorch, and {error.name or 'a part'} is not installed.",
            f'Bring it with: python -m pip install "sonic-ext[sonic]" {_ELSE}',
        ) from error
    network = YoloFace(path)

    def detect(rgb: NDArray[np.uint8]) -> list[FaceDetection]:
        try:
            return network.find(rgb)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise MissingPart(
                f"{path} does not answer as yoloface does ({type(error).__name__}).",
                f"Bring the published file with: {weights.fetch_command([weights.YOLOFACE])} {_ELSE}",
            ) from error

    return detect


def _insightface(search: weights.Search) -> Detect:
    found = packs(search)
    if not found:
        raise MissingPart(
            "No insightface pack with a face detector (det_*.onnx) is on this computer.",
            f"Put one into {_home() / 'models'}, or name its folder in {HOME_VARIABLE}, {_ELSE}",
        )
    from ..media.scrfd import Scrfd

    return Scrfd(found[0])


def _home() -> Path:
    named = os.environ.get(HOME_VARIABLE, "").strip()
    return expanded(named or "~/.insightface")


def _pack_folders(search: weights.Search) -> Iterator[Path]:
    yield _home()
    if search.webui is not None:
        yield search.webui / "insightface"
    yield from (folder / "models" / "insightface" for folder in (*search.comfyui, *search.configured))
    yield from (folder / "insightface" for folder in search.configured)


def _files_below(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """In the folder and up to four below, where packs and their zips leave them."""
    below = ("", "*/", "*/*/", "*/*/*/")
    try:
        yield from (
            path for depth in below for name in names for path in folder.glob(depth + name) if path.is_file()
        )
    except OSError:  # a folder that the system does not let us look into
        return
