"""Folders of videos: every one of them measured once, several at a time, and two folders compared in pairs.

    ours, theirs = evaluate([Path("ours"), Path("theirs")], Path("results"))
    for metric, difference in compare(ours, theirs).differences.items():
        ...

A result is kept under the hashes of all that it was made of, whole or not at all. So a second call measures
what is new or was changed, and one that was stopped goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import BadInput, BadOutput, BadVideo, Cancelled, SonicError
from ..files.atomic import remove_temporaries, replace_file
from ..files.digest import sha256_of
from ..media.video import VIDEO_SUFFIXES
from ..processes import Workers, cores
from ..sync.encoders import weights_of
from .closures import phonemes_beside
from .measuring import SYNC, Measuring, VideoFigures, measure_figures, order_for, require_usable
from .metrics import METRICS
from .statistics import MeanInterval, PairedDifference, holm, mean_interval, paired_difference

PATIENCE = 120.0
"""Seconds without a sign of life after which a process is ended: a decoder hangs. Frames are signs."""
REVISION = 2
"""Raised whenever the same video would have other figures: results of another are measured again."""
FORMAT = "sonic evaluation result 1"


@dataclass(frozen=True)
class EvaluatedVideo:
    """A video of a folder, and its figures or why there are none."""

    name: str
    """Of the file."""
    sha256: str
    """Empty where it could not be read."""
    figures: VideoFigures | None
    error: SonicError | None = None

    def value(self, name: str) -> float:
        """One of `METRICS`; nan where it was not measured."""
        return self.figures.values[name] if self.figures else math.nan


@dataclass(frozen=True)
class Evaluation:
    """What came of a folder; videos by name."""

    folder: Path
    videos: tuple[EvaluatedVideo, ...]

    @property
    def failed(self) -> tuple[EvaluatedVideo, ...]:
        """Those that could not be measured at all."""
        return tuple(video for video in self.videos if video.error)

    def column(self, name: str) -> NDArray[np.float64]:
        """One of `METRICS` of every video, float64 [videos]."""
        return np.array([video.value(name) for video in self.videos], np.float64)

    def summary(self) -> dict[str, MeanInterval]:
        """Mean and interval of every one of `METRICS` that at least one video has."""
        found = {metric.name: mean_interval(self.column(metric.name)) for metric in METRICS}
        return {name: interval for name, interval in found.items() if interval.count}


@dataclass(frozen=True)
class FolderComparison:
    """One folder less another, over the videos that both have under the same name."""

    names: tuple[str, ...]
    """Of the pairs."""
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    """Names that the other folder lacks."""
    differences: dict[str, PairedDifference]
    """By name of the metric, where at least one pair was measured on both sides."""
    adjusted: dict[str, float]
    """Probability of each one's signed ranks after Holm, over all of them."""


@dataclass(frozen=True)
class EvaluationProgress:
    """How far an evaluation has come."""

    done: int
    failed: int
    total: int
    measured: int
    """Of those done, measured now and not found."""
    to_measure: int


def videos_of(folder: Path) -> list[Path]:
    """The videos that lie in a folder itself, by name; hidden ones are left out.

    Raises:
        BadInput: it is no folder, cannot be read, or holds no video.
    """
    try:
        found = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
    except NotADirectoryError:
        raise BadInput(f"{folder} is no folder.", "Give the folder that the videos lie in.") from None
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be read: {error.strerror or error}.", "Give another folder."
        ) from error
    if not found:
        endings = f"{', '.join(VIDEO_SUFFIXES[:-1])} or {VIDEO_SUFFIXES[-1]}"
        raise BadInput(f"There is no video in {folder}.", f"Videos end in {endings}.")
    return sorted(found)


def evaluate(
    folders: Sequence[Path],
    results: Path,
    how: Measuring | None = None,
    processes: int = 0,
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Evaluation, ...]:
    """Measure every video of some folders.

    Args:
        folders: each of them with at least one video.
        results: folder of what was measured already, made if it is not there.
        how: what to measure, and by what.
        processes: as many at a time; 0 measures in this process.
        progress: told after every video.
        cancelled: asked often whether to stop.

    Raises:
        BadInput, MissingPart: a folder has no videos, or `how` cannot be used.
        BadOutput: a result cannot be written.
        Cancelled: `cancelled` said so; what was measured by then is kept.
    """
    how = how or Measuring()
    found = [videos_of(folder) for folder in folders]
    require_usable(how)
    _make(results)
    paths = [path for videos in found for path in videos]
    keys = _keys(paths, how, cancelled)
    kept = ((key, _kept(results, key)) for key in {key for _, key in keys})
    known: dict[str, VideoFigures | SonicError] = {key: found for key, found in kept if found is not None}
    fresh = {key: path for path, (_, key) in zip(paths, keys, strict=True) if key and key not in known}

    def tell(measured: int) -> None:
        ended = [known.get(key) for _, key in keys if key in known or not key]
        failed = sum(not isinstance(each, VideoFigures) for each in ended)
        progress(EvaluationProgress(len(ended), failed, len(paths), measured, len(fresh)))

    tell(0)
    with closing(_measured(fresh, how, processes, cancelled)) as answers:
        for number, (key, answer) in enumerate(answers, 1):
            known[key] = answer
            if isinstance(answer, VideoFigures):
                _keep(results, key, answer)
            tell(number)
    videos = iter([_evaluated(path, *key, known) for path, key in zip(paths, keys, strict=True)])
    return tuple(
        Evaluation(folder, tuple(next(videos) for _ in own))
        for folder, own in zip(folders, found, strict=True)
    )


def compare(first: Evaluation, second: Evaluation) -> FolderComparison:
    """Pair the videos of two folders by name and take every figure's difference, first less second."""
    ours, theirs = ({_same(video.name): video for video in each.videos} for each in (first, second))
    shared = [name for name in ours if name in theirs]
    differences = {}
    for metric in METRICS:
        columns = [[side[name].value(metric.name) for name in shared] for side in (ours, theirs)]
        found = paired_difference(*columns)
        if found.difference.count:
            differences[metric.name] = found
    adjusted = holm([each.ranks for each in differences.values()])
    return FolderComparison(
        tuple(ours[name].name for name in shared),
        tuple(ours[name].name for name in ours if name not in theirs),
        tuple(theirs[name].name for name in theirs if name not in ours),
        differences,
        dict(zip(differences, adjusted, strict=True)),
    )


def _same(name: str) -> str:
    """By which two files are a pair: macOS writes accents apart from their letters."""
    return unicodedata.normalize("NFC", name)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOutput(
            f"The folder {folder} cannot be made: {error.strerror or error}.", "Choose another folder."
        ) from error


def _keys(paths: Sequence[Path], how: Measuring, cancelled: Callable[[], bool]) -> list[tuple[str, str]]:
    """SHA-256 of each video and the name of its result; two empty texts where it cannot be read."""

    def key(path: Path) -> tuple[str, str]:
        if cancelled():
            raise Cancelled
        try:
            own = sha256_of(path)
            beside = phonemes_beside(path)
            phonemes = sha256_of(beside) if beside.is_file() else ""
        except OSError:
            return "", ""
        return own, hashlib.sha256(json.dumps([common, own, phonemes]).encode()).hexdigest()

    common = [REVISION, __version__, how.sync, *_identity(how)]
    with ThreadPoolExecutor(4) as pool:
        return [*pool.map(key, paths)]


def _identity(how: Measuring) -> Iterator[Any]:
    """What else a result depends on: the networks and the portrait."""
    if how.sync == SYNC and weights_of("judge").is_file():
        yield sha256_of(weights_of("judge"))
    if how.recogniser is not None:
        yield from (how.recogniser.name, how.recogniser.stat().st_size)
    if how.portrait is not None:
        yield sha256_of(how.portrait)


def _measured(
    fresh: dict[str, Path], how: Measuring, processes: int, cancelled: Callable[[], bool]
) -> Generator[tuple[str, VideoFigures | SonicError], None, None]:
    keys = list(fresh)
    if not processes:
        for key in keys:
            if cancelled():
                raise Cancelled
            try:
                yield key, measure_figures(fresh[key], how, cancelled)
            except Cancelled:
                raise
            except SonicError as error:
                yield key, error
        return
    orders = [order_for(fresh[key].absolute(), how) for key in keys]
    count = max(1, min(processes, len(keys)))
    threads = max(1, cores() // count)
    with Workers("sonic_ext.evaluation.measuring:measured", count, threads, PATIENCE) as workers:
        for number, answer in workers.answers(orders, cancelled):
            yield keys[number], (answer if isinstance(answer, SonicError) else VideoFigures.from_json(answer))


def _evaluated(path: Path, sha256: str, key: str, known: dict[str, Any]) -> EvaluatedVideo:
    found = known.get(key)
    if isinstance(found, VideoFigures):
        return EvaluatedVideo(path.name, sha256, found)
    unreadable = BadVideo(f"{path.name} cannot be read.", "Check its permissions.")
    return EvaluatedVideo(path.name, sha256, None, found or unreadable)


def _kept(results: Path, key: str) -> VideoFigures | None:
    """What was measured before; None where it was not, or what is there is no such result."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        found = json.loads((results / f"{key}.json").read_bytes())
        if found["format"] == FORMAT:
            return VideoFigures.from_json(found["figures"])
    return None


def _keep(results: Path, key: str, figures: VideoFigures) -> None:
    path = results / f"{key}.json"
    try:
        remove_temporaries(path, older=3600)  # another command may write the same right now
        replace_file(path, json.dumps({"format": FORMAT, "figures": figures.as_json()}, indent=1).encode())
    except OSError as error:
        raise BadOutput(f"{path} cannot be written: {error.strerror or error}.", "Make room.") from error
