"""Measures how far the mouth in the picture lies from the voice, on the frames themselves.

The opening of the mouth is found afresh in each frame and compared with the opening that the speech asks
for; the shift at which both agree best is the offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..media.face import Face, LandmarkTracker, mouth_opening

MEASURED_SECONDS = 8.0
"""Frames after this much speech are not looked at: the offset does not drift."""
LARGEST = 0.30
"""Seconds: offsets beyond this are not searched."""
CORRECTED = 0.05
"""Seconds: the most that is corrected."""
WORTHWHILE = 0.02
"""Seconds: less than this is the measurement's own noise, half a frame."""
AGREEMENT = 0.5
"""Least correlation at the best shift for the measurement to count."""


@dataclass(frozen=True)
class Offset:
    """A measured offset."""

    seconds: float
    """Positive: the mouth comes after the voice."""
    agreement: float
    """Correlation of mouth and voice at that shift, up to 1."""

    @property
    def correction(self) -> float:
        """Seconds to delay the sound by; 0 where the offset is below what can be measured."""
        if abs(self.seconds) < WORTHWHILE:
            return 0.0
        return float(np.clip(self.seconds, -CORRECTED, CORRECTED))


class Calibration:
    """Collects the opening of the mouth while frames go by.

    Args:
        face: where the face is in the frames, roughly.
        asked: opening that the speech asks for in each frame, any unit, [frames].
        fps: frames per second.
    """

    def __init__(self, face: Face, asked: NDArray[np.float32], fps: float) -> None:
        self._near = face.landmarks
        self._asked = asked[: round(MEASURED_SECONDS * fps)]
        self._fps = fps
        self._tracker = LandmarkTracker()
        self._seen: list[float] = []

    def see(self, frame: NDArray[np.uint8]) -> None:
        """Measure the next frame, uint8 RGB [height, width, 3]; returns at once when enough was seen."""
        if len(self._seen) < len(self._asked):
            landmarks, _ = self._tracker.track(frame, self._near)
            self._seen.append(mouth_opening(landmarks))

    def offset(self) -> Offset | None:
        """The offset, or None where mouth and voice are too short, too still or do not agree."""
        return find_offset(np.array(self._seen), self._asked[: len(self._seen)], self._fps)


def find_offset(seen: NDArray[np.float64], asked: NDArray[np.float32], fps: float) -> Offset | None:
    """Shift between two curves of the same mouth.

    Args:
        seen, asked: opening measured and opening expected, [frames], any unit.
        fps: frames per second.

    Returns:
        The shift of best correlation to a fraction of a frame (parabola through the peak); None when the
        curves are shorter than a second, one of them is flat, or they never agree.
    """
    reach = round(LARGEST * fps)
    if len(seen) < max(fps, 3 * reach) or seen.std() < 1e-6 or asked.std() < 1e-6:
        return None
    scores = np.array([_correlation(seen, asked, lag) for lag in range(-reach, reach + 1)])
    best = int(scores.argmax())
    if scores[best] < AGREEMENT or best in (0, 2 * reach):
        return None
    before, peak, after = scores[best - 1 : best + 2]
    fraction = 0.5 * (before - after) / (before - 2 * peak + after)
    return Offset(float((best - reach + fraction) / fps), float(peak))


def _correlation(seen: NDArray[np.float64], asked: NDArray[np.float32], lag: int) -> float:
    """Pearson correlation of seen[i + lag] with asked[i] where both exist."""
    late, early = (seen[lag:], asked[: len(asked) - lag]) if lag >= 0 else (seen[:lag], asked[-lag:])
    if late.std() < 1e-9 or early.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(late, early)[0, 1])
