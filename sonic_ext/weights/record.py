"""Where a model file came from and its SHA-256, in a small JSON file beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..progress import Stage, Tick

BLOCK = 1 << 23
"""Bytes read at a time."""


def record_path(path: Path) -> Path:
    """Where the record of a file lies."""
    return path.with_name(f"{path.name}.json")


def write_record(path: Path, values: Mapping[str, Any]) -> None:
    """Write the record of a file, whole or not at all."""
    target = record_path(path)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(json.dumps(values, indent=1), encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


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


def sha256_of(path: Path, tick: Tick | None = None) -> str:
    """SHA-256 in hex, constant memory."""
    digest = hashlib.sha256()
    total = max(1, path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if tick is not None:
                tick(Stage.READING, min(file.tell(), total), total, path.name)
    return digest.hexdigest()
