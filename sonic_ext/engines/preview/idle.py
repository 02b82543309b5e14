"""What a living head does while it talks or listens, besides its mouth. Seeded.

Sway, glances and blinks are functions of time and seed; nods, brows, posture and breath follow the voice
around their time. So a longer video begins like a shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...media.blocks import runs

SWAY = {
    # degrees for the angles, eye distances for the shifts
    "yaw": 6.6,
    "pitch": 5.8,
    "roll": 2.2,
    "shift_x": 0.030,
    "shift_y": 0.018,
}
"""Standard deviation of the aimless part."""
POSTURE = {"yaw": 14.0, "pitch": 9.0, "roll": 3.6}
"""Standard deviation, degrees, of where the head settles for a phrase."""
SETTLE = (0.7, 1.1)
"""Seconds that settling takes; longer when it is far."""
FARTHEST = {"yaw": (16.0, 16.0), "pitch": (6.0, 15.0), "roll": (8.0, 8.0)}
"""Degrees to either side, the negative one first. A face is raised less than it is lowered: from below, lips
that touch look parted."""
PERIODS = (1.6, 6.5)
"""Shortest and longest period of the sway, seconds."""
WAVES = 7
NOD = 6.0
"""Degrees that a stressed syllable nods the head."""
CLOSING_NOD = 5.0
"""Degrees at the end of a phrase."""
PAUSE = 0.3
"""Seconds of silence that end a phrase."""
LONGEST_PHRASE = 2.4
"""Seconds after which the head settles anew without a pause."""
LAG = 0.22
"""Seconds by which shoulders and hair come after the head."""
BREATH = (3.2, 4.6)
"""Seconds of a breath."""
BLINK_EVERY = (1.6, 5.2)
"""Seconds between blinks; people blink 10 to 20 times a minute."""
BLINK_SHUT, BLINK_OPEN = 0.09, 0.19
"""Seconds that a lid takes to fall and to rise."""
SHUT = 0.05
"""Seconds that it stays shut: a frame at any rate."""
GLANCE_EVERY = (0.5, 2.6)
"""Seconds between saccades."""
GLANCE, AVERTED = 0.022, 0.095
"""How far the irises go in a saccade, and aside in a pause, eye widths."""
FIXATION = 0.2
"""Share of a turn of the head that the eyes undo, to keep their aim."""
IRIS_WAY = 0.4
"""Way of the iris for a turn of the eye by one radian, eye widths (12 of 30 mm)."""
PARTED, INHALED = 0.085, 0.15
"""How far lips part in pauses on average, and for a breath before a phrase; as the renderer's GAP."""
SYLLABLE = 0.17
"""Resting lips that part further seem to say something; a vowel has 0.4 to 0.9."""


@dataclass(frozen=True)
class Pose:
    """Head, shoulders, eyes and resting lips, one value per frame; all float64 [frames]."""

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
    swing: NDArray[np.float64]
    """Hair against the head, eye distances."""
    torso_x: NDArray[np.float64]
    """Eye distances."""
    torso_y: NDArray[np.float64]
    """Eye distances."""
    brow: NDArray[np.float64]
    """-1 to 1, positive is up."""
    blink: NDArray[np.float64]
    """0 open to 1 shut."""
    gaze_x: NDArray[np.float64]
    """Eye widths."""
    gaze_y: NDArray[np.float64]
    """Eye widths, positive is down."""
    lips: NDArray[np.float64]
    """How far the lips of a silent mouth are parted, as `Motion.GAP`."""


def move_head(
    energy: NDArray[np.floating[Any]],
    speaking: NDArray[np.floating[Any]],
    fps: float,
    seed: int,
    scale: float,
    expression: float,
    eyes: float,
) -> Pose:
    """Head motion for a voice.

    Args:
        energy: loudness of the voice at each frame, 0..1, [frames]; smoothed here.
        speaking: 1 in speech, 0 in pauses, [frames].
        fps: frames per second.
        seed: same seed, same motion.
        scale: `motion_scale`, strength of head motion; 0 keeps it still.
        expression: `dynamic_scale`, strength of the brows.
        eyes: `eye_motion`, how often they blink and how far they look about; 0 keeps them still.
    """
    times = np.asarray((np.arange(len(energy)) + 0.5) / fps, np.float64)

    def seeded(row: int) -> np.random.Generator:
        return np.random.default_rng([seed, row])

    begins, ends = phrases(speaking, fps)
    stress = _stress(energy, fps)

    sway = {name: size * _wander(times, seeded(row)) for row, (name, size) in enumerate(SWAY.items())}
    posture = _posture(times, ends, seeded(50))
    degrees = {name: sway[name] + POSTURE[name] * posture[name] for name in POSTURE}
    degrees["pitch"] = degrees["pitch"] + NOD * stress + CLOSING_NOD * bumps(times, ends, -0.1, 0.16)
    yaw, pitch, roll = (np.radians(_within(scale * degrees[name], *most)) for name, most in FARTHEST.items())
    shift_x, shift_y = sway["shift_x"] * scale, sway["shift_y"] * scale

    late = _delayed(yaw + shift_x, LAG, fps)
    breath = np.sin(2 * np.pi * (times / seeded(60).uniform(*BREATH) + seeded(61).uniform()))
    raised = 1.6 * stress + 0.4 * _wander(times, seeded(90), (0.8, 4.0)) + 0.15

    glances, aside = _glances(times, seeded(92)), _aside(times, begins, ends, seeded(93))
    fixed = FIXATION * IRIS_WAY * min(eyes, 1.0)

    parted = np.clip(PARTED * (0.8 + 1.2 * _wander(times, seeded(95), (0.9, 4.0))), 0.0, SYLLABLE)
    inhaled = INHALED * bumps(times, begins, -0.30, 0.14)
    return Pose(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        shift_x=shift_x,
        shift_y=shift_y,
        swing=np.clip(0.35 * (late - yaw - shift_x), -0.04, 0.04),
        torso_x=np.clip(0.12 * late, -0.03, 0.03),
        torso_y=0.009 * breath * min(scale, 1.0) + 0.12 * _delayed(shift_y, LAG, fps),
        brow=np.clip(expression * raised, -0.2, 1.0),
        blink=_blinks(times, seeded(91), eyes),
        gaze_x=eyes * (glances[0] + aside[0]) - fixed * yaw,
        gaze_y=eyes * (0.5 * glances[1] + aside[1]) - fixed * pitch,
        lips=(1.0 - np.clip(speaking, 0.0, 1.0)) * np.maximum(parted, inhaled),
    )


def _within(values: NDArray[np.floating[Any]], lowest: float, highest: float) -> NDArray[np.floating[Any]]:
    """Values as they are where they are small, and never beyond `lowest` below 0 or `highest` above."""
    most = np.where(values < 0, lowest, highest)
    return values / (1.0 + (values / most) ** 4) ** 0.25


def bumps(times: NDArray[np.float64], moments: list[float], after: float, wide: float) -> NDArray[np.float64]:
    """1 `after` seconds from each moment, fading on both sides within `wide` or so, [frames]."""
    bumps = (np.exp(-(((times - moment - after) / wide) ** 2)) for moment in moments)
    return np.minimum(sum(bumps, np.zeros_like(times)), 1.0)


def smoothed(values: NDArray[np.floating[Any]], seconds: float, fps: float) -> NDArray[np.floating[Any]]:
    """Gaussian smoothing over [frames] that keeps the ends."""
    sigma = seconds * fps
    reach = min(int(np.ceil(3 * sigma)), max(len(values) - 1, 0))
    if reach < 1:
        return values
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="reflect")
    return np.convolve(padded, taps / taps.sum(), mode="valid")


def _delayed(values: NDArray[np.float64], seconds: float, fps: float) -> NDArray[np.floating[Any]]:
    """Values [frames] as something heavy follows them: later and smoother."""
    frames = np.arange(len(values))
    return smoothed(np.interp(frames - seconds * fps, frames, values), 0.6 * seconds, fps)


def _wander(
    times: NDArray[np.floating[Any]], rng: np.random.Generator, periods: tuple[float, float] = PERIODS
) -> NDArray[np.float64]:
    """Aimless motion of unit standard deviation: a sum of slow waves, the slower the wider."""
    waves = np.geomspace(*periods, WAVES) * rng.uniform(0.85, 1.15, WAVES)
    phases = rng.uniform(0, 2 * np.pi, WAVES)
    strengths = np.sqrt(waves)
    strengths = strengths / np.linalg.norm(strengths) * np.sqrt(2)
    return np.sin(2 * np.pi * times[:, None] / waves + phases) @ strengths


def phrases(speaking: NDArray[np.floating[Any]], fps: float) -> tuple[list[float], list[float]]:
    """When phrases begin and end, in seconds: what is between pauses of `PAUSE` and more."""
    begins: list[float] = []
    ends: list[float] = []
    for start, end in runs(np.asarray(speaking) > 0.5):
        if ends and start / fps - ends[-1] < PAUSE:
            ends[-1] = end / fps
        else:
            begins.append(start / fps)
            ends.append(end / fps)
    return begins, ends


def _posture(
    times: NDArray[np.float64], ends: list[float], rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Where the head settles, in standard deviations: anew at the end of each phrase, and in long ones."""
    place = np.zeros((len(times), len(POSTURE)))
    side = rng.choice([-1.0, 1.0], len(POSTURE))
    at, aim, left = 0.0, np.zeros(len(POSTURE)), list(ends)
    end = float(times[-1]) if len(times) else 0.0
    while at < end:
        # Mostly to the other side: nobody looks the same way for two phrases
        side = np.where(rng.random(len(POSTURE)) < 0.8, -side, side)
        target = side * rng.uniform(0.45, 1.35, len(POSTURE))
        lasts = rng.uniform(*SETTLE) * max(1.0, float(np.abs(target - aim).max()) / 1.3)
        share = np.clip((times - at) / lasts, 0.0, 1.0)
        place += (target - aim) * (share**3 * (10 - 15 * share + 6 * share**2))[:, None]
        aim, latest = target, at + rng.uniform(0.7, 1.0) * LONGEST_PHRASE
        left = [moment for moment in left if moment > at + lasts]
        at = min(left[0], latest) if left else latest
    return dict(zip(POSTURE, place.T, strict=True))


def _stress(energy: NDArray[np.floating[Any]], fps: float) -> NDArray[np.floating[Any]]:
    """Where the voice rises above its own recent level, -0.5..1."""
    fast, slow = smoothed(energy, 0.12, fps), smoothed(energy, 0.9, fps)
    return np.clip(1.6 * (fast - slow), -0.5, 1.0)


def _blinks(times: NDArray[np.floating[Any]], rng: np.random.Generator, often: float) -> NDArray[np.float64]:
    lids = np.zeros_like(times)
    if often <= 0.0:
        return lids
    end = times[-1] if len(times) else 0.0
    at = rng.uniform(0.4, BLINK_EVERY[1] / 2)
    while at < end + BLINK_SHUT:
        since = times - at
        fall = np.clip(1.0 + (since + SHUT / 2) / BLINK_SHUT, 0.0, 1.0)
        rise = np.clip(1.0 - (since - SHUT / 2) / BLINK_OPEN, 0.0, 1.0)
        lids = np.maximum(lids, _eased(np.minimum(fall, rise)))
        at += rng.uniform(*BLINK_EVERY) / often
    return lids


def _glances(times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Saccades around the aim, eye widths, [2, frames]: the eye jumps, then rests."""
    gaze = np.zeros((2, len(times)))
    end = float(times[-1]) if len(times) else 0.0
    at, aim = 0.0, np.zeros(2)
    while at < end:
        target = GLANCE * np.clip(rng.standard_normal(2), -2.0, 2.0)
        gaze += (target - aim)[:, None] * _eased(np.clip((times - at) / 0.06, 0.0, 1.0))
        aim = target
        at += rng.uniform(*GLANCE_EVERY)
    return gaze


def _aside(
    times: NDArray[np.float64], begins: list[float], ends: list[float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Looking away in pauses and back before the next phrase, eye widths, [2, frames]."""
    gaze = np.zeros((2, len(times)))
    for end in ends:
        way, angle = rng.uniform(0.6, 1.0) * AVERTED, rng.uniform(0, 2 * np.pi)
        back = min((begin for begin in begins if begin > end), default=end + 1.2) - 0.05
        there = _eased(np.clip((times - end - 0.12) / 0.07, 0.0, 1.0))
        there = there * _eased(np.clip((back - times) / 0.07, 0.0, 1.0))
        gaze += way * np.array([[np.cos(angle)], [0.45 * np.sin(angle)]]) * there
    return gaze


def _eased(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * x * (3.0 - 2.0 * x)
