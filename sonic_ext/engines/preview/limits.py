"""How far one portrait can be moved before its skin tears or folds.

A displacement tears where it changes too much from one pixel to the next. Motions add up, so no range of a
single one can promise that; each frame's mix is held to what this face carries.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .anatomy import Anatomy
from .fields import Motion, head_fields, lip_fields, mouth_coordinates
from .idle import smoothed

STEEPEST = 0.475
"""Pixels of displacement from one pixel to the next, of the portrait as of the frame: 1 would fold. What is
drawn reaches up to a quarter more: the way back is found step by step."""
AT_LEAST = 0.15
"""What is left to the other motions, whatever shutting the portrait's mouth takes."""
LIPS = 0.2
"""Skin this near to the lips, in half mouth widths, belongs to them: they part."""
POINTS = 56
"""Rows and columns of points that are looked at, over the face."""
NECK = 1.0
"""How far below the chin skin is looked at, in eye distances."""
BLOCK = 32
"""Frames looked at together."""
FREE = (Motion.REST, Motion.PRESS, Motion.TONGUE, Motion.BLINK, Motion.GAZE_X, Motion.GAZE_Y)
"""Not narrowed: an open mouth must shut, lips meet, and the rest moves no skin."""
TOGETHER = tuple(motion for motion in Motion if motion not in FREE)
"""Narrowed by one share."""
HEAD = (*range(Motion.YAW, Motion.REST), Motion.SWING)
"""Narrowed before the rest: nobody misses a little of a turn, but a syllable."""
LEAST_TURN = 0.8
"""Share of the head's motion from which on the mouth is narrowed with it."""
EASE = 0.12
"""Seconds over which the head's share changes (standard deviation): it follows no single syllable."""


class Limits:
    """What a face carries.

    Args:
        anatomy: of the portrait, with refined lips.
        size: width and height of its picture.
    """

    def __init__(self, anatomy: Anatomy, size: tuple[int, int]) -> None:
        points = _skin(anatomy, size)
        _, v = mouth_coordinates(anatomy, anatomy.axes.to_face(points))

        def fields(at: NDArray[np.float64]) -> NDArray[np.float64]:
            upper, lower = (lip_fields(anatomy, at, side) for side in (False, True))
            return head_fields(anatomy, at) + np.where(v[..., None] > 0, lower, upper)

        here = fields(points)
        across, down = (fields(points + step) - here for step in ([1.0, 0.0], [0.0, 1.0]))
        slopes = np.stack([across, down], axis=-1)  # [motions, 1, points, 2, 2]
        self._slopes = slopes.reshape(len(Motion), -1).astype(np.float32)

    def narrowed(
        self, mixes: NDArray[np.floating[Any]], fps: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Mixes that this face carries, and the share of the head's motion that was kept, the least of all.

        Args:
            mixes: [frames, motions], in the order of the frames.
            fps: frames a second.

        Returns:
            float32 [frames, motions] and [frames].
        """
        most = self._most(mixes)
        turns = _eased(np.maximum(self._shares(mixes, HEAD, most), LEAST_TURN), fps)
        narrowed = _scaled(mixes, HEAD, turns)
        kept = self._shares(narrowed, TOGETHER, most)
        return _scaled(narrowed, TOGETHER, kept).astype(np.float32), turns * kept

    def _most(self, mixes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Change from pixel to pixel that is let through, [frames]. A mouth that the portrait shows wide
        open may fold skin by being shut: that is not undone."""
        shutting = np.where(np.isin(np.arange(len(Motion)), FREE), mixes.astype(np.float32), 0.0)
        blocks = (shutting[start : start + BLOCK] for start in range(0, len(mixes), BLOCK))
        steepest = np.concatenate([self._steepest(block @ self._slopes) for block in blocks])
        return np.maximum(STEEPEST, steepest + AT_LEAST)

    def _shares(
        self, mixes: NDArray[np.floating[Any]], motions: tuple[int, ...], most: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How much of these motions the face carries on top of all others, 0..1 [frames]."""
        shares = np.ones(len(mixes))
        chosen = np.isin(np.arange(len(Motion)), motions)
        for start in range(0, len(mixes), BLOCK):
            block = mixes[start : start + BLOCK].astype(np.float32)
            fixed = np.where(chosen, 0.0, block) @ self._slopes
            moved = np.where(chosen, block, 0.0) @ self._slopes
            bound = most[start : start + BLOCK]
            steep = self._steepest(fixed + moved) > bound
            if not steep.any():
                continue
            low, high = np.zeros(int(steep.sum())), np.ones(int(steep.sum()))
            for _ in range(7):
                middle = (low + high) / 2
                over = (
                    self._steepest(fixed[steep] + middle[:, None].astype(np.float32) * moved[steep])
                    > bound[steep]
                )
                low, high = np.where(over, low, middle), np.where(over, middle, high)
            shares[start : start + len(block)][steep] = low
        return shares

    @staticmethod
    def _steepest(slopes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the way there and of the way back, the largest change from pixel to pixel; [frames]."""
        forth = slopes.reshape(len(slopes), -1, 2, 2)
        a, b, c, d = 1 + forth[..., 0, 0], forth[..., 0, 1], forth[..., 1, 0], 1 + forth[..., 1, 1]
        area = np.maximum(a * d - b * c, 1e-3)  # of a folded place: far beyond any limit
        back = np.maximum.reduce(
            [np.abs(d / area - 1), np.abs(b / area), np.abs(c / area), np.abs(a / area - 1)]
        )
        return np.maximum(np.abs(forth).max(axis=(1, 2, 3)), back.max(axis=1))


def _scaled(
    mixes: NDArray[np.floating[Any]], motions: tuple[int, ...], shares: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """Mixes [frames, motions] with a share [frames] of some of their motions."""
    return np.where(np.isin(np.arange(len(Motion)), motions), mixes * shares[:, None], mixes)


def _eased(shares: NDArray[np.float64], fps: float) -> NDArray[np.floating[Any]]:
    """Shares [frames] that change slowly, none larger than it was: smoothed after the least around each."""
    reach = int(np.ceil(3 * EASE * fps))
    around = sliding_window_view(np.pad(shares, reach, mode="edge"), 2 * reach + 1)
    return np.minimum(smoothed(around.min(axis=1), EASE, fps), 1.0)


def _skin(anatomy: Anatomy, size: tuple[int, int]) -> NDArray[np.float64]:
    """Points of face and neck outside the lips, picture coordinates, [1, points, 2]."""
    unit, width, height = anatomy.unit, *size
    jaw = anatomy.chin - 0.3 * unit
    neck = np.array([[-0.8, 0.0], [0.8, 0.0], [0.8, NECK], [-0.8, NECK]]) * unit + [0.0, jaw]
    # Lips are what lies between their outlines and in the ellipse around them: narrow at the corners
    rim = LIPS * anatomy.mouth
    top, bottom = np.array([[0.0, anatomy.lip_top - rim], [0.0, anatomy.lip_bottom + rim]])
    outlines = np.concatenate([anatomy.upper_lip + top, anatomy.lower_lip[::-1] + bottom])
    outlines[:, 0] *= 1.0 + LIPS
    angle = np.linspace(0.0, 2.0 * np.pi, 40)
    across = np.where(np.cos(angle) > 0, anatomy.right, anatomy.left) * (1.0 + LIPS) * np.cos(angle)
    down = (max(-anatomy.lip_top, anatomy.lip_bottom) + rim) * np.sin(angle)

    def filled(outline: NDArray[np.float64]) -> NDArray[np.bool_]:
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.rint(anatomy.axes.to_picture(outline)).astype(np.int32)], 1)
        return mask > 0

    lips = filled(outlines) & filled(np.stack([across, down], axis=-1))
    mask = (filled(anatomy.oval) | filled(neck)) & ~lips
    step = max(1, round(3.5 * unit / POINTS))
    rows, columns = np.nonzero(mask[::step, ::step])
    if not len(rows):  # the face lies outside of its picture: any point will do
        rows, columns = np.array([0]), np.array([0])
    return np.asarray(np.stack([columns, rows], axis=-1) * step, np.float64)[None]
