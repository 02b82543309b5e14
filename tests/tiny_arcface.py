"""An ONNX file with the input and output of an ArcFace and no training, written byte by byte.

Its direction is the mean of each of 7 × 7 squares of the face in each colour: AveragePool, then Flatten.
"""

from __future__ import annotations

from pathlib import Path


def _number(value: int) -> bytes:
    """A varint of protocol buffers."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _field(tag: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _number(tag << 3) + _number(value)
    data = value.encode() if isinstance(value, str) else value
    return _number(tag << 3 | 2) + _number(len(data)) + data


def _sixteens(name: str) -> bytes:
    """An attribute [16, 16]."""
    return _field(5, _field(1, name) + _field(8, 16) + _field(8, 16) + _field(20, 7))


def _node(kind: str, into: str, out: str, *attributes: bytes) -> bytes:
    return _field(1, _field(1, into) + _field(2, out) + _field(4, kind) + b"".join(attributes))


def _value(tag: int, name: str, shape: tuple[int, ...]) -> bytes:
    sides = b"".join(_field(1, _field(1, side)) for side in shape)
    return _field(tag, _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, sides))))


def write_arcface(path: Path, last: str = "Flatten") -> Path:
    """Write the file; with `last="Relu"` it answers with something else than a direction."""
    size = (1, 147) if last == "Flatten" else (1, 3, 7, 7)
    graph = (
        _node("AveragePool", "input", "means", _sixteens("kernel_shape"), _sixteens("strides"))
        + _node(last, "means", "output")
        + _field(2, "tiny_arcface")
        + _value(11, "input", (1, 3, 112, 112))
        + _value(12, "output", size)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_field(1, 6) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 11)))
    return path
