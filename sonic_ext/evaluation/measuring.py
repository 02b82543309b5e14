"""All figures of one finished video: lip sync, closures, `Naturalness`, THEval's scores, identity.

    figures = measure_figures(Path("hello.mp4"), Measuring())
    figures.values["lip_sync"]

What could not be measured is nan, with a sentence in `notes`; other figures do not suffer from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, BadVideo, Cancelled, SonicError
from ..media.arcface import SIDE, ArcFace
from ..media.audio import read_speech
from ..media.face import find_face
from ..media.image import read_portrait
from ..media.mesh import mean_face
from ..media.video import TimedFrame, probe, timed_frames
from ..processes import Alive
from ..sync.encoders import load, weights_of
from ..sync.measure import measure_sync
from ..sync.offset import SURE
from ..sync.tracks import Watch
from ..train.phonemes import read_phonemes
from .closures import closure_figures, phonemes_beside
from .metrics import BY_NAME, SCORE, SCORES
from .naturalness import FaceTrack, VideoMeter, naturalness
from .voice import Voice

SYNC = "sonic_ext.evaluation.measuring:judged_sync"
"""What measures lip sync, by name: processes of their own have to find it, too."""
LOOKS = 2.0
"""Looks at the identity in a second."""
NO_RECOGNISER = "Identity was not measured: no insightface pack with a face recogniser is on this computer."
RECOGNISER_HINT = (
    "Put a pack with w600k_*.onnx or glintr100.onnx where insightface has them (INSIGHTFACE_HOME)."
)


class SyncMeasure(Protocol):
    """What is read of a `sync.report.SyncReport`."""

    @property
    def offset(self) -> float:
        """Seconds, positive: the mouth comes after the voice; nan where it could not be measured."""

    @property
    def confidence(self) -> float:
        """0 to 1."""

    @property
    def tracks(self) -> Sequence[Any]:
        """Faces, each with a `note`: empty, or why it could not be measured."""

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences."""


@dataclass(frozen=True)
class Measuring:
    """How videos are measured."""

    sync: str = SYNC
    """`module:function`, called with the path of a video and a `Watch`, which it may show every frame to
    save a second pass: gives a `SyncMeasure`, raises `SonicError`."""
    recogniser: Path | None = None
    """ONNX file of an ArcFace; None: identity is not measured."""
    portrait: Path | None = None
    """Whom the videos show; None: whoever the first one with a face does."""


@dataclass(frozen=True)
class VideoFigures:
    """What was measured of a video."""

    seconds: float
    """Length of the picture."""
    frames: int
    seen: int
    """Frames in which the face was found, see `Naturalness.seen`."""
    values: Mapping[str, float]
    """Every one of `METRICS`; nan where it was not measured."""
    offset: float = math.nan
    """Seconds: what lip sync was measured to, also where that is not believed."""
    notes: tuple[str, ...] = field(default=())
    """Sentences on what was not measured and why."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, nan as null."""
        values = {name: _plain(value) for name, value in self.values.items()}
        return asdict(self) | {"values": values, "offset": _plain(self.offset), "notes": [*self.notes]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> VideoFigures:
        """What `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: somebody else wrote it.
        """
        known = {name: _number(values["values"][name]) for name in BY_NAME}
        return cls(
            float(values["seconds"]),
            int(values["frames"]),
            int(values["seen"]),
            known,
            _number(values["offset"]),
            tuple(map(str, values["notes"])),
        )


def measure_figures(
    path: Path, how: Measuring, cancelled: Callable[[], bool] = lambda: False
) -> VideoFigures:
    """Measure a video in one pass over its pictures: lip sync and all the rest see them together.

    Args:
        cancelled: asked at every frame whether to stop.

    Raises:
        BadVideo: missing, not a video, damaged.
        NoFace, BadPortrait, BadAudio: nothing at all could be measured, for this reason first.
        MissingPart: the recogniser that `how` names cannot be run.
        Cancelled: `cancelled` said so.
    """
    about = probe(path)
    if not about.fps > 0:
        raise BadVideo(f"{path.name} does not say how many pictures it has a second.", "Convert it to MP4.")
    if how.recogniser is not None:
        _network(how.recogniser)
    values = dict.fromkeys(BY_NAME, math.nan)
    notes: list[str] = []
    reasons: list[SonicError] = []
    seen, offset, watched = 0, math.nan, False
    looking = _Looking(about.fps, how, cancelled)
    with _noted("Lip sync was not measured", reasons, notes):
        offset = _sync(path, how.sync, values, notes, looking.see)
        watched = looking.frames > 0
    voice = None
    if about.audio_codec:
        with _noted("The sound was not measured", reasons, notes):
            voice = Voice.of(read_speech(path))
    with _noted("The face was not measured", reasons, notes):
        if not watched:  # lip sync could not be measured, or was without looking
            looking = _Looking(about.fps, how, cancelled)
            for frame in timed_frames(path):
                looking.see(frame)
        track, likeness = looking.found()
        values |= likeness
        figures = naturalness(track, voice)
        seen = figures.seen
        values |= {name: float(value) for name, value in vars(figures).items() if name in values}
        values |= {SCORE + name: value for name, value in figures.scores().items()}
        values["score"] = float(np.mean([values[name] for name in SCORES]))
        if not seen:
            notes.append("The face was found in less than half of the frames.")
        if phonemes_beside(path).is_file():
            with _noted("Closures were not measured", reasons, notes):
                values |= closure_figures(track, read_phonemes(phonemes_beside(path)))
    if not any(map(math.isfinite, values.values())):
        raise reasons[0] if reasons else BadVideo(f"Nothing could be measured in {path.name}.", "Look at it.")
    return VideoFigures(about.seconds, about.frames, seen, values, offset, tuple(notes))


def require_usable(how: Measuring) -> None:
    """Refuse what would fail with every video.

    Raises:
        MissingPart: the recogniser cannot be run; the judge of lip sync is missing or damaged.
        BadPortrait, NoFace: nobody can be recognised in the portrait.
        BadInput: a portrait without a recogniser.
    """
    if how.sync == SYNC:
        load(weights_of("judge"))
    if how.portrait is not None and how.recogniser is None:
        raise BadInput("A portrait is compared by a face recogniser, and there is none.", RECOGNISER_HINT)
    if how.recogniser is not None:
        _network(how.recogniser).direction(np.zeros((SIDE, SIDE, 3), np.uint8) + 99, mean_face() * 40 + 56)
        if how.portrait is not None:
            _reference(how.recogniser, how.portrait)


def measured(order: Mapping[str, Any], alive: Alive) -> dict[str, Any]:
    """`measure_figures` for a process: an order and its answer are JSON."""

    def cancelled() -> bool:
        alive()
        return False

    how = {name: value and Path(value) for name, value in order["how"].items() if name != "sync"}
    return measure_figures(Path(order["path"]), Measuring(order["how"]["sync"], **how), cancelled).as_json()


def order_for(path: Path, how: Measuring) -> dict[str, Any]:
    """What `measured` takes."""
    named = {name: value and str(value) for name, value in vars(how).items()}
    return {"path": str(path), "how": named}


def judged_sync(path: Path, watch: Watch) -> SyncMeasure:
    """Lip sync as the judge sees it: a network of its own, by which nothing is corrected.

    Args:
        watch: shown every frame.

    Raises:
        BadVideo, BadAudio, MissingPart: see `sync.measure.measure_sync`.
    """
    return measure_sync(path, network=load(weights_of("judge")), watch=watch)


def _sync(path: Path, function: str, values: dict[str, float], notes: list[str], watch: Watch) -> float:
    """Fill in lip sync; the offset, whether or not it is believed."""
    module, _, name = function.partition(":")
    found: SyncMeasure = getattr(import_module(module), name)(path, watch)
    offset, confidence = float(found.offset), float(found.confidence)
    values["sync_confidence"] = confidence if math.isfinite(offset) else math.nan
    if confidence >= SURE and math.isfinite(offset):
        values["sync_offset"], values["sync_error"] = offset, abs(offset)
    elif math.isfinite(offset):
        notes.append(f"An offset of {1000 * offset:+.0f} ms is not sure (confidence {confidence:.2f}).")
    else:
        notes.extend(dict.fromkeys(track.note for track in found.tracks if track.note))
    notes.extend(found.warnings)
    return offset


class _Looking:
    """The face through a video, and its likeness, while the frames go by."""

    def __init__(self, fps: float, how: Measuring, cancelled: Callable[[], bool]) -> None:
        self._meter, self._cancelled = VideoMeter(fps), cancelled
        self._likeness = _Likeness(how) if how.recogniser else None
        self._every = max(1, round(fps / LOOKS))
        self.frames = 0
        """That were seen."""

    def see(self, frame: TimedFrame) -> None:
        """The next frame."""
        if self._cancelled():
            raise Cancelled
        rgb = frame.rgb()
        points = self._meter.see(rgb)
        if self._likeness is not None and points is not None and self.frames % self._every == 0:
            self._likeness.see(rgb, points)
        self.frames += 1

    def found(self) -> tuple[FaceTrack, dict[str, float]]:
        """What came of it.

        Raises:
            NoFace, BadPortrait: no frame shows a face that can be used.
        """
        return self._meter.track(), self._likeness.figures() if self._likeness else {}


class _Likeness:
    """How alike the faces of frames are to the portrait, or to the first of them."""

    def __init__(self, how: Measuring) -> None:
        assert how.recogniser is not None
        self._network = _network(how.recogniser)
        self._reference = _reference(how.recogniser, how.portrait) if how.portrait else None
        self._cosines: list[float] = []

    def see(self, frame: NDArray[np.uint8], points: NDArray[np.float32]) -> None:
        found = self._network.direction(frame, points)
        if self._reference is None:
            self._reference = found
        else:
            self._cosines.append(float(found @ self._reference))

    def figures(self) -> dict[str, float]:
        if not self._cosines:
            return {}
        return {"identity": float(np.mean(self._cosines)), "identity_least": min(self._cosines)}


@lru_cache(maxsize=1)
def _network(recogniser: Path) -> ArcFace:
    return ArcFace(recogniser)


@lru_cache(maxsize=1)
def _reference(recogniser: Path, portrait: Path) -> NDArray[np.float32]:
    rgb = read_portrait(portrait).rgb
    return _network(recogniser).direction(rgb, find_face(rgb)[0].landmarks)


@contextmanager
def _noted(what: str, reasons: list[SonicError], notes: list[str]) -> Iterator[None]:
    """Around what the rest can do without."""
    try:
        yield
    except Cancelled:
        raise
    except SonicError as reason:
        reasons.append(reason)
        notes.append(f"{what}: {reason.message}")


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
