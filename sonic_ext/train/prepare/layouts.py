"""Where the videos of a corpus lie, whose they are, and what lies beside them.

- VoxCeleb2 (Chung, Nagrani, Zisserman, 2018): `dev|test/mp4/<speaker>/<video>/<clip>.mp4`, speakers
`id00012`, clips
  `00001`; the same sound alone is published as `dev|test/aac/<speaker>/<video>/<clip>.m4a`.
- LRS3-TED (Afouras, Chung, Zisserman, 2018): `pretrain|trainval|test/<talk>/<clip>.mp4`, clips `00001` or
`50001`,
  beside each a `<clip>.txt` (`transcripts`). A talk has one speaker.
- Any folder: a video's speaker is the first folder on the way to it, or the file itself where there is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadInput
from ...media.video import VIDEO_SUFFIXES

VOXCELEB_PICTURE, VOXCELEB_SOUND = "mp4", "aac"
"""VoxCeleb2's folders."""
LRS3_SETS = ("pretrain", "trainval", "test")
_VOXCELEB_SPEAKER, _CLIP = re.compile(r"id\d+"), re.compile(r"\d{5}")


@dataclass(frozen=True)
class ClipSource:
    """A video file of a corpus."""

    path: Path
    name: str
    """Relative to the corpus, with `/`."""
    speaker: str
    sound: Path | None = None
    """A file with its sound, where its own has none."""
    transcript: Path | None = None
    """Where its text should be; it may be missing. None in layouts that have none."""


def video_names(folder: Path, leave: Path | None = None) -> list[str]:
    """All videos below a folder, sorted, relative to it with `/`.

    Links are followed, each folder is read once, and what begins with a dot is left out.

    Args:
        folder: of the corpus, or a part of it.
        leave: a folder that is not looked into: where the clips go.

    Raises:
        BadInput: it is missing, no folder, may not be read, or holds no videos.
    """
    if not folder.exists():
        raise BadInput(f"There is no folder at {folder}.", "Check the path.")
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file.", "Give the folder that the videos lie in.")
    videos = (path for path in _files(folder, leave) if path.suffix.lower() in VIDEO_SUFFIXES)
    found = sorted(path.relative_to(folder).as_posix() for path in videos)
    if not found:
        raise BadInput(
            f"{folder} holds no videos.",
            "Give one with MP4, MOV, MKV or WebM files in it or below it.",
        )
    return found


def source_of(folder: Path, name: str) -> ClipSource:
    """Whose a video of `video_names` is and what lies beside it.

    It is told by the names of its folders, also of those above the corpus, so that a part of one may be
    given.
    """
    path, inside = folder / name, name.split("/")
    parts = path.absolute().parts
    if len(parts) > 4 and parts[-4] == VOXCELEB_PICTURE and _VOXCELEB_SPEAKER.fullmatch(parts[-3]):
        sound = Path(*parts[:-4], VOXCELEB_SOUND, *parts[-3:]).with_suffix(".m4a")
        return ClipSource(path, name, parts[-3], sound=sound if sound.is_file() else None)
    if len(parts) > 3 and parts[-3] in LRS3_SETS and _CLIP.fullmatch(path.stem):
        return ClipSource(path, name, parts[-2], transcript=path.with_suffix(".txt"))
    return ClipSource(path, name, inside[0] if len(inside) > 1 else path.stem)


def _files(folder: Path, leave: Path | None) -> Iterator[Path]:
    seen = {os.path.realpath(each) for each in (leave,) if each is not None}

    def refuse(error: OSError) -> None:
        raise BadInput(
            f"The folder {error.filename} cannot be read ({error.strerror or error}).",
            "Give yourself access to it, or leave it out.",
        ) from error

    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(place))
        # Two links to one folder are one folder, and one that leads back up is none.
        seeable = (each for each in sorted(folders) if not each.startswith("."))
        folders[:] = [each for each in seeable if _fresh(place, each, seen)]
        yield from (Path(place, each) for each in files if not each.startswith("."))


def _fresh(place: str, name: str, seen: set[str]) -> bool:
    real = os.path.realpath(os.path.join(place, name))  # noqa: PTH118 - names may be no text
    fresh = real not in seen
    seen.add(real)
    return fresh
