"""Talking faces for training: a mouth's motion and the sound that goes with it, kept in shards.

A shard is one safetensors file. Of each clip, by its number in the file: `{n}.times`, `{n}.geometry`
(float16), `{n}.sound` (float16), and in the metadata as JSON its name, speaker, words and seconds. The
metadata also says which videos the shard stands for, and what became of those that gave no clip: so what is
left to do can be told from the shards alone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..files.atomic import replace_file
from ..sync.mouth import FEATURES, MouthMotion
from ..sync.sound import BANDS, ROWS_PER_SECOND

FORMAT, ENTRY = "sonic clips 1", "sonic"
"""`format` of a shard, and the entry of its metadata that has all that it says of itself, as JSON."""
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


@dataclass(frozen=True)
class ClipInShard:
    """A clip that stays on the disk until it is wanted."""

    path: Path
    """Of the shard."""
    number: int
    """In it."""
    speaker: str
    rows: int
    """Of its sound."""
    found: float
    """Share of its frames in which the face was found."""

    def read(self) -> Clip:
        """The clip.

        Raises:
            BadInput, FileNotFoundError: as `read_shard`.
        """
        with _opened(self.path) as (file, about):
            return _clip_of(file, about, self.number)


class ClipRemark(NamedTuple):
    """What there is to say of a video."""

    name: str
    """Of the video or the clip."""
    kept: bool
    """Whether there are clips of it all the same."""
    reason: str
    """A word for tables, such as `no_face`."""
    detail: str
    """For people."""


@dataclass(frozen=True)
class ShardContents:
    """What a shard says of itself, without its arrays."""

    path: Path
    videos: tuple[str, ...]
    """Names of the videos that it stands for."""
    remarks: tuple[ClipRemark, ...]
    clips: tuple[tuple[str, str, float], ...]
    """Name, speaker and seconds of each clip."""


def write_shard(
    path: Path, clips: Sequence[Clip], videos: Sequence[str] = (), remarks: Sequence[ClipRemark] = ()
) -> None:
    """Write clips into one file, whole or not at all, on the disk itself when this returns.

    Args:
        path: of the shard.
        clips: may be none.
        videos, remarks: see `ShardContents`.

    Raises:
        OSError: it cannot be written, such as on a full disk.
    """
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {}
    for number, clip in enumerate(clips):
        arrays[f"{number}.times"] = np.ascontiguousarray(clip.motion.times, np.float64)
        arrays[f"{number}.geometry"] = np.ascontiguousarray(clip.motion.geometry, np.float16)
        arrays[f"{number}.sound"] = np.ascontiguousarray(clip.sound, np.float16)
    told = [
        {"name": clip.name, "speaker": clip.speaker, "words": clip.words, "seconds": clip.seconds}
        for clip in clips
    ]
    about = {"format": FORMAT, "features": FEATURES, "videos": videos, "remarks": remarks, "clips": told}
    # One entry, because safetensors writes several in any order, and as ASCII: names of files may be no text.
    metadata = {ENTRY: json.dumps(about)}
    replace_file(path, save(arrays, metadata))


def read_shard(path: Path) -> list[Clip]:
    """The clips of one file.

    Raises:
        BadInput: it is no shard, was cut off, or has other features.
        FileNotFoundError: it is gone.
    """
    with _opened(path) as (file, about):
        return [_clip_of(file, about, number) for number in range(len(about["clips"]))]


def index_shard(path: Path) -> list[ClipInShard]:
    """The clips of one file, which are only looked at, not kept.

    Raises:
        BadInput, FileNotFoundError: as `read_shard`.
    """
    with _opened(path) as (file, about):
        found = []
        for number in range(len(about["clips"])):
            clip = _clip_of(file, about, number)
            seen = float(clip.motion.found.mean()) if len(clip.motion) else 0.0
            found.append(ClipInShard(path, number, clip.speaker, len(clip.sound), seen))
        return found


def is_whole(path: Path) -> bool:
    """Whether nothing of the file is missing, by its header and its length."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):
            return True
    except SafetensorError:
        return False


def read_contents(path: Path) -> ShardContents:
    """What a shard says of itself, from its header; its length is checked, too.

    Raises:
        BadInput, FileNotFoundError: as `read_shard`.
    """
    with _opened(path) as (_, about):
        remarks = tuple(ClipRemark(*values) for values in about["remarks"])
        clips = tuple((told["name"], told["speaker"], float(told["seconds"])) for told in about["clips"])
        return ShardContents(path, tuple(about["videos"]), remarks, clips)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The file and what it says of itself; what is wrong with them, also inside the block, is a
    `BadInput`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
            if about.get("format") != FORMAT:
                raise ValueError(f"its format is {about.get('format')!r}, not {FORMAT!r}")
            if tuple(about["features"]) != FEATURES:
                raise ValueError("it has other features of the mouth")
            yield file, about
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, SafetensorError) as error:
        raise BadInput(
            f"The shard {path.name} cannot be read ({error}).",
            "Delete it and run `sonic train prepare` again: it makes what is missing.",
        ) from error


def shards_of(folder: Path) -> list[Path]:
    """The shards of a folder, by name.

    Raises:
        BadInput: there is none.
    """
    files = sorted(folder.glob(PATTERN))
    if not files:
        raise BadInput(f"{folder} has no shards.", "Make them with: sonic train prepare")
    return files


def read_shards(folder: Path) -> Iterator[Clip]:
    """The clips of all shards of a folder, in the order of their names.

    Raises:
        BadInput: there is none, or one cannot be read.
    """
    for file in shards_of(folder):
        yield from read_shard(file)


def _clip_of(file: Any, about: dict[str, Any], number: int) -> Clip:
    arrays = (file.get_tensor(f"{number}.{name}") for name in ("times", "geometry", "sound"))
    return _clip(about["clips"][number], *arrays)


def _clip(told: Any, times: NDArray[Any], geometry: NDArray[Any], sound: NDArray[Any]) -> Clip:
    """A clip from what is in a file.

    Raises:
        ValueError, TypeError, KeyError: that is not what a clip consists of.
    """
    if sound.ndim != 2 or sound.shape[1] != BANDS:
        raise ValueError(f"sound of {sound.shape} where [rows, {BANDS}] is wanted")
    if geometry.ndim != 2 or geometry.shape[1] != len(FEATURES):
        raise ValueError(f"geometry of {geometry.shape} where [frames, {len(FEATURES)}] is wanted")
    if not (np.isfinite(sound).all() and np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("numbers that are none, or times out of order")
    words = tuple(Word(str(text), float(start), float(end)) for text, start, end in told["words"])
    motion = MouthMotion(times.astype(np.float64), geometry.astype(np.float32))
    return Clip(str(told["name"]), str(told["speaker"]), motion, sound.astype(np.float16), words)
