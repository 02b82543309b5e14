"""The faces of a video, shot by shot, and how their mouths move: one pass over its frames.

    found = face_tracks("talk.mp4")
    for face in found.faces:                 # longest first
        face.start, face.end, face.motion["gap"]

Cuts show in a thumbnail. The detector looks at the beginning of a shot, then once a second, and soon again
where a face was lost; between its looks the landmark network follows each face from frame to frame. Pictures
are not kept: what grows with the length is numbers.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import BadAudio
from ..media import centerface
from ..media.detection import FaceDetection, intersection_over_union
from ..media.face import LandmarkTracker, box_of
from ..media.geometry import Box
from ..media.samples import sound_start
from ..media.video import TimedFrame, probe, timed_frames
from ..progress import Stage, Tick
from .mouth import FEATURES, MouthMotion, mouth_geometry

FASTEST = 32.0
"""Frames a second that are looked at, at most: of 50 or 60 every second one."""
THUMBNAIL = 32
"""Side in pixels of the picture in which cuts show."""
CHANGE, OUTSTANDING, USUAL_FRAMES = 0.18, 5.0, 12
"""From one frame to the next the thumbnail changes by so much (`picture_change`), and by so many times the
median of the frames before: a cut. Heads that talk change by less than 0.04, a picture that slides away by up
to 0.15, cuts from face to face by 0.24 and more."""
PAN = 6
"""Pixels of the thumbnail, across and down, by which a camera may swing from frame to frame."""
FLAT = 3.0
"""Levels of 255: a thumbnail that varies by less is a plain colour."""
LOOK_EVERY, LOOK_SOON = 1.0, 0.2
"""Seconds between two looks of the detector; the second one for a second after a cut, or after a face was
lost, until somebody is followed."""
SMALLEST, SMALL, LARGE, GRAIN = 160, centerface.SIDES[1], centerface.SIDES[0], 32
"""Sides of the square that the detector sees. Where somebody is followed one that shows faces half as large
well enough (`SEEN` pixels), in whole grains; where nobody is the second one, then the third one, for small
faces."""
SEEN = 20
"""Pixels of a face from which the detector finds it."""
SAME = 0.3
"""Intersection over union from which a detection is a face that is known."""
BELIEVED = 0.4
"""Face score below which a face counts as lost, see `mesh.face_score`."""
TRIES = 3
"""Frames in which a lost face is looked for where it was; then only where the detector sees it."""
LEAST_FACE = 32
"""Pixels of the longer side of a face that is followed."""
MOST_FACES = 3
"""Followed at once, the largest ones."""

Watch = Callable[[TimedFrame], None]


@dataclass(frozen=True)
class Shot:
    """A stretch without a cut."""

    start: float
    """Seconds, on the clock of the sound."""
    end: float
    """Seconds."""
    frames: int
    """That were looked at."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class ShotFace:
    """One face through one shot, from the first to the last frame in which it was found."""

    shot: int
    """Number of the shot, from 0."""
    start: float
    """Seconds, on the clock of the sound: when its first frame comes on screen …"""
    end: float
    """… and its last one goes."""
    motion: MouthMotion
    """Of each frame that was looked at; nan where the face was lost."""
    box: Box
    """Median box of the face, hairline to chin, pixels of the frame."""
    found: float
    """Share of its frames in which the face was found."""

    @property
    def seconds(self) -> float:
        """From its first to its last frame."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class VideoFaces:
    """What was seen in a video."""

    seconds: float
    """When the last frame goes, on the clock of the sound."""
    fps: float
    """Frames a second on average, all of them."""
    frames: int
    shots: tuple[Shot, ...]
    faces: tuple[ShotFace, ...]
    """Longest first."""

    def of_shot(self, number: int) -> tuple[ShotFace, ...]:
        """The faces of one shot, longest first."""
        return tuple(face for face in self.faces if face.shot == number)


def face_tracks(
    path: str | os.PathLike[str], tick: Tick | None = None, track: int = 0, watch: Watch | None = None
) -> VideoFaces:
    """Follow every prominent face of a video.

    Times are seconds on the clock of the sound as `audio.read_speech` and `samples.decoded` give it: that of
    a time stamp, less where the sound begins, or where the file does if it has none.

    Args:
        path: a video file; of any frame rate, also a variable one.
        tick: called for every frame.
        track: number of the sound track whose clock it is, such as `Speech.mix.track`.
        watch: shown every frame: for whoever measures something else in the same pass.

    Raises:
        BadVideo: missing, not a video, no frames, damaged from the first one on.
        Cancelled: from `tick` or `watch`.
    """
    path = Path(path)
    expected = probe(path).frames
    cuts, tracker, zero = CutFinder(), LandmarkTracker(), _zero(path, track)
    shots: list[Shot] = []
    faces: list[ShotFace] = []
    current: _ShotTracking | None = None
    first = last = 0.0
    frames, due = 0, -np.inf
    for frame in timed_frames(path):
        first, last = frame.start if not frames else first, frame.end
        frames += 1
        if tick is not None:
            tick(Stage.FOLLOWING_FACES, frames, max(frames, expected))
        if watch is not None:
            watch(frame)
        if frame.middle < due:
            continue
        due = frame.middle + 0.9 / FASTEST
        rgb = frame.rgb()
        if cuts.is_cut(rgb) or current is None:
            if current is not None:
                _close(current, frame.start - zero, shots, faces)
            current = _ShotTracking(len(shots), frame.start - zero, tracker)
        current.see(frame, zero, rgb)
    assert current is not None, "a video without frames is refused"
    _close(current, last - zero, shots, faces)
    faces.sort(key=lambda face: face.seconds, reverse=True)
    return VideoFaces(last - zero, frames / max(last - first, 1e-6), frames, tuple(shots), tuple(faces))


def _zero(path: Path, track: int) -> float:
    try:
        return sound_start(path, track)
    except BadAudio:  # who reads the sound says what is wrong with it
        return 0.0


class CutFinder:
    """Sees the frames of a video go by and says where another shot begins."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._changes: deque[float] = deque(maxlen=USUAL_FRAMES)

    def is_cut(self, rgb: NDArray[np.uint8]) -> bool:
        """Whether this frame, uint8 RGB [height, width, 3], shows something else than the one before."""
        step, size = max(1, min(rgb.shape[:2]) // (4 * THUMBNAIL)), (THUMBNAIL, THUMBNAIL)
        coarse = np.ascontiguousarray(rgb[::step, ::step])
        small = cv2.resize(coarse, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._before = self._before, small
        if before is None:
            return False
        change = picture_change(before, small)
        usual = float(np.median(self._changes)) if self._changes else 0.0
        cut = change > max(CHANGE, OUTSTANDING * usual)
        if cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return cut


def picture_change(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """How much two thumbnails differ, whatever their levels and wherever the camera swung: 0 to 2.

    1 less their correlation: 0 for the same, about 1 for two that have nothing in common. The better of
    that of the whole and that of the middle of the first one wherever it lies in the other. Of a plain one
    and one that is not it is 1, of two plain ones 0.
    """
    a, b = one - one.mean(), other - other.mean()
    plain = [float(each.std()) < FLAT for each in (a, b)]
    if any(plain):
        return 0.0 if all(plain) else 1.0
    change = 1.0 - float((a * b).mean() / (a.std() * b.std()))
    inner = np.ascontiguousarray(one[PAN:-PAN, PAN:-PAN])
    if change < CHANGE or float(inner.std()) < FLAT:
        return change
    return min(change, 1.0 - float(cv2.matchTemplate(other, inner, cv2.TM_CCOEFF_NORMED).max()))


def _close(tracking: _ShotTracking, end: float, shots: list[Shot], faces: list[ShotFace]) -> None:
    shots.append(Shot(tracking.start, end, len(tracking.times)))
    faces += tracking.faces()


@dataclass
class _Followed:
    """A face in the frames so far."""

    points: NDArray[np.float32]
    """Where it was last found, [468, 3]."""
    missed: int = 0
    """Frames since."""
    indices: list[int] = field(default_factory=list)
    """Of the frames in which it was found."""
    geometry: list[NDArray[np.float32]] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)

    @property
    def box(self) -> Box:
        return self.boxes[-1]

    def take(self, index: int, points: NDArray[np.float32]) -> None:
        """It was found in a frame."""
        self.points, self.missed = points, 0
        self.indices.append(index)
        self.geometry.append(mouth_geometry(points))
        self.boxes.append(box_of(points))


class _ShotTracking:
    """The faces of one shot while its frames go by."""

    def __init__(self, number: int, start: float, tracker: LandmarkTracker) -> None:
        self.start = start
        self.times: list[float] = []
        self._spans: list[tuple[float, float]] = []
        self._number, self._tracker = number, tracker
        self._known: list[_Followed] = []
        self._next_look, self._soon_until = start, start + LOOK_EVERY

    def see(self, frame: TimedFrame, zero: float, rgb: NDArray[np.uint8]) -> None:
        """Follow the faces into the next frame, and look for others where it is time to."""
        index, time = len(self.times), frame.middle - zero
        self.times.append(time)
        self._spans.append((frame.start - zero, frame.end - zero))
        for face in self._live():
            self._follow(face, index, rgb)
        self._drop_doubles()
        if time >= self._next_look:
            self._look(index, rgb)
            soon = time < self._soon_until and not self._all_found()
            self._next_look = time + (LOOK_SOON if soon else LOOK_EVERY)

    def faces(self) -> Iterator[ShotFace]:
        """What was found."""
        times = np.array(self.times)
        for face in self._known:
            first, last = face.indices[0], face.indices[-1]
            geometry = np.full((last - first + 1, len(FEATURES)), np.nan, np.float32)
            geometry[np.array(face.indices) - first] = face.geometry
            motion = MouthMotion(times[first : last + 1], geometry)
            box = Box(*(float(side) for side in np.median(face.boxes, axis=0)))
            found = len(face.indices) / len(motion)
            yield ShotFace(self._number, self._spans[first][0], self._spans[last][1], motion, box, found)

    def _live(self) -> list[_Followed]:
        return [face for face in self._known if face.missed < TRIES]

    def _all_found(self) -> bool:
        """Somebody is followed, and nobody was lost just now."""
        live = self._live()
        return bool(live) and not any(face.missed for face in live)

    def _follow(self, face: _Followed, index: int, rgb: NDArray[np.uint8]) -> None:
        points, score = self._tracker.track(rgb, face.points)
        if score >= BELIEVED:
            face.take(index, points)
            return
        face.missed += 1
        if face.missed == 1:
            self._next_look, self._soon_until = self.times[index], self.times[index] + LOOK_EVERY

    def _drop_doubles(self) -> None:
        """Two that ended up on one face were one; the one that is known longer stays."""
        live = [face for face in self._live() if not face.missed]
        for number, face in enumerate(live):
            if any(intersection_over_union(face.box, older.box) > 0.5 for older in live[:number]):
                face.missed = TRIES

    def _look(self, index: int, rgb: NDArray[np.uint8]) -> None:
        """Detect; what is known goes on where it was lost, what is not begins."""
        live = [face for face in self._live() if not face.missed]
        found = centerface.detect_at(rgb, self._side(live, max(rgb.shape[:2])), centerface.THRESHOLD)
        if not found and not live and max(rgb.shape[:2]) > SMALL:
            found = centerface.detect_at(rgb, LARGE, centerface.THRESHOLD)
        for each in sorted(found, key=lambda face: face.box.area, reverse=True)[:MOST_FACES]:
            if max(each.box.width, each.box.height) >= LEAST_FACE:
                self._meet(each, index, rgb)

    @staticmethod
    def _side(live: list[_Followed], longest: int) -> int:
        """Of the detector's square for a picture of so many pixels."""
        if not live:
            return SMALL
        half = max(max(face.box.width, face.box.height) for face in live) / 2
        return min(SMALL, max(SMALLEST, math.ceil(longest * SEEN / half / GRAIN) * GRAIN))

    def _meet(self, found: FaceDetection, index: int, rgb: NDArray[np.uint8]) -> None:
        known = max(self._known, key=lambda face: intersection_over_union(face.box, found.box), default=None)
        same = known is not None and intersection_over_union(known.box, found.box) >= SAME
        if same and known is not None and not known.missed:
            return
        live = [face for face in self._live() if not face.missed]
        if len(live) >= MOST_FACES:
            return
        points, score = self._tracker.track(rgb, found.box)
        box = box_of(points)
        if score < BELIEVED or any(intersection_over_union(face.box, box) > SAME for face in live):
            return
        if known is None or not same:
            known = _Followed(points)
            self._known.append(known)
        known.take(index, points)
