"""All figures of one talking head, from a finished video or from the frames of an engine.

    meter = Meter(fps, picture, points)
    for frame in frames:
        meter.see(frame)
    figures = naturalness(meter.track(), voice)

Pictures are not kept: what grows with the length is a dozen numbers a frame.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import BadPortrait, BadVideo, NoFace, SonicError
from ..media import centerface
from ..media.audio import read_speech
from ..media.face import LandmarkTracker, box_of, find_face
from ..media.geometry import crop_square
from ..media.mesh import eye_centres, mouth_opening
from ..media.video import probe, timed_frames
from . import theval
from .eyes import AWAKE, Lids, find_blinks, gaze
from .tears import TearFinder
from .voice import Voice

NOSE_TIP, FOREHEAD_CHIN = 1, (10, 152)
TEARS_EVERY = 5
"""Frames from one look for tears to the next: it takes longer than all the rest."""
FRAMING = 0.18
"""Room around the face that `framing=crop` leaves by default."""
SETTLED = 3
"""Looks at the picture until the points found near points no longer creep."""
SURE = 0.4
"""Face score below which what is found of a face is not believed: in many drawings, in hidden faces."""
HAIR, BESIDE = 0.35, 0.3
"""Room that a head takes above and beside the box of its face, in heights and widths of that box."""


@dataclass(frozen=True)
class Naturalness:
    """Figures of one video; nan where there was nothing to measure them on.

    Those with a truth in `theval.TRUTH` have its definitions. None is better the larger it is: `PEOPLE` says
    what real people have.
    """

    frames: int
    seen: int
    """Frames in which the face was found, 0 if it was in less than half: the figures of lips, brows, eyes and
    head are theirs."""
    lip_dynamics: float
    """Pixels of a 256² frame around the face, see `theval.LipDynamics`, framed as by `framing=crop`."""
    brow_dynamics: float
    """Eye distances per frame, see `theval.brow_dynamics`."""
    silent_lips: float
    """Eye distances (outer corners), see `theval.silent_lips`; nan without a pause, or without sound."""
    lip_sync: float
    """0 to 1, see `theval.lip_sync`; nan without sound."""
    yaw: float
    """Standard deviation of the first of `head_place`."""
    pitch: float
    """Of the second."""
    roll: float
    """Of the third, degrees."""
    eyes_open: float
    """Median of the first of `eyes.Lids.look`."""
    eyes_shut: float
    """Median over the blinks of their least; without a blink the least of all frames."""
    lid: float
    """Median over the same frames of the second of `eyes.Lids.look`."""
    blinks: float
    """A minute."""
    gaze: float
    """Eye widths: standard deviation of the irises along the eyes, while they are open."""
    background: float
    """Levels of 255: mean difference from the first frame (or the picture), away from head and shoulders; nan
    where they fill the frame."""
    jump: float
    """Pixels: worst of `tears.Tear.jump`."""
    edge: float
    """Levels per pixel: worst of `tears.Tear.edge`."""

    def scores(self) -> dict[str, float]:
        """THEval's score of each of its figures, 1 for real people's mean."""
        return theval.scores(vars(self))


PEOPLE = {
    "lip_dynamics": (2.1, 4.3),
    "brow_dynamics": (0.0045, 0.016),
    "silent_lips": (0.0064, 0.0263),
    "lip_sync": (0.05, 0.24),
    "yaw": (0.053, 0.105),
    "pitch": (0.044, 0.072),
    "roll": (3.2, 3.4),
    "eyes_shut": (0.046, 0.080),
    "gaze": (0.028, 0.046),
}
"""Least and most of real clips, with this project's landmarks: five clips framed as `framing=crop` at 512²
(lips, brows, sync), two speakers (head, eyes, gaze); silent lips from those clips to THEval's mean. The clips
themselves are not kept. Their eyes were read by landmarks that follow lids and irises: 0.34 to 0.39 when
open, where this project's have 0.22 to 0.29 on portraits."""


class Look(NamedTuple):
    """What is kept of a frame; nan for what was not found or not looked for in it."""

    time: float
    """Seconds, of the middle of the frame."""
    background: float
    """Levels, see `Naturalness.background`."""
    opening: float = np.nan
    """See `theval.lip_opening`."""
    gap: float = np.nan
    """See `mesh.mouth_opening`."""
    left_brow: float = np.nan
    right_brow: float = np.nan
    """See `theval.brow_heights`."""
    eyes: float = np.nan
    lid: float = np.nan
    """See `eyes.Lids.look`."""
    gaze: float = np.nan
    """See `eyes.gaze`."""
    nose_x: float = np.nan
    nose_y: float = np.nan
    roll: float = np.nan
    """See `head_place`."""
    jump: float = np.nan
    """Pixels, see `tears.Tear`."""
    jump_x: float = np.nan
    jump_y: float = np.nan
    """Pixels of the frame, where that is."""
    edge: float = np.nan
    """Levels per pixel, see `tears.Tear`."""


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """A face through a video."""

    fps: float
    looks: NDArray[np.float64]
    """float64 [frames, fields of Look]."""
    lip_dynamics: float
    """See `Naturalness.lip_dynamics`."""

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """One field of `Look`, [frames]."""
        return self.looks[:, Look._fields.index(name)]

    def __len__(self) -> int:
        return len(self.looks)


class Meter:
    """Sees the frames of one video go by; for one thread.

    Args:
        fps: frames a second.
        picture: what the frames were drawn from, uint8 RGB of their size; of a video its first frame.
        points: the face in it, float32 [468, 3]. In the frames it is found anew, and moved by as much as what
            is found in the picture is off.
        unseen: frames that went by before, without a face.
    """

    def __init__(
        self, fps: float, picture: NDArray[np.uint8], points: NDArray[np.float32], unseen: int = 0
    ) -> None:
        self._fps = fps
        self._tracker = LandmarkTracker()
        self._near = points
        for _ in range(SETTLED):
            self._near, _ = self._tracker.track(picture, self._near)
        self._off = points - self._near
        height, width = picture.shape[:2]
        left, top, right, bottom = crop_square(box_of(points), FRAMING, width, height)
        self._framing = right - left, bottom - top
        self._lips = theval.LipDynamics()
        self._lids = Lids(picture, points)
        self._tears = TearFinder(picture, points)
        self._still = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        self._background = background_mask(points, picture.shape)
        self._looks = [Look((index + 0.5) / fps, np.nan) for index in range(unseen)]

    def see(self, frame: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Measure the next frame, uint8 RGB [height, width, 3]; the face found in it, [468, 3], or None."""
        index = len(self._looks)
        changed = cv2.absdiff(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), self._still)
        background = float(cv2.mean(changed, self._background)[0]) if self._background.any() else np.nan
        look = Look((index + 0.5) / self._fps, background)
        found, score = self._tracker.track(frame, self._near)
        if score >= SURE:
            self._near = found
        points = self._near + self._off
        if score >= SURE:
            self._lips.see(points, self._framing)
            left_brow, right_brow = theval.brow_heights(points)
            nose_x, nose_y, roll = head_place(points)
            eyes, lid = self._lids.look(frame, points)
            look = look._replace(
                opening=theval.lip_opening(points),
                gap=mouth_opening(points),
                left_brow=float(left_brow),
                right_brow=float(right_brow),
                eyes=eyes,
                lid=lid,
                gaze=gaze(frame, points),
                nose_x=nose_x,
                nose_y=nose_y,
                roll=roll,
            )
        if index % TEARS_EVERY == 0:
            tear = self._tears.look(frame, points)
            x, y = tear.jump_at
            look = look._replace(jump=tear.jump, jump_x=x, jump_y=y, edge=tear.edge)
        self._looks.append(look)
        return points if score >= SURE else None

    def track(self) -> FaceTrack:
        """What was seen so far."""
        looks = np.array(self._looks, dtype=np.float64).reshape(-1, len(Look._fields))
        return FaceTrack(self._fps, looks, self._lips.value())


class VideoMeter:
    """Sees the frames of one video go by, and measures from the first one on that shows a face.

    Args:
        fps: frames a second.
        picture: what the frames were drawn from, of their size; that first one by default.
        points: the face in it, float32 [468, 3]; looked for by default, once a second until there is one.
    """

    def __init__(
        self,
        fps: float,
        picture: NDArray[np.uint8] | None = None,
        points: NDArray[np.float32] | None = None,
    ) -> None:
        self._fps, self._picture, self._points = fps, picture, points
        self._meter: Meter | None = None
        self._unseen = 0
        self._reason: SonicError = BadVideo(
            "There are no frames to measure.", "Give a video of one frame or more."
        )

    def see(self, frame: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Measure the next frame, uint8 RGB [height, width, 3]; the face found in it, [468, 3], or None."""
        if self._meter is None:
            self._meter = self._begun(frame)
        if self._meter is None:
            self._unseen += 1
            return None
        return self._meter.see(frame)

    def track(self) -> FaceTrack:
        """What was seen so far.

        Raises:
            NoFace, BadPortrait: no face that can be used was seen; what is wrong with the first frame.
            BadVideo: no frame was seen.
        """
        if self._meter is None:
            raise self._reason
        return self._meter.track()

    def _begun(self, frame: NDArray[np.uint8]) -> Meter | None:
        picture = frame.copy() if self._picture is None else self._picture
        points = self._points
        if points is None:
            if self._unseen % max(1, round(self._fps)):
                return None
            # Only the first frame, of which all may be drawn, is looked at by every means.
            if self._unseen and not centerface.detect_at(picture, centerface.SIDES[1], centerface.THRESHOLD):
                return None
            try:
                points = find_face(picture)[0].landmarks
            except (NoFace, BadPortrait) as reason:
                self._reason = self._reason if self._unseen else reason
                return None
        return Meter(self._fps, picture, points, self._unseen)


def head_place(points: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Stand-ins for yaw, pitch and roll that need no model of a head.

    The tip of the nose from the middle between the eyes: along their line over the distance of their outer
    corners, at right angles to it over the distance from forehead to chin; and that line's tilt in degrees,
    positive clockwise. `PEOPLE`'s figures were taken with other landmarks; the lengths were chosen so that
    version 0.1 reads here about as it did there (0.015, 0.009, 1.2).
    """
    flat = points[:, :2].astype(np.float64)
    left, right = eye_centres(flat)
    along = (right - left) / max(float(np.hypot(*(right - left))), 1e-6)
    nose = flat[NOSE_TIP] - (left + right) / 2
    wide, high = (
        max(float(np.hypot(*(flat[b] - flat[a]))), 1e-6) for a, b in (theval.OUTER_CORNERS, FOREHEAD_CHIN)
    )
    turned, nodded = nose @ along / wide, nose @ (-along[1], along[0]) / high
    return float(turned), float(nodded), float(np.degrees(np.arctan2(along[1], along[0])))


def background_mask(points: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """255 away from head, hair and shoulders, uint8 [height, width].

    Head and hair are an ellipse around the face; shoulders are all below its chin.
    """
    box = box_of(points)
    mask = np.full(shape[:2], 255, np.uint8)
    top, bottom = box.top - HAIR * box.height, box.bottom
    centre = (round(box.centre[0]), round((top + bottom) / 2))
    axes = (round((0.5 + BESIDE) * box.width), round((bottom - top) / 2))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 0, cv2.FILLED)
    mask[max(0, round(bottom - 0.25 * box.height)) :] = 0
    return mask


def naturalness(track: FaceTrack, voice: Voice | None) -> Naturalness:
    """The figures of a face that was seen, with the sound that goes with it."""
    known = np.isfinite(track["opening"])
    if known.sum() < len(known) / 2:
        known[:] = False
    seen = FaceTrack(track.fps, track.looks[known], track.lip_dynamics if known.any() else np.nan)
    times, openings = seen["time"], seen["opening"]
    silent, sync = np.nan, np.nan
    if voice is not None:
        silent = theval.silent_lips(openings, voice.pausing(times, theval.PAUSE))
        sync = theval.lip_sync(openings, voice.loudness(times), ~voice.pausing(times, theval.BREAK))
    opened, blinks = find_blinks(seen["eyes"], track.fps)
    shut = blinks if len(blinks) or not len(seen) else np.array([seen["eyes"].argmin()])
    minutes = len(seen) / track.fps / 60
    jumps, edges, backgrounds = (
        track[name][np.isfinite(track[name])] for name in ("jump", "edge", "background")
    )
    return Naturalness(
        frames=len(track),
        seen=len(seen),
        lip_dynamics=seen.lip_dynamics,
        brow_dynamics=theval.brow_dynamics(np.column_stack([seen["left_brow"], seen["right_brow"]])),
        silent_lips=silent,
        lip_sync=sync,
        yaw=_spread(seen["nose_x"]),
        pitch=_spread(seen["nose_y"]),
        roll=_spread(seen["roll"]),
        eyes_open=opened,
        eyes_shut=float(np.median(seen["eyes"][shut])) if len(shut) else np.nan,
        lid=float(np.median(seen["lid"][shut])) if len(shut) else np.nan,
        blinks=len(blinks) / minutes if minutes else np.nan,
        gaze=_spread(seen["gaze"][seen["eyes"] >= AWAKE * opened]),
        background=float(np.mean(backgrounds)) if len(backgrounds) else np.nan,
        jump=float(jumps.max(initial=0.0)),
        edge=float(edges.max(initial=0.0)),
    )


def measure_frames(
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    voice: Voice | None = None,
    picture: NDArray[np.uint8] | None = None,
    points: NDArray[np.float32] | None = None,
) -> Naturalness:
    """The figures of frames as an engine draws them, looked at one by one.

    Args:
        frames: uint8 RGB [height, width, 3], one size; may be drawn into one array.
        fps: frames a second.
        voice: what is said in them.
        picture, points: see `VideoMeter`.

    Raises:
        NoFace, BadPortrait, BadVideo: see `VideoMeter.track`.
    """
    meter = VideoMeter(fps, picture, points)
    for frame in frames:
        meter.see(frame)
    return naturalness(meter.track(), voice)


def measure_video(path: str | os.PathLike[str]) -> Naturalness:
    """The figures of a finished video, read frame by frame; of one without sound, those of the picture.

    Raises:
        BadVideo: missing, not a video, damaged.
        BadAudio: its sound cannot be read.
        NoFace, BadPortrait: no frame shows a face that can be used.
    """
    about = probe(path)
    voice = Voice.of(read_speech(path)) if about.audio_codec else None
    return measure_frames((frame.rgb() for frame in timed_frames(path)), about.fps, voice)


def _spread(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.std()) if len(finite) > 1 else np.nan
