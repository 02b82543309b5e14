"""Runs that are too long for memory: what a step found lies in files of the private home.

    drafts/<key>/progress.json      what is done
    drafts/<key>/start.frames       latents before the first step
    drafts/<key>/<step>.frames      latents, and what the solver remembers, after the group of steps that
                                    began there
    drafts/<key>/tokens.frames      audio tokens

A step reads the file before it and writes the next one, window after window; both together are its
checkpoint. A file holds what the windows gave, in their order, and a frame that two of them saw is the mean
of both when it is read: a window that is written twice leaves the same file, and the latents are those of a
run in memory, to the bit. The published inference ends at 400 seconds of speech; more is an extension.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BadOutput
from ...files.atomic import replace_file
from ...files.home import home_errors, private_folder
from ..runtime.checkpoints import Checkpoint
from ..runtime.frame_file import FrameFile
from .solvers import SolverState
from .windows import Plan

HELD = 2**25
"""Bytes of latents that are held in memory; those of more lie in files, and their audio tokens with them."""
FORM = 1
"""Changes when the files or the meaning of their numbers do."""
FLUSH_SECONDS = 10.0
"""After these the windows that were done are put on the disk: what a machine that dies loses at most."""
GB = 1e9


def held_frames(width: int, height: int) -> int:
    """Base frames of a picture of that size whose latents are held in memory."""
    return HELD // (4 * 4 * (width // 8) * (height // 8))


@dataclass(frozen=True)
class RunProgress:
    """What `progress.json` holds."""

    done: int
    """Steps that are finished."""
    began: int | None
    """The step with which their last group began; None before the first."""
    states: int
    """Tensors of each frame: latents, and what the solver remembers."""
    windows: int
    """Windows of the next group that are in the next file, never all ..."""
    written: int
    """... and the tensors of each frame there."""
    seed: int
    mode: str
    """See `Checkpoint`."""


@dataclass(frozen=True)
class StoredLatents:
    """The latents of a run, in a file; a `sampling.Frames`, and sliced as a tensor is."""

    file: FrameFile
    """Rows [1 + what the solver remembers, 4, height, width], as the windows gave them."""
    order: NDArray[np.int64]
    """Which frame each row is of."""

    @cached_property
    def _first(self) -> torch.Tensor:
        """The first row of every frame."""
        return torch.from_numpy(np.unique(self.order, return_index=True)[1].astype(np.int64))

    @cached_property
    def _again(self) -> list[int]:
        """Rows of frames that were seen before."""
        return np.setdiff1d(np.arange(len(self.order)), self._first.numpy()).tolist()

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, part: slice) -> torch.Tensor:
        """float32 [frames, 4, height, width]."""
        return self.frames(torch.arange(len(self))[part]).latents

    def frames(self, frames: torch.Tensor) -> SolverState:
        """See `sampling.Frames`."""
        total = self.file.index_select(0, self._first[frames])
        seen = total.new_ones(len(frames), 1, 1, 1, 1)
        for row in self._again:
            places = (frames == int(self.order[row])).nonzero()[:, 0]
            if len(places):
                total[places] += self.file.index_select(0, torch.tensor([row]))
                seen[places] += 1
        latents, *history = (each.contiguous() for each in (total / seen).unbind(1))
        return SolverState(latents, tuple(history))


@dataclass
class LongRun:
    """One run in files."""

    folder: Path
    plan: Plan
    size: tuple[int, int]
    """Height and width of the latents."""
    mode: str = ""
    """Of the memory, as it is now; see `Checkpoint`."""
    growing: int = 1
    """Runs of the same video that have still to find room, this one included."""

    def begin(self, parts: Iterable[torch.Tensor], seed: int, mode: str, states: int) -> Checkpoint:
        """Begin with latents [n, 4, height, width], part after part.

        Args:
            states: tensors of each frame that there will be.

        Raises:
            BadOutput: there is no room for them.
        """
        with home_errors(self.folder):
            private_folder(self.folder)
            self._require_room(states)
        first = self.file(None, 1)
        first.create()
        for part in parts:
            first.append(part[:, None])
        first.flush()
        self.mode = mode
        self.keep(RunProgress(0, None, 1, 0, 0, seed, mode))
        return self._checkpoint(self.progress)

    def checkpoint(self) -> Checkpoint | None:
        """Where the run stands; None where there is none, or its files are not whole."""
        try:
            found = self._checkpoint(self.progress)
            self.mode = found.mode
            return found if len(found.latents) == self.plan.frames else None
        except (OSError, ValueError, TypeError, LookupError):
            return None

    @property
    def progress(self) -> RunProgress:
        """As it was kept.

        Raises:
            OSError, ValueError, TypeError, LookupError: it was not, or by another version.
        """
        values = json.loads((self.folder / "progress.json").read_bytes())
        if values.pop("form") != FORM:
            raise ValueError("made by another version")
        return RunProgress(**values)

    def keep(self, progress: RunProgress) -> None:
        """On the disk when this returns."""
        values = {"form": FORM, **asdict(progress)}
        with home_errors(self.folder):
            replace_file(self.folder / "progress.json", json.dumps(values).encode())

    def gather(self, windows: Sequence[Sequence[int]], steps: range) -> StoredWindows:
        """A `sampling.Gather`."""
        return StoredWindows(self, windows, steps)

    def file(self, began: int | None, states: int) -> FrameFile:
        """Of the latents after the group of steps that began there; None is before the first."""
        name = "start" if began is None else str(began)
        return FrameFile(self.folder / f"{name}.frames", (states, 4, *self.size))

    def tokens(self, shape: tuple[int, ...], dtype: torch.dtype) -> FrameFile:
        """A new file for audio tokens."""
        with home_errors(self.folder):
            private_folder(self.folder)
        made = FrameFile(self.folder / "tokens.frames", shape, dtype)
        made.create()
        return made

    def stored(self, progress: RunProgress) -> StoredLatents:
        """The latents after the steps that are finished."""
        frames = self.plan.frames
        began = progress.began
        windows = [range(frames)] if began is None else self.plan.windows(began)
        return StoredLatents(self.file(began, progress.states), np.concatenate(windows))

    def _checkpoint(self, progress: RunProgress) -> Checkpoint:
        stored = self.stored(progress)
        begun = sum(map(len, self.plan.windows(progress.done)[: progress.windows]))
        if len(stored.file) < len(stored.order) or (
            begun and len(self.file(progress.done, progress.written)) < begun
        ):
            raise ValueError("a file was cut short")
        return Checkpoint(stored, progress.done, progress.seed, progress.mode)

    def _require_room(self, states: int) -> None:
        row = self.file(None, states).row_bytes
        need = self.growing * row * (self.plan.frames + self.plan.seen)
        free = shutil.disk_usage(self.folder).free
        if free < need:
            raise BadOutput(
                f"{self.folder} has room for {free / GB:.1f} GB; "
                f"a video of this length takes {need / GB:.1f} GB.",
                "Make room, use a smaller min_resolution, or set SONIC_HOME to a folder of a larger disk.",
            )


class StoredWindows:
    """What the windows of a group of steps find, written as it comes; a `sampling.Gathered`."""

    def __init__(self, run: LongRun, windows: Sequence[Sequence[int]], steps: range) -> None:
        self._run, self._windows, self._steps = run, windows, steps
        self._before = run.progress
        self.done = self._before.windows
        self._rows = sum(map(len, windows[: self.done]))
        self._states = 0
        self._flushed = time.monotonic()

    def take(self, frames: torch.Tensor, found: SolverState) -> None:
        """See `sampling.Gathered`."""
        rows = torch.stack([found.latents, *found.history], dim=1)
        self._states = rows.shape[1]
        file = self._file
        if not self.done:
            file.create()
        file.write(self._rows, rows)
        self.done += 1
        self._rows += len(frames)
        if self.done < len(self._windows) and time.monotonic() - self._flushed > FLUSH_SECONDS:
            file.flush()
            self._run.keep(
                replace(self._before, windows=self.done, written=self._states, mode=self._run.mode)
            )
            self._flushed = time.monotonic()

    def state(self) -> StoredLatents:
        """See `sampling.Gathered`."""
        self._file.flush()
        before, steps = self._before, self._steps
        now = replace(
            before,
            done=steps.stop,
            began=steps.start,
            states=self._states,
            windows=0,
            written=0,
            mode=self._run.mode,
        )
        self._run.keep(now)
        with home_errors(self._run.folder):
            self._run.file(before.began, before.states).path.unlink(missing_ok=True)
        return self._run.stored(now)

    @property
    def _file(self) -> FrameFile:
        return self._run.file(self._steps.start, self._states)
