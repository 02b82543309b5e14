"""Opens PyTorch's pickles, tensors only: whatever else a pickle wants to build is refused, never run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadWeights, MissingPart
from .formats import AGAIN, PUBLISHED, Entry, Format, format_of, not_weights

if TYPE_CHECKING:
    from torch import Tensor

WRAPPINGS = ("state_dict", "model", "params_ema", "params")
"""Keys under which training programs put the weights among other things."""
_TYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"},
    **{"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}


def entries(path: Path) -> dict[str, Entry]:
    """Names, shapes and types; tensors of a zip stay on the disk."""
    return {key: Entry(tuple(tensor.shape), dtype_name(tensor)) for key, tensor in read(path).items()}


def dtype_name(tensor: Tensor) -> str:
    """The tensor's type as safetensors names it."""
    name = str(tensor.dtype).removeprefix("torch.")
    return _TYPES.get(name, name)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle, those of a zip mapped from the disk and not yet read.

    Raises:
        BadWeights: not a pickle of tensors, damaged, or holding more than tensors that torch refuses.
        MissingPart: torch is not installed.
    """
    found = format_of(path)
    if found not in (Format.ZIP_PICKLE, Format.OLD_PICKLE):
        raise not_weights(path, found)
    held = _unwrapped(_load(path, mmap=found is Format.ZIP_PICKLE))
    tensors = _tensors(held)
    if not tensors:
        raise BadWeights(f"{path} holds no named tensors.", AGAIN)
    return tensors


def _load(path: Path, *, mmap: bool) -> Any:
    load = _true_load()
    try:
        loaded = load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise BadWeights(
            f"{path} is damaged ({type(error).__name__}: {_first_line(error)}).", AGAIN
        ) from error
    if loaded is None:
        raise BadWeights(
            f"{path} was not opened: the host's own loader stands in for torch.load and refused it.",
            "Convert it outside of the WebUI: sonic weights convert",
        )
    return loaded


def _true_load() -> Any:
    """PyTorch's own loader. A1111 puts another one in the place of `torch.load`, which gives None for what
    it does not know; the function's home module keeps the original."""
    try:
        from torch.serialization import load
    except ImportError as error:
        raise MissingPart(
            "A pickle can be looked into only with PyTorch, which is not installed.",
            'Bring it with: python -m pip install "sonic-ext[sonic]"',
        ) from error
    return load


def _refused(path: Path, error: Exception) -> BadWeights:
    named = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|operand|operation)[: ]+([\w.]+)", str(error))
    if not named:
        return BadWeights(f"{path} is damaged or not a file of weights ({_first_line(error)}).", AGAIN)
    what = named.group(1) or named.group(2)
    return BadWeights(
        f"{path} holds more than tensors ({what}) and could run code, so it was not opened.",
        f"Do not use this file. {PUBLISHED}",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:200].rstrip(".")


def _unwrapped(loaded: Any) -> Any:
    for key in WRAPPINGS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            return loaded[key]
    return loaded


def _tensors(held: Any) -> dict[str, Tensor]:
    from torch import Tensor

    if not isinstance(held, Mapping):
        return {}
    tensors = {key: value for key, value in held.items() if isinstance(value, Tensor)}
    return {key: value.detach() for key, value in tensors.items() if isinstance(key, str)}
