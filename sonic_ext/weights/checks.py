"""Is this file what it should be? Compared with the catalogue by its header, without loading a tensor."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadWeights
from ..progress import Tick
from .catalogue import SCHEDULER_VALUES, Kind, Part, Shape, Shapes, fetch_command
from .contents import TensorListing, read_contents
from .formats import FETCH, Format, first_few, format_of, not_weights, unreadable
from .identify import SVD, has_image_decoder, identify, svd_version
from .mapping import has_channels, has_signs, is_single_file, origins
from .record import known_sha256, ticking_sha256


@dataclass(frozen=True)
class Misfit:
    """How a file differs from what is wanted; false when it does not."""

    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    shapes: tuple[tuple[str, Shape, Shape], ...] = ()
    """Key, shape in the file, shape wanted."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.foreign or self.shapes)

    def text(self) -> str:
        """The first few of each kind."""
        shapes = [f"{key} is {_shape(found)}, not {_shape(wanted)}" for key, found, wanted in self.shapes]
        kinds = (("missing", self.missing), ("shape", shapes), ("foreign", self.foreign))
        return "; ".join(f"{name}: {first_few(rows)}" for name, rows in kinds if rows)


@dataclass(frozen=True)
class CheckReport:
    """What is known of one file."""

    part: Part
    path: Path
    problem: BadWeights | None = None
    notes: tuple[str, ...] = ()
    """Sentences for the user."""
    tensors: int = 0
    dtypes: tuple[str, ...] = ()
    """Types of the tensors, the most common first, as safetensors names them."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        problem = {"message": self.problem.message, "hint": self.problem.hint} if self.problem else None
        return {
            "part": self.part.name,
            "path": str(self.path),
            "ok": self.problem is None,
            "problem": problem,
            "notes": list(self.notes),
            "tensors": self.tensors,
            "dtypes": list(self.dtypes),
        }


def compare(found: Shapes, wanted: Shapes) -> Misfit:
    """What of `wanted` a file lacks or has otherwise, and what it has beyond."""
    differing = (key for key in wanted if key in found and tuple(found[key]) != tuple(wanted[key]))
    return Misfit(
        tuple(key for key in wanted if key not in found),
        tuple(key for key in found if key not in wanted),
        tuple((key, tuple(found[key]), tuple(wanted[key])) for key in differing),
    )


def check(part: Part, path: Path, *, hashes: bool = False, tick: Tick | None = None) -> CheckReport:
    """Compare a file with the catalogue.

    Args:
        hashes: also read the whole file and compare its SHA-256 with what was recorded when it came.
    """
    try:
        report = _CHECKS[part.kind](part, path)
        if hashes:
            _check_hash(path, tick)
    except BadWeights as problem:
        return CheckReport(part, path, with_part_hint(part, problem))
    return report


def with_part_hint(part: Part, problem: BadWeights) -> BadWeights:
    """The same error; where its hint ends in the bare command, with the whole one for the part."""
    if not problem.hint.endswith(FETCH):
        return problem
    return BadWeights(problem.message, problem.hint.removesuffix(FETCH) + fetch_command([part]))


def fitting_contents(part: Part, path: Path) -> TensorListing:
    """The header of a file whose every key and shape fits the catalogue.

    Raises:
        BadWeights: it does not; the first keys and shapes are named.
    """
    contents = read_contents(path)
    refuse_misfit(part, contents, part.shapes)
    return contents


def refuse_misfit(part: Part, contents: TensorListing, wanted: Shapes) -> None:
    """Raise `BadWeights` unless the file holds exactly `wanted`."""
    found = {key: origin.shape for key, origin in origins(part, contents.entries).items()}
    misfit = compare(found, wanted)
    if misfit:
        raise misfit_error(part, contents, misfit)


def refuse_foreign(part: Part, contents: TensorListing) -> None:
    """Raise `BadWeights` if the keys are not those of such a model at all."""
    found = {key: origin.shape for key, origin in origins(part, contents.entries).items()}
    if not (has_signs(part, found) and has_channels(part, found)):
        raise misfit_error(part, contents, compare(found, part.shapes))


def misfit_error(part: Part, contents: TensorListing, misfit: Misfit) -> BadWeights:
    """The error for a file that is whole but holds something else."""
    real = identify(contents.entries)
    if part.name == "vae" and real == SVD and has_image_decoder(contents.entries):
        what = "holds the frame-wise decoder; needed is the temporal one"
    else:
        foreign = real is not None and not has_signs(part, origins(part, contents.entries))
        what = f"is {real}" if foreign else "does not fit"
    return BadWeights(
        f"{contents.path} {what}. Needed is: {part.title}. What does not fit: {misfit.text()}.",
        f"Bring the published file with: {fetch_command([part])}",
    )


def _check_tensors(part: Part, path: Path) -> CheckReport:
    contents = fitting_contents(part, path)
    found = origins(part, contents.entries)
    common = Counter(origin.dtype for origin in found.values()).most_common()
    return CheckReport(
        part, path, None, _notes(part, contents), len(found), tuple(name for name, _ in common)
    )


def _notes(part: Part, contents: TensorListing) -> tuple[str, ...]:
    notes = []
    if part.name in ("vae", "image_encoder"):
        version = svd_version(contents.path, contents.metadata) or "1.0 or 1.1"
        notes.append(f"From Stable Video Diffusion XT {version}; both versions serve.")
    if is_single_file(contents.entries):
        notes.append("Taken out of a one-file checkpoint.")
    if contents.format is not Format.SAFETENSORS:
        notes.append("A pickle: converted to safetensors before use (sonic weights convert).")
    if contents.foreign:
        notes.append(
            f"Holds more than tensors ({first_few(contents.foreign)}): left out and never run; "
            "programs that are less careful might run it."
        )
    return tuple(notes)


def _check_torchscript(part: Part, path: Path) -> CheckReport:
    found = format_of(path)
    if found is Format.TORCHSCRIPT:
        return CheckReport(
            part, path, None, ("Opened by PyTorch's own interpreter only when it is asked for.",)
        )
    if found in (Format.SAFETENSORS, Format.ZIP_PICKLE, Format.OLD_PICKLE):
        raise BadWeights(
            f"{path} is a {found.value} file; needed is a TorchScript program.",
            f"Bring the published file with: {fetch_command([part])}",
        )
    raise not_weights(path, found)


def _check_settings(part: Part, path: Path) -> CheckReport:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise BadWeights(f"{path} is not JSON ({error}).", _hint(part)) from error
    values: Mapping[str, Any] = held if isinstance(held, dict) else {}
    wrong = [key for key, value in SCHEDULER_VALUES.items() if values.get(key) != value]
    if wrong:
        differing = [f"{key} is {values.get(key)!r}, not {SCHEDULER_VALUES[key]!r}" for key in wrong]
        raise BadWeights(
            f"{path} is not the scheduler of Stable Video Diffusion XT: {first_few(differing)}.", _hint(part)
        )
    return CheckReport(part, path, None, ("The same numbers that are built in.",))


_CHECKS = {
    Kind.TENSORS: _check_tensors,
    Kind.TORCHSCRIPT: _check_torchscript,
    Kind.SETTINGS: _check_settings,
}


def _check_hash(path: Path, tick: Tick | None) -> None:
    known = known_sha256(path)
    if known and ticking_sha256(path, tick) != known:
        raise BadWeights(
            f"{path} was altered or damaged since it came: its SHA-256 is not the recorded one.",
            "Delete it and fetch or convert it again.",
        )


def _hint(part: Part) -> str:
    return f"Bring the published file with: {fetch_command([part])}"


def _shape(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a number"
