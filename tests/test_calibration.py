"""The offset of mouth and voice while a video is drawn, and what is corrected of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sonic_ext.media.audio import read_speech
from sonic_ext.media.face import Face, find_face
from sonic_ext.media.mel import RATE
from sonic_ext.media.video import read_frames
from sonic_ext.sync.calibration import CORRECTED, Calibration, correction
from sonic_ext.sync.offset import Estimate

VIDEO = Path(__file__).parent / "data" / "hello_0_1.mp4"
FPS = 25


@pytest.fixture(scope="module")
def frames() -> list[NDArray[np.uint8]]:
    return [frame.copy() for frame in read_frames(VIDEO, 110)]


@pytest.fixture(scope="module")
def face(frames: list[NDArray[np.uint8]]) -> Face:
    return find_face(frames[0])[0]


@pytest.fixture(scope="module")
def voice() -> NDArray[np.float32]:
    return np.concatenate([*read_speech(VIDEO).blocks(RATE)])


def measured(
    frames: list[NDArray[np.uint8]], face: Face, sound: NDArray[np.float32], count: int = 110
) -> Estimate | None:
    calibration = Calibration(face, iter(np.array_split(sound, 7)), count / FPS, FPS)
    for frame in frames[:count]:
        calibration.see(frame)
    return calibration.offset()


@pytest.mark.parametrize("late", [-0.1, 0.0, 0.06, 0.2])
def test_a_mouth_that_is_late(
    frames: list[NDArray[np.uint8]], face: Face, voice: NDArray[np.float32], late: float
) -> None:
    samples = round(late * RATE)
    sound = voice[samples:] if samples >= 0 else np.concatenate([np.zeros(-samples, np.float32), voice])
    found = measured(frames, face, sound)
    assert found is not None
    assert found.seconds == pytest.approx(late, abs=0.02)
    assert found.confidence > 0.8


def test_another_voice_is_not_measured(frames: list[NDArray[np.uint8]], face: Face) -> None:
    rng = np.random.default_rng(1)
    assert measured(frames, face, rng.normal(0, 0.05, 5 * RATE).astype(np.float32)) is None
    assert measured(frames, face, np.zeros(5 * RATE, np.float32)) is None


def test_a_still_mouth_is_not_measured(
    frames: list[NDArray[np.uint8]], face: Face, voice: NDArray[np.float32]
) -> None:
    assert measured([frames[0]] * 110, face, voice) is None


def test_under_a_second_nothing_is_measured(
    frames: list[NDArray[np.uint8]], face: Face, voice: NDArray[np.float32]
) -> None:
    assert measured(frames, face, voice, 20) is None


def test_no_more_sound_is_read_than_is_needed(face: Face) -> None:
    read: list[int] = []

    def blocks() -> Iterator[NDArray[np.float32]]:
        for second in range(600):
            read.append(second)
            yield np.zeros(RATE, np.float32)

    Calibration(face, blocks(), 600.0, FPS)
    assert len(read) < 20


@pytest.mark.parametrize(
    ("seconds", "corrected"),
    [(0.004, 0.0), (-0.019, 0.0), (0.03, 0.03), (-0.2, -CORRECTED), (0.3, CORRECTED)],
)
def test_what_is_corrected(seconds: float, corrected: float) -> None:
    assert correction(Estimate(seconds, 0.9)) == pytest.approx(corrected)
