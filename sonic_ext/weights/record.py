"""Where a model file came from and its SHA-256, in a small JSON file beside it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_write
from ..files.digest import sha256_of
from ..progress import Stage, Tick


def record_path(path: Path) -> Path:
    """Where the record of a file lies."""
    return path.with_name(f"{path.name}.json")


def write_record(path: Path, values: Mapping[str, Any]) -> None:
    """Write the record of a file, whole or not at all."""
    with atomic_write(record_path(path)) as part:
        part.write_text(json.dumps(values, indent=1), encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """The record of a file; empty where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        held = json.loads(record_path(path).read_text(encoding="utf-8"))
        return held if isinstance(held, dict) else {}
    return {}


def known_sha256(path: Path) -> str | None:
    """The SHA-256 that the file should have: recorded by us, or the blob's name in a Hugging Face cache."""
    recorded = read_record(path).get("sha256")
    if isinstance(recorded, str):
        return recorded
    blob = path.resolve().name
    return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None


def identity(path: Path) -> str:
    """What tells a file from others without reading all of it: the SHA-256 that is known of it, else its size
    and the time of its last change."""
    found = path.stat()
    return known_sha256(path) or f"{found.st_size}:{found.st_mtime_ns}"


def ticking_sha256(path: Path, tick: Tick | None = None) -> str:
    """SHA-256 of a model file, in hex; `tick` is told the bytes read."""
    if tick is None:
        return sha256_of(path)
    return sha256_of(path, lambda done, total: tick(Stage.READING, done, total, path.name))
