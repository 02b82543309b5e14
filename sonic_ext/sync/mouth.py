"""The mouth of a face as a few lengths, whatever the head does: what is compared with the voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..media.mesh import CHIN, INNER_LIPS, MOUTH, RIGID, fit_similarity, mean_face

FEATURES = ("gap", "sides", "width", "height", "chin", "upper", "lower", "depth")
"""Columns of `mouth_geometry`."""
UPPER_LIP, LOWER_LIP = 0, 17
"""Middle of the lips' outline, above and below."""


@dataclass(frozen=True, eq=False)
class MouthMotion:
    """A mouth through a stretch of video; frames in the order of their times, at any distance."""

    times: NDArray[np.float64]
    """float64 [frames], seconds from the beginning of the sound: the middle of the time each is on screen."""
    geometry: NDArray[np.float32]
    """float32 [frames, FEATURES], nan in all columns where the face was not found."""

    def __post_init__(self) -> None:
        if self.geometry.shape != (len(self.times), len(FEATURES)):
            raise ValueError(f"geometry {self.geometry.shape} for {len(self.times)} frames")

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """One of `FEATURES`, [frames]."""
        return np.asarray(self.geometry[:, FEATURES.index(name)])

    @property
    def found(self) -> NDArray[np.bool_]:
        """Frames in which the face was found, bool [frames]."""
        return np.isfinite(self.geometry[:, 0])

    def between(self, start: float, end: float) -> MouthMotion:
        """The frames whose time lies in `start` to `end` seconds; times stay as they are."""
        inside = (self.times >= start) & (self.times < end)
        return MouthMotion(self.times[inside], self.geometry[inside])


def mouth_geometry(points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The lengths of `FEATURES` of a face with these points [468, 3], float32 [FEATURES].

    The face is first laid onto the mean face by the points that lips, jaw and lids hardly move (rotation,
    scale and shift, see `mesh.fit_similarity`): the head's turn and nod and its distance go, the mouth's own
    motion stays. Unit is the distance between the eyes.

    - `gap`: between the inner lips in the middle, `sides`: towards the corners;
    - `width`: from corner to corner, `height`: outer outline, top to bottom;
    - `chin`: its height below the eyes; `upper`, `lower`: the same of the lips' outline;
    - `depth`: how far both lips lie behind the plane of the eyes, negative before it.
    """
    chosen = list(RIGID)
    source = points.astype(np.float64)
    scale, rotation, shift = fit_similarity(mean_face()[chosen].astype(np.float64), source[chosen])
    # The inverse of scale · rotation @ mean + shift, for rows.
    laid = (source - shift) @ rotation / max(scale, 1e-9)
    gaps = [laid[low, 1] - laid[high, 1] for high, low in INNER_LIPS]
    upper, lower = laid[UPPER_LIP], laid[LOWER_LIP]
    left, right = laid[list(MOUTH)]
    values = (
        np.mean(gaps[:3]),
        np.mean(gaps[3:]),
        right[0] - left[0],
        lower[1] - upper[1],
        laid[CHIN, 1],
        upper[1],
        lower[1],
        (upper[2] + lower[2]) / 2,
    )
    return np.array(values, dtype=np.float32)
