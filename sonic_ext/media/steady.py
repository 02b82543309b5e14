"""Takes the tremble out of a talking head: shaking from frame to frame, of a pixel or so, by the whole head.

The rigid motion of the head (forehead to nose, for the mouth moves by itself) and that of what lies around it
are measured from frame to frame by robust Gauss-Newton alignment (Baker and Matthews, "Lucas-Kanade 20 years
on", 2004), summed up, and smoothed over a few frames to either side by local parabolas (Savitzky and Golay,
1964), which leave pans and nods alone. Every frame is then moved by what is missing. Memory is that of a few
frames, however long the video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Box

SIDE = 128
"""Pixels, longest side of the small pictures that motion is measured in; half and a quarter come first."""
HALVINGS = (4, 2, 1)
ROUNDS = 6
"""Most improvements of the motion at one size."""
SETTLED = 0.002
"""Pixels; an improvement below it is the last."""
RIDGE = 0.05
"""Squared levels per pixel: how firmly things stand still where there is no texture to tell."""
DOUBT = 2.0
"""Levels of difference that halve a pixel's weight, at the least."""
UNTOUCHED = 0.05
"""Pixels; frames that would move less stay as they are, bit for bit."""
LIMIT = 0.005
"""Largest correction, as a share of the frame's shorter side; what moves further is no tremble."""
FEW = 0.15
"""Share of the frame that must lie clear of the head for its motion to be measured apart."""
RIGID = (-0.05, -0.05, 1.05, 0.6)
"""Left, top, right, bottom of what counts as head, as shares of the face box: mouth and jaw left out."""
EDGE = 0.015
"""Share of the frame's shorter side that is left out at its edges."""
HEAD, AROUND = 0.15, 0.4
"""Room about the face box, as a share of it, in which all moves with the head, and where nothing does."""


class _Level(NamedTuple):
    """One size of the small pictures."""

    scale: float
    """Of the frame's pixels."""
    weights: NDArray[np.float32]
    """float32 [height, width]: what counts."""
    arms: NDArray[np.float32]
    """float32 [height, width, 2]: x, y from the head's centre in the frame's pixels."""
    grid: NDArray[np.float32]
    """float32 [height, width, 2]: x, y of the small picture's own pixels."""


class _View:
    """A part of the frame, and how it moves.

    Args:
        box: the part, inside the frame.
        centre: x, y that rotation is about.
        hole: what does not count.
    """

    def __init__(self, box: Box, centre: tuple[float, float], hole: Box | None) -> None:
        self._part = left, top, right, bottom = box.rounded()
        self.radius = max(right - left, bottom - top) / 2
        scale = min(1.0, SIDE / max(right - left, bottom - top))
        self._levels = [self._level(scale / halving, centre, hole) for halving in HALVINGS]

    def _level(self, scale: float, centre: tuple[float, float], hole: Box | None) -> _Level:
        left, top, right, bottom = self._part
        size = max(8, round((right - left) * scale)), max(8, round((bottom - top) * scale))
        grid = _grid(*size)
        shares = (grid + np.float32(0.5)) / np.array(size, np.float32)
        sides, corner = np.array([(right - left, bottom - top), (left, top)], np.float32)
        places = np.asarray(shares * sides + corner, np.float32)
        weights = np.ones(size[::-1], np.float32)
        if hole is not None:
            inside = (places > (hole.left, hole.top)) & (places < (hole.right, hole.bottom))
            weights[inside.all(axis=2)] = 0
        return _Level(size[0] / (right - left), weights, places - np.array(centre, np.float32), grid)

    @property
    def open(self) -> float:
        """Share of the part that counts."""
        return float(self._levels[-1].weights.mean())

    def pictures(self, frame: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The part's luma at all sizes, float32, coarse to fine, of a frame uint8 [height, width, 3]."""
        left, top, right, bottom = self._part
        luma = cv2.cvtColor(np.ascontiguousarray(frame[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
        fine = [_resized(luma, level) for level in self._levels]
        return [cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.8) for picture in fine]

    def motion(
        self, before: list[NDArray[np.float32]], after: list[NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        """float64 [3]: x, y in pixels of the frame, and the turn in pixels at `radius`, clockwise."""
        found: NDArray[np.float64] = np.zeros(3)
        for level, first, second in zip(self._levels, before, after, strict=True):
            found = self._refined(level, first, second, found)
        return found

    def _refined(
        self,
        level: _Level,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        found: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        for _ in range(ROUNDS):
            moved = _moved(level.arms, found, self.radius)
            seen = cv2.remap(
                after,
                level.grid + moved * np.float32(level.scale),
                None,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            change = self._step(level, before, seen, found)
            found = found - change
            if np.abs(change).max() < SETTLED:
                break
        return found

    def _step(
        self,
        level: _Level,
        before: NDArray[np.float32],
        seen: NDArray[np.float32],
        found: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """How much too far a motion goes, from what is seen along it."""
        mean = (before + seen) * np.float32(0.5)
        across = cv2.Sobel(mean, cv2.CV_32F, 1, 0, scale=0.125 * level.scale)
        down = cv2.Sobel(mean, cv2.CV_32F, 0, 1, scale=0.125 * level.scale)
        turn = (down * level.arms[..., 0] - across * level.arms[..., 1]) / np.float32(self.radius)
        slopes = np.stack([across, down, turn]).reshape(3, -1)
        off = (seen - before).ravel()
        doubt = max(DOUBT, 1.5 * float(np.median(np.abs(off[::5]))))
        weights = level.weights.ravel() / (1 + (off / doubt) ** 2)
        weighted = slopes * weights
        ridge = RIDGE * float(weights.sum())
        return np.linalg.solve(
            (weighted @ slopes.T).astype(np.float64) + (ridge + 1e-9) * np.eye(3),
            (weighted @ off).astype(np.float64) + ridge * found,
        )


class Steady:
    """The filter for one video.

    Args:
        box: the face in the frames: hairline to chin, ear to ear, pixels.
        reach: frames looked ahead and back. 4 suits 25 frames per second that each tremble on their own, 3
            suits 12.5. Interpolation makes a tremble slower: filter before it.
    """

    def __init__(self, box: Box, reach: int = 4) -> None:
        self._box = box
        self._reach = reach

    def frames(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """The same frames, each at its steadied place; as many, in order.

        Args:
            frames: uint8 RGB [height, width, 3], all of one size; an array may be reused for the next one.

        Yields:
            New arrays. Frames that need no correction are equal to what came.
        """
        waiting: deque[NDArray[Any]] = deque()
        path: deque[NDArray[Any]] = deque(maxlen=2 * self._reach + 1)
        body: _Body | None = None
        for frame in frames:
            body = body or _Body(self._box, frame.shape[0], frame.shape[1])
            waiting.append(frame.copy())
            path.append(body.followed(frame))
            if len(waiting) > self._reach:
                yield body.corrected(waiting.popleft(), _missing(path, len(path) - 1 - self._reach))
        while body is not None and waiting:
            held = waiting.popleft()
            if len(path) > self._reach + 1 + len(waiting):
                path.popleft()
            yield body.corrected(held, _missing(path, len(path) - 1 - len(waiting)))


class _Body:
    """Head and surroundings of a video: follows them, and moves them."""

    def __init__(self, box: Box, height: int, width: int) -> None:
        self._limit = LIMIT * min(height, width)
        face = box.clipped(width, height)
        head = _View(_share(face, RIGID).clipped(width, height), face.centre, None)
        rest = _View(_rim(width, height), face.centre, face.expanded(AROUND))
        # A frame that the head fills moves as one piece.
        self._views = [head, rest] if rest.open > FEW else [head]
        self._grid = _grid(width, height)
        self._arms = self._grid - np.array(face.centre, np.float32) + np.float32(0.5)
        self._share = _belonging(self._arms, face)[..., None]
        self._before: list[list[NDArray[Any]]] = []
        self._path: NDArray[np.float64] = np.zeros((len(self._views), 3))

    def followed(self, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Where each view is now, float64 [views, 3]: x, y, turn since the first frame, pixels."""
        seen = [view.pictures(frame) for view in self._views]
        if self._before:
            every = zip(self._views, self._before, seen, strict=True)
            motions = [view.motion(before, after) for view, before, after in every]
            self._path = self._path + np.stack(motions)
        self._before = seen
        return self._path

    def corrected(self, frame: NDArray[np.uint8], missing: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The frame with each view moved by float64 [views, 3]; itself when that is next to nothing."""
        missing = np.clip(missing, -self._limit, self._limit)
        missing[np.abs(missing).max(axis=1) < UNTOUCHED] = 0
        if not missing.any():
            return frame
        head, *rest = (
            _moved(self._arms, motion, view.radius) for view, motion in zip(self._views, missing, strict=True)
        )
        shift = rest[0] + (head - rest[0]) * self._share if rest else head
        return cv2.remap(frame, self._grid - shift, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _missing(path: deque[NDArray[Any]], index: int) -> NDArray[np.float64]:
    """How far the smooth path lies from the path itself at `index`, float64 [views, 3]."""
    places = np.stack(path)
    offsets = np.arange(len(places)) - index
    degree = min(2, len(places) - 1)
    # The value at 0 of the polynomial that fits the window best is a fixed mix of the window.
    mix = np.linalg.pinv(np.vander(offsets, degree + 1, increasing=True).astype(np.float64))[0]
    return np.tensordot(mix, places - places[index], axes=1)


def _moved(arms: NDArray[np.float32], motion: NDArray[np.float64], radius: float) -> NDArray[np.float32]:
    """Displacement, float32 [height, width, 2], at places around the centre."""
    x, y, turn = (np.float32(value) for value in motion)
    turn /= np.float32(radius)
    return cv2.merge([x - turn * arms[..., 1], y + turn * arms[..., 0]])


def _grid(width: int, height: int) -> NDArray[np.float32]:
    """x, y of every pixel, float32 [height, width, 2]."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.merge([x, y])


def _resized(luma: NDArray[np.uint8], level: _Level) -> NDArray[np.uint8]:
    return cv2.resize(luma, level.weights.shape[::-1], interpolation=cv2.INTER_AREA)


def _share(box: Box, shares: tuple[float, float, float, float]) -> Box:
    """The part of a box."""
    left, top, right, bottom = shares
    inner = Box(left * box.width, top * box.height, right * box.width, bottom * box.height)
    return inner.shifted(box.left, box.top)


def _rim(width: int, height: int) -> Box:
    """The frame without its edge, where what moves comes and goes."""
    edge = EDGE * min(width, height)
    return Box(edge, edge, width - edge, height - edge)


def _belonging(arms: NDArray[np.float32], face: Box) -> NDArray[np.float32]:
    """How much each place moves with the head, float32 [height, width]: 1 near the face, 0 far off."""
    away = np.maximum(np.abs(arms[..., 0]) / face.width, np.abs(arms[..., 1]) / face.height) - 0.5
    ramp = np.clip((AROUND - away) / (AROUND - HEAD), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
