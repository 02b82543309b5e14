"""Brings tensors from safetensors files into modules that were built on the meta device.

Files are mapped, not read: a tensor of the wanted type becomes the module's parameter without a copy, one of
another type costs its own size while it is cast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadWeights
from ..progress import Stage, Tick
from .catalogue import REQUIRED, Part, Shape
from .checks import compare, misfit_error, with_part_hint
from .contents import TensorListing, read_contents
from .conversion import convert, target_of
from .find import PartState, Search, survey
from .formats import PICKLES
from .mapping import TensorSource, origins

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def prepare(
    search: Search | None = None, parts: Iterable[Part] = REQUIRED, tick: Tick | None = None
) -> dict[str, Path]:
    """Paths of safetensors files by the parts' names; pickles are converted on the way, once.

    Optional parts that are not there are left out. Sizes may differ from the published ones: networks are
    built from the shapes in the files, and `fill` compares the two.

    Raises:
        MissingPart: a required part is not there; the message says what brings it.
        BadWeights: a pickle is damaged, of another model, or holds no tensors.
        BadOutput: no room for a converted file.
        Cancelled: `tick` said so.
    """
    found = survey(search, parts)
    found.require()
    paths = {}
    for finding in found.findings:
        if finding.state is PartState.READY and finding.path:
            paths[finding.part.name] = finding.path
        elif finding.state is PartState.CONVERT and finding.path:
            target = target_of(finding.part, found.search.target)
            try:
                convert(finding.part, finding.path, target, again=True, strict=False, tick=tick)
            except BadWeights as problem:
                raise with_part_hint(finding.part, problem) from problem
            paths[finding.part.name] = target
    return paths


def shapes(part: Part, path: Path) -> dict[str, Shape]:
    """The part's keys and shapes in a file, from its header: what a network's configuration can be read off.

    Raises:
        BadWeights: damaged, or no file of weights.
    """
    return {key: origin.shape for key, origin in origins(part, read_contents(path).entries).items()}


def tensors(
    part: Part,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    prefix: str = "",
) -> Iterator[tuple[str, Tensor]]:
    """The part's tensors under its own keys, one after another.

    Args:
        dtype: floating-point tensors are cast to it; None leaves them as stored.
        prefix: only keys that begin so, without it: `encoder.` for a lone Whisper encoder.

    Raises:
        BadWeights: damaged, or a pickle, which has to be converted first.
    """
    contents = _safetensors(path)
    yield from _read(path, _strip_prefix(prefix, origins(part, contents.entries)), dtype, device)


def fill(
    module: nn.Module,
    part: Part,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    prefix: str = "",
    tick: Tick | None = None,
) -> None:
    """Give a module its weights: built on the meta device before, ready to run on `device` after.

    Every key of the module must be in the file in the same shape, and the file may hold no other.

    Args:
        dtype: floating-point tensors are cast to it; None leaves them as stored.
        prefix: the module's keys are the file's behind this.

    Raises:
        BadWeights: the file does not fit the module; the first keys and shapes are named.
        Cancelled: `tick` said so; the module is as it was.
    """
    from ..nn import build

    contents = _safetensors(path)
    found = _strip_prefix(prefix, origins(part, contents.entries))
    _refuse_misfit(module, part, contents, found)
    read = _ticking(_read(path, found, dtype, device), len(found), part.name, tick)
    build.fill(module, dict(read))
    _refuse_meta(module, part, path)


def _safetensors(path: Path) -> TensorListing:
    contents = read_contents(path)
    if contents.format in PICKLES:
        raise BadWeights(f"{path} is a pickle.", "Convert it first: sonic weights convert")
    return contents


def _strip_prefix(prefix: str, found: Mapping[str, TensorSource]) -> dict[str, TensorSource]:
    return {key[len(prefix) :]: origin for key, origin in found.items() if key.startswith(prefix)}


def _read(
    path: Path, found: Mapping[str, TensorSource], dtype: torch.dtype | None, device: torch.device | str
) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    with ExitStack() as stack:
        file = stack.enter_context(safe_open(str(path), framework="pt", device="cpu"))
        get: Callable[[str], Tensor] = file.get_tensor
        for key, origin in found.items():
            tensor = origin.take(get)
            wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            yield key, tensor.to(device=device, dtype=wanted).contiguous()


def _ticking(
    pairs: Iterator[tuple[str, Tensor]], total: int, name: str, tick: Tick | None
) -> Iterator[tuple[str, Tensor]]:
    for done, pair in enumerate(pairs):
        if tick is not None:
            tick(Stage.LOADING, done + 1, total, name)
        yield pair


def _refuse_misfit(
    module: nn.Module, part: Part, contents: TensorListing, found: Mapping[str, TensorSource]
) -> None:
    from ..nn import build

    wanted = {
        key: tuple(tensor.shape)
        for key, tensor in module.state_dict().items()
        if not key.endswith(build.COUNTER)
    }
    misfit = compare({key: origin.shape for key, origin in found.items()}, wanted)
    if misfit:
        raise misfit_error(part, contents, misfit)


def _refuse_meta(module: nn.Module, part: Part, path: Path) -> None:
    """Nothing may be left without memory: a buffer that is not saved and that nobody made."""
    everything = (*module.named_parameters(), *module.named_buffers())
    left = [name for name, tensor in everything if tensor.is_meta]
    if left:
        raise BadWeights(
            f"{part.title} stays incomplete after loading {path}: {', '.join(left[:3])}.",
            "Use a version of diffusers and transformers that this extension knows.",
        )
