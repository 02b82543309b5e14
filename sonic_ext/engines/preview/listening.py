"""How a head listens: it turns to whoever speaks, moves less, keeps its mouth shut and nods at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .idle import Pose, bumps, phrases, smoothed
from .speech import MouthTrack

SETTLED = 0.35
"""Seconds (standard deviation) in which speaking goes over into listening."""
STILLER = 0.45
"""Share of its own motion that a listening head leaves out."""
TURNED = 5.0
"""Degrees that it turns towards the other."""
LOOK = 0.07
"""How far its irises go there, eye widths."""
NODDED, AFTER = 3.0, 0.35
"""Degrees that it nods, so many seconds after the other's phrase."""


def listening(own: MouthTrack, other: MouthTrack, fps: float) -> NDArray[np.floating[Any]]:
    """How much somebody listens at each frame, 0 to 1: the other speaks, and they do not."""
    return smoothed(np.clip(other.speaking - own.speaking, 0.0, 1.0).astype(np.float64), SETTLED, fps)


def listened(
    pose: Pose, own: MouthTrack, other: MouthTrack, fps: float, toward: float, scale: float, eyes: float
) -> Pose:
    """The pose of somebody who also listens.

    Args:
        pose: as for the own voice alone.
        own, other: what both mouths say.
        fps: frames per second.
        toward: -1 to 1, see `Side.toward_other`.
        scale: `motion_scale`.
        eyes: `eye_motion`.
    """
    heard = listening(own, other, fps)
    less, times = 1.0 - STILLER * heard, np.asarray((np.arange(len(own)) + 0.5) / fps, np.float64)
    _, ends = phrases(other.speaking, fps)
    nods = bumps(times, ends, AFTER, 0.18) * (1.0 - np.clip(own.speaking, 0.0, 1.0))
    strength = min(scale, 1.0)
    return replace(
        pose,
        yaw=pose.yaw * less + np.radians(TURNED * toward * strength) * heard,
        pitch=pose.pitch * less + np.radians(NODDED * strength) * nods,
        roll=pose.roll * less,
        shift_x=pose.shift_x * less,
        shift_y=pose.shift_y * less,
        gaze_x=pose.gaze_x * less + min(eyes, 1.0) * LOOK * toward * heard,
        gaze_y=pose.gaze_y * less,
        lips=pose.lips * (1.0 - heard),
    )
