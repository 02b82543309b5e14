"""Measures how far the mouth lies from the voice while a video is drawn, on the frames themselves.

The mouth is found afresh in each frame, whatever engine drew it, and compared with the voice by the sync
network, which neither engine has anything to do with.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..media.face import Face, LandmarkTracker
from . import encoders
from .mouth import FEATURES, MouthMotion, mouth_geometry
from .offset import AGREED, SHORTEST, SURE, Estimate, estimate, lag_scores
from .sound import ROWS_PER_SECOND, sound_rows
from .tracks import BELIEVED

MEASURED_SECONDS = 8.0
"""Frames after this much speech are not looked at: the offset does not drift."""
CORRECTED = 0.05
"""Seconds: the most that is corrected."""


class Calibration:
    """Collects the mouth while frames go by.

    Args:
        face: where the face is in the frames, roughly.
        blocks: the speech from its beginning, float32 mono at 16 kHz, read at once as far as it is needed.
        seconds: length of the video.
        fps: frames per second.

    Raises:
        MissingPart: the network's file is missing or damaged.
    """

    def __init__(self, face: Face, blocks: Iterable[NDArray[np.float32]], seconds: float, fps: float) -> None:
        self._network = encoders.load(encoders.weights_of("calibration"))
        self._near = face.landmarks
        measured = min(seconds, MEASURED_SECONDS)
        self._heard = self._network.hear(sound_rows(blocks, round(measured * ROWS_PER_SECOND)))
        self._count, self._fps = round(measured * fps), fps
        self._tracker = LandmarkTracker()
        self._seen: list[NDArray[np.float32]] = []

    def see(self, frame: NDArray[np.uint8]) -> None:
        """Measure the next frame, uint8 RGB [height, width, 3]; returns at once when enough was seen."""
        if len(self._seen) < self._count:
            points, score = self._tracker.track(frame, self._near)
            lost = np.full(len(FEATURES), np.nan, np.float32)
            self._seen.append(mouth_geometry(points) if score >= BELIEVED else lost)

    def offset(self) -> Estimate | None:
        """The offset; None where the video is too short, the mouth too still, or the measurement not sure."""
        if len(self._seen) < SHORTEST * self._fps:
            return None
        times = (np.arange(len(self._seen)) + 0.5) / self._fps
        motion = MouthMotion(times.astype(np.float64), np.array(self._seen))
        seen = self._network.see(motion, 0.0, len(self._heard))
        found = estimate(*lag_scores(self._heard, seen), self._network.confidence)
        return found if found and found.confidence >= SURE else None


def correction(offset: Estimate) -> float:
    """Seconds to delay the sound by; 0 where the offset is below what can be measured."""
    if abs(offset.seconds) <= AGREED:
        return 0.0
    return float(np.clip(offset.seconds, -CORRECTED, CORRECTED))
