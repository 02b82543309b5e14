"""SHA-256 of files, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20
"""Bytes read at a time."""

Watch = Callable[[int, int], None]
"""Called with the bytes read so far and those of the whole file, at least 1, after each block."""


def sha256_of(path: Path, watch: Watch | None = None) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return _hashed(file, None, max(1, path.stat().st_size), watch)


def copy_hashed(source: Path, target: Path) -> str:
    """Copy a file to a new one; SHA-256 of what was written, in hex.

    Raises:
        FileExistsError: `target` exists.
    """
    with source.open("rb") as reading, target.open("xb") as writing:
        return copy_hashing(reading, writing)


def copy_hashing(source: BinaryIO, target: BinaryIO) -> str:
    """Copy what is left of an open file; SHA-256 of it, in hex."""
    return _hashed(source, target, 1, None)


def _hashed(source: BinaryIO, target: BinaryIO | None, total: int, watch: Watch | None) -> str:
    digest, done = hashlib.sha256(), 0
    while block := source.read(BLOCK):
        digest.update(block)
        done += len(block)
        if target is not None:
            target.write(block)
        if watch is not None:
            watch(min(done, total), total)
    return digest.hexdigest()
