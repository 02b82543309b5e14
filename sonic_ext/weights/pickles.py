"""PyTorch's pickles: which tensors they hold and where those lie. Listing them takes no torch and reads none.

A zip holds the pickle as `NAME/data.pkl` and every storage as a file `NAME/data/KEY` that is not compressed.
Old files are five pickles in a row (a magic number, a version, the system, the tensors, the keys of the
storages) and then the storages in the order of the keys, each behind its count of elements in eight bytes.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadWeights
from .formats import (
    AGAIN,
    BROKEN_ZIP,
    ITEM_BYTES,
    PICKLES,
    PUBLISHED,
    Format,
    TensorEntry,
    first_few,
    format_of,
    not_weights,
    unreadable,
)
from .preconditions import no_torch
from .unpickle import FAULTS, MAX_PICKLE, TORCH_NAMES, Storage, StoredTensor, Unpickled, unpickle

if TYPE_CHECKING:
    from torch import Tensor

WRAPPINGS = ("state_dict", "model_state_dict", "module", "model", "unet", "params_ema", "params")
"""Keys under which training programs put the weights among other things, best first; they may be nested."""
MAX_WRAPPINGS = 4
"""Wrappings around each other."""
_OLD_MAGIC, _OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001


@dataclass(frozen=True)
class Pickle:
    """What a pickle holds, its numbers left on the disk."""

    path: Path
    stored: Mapping[str, StoredTensor]
    places: Mapping[str, int]
    """Key of a storage → its first byte in the file."""
    foreign: tuple[str, ...]
    """Names of what is no tensor and was left out; it was never run."""

    @property
    def entries(self) -> dict[str, TensorEntry]:
        """Names, shapes and types."""
        return {key: TensorEntry(tensor.shape, tensor.dtype) for key, tensor in self.stored.items()}

    def span(self, key: str) -> tuple[int, int]:
        """The first byte of a tensor in the file, and the one after its last."""
        tensor = self.stored[key]
        item = ITEM_BYTES[tensor.dtype]
        start = self.places[tensor.storage.key] + tensor.offset * item
        return start, start + tensor.span * item


def read_pickle(path: Path) -> Pickle:
    """List the tensors of a pickle.

    Raises:
        BadWeights: not a pickle of tensors, or damaged.
    """
    found = format_of(path)
    if found not in PICKLES:
        raise not_weights(path, found)
    try:
        with _mapped(path) as data:
            said, places = _of_zip(path, data) if found is Format.ZIP_PICKLE else _of_old(data)
    except (*FAULTS, *BROKEN_ZIP) as error:
        why = str(error) or type(error).__name__
        raise BadWeights(f"{path} is damaged or not a file of weights ({why}).", AGAIN) from error
    tensors = _named_tensors(said.value)
    if not tensors:
        raise _without_tensors(path, said.foreign)
    return Pickle(path, tensors, places, said.foreign)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    """A file's bytes, read here and there: the system is told not to read megabytes around each."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
    with file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if hasattr(mmap, "MADV_RANDOM"):  # not on Windows
            data.madvise(mmap.MADV_RANDOM)
        yield data


class MappedTensors:
    """The tensors of a pickle, mapped from the disk."""

    def __init__(self, source: Pickle) -> None:
        """
        Raises:
            BadWeights: the file cannot be read.
            MissingPart: torch is not installed.
        """
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise no_torch() from error
        self.source = source
        try:
            with source.path.open("rb") as file:
                # private pages that nobody writes to: torch warns of memory that it may not write
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                """The whole file."""
        except OSError as error:
            raise unreadable(source.path, error) from error

    def __getitem__(self, key: str) -> Tensor:
        """A tensor on the file's own pages; copied where they are not aligned."""
        import torch

        stored = self.source.stored[key]
        dtype = getattr(torch, TORCH_NAMES[stored.dtype])
        start, stop = self.source.span(key)
        if start == stop:
            return torch.empty(stored.shape, dtype=dtype)
        raw = torch.frombuffer(self.data, dtype=torch.uint8, count=stop - start, offset=start)
        raw = raw.clone() if raw.data_ptr() % ITEM_BYTES[stored.dtype] else raw
        return raw.view(dtype).as_strided(stored.shape, stored.stride)


def _of_zip(path: Path, data: mmap.mmap) -> tuple[Unpickled, dict[str, int]]:
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: info for info in archive.infolist()}
        root = next((name.partition("/")[0] for name in files if name.partition("/")[2] == "data.pkl"), "")
        if _place_in_zip(files[f"{root}/data.pkl"], data)[1] > MAX_PICKLE:
            raise ValueError("it holds too much beside the tensors")
        said = unpickle(archive.read(f"{root}/data.pkl"))
    if f"{root}/byteorder" in files:
        place, size = _place_in_zip(files[f"{root}/byteorder"], data)
        if data[place : place + min(size, 8)] != b"little":
            raise ValueError("its numbers are in the order of another processor")
    places = {}
    for key, storage in said.storages.items():
        place, size = _place_in_zip(files[f"{root}/data/{key}"], data)
        _refuse_short(storage, place, size, len(data))
        places[key] = place
    return said, places


def _place_in_zip(info: zipfile.ZipInfo, data: mmap.mmap) -> tuple[int, int]:
    """First byte and count of bytes of a file in a zip, from the header before it."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ValueError("another program has compressed or encrypted it")
    signature, name, extra = struct.unpack("<4s22xHH", data[info.header_offset : info.header_offset + 30])
    if signature != b"PK\x03\x04":
        raise ValueError("a tensor is not where the archive says")
    return info.header_offset + 30 + name + extra, info.file_size


def _of_old(data: mmap.mmap) -> tuple[Unpickled, dict[str, int]]:
    magic = unpickle(data)
    version = unpickle(data, magic.stop)
    system = unpickle(data, version.stop)
    if (magic.value, version.value) != (_OLD_MAGIC, _OLD_VERSION):
        raise ValueError("PyTorch did not write it")
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise ValueError("its numbers are in the order of another processor")
    said = unpickle(data, system.stop)
    keys = unpickle(data, said.stop)
    if type(keys.value) is not list or any(type(key) is not str for key in keys.value):
        raise TypeError("its storages have no names")
    places: dict[str, int] = {}
    place = keys.stop
    for key in keys.value:
        storage = said.storages[key]
        size = storage.item * struct.unpack("<q", data[place : place + 8])[0]
        _refuse_short(storage, place + 8, size, len(data))
        places[key] = place + 8
        place += 8 + size
    if len(places) < len(said.storages):
        raise ValueError("tensors are missing")
    return said, places


def _refuse_short(storage: Storage, place: int, size: int, end: int) -> None:
    if size < storage.count * storage.item or place + size > end:
        raise ValueError("it ends before its tensors do")


def _named_tensors(content: Any) -> dict[str, StoredTensor]:
    """Those of the innermost wrapping that holds any. A dict that holds itself is looked into once."""
    seen: set[int] = set()

    def inside(value: Any, depth: int) -> dict[str, StoredTensor]:
        if type(value) is not dict or id(value) in seen or depth > MAX_WRAPPINGS:
            return {}
        seen.add(id(value))
        wrapped = (inside(value.get(key), depth + 1) for key in WRAPPINGS)
        own = ((key, tensor) for key, tensor in value.items() if isinstance(tensor, StoredTensor))
        return next((found for found in wrapped if found), None) or dict(own)

    return inside(content, 0)


def _without_tensors(path: Path, foreign: tuple[str, ...]) -> BadWeights:
    if not foreign:
        return BadWeights(f"{path} holds no named tensors.", AGAIN)
    return BadWeights(
        f"{path} holds no named tensors, only objects that could run code ({first_few(foreign)}).",
        f"Do not use this file. {PUBLISHED}",
    )
