"""Unfinished videos: latents after every step, so that a stopped run goes on where it was.

    drafts/<key>.safetensors    in the private home, deleted when the video is done, or after a week
    drafts/<key>/               of a run that is too long for memory, likewise

The key stands for everything that the latents depend on. A file is replaced as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ...files.atomic import remove_temporaries, replace_file
from ...files.home import home_errors, private_folder, private_home
from .expiry import FOLDER, expire

FORM = 3
"""Changes when the file or the meaning of its numbers does."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands."""

    latents: torch.Tensor
    """float32 [frames, 4, height, width], on the CPU; of a long run what gives slices of them."""
    done: int
    """Steps finished."""
    seed: int
    """That the noise was drawn with."""
    mode: str
    """The memory mode that the network ran in; another one is equal to rounding only."""
    history: tuple[torch.Tensor, ...] = ()
    """What the solver remembers, each like the latents."""


def key_of(facts: Mapping[str, Any]) -> str:
    """A name for everything that the latents depend on: plain JSON values."""
    text = json.dumps({"form": FORM, **facts}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Checkpoints:
    """The checkpoints in a private home.

    Raises (every method):
        BadOutput: the file system keeps the folder from being used.
    """

    def __init__(self, home: Path | None = None) -> None:
        self._home = private_home(home)
        self._folder = self._home / FOLDER

    def load(self, key: str) -> Checkpoint | None:
        """The checkpoint of that key; None where there is none, or it was damaged."""
        path = self._path(key)
        with home_errors(self._home), contextlib.suppress(FileNotFoundError, SafetensorError, LookupError):
            with safe_open(str(path), framework="pt") as file:
                metadata, names = file.metadata(), ["latents", *_history_names(len(file.keys()) - 1)]
                latents, *history = (file.get_tensor(name).clone() for name in names)
            done, seed = int(metadata["done"]), int(metadata["seed"])
            return Checkpoint(latents, done, seed, metadata["mode"], tuple(history))
        return None

    def save(self, key: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in place of the one before it."""
        metadata = {"done": str(checkpoint.done), "seed": str(checkpoint.seed), "mode": checkpoint.mode}
        names = ["latents", *_history_names(len(checkpoint.history))]
        tensors = [each.contiguous() for each in (checkpoint.latents, *checkpoint.history)]
        with home_errors(self._home):
            private_folder(self._folder)
            replace_file(self._path(key), save(dict(zip(names, tensors, strict=True)), metadata))

    def discard(self, key: str) -> None:
        """Delete a checkpoint, the folder of a long run, and what a killed process left half-written; where
        there is none, nothing."""
        with home_errors(self._home):
            self._path(key).unlink(missing_ok=True)
            remove_temporaries(self._path(key))
        shutil.rmtree(self.folder(key), ignore_errors=True)

    def folder(self, key: str) -> Path:
        """Where a run that is too long for memory keeps itself; nothing is made."""
        return self._folder / key

    def touch(self, key: str) -> None:
        """It is in use: its week begins anew."""
        for path in (self._path(key), self.folder(key)):
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)

    def expire(self) -> None:
        """Delete what is older than a week."""
        expire(self._home)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def _history_names(count: int) -> list[str]:
    """In a checkpoint's file."""
    return [f"history{number}" for number in range(count)]
