"""Small videos to measure, for the tests of `sonic eval`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_takes import drawn_frames
from sounds import voice

from sonic_ext.evaluation.measuring import Measuring
from sonic_ext.media.audio import Speech
from sonic_ext.media.image import read_portrait
from sonic_ext.media.video import VideoWriter
from sonic_ext.pipeline import animate
from sonic_ext.provenance.store import Store
from sonic_ext.settings import Settings

MEDIA = Path(__file__).parent / "data" / "media"
PHONEMES = MEDIA / "speech_en_espeak.phonemes.json"
STAND_IN = Measuring(sync="stand_in_sync:measure")
FPS = 25
SMALL = 64
"""Pixels: side of a picture without a face, which is searched long."""


@pytest.fixture(autouse=True)
def no_packs_of_this_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "insightface"))


@pytest.fixture(scope="module", name="talking")
def talking_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.6 seconds of the preview engine, with the phonemes of its speech beside it."""
    folder = tmp_path_factory.mktemp("talking")
    settings = Settings(
        engine="preview", seed=1, min_resolution=256, framing="crop", duration=1.6, duration_policy="trim"
    )
    take = animate(
        MEDIA / "portrait_01.jpg",
        MEDIA / "speech_en_espeak.wav",
        settings,
        store=Store(tmp_path_factory.mktemp("store") / "home"),
        take_id="1" * 16,  # another watermark would move landmarks, and with them "closed", across its limit
    )
    shutil.copy(take.master, folder / "hello.mp4")
    shutil.copy(PHONEMES, folder / "hello.phonemes.json")
    return folder / "hello.mp4"


def clip(path: Path, count: int = 6, sound: bool = True, name: str = "") -> Path:
    """A portrait that stands still, or noise without a face, as a small video."""
    speech = Speech.from_samples(voice()[0, : 16000 * count // FPS], 16000) if sound else None
    frames: Iterable[np.ndarray] = drawn_frames(count, SMALL)
    if name:
        still = cv2.resize(read_portrait(MEDIA / name).rgb, (256, 256), interpolation=cv2.INTER_AREA)
        frames = [still] * count
    side = 256 if name else SMALL
    with VideoWriter(path, side, side, FPS, speech) as writer:
        for frame in frames:
            writer.write(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420))
    return path
