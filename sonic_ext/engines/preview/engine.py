"""The preview engine: reads the mouth off the speech, moves the head a little, draws. CPU only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from ...media.audio import Speech
from ...media.face import Face
from ...media.scene import Scene, surroundings
from ...media.sides import Side, calm_note, sides_of
from ...ports import Forecast
from ...progress import Stage, Tick
from ...settings import Settings
from .fields import Motion
from .idle import Pose, move_head, smoothed
from .limits import Limits
from .listening import listened
from .pace import slowness
from .render import Renderer
from .settings import PreviewSettings
from .speech import RATE, MouthReader, MouthTrack, VisemeNet
from .warp import Rect

STEADY = 0.06
"""Seconds over which `motion_smoothing` averages the head's motion."""
REST_PRESS = 0.4
"""How firmly the lips lie together in pauses, as a share of a p/b/m."""
PARTED_LIPS = 0.1
"""`Pose.lips` at which resting lips are no longer pressed at all."""
ROOM = 0.25
"""How much of the portrait around the frame is moved with it, as a share of the frame's short side."""
NARROWED = 0.8
"""Share of the motion that must be kept on average, or it is said; at scales of 1 the median is 0.86."""
BASE_BYTES, BYTES_PER_PIXEL = 250_000_000, 150
"""Measured: the process with its networks, and what each pixel of the video adds."""
SECOND_FACE = 1.6
"""Times that a video takes longer with a second face."""
SECONDS_PER_PIXEL = 6.5e-8
"""Measured on two cores with both encoders and the watermark, and nothing else running: see `pace`."""


@dataclass(frozen=True)
class PreviewAnimation:
    """Coefficients of every frame and the portrait to draw them with."""

    renderer: Renderer
    mixes: NDArray[np.float32]
    """float32 [frames, motions]."""
    shape: tuple[int, ...]
    """Of a frame: height, width, 3."""
    seed: int
    """See `ports.Animation.seed`."""
    stage = Stage.DRAWING
    """See `ports.Animation.stage`."""
    warnings: tuple[str, ...] = ()
    """See `ports.Animation.warnings`."""

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """See `ports.Animation.frames`; every frame is drawn into the same array."""
        frame = np.empty(self.shape, dtype=np.uint8)
        for mix in self.mixes:
            self.renderer.draw(mix, frame)
            yield frame

    def forget(self) -> None:
        """See `ports.Animation.forget`; nothing is kept."""

    def close(self) -> None:
        """See `ports.Animation.close`; there is nothing to give back."""


@dataclass(frozen=True)
class PairAnimation:
    """Two faces of one picture, each drawn on its own side."""

    first: PreviewAnimation
    second: PreviewAnimation
    mask: NDArray[np.uint8]
    """1 on the second face's side, else 0: uint8 [height, width]."""
    stage = Stage.DRAWING
    """See `ports.Animation.stage`."""

    @property
    def seed(self) -> int:
        """See `ports.Animation.seed`."""
        return self.first.seed

    @property
    def warnings(self) -> tuple[str, ...]:
        """See `ports.Animation.warnings`."""
        return tuple(dict.fromkeys((*self.first.warnings, *self.second.warnings)))

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """See `ports.Animation.frames`; every frame is drawn into the same array."""
        for frame, other in zip(self.first.frames(), self.second.frames(), strict=True):
            cv2.copyTo(other, self.mask, frame)
            yield frame

    def forget(self) -> None:
        """See `ports.Animation.forget`; nothing is kept."""

    def close(self) -> None:
        """See `ports.Animation.close`; there is nothing to give back."""


class PreviewEngine:
    """See `ports.Engine`.

    Args:
        reader: turns speech into the motion of a mouth; the shipped network by default.
        notes: sentences for the user about why this engine draws.
    """

    name = "preview"
    size_multiple = 2
    head_motion = 1.0

    def __init__(self, reader: MouthReader | None = None, notes: tuple[str, ...] = ()) -> None:
        self._reader = reader
        self._notes = notes

    def prepare(
        self, scene: Scene, speech: Speech, settings: Settings, count: int, seed: int, tick: Tick
    ) -> PreviewAnimation | PairAnimation:
        """See `ports.Engine.prepare`."""
        reader = self._reader or VisemeNet()
        tracks = [reader.read(voice.blocks(RATE), count, settings.fps, tick) for voice in speech.voices]
        tick(Stage.FITTING_FACE, 0, 1)
        # More than is shown, where there is more: what comes into view at its edges is the portrait's own
        picture, left, top = surroundings(scene, round(ROOM * min(scene.width, scene.height)))
        view = Rect(left, top, left + scene.width, top + scene.height)
        faces = tuple(face.scaled(1.0, 1.0, left, top) for face in scene.faces)
        animate = partial(self._animate, picture, view, settings)
        if scene.second is None:
            animation = animate(faces[0], tracks[0], seed)
            tick(Stage.FITTING_FACE, 1, 1)
            return animation
        first, second = sides_of((faces[0], faces[1]))
        one, other = tracks
        animations = (
            animate(faces[0], one, seed, (first, other)),
            # Neither blinks nor sways with the first
            animate(faces[1], other, (seed + 1) % 2**32, (second, one)),
        )
        tick(Stage.FITTING_FACE, 1, 1)
        return PairAnimation(*animations, mask=view.cut(second.mask(*picture.shape[1::-1])))

    def _animate(
        self,
        picture: NDArray[np.uint8],
        view: Rect,
        settings: Settings,
        face: Face,
        track: MouthTrack,
        seed: int,
        beside: tuple[Side, MouthTrack] | None = None,
    ) -> PreviewAnimation:
        """One face.

        Args:
            picture: uint8 RGB [height, width, 3], what is shown and more around it.
            view: what is shown.
            face: in the picture's pixels.
            track: what it says.
            beside: where it may move if there is another face, and what that says.
        """
        side, other = beside or (None, None)
        window, room = (side.window, side.motion) if side else (None, 1.0)
        eyes = settings.eyes is None or not face.by_hand
        renderer = Renderer(picture, face.landmarks, view, eyes=eyes, window=window)
        limits = Limits(renderer.anatomy, (picture.shape[1], picture.shape[0]))
        scale, eye_motion = settings.motion_scale * room, PreviewSettings.of(settings).eye_motion
        pose = move_head(
            track.energy, track.speaking, settings.fps, seed, scale, settings.dynamic_scale, eye_motion
        )
        if side and other:
            toward = side.toward_other(renderer.anatomy.axes.right)
            pose = listened(pose, track, other, settings.fps, toward, scale, eye_motion)
        mixes, kept = limits.narrowed(mix_motions(track, pose, settings), settings.fps)
        notes = (*self._notes, *_narrowed_note(kept), *calm_note((side,) if side else ()))
        shape = (view.bottom - view.top, view.right - view.left, 3)
        return PreviewAnimation(renderer, mixes, shape, seed, notes)

    def forecast(self, scene: Scene, settings: Settings, count: int) -> Forecast:
        """See `ports.Engine.forecast`; of two faces that are too close together it says so.

        Raises:
            BadPortrait: see `sides_of`.
        """
        notes = calm_note(sides_of((scene.face, scene.second))) if scene.second else ()
        pixels = scene.width * scene.height
        seconds = 1.5 + count * pixels * SECONDS_PER_PIXEL * (SECOND_FACE if scene.second else 1.0)
        memory = BASE_BYTES + pixels * BYTES_PER_PIXEL * len(scene.faces)
        return Forecast(seconds * slowness(), memory, warnings=(*self._notes, *notes))


def _narrowed_note(kept: NDArray[np.float64]) -> tuple[str, ...]:
    if kept.mean() >= NARROWED:
        return ()
    return (
        f"Motion was narrowed in {(kept < 1).mean():.0%} of the frames, by up to {1 - kept.min():.0%}: more "
        "would tear this face. Lower dynamic_scale or motion_scale.",
    )


def mix_motions(track: MouthTrack, pose: Pose, settings: Settings) -> NDArray[np.float32]:
    """Coefficients for the renderer, float32 [frames, motions].

    `dynamic_scale` drives mouth and expression; pressed lips stay pressed at any strength.
    """
    strength = settings.dynamic_scale
    parted = 1.0 - np.clip(track.press, 0.0, 1.0)
    jaw = np.clip(track.jaw * strength, 0.0, 1.4)
    steady = STEADY if settings.motion_smoothing else 0.0
    resting = REST_PRESS * (1.0 - track.speaking) * np.clip(1.0 - pose.lips / PARTED_LIPS, 0.0, 1.0)
    mixes = np.zeros((len(track), len(Motion)), dtype=np.float32)
    columns = {
        Motion.JAW: jaw * (0.12 + 0.88 * parted) + 0.8 * pose.lips,
        Motion.GAP: jaw * parted + pose.lips * parted,
        Motion.ROUND: np.clip(track.rounding * strength, 0.0, 1.3),
        Motion.SPREAD: np.clip(track.spread * strength, 0.0, 1.3),
        Motion.PRESS: np.maximum(track.press, resting),
        Motion.UPPER: np.clip(track.upper * strength, -1.0, 1.2) * parted,
        Motion.LOWER: np.clip(track.lower * strength, -1.0, 1.2) * parted,
        Motion.BROW: pose.brow,
        Motion.YAW: smoothed(pose.yaw, steady, settings.fps),
        Motion.PITCH: smoothed(pose.pitch, steady, settings.fps),
        Motion.ROLL: smoothed(pose.roll, steady, settings.fps),
        Motion.SHIFT_X: smoothed(pose.shift_x, steady, settings.fps),
        Motion.SHIFT_Y: smoothed(pose.shift_y, steady, settings.fps),
        Motion.REST: np.ones(len(track)),
        Motion.SWING: smoothed(pose.swing, steady, settings.fps),
        Motion.TORSO_X: smoothed(pose.torso_x, steady, settings.fps),
        Motion.TORSO_Y: smoothed(pose.torso_y, steady, settings.fps),
        Motion.TONGUE: np.clip(track.tongue, 0.0, 1.0),
        Motion.BLINK: pose.blink,
        Motion.GAZE_X: pose.gaze_x,
        Motion.GAZE_Y: pose.gaze_y,
    }
    for motion, values in columns.items():
        mixes[:, motion] = values
    return mixes
