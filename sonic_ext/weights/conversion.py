"""Turns a pickle into safetensors, once: streamed tensor by tensor, so that memory holds one at a time.

Half precision where the engine runs the part in half precision; the others keep their type, because a
rounded weight would change the numbers of a model that runs in single precision.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadOutput, BadSetting, BadWeights
from ..ports import Tick
from .catalogue import Part
from .checks import fitting_contents, refuse_foreign
from .contents import Contents, read_contents
from .find import make_folder
from .formats import ITEM_BYTES, PICKLES
from .mapping import Origin, origins
from .record import sha256_of, write_record

if TYPE_CHECKING:
    from torch import Tensor

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
        BadWeights: the source is damaged, of another model, or wants to run code.
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
    contents = _convertible(part, source, strict)
    plan = {key: _stored(part, origin) for key, origin in origins(part, contents.entries).items()}
    try:
        _write(part, contents, plan, target, tick)
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


def _convertible(part: Part, source: Path, strict: bool) -> Contents:
    if strict:
        contents = fitting_contents(part, source)
    else:
        contents = read_contents(source)
        refuse_foreign(part, contents)
    if contents.format not in PICKLES:
        raise BadSetting(f"{source} is {contents.format.value} already.", "It can be used as it is.")
    return contents


def _stored(part: Part, origin: Origin) -> Origin:
    """The origin with the type that is written."""
    wide = origin.dtype in ("F64", "F32", "BF16")
    dtype = "F16" if part.half and wide else "F32" if origin.dtype == "F64" else origin.dtype
    return Origin(origin.source, origin.shape, dtype, origin.cut, origin.transposed)


def _write(
    part: Part, contents: Contents, plan: Mapping[str, Origin], target: Path, tick: Tick | None
) -> None:
    from .pickles import read

    source = contents.path
    make_folder(target.parent)
    _sweep(target)
    _need_room(target.parent, _bytes(plan))
    stamp = source.stat()
    source_sha256 = sha256_of(source, tick)
    tensors = read(source)
    plan = _without_overflow(plan, tensors, tick)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        sha256 = _stream(temporary, plan, tensors, tick, f"converting {part.name}")
        read_contents(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    values = _record(source, stamp, source_sha256, sha256, plan)
    write_record(target, values | {"part": part.name, "licence": part.licence.name})


def _record(
    source: Path, stamp: os.stat_result, source_sha256: str, sha256: str, plan: Mapping[str, Origin]
) -> dict[str, Any]:
    return {
        "source": str(source.absolute()),
        "source_bytes": stamp.st_size,
        "source_mtime_ns": stamp.st_mtime_ns,
        "source_sha256": source_sha256,
        "sha256": sha256,
        "dtypes": sorted({origin.dtype for origin in plan.values()}),
        "tensors": len(plan),
        "converted": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _without_overflow(
    plan: Mapping[str, Origin], tensors: Mapping[str, Tensor], tick: Tick | None
) -> dict[str, Origin]:
    """Tensors with numbers beyond half precision's range keep single precision."""
    import torch

    most = torch.finfo(torch.float16).max

    def kept(origin: Origin) -> Origin:
        tensor = tensors[origin.source] if origin.source else None
        if origin.dtype != "F16" or tensor is None or tensor.dtype == torch.float16 or not tensor.numel():
            return origin
        low, high = (float(edge) for edge in tensor.aminmax())
        if max(-low, high) <= most:
            return origin
        return Origin(origin.source, origin.shape, "F32", origin.cut, origin.transposed)

    fitted = {}
    for done, (key, origin) in enumerate(plan.items()):
        fitted[key] = kept(origin)
        if tick is not None:
            tick("looking for numbers beyond half precision", done + 1, len(plan))
    return fitted


def _stream(
    path: Path, plan: Mapping[str, Origin], tensors: Mapping[str, Tensor], tick: Tick | None, stage: str
) -> str:
    """Write header and data; SHA-256 of the file, known to be on the disk when this returns."""
    digest = hashlib.sha256()
    total = max(1, _bytes(plan))
    done = 0
    with path.open("xb") as file:
        for block in _blocks(plan, tensors):
            file.write(block)
            digest.update(block)
            done += len(block)
            if tick is not None:
                tick(stage, min(done, total), total)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _blocks(plan: Mapping[str, Origin], tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    """A safetensors file piece by piece: length of the header, header, every tensor's bytes."""
    header = _header(plan)
    yield len(header).to_bytes(8, "little") + header
    for origin in plan.values():
        yield _little_endian(origin, tensors)


def _header(plan: Mapping[str, Origin]) -> bytes:
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for key, origin in plan.items():
        stop = start + _tensor_bytes(origin)
        table[key] = {"dtype": origin.dtype, "shape": list(origin.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=True).encode()
    return text + b" " * (-len(text) % 8)


def _little_endian(origin: Origin, tensors: Mapping[str, Tensor]) -> bytes:
    import torch

    wanted = {"F16": torch.float16, "F32": torch.float32}.get(origin.dtype)
    tensor = origin.take(tensors.__getitem__)
    tensor = tensor if wanted is None else tensor.to(wanted)
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _tensor_bytes(origin: Origin) -> int:
    return ITEM_BYTES[origin.dtype] * prod(origin.shape)


def _bytes(plan: Mapping[str, Origin]) -> int:
    return sum(_tensor_bytes(origin) for origin in plan.values())


def _need_room(folder: Path, count: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < count + MARGIN:
        raise BadOutput(
            f"{folder} has room for {free / 1e9:.1f} GB; the converted file takes {count / 1e9:.1f} GB.",
            "Make room, or name another folder in SONIC_MODELS.",
        )


def _sweep(target: Path) -> None:
    """Remove what conversions that were killed have left."""
    for left in target.parent.glob(f".{target.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_AFTER:
                left.unlink()
