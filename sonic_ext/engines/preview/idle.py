"""What a living head does while it talks or listens: small turns, nods with the voice, blinks. Seeded.

Sway and blinks are functions of time and seed alone, nods and brows follow the loudness around their time. So
any frame can be drawn by itself, and a longer video begins like a shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SWAY = {
    # degrees for the angles, eye distances for the shifts
    "yaw": 2.4,
    "pitch": 1.5,
    "roll": 1.1,
    "shift_x": 0.020,
    "shift_y": 0.014,
}
PERIODS = (1.7, 11.0)
"""Shortest and longest period of the sway, seconds."""
WAVES = 7
NOD = 2.6
"""Degrees that a stressed syllable nods the head."""
BLINK_EVERY = (1.6, 5.2)
"""Seconds between blinks; people blink 10 to 20 times a minute."""
BLINK_SHUT, BLINK_OPEN = 0.09, 0.19
"""Seconds that a lid takes to fall and to rise."""


@dataclass(frozen=True)
class Pose:
    """Head and eyes, one value per frame; all float64 [frames]."""

    yaw: NDArray[np.float64]
    """Radians."""
    pitch: NDArray[np.float64]
    """Radians, positive looks down."""
    roll: NDArray[np.float64]
    """Radians."""
    shift_x: NDArray[np.float64]
    """Eye distances."""
    shift_y: NDArray[np.float64]
    """Eye distances."""
    brow: NDArray[np.float64]
    """-1 to 1, positive is up."""
    blink: NDArray[np.float64]
    """0 open to 1 shut."""


def move_head(
    energy: NDArray[np.floating[Any]], fps: float, seed: int, scale: float, expression: float
) -> Pose:
    """Head motion for a voice.

    Args:
        energy: loudness of the voice at each frame, 0..1, [frames]; smoothed here.
        fps: frames per second.
        seed: same seed, same motion.
        scale: `motion_scale`, strength of head motion.
        expression: `dynamic_scale`, strength of the brows.
    """
    times = (np.arange(len(energy)) + 0.5) / fps
    sway = {
        name: amplitude * _wander(times, np.random.default_rng([seed, row]))
        for row, (name, amplitude) in enumerate(SWAY.items())
    }
    stress = _stress(energy, fps)
    radians = np.pi / 180 * scale
    return Pose(
        yaw=sway["yaw"] * radians,
        pitch=(sway["pitch"] + NOD * stress) * radians,
        roll=sway["roll"] * radians,
        shift_x=sway["shift_x"] * scale,
        shift_y=sway["shift_y"] * scale,
        brow=expression * (0.55 * stress + 0.25 * _wander(times, np.random.default_rng([seed, 90]))),
        blink=_blinks(times, np.random.default_rng([seed, 91]), scale),
    )


def smoothed(values: NDArray[np.floating[Any]], seconds: float, fps: float) -> NDArray[np.floating[Any]]:
    """Gaussian smoothing over [frames] that keeps the ends."""
    sigma = seconds * fps
    reach = min(int(np.ceil(3 * sigma)), max(len(values) - 1, 0))
    if reach < 1:
        return values
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="reflect")
    return np.convolve(padded, taps / taps.sum(), mode="valid")


def _wander(times: NDArray[np.floating[Any]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Aimless motion of unit strength: a sum of slow waves, the slower the wider."""
    periods = np.geomspace(*PERIODS, WAVES) * rng.uniform(0.85, 1.15, WAVES)
    phases = rng.uniform(0, 2 * np.pi, WAVES)
    strengths = np.sqrt(periods)
    strengths = strengths / np.linalg.norm(strengths) * np.sqrt(2)
    return np.sin(2 * np.pi * times[:, None] / periods + phases) @ strengths


def _stress(energy: NDArray[np.floating[Any]], fps: float) -> NDArray[np.floating[Any]]:
    """Where the voice rises above its own recent level, -0.5..1."""
    fast, slow = smoothed(energy, 0.12, fps), smoothed(energy, 0.9, fps)
    return np.clip(1.6 * (fast - slow), -0.5, 1.0)


def _blinks(times: NDArray[np.floating[Any]], rng: np.random.Generator, scale: float) -> NDArray[np.float64]:
    lids = np.zeros_like(times)
    end = times[-1] if len(times) else 0.0
    at = rng.uniform(0.4, BLINK_EVERY[1] / 2)
    while at < end + BLINK_SHUT:
        since = times - at
        fall = np.clip(1.0 + since / BLINK_SHUT, 0.0, 1.0)
        rise = np.clip(1.0 - since / BLINK_OPEN, 0.0, 1.0)
        lids = np.maximum(lids, _eased(np.minimum(fall, rise)))
        at += rng.uniform(*BLINK_EVERY) / np.sqrt(scale)
    return lids


def _eased(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * x * (3.0 - 2.0 * x)
