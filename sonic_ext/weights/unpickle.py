"""Reads a pickle for the tensors that it describes. Nothing that it names is imported, called or built.

A pickle is a program for a stack machine. This one knows numbers, text, lists, dicts and tuples, and of all
functions only those that describe a tensor; those give a `StoredTensor`, which is five plain values. Every
other global, and whatever is made of one, is `FOREIGN`. So there is nothing here that a file could run.

Lists, dicts and tuples can nest without end or hold themselves: never recurse into the result unbounded.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import prod
from mmap import mmap
from typing import Any

from .formats import ITEM_BYTES, MAX_NUMBER, MAX_SIDES

MAX_PICKLE = 100_000_000
"""Bytes of a pickle without its tensors' numbers. Those of real checkpoints stay below a million, but for
arrays that lie beside the tensors."""
MAX_STEPS = 4_000_000
"""Instructions of a pickle: each may take 72 bytes of memory, and a tensor takes about fifty of them."""
MAX_NAME = 1_000
"""Bytes of a global's name, or of a number that is written as a line of text."""
MAX_ARGUMENTS = 16
MAX_FOREIGN = 100
"""Names of foreign globals that are kept."""
FAULTS = (LookupError, ValueError, TypeError, OverflowError, MemoryError, struct.error)
"""What reading a damaged pickle raises."""


class Foreign(Enum):
    """The type of `FOREIGN`."""

    FOREIGN = "foreign"


FOREIGN = Foreign.FOREIGN
"""Stands for every object that is no tensor and no plain value."""


@dataclass(frozen=True)
class Storage:
    """A run of bytes that tensors are views of."""

    key: str
    """Its name in the file."""
    item: int
    """Bytes of an element."""
    count: int
    """Elements."""
    dtype: str | None
    """As safetensors names it; None for bare bytes."""


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage that lies within it."""

    storage: Storage
    dtype: str
    """A name of `ITEM_BYTES`."""
    offset: int
    """Elements before the first."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """Elements between neighbours along each side."""

    @property
    def span(self) -> int:
        """Elements from the first to the last, both included."""
        if not prod(self.shape):
            return 0
        return 1 + sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))


@dataclass(frozen=True)
class Unpickled:
    """What a pickle says."""

    value: Any
    """Plain values, `StoredTensor` and `FOREIGN`."""
    foreign: tuple[str, ...]
    """Names of the globals that were left out, in the file's order."""
    storages: Mapping[str, Storage]
    stop: int
    """Where the pickle ends in its data."""


def unpickle(data: bytes | mmap, start: int = 0) -> Unpickled:
    """Read one pickle.

    Args:
        data: a file, perhaps mapped.
        start: where the pickle begins.

    Raises:
        any of FAULTS: damaged, beyond the bounds, or a tensor does not lie within its storage.
    """
    machine = _Machine(data, start, min(len(data), start + MAX_PICKLE))
    return Unpickled(machine.run(), tuple(machine.foreign), machine.storages, machine.position)


@dataclass(frozen=True)
class _Function:
    """A global that is called; no pickle can make another."""

    call: Callable[..., Any]


@dataclass(frozen=True)
class _StorageType:
    """A global that stands for a type of numbers, or of storages with such numbers."""

    name: str | None
    item: int


@dataclass
class _Machine:
    """Stack, memo and position of a pickle that is being read."""

    data: bytes | mmap
    position: int
    end: int
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    """Stacks under each mark."""
    memo: dict[int, Any] = field(default_factory=dict)
    foreign: dict[str, None] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    def run(self) -> Any:
        for _ in range(MAX_STEPS):
            code = self.take(1)
            if code == pickle.STOP:
                return self.stack.pop()
            if code not in _STEPS:
                raise ValueError(f"{code!r} is no instruction")
            _STEPS[code](self)
        raise ValueError("it holds too many objects")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        stop = self.position + count
        if stop > self.end:
            raise ValueError("it ends too early or is too long")
        taken = self.data[self.position : stop]
        self.position = stop
        return taken

    def number(self, count: int) -> int:
        """The next bytes as a length or an index."""
        return int.from_bytes(self.take(count), "little")

    def line(self) -> str:
        """The next line of text."""
        stop = self.data.find(b"\n", self.position, min(self.end, self.position + MAX_NAME))
        if stop < 0:
            raise ValueError("a name has no end")
        return _text(self.take(stop + 1 - self.position)[:-1])

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def to_mark(self) -> list[Any]:
        """What lies on the stack down to the last mark, which goes."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def last(self, count: int) -> None:
        """A tuple of the last values."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def named(self, module: Any, name: Any) -> None:
        """A global: known by its name, never imported."""
        if type(name) is not str or type(module) is not str or len(module) + len(name) > 2 * MAX_NAME:
            raise TypeError("a name is none")
        path = f"{module}.{name}"
        known = _GLOBALS.get(path, FOREIGN)
        if known is FOREIGN and len(self.foreign) < MAX_FOREIGN:
            self.foreign[re.sub(r"[^\w.<>]", "?", path)[:80]] = None
        self.push(known)

    def stacked_named(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.named(module, name)

    def call(self) -> None:
        """Also of NEWOBJ: a class is called as any function."""
        args, function = self.stack.pop(), self.stack.pop()
        self.push(_called(function, args))

    def call_with_names(self) -> None:
        del self.stack[-2:]
        self.stack[-1] = FOREIGN

    def from_mark(self) -> None:
        """An instance of a class of old, with what lies above the mark."""
        self.to_mark()
        self.push(FOREIGN)

    def instance(self) -> None:
        module, name = self.line(), self.line()
        self.named(module, name)
        self.stack.pop()
        self.from_mark()

    def build(self) -> None:
        """The state of an object, left out: plain values have none but `_metadata` of a module's weights."""
        self.stack.pop()
        if not self.stack:
            raise IndexError("the stack is empty")

    def extend(self, items: list[Any]) -> None:
        held = self.stack[-1]
        if type(held) is list:
            held.extend(items)
        elif held is not FOREIGN:
            raise TypeError("a list is none")

    def update(self, items: list[Any]) -> None:
        held = self.stack[-1]
        if type(held) is dict:
            held.update(_by_text(zip(items[::2], items[1::2], strict=True)))
        elif held is not FOREIGN:
            raise TypeError("a dict is none")

    def setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def storage(self, persistent_id: Any) -> None:
        """A persistent id; those of tensors' numbers are `("storage", type, key, device, count)`."""
        is_storage = (
            type(persistent_id) is tuple and len(persistent_id) in (5, 6) and persistent_id[0] == "storage"
        )
        if (
            not is_storage
            or not isinstance(persistent_id[1], _StorageType)
            or any(each is not None for each in persistent_id[5:])
        ):
            self.push(FOREIGN)
            return
        _, kind, key, _, count = persistent_id[:5]
        if type(key) is not str or not _is_count(count):
            raise TypeError("a storage has no name or no length")
        made = Storage(key, kind.item, count, kind.name)
        if self.storages.setdefault(key, made) != made:
            raise ValueError("a storage is described in two ways")
        self.push(made)


def _by_text(pairs: Iterable[Any]) -> dict[str, Any]:
    """Keys that are no text are left out: no weight has one, and hashing a hostile one may take forever."""
    return {key: value for key, value in pairs if type(key) is str}


def _called(function: Any, args: Any) -> Any:
    if not isinstance(function, _Function):
        return FOREIGN
    if type(args) is not tuple or len(args) > MAX_ARGUMENTS:
        raise TypeError("a tensor is described by too much")
    return function.call(*args)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *more: Any) -> Any:
    """`_rebuild_tensor` and `_rebuild_tensor_v2`: the storage knows the type."""
    dtype = storage.dtype if isinstance(storage, Storage) else None
    return _view(storage, dtype, offset, shape, stride)


def _typed_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, gradient: Any, hooks: Any, dtype: Any, *more: Any
) -> Any:
    """`_rebuild_tensor_v3`: the type stands beside the storage."""
    return _view(storage, dtype.name if isinstance(dtype, _StorageType) else None, offset, shape, stride)


def _view(storage: Any, dtype: str | None, offset: Any, shape: Any, stride: Any) -> Any:
    """A tensor that lies within its storage, each number of it stored."""
    if not isinstance(storage, Storage) or dtype is None:
        return FOREIGN  # complex, quantized or sparse
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != len(stride):
        raise TypeError("a tensor has no shape")
    if len(shape) > MAX_SIDES or not all(map(_is_count, (offset, *shape, *stride))):
        raise ValueError("a tensor has an impossible shape")
    made = StoredTensor(storage, dtype, offset, shape, stride)
    elements = max(prod(shape), made.span and offset + made.span)
    if elements * ITEM_BYTES[dtype] > storage.count * storage.item:
        raise ValueError("a tensor reaches beyond its storage")
    return made


def _parameter(data: Any, *more: Any) -> Any:
    return data if isinstance(data, StoredTensor) else FOREIGN


def _with_attributes(function: Any, kind: Any, args: Any, *state: Any) -> Any:
    """`_rebuild_from_type_v2`: a tensor or parameter that somebody gave attributes; those are left out."""
    is_plain = kind is _TENSOR and isinstance(function, _Function) and function.call is not _with_attributes
    made = _called(function, args) if is_plain else FOREIGN
    return made if isinstance(made, StoredTensor) else FOREIGN


def _ordered(pairs: Any = (), *more: Any) -> Any:
    """Python 2 gives all pairs at once, in a list that nothing else uses; emptied, it is not copied again."""
    if type(pairs) is not list:
        return {}
    made = _by_text(pairs)
    pairs.clear()
    return made


def _size(sides: Any = ()) -> Any:
    return sides if type(sides) is tuple else FOREIGN


_TENSOR = _StorageType(None, 0)
"""`torch.Tensor` and `Parameter`, where their names stand for the class."""
_DTYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"},
    **{"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"},
    **{"uint64": "U64", "uint32": "U32", "uint16": "U16"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}
"""torch's names of types → safetensors'."""
TORCH_NAMES = {name: torch for torch, name in _DTYPES.items()}
_STORAGES = {
    **{"Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32"},
    **{"Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL"},
}
_GLOBALS: Mapping[str, Any] = {
    **{f"torch.{torch}": _StorageType(name, ITEM_BYTES[name]) for torch, name in _DTYPES.items()},
    **{f"torch.{kind}Storage": _StorageType(name, ITEM_BYTES[name]) for kind, name in _STORAGES.items()},
    **dict.fromkeys(("torch.UntypedStorage", "torch.storage.UntypedStorage"), _StorageType(None, 1)),
    **dict.fromkeys(("torch.Tensor", "torch.nn.parameter.Parameter"), _TENSOR),
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), _Function(_tensor)),
    "torch._utils._rebuild_tensor_v3": _Function(_typed_tensor),
    "torch._utils._rebuild_parameter": _Function(_parameter),
    "torch._utils._rebuild_parameter_with_state": _Function(_parameter),
    "torch._tensor._rebuild_from_type_v2": _Function(_with_attributes),
    "torch.Size": _Function(_size),
    "collections.OrderedDict": _Function(_ordered),
}
"""Every global that is more than a name here."""

_Step = Callable[[_Machine], None]


def _sized(count: int, read: Callable[[bytes], Any]) -> _Step:
    """A value behind its length in so many bytes."""
    return lambda machine: machine.push(read(machine.take(machine.number(count))))


def _packed(form: str) -> _Step:
    """A number in struct's notation."""
    size = struct.calcsize(form)
    return lambda machine: machine.push(struct.unpack(form, machine.take(size))[0])


def _constant(value: Any) -> _Step:
    return lambda machine: machine.push(value)


def _whole(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _passed(count: int) -> _Step:
    """Bytes that make no difference."""

    def step(machine: _Machine) -> None:
        machine.take(count)

    return step


def _registered(count: int) -> _Step:
    """An object by its number in this program's registry, which is not asked."""

    def step(machine: _Machine) -> None:
        machine.take(count)
        machine.push(FOREIGN)

    return step


_STEPS: Mapping[bytes, _Step] = {
    pickle.PROTO: _passed(1),
    pickle.FRAME: _passed(8),
    pickle.NONE: _constant(None),
    pickle.NEWTRUE: _constant(True),
    pickle.NEWFALSE: _constant(False),
    pickle.EMPTY_TUPLE: _constant(()),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.EMPTY_DICT: lambda machine: machine.push({}),
    pickle.EMPTY_SET: _constant(FOREIGN),
    pickle.BININT: _packed("<i"),
    pickle.BININT1: _packed("<B"),
    pickle.BININT2: _packed("<H"),
    pickle.BINFLOAT: _packed(">d"),
    pickle.LONG1: _sized(1, _whole),
    pickle.LONG4: _sized(4, _whole),
    pickle.INT: lambda machine: machine.push(int(machine.line())),
    pickle.LONG: lambda machine: machine.push(int(machine.line().rstrip("L"))),
    pickle.BINUNICODE: _sized(4, _text),
    pickle.SHORT_BINUNICODE: _sized(1, _text),
    pickle.BINUNICODE8: _sized(8, _text),
    pickle.BINSTRING: _sized(4, _text),
    pickle.SHORT_BINSTRING: _sized(1, _text),
    pickle.BINBYTES: _sized(4, bytes),
    pickle.SHORT_BINBYTES: _sized(1, bytes),
    pickle.BINBYTES8: _sized(8, bytes),
    pickle.BYTEARRAY8: _sized(8, bytes),
    pickle.MARK: _Machine.mark,
    pickle.POP: _Machine.pop,
    pickle.POP_MARK: lambda machine: machine.to_mark().clear(),
    pickle.DUP: lambda machine: machine.push(machine.stack[-1]),
    pickle.TUPLE: lambda machine: machine.push(tuple(machine.to_mark())),
    pickle.TUPLE1: lambda machine: machine.last(1),
    pickle.TUPLE2: lambda machine: machine.last(2),
    pickle.TUPLE3: lambda machine: machine.last(3),
    pickle.APPEND: lambda machine: machine.extend([machine.stack.pop()]),
    pickle.APPENDS: lambda machine: machine.extend(machine.to_mark()),
    pickle.SETITEM: _Machine.setitem,
    pickle.SETITEMS: lambda machine: machine.update(machine.to_mark()),
    pickle.ADDITEMS: lambda machine: machine.to_mark().clear(),
    pickle.FROZENSET: _Machine.from_mark,
    pickle.PUT: lambda machine: machine.put(int(machine.line())),
    pickle.BINPUT: lambda machine: machine.put(machine.number(1)),
    pickle.LONG_BINPUT: lambda machine: machine.put(machine.number(4)),
    pickle.MEMOIZE: lambda machine: machine.put(len(machine.memo)),
    pickle.GET: lambda machine: machine.push(machine.memo[int(machine.line())]),
    pickle.BINGET: lambda machine: machine.push(machine.memo[machine.number(1)]),
    pickle.LONG_BINGET: lambda machine: machine.push(machine.memo[machine.number(4)]),
    pickle.GLOBAL: lambda machine: machine.named(machine.line(), machine.line()),
    pickle.STACK_GLOBAL: _Machine.stacked_named,
    pickle.REDUCE: _Machine.call,
    pickle.NEWOBJ: _Machine.call,
    pickle.NEWOBJ_EX: _Machine.call_with_names,
    pickle.OBJ: _Machine.from_mark,
    pickle.INST: _Machine.instance,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: lambda machine: machine.storage(machine.stack.pop()),
    pickle.PERSID: lambda machine: machine.storage(machine.line()),
    pickle.EXT1: _registered(1),
    pickle.EXT2: _registered(2),
    pickle.EXT4: _registered(4),
}
"""Instruction → what it does."""
