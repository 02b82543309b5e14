"""Talking faces for training: a mouth's motion and the sound that goes with it, kept in shards.

A shard is one safetensors file. Of each clip, by its number in the file: `{n}.times`, `{n}.geometry`
(float16), `{n}.sound` (float16), and in the metadata as JSON its name, speaker and words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..files.atomic import atomic_write
from ..sync.mouth import FEATURES, MouthMotion
from ..sync.sound import BANDS, ROWS_PER_SECOND

FORMAT = "sonic clips 1"
"""`format` in a shard's metadata."""
PATTERN = "clips-*.safetensors"
"""Names of shards in their folder."""


class Word(NamedTuple):
    """A word of a transcript and when it is heard."""

    text: str
    start: float
    """Seconds."""
    end: float
    """Seconds."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One face that talks, with its sound."""

    name: str
    """Of the file that it is from, relative to the corpus, with `#` and a number where that has several."""
    speaker: str
    """Whose face; clips of one speaker are never on both sides of a split."""
    motion: MouthMotion
    sound: NDArray[np.float16]
    """float16 [rows, BANDS], `sync.sound.sound_rows` from the first to the last frame's time."""
    words: tuple[Word, ...] = ()

    @property
    def seconds(self) -> float:
        """How long its sound is."""
        return len(self.sound) / ROWS_PER_SECOND


def write_shard(path: Path, clips: Sequence[Clip]) -> None:
    """Write clips into one file, whole or not at all.

    Raises:
        OSError: it cannot be written, such as on a full disk.
    """
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {}
    for number, clip in enumerate(clips):
        arrays[f"{number}.times"] = np.ascontiguousarray(clip.motion.times, np.float64)
        arrays[f"{number}.geometry"] = np.ascontiguousarray(clip.motion.geometry, np.float16)
        arrays[f"{number}.sound"] = np.ascontiguousarray(clip.sound, np.float16)
    told = [{"name": clip.name, "speaker": clip.speaker, "words": clip.words} for clip in clips]
    metadata = {"format": FORMAT, "clips": json.dumps(told, ensure_ascii=False)}
    with atomic_write(path) as part:
        part.write_bytes(save(arrays, metadata))


def read_shard(path: Path) -> list[Clip]:
    """The clips of one file.

    Raises:
        BadInput: it is no shard, was cut off, or has other features.
        FileNotFoundError: it is gone.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
            return [
                _clip(told, *(file.get_tensor(f"{number}.{name}") for name in ("times", "geometry", "sound")))
                for number, told in enumerate(json.loads(metadata["clips"]))
            ]
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise BadInput(
            f"The shard {path.name} cannot be read ({error}).",
            "Delete it and run `sonic train prepare` again: it makes what is missing.",
        ) from error


def read_shards(folder: Path) -> Iterator[Clip]:
    """The clips of all shards of a folder, in the order of their names.

    Raises:
        BadInput: there is none, or one cannot be read.
    """
    files = sorted(folder.glob(PATTERN))
    if not files:
        raise BadInput(f"{folder} has no shards.", "Make them with: sonic train prepare")
    for file in files:
        yield from read_shard(file)


def _clip(told: Any, times: NDArray[Any], geometry: NDArray[Any], sound: NDArray[Any]) -> Clip:
    """A clip from what is in a file.

    Raises:
        ValueError, TypeError, KeyError: that is not what a clip consists of.
    """
    if sound.ndim != 2 or sound.shape[1] != BANDS:
        raise ValueError(f"sound of {sound.shape} where [rows, {BANDS}] is wanted")
    if geometry.ndim != 2 or geometry.shape[1] != len(FEATURES):
        raise ValueError(f"geometry of {geometry.shape} where [frames, {len(FEATURES)}] is wanted")
    words = tuple(Word(str(text), float(start), float(end)) for text, start, end in told["words"])
    motion = MouthMotion(times.astype(np.float64), geometry.astype(np.float32))
    return Clip(str(told["name"]), str(told["speaker"]), motion, sound.astype(np.float16), words)
