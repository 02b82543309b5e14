"""A perceptual hash of a portrait: alike for copies of one picture, unlike for two pictures.

The face is brought to one place, size and tilt by its eyes and mouth, so that cropping and scaling change
little; low frequencies of a cosine transform remain, without the mean brightness (as in pHash, Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). A mirror image changes the sign
of every second frequency. It tells a picture again, not a person.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .mesh import MOUTH, eye_centres

SIDE = 64
"""Pixels of the square that is transformed."""
ROOM = 3.2
"""Its side in the picture: this many times the mean of eye distance and distance from eyes to mouth."""
KEPT = 12
"""Frequencies kept in each direction."""
BYTES = KEPT * KEPT - 1
"""Length of a hash: a signed byte for each frequency but the mean."""
ALIKE = 0.85
"""Similarity from which two hashes are taken for those of one picture. Measured on 207 portraits
(`benchmarks/perceptual.py`): changed copies 0.88 and more, different portraits 0.77 and less."""


def perceptual_hash(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating[Any]]) -> bytes:
    """The hash of a portrait, `BYTES` long.

    Args:
        rgb: uint8 [height, width, 3].
        landmarks: float [468, 2 or more], the face's points in pixels of the picture.
    """
    spectrum = cv2.dct(_aligned(rgb, landmarks))[:KEPT, :KEPT].ravel()[1:]
    # Square roots: else the few lowest frequencies, which all faces share, would be all that counts.
    values = np.sign(spectrum) * np.sqrt(np.abs(spectrum))
    return np.rint(values * (127 / max(float(np.abs(values).max()), 1e-6))).astype(np.int8).tobytes()


def similarity(one: bytes, other: bytes) -> float:
    """How alike two hashes are: −1 to 1, the larger of the two as they are and with one mirrored.

    Raises:
        ValueError: not `BYTES` long.
    """
    a, b = (_spectrum(each) for each in (one, other))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return max(float((a * b).sum()), float((a * _mirrored(b)).sum())) / max(norm, 1e-6)


def _spectrum(data: bytes) -> NDArray[np.float32]:
    if len(data) != BYTES:
        raise ValueError(f"a perceptual hash has {BYTES} bytes, not {len(data)}")
    return np.frombuffer(b"\0" + data, np.int8).astype(np.float32).reshape(KEPT, KEPT)


def _mirrored(spectrum: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    return spectrum * np.where(np.arange(KEPT) % 2, -1.0, 1.0)


def _aligned(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Brightness of the face, float32 [SIDE, SIDE], upright and in the middle."""
    left, right = (np.asarray(eye[:2], np.float64) for eye in eye_centres(landmarks))
    eyes = (left + right) / 2
    mouth = np.asarray(landmarks, np.float64)[list(MOUTH), :2].mean(axis=0)
    across, down = right - left, mouth - eyes
    size = (np.hypot(*across) + np.hypot(*down)) / 2
    # Upright by both: the eyes' line, and the line to the mouth turned by a right angle.
    level = across / max(np.hypot(*across), 1e-6) + np.array([down[1], -down[0]]) / max(np.hypot(*down), 1e-6)
    level /= max(np.hypot(*level), 1e-6)
    step = ROOM * size / SIDE
    turn = step * np.array([[level[0], -level[1]], [level[1], level[0]]])
    corner = eyes + down / 2 - turn @ np.full(2, (SIDE - 1) / 2)
    # Only what is looked at is copied, at twice the grid's resolution: portraits may have 64 megapixels.
    low = np.maximum(np.floor(eyes - ROOM * size), 0).astype(int)
    high = np.ceil(eyes + ROOM * size).astype(int)
    seen = np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]])
    shrink = max(1.0, step / 2)
    width, height = (max(1, round(side / shrink)) for side in (seen.shape[1], seen.shape[0]))
    small = cv2.resize(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), (width, height), interpolation=cv2.INTER_AREA)
    scale = np.array([width / seen.shape[1], height / seen.shape[0]])
    matrix = np.hstack([turn, (corner - low)[:, None]]) * scale[:, None]
    blurred = cv2.GaussianBlur(small.astype(np.float32), (0, 0), max(0.3, step / shrink / 2))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(blurred, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
