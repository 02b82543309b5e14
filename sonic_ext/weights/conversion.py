"""Turns a pickle into safetensors, once: streamed tensor by tensor, so that memory holds one at a time.

Tensors keep their type (double precision becomes single), so that `precision=fp32` computes with the
published numbers; half precision would take half the disk. The source is read once, from its beginning to its
end: its SHA-256 is taken up to the end of each tensor just before that tensor is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadOutput, BadSetting, BadWeights
from ..files.atomic import atomic_write, flush_to_disk, remove_temporaries
from ..files.digest import BLOCK
from ..progress import Stage, Tick
from .catalogue import Part
from .checks import refuse_foreign, refuse_misfit
from .contents import TensorListing, read_contents
from .find import make_folder
from .formats import ITEM_BYTES, Format, format_of
from .mapping import TensorSource, origins
from .pickles import MappedTensors, Pickle, read_pickle
from .record import write_record

if TYPE_CHECKING:
    from mmap import mmap

MARGIN = 64_000_000
"""Bytes that are left free on the disk."""
STALE_AFTER = 86_400.0
"""Seconds after which the temporary file of a killed conversion is swept away."""


def convert(
    part: Part,
    source: Path,
    target: Path,
    *,
    again: bool = False,
    strict: bool = True,
    tick: Tick | None = None,
) -> Path:
    """Write a part's pickle as safetensors, with a record of both hashes beside it.

    Args:
        target: the file to write; its folder is made.
        again: replace `target` if it exists.
        strict: refuse what does not fit the catalogue key by key; False refuses only what is another model.

    Returns:
        `target`.

    Raises:
        BadWeights: the source is damaged, of another model, or holds no tensors.
        BadOutput: no room, `target` exists, or it cannot be written.
        MissingPart: torch is not installed.
        Cancelled: `tick` said so; nothing is left behind.
    """
    if target.exists() and target.samefile(source):
        raise BadWeights(
            f"{source} is a pickle under the name of a safetensors file.",
            f"Rename it to {source.with_suffix('.pth').name}; then it can be converted.",
        )
    if target.exists() and not again:
        raise BadOutput(
            f"{target} exists already.", "Use it, or convert again: sonic weights convert --again"
        )
    held = _fitting(part, source, strict)
    try:
        _write(part, held, _plan(part, held), target, tick)
    except OSError as error:
        raise BadOutput(
            f"{target} cannot be written: {error.strerror or error}.",
            "Make room, or name another folder in SONIC_MODELS.",
        ) from error
    return target


def target_of(part: Part, folder: Path) -> Path:
    """Where the converted file of a part goes below a models folder.

    Raises:
        BadSetting: the part is never published as a pickle.
    """
    if not part.converted:
        raise BadSetting(f"{part.name} needs no conversion.", "")
    return folder / part.converted


def _fitting(part: Part, source: Path, strict: bool) -> Pickle:
    found = format_of(source)
    if found is Format.SAFETENSORS:
        raise BadSetting(f"{source} is safetensors already.", "It can be used as it is.")
    held = read_pickle(source)
    contents = TensorListing(source, found, held.entries, foreign=held.foreign)
    if strict:
        refuse_misfit(part, contents, part.shapes)
    else:
        refuse_foreign(part, contents)
    return held


def _plan(part: Part, source: Pickle) -> dict[str, TensorSource]:
    """The part's keys → what is written, in the order in which the source holds it."""

    def place(pair: tuple[str, TensorSource]) -> int:
        return source.span(pair[1].source)[0] if pair[1].source else 0

    found = sorted(origins(part, source.entries).items(), key=place)
    return {key: replace(each, dtype="F32") if each.dtype == "F64" else each for key, each in found}


def _write(
    part: Part, source: Pickle, plan: Mapping[str, TensorSource], target: Path, tick: Tick | None
) -> None:
    make_folder(target.parent)
    with contextlib.suppress(OSError):
        remove_temporaries(target, STALE_AFTER)
    _require_space(target.parent, sum(map(_tensor_bytes, plan.values())))
    stamp = source.path.stat()
    tensors = MappedTensors(source)
    read = _Digest(tensors.data, part.name, tick)
    with atomic_write(target) as temporary:
        sha256 = _stream(temporary, _blocks(plan, tensors, read))
        source_sha256 = read.to(len(tensors.data))
        read_contents(temporary)
    record = {
        "source": str(source.path.absolute()),
        "source_bytes": stamp.st_size,
        "source_mtime_ns": stamp.st_mtime_ns,
        "source_sha256": source_sha256,
        "left_out": list(source.foreign),
        "sha256": sha256,
        "dtypes": sorted({origin.dtype for origin in plan.values()}),
        "tensors": len(plan),
        "converted": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "part": part.name,
        "licence": part.licence.name,
    }
    write_record(target, record)


class _Digest:
    """SHA-256 of a mapped file, taken piece by piece; `tick` is told of each."""

    def __init__(self, data: mmap, name: str, tick: Tick | None) -> None:
        self._data, self._name, self._tick = data, name, tick
        self._done, self._digest = 0, hashlib.sha256()

    def to(self, stop: int) -> str:
        """In hex, of all bytes before `stop` or, where it went further already, of those."""
        while self._done < stop:
            block = self._data[self._done : min(stop, self._done + BLOCK)]
            self._digest.update(block)
            self._done += len(block)
            if self._tick is not None:
                self._tick(Stage.CONVERTING, self._done, len(self._data), self._name)
        return self._digest.hexdigest()


def _stream(path: Path, blocks: Iterator[bytes]) -> str:
    """Write a file; its SHA-256, and it is known to be on the disk when this returns."""
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
        flush_to_disk(file)
    return digest.hexdigest()


def _blocks(plan: Mapping[str, TensorSource], tensors: MappedTensors, read: _Digest) -> Iterator[bytes]:
    """A safetensors file piece by piece: length of the header, header, every tensor's bytes."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for key, origin in plan.items():
        stop = start + _tensor_bytes(origin)
        table[key] = {"dtype": origin.dtype, "shape": list(origin.shape), "data_offsets": [start, stop]}
        start = stop
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=True).encode()
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little") + header
    for origin in plan.values():
        if origin.source:
            read.to(tensors.source.span(origin.source)[1])
        yield _little_endian(origin, tensors)


def _little_endian(origin: TensorSource, tensors: MappedTensors) -> bytes:
    import torch

    tensor = origin.take(tensors.__getitem__)
    tensor = tensor.float() if tensor.dtype == torch.float64 else tensor
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _tensor_bytes(origin: TensorSource) -> int:
    return ITEM_BYTES[origin.dtype] * prod(origin.shape)


def _require_space(folder: Path, count: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < count + MARGIN:
        raise BadOutput(
            f"{folder} has room for {free / 1e9:.1f} GB; the converted file takes {count / 1e9:.1f} GB.",
            "Make room, or name another folder in SONIC_MODELS.",
        )
